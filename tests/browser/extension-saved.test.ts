// Saved pages: kept over a restart, read whole without a network, exported, imported, deleted, and encoded again for another model.

import assert from "node:assert/strict";
import { cp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import type { BrowserContext, Page } from "playwright-core";

import {
  barriers,
  copyOfExtension,
  openExtension,
  type OpenExtension,
  servePages,
  type Site,
  watchStrangers,
} from "../support/extension.ts";
import { randomModels } from "../support/random-model.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** As far as the tests use it, inside of the extension's pages. */
declare const chrome: { offscreen: { closeDocument(): Promise<void> } };

const FERRY = "The ferry to the island leaves at noon, unless the wind is too strong.";
const HARBOUR = [
  "Fishermen mend their nets in the morning sun.",
  FERRY,
  "Tickets cost four crowns and are sold on the quay.",
  "In winter the lighthouse keeper walks over the ice.",
];
const CAKE = ["Plums sink into the dough while it is baked.", "A spoon of vinegar keeps the crust of the cake short."];
const pageOf = (title: string, texts: readonly string[]) => `<!doctype html><title>${title}</title><nav><p>A menu with
  many links about other things</p></nav><main><h1>${title}</h1>${texts.map((text) => `<p>${text}</p>`).join("")}</main>`;
const PAGES = {
  "/harbour": { body: pageOf("The harbour", HARBOUR) },
  "/cake": { body: pageOf("Plum cake", CAKE) },
};

let site: Site;
let elsewhere: Awaited<ReturnType<typeof watchStrangers>>;
let extension: string;
let profile: string;
let opened: OpenExtension;
let context: BrowserContext;
const complaints: string[] = [];

before(async () => {
  site = await servePages(PAGES);
  elsewhere = await watchStrangers();
  extension = await copyOfExtension();
  profile = await temporaryFolder();
  await start();
});
after(async () => {
  await context.close();
  site.close();
  elsewhere.close();
});

async function start(): Promise<void> {
  opened = await openExtension(extension, { profile, proxy: elsewhere.address });
  ({ context } = opened);
}

async function restart(): Promise<void> {
  complaints.push(...opened.complaints);
  await context.close();
  await start();
}

/** The popup, asking the saved pages. */
async function openSaved(): Promise<Page> {
  const panel = await opened.openPanel(context.pages()[0]!);
  await panel.getByRole("radio", { name: /^Saved pages/ }).check({ force: true });
  return panel;
}

async function openOptions(): Promise<Page> {
  const options = await context.newPage();
  options.on("pageerror", (error) => complaints.push(error.message));
  await options.goto(`chrome-extension://${opened.id}/options.html`);
  return options;
}

async function ask(panel: Page, query: string, best: string): Promise<void> {
  await panel.fill("#query", query);
  await panel.locator(".hit-text").first().filter({ hasText: best }).waitFor({ timeout: 60_000 });
}

/** Follows the first hit. */
async function openReader(panel: Page): Promise<Page> {
  const [reader] = await Promise.all([context.waitForEvent("page"), panel.locator(".hit-target").first().click()]);
  await reader.locator("mark").waitFor();
  return reader;
}

async function screenshot(page: Page, name: string): Promise<void> {
  const folder = process.env["SCREENSHOTS"];
  if (folder !== undefined) await page.screenshot({ path: join(folder, `${name}.png`) });
}

test("pages that are saved are searched, alone and together with the one that is shown", async () => {
  for (const path of ["/harbour", "/cake"]) {
    const front = await opened.openSite(site.origin, path);
    const panel = await opened.openPanel(front);
    await panel.getByRole("button", { name: "Save this page" }).click();
    await panel.getByRole("button", { name: "Saved", exact: true }).waitFor({ timeout: 60_000 });
    await panel.close();
    await front.close();
  }
  const front = await opened.openSite(site.origin, "/cake");
  const panel = await opened.openPanel(front);
  await panel.getByRole("radio", { name: "Both" }).check({ force: true });
  await ask(panel, "when does the boat sail", FERRY);
  // The page that is shown is searched as it is, and not as it was saved.
  const texts = await panel.locator(".ranking .hit-text").allInnerTexts();
  assert.deepEqual([...texts].sort(), [...HARBOUR, ...CAKE].sort());
  assert.match(await panel.locator("#results-note").innerText(), /^7 passages of this page and 2 saved pages ranked/);
  assert.deepEqual(await barriers(panel), []);
  await screenshot(panel, "both");

  // A hit of the page is marked in it, one of a saved page is opened.
  await panel.locator(".hit-target", { hasText: CAKE[0]! }).click();
  await front.waitForFunction(() => CSS.highlights.get("embervec")?.size === 1);
  await panel.locator(".hit-target", { hasText: FERRY }).and(panel.locator("a")).waitFor();
  await panel.close();
  await front.close();
});

test("where the page cannot be read, the saved ones are named, and searched", async () => {
  const front = await context.newPage();
  await front.goto("chrome://version");
  const panel = await opened.openPanel(front);
  await panel.getByRole("radio", { name: "Both" }).check({ force: true });
  await panel.getByText("The browser's own pages cannot be read").waitFor();
  await panel.getByText("You can still search saved pages.").waitFor();
  await screenshot(panel, "both-unreadable");
  await ask(panel, "when does the boat sail", FERRY);
  await panel.close();
  await front.close();
});

test("after a restart, without a network, they are found and read whole", async () => {
  await restart();
  site.close();
  await context.setOffline(true);
  const panel = await openSaved();
  await panel.getByText("The harbour").waitFor();
  assert.deepEqual(await panel.locator(".saved-page a").allInnerTexts(), ["Plum cake", "The harbour"]);
  assert.deepEqual(await barriers(panel), []);
  await screenshot(panel, "list");
  await ask(panel, "when does the boat sail", FERRY);
  const reader = await openReader(panel);
  assert.equal(await reader.locator("mark").innerText(), FERRY);
  assert.equal(await reader.locator("h1").innerText(), "The harbour");
  assert.deepEqual(await reader.locator("main p").allInnerTexts(), [
    ...HARBOUR,
    "A menu with many links about other things",
  ]);
  await reader.getByRole("heading", { name: "Beside the main text" }).waitFor();
  assert.equal(await reader.evaluate(() => document.activeElement?.textContent), FERRY);
  assert.deepEqual(await barriers(reader), []);
  await screenshot(reader, "reader");
  await reader.close();

  // By words, too.
  await ask(panel, "vinegar", CAKE[1]!);
  await panel.close();
});

test("they are exported, deleted and imported", async () => {
  const options = await openOptions();
  await options.getByText(/^2 pages with 8 passages, less than 0\.1 MB$/).waitFor();
  const [download] = await Promise.all([
    options.waitForEvent("download"),
    options.getByRole("button", { name: "Export" }).click(),
  ]);
  assert.match(download.suggestedFilename(), /^embervec-saved-pages-\d{4}-\d\d-\d\d\.tar$/);
  const exported = join(await temporaryFolder(), "saved.tar");
  await download.saveAs(exported);
  await options.getByText("Exported.").first().waitFor();
  assert.deepEqual(await barriers(options), []);
  await screenshot(options, "options");

  options.once("dialog", (dialog) => void dialog.dismiss());
  await options.getByRole("button", { name: "Delete all saved pages" }).click();
  await options.getByText(/^2 pages with 8 passages/).waitFor();
  options.once("dialog", (dialog) => void dialog.accept());
  await options.getByRole("button", { name: "Delete all saved pages" }).click();
  await options.getByText("0 pages with 0 passages").waitFor();
  await options.getByText("All saved pages are deleted.").first().waitFor();
  const panel = await openSaved();
  await panel.getByText("No saved pages yet").waitFor();

  // What is no file of the extension's changes nothing.
  const bytes = await readFile(exported);
  const broken = join(await temporaryFolder(), "broken.tar");
  for (const wrong of [Buffer.from("no such file"), bytes.subarray(0, bytes.length / 2)]) {
    await writeFile(broken, wrong);
    await options.setInputFiles("#import-file", broken);
    await options
      .getByText(/^That failed: /)
      .first()
      .waitFor();
    await options.getByText("0 pages with 0 passages").waitFor();
    await options.reload();
  }
  await options.setInputFiles("#import-file", exported);
  await options.getByText("Imported: 2 pages.").first().waitFor({ timeout: 60_000 });
  await options.getByText(/^2 pages with 8 passages/).waitFor();
  await options.setInputFiles("#import-file", exported);
  await options.getByText("Nothing new").first().waitFor({ timeout: 60_000 });
  await ask(panel, "when does the boat sail", FERRY);
  assert.match(await panel.locator(".score").first().innerText(), /^0\.\d\d$/);

  // One is removed where it is read.
  const reader = await openReader(panel);
  await reader.getByRole("button", { name: "Remove" }).click();
  await reader.getByText("The page is no longer saved.").first().waitFor();
  await options.getByText(/^1 page with 3 passages/).waitFor();
  for (const page of [reader, panel, options]) await page.close();
});

test("pages of the extension's first version are carried over", async () => {
  const options = await openOptions();
  await options.getByText(/^1 page with/).waitFor();
  await options.evaluate(async () => {
    const opening = indexedDB.open("embervec-saved-pages", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("pages", { keyPath: "url" });
    await new Promise((resolve) => (opening.onsuccess = resolve));
    const transaction = opening.result.transaction("pages", "readwrite");
    const vectors = new Float32Array(2 * 384);
    vectors[0] = vectors[384 + 1] = 1;
    transaction.objectStore("pages").put({
      url: "https://example.org/tides",
      title: "Tides",
      hash: "0123",
      savedAt: 1_700_000_000_000,
      passages: ["The moon draws the water of the sea.", "At springtide all marshes are flooded."],
      vectors,
    });
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    opening.result.close();
    await chrome.offscreen.closeDocument();
  });
  const panel = await openSaved();
  await panel.getByText("Tides", { exact: true }).waitFor();
  // These vectors are no model's, so only the word leads there.
  await panel.fill("#query", "marshes");
  await panel.locator(".hit-text", { hasText: "At springtide all marshes are flooded." }).waitFor();
  const names = await options.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name));
  assert.ok(!names.includes("embervec-saved-pages"), names.join(" "));
  await panel.close();
  await options.close();
});

