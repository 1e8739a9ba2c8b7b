// Caches and locks that hang, reject or throw; and deletions at the worst moments.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import type { ModelCache } from "../../pkg/src/cache/cache.ts";
import { recordKey } from "../../pkg/src/cache/entries.ts";
import { receiveCache, sendCache } from "../../pkg/src/cache/port.ts";
import { ModelStore } from "../../pkg/src/cache/store.ts";
import { codeOf } from "../../pkg/src/errors.ts";
import { CHUNK_BYTES } from "../../pkg/src/limits.ts";
import { cacheSize, clearCache, deleteModel, exportModel, isCached, listModels } from "../../pkg/src/manage.ts";
import { type LoadedModel, loadModel } from "../../pkg/src/model/load.ts";
import { PortClient } from "../../pkg/src/port.ts";
import type { Dtype } from "../../pkg/src/types.ts";
import { digestAtOnce } from "../support/digests.ts";
import { encode } from "../support/fuzz.ts";
import { LockServer } from "../support/locks.ts";
import { MemoryCache } from "../support/memory-cache.ts";
import { BASE, type Taken, hostOf, plainSink } from "../support/plain-model.ts";

const WEIGHTS = new Uint8Array(2 * CHUNK_BYTES + 5).fill(7);
const FOLDER = { "config.json": new Response(encode("{}")), "model.safetensors": new Response(WEIGHTS) };
const pack = (bytes: Uint8Array) => bytes.subarray(0, Math.ceil(bytes.byteLength / 4));

let served: ReturnType<typeof hostOf>;
let restoreDigests: () => void;
beforeEach(() => {
  served = hostOf(FOLDER);
  restoreDigests = digestAtOnce();
});
afterEach(() => {
  restoreDigests();
  served.restore();
  setLocks(undefined);
});

function setLocks(locks: unknown): void {
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
}

interface Load {
  dtype?: Dtype;
  localFilesOnly?: boolean;
  signal?: AbortSignal;
}

function load(
  store: ModelStore,
  { dtype = "fp32", localFilesOnly = false, signal }: Load = {},
): Promise<LoadedModel<Taken>> {
  const host = { base: BASE, pointers: undefined, headers: {}, signal: signal ?? new AbortController().signal };
  const options = { name: BASE, revision: undefined, host, dtype, localFilesOnly, progress: () => {} };
  return loadModel(store, () => plainSink(pack), options);
}

function assertWhole({ model }: LoadedModel<Taken>): void {
  const weights = model.get("model.safetensors");
  assert.ok(weights, [...model.keys()].join());
  assert.ok(Buffer.compare(weights, WEIGHTS) === 0);
}

const isSecondPiece = (key: string) => /safetensors \S+ 1 \w+$/.test(key);
const never = () => new Promise<never>(() => {});

/** Milliseconds that something takes of a clock that runs only while it waits for the clock. */
async function timed<T>(clock: { tick: (ms: number) => void }, promise: Promise<T>): Promise<[result: T, ms: number]> {
  let isOver = false;
  const over = promise.finally(() => (isOver = true));
  over.catch(() => {});
  let ms = 0;
  for (; ; ms += 100) {
    // What does not wait for the clock goes on first.
    for (let i = 0; i < 100 && !isOver; i++) await new Promise((resolve) => setImmediate(resolve));
    if (isOver) return [await over, ms];
    clock.tick(100);
  }
}

const FAULTS = {
  "never answers": never,
  rejects: () => Promise.reject(new Error("it is gone")),
  throws: () => {
    throw new Error("it is gone");
  },
};

