// The demo page when the browser's storage is full, cleared or blocked, when two tabs do the same, and with files that are
// no whole collections of this version: it says so in words, what was there stays, and the page goes on.

import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import type { Page } from "playwright-core";

import {
  addFiles,
  added,
  best,
  type Demo,
  modelReady,
  openDemo,
  openOnMap,
  search,
  type TestFile,
  textFile,
} from "../support/demo.ts";
import { temporaryFolder } from "../support/temporary.ts";

const YEAST = textFile("yeast.txt", "Old or overheated yeast is the usual culprit when dough stays flat.");
const SLEEP = textFile("sleep.txt", "If you lie awake, get up after twenty minutes and read something dull.");

/** A list of so many lines. */
const stock = (lines: number) =>
  textFile(
    "stock.md",
    Array.from(
      { length: lines },
      (_, n) => `- Item ${(n * 7919) % 1009} of shelf ${n} is kept in room ${n % 11}.`,
    ).join("\n"),
  );

const report = (page: Page, state: string) => page.locator(`.report[data-state="${state}"]`);
const sizeOf = (page: Page, collection: string) =>
  page.locator(".collection", { hasText: collection }).locator("summary small").innerText();

/** Begins to add files, and waits for none. */
async function startAdding(page: Page, ...files: TestFile[]): Promise<void> {
  await page.click("#add-open");
  await page.setInputFiles("#add-files", files);
  await page.click("#add-submit");
}

/** Milliseconds until a hit, on a busy machine. */
const ANSWER_MS = 5000;

/** The page answers: a query is typed, and has its hit. */
async function findsYeast(page: Page): Promise<void> {
  await page.fill("#query", "");
  await page.locator(".ranking").waitFor({ state: "detached" });
  const started = performance.now();
  await page.fill("#query", "my bread does not rise");
  await page.waitForFunction(() => document.querySelector(".hit-text")?.textContent?.includes("dough stays flat"));
  const took = performance.now() - started;
  assert.ok(took < ANSWER_MS, `${took.toFixed(0)} ms until the hit`);
}

/** The page with a collection in which one document is. */
async function openWithYeast(options: Parameters<typeof openDemo>[0] = {}): Promise<Demo> {
  const demo = await openDemo(options);
  await demo.open();
  await modelReady(demo.page);
  await addFiles(demo.page, [YEAST]);
  return demo;
}

test("a storage that is full in the middle of adding", async (context) => {
  const demo = await openWithYeast();
  context.after(() => demo.close());
  const { page } = demo;
  // Chromium's own quota cannot be set for IndexedDB: this is what it does to a worker's write.
  for (const worker of page.workers())
    await worker.evaluate(() => {
      IDBObjectStore.prototype.put = () => {
        throw new DOMException("There is no room.", "QuotaExceededError");
      };
    });
  await startAdding(page, stock(20_000));
  await report(page, "failed").waitFor();
  assert.match(await report(page, "failed").innerText(), /Not all could be added.*There is no room left\..*Delete/s);
  await findsYeast(page);
  // What was stored before is whole, and there is room again.
  await page.reload();
  await modelReady(page);
  await findsYeast(page);
  assert.match(await sizeOf(page, "My documents"), /^1 passage · /);
  await addFiles(page, [SLEEP]);
  assert.match(await best(page, "I can't fall asleep"), /lie awake/);
});

test("a storage that is cleared in the middle of adding", async (context) => {
  const demo = await openWithYeast();
  context.after(() => demo.close());
  const { page, browser } = demo;
  await startAdding(page, stock(400));
  await report(page, "running")
    .getByText(/passages/)
    .waitFor();
  const cdp = await demo.context.newCDPSession(page);
  await cdp.send("Storage.clearDataForOrigin", { origin: browser.origin, storageTypes: "indexeddb" });
  await report(page, "failed").waitFor();
  assert.match(await report(page, "failed").innerText(), /storage has failed, or was cleared\. Reload the page/);
  await page.locator(".collection summary").first().click();
  await page.getByText("Not kept for the next visit").waitFor();
  await page.reload();
  await modelReady(page);
  await addFiles(page, [YEAST]);
  await findsYeast(page);
});

