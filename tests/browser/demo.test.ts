// The demo page as it is published, under its own Content-Security-Policy.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Page } from "playwright-core";

import { openPage, type TestPage } from "../support/browser.ts";

/** Queries that share no telling word with the passage that should come first. */
const EXPECTED: [query: string, best: RegExp][] = [
  ["my bread does not rise", /dough stays flat/],
  ["I can't fall asleep", /lie awake/],
  ["nervous in front of an audience", /^Trembling hands before a recital/],
  ["saving for old age", /aside for retirement/],
  ["scared of flying", /if turbulence troubles you/],
];

const DESKTOP = { width: 1280, height: 800 };
const PHONES = [
  { width: 390, height: 844 },
  { width: 320, height: 568 },
];

let browser: TestPage;
let page: Page;
/** Of every request of the page and its worker. */
const urls: string[] = [];
/** What the page should never say: errors of scripts, refusals of the Content-Security-Policy. */
const complaints: string[] = [];

before(async () => {
  browser = await openPage();
  page = await browser.context.newPage();
  browser.context.on("request", (request) => urls.push(request.url()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`${message.location().url}: ${message.text()}`);
  });
  await page.setViewportSize(DESKTOP);
  await page.addInitScript(() => {
    // Everything that the bars' texts have said.
    const said: string[] = (window.said = []);
    addEventListener("DOMContentLoaded", () => {
      const setup = document.getElementById("setup")!;
      new MutationObserver((changes) => {
        for (const { target } of changes) said.push(`${(target as Element).id} ${target.textContent}`);
      }).observe(setup, { childList: true, subtree: true });
    });
  });
});
after(() => browser.close());

declare global {
  interface Window {
    said: string[];
  }
}

const open = (query = "") => page.goto(`${browser.origin}/www/dist/${query}`);
const textOf = (id: string) => page.locator(`#${id}`).innerText();
const allEncoded = () => page.getByText(/^\d+ passages encoded in [\d.]+ m?s$/).waitFor();

/** The best passage for a query that is typed. */
async function best(query: string): Promise<string> {
  const before = await page.$(".ranking");
  await page.fill("#query", query);
  await page.waitForFunction((before) => ![null, before].includes(document.querySelector(".ranking")), before);
  return page.locator(".hit-text").first().innerText();
}

test("a first visit downloads, encodes and ranks by meaning", async () => {
  await open();
  await allEncoded();
  const said = await page.evaluate(() => window.said);
  assert.ok(
    said.some((text) => /^download-detail [\d.]+ of 23\.4 MB/.test(text)),
    said.join("\n"),
  );
  assert.ok(
    said.some((text) => /^encode-detail \d+ of 240/.test(text)),
    said.join("\n"),
  );
  for (const [query, passage] of EXPECTED) assert.match(await best(query), passage, query);
});

test("the page says where, with what and how long", async () => {
  await best("why is the sky blue");
  assert.match(await textOf("results-note"), /^240 passages ranked in [\d.]+ ms on the CPU \(q8, (relaxed )?SIMD\)\.$/);
  assert.match(await textOf("fact-device"), /^CPU(, up to \d+ workers)?$/);
  assert.match(await textOf("fact-kernels"), /q8 \w+ \d+x\d+/);
  assert.equal(await textOf("fact-dtype"), "q8");
  assert.match(await textOf("fact-time"), /^[\d.]+ ms$/);
  assert.equal(await textOf("fact-load-source"), "downloaded");
});

test("the next visit has the model from storage, and may search before all is encoded", async () => {
  const seen = urls.length;
  await open();
  assert.match(await best("my bread does not rise"), /dough stays flat/);
  assert.equal(await textOf("fact-load-source"), "from this browser's storage");
  assert.deepEqual(
    urls.slice(seen).filter((url) => url.includes("/models/")),
    [],
  );
  await allEncoded();
});

test("own text is searched, by keyboard alone", async () => {
  await page.focus("#own-open");
  await page.keyboard.press("Enter");
  await page.keyboard.insertText("Lunch is at noon on Thursday.\n\nAnna will order new chairs before Friday.");
  for (const name of ["Choose files", "Cancel", "Encode and search"]) {
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement?.closest("label, button")?.textContent.trim()), name);
  }
  await page.keyboard.press("Enter");
  await allEncoded();
  assert.equal(await page.evaluate(() => document.activeElement?.id), "query");
  assert.equal(await best("who buys furniture"), "Anna will order new chairs before Friday.");
  await page.click("#own-remove");
  assert.match(await textOf("results-note"), /^240 passages ranked/);
});

test("a phone shows it all without scrolling sideways", async () => {
  for (const size of PHONES) {
    await page.setViewportSize(size);
    for (const query of ["", "a".repeat(200), "why is the sky blue"]) {
      await page.fill("#query", query);
      await page.waitForTimeout(200);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.equal(width, size.width, `"${query}" at ${size.width} px`);
    }
    // The search box stays on top; what it finds must be in sight as well.
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await best("my bread does not rise");
    await page.waitForFunction(() => {
      const { top, bottom } = document.querySelector(".hit-text")!.getBoundingClientRect();
      return top > 0 && bottom < innerHeight;
    });
  }
  await page.setViewportSize(DESKTOP);
});

test("no request went to another host, and nothing was refused", () => {
  assert.deepEqual(
    urls.filter((url) => new URL(url).origin !== browser.origin),
    [],
  );
  assert.deepEqual(complaints, []);
});

test("a failure says what to do", async () => {
  await open("?model=./models/nothing/");
  await page.getByRole("alert").getByText("The model was not found").waitFor();
  assert.match(await textOf("failure-message"), /\/www\/dist\/models\/nothing\/config\.json is missing/);
  await page.getByRole("button", { name: "Use the demo's model" }).click();
  await allEncoded();
  assert.equal(await textOf("fact-load-source"), "from this browser's storage");

  await open("?device=webgpu");
  await page.getByRole("alert").getByText("WebGPU is not available").waitFor();
  await page.getByRole("button", { name: "Use the automatic choices" }).click();
  await allEncoded();
});
