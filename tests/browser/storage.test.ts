// What is kept, and what happens when the browser's storage is full, blocked, damaged or cleared.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cp, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import type { Page } from "playwright-core";

import { openPage, type TestPage, withPrelude } from "../support/browser.ts";
import { deleteStored, load, storedKeys } from "../support/load.ts";
import { CHUNK_BYTES, writeManifest } from "../support/manifest.ts";
import { hosts, type ModelServer, serveModels } from "../support/model-server.ts";
import { randomModels } from "../support/random-model.ts";
import { temporaryFolder } from "../support/temporary.ts";

const SHAPE = { hidden_size: 384, num_attention_heads: 12, intermediate_size: 1536 };

/** In the page, once {@link withEmbervec} has put it there. */
declare const embervec: typeof import("../../pkg/src/index.ts");

let server: ModelServer;
let browser: TestPage;
let goodVector: number[];
let models: string;

before(async () => {
  models = join(await randomModels({ big: SHAPE, other: SHAPE, third: SHAPE }), "models");
  for (const name of ["big", "other"]) await writeManifest(join(models, name));
  await cp(new URL("../fixtures/models/tiny-dense", import.meta.url), join(models, "tiny"), { recursive: true });
  server = await serveModels(models, "big");
  browser = await openPage({ connectTo: server.origin });
  await withEmbervec(browser.page);
  const { vector, error } = await load(browser.page, `${server.origin}/big/`);
  assert.ok(vector, error?.message);
  goodVector = vector;
  server.requests.length = 0;
  await deleteStored(browser.page);
});
afterEach(async () => {
  server.answers.clear();
  server.requests.length = 0;
  await deleteStored(browser.page);
});
after(async () => {
  await browser.close();
  await server.close();
});

async function assertLoads(
  folder: string,
  {
    page = browser.page,
    cached,
    ...options
  }: { page?: Page; cached: boolean; dtype?: string; localFilesOnly?: boolean },
): Promise<void> {
  const outcome = await load(page, server.origin + folder, options);
  assert.ok(outcome.vector, outcome.error?.message);
  if (options.dtype !== "q8") assert.deepEqual(outcome.vector, goodVector);
  assert.equal(outcome.cached, cached);
}

async function withEmbervec(page: Page): Promise<Page> {
  await page.evaluate(async () => {
    const address = "/pkg/dist/index.js";
    Object.assign(globalThis, { embervec: await import(address) });
  });
  return page;
}

const sent = () => server.requests.reduce((sum, { sent }) => sum + sent, 0);

