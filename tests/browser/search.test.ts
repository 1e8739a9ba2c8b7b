// A search index in a browser: kept in IndexedDB, by several tabs, through a killed browser.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Page } from "playwright-core";

import { openPage, type TestPage } from "../support/browser.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** What {@link open} puts into a page. */
declare const index: import("../../pkg/src/search/index.ts").SearchIndex;
declare const embedder: import("../../pkg/src/index.ts").Embedder;

const MODEL = "/tests/fixtures/models/tiny-no-modules/";

let browser: TestPage;
let count = 0;

before(async () => {
  browser = await openPage();
});
after(() => browser.close());

/** Opens an index in a page, with an embedder; gives the error that it met. */
async function open(
  page: Page,
  name: string,
  options: object = {},
): Promise<{ code: string; message: string } | undefined> {
  return page.evaluate(
    async ({ model, name, options }) => {
      const [main, search] = ["/pkg/dist/index.js", "/pkg/dist/search.js"];
      const { Embedder, EmbervecError } = await import(main);
      const { SearchIndex } = await import(search);
      Object.assign(globalThis, { embedder: await Embedder.load(model, { dtype: "fp32" }), SearchIndex });
      try {
        Object.assign(globalThis, { index: await SearchIndex.open(name, { embedder, ...options }) });
        return undefined;
      } catch (error) {
        if (!(error instanceof EmbervecError)) throw error;
        const { code, message } = error as { code: string; message: string };
        return { code, message };
      }
    },
    { model: MODEL, name, options },
  );
}

const newName = () => `index ${count++}`;

const textsOf = (prefix: string, from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({
    id: `${prefix}${from + i}`,
    text: `${prefix} text number ${from + i}`,
  }));

const add = (page: Page, documents: { id: string; text: string }[]) =>
  page.evaluate((documents) => index.add(documents), documents);

const idsOf = (page: Page) => page.evaluate(async () => (await index.documents()).map(({ id }) => id).sort());

test("two tabs add at once, and both have all", async () => {
  const name = newName();
  const other = await browser.openTab();
  await open(browser.page, name);
  await open(other, name);
  const [a, b] = [textsOf("a", 0, 60), textsOf("b", 0, 60)];
  await Promise.all([
    add(browser.page, a.slice(0, 30)),
    add(other, b.slice(0, 30)),
    add(browser.page, a.slice(30)),
    add(other, b.slice(30)),
  ]);
  const expected = [...a, ...b].map(({ id }) => id).sort();
  assert.deepEqual(await idsOf(browser.page), expected);
  assert.deepEqual(await idsOf(other), expected);
  await other.evaluate(() => index.remove("a7"));
  await browser.page.evaluate(() => index.compact());
  // The other one has not been told yet, or has: either way it finds what is there.
  const { hits } = await other.evaluate(() => index.search("a text number 8", { topK: 3 }));
  assert.equal(hits.length, 3);
  assert.deepEqual(
    await idsOf(other),
    expected.filter((id) => id !== "a7"),
  );
  await other.close();
});

/** Adds 4000 documents with vectors of their own. */
function addMany(page: Page): Promise<unknown> {
  return page.evaluate(() => {
    const vectorOf = (i: number) => Float32Array.from({ length: embedder.info.dimension }, (_, at) => Math.cos(i * at));
    return index.add(Array.from({ length: 4000 }, (_, i) => ({ id: `n${i}`, text: `text ${i}`, vector: vectorOf(i) })));
  });
}

test("of what another tab adds only that is read", async () => {
  const name = newName();
  const other = await browser.openTab();
  await open(browser.page, name);
  await open(other, name);
  await addMany(browser.page);
  assert.equal((await idsOf(other)).length, 4000);
  const workers = browser.page.workers().filter((worker) => worker.url().endsWith("search-worker.js"));
  const worker = workers.at(-1)!;
  await worker.evaluate(() => {
    const read = { bytes: 0 };
    const get = IDBObjectStore.prototype.get;
    Object.assign(globalThis, { read });
    IDBObjectStore.prototype.get = function (key) {
      const request = get.call(this, key);
      request.addEventListener("success", () => (read.bytes += request.result?.byteLength ?? 0));
      return request;
    };
  });
  await add(other, textsOf("late", 0, 100));
  while ((await idsOf(browser.page)).length < 4100);
  const { bytes } = await worker.evaluate(() => (globalThis as unknown as { read: { bytes: number } }).read);
  assert.ok(bytes > 1000 && bytes < 60_000, `${bytes} bytes`);
  const { hits } = await browser.page.evaluate(() => index.search("late text number 7", { mode: "keyword" }));
  assert.equal(hits[0]!.text, "late text number 7");
  await other.close();
});

