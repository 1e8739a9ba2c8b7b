// Loads, deletions, imports and evictions at the same time, in whatever order: no record without all of its bytes.
//
// EMBERVEC_INTERLEAVINGS: how many. A failure prints its seed and path; with these as EMBERVEC_FUZZ_SEED and
// EMBERVEC_FUZZ_PATH it happens again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import fc from "fast-check";

import type { Entries, ModelCache, Parts } from "../../pkg/src/cache/cache.ts";
import { chunkKey, parseRecord, parseRecordKey } from "../../pkg/src/cache/entries.ts";
import { Locks } from "../../pkg/src/cache/locks.ts";
import { ModelStore } from "../../pkg/src/cache/store.ts";
import { codeOf } from "../../pkg/src/errors.ts";
import {
  cacheSize,
  clearCache,
  deleteModel,
  exportModel,
  importModel,
  isCached,
  listModels,
} from "../../pkg/src/manage.ts";
import { loadModel } from "../../pkg/src/model/load.ts";
import { writeManifest } from "../../pkg/src/model/manifest.ts";
import { modelKey } from "../../pkg/src/model/source.ts";
import type { Dtype } from "../../pkg/src/types.ts";
import { digestAtOnce, sha256 } from "../support/digests.ts";
import { encode } from "../support/fuzz.ts";
import { LockServer, type TabLocks } from "../support/locks.ts";
import { MemoryCache } from "../support/memory-cache.ts";
import { digestsOf, plainSink } from "../support/plain-model.ts";

const RUNS = Number(process.env["EMBERVEC_INTERLEAVINGS"] ?? 2000);
/** After so many rounds of the event loop, in which nobody waits for a turn, something waits for what never comes. */
const NEVER = 500_000;

/** The first has a manifest, the second only an ETag. */
const FOLDERS = ["https://host.test/packed/", "https://host.test/plain/"];
const CONFIG = encode("{}");
const SHARDS = ["model-1.safetensors", "model-2.safetensors", "model-3.safetensors"];
/** Of each folder, the content of every file that has weights. */
const WEIGHTS = [0, 1].map((folder) => SHARDS.map((_, i) => new Uint8Array(2000).fill(10 * folder + i)));
/** As 8 bits of 32. */
const pack = (bytes: Uint8Array) => bytes.subarray(0, Math.ceil(bytes.byteLength / 4));
/** Of a folder's two forms one has 7 kB with its record, the other 3. */
const ROOMS = [Infinity, 15_000, 10_000, 1000];

const { fetch } = globalThis;
const { over } = ModelStore;
let restoreDigests = () => {};
const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));
/** What {@link importModel} takes, by folder and form. */
const archives = new Map<string, Blob>();

before(async () => {
  restoreDigests = digestAtOnce();
  const manifest = await manifestOf(0);
  globalThis.fetch = async (url, { signal } = {}) => {
    await turn();
    signal!.throwIfAborted();
    const folder = FOLDERS.findIndex((base) => String(url).startsWith(base));
    const path = String(url).slice(FOLDERS[folder]!.length);
    const files: Record<string, Uint8Array<ArrayBuffer> | undefined> = {
      "config.json": CONFIG,
      ...Object.fromEntries(SHARDS.map((shard, i) => [shard, WEIGHTS[folder]![i]])),
      "manifest.json": folder === 0 ? manifest : undefined,
    };
    const body = files[path];
    return body ? new Response(body, { headers: { etag: `"${folder}"` } }) : new Response(null, { status: 404 });
  };
  for (const folder of [0, 1]) {
    for (const dtype of ["fp32", "q8"] as const) {
      const cache = new MemoryCache();
      await load(ModelStore.over(cache), folder, dtype);
      archives.set(`${folder} ${dtype}`, await exportModel(FOLDERS[folder]!, { cache }));
    }
  }
});
after(() => {
  globalThis.fetch = fetch;
  restoreDigests();
});

async function manifestOf(folder: number): Promise<Uint8Array<ArrayBuffer>> {
  const files: [string, Uint8Array<ArrayBuffer>][] = SHARDS.map((shard, i) => [shard, WEIGHTS[folder]![i]!]);
  const entries = [["config.json", CONFIG] as const, ...files].map(async ([path, bytes]) => {
    const digests = { size: bytes.byteLength, sha256: sha256(bytes), chunks: await digestsOf(bytes) };
    return [path, digests] as [string, typeof digests];
  });
  return encode(writeManifest(await Promise.all(entries)));
}

function load(
  store: ModelStore,
  folder: number,
  dtype: Dtype,
  localFilesOnly = false,
  signal = new AbortController().signal,
) {
  const host = { base: FOLDERS[folder]!, pointers: undefined, headers: {}, signal };
  const options = { name: host.base, revision: undefined, host, dtype, localFilesOnly, progress: () => {} };
  return loadModel(store, () => plainSink(pack, SHARDS), options);
}