test("without the model they are found by words, which is said", async () => {
  await context.close();
  const folder = join(extension, "models/all-MiniLM-L6-v2");
  await rename(folder, `${folder}-away`);
  await start();
  const panel = await openSaved();
  await panel.fill("#query", "vinegar");
  await panel.locator(".hit-text").first().filter({ hasText: CAKE[1]! }).waitFor();
  await panel
    .getByText(/^\d+ passages of 2 saved pages searched by words only, because the model is not downloaded\.$/)
    .first()
    .waitFor();
  assert.equal(await panel.locator(".score").count(), 0);
  await panel.getByRole("heading", { name: "The model is not downloaded yet" }).waitFor();
  await panel.fill("#query", "zeppelin");
  await panel.getByText("None has a word of your query.").first().waitFor();
  assert.deepEqual(await barriers(panel), []);
  await screenshot(panel, "by-words");
  await context.close();
  await rename(`${folder}-away`, folder);
  await start();
});

test("with another model they are found by words, until they are encoded again", async () => {
  await context.close();
  const overlay = await randomModels({ other: { hidden_size: 64, num_attention_heads: 4, intermediate_size: 128 } });
  const folder = join(extension, "models/all-MiniLM-L6-v2");
  await rm(folder, { recursive: true });
  await cp(join(overlay, "models/other"), folder, { recursive: true });
  await start();
  await forgetModel();
  const panel = await openSaved();
  await ask(panel, "vinegar", CAKE[1]!);
  await panel.getByRole("heading", { name: "Saved with another model" }).waitFor();
  assert.equal(await panel.locator(".score").count(), 0);
  assert.deepEqual(await barriers(panel), []);
  await screenshot(panel, "other-model");

  // It is stopped as soon as that is possible; the pages stay as they are.
  await panel.evaluate(() => {
    const button = document.querySelector<HTMLButtonElement>("#encode-again")!;
    const observer = new MutationObserver(() => {
      if (button.textContent !== "Stop") return;
      observer.disconnect();
      button.click();
    });
    observer.observe(button, { childList: true, characterData: true, subtree: true });
    button.click();
  });
  await panel.getByText("Stopped. The saved pages are found by their words, as before.").first().waitFor();
  await panel.getByRole("heading", { name: "Saved with another model" }).waitFor();
  await ask(panel, "vinegar", CAKE[1]!);

  await panel.getByRole("button", { name: "Encode again" }).click();
  await panel.getByRole("heading", { name: "Saved with another model" }).waitFor({ state: "hidden", timeout: 60_000 });
  // By meaning; this model, whose weights are random, means anything.
  await panel.locator(".hit", { hasText: CAKE[1]! }).locator(".score").waitFor();
  assert.equal(await panel.locator("#scope-saved").innerText(), "Saved pages (2)");
  await panel.close();
});

/** What the package has kept of the model, which has the same address as the other one. */
async function forgetModel(): Promise<void> {
  const options = await openOptions();
  await options.getByText(/^2 pages with/).waitFor();
  await options.evaluate(async () => {
    const opening = indexedDB.open("embervec");
    await new Promise((resolve) => (opening.onsuccess = resolve));
    const transaction = opening.result.transaction("entries", "readwrite");
    const models = IDBKeyRange.bound("model ", "model!");
    transaction.objectStore("entries").delete(models);
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    opening.result.close();
  });
  await options.close();
}

test("nothing was asked of anybody else, and nothing was complained about", () => {
  assert.deepEqual(elsewhere.strangers, []);
  assert.deepEqual([...complaints, ...opened.complaints], []);
});