describe("a cache", () => {
  for (const [does, fault] of Object.entries(FAULTS)) {
    for (const method of ["get", "put", "delete", "keys", "room"] as const) {
      test(`whose ${method} ${does} is done without, after one wait`, async (t) => {
        t.mock.timers.enable({ apis: ["setTimeout"] });
        const cache: ModelCache = new MemoryCache();
        cache[method] = fault as never;
        const store = ModelStore.over(cache);
        const [loaded, ms] = await timed(t.mock.timers, load(store, { dtype: "q8" }));
        assertWhole(loaded);
        const bound = does !== "never answers" ? 0 : method === "put" || method === "delete" ? 10_000 : 3000;
        assert.ok(ms >= bound && ms <= bound + 1000, `${ms} ms`);
        // That nobody knows how much room there is says nothing of the rest.
        if (method === "room") assert.equal(store.unusable, undefined);
        else assert.match(store.unusable!, /^because (it is gone|the cache has not answered in (3|10) s)$/);
      });
    }

    test(`whose keys ${does} is not one to manage`, async (t) => {
      t.mock.timers.enable({ apis: ["setTimeout"] });
      const cache: ModelCache = new MemoryCache();
      cache.keys = cache.get = cache.delete = fault;
      for (const call of [
        listModels,
        cacheSize,
        clearCache,
        () => deleteModel(BASE, { cache }),
        () => isCached(BASE, { cache }),
      ]) {
        const [code, ms] = await timed(
          t.mock.timers,
          call({ cache }).then(() => "none", codeOf),
        );
        assert.equal(code, "storage");
        assert.ok(ms <= 11_000, `${ms} ms`);
      }
    });

    test(`whose get ${does} is said to be at fault where the network must not be used`, async (t) => {
      t.mock.timers.enable({ apis: ["setTimeout"] });
      const cache: ModelCache = new MemoryCache();
      cache.get = fault;
      const [error] = await timed(
        t.mock.timers,
        load(ModelStore.over(cache), { localFilesOnly: true }).catch((error) => error),
      );
      assert.equal(codeOf(error), "storage", String(error));
    });
  }

  test("that stops to answer amid a stored model is left for the host", async (t) => {
    const cache = new MemoryCache();
    await load(ModelStore.over(cache));
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const get = cache.get.bind(cache);
    cache.get = (key) => (isSecondPiece(key) ? never() : get(key));
    const store = ModelStore.over(cache);
    const [loaded, ms] = await timed(t.mock.timers, load(store));
    assertWhole(loaded);
    assert.equal(loaded.cached, false);
    assert.ok(ms >= 3000 && ms <= 4000, `${ms} ms`);
    assert.equal(store.unusable, "because the cache has not answered in 3 s");
  });

  test("that does not answer does not keep an abort waiting", async () => {
    for (const method of ["get", "put", "keys", "room"] as const) {
      const cache: ModelCache = new MemoryCache();
      const controller = new AbortController();
      const { signal } = controller;
      let asked = () => {};
      const isAsked = new Promise<void>((resolve) => (asked = resolve));
      cache[method] = () => {
        asked();
        return never();
      };
      const store = ModelStore.over(cache, signal);
      const loading = load(store, { signal });
      const reason = new Error("no longer wanted");
      const rejected = assert.rejects(loading, reason);
      await isAsked;
      controller.abort(reason);
      await rejected;
      assert.equal(store.unusable, undefined);
    }
  });
});

describe("a lock manager", () => {
  for (const [does, request] of Object.entries(FAULTS)) {
    test(`that ${does} is done without, after one wait`, async (t) => {
      t.mock.timers.enable({ apis: ["setTimeout"] });
      setLocks({ request });
      const cache = new MemoryCache();
      const store = ModelStore.over(cache);
      const [loaded, ms] = await timed(t.mock.timers, load(store));
      assertWhole(loaded);
      assert.equal(store.unusable, undefined);
      assert.equal(await isCached(BASE, { cache }), true);
      assert.ok(does === "never answers" ? ms >= 3000 && ms <= 4000 : ms <= 1000, `${ms} ms`);
    });
  }

  test("that answers too late gets its lock back", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const server = new LockServer(() => new Promise((resolve) => setTimeout(resolve, 60_000)));
    setLocks(server.openTab());
    const store = ModelStore.over(new MemoryCache());
    assertWhole((await timed(t.mock.timers, load(store)))[0]);
    assert.equal(server.names.length, 1);
    t.mock.timers.tick(60_000);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(server.names, []);
  });

  test("that says another tab downloads the model is waited for, for minutes, unless it is aborted", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const server = new LockServer(() => Promise.resolve());
    let finish = () => {};
    const finished = new Promise<void>((resolve) => (finish = resolve));
    void server.openTab().request(`embervec loads ${BASE}`, {}, () => finished);
    setLocks(server.openTab());
    const cache = new MemoryCache();
    const controller = new AbortController();
    const aborted = load(ModelStore.over(cache, controller.signal), { signal: controller.signal });
    const waiting = load(ModelStore.over(cache));
    const minutes = new Promise((resolve) => setTimeout(resolve, 300_000));
    await timed(t.mock.timers, minutes);
    assert.deepEqual(served.asked, []);
    const reason = new Error("no longer wanted");
    const rejected = assert.rejects(aborted, reason);
    controller.abort(reason);
    await rejected;
    finish();
    assertWhole((await timed(t.mock.timers, waiting))[0]);
    assert.ok(await isCached(BASE, { cache }));
  });
});