/** Resolves when the scheduler says so. */
let turn = () => Promise.resolve();

/** Changes one entry at a time. */
class SlowCache implements ModelCache {
  readonly entries = new Map<string, Uint8Array<ArrayBuffer>>();

  constructor(private readonly size: number) {}

  async get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    await turn();
    const bytes = this.entries.get(key);
    await turn();
    return bytes;
  }

  async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await turn();
    this.set(key, bytes);
    await turn();
  }

  async delete(prefix: string): Promise<void> {
    for (const key of await this.keys(prefix)) {
      this.entries.delete(key);
      await turn();
    }
  }

  async keys(prefix: string): Promise<string[]> {
    await turn();
    return this.matching(prefix);
  }

  async room(): Promise<number> {
    await turn();
    return this.size - this.#used;
  }

  set(key: string, bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#used - (this.entries.get(key)?.byteLength ?? 0) + bytes.byteLength > this.size) {
      throw new DOMException("full", "QuotaExceededError");
    }
    this.entries.set(key, bytes);
  }

  matching(prefix: string): string[] {
    return [...this.entries.keys()].filter((key) => key.startsWith(prefix));
  }

  get #used(): number {
    return [...this.entries.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }
}

/** As IndexedDB, with transactions. */
class SlowEntries implements Entries {
  constructor(private readonly cache: SlowCache) {}

  get = (key: string) => this.cache.get(key);
  put = (key: string, bytes: Uint8Array<ArrayBuffer>) => this.cache.put(key, bytes);
  keys = (prefix: string) => this.cache.keys(prefix);
  room = () => this.cache.room();

  async delete(prefixes: readonly string[], unless?: string): Promise<void> {
    await turn();
    if (unless === undefined || !this.cache.entries.has(unless)) {
      for (const key of prefixes.flatMap((prefix) => this.cache.matching(prefix))) this.cache.entries.delete(key);
    }
    await turn();
  }

  async putWhole(key: string, bytes: Uint8Array<ArrayBuffer>, parts: Parts, isOnly: boolean): Promise<boolean> {
    await turn();
    const isWhole = [...parts.keys].every((part) => this.cache.entries.has(part));
    if (isWhole) {
      this.cache.set(key, bytes);
      const others = this.cache.matching(parts.prefix).filter((other) => !parts.keys.has(other));
      if (isOnly) for (const other of others) this.cache.entries.delete(other);
    }
    await turn();
    return isWhole;
  }

  close(): void {}
}

interface Action {
  kind: "load" | "local" | "delete" | "clear" | "import" | "export" | "isCached" | "list";
  folder: number;
  dtype: "fp32" | "q8";
  /** Turns before it begins. */
  begins: number;
  /** Turns before a load is aborted. */
  aborts: number | undefined;
}

const kinds = fc.oneof(
  { weight: 6, arbitrary: fc.constant("load" as const) },
  { weight: 5, arbitrary: fc.constantFrom("local" as const, "delete" as const, "clear" as const, "import" as const) },
  { weight: 2, arbitrary: fc.constantFrom("export" as const, "isCached" as const, "list" as const) },
);
const actions = fc.array(
  fc.record<Action>({
    kind: kinds,
    folder: fc.nat(1),
    dtype: fc.constantFrom("fp32", "q8"),
    begins: fc.nat(40),
    aborts: fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat(40) }),
  }),
  { minLength: 2, maxLength: 7 },
);

