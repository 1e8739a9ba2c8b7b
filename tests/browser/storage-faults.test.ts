// A browser whose storage and locks are blocked, silent, taken or closed, and what of a model is kept then.

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";

import type { Page } from "playwright-core";

import { openPage, type TestPage, withPrelude } from "../support/browser.ts";
import { deleteStored, load, storedKeys } from "../support/load.ts";
import { hosts, type ModelServer, serveModels } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** In the page, once {@link loadKept} has put it there. */
declare const embervec: typeof import("../../pkg/src/index.ts");

let server: ModelServer;
let browser: TestPage;
let model: string;
let goodVector: number[];

before(async () => {
  server = await serveModels();
  model = `${server.origin}/tiny-cls/`;
  browser = await openPage({ connectTo: server.origin });
  const { vector, error } = await load(browser.page, model);
  assert.ok(vector, error?.message);
  goodVector = vector;
  await deleteStored(browser.page);
});
afterEach(async () => {
  server.answers.clear();
  await deleteStored(browser.page);
});
after(async () => {
  await browser.close();
  await server.close();
});

/** Loads the model, encodes a text with it, and says what is kept and how long that took. */
async function loadKept(
  page: Page,
  options: object = {},
): Promise<{ vector: number[]; stored: boolean; storedReason: string; ms: number }> {
  await page.evaluate(async () => {
    const address = "/pkg/dist/index.js";
    Object.assign(globalThis, { embervec: await import(address) });
  });
  return page.evaluate(
    async ({ model, options }) => {
      const started = performance.now();
      const embedder = await embervec.Embedder.load(model, { dtype: "fp32", ...options });
      const ms = performance.now() - started;
      const vector = [...(await embedder.encode("a quick brown fox"))];
      await embedder.dispose();
      const { stored, storedReason } = embedder.info;
      return { vector, stored, storedReason, ms };
    },
    { model, options },
  );
}

/** A new browser, in whose worker some code runs first. */
async function withFault(prelude: string, action: (opened: TestPage) => Promise<void>): Promise<void> {
  const opened = await openPage({ connectTo: server.origin, overlay: await withPrelude({ "worker.js": prelude }) });
  try {
    await action(opened);
  } finally {
    await opened.close();
  }
}

/** Nothing of what a request fires arrives. */
const SILENT = `
  const open = indexedDB.open;
  indexedDB.open = () => {
    const request = open.call(indexedDB, "silent");
    for (const type of ["success", "error", "blocked", "upgradeneeded"]) {
      request.addEventListener(type, (event) => event.stopImmediatePropagation());
    }
    return request;
  };`;

/** What a load may take besides a wait of 3 s, on a busy machine. */
const LOAD_MS = 8000;