describe("deleted", () => {
  const gone = "because it was deleted while it was loading";
  const deletions = {
    deleteModel: (cache: ModelCache) => deleteModel(BASE, { cache }),
    clearCache: (cache: ModelCache) => clearCache({ cache }),
  };
  for (const [name, remove] of Object.entries(deletions)) {
    for (const dtype of ["fp32", "q8"] as const) {
      test(`by ${name} between the last read and the note that it is in use, ${dtype}`, async () => {
        const cache = new MemoryCache();
        await load(ModelStore.over(cache), { dtype });
        const { get } = cache;
        cache.get = async (key) => {
          const bytes = await get.call(cache, key);
          // Of the file that is read last.
          const isLast = (await cache.keys("chunk ")).filter((key) => key.includes(".safetensors")).at(-1) === key;
          if (isLast) await remove(cache);
          return bytes;
        };
        const store = ModelStore.over(cache);
        const { model, cached } = await load(store, { dtype });
        assert.ok(model.has(dtype === "q8" ? "model.q8.safetensors" : "model.safetensors"));
        assert.equal(cached, true);
        assert.equal(store.unusable, gone);
        assert.deepEqual(await listModels({ cache }), []);
        assert.deepEqual(await cache.keys(""), []);
      });

      test(`by ${name} during the download, ${dtype}`, async () => {
        const cache = new MemoryCache();
        const { put } = cache;
        let isRemoved = false;
        cache.put = async (key, bytes) => {
          await put.call(cache, key, bytes);
          if (!isRemoved && key.includes(".safetensors")) {
            isRemoved = true;
            await remove(cache);
          }
        };
        const store = ModelStore.over(cache);
        assertWhole(await load(store, { dtype }));
        assert.equal(isRemoved, true);
        // What is being made smaller is only kept for the case that this does not end.
        if (dtype === "fp32") assert.equal(store.unusable, gone);
        const isStored = store.unusable === undefined;
        assert.equal(await isCached(BASE, { cache }), isStored);
        if (!isStored) assert.deepEqual(await cache.keys(""), []);
        const again = ModelStore.over(cache);
        await load(again, { dtype });
        assert.equal(again.unusable, undefined);
        served.restore();
        assert.equal((await load(ModelStore.over(cache), { dtype, localFilesOnly: true })).cached, true);
      });
    }
  }
});

describe("without the network", () => {
  async function damaged(cache: MemoryCache, ...words: string[]): Promise<void> {
    const key = (await cache.keys("chunk ")).find((key) => words.every((word) => key.includes(word)))!;
    const bytes = (await cache.get(key))!.slice();
    bytes[0]! ^= 1;
    await cache.put(key, bytes);
  }

  async function bothForms(): Promise<MemoryCache> {
    const cache = new MemoryCache();
    await load(ModelStore.over(cache));
    await load(ModelStore.over(cache), { dtype: "q8" });
    assert.deepEqual((await listModels({ cache })).map(({ weights }) => weights).sort(), ["original", "q8"]);
    return cache;
  }

  test("where the 8 bits are damaged the original is used, and they are made of it again", async () => {
    for (const file of ["config.json", "model.q8.safetensors"]) {
      const cache = await bothForms();
      await damaged(cache, "#q8 ", file);
      served.restore();
      const loaded = await load(ModelStore.over(cache), { dtype: "q8", localFilesOnly: true });
      assertWhole(loaded);
      assert.equal(loaded.cached, true);
      const again = await load(ModelStore.over(cache), { dtype: "q8", localFilesOnly: true });
      assert.ok(again.model.has("model.q8.safetensors"));
      served = hostOf(FOLDER);
    }
  });

  test("so it is where a host cannot be reached, and where a model is exported", async () => {
    const cache = await bothForms();
    await damaged(cache, "#q8 ", "model.q8.safetensors");
    served.restore();
    const archive = await exportModel(BASE, { cache });
    assert.ok(archive.size > WEIGHTS.length);
    assertWhole(await load(ModelStore.over(cache), { dtype: "q8" }));
  });

  test("where both are damaged the error is that of the form that was asked for, and neither is listed as whole", async () => {
    const cache = await bothForms();
    await damaged(cache, "#q8 ", "model.q8.safetensors");
    await damaged(cache, `chunk ${BASE} `, "model.safetensors");
    served.restore();
    const error = await load(ModelStore.over(cache), { dtype: "q8", localFilesOnly: true }).catch((error) => error);
    assert.equal(codeOf(error), "integrity");
    assert.match(error.message, /model\.q8\.safetensors/);
    assert.equal(await isCached(BASE, { cache }), false);
    assert.deepEqual(
      (await listModels({ cache })).map(({ complete }) => complete),
      [false, false],
    );
  });

  test("a piece that is gone takes its record with it", async () => {
    const cache = new MemoryCache();
    await load(ModelStore.over(cache));
    await cache.delete((await cache.keys("chunk ")).find(isSecondPiece)!);
    served.restore();
    const error = await load(ModelStore.over(cache), { localFilesOnly: true }).catch((error) => error);
    assert.equal(codeOf(error), "integrity");
    assert.equal(await cache.get(recordKey(BASE)), undefined);
  });
});