test("a storage that is blocked", async (context) => {
  const profile = await temporaryFolder();
  await mkdir(join(profile, "Default"), { recursive: true });
  const preferences = { profile: { default_content_setting_values: { cookies: 2 } } };
  await writeFile(join(profile, "Default/Preferences"), JSON.stringify(preferences));
  const demo = await openWithYeast({ profile });
  context.after(() => demo.close());
  const { page } = demo;
  await findsYeast(page);
  await page.locator(".collection summary").first().click();
  const problem = page.locator(".collection-problem");
  assert.match(await problem.innerText(), /^Not kept for the next visit: It is in memory only, because .+\.$/);
  await page.click("#panel-open");
  assert.match(await page.innerText("#fact-kept"), /not kept/);
  await page.getByText("This browser stores nothing for this page.").waitFor();
});

test("two tabs add to one collection at once, and each finds what both have added", async (context) => {
  const demo = await openDemo();
  context.after(() => demo.close());
  const other = await demo.context.newPage();
  await demo.open();
  await other.goto(demo.page.url());
  await Promise.all([modelReady(demo.page), modelReady(other)]);
  const lines = (name: string) =>
    textFile(`${name}.md`, Array.from({ length: 60 }, (_, n) => `- The ${name} list has entry ${n}.`).join("\n"));
  await startAdding(demo.page, YEAST, lines("first"));
  await other.bringToFront();
  await startAdding(other, SLEEP, lines("second"));
  // At the same time: what went well is said for some seconds only.
  await Promise.all([added(demo.page, "My documents"), added(other, "My documents")]);
  for (const page of [demo.page, other]) {
    await page.bringToFront();
    await page.waitForFunction(() => document.querySelector(".collection small")?.textContent?.startsWith("122 "));
    await findsYeast(page);
    assert.match(await best(page, "I can't fall asleep"), /lie awake/);
  }
  await demo.page.reload();
  await modelReady(demo.page);
  assert.match(await sizeOf(demo.page, "My documents"), /^122 passages/);
});

test("two tabs add while the model is on its way, and nothing is lost or told twice", async (context) => {
  const demo = await openDemo();
  context.after(() => demo.close());
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  // What a service worker may answer cannot be held.
  await demo.context.addInitScript("delete Navigator.prototype.serviceWorker;");
  await demo.context.route(/\/models\/.*config\.json$/, async (route) => {
    await held;
    await route.continue();
  });
  const other = await demo.context.newPage();
  await demo.open();
  await startAdding(demo.page, YEAST);
  await demo.page.getByText("found by words until the model is there").waitFor();
  await other.goto(demo.page.url());
  await other.bringToFront();
  await startAdding(other, SLEEP);
  await other.getByText("found by words until the model is there").waitFor();
  release();
  for (const page of [demo.page, other]) {
    await page.bringToFront();
    await modelReady(page);
    await page.waitForFunction(() => document.querySelector(".collection small")?.textContent?.startsWith("2 "));
    await report(page, "running").waitFor({ state: "detached" });
    assert.equal(await report(page, "failed").count(), 0);
    await findsYeast(page);
    assert.match(await best(page, "I can't fall asleep"), /lie awake/);
  }
  await other.reload();
  await modelReady(other);
  assert.match(await sizeOf(other, "My documents"), /^2 passages/);
  assert.deepEqual(await other.locator(".collection-name").allInnerTexts(), ["My documents"]);
});

/** A collection of another model, as a file. */
async function ofAnotherModel({ browser }: Demo): Promise<Buffer> {
  const bytes = await browser.page.evaluate(async (model) => {
    const [main, search] = ["/pkg/dist/index.js", "/pkg/dist/search.js"];
    const { Embedder } = await import(main);
    const { SearchIndex } = await import(search);
    const embedder = await Embedder.load(model, { dtype: "fp32", cache: "memory" });
    const index = await SearchIndex.open("other", { embedder, cache: "memory" });
    await index.add([{ id: "a", text: "The plumber comes at eight." }]);
    const blob: Blob = await index.export();
    return [...new Uint8Array(await blob.arrayBuffer())];
  }, "/tests/fixtures/models/tiny-no-modules/");
  return Buffer.from(bytes);
}