test("whatever is done at the same time, a record has all of its bytes", async (t) => {
  const outcomes = new Map<string, number>();
  const count = (outcome: string) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  const property = fc.asyncProperty(
    actions,
    fc.constantFrom(...ROOMS),
    fc.boolean(),
    fc.scheduler(),
    async (actions, room, isAtomic, scheduler) => {
      turn = () => scheduler.schedule(Promise.resolve());
      const server = new LockServer(turn);
      const cache = new SlowCache(room);
      ModelStore.over = (choice, signal) =>
        isAtomic ? new ModelStore(new SlowEntries(choice as SlowCache), new Locks(), signal) : over(choice, signal);
      /** What was told to be stored, by a tab that is still there. */
      const claimed = new Set<string>();
      const stores: ModelStore[] = [];
      const run = async ({ kind, folder, dtype, begins, aborts }: Action) => {
        for (let i = 0; i < begins; i++) await turn();
        const base = FOLDERS[folder]!;
        const options = { cache };
        switch (kind) {
          case "load":
          case "local": {
            const controller = new AbortController();
            const abort = async (turns: number) => {
              for (let i = 0; i < turns; i++) await turn();
              controller.abort(new Error("aborted"));
            };
            const store = inTab(server.openTab(), () => ModelStore.over(cache, controller.signal));
            stores.push(store);
            const loading = load(store, folder, dtype, kind === "local", controller.signal);
            if (aborts !== undefined) void abort(aborts);
            try {
              const { model, cached } = await loading;
              assert.deepEqual(model.get("config.json"), CONFIG);
              SHARDS.forEach((shard, i) => {
                const original = model.get(shard);
                const weights = original ?? model.get(shard.replace(".safetensors", ".q8.safetensors"));
                const wanted = WEIGHTS[folder]![i]!;
                assert.deepEqual(weights, Buffer.from(original ? wanted : pack(wanted)));
              });
              if (store.unusable === undefined) claimed.add(modelKey(base, dtype));
              return count(`${kind}: ${cached ? "cached, " : ""}${store.unusable ?? "stored"}`);
            } catch (error) {
              // Whoever loads it in vain is gone.
              store.close();
              if (controller.signal.aborted && error === controller.signal.reason) return count("aborted");
              assert.equal(kind, "local", String(error));
              assert.ok(["model_not_found", "integrity"].includes(codeOf(error)!), String(error));
              return count(`local: ${codeOf(error)}`);
            }
          }
          case "delete":
            return inTab(server.openTab(), () => deleteModel(base, options));
          case "clear":
            return inTab(server.openTab(), () => clearCache(options));
          case "import":
            try {
              await inTab(server.openTab(), () => importModel(base, archives.get(`${folder} ${dtype}`)!, options));
              return count("imported");
            } catch (error) {
              assert.ok(["quota", "storage"].includes(codeOf(error)!), String(error));
              return count(`import: ${codeOf(error)}`);
            }
          case "export":
            try {
              await inTab(server.openTab(), () => exportModel(base, options));
              return count("exported");
            } catch (error) {
              assert.ok(["model_not_found", "integrity"].includes(codeOf(error)!), String(error));
              return count(`export: ${codeOf(error)}`);
            }
          case "isCached":
            return void (await inTab(server.openTab(), () => isCached(base, options)));
          case "list": {
            await inTab(server.openTab(), () => listModels(options));
            return void (await inTab(server.openTab(), () => cacheSize(options)));
          }
        }
      };
      let isOver = false;
      const running = Promise.all(actions.map(run)).finally(() => (isOver = true));
      // What an abort has left under way still ends.
      for (let idle = 0; isOver ? idle < 5 : idle < NEVER; idle++) {
        // Whatever does not wait for its turn goes on first.
        await new Promise((resolve) => setImmediate(resolve));
        if (scheduler.count() === 0) continue;
        idle = 0;
        await scheduler.waitOne();
      }
      assert.ok(isOver, "something waits for ever");
      await running;

      assert.deepEqual(broken(cache), []);
      if (!actions.some(({ kind }) => kind === "delete" || kind === "clear")) {
        for (const key of claimed) assert.ok(cache.entries.has(`model ${key} `), `${key} is gone`);
      }
      assert.deepEqual(
        server.names.filter((name) => !name.startsWith("embervec uses ")),
        [],
      );
      for (const store of stores) store.close();
      await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual(server.names, []);
      assert.deepEqual(unhandled.splice(0), []);
    },
  );
  const { EMBERVEC_FUZZ_SEED: seed, EMBERVEC_FUZZ_PATH: path } = process.env;
  try {
    await fc.assert(property, {
      numRuns: RUNS,
      includeErrorInReport: true,
      seed: Number(seed ?? 15),
      ...(path !== undefined && { path }),
      endOnFailure: true,
    });
  } finally {
    ModelStore.over = over;
    turn = () => Promise.resolve();
  }
  for (const [outcome, times] of [...outcomes].sort()) t.diagnostic(`${outcome}: ${times}`);
});

/** The records that lack bytes. */
function broken({ entries }: SlowCache): string[] {
  const problems: string[] = [];
  for (const [key, bytes] of entries) {
    const model = parseRecordKey(key);
    if (model === undefined) continue;
    for (const [path, { size, version, chunks }] of parseRecord(bytes)!.files) {
      const stored = chunks.map((digest, index) => entries.get(chunkKey(model, path, version, index, digest)));
      const isWhole = stored.every((bytes, i) => bytes && sha256(bytes) === chunks[i]);
      const length = stored.reduce((sum, bytes) => sum + (bytes?.byteLength ?? 0), 0);
      if (!isWhole || length !== size) problems.push(`${model}${path} has ${length} of ${size} bytes`);
    }
  }
  return problems;
}

/** Begins something in a tab. */
function inTab<T>(locks: TabLocks, begin: () => T): T {
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  try {
    return begin();
  } finally {
    Object.defineProperty(globalThis, "navigator", { value: undefined, configurable: true });
  }
}