test("site data blocked by the user: the model runs from memory and says why", async () => {
  const profile = await temporaryFolder();
  await mkdir(join(profile, "Default"), { recursive: true });
  const preferences = { profile: { default_content_setting_values: { cookies: 2 } } };
  await writeFile(join(profile, "Default/Preferences"), JSON.stringify(preferences));
  const opened = await openPage({ connectTo: server.origin, profile });
  try {
    const { vector, stored, storedReason } = await loadKept(opened.page);
    assert.deepEqual(vector, goodVector);
    assert.equal(stored, false);
    assert.match(storedReason, /^The model is not kept, because the browser's IndexedDB cannot be read: .+\.$/);
    const codes = await opened.page.evaluate(async (model) => {
      const calls = [
        embervec.listModels(),
        embervec.isCached(model),
        embervec.deleteModel(model),
        embervec.clearCache(),
      ];
      return Promise.all(
        calls.map((call) =>
          call.then(
            () => "none",
            (error) => error.code,
          ),
        ),
      );
    }, model);
    assert.deepEqual(codes, Array(4).fill("storage"));
  } finally {
    await opened.close();
  }
});

test("an IndexedDB that never answers is waited for once, and an abort is not kept waiting", async () => {
  await withFault(SILENT, async ({ page }) => {
    const { vector, stored, storedReason, ms } = await loadKept(page);
    assert.deepEqual(vector, goodVector);
    assert.equal(stored, false);
    assert.match(storedReason, /IndexedDB cannot be read: it has not answered in 3 s/);
    assert.ok(ms >= 3000 && ms < 3000 + LOAD_MS, `${ms} ms`);
    const aborted = await page.evaluate(async (model) => {
      const controller = new AbortController();
      const loading = embervec.Embedder.load(model, { signal: controller.signal }).then(
        () => "loaded",
        (error) => error.message,
      );
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const started = performance.now();
      controller.abort(new Error("no longer wanted"));
      return { outcome: await loading, ms: performance.now() - started };
    }, model);
    assert.equal(aborted.outcome, "no longer wanted");
    assert.ok(aborted.ms < 1000, `${aborted.ms} ms`);
  });
});

test("an older version that another tab does not close is named", async () => {
  const holder = await browser.openTab();
  await holder.evaluate(async () => {
    const request = indexedDB.open("embervec", 2);
    await new Promise((resolve, reject) => Object.assign(request, { onsuccess: resolve, onerror: reject }));
    Object.assign(globalThis, { held: request.result });
  });
  const { vector, stored, storedReason } = await loadKept(browser.page);
  assert.deepEqual(vector, goodVector);
  assert.equal(stored, false);
  assert.match(storedReason, /another tab keeps an older version of it open; close this site's other tabs/);
  await holder.close();
  assert.equal((await loadKept(browser.page)).stored, true);
});

for (const [does, request] of Object.entries({
  "never answers": "() => new Promise(() => {})",
  rejects: "() => Promise.reject(new DOMException('denied', 'SecurityError'))",
  throws: "() => { throw new Error('odd'); }",
})) {
  test(`a lock manager that ${does} is done without, and the model is kept`, async () => {
    await withFault(`navigator.locks.request = ${request};`, async ({ page }) => {
      const { vector, stored, ms } = await loadKept(page);
      assert.deepEqual(vector, goodVector);
      assert.equal(stored, true);
      assert.ok(ms < 3000 + LOAD_MS, `${ms} ms`);
      assert.equal(await page.evaluate((model) => embervec.isCached(model), model), true);
    });
  });

  test(`a browser whose estimate ${does} has room`, async () => {
    await withFault(`StorageManager.prototype.estimate = ${request};`, async ({ page }) => {
      const { stored, storedReason } = await loadKept(page);
      assert.ok(stored, storedReason);
    });
  });
}

test("a browser without an estimate has room, too", async () => {
  await withFault("delete StorageManager.prototype.estimate;", async ({ page }) => {
    assert.equal((await loadKept(page)).stored, true);
  });
});

test("a download in another tab is waited for longer than a lock manager that says nothing", async () => {
  const holder = await browser.openTab();
  const held = holder.evaluate(
    (name) => navigator.locks.request(name, () => new Promise((resolve) => setTimeout(resolve, 6000))),
    `embervec loads ${model}`,
  );
  while (!(await browser.page.evaluate(async () => (await navigator.locks.query()).held!.length)))
    await new Promise((resolve) => setTimeout(resolve, 20));
  server.requests.length = 0;
  const loading = loadKept(browser.page);
  await new Promise((resolve) => setTimeout(resolve, 4500));
  assert.deepEqual(server.requests, []);
  await held;
  assert.equal((await loading).stored, true);
  await holder.close();
});

test("a connection that the browser has closed is opened again", async () => {
  await loadKept(browser.page);
  const cdp = await browser.context.newCDPSession(browser.page);
  server.answers.set("/tiny-cls/model.safetensors", hosts({ speed: 4 << 10 }));
  await browser.page.evaluate(() => embervec.clearCache());
  const loading = loadKept(browser.page);
  await server.requested("/tiny-cls/model.safetensors");
  // Closes connections without asking them.
  await cdp.send("Storage.clearDataForOrigin", { origin: browser.origin, storageTypes: "indexeddb" });
  const { vector, stored, storedReason } = await loading;
  assert.deepEqual(vector, goodVector);
  // What had come by then is gone, or nothing had.
  const { models } = await storedKeys(browser.page);
  assert.deepEqual(models, stored ? [model] : []);
  // On a busy machine clearing takes longer than the cache tries.
  if (!stored) assert.match(storedReason, /it was deleted while it was loading|cannot be written: The connection was/);
  server.answers.clear();
  assert.equal((await loadKept(browser.page)).stored, true);
});

test("200 questions leave no connection open, not even where they fail", async () => {
  await loadKept(browser.page);
  const { open, blocked } = await browser.page.evaluate(async (model) => {
    let open = 0;
    const opened = new Set<IDBDatabase>();
    const { open: openDatabase } = IDBFactory.prototype;
    IDBFactory.prototype.open = function (...args) {
      const request = openDatabase.apply(this, args);
      request.addEventListener("success", () => {
        open += 1;
        opened.add(request.result);
      });
      return request;
    };
    const { close } = IDBDatabase.prototype;
    IDBDatabase.prototype.close = function () {
      if (opened.delete(this)) open -= 1;
      close.call(this);
    };
    for (let i = 0; i < 200; i++) await embervec.isCached(model);
    await Promise.all([
      embervec.listModels(),
      embervec.cacheSize(),
      embervec.exportModel(model),
      embervec.exportModel("owner/nothing").catch(() => {}),
      embervec.importModel("owner/name", new Blob(["no archive"])).catch(() => {}),
      embervec.isCached("a b").catch(() => {}),
    ]);
    await embervec.deleteModel(model);
    await embervec.clearCache();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const request = indexedDB.deleteDatabase("embervec");
    let blocked = false;
    request.onblocked = () => (blocked = true);
    await new Promise((resolve, reject) => Object.assign(request, { onsuccess: resolve, onerror: reject }));
    return { open, blocked };
  }, model);
  assert.deepEqual({ open, blocked }, { open: 0, blocked: false });
});

test("a worker closes its connection while it has nothing to store", async () => {
  const count = `
    let open = 0;
    const { open: openDatabase } = IDBFactory.prototype;
    IDBFactory.prototype.open = function (...args) {
      const request = openDatabase.apply(this, args);
      request.addEventListener("success", () => (open += 1));
      return request;
    };
    const { close } = IDBDatabase.prototype;
    IDBDatabase.prototype.close = function () {
      open -= 1;
      close.call(this);
    };
    setInterval(() => new BroadcastChannel("open").postMessage(open), 100);`;
  await withFault(count, async ({ page }) => {
    await loadKept(page);
    const seen = await page.evaluate(async (model) => {
      const seen: number[] = [];
      new BroadcastChannel("open").onmessage = ({ data }) => seen.push(data);
      const embedder = await embervec.Embedder.load(model, { dtype: "fp32" });
      while (seen.at(-1) !== 0 || seen.length < 15) await new Promise((resolve) => setTimeout(resolve, 100));
      await embedder.dispose();
      return seen;
    }, model);
    assert.ok(Math.max(...seen) <= 1, seen.join());
  });
});

test("a cache may be an instance of a class with private members, for the GPU's worker, too", async () => {
  const opened = await openPage({ connectTo: server.origin, gpu: true });
  try {
    await loadKept(opened.page);
    const { devices, stored, calls } = await opened.page.evaluate(async (model) => {
      class Own {
        #entries = new Map<string, Uint8Array<ArrayBuffer>>();
        #calls = 0;
        get calls() {
          return this.#calls;
        }
        async get(key: string) {
          this.#calls += 1;
          return this.#entries.get(key);
        }
        async put(key: string, bytes: Uint8Array<ArrayBuffer>) {
          this.#entries.set(key, bytes);
        }
        async delete(prefix: string) {
          for (const key of await this.keys(prefix)) this.#entries.delete(key);
        }
        async keys(prefix: string) {
          return [...this.#entries.keys()].filter((key) => key.startsWith(prefix));
        }
        async room() {
          return Infinity;
        }
      }
      const cache = new Own();
      const devices = [];
      let embedder;
      for (const device of ["cpu", "webgpu"] as const) {
        embedder = await embervec.Embedder.load(model, { dtype: "fp32", device, cache });
        await embedder.encode("a quick brown fox");
        devices.push(embedder.info.device);
        await embedder.dispose();
      }
      return { devices, stored: embedder!.info.stored, calls: cache.calls };
    }, model);
    assert.deepEqual(devices, ["cpu", "webgpu"]);
    assert.equal(stored, true);
    assert.ok(calls > 10, `${calls} calls`);
  } finally {
    await opened.close();
  }
});

test("what is deleted during its download is not half there", async () => {
  for (const call of ["clearCache", "deleteModel"] as const) {
    server.answers.set("/tiny-cls/model.safetensors", hosts({ speed: 8 << 10 }));
    const loading = loadKept(browser.page);
    await server.requested("/tiny-cls/model.safetensors");
    await browser.page.evaluate(
      ({ call, model }) => (call === "clearCache" ? embervec.clearCache() : embervec.deleteModel(model)),
      { call, model },
    );
    const { vector, stored, storedReason } = await loading;
    assert.deepEqual(vector, goodVector);
    assert.equal(stored, false, call);
    assert.match(storedReason, /it was deleted while it was loading/);
    assert.deepEqual(await storedKeys(browser.page), { models: [], chunks: [] });
    server.answers.clear();
  }
});