test("a file that is cut short, changed, of a newer version or of another model", async (context) => {
  const demo = await openWithYeast();
  context.after(() => demo.close());
  const { page } = demo;
  const names = () => page.locator(".collection-name").allInnerTexts();
  await page.locator(".collection summary").click();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Export" }).click(),
  ]);
  const whole = await readFile(await download.path());
  const changed = Buffer.from(whole);
  changed[changed.indexOf("dough stays flat")]! ^= 1;
  const newer = Buffer.from(whole);
  newer.write('"version":2', newer.indexOf('"version":1'));
  const notWhole = /not a whole collection.*Nothing was changed\. Choose a file that was made with Export\./s;
  const files: [name: string, buffer: Buffer, says: RegExp][] = [
    ["empty", Buffer.of(), notWhole],
    ["cut", whole.subarray(0, whole.length / 2), notWhole],
    ["headless", whole.subarray(512), notWhole],
    ["changed", changed, notWhole],
    ["picture", Buffer.from("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "latin1"), notWhole],
    ["newer", newer, /made by a newer version.*Nothing was changed\. Reload the page/s],
  ];
  const alert = page.getByRole("alert");
  for (const [name, buffer, says] of files) {
    const file = { name: `${name}.embervec`, mimeType: "application/octet-stream", buffer };
    await page.setInputFiles("#library-import", file);
    await alert.waitFor();
    assert.match(await alert.innerText(), says, name);
    assert.deepEqual(await names(), ["My documents"], name);
    await findsYeast(page);
    await alert.getByRole("button", { name: "Close" }).click();
  }

  const buffer = await ofAnotherModel(demo);
  await page.setInputFiles("#library-import", { name: "Other.embervec", mimeType: "application/octet-stream", buffer });
  const other = page.locator(".collection", { hasText: "Other" });
  await other.locator("summary").click();
  await other.getByText("Searched by words only").waitFor();
  await other.getByRole("button", { name: "Switch to tiny-no-modules" }).waitFor();
  await findsYeast(page);
  await other.getByRole("button", { name: "Encode it with this model" }).click();
  await other.getByRole("button", { name: "Encode it with this model" }).waitFor({ state: "detached" });
  // Encoded passage by passage, and the hits on the page follow.
  await search(page, "when will the pipes be mended");
  await page.locator(".hit-text").first().filter({ hasText: "plumber" }).waitFor();

  // None of the files has left anything behind.
  await page.reload();
  await modelReady(page);
  await other.waitFor();
  assert.deepEqual(await names(), ["My documents", "Other"]);
});

test("a map whose worker never runs is made by another one", async (context) => {
  const demo = await openDemo();
  context.after(() => demo.close());
  await demo.context.addInitScript(() => {
    const NativeWorker = Worker;
    Object.assign(globalThis, { lost: 0 });
    globalThis.Worker = class extends NativeWorker {
      constructor(url: string | URL, options?: WorkerOptions) {
        const counts = globalThis as unknown as { lost: number };
        const isLost = /\/map\.[0-9a-f]+\.js$/.test(String(url)) && counts.lost < 1;
        if (isLost) counts.lost += 1;
        super(isLost ? "silent.js" : url, options);
      }
    };
  });
  await demo.context.route("**/silent.js", (route) => route.fulfill({ contentType: "text/javascript", body: "" }));
  await demo.open();
  await modelReady(demo.page);
  await addFiles(demo.page, [stock(20), YEAST]);
  await demo.page.locator("#map-frame").scrollIntoViewIfNeeded();
  await openOnMap(demo.page);
  assert.equal(await demo.page.evaluate(() => (globalThis as unknown as { lost: number }).lost), 1);
  assert.equal(await demo.page.locator("#map-frame canvas").count(), 1);
});