/** Flips one bit of the stored chunk whose key has all of these words. */
function flipStored(page: Page, ...words: string[]): Promise<string> {
  return page.evaluate(async (words) => {
    const done = <T>(request: IDBRequest<T>) =>
      new Promise<T>((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    const database = await done(indexedDB.open("embervec"));
    const store = () => database.transaction("entries", "readwrite").objectStore("entries");
    const keys = (await done(store().getAllKeys())).map(String);
    const key = keys.find((key) => words.every((word) => key.includes(word)));
    if (key === undefined) throw new Error(`there is no ${words.join(" ")} in ${keys.join("\n")}`);
    const bytes: Uint8Array = await done(store().get(key));
    bytes[100]! ^= 1;
    await done(store().put(bytes, key));
    database.close();
    return key;
  }, words);
}

describe("damage at rest", () => {
  test("of a file that the host has: only that chunk is fetched again", async () => {
    server.answers.set("/big/model.safetensors", hosts());
    await assertLoads("/big/", { cached: false });
    server.requests.length = 0;
    await flipStored(browser.page, "chunk ", "model.safetensors - 7 ");
    await assertLoads("/big/", { cached: false });
    const ofWeights = server.requests.filter(({ path }) => path.endsWith(".safetensors"));
    assert.equal(
      ofWeights.reduce((sum, { sent }) => sum + sent, 0),
      CHUNK_BYTES,
    );
    server.requests.length = 0;
    await assertLoads("/big/", { cached: true });
    assert.deepEqual(server.requests, []);
  });

  test("of weights that were made here: they are made again", async () => {
    await assertLoads("/big/", { cached: false, dtype: "q8" });
    await flipStored(browser.page, "chunk ", "#q8 model.q8.safetensors - 3 ");
    await assertLoads("/big/", { cached: false, dtype: "q8" });
    await assertLoads("/big/", { cached: true, dtype: "q8" });
  });

  test("of a small file, of the record", async () => {
    await assertLoads("/big/", { cached: false });
    for (const words of [["chunk ", "tokenizer.json"], ["chunk ", " config.json"], ["model "]]) {
      await flipStored(browser.page, ...words);
      await assertLoads("/big/", { cached: false });
      await assertLoads("/big/", { cached: true });
    }
  });

  test("what somebody else has put there spoils nothing", async () => {
    await withEmbervec(browser.page);
    await assertLoads("/big/", { cached: false });
    const good = `${server.origin}/big/`;
    const seen = await browser.page.evaluate(async (good) => {
      const done = <T>(request: IDBRequest<T>) =>
        new Promise<T>((resolve, reject) => {
          request.onsuccess = () => resolve(request.result);
          request.onerror = () => reject(request.error);
        });
      const unhandled: string[] = [];
      addEventListener("unhandledrejection", ({ reason }) => unhandled.push(String(reason)));
      const database = await done(indexedDB.open("embervec"));
      const digest = "0".repeat(64);
      const chunks = [`${good} %zz - 0`, `${good} config.json - -1`, "x config.json - 0"];
      const keys = [
        "model ",
        "model x",
        "model x ",
        ...chunks.map((key) => `chunk ${key} ${digest}`),
        "timings x",
        "other",
      ];
      const record = new TextEncoder().encode('{"name":{},"files":{"a":{}}}');
      const buffers = [new ArrayBuffer(3), new Uint16Array(3), new Uint8Array(3), new Uint8Array(2 << 20), record];
      const values = ["text", 7, null, [1], {}, new Date(0), new Blob(["a"]), ...buffers];
      const results = [];
      for (const value of values) {
        const store = database.transaction("entries", "readwrite").objectStore("entries");
        for (const key of keys) await done(store.put(value, key));
        const models = await embervec.listModels();
        const sizes = [await embervec.cacheSize(), ...models.map(({ size }) => size)];
        const { size } = await embervec.exportModel(good);
        const x = await embervec.exportModel("x:").catch((error) => error.code);
        const complete = models.filter(({ complete }) => complete).map(({ url }) => url);
        const areNumbers = sizes.every((size) => size >= 0 && size < 1e9);
        results.push({ complete, areNumbers, isExported: size > 14e6, x });
      }
      database.close();
      return { results, unhandled };
    }, good);
    const wanted = { complete: [good], areNumbers: true, isExported: true, x: "model_not_found" };
    for (const result of seen.results) assert.deepEqual(result, wanted);
    assert.deepEqual(seen.unhandled, []);
    await assertLoads("/big/", { cached: true });
    await assertLoads("/big/", { cached: true, dtype: "q8" });
  });

  test("a record of an earlier version of the package is none", async () => {
    await assertLoads("/big/", { cached: false });
    await browser.page.evaluate(async (model) => {
      const done = <T>(request: IDBRequest<T>) =>
        new Promise<T>((resolve, reject) => {
          request.onsuccess = () => resolve(request.result);
          request.onerror = () => reject(request.error);
        });
      const database = await done(indexedDB.open("embervec"));
      const store = database.transaction("entries", "readwrite").objectStore("entries");
      const { absent, ...record } = JSON.parse(new TextDecoder().decode(await done(store.get(`model ${model} `))));
      if (!absent.includes("vocab.txt") && !absent.includes("special_tokens_map.json")) throw new Error(String(absent));
      await done(store.put(new TextEncoder().encode(JSON.stringify(record)), `model ${model} `));
      database.close();
    }, `${server.origin}/big/`);
    const { error } = await load(browser.page, `${server.origin}/big/`, { localFilesOnly: true });
    assert.equal(error?.code, "model_not_found");
    server.requests.length = 0;
    await assertLoads("/big/", { cached: false });
    // The weights are there, and are known by their digests.
    assert.deepEqual(
      server.requests.filter(({ path, sent }) => path.endsWith(".safetensors") && sent > 0),
      [],
    );
    await assertLoads("/big/", { cached: true });
  });

  test("without the network an error says what to do, and nothing more is lost", async () => {
    await assertLoads("/big/", { cached: false });
    server.requests.length = 0;
    const key = await flipStored(browser.page, "chunk ", "model.safetensors - 7 ");
    const { error } = await load(browser.page, `${server.origin}/big/`, { localFilesOnly: true });
    assert.equal(error?.code, "integrity");
    for (const word of [`${server.origin}/big/model.safetensors`, "piece 7", "while you are online"])
      assert.ok(error.message.includes(word), error.message);
    assert.deepEqual(server.requests, []);
    const { models, chunks } = await storedKeys(browser.page);
    assert.deepEqual(models, []);
    assert.ok(!chunks.includes(key.slice("chunk ".length)) && chunks.length > 20, "only the damaged one is gone");
    // With the network on only that one is fetched.
    server.answers.set("/big/model.safetensors", hosts());
    server.requests.length = 0;
    await assertLoads("/big/", { cached: false });
    assert.ok(sent() >= CHUNK_BYTES && sent() < 2 * CHUNK_BYTES, `${sent()} bytes`);
  });
});

describe("a browser that ends", () => {
  test("in mid-download: the next one goes on", async () => {
    const profile = await temporaryFolder();
    let first = await openPage({ connectTo: server.origin, profile });
    const port = Number(new URL(first.origin).port);
    const weights = "/big/model.safetensors";
    server.answers.set(weights, hosts({ speed: 48 << 10 }));
    const loading = load(first.page, `${server.origin}/big/`).catch(() => "killed");
    // Until about the half has come.
    const half = 7 << 20;
    while (sent() < half) await new Promise((resolve) => setTimeout(resolve, 20));
    execFileSync("pkill", ["-KILL", "-f", profile]);
    assert.equal(await loading, "killed");
    await first.close().catch(() => {});
    const before = sent();

    server.requests.length = 0;
    server.answers.set(weights, hosts());
    first = await openPage({ connectTo: server.origin, profile, port });
    const { models, chunks } = await storedKeys(first.page);
    assert.deepEqual(models, []);
    assert.ok(chunks.length > 8, `${chunks.length} chunks`);
    const { vector, cached, error } = await load(first.page, `${server.origin}/big/`);
    assert.deepEqual(vector, goodVector, error?.message);
    assert.equal(cached, false);
    // What was on its way is lost: a chunk of each of three requests, and 2 MB in buffers and on the way to the disk.
    assert.ok(before + sent() < 14.3e6 + 3 * CHUNK_BYTES + (2 << 20), `${before} and ${sent()} bytes`);
    await first.close();
  });
});

describe("no storage", () => {
  const blocked = "indexedDB.open = () => { throw new DOMException('The user denied it', 'SecurityError'); };";

  test("blocked: the model runs from memory and says so", async () => {
    const page = await openPage({ connectTo: server.origin, overlay: await withPrelude({ "worker.js": blocked }) });
    await withEmbervec(page.page);
    const { vector, info } = await page.page.evaluate(async (model) => {
      const embedder = await embervec.Embedder.load(model, { dtype: "fp32", workers: 2 });
      const vector = [...(await embedder.encode("a quick brown fox"))];
      await embedder.encode(Array.from({ length: 200 }, (_, i) => `some text of the number ${i}`));
      await embedder.dispose();
      return { vector, info: embedder.info };
    }, `${server.origin}/big/`);
    assert.deepEqual(vector, goodVector);
    assert.deepEqual([info.cached, info.stored, info.workers], [false, false, 1]);
    assert.ok(info.storedReason.includes("The user denied it"), info.storedReason);
    await page.close();
  });

  test("blocked together with its locks, as by a user's settings", async () => {
    const denied = "Promise.reject(new DOMException('The user denied it', 'SecurityError'))";
    const overlay = await withPrelude({ "worker.js": `${blocked} navigator.locks.request = () => ${denied};` });
    const page = await openPage({ connectTo: server.origin, overlay });
    const { vector, error } = await load(page.page, `${server.origin}/big/`);
    assert.deepEqual(vector, goodVector, error?.message);
    await page.close();
  });

  test("deleted under a running page", async () => {
    await withEmbervec(browser.page);
    const vectors = await browser.page.evaluate(async (model) => {
      const embedder = await embervec.Embedder.load(model, { dtype: "fp32" });
      const first = [...(await embedder.encode("a quick brown fox"))];
      await new Promise((resolve, reject) =>
        Object.assign(indexedDB.deleteDatabase("embervec"), { onsuccess: resolve, onerror: reject }),
      );
      const second = [...(await embedder.encode("a quick brown fox"))];
      const { cached, stored } = embedder.info;
      await embedder.dispose();
      return { first, second, cached, stored };
    }, `${server.origin}/big/`);
    assert.deepEqual(vectors, { first: goodVector, second: goodVector, cached: false, stored: true });
    await assertLoads("/big/", { cached: false });
    await assertLoads("/big/", { cached: true });
  });

  test("deleted in mid-download", async () => {
    server.answers.set("/big/model.safetensors", hosts({ speed: 64 << 10 }));
    const loading = load(browser.page, `${server.origin}/big/`);
    while (sent() < 5 << 20) await new Promise((resolve) => setTimeout(resolve, 20));
    await deleteStored(browser.page);
    const { vector, error } = await loading;
    assert.deepEqual(vector, goodVector, error?.message);
    server.answers.clear();
    const { vector: again, error: later } = await load(browser.page, `${server.origin}/big/`);
    assert.deepEqual(again, goodVector, later?.message);
  });

  test("a database of an older version is replaced", async () => {
    await browser.page.evaluate(async () => {
      const request = indexedDB.open("embervec", 2);
      await new Promise((resolve, reject) =>
        Object.assign(request, {
          onupgradeneeded: () => {
            request.result.createObjectStore("models").put({ files: [] }, "old");
            request.result.createObjectStore("chunks");
            request.result.createObjectStore("timings");
          },
          onsuccess: resolve,
          onerror: reject,
        }),
      );
      request.result.close();
    });
    await assertLoads("/big/", { cached: false });
    await assertLoads("/big/", { cached: true });
  });
});

describe("a full storage", () => {
  /** A page whose origin may store so many bytes. It is a new one, because the browser remembers for a while how much room there was. */
  async function pageWithRoomFor(bytes: number): Promise<TestPage> {
    // Without a profile the browser (Chromium 148) gives nothing back that is deleted.
    const opened = await openPage({ connectTo: server.origin, profile: await temporaryFolder() });
    // The limit lasts as long as the session.
    const cdp = await opened.context.newCDPSession(opened.page);
    await cdp.send("Storage.overrideQuotaForOrigin", { origin: opened.origin, quotaSize: bytes });
    await withEmbervec(opened.page);
    return opened;
  }

  const address = (name: string) => `${server.origin}/${name}/`;

  test("a model that was not in use for long makes room, one that is in use does not", async () => {
    // Each has 15.2 MB.
    const small = await pageWithRoomFor(34e6);
    const stored = () =>
      small.page.evaluate(async () =>
        (await embervec.listModels()).filter(({ complete }) => complete).map(({ url }) => url),
      );
    await assertLoads("/big/", { page: small.page, cached: false });
    await assertLoads("/other/", { page: small.page, cached: false });
    assert.deepEqual(await stored(), [address("big"), address("other")]);
    // From now on it is in use, until the page is closed.
    const holder = await withEmbervec(await small.openTab());
    await holder.evaluate(
      async (model) => void Object.assign(globalThis, { held: await embervec.Embedder.load(model, { dtype: "fp32" }) }),
      address("big"),
    );
    await assertLoads("/other/", { page: small.page, cached: true });
    await assertLoads("/third/", { page: small.page, cached: false });
    assert.deepEqual(await stored(), [address("big"), address("third")]);
    await holder.close();
    await assertLoads("/third/", { page: small.page, cached: true });
    await assertLoads("/other/", { page: small.page, cached: false });
    assert.deepEqual(await stored(), [address("other"), address("third")]);
    await small.close();
  });

  test("without any room the model runs from memory and says so", async () => {
    const small = await pageWithRoomFor(8e6);
    const { vector, info } = await small.page.evaluate(async (model) => {
      const embedder = await embervec.Embedder.load(model, { dtype: "fp32" });
      const vector = [...(await embedder.encode("a quick brown fox"))];
      await embedder.dispose();
      return { vector, info: embedder.info };
    }, address("big"));
    assert.deepEqual(vector, goodVector);
    assert.equal(info.stored, false);
    assert.ok(info.storedReason.includes("no room"), info.storedReason);
    assert.deepEqual((await storedKeys(small.page)).models, []);
    // In 8 bits it has 3.8 MB, for which there is room once what it is made of is not kept.
    await assertLoads("/big/", { page: small.page, cached: false, dtype: "q8" });
    await assertLoads("/big/", { page: small.page, cached: true, dtype: "q8" });
    await small.close();
  });
});

describe("managing", () => {
  test("what is stored can be listed, counted and deleted", async () => {
    await withEmbervec(browser.page);
    const before = Date.now();
    await assertLoads("/big/", { cached: false });
    await assertLoads("/big/", { cached: true, dtype: "q8" });
    const result = await browser.page.evaluate(
      async ({ big, other, hub }) => {
        const list = async () =>
          (await embervec.listModels()).map((model) => ({
            ...model,
            storedAt: Number(model.storedAt),
            usedAt: Number(model.usedAt),
          }));
        const cached = await Promise.all([
          embervec.isCached(big),
          embervec.isCached(big, { dtype: "fp32" }),
          embervec.isCached(other),
          embervec.isCached("owner/name", { hub }),
        ]);
        const listed = await list();
        const size = await embervec.cacheSize();
        await embervec.deleteModel(other);
        await embervec.deleteModel(big);
        const left = await list();
        return { cached, listed, size, left, none: await embervec.cacheSize(), again: await embervec.isCached(big) };
      },
      { big: `${server.origin}/big/`, other: `${server.origin}/other/`, hub: server.origin },
    );
    assert.deepEqual(result.cached, [true, true, false, false]);
    assert.deepEqual(
      result.listed.map(({ model, revision, url, weights, complete }) => ({ model, revision, url, weights, complete })),
      ["original", "q8"].map((weights) => ({
        model: `${server.origin}/big/`,
        revision: undefined,
        url: `${server.origin}/big/`,
        weights,
        complete: true,
      })),
    );
    const [original, q8] = result.listed;
    assert.ok(original!.size > 14e6 && q8!.size < original!.size / 3.5, `${original!.size} and ${q8!.size} bytes`);
    for (const { storedAt, usedAt } of result.listed)
      assert.ok(storedAt >= before && usedAt >= storedAt, `${storedAt} ${usedAt}`);
    assert.equal(result.size, original!.size + q8!.size);
    assert.deepEqual([result.left, result.none, result.again], [[], 0, false]);
  });

  test("a hub's model goes by its name, and clearCache takes all", async () => {
    await withEmbervec(browser.page);
    await load(browser.page, "owner/name", { hub: server.origin });
    const { listed, cached, size } = await browser.page.evaluate(async (hub) => {
      const listed = await embervec.listModels();
      const cached = await embervec.isCached("owner/name", { hub });
      await embervec.clearCache();
      return { listed, cached, size: await embervec.cacheSize() };
    }, server.origin);
    assert.deepEqual(
      listed.map(({ model, revision }) => [model, revision]),
      [["owner/name", "main"]],
    );
    assert.deepEqual([cached, size], [true, 0]);
    assert.deepEqual(await storedKeys(browser.page), { models: [], chunks: [] });
  });

  test("a download that broke off is listed as such", async () => {
    server.answers.set("/big/model.safetensors", hosts({ dropsAfter: 3 << 20, ranges: false }));
    await withEmbervec(browser.page);
    await load(browser.page, `${server.origin}/big/`);
    const [model] = await browser.page.evaluate(() => embervec.listModels());
    assert.equal(model?.complete, false);
    assert.ok(model.size >= 3 << 20 && model.size < 12 << 20, `${model.size} bytes`);
  });

  test("a model goes from one browser to another as a file, in 8 bits and as it was", async () => {
    await withEmbervec(browser.page);
    const model = `${server.origin}/tiny/`;
    for (const dtype of ["q8", "fp32"]) {
      const { vector, error } = await load(browser.page, model, { dtype });
      assert.ok(vector, error?.message);
      server.requests.length = 0;
      const { type, bytes, problems, cached } = await browser.page.evaluate(async (model) => {
        const archive = await embervec.exportModel(model);
        const bytes = new Uint8Array(await archive.arrayBuffer());
        await embervec.clearCache();
        const flipped = bytes.slice();
        flipped[flipped.length >> 1]! ^= 1;
        const bad = [
          flipped,
          bytes.subarray(0, bytes.length >> 1),
          new TextEncoder().encode("hello"),
          new Uint8Array(0),
        ];
        const problem = (bytes: Uint8Array<ArrayBuffer>) =>
          embervec.importModel(model, new Blob([bytes])).then(
            () => "none",
            (error) => `${error.code}: ${error.message}`,
          );
        const problems = await Promise.all(bad.map(problem));
        const cached = await embervec.isCached(model);
        await embervec.importModel(model, archive);
        return { type: archive.type, bytes: [...bytes], problems, cached };
      }, model);
      const outcome = await load(browser.page, model, { dtype, localFilesOnly: true });
      assert.deepEqual(outcome.vector, vector, outcome.error?.message);
      assert.deepEqual(server.requests, []);
      assert.equal(type, "application/x-tar");
      assert.equal(cached, false);
      for (const problem of problems) assert.match(problem, /^integrity: the archive /);

      // What every tar can unpack is a folder that a server can serve, and every tar can pack it again.
      const folder = join(models, `unpacked-${dtype}`);
      await mkdir(folder);
      execFileSync("tar", ["-xf", "-", "-C", folder], { input: Buffer.from(bytes) });
      assert.equal(
        (await readdir(folder)).includes(dtype === "q8" ? "model.q8.safetensors" : "model.safetensors"),
        true,
      );
      const served = await load(browser.page, `${server.origin}/unpacked-${dtype}/`, { dtype });
      assert.deepEqual(served.vector, vector, served.error?.message);
      const packed = execFileSync("tar", ["-cf", "-", "-C", models, `unpacked-${dtype}`]);
      await browser.page.evaluate(
        async ({ model, bytes }) => embervec.importModel(model, new Blob([new Uint8Array(bytes)])),
        { model: "own/name", bytes: [...packed] },
      );
      const imported = await load(browser.page, "own/name", { dtype, localFilesOnly: true });
      assert.deepEqual(imported.vector, vector, imported.error?.message);
      await deleteStored(browser.page);
    }
  });

  test("a model that is not there cannot be exported", async () => {
    await withEmbervec(browser.page);
    const problem = await browser.page.evaluate(
      (model) =>
        embervec.exportModel(model).then(
          () => "none",
          (error) => error.code,
        ),
      `${server.origin}/big/`,
    );
    assert.equal(problem, "model_not_found");
  });

  test("options are checked", async () => {
    await withEmbervec(browser.page);
    const codes = await browser.page.evaluate(async () => {
      const calls = [
        () => embervec.listModels({ revision: 7 } as object),
        () => embervec.isCached("a b"),
        () => embervec.deleteModel("owner/name", { nonsense: true } as object),
        () => embervec.clearCache({ cache: "memory" }),
        () => embervec.importModel("owner/name", "no blob" as unknown as Blob),
        () => embervec.Embedder.load("owner/name", { cache: {} as never }),
      ];
      return Promise.all(
        calls.map((call) =>
          call().then(
            () => "none",
            (error) => error.code,
          ),
        ),
      );
    });
    assert.deepEqual(codes, Array(6).fill("invalid_input"));
  });
});

describe("a cache of one's own", () => {
  test("takes the model, for every worker", async () => {
    await withEmbervec(browser.page);
    server.requests.length = 0;
    const result = await browser.page.evaluate(async (model) => {
      const entries = new Map<string, Uint8Array<ArrayBuffer>>();
      const matching = (prefix: string) => [...entries.keys()].filter((key) => key.startsWith(prefix));
      const cache = {
        get: async (key: string) => entries.get(key),
        put: async (key: string, bytes: Uint8Array<ArrayBuffer>) => void entries.set(key, bytes),
        delete: async (prefix: string) => matching(prefix).forEach((key) => entries.delete(key)),
        keys: async (prefix: string) => matching(prefix),
        room: async () => Infinity,
      };
      const first = await embervec.Embedder.load(model, { dtype: "fp32", cache, workers: 2 });
      const texts = Array.from({ length: 300 }, (_, i) => `some text of the number ${i}`);
      await first.encode(texts);
      await first.dispose();
      const second = await embervec.Embedder.load(model, { dtype: "fp32", cache, localFilesOnly: true });
      const vector = [...(await second.encode("a quick brown fox"))];
      await second.dispose();
      const listed = await embervec.listModels({ cache });
      return {
        vector,
        infos: [first.info, second.info],
        listed,
        size: [...entries.values()].reduce((sum, { length }) => sum + length, 0),
      };
    }, `${server.origin}/big/`);
    assert.deepEqual(result.vector, goodVector);
    assert.deepEqual(
      result.infos.map(({ cached, stored }) => [cached, stored]),
      [
        [false, true],
        [true, true],
      ],
    );
    assert.deepEqual(
      result.listed.map(({ url }) => url),
      [`${server.origin}/big/`],
    );
    assert.ok(result.size > 14e6, `${result.size}`);
    assert.deepEqual(await storedKeys(browser.page), { models: [], chunks: [] });
  });
});

test("the browser is asked once for storage that it does not clear by itself", async () => {
  const page = await browser.openTab();
  await withEmbervec(page);
  const asked = await page.evaluate(
    async (models) => {
      let asked = 0;
      navigator.storage.persist = async () => {
        asked += 1;
        return false;
      };
      const counts = [];
      for (const model of models) {
        await (await embervec.Embedder.load(model, { dtype: "fp32" })).dispose();
        counts.push(asked);
      }
      return counts;
    },
    ["big", "big", "other"].map((name) => `${server.origin}/${name}/`),
  );
  assert.deepEqual(asked, [1, 1, 1]);
  await page.close();
});

test("with the network off nothing is asked for", async () => {
  await assertLoads("/big/", { cached: false, dtype: "q8" });
  const page = await browser.openTab();
  await withEmbervec(page);
  const seen: string[] = [];
  browser.context.on("request", (request) => seen.push(request.url()));
  // The worker and its wasm come from the page's own server, as they would from a service worker's cache; the model's host is gone.
  await server.stop();
  const { vector, error } = await load(page, `${server.origin}/big/`, { dtype: "q8" });
  await server.start();
  assert.ok(vector, error?.message);
  assert.deepEqual(
    seen.filter((url) => new URL(url).origin !== browser.origin),
    [],
  );
  await page.close();
});