describe("room", () => {
  /** With room for one model and a half. */
  class SmallCache extends MemoryCache {
    override async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
      let used = bytes.byteLength;
      for (const other of await this.keys("")) if (other !== key) used += (await this.get(other))!.byteLength;
      if (used > 1.5 * WEIGHTS.byteLength) throw new DOMException("full", "QuotaExceededError");
      await super.put(key, bytes);
    }
  }

  test("is made by models that nobody uses or loads, and by no others", async () => {
    const server = new LockServer(() => Promise.resolve());
    const cache = new SmallCache();
    setLocks(server.openTab());
    const user = ModelStore.over(cache);
    await load(user);
    const other = "https://host.test/other/";
    const files = async () => (await listModels({ cache })).map(({ url }) => url);
    const keepOther = async () => {
      setLocks(server.openTab());
      const store = ModelStore.over(cache);
      const chunks = await Promise.all(
        [0, 1, 2].map((i) =>
          store.keep(other, `chunk ${other} file - ${i} ${String(i).repeat(64)}`, WEIGHTS.slice(0, CHUNK_BYTES)),
        ),
      );
      return { chunks, unusable: store.unusable };
    };
    const refused = await keepOther();
    assert.match(refused.unusable!, /no room left/);
    assert.ok((await files()).includes(BASE));
    // A tab that has just begun to load it.
    user.close();
    await deleteModel(other, { cache });
    setLocks(server.openTab());
    const loading = ModelStore.over(cache);
    await loading.use(BASE);
    assert.match((await keepOther()).unusable!, /no room left/);
    assert.ok(await isCached(BASE, { cache }));
    loading.close();
    await deleteModel(other, { cache });
    assert.equal((await keepOther()).unusable, undefined);
    assert.deepEqual(await files(), [other]);
  });

  test("is not made for what is only of use", async () => {
    const cache = new SmallCache();
    await load(ModelStore.over(cache));
    const store = ModelStore.over(cache);
    cache.put = () => Promise.reject(new DOMException("full", "QuotaExceededError"));
    await store.keepTimings("key", [{ tokens: 8, cpu: 2, gpu: 1 }]);
    assert.equal(await store.isFirst("asked"), false);
    assert.equal(store.unusable, undefined);
    assert.ok(await isCached(BASE, { cache }));
  });
});

describe("a cache of the page's, in a worker", () => {
  class Private implements ModelCache {
    #entries = new MemoryCache();
    get secret(): string {
      return "of the page";
    }
    steal = () => "of the page";
    // Of the prototype, and with a private member.
    get(key: string) {
      return this.#entries.get(key);
    }
    put(key: string, bytes: Uint8Array<ArrayBuffer>) {
      return this.#entries.put(key, bytes);
    }
    delete(prefix: string) {
      return this.#entries.delete(prefix);
    }
    keys(prefix: string) {
      return this.#entries.keys(prefix);
    }
    room() {
      return this.#entries.room();
    }
  }

  test("may be a class with private members, also for the worker of the worker", async () => {
    const own = new Private();
    const port = sendCache(own) as MessagePort;
    const received = receiveCache(port) as ModelCache;
    const second = sendCache(received) as MessagePort;
    try {
      assertWhole(await load(ModelStore.over(received)));
      const ofGpu = receiveCache(second) as ModelCache;
      assert.equal((await load(ModelStore.over(ofGpu), { localFilesOnly: true })).cached, true);
      assert.equal(await isCached(BASE, { cache: own }), true);
      assert.equal(await ofGpu.room(), Infinity);
    } finally {
      port.close();
      second.close();
    }
  });

  test("has five methods and no others, and its errors keep their names", async () => {
    const own = new Private();
    own.put = () => Promise.reject(new DOMException("full", "QuotaExceededError"));
    const port = sendCache(own) as MessagePort;
    try {
      const client = new PortClient(port);
      for (const name of ["steal", "secret", "constructor", "toString", "__proto__", "hasOwnProperty"]) {
        await assert.rejects(client.call(name), { name: "TypeError" }, name);
      }
      await assert.rejects(client.call("put", "key", new Uint8Array(1)), {
        name: "QuotaExceededError",
        message: "full",
      });
      assert.deepEqual(await client.call("keys", ""), []);
    } finally {
      port.close();
    }
  });
});
