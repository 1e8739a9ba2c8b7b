// The extension in a private window: nothing is stored unless it is allowed, and then nothing on the disk, nor for the next private window.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import type { Page } from "playwright-core";

import {
  barriers,
  copyOfExtension,
  openExtension,
  type OpenExtension,
  servePages,
  type Site,
} from "../support/extension.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** As far as the tests use it, inside of the extension's pages. */
declare const chrome: {
  storage: { local: { get(): Promise<object> }; session: { get(): Promise<object> } };
};

const SECRET = "The surprise party for Wilhelmina begins at eight in the boathouse.";
const QUERY = "when is the celebration for Wilhelmina";
const PAGES = { "/secret": { body: `<!doctype html><title>A plan</title><p>${SECRET}</p>` } };

let site: Site;
let opened: OpenExtension;
let profile: string;
const ordinary: { page?: Page } = {};

before(async () => {
  site = await servePages(PAGES);
  profile = await temporaryFolder();
  opened = await openExtension(await copyOfExtension(), { profile, isAllowedPrivately: true });
});
after(async () => {
  await opened.context.close();
  site.close();
});

const openPrivately = () => opened.openPrivately(site.origin, "/secret");

/** What is kept of what was asked and allowed, by either kind of window. */
const keptBy = (page: Page) =>
  page.evaluate(async () =>
    JSON.stringify([await chrome.storage.local.get(), await chrome.storage.session.get(), { ...localStorage }]),
  );

async function ask(panel: Page): Promise<void> {
  await panel.fill("#query", QUERY);
  await panel.locator(".hit-text", { hasText: SECRET }).waitFor({ timeout: 60_000 });
}

const savedCount = (panel: Page) => panel.locator("#scope-saved").innerText();

test("a query is not remembered, and a page is saved only when that is allowed", async () => {
  const { front, openPanel } = await openPrivately();
  let panel = await openPanel();
  await ask(panel);
  assert.equal(await keptBy(panel), "[{},{},{}]");
  await panel.close();

  panel = await openPanel();
  await panel.getByText("1 passage.").waitFor();
  assert.equal(await panel.inputValue("#query"), "");
  await panel.getByRole("button", { name: "Save this page" }).click();
  await panel.getByRole("heading", { name: "This is a private window" }).waitFor();
  assert.deepEqual(await barriers(panel), []);
  await panel.getByRole("button", { name: "Do not save" }).click();
  assert.equal(await savedCount(panel), "Saved pages");
  assert.equal(await keptBy(panel), "[{},{},{}]");

  await panel.getByRole("button", { name: "Save this page" }).click();
  await panel.getByRole("button", { name: "Save until then" }).click();
  await panel.getByRole("button", { name: "Saved", exact: true }).waitFor({ timeout: 60_000 });
  assert.equal(await savedCount(panel), "Saved pages (1)");
  await ask(panel);
  await panel.close();
  panel = await openPanel();
  await panel.waitForFunction((query) => document.querySelector<HTMLInputElement>("#query")?.value === query, QUERY);

  // The ordinary windows know nothing of it.
  ordinary.page = await opened.context.newPage();
  await ordinary.page.goto(`chrome-extension://${opened.id}/options.html`);
  await ordinary.page.getByText("0 pages with 0 passages").waitFor({ timeout: 60_000 });
  assert.equal(await keptBy(ordinary.page), "[{},{},{}]");
  await panel.close();
  await front.close();
});

test("the next private window begins with nothing, and asks again", async () => {
  const { front, openPanel } = await openPrivately();
  const panel = await openPanel();
  await panel.getByText("1 passage.").waitFor();
  assert.equal(await panel.inputValue("#query"), "");
  assert.equal(await savedCount(panel), "Saved pages");
  await panel.getByRole("button", { name: "Save this page" }).click();
  await panel.getByRole("heading", { name: "This is a private window" }).waitFor();
  await panel.close();
  await front.close();
});

test("the options page allows it for all private windows", async () => {
  const options = ordinary.page!;
  const choice = options.getByLabel("Keep queries and saved pages in private windows");
  assert.equal(await choice.isChecked(), false);
  await choice.check();
  await options.getByText("Stored.").waitFor();
  const { front, openPanel } = await openPrivately();
  const panel = await openPanel();
  await panel.getByText("1 passage.").waitFor();
  await panel.getByRole("button", { name: "Save this page" }).click();
  await panel.getByRole("button", { name: "Saved", exact: true }).waitFor({ timeout: 60_000 });
  assert.equal(await panel.getByRole("heading", { name: "This is a private window" }).isVisible(), false);
  await panel.close();
  await front.close();
});

test("nothing of it is on the disk", async () => {
  await opened.context.close();
  const found: string[] = [];
  for (const entry of await readdir(profile, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const bytes = await readFile(join(entry.parentPath, entry.name));
    for (const text of ["Wilhelmina", "boathouse"]) {
      if (bytes.includes(text) || bytes.includes(Buffer.from(text, "utf16le"))) found.push(entry.name);
    }
  }
  assert.deepEqual(found, []);
  assert.deepEqual(opened.complaints, []);
});