test("what another tab adds while an index gets another name is not lost", async () => {
  const name = newName();
  const other = await browser.openTab();
  await open(browser.page, name);
  await open(other, name);
  await addMany(browser.page);
  assert.equal((await idsOf(other)).length, 4000);
  const renamed = browser.page.evaluate((name) => index.rename(name), `${name} renamed`);
  // While the parts are copied, it waits for its turn to store them.
  const [added] = await Promise.allSettled([add(other, textsOf("late", 0, 5)), renamed]);
  const ids = await idsOf(browser.page);
  const late = ids.filter((id) => id.startsWith("late")).length;
  assert.equal(late, added.status === "fulfilled" ? 5 : 0, `add was ${added.status}`);
  assert.equal(ids.length - late, 4000);
  await other.close();
});

test("a killed browser loses nothing that was resolved", async () => {
  const profile = await temporaryFolder();
  const port = 20_000 + Math.floor(20_000 * Math.random());
  const name = newName();
  const first = await openPage({ profile, port });
  await open(first.page, name);
  await add(first.page, textsOf("kept", 0, 50));
  await first.page.evaluate((documents) => void index.add(documents), textsOf("later", 0, 3000));
  await first.page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 300)));
  const pid = await browserProcess(profile);
  process.kill(pid, "SIGKILL");
  await first.close().catch(() => {});

  const again = await openPage({ profile, port });
  assert.equal(await open(again.page, name), undefined);
  const ids = await idsOf(again.page);
  assert.equal(ids.filter((id) => id.startsWith("kept")).length, 50);
  const { hits } = await again.page.evaluate(() => index.search("kept text number 7", { mode: "keyword" }));
  assert.equal(hits[0]!.text, "kept text number 7");
  const { added, unchanged } = await add(again.page, [...textsOf("kept", 0, 50), ...textsOf("later", 0, 100)]);
  assert.equal(added + unchanged, 150);
  assert.ok(unchanged >= 50);
  await again.close();
});

/** The browser that has this profile. */
async function browserProcess(profile: string): Promise<number> {
  const { readlink } = await import("node:fs/promises");
  const { join } = await import("node:path");
  // "host-pid", as Chromium writes it.
  const lock = await readlink(join(profile, "SingletonLock"));
  return Number(lock.slice(lock.lastIndexOf("-") + 1));
}

test("storage that is cleared while it is open is told", async () => {
  const name = newName();
  await open(browser.page, name);
  await add(browser.page, textsOf("x", 0, 20));
  const session = await browser.context.newCDPSession(browser.page);
  await session.send("Storage.clearDataForOrigin", { origin: browser.origin, storageTypes: "indexeddb" });
  const cleared = await browser.page.evaluate(() =>
    index.add([{ id: "z", text: "z" }]).then(
      () => undefined,
      ({ code, message }: { code: string; message: string }) => ({ code, message }),
    ),
  );
  assert.equal(cleared?.code, "storage", cleared?.message);
  assert.match(cleared!.message, /cleared/);
  assert.equal(await browser.page.evaluate(() => index.info.stored), false);
});

test("a worker that dies is replaced, and what was stored is there", async () => {
  const name = newName();
  await open(browser.page, name);
  await add(browser.page, textsOf("x", 0, 20));
  const ended = await browser.page.evaluate(async () => {
    // More than any worker has.
    return index.search("x", { topK: 1 }).then(() => true);
  });
  assert.equal(ended, true);
  const worker = browser.page.workers().find((worker) => worker.url().endsWith("search-worker.js"))!;
  const searching = browser.page.evaluate(() =>
    index.documents().then(
      (documents) => documents.length,
      ({ code }: { code: string }) => code,
    ),
  );
  await worker.evaluate(() => self.close());
  await searching;
  await browser.page.evaluate(() => index.close());
});

test("only the page's own origin is asked", () => {
  assert.ok(browser.requests.some((path) => path.endsWith("embervec-search.wasm")));
  assert.ok(browser.requests.every((path) => path.startsWith("/")));
});
