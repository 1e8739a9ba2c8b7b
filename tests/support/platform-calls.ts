// The calls of the platform that the package waits for, and how each is made to fail. A new one is a new row: `stub` replaces it in the
// scripts that make it, by the functions of platform-prelude.js; tests/unit/platform.test.ts finds which rows are missing,
// tests/browser/platform.test.ts what the call is made for, and what becomes of a life cycle in which it fails.

import { readFile } from "node:fs/promises";

import type { EmbervecErrorCode } from "../../pkg/src/errors.ts";

export type Script = "page" | "worker.js" | "gpu.js";

export const KINDS = ["hangs", "rejects", "throws"] as const;
export type Kind = (typeof KINDS)[number];

export interface PlatformCall {
  /** Where the source makes it: as `platformCalls` finds it. */
  at: readonly string[];
  in: readonly Script[];
  stub: string;
  /** How it can fail; in every way where this is left out. */
  kinds?: readonly Kind[];
  /** No phase makes the call. */
  isUnused?: boolean;
  /**
   * Nobody can tell that it will not settle: a caller's source may be idle, and a text may take a minute. Then only an abort and `dispose` end
   * the call.
   */
  mayLast?: boolean;
  /** What a life cycle may fail with. Without them its vectors must be right all the same. */
  costs?: readonly EmbervecErrorCode[];
  /** What makes the call: a cache, a `fetch` or texts of the caller's, a GPU, or another model that may have to go. */
  by?: "cache" | "fetch" | "texts" | "gpu" | "eviction";
}

const EVERYWHERE = ["page", "worker.js", "gpu.js"] as const;
const WORKERS = ["worker.js", "gpu.js"] as const;
const WORKER = ["worker.js"] as const;
const PAGE = ["page"] as const;
const GPU = ["gpu.js"] as const;

/** Of a message that nobody is there to answer. */
const SENT = ["hangs", "throws"] as const;

/** A method whose promise is waited for; an interface that the script does not have is left alone. */
const method = (owner: string, name: string) => `promise(globalThis.${owner}?.prototype, "${name}");`;

/** A request to a worker, and its answer. */
const ASKED = ["worker/client.ts Worker.postMessage", "worker/client.ts new Promise"];
const ANSWERED = ["platform/web.ts WorkerScope.postMessage"];

/** A response's body. */
const BODY = [
  "model/fetch.ts ReadableStreamDefaultReader.read",
  "model/fetch.ts ReadableStreamGenericReader.cancel",
  "model/host.ts HostResponse.read",
];

/** What IndexedDB is asked, whoever asks it. */
const IDB = ["IDBPObjectStore.get", "put", "delete", "IDBPObjectStore.getKey", "IDBPObjectStore.getAllKeys"];
const ENTRIES = ["get", "put", "delete", "getKey", "getAllKeys"]
  .map((name) => `request(IDBRequest.prototype, IDBObjectStore.prototype, "${name}");`)
  .join(" ");

/** A method of a caller's own cache. */
const cache = (name: string): PlatformCall => ({
  at: [`cache/own.ts ModelCache.${name}`, `cache/port.ts ModelCache.${name}`],
  in: PAGE,
  stub: method("TestCache", name),
  by: "cache",
});

/** Whatever a GPU does, the CPU finishes; where it was demanded, the call may also say that it cannot be had. */
const gpu = (
  at: readonly string[],
  scripts: readonly Script[],
  stub: string,
  kinds: readonly Kind[] = KINDS,
): PlatformCall => ({
  at,
  in: scripts,
  stub,
  kinds,
  by: "gpu",
  costs: ["unsupported_device", "device_lost"],
});

export const PLATFORM_CALLS: Record<string, PlatformCall> = {
  // The model host.
  fetch: {
    at: ["model/fetch.ts fetch"],
    in: WORKER,
    stub: "fetching((url) => !/wasm$/.test(url))",
    costs: ["network"],
  },
  body: { at: BODY, in: WORKER, stub: method("ReadableStreamDefaultReader", "read"), costs: ["network"] },

  // The package's own files.
  worker: {
    at: ["platform/web.ts new Worker", "worker/start.ts new Worker"],
    in: PAGE,
    stub: "worker()",
    costs: ["network"],
  },
  wasm: { at: ["worker/host.ts init"], in: WORKER, stub: "fetching((url) => /wasm$/.test(url))", costs: ["network"] },
  compile: {
    at: ["worker/host.ts init"],
    in: WORKER,
    stub: `promise(WebAssembly, "instantiateStreaming")`,
    costs: ["network"],
  },

  // Between the page and its workers.
  question: { at: ASKED, in: PAGE, stub: "post(Worker.prototype)", costs: ["internal"], mayLast: true },
  answer: {
    at: ANSWERED,
    in: WORKER,
    stub: "post(globalThis)",
    kinds: SENT,
    costs: ["internal", "network"],
    mayLast: true,
  },
  turn: {
    at: ["platform/web-task.ts MessagePort.postMessage", "platform/web-task.ts new Promise"],
    in: WORKER,
    stub: "post(MessagePort.prototype)",
    kinds: SENT,
  },
  port: {
    at: ["port.ts MessagePort.postMessage", "port.ts new Promise"],
    in: EVERYWHERE,
    stub: "post(MessagePort.prototype)",
    by: "cache",
  },

  // What keeps models.
  open: {
    at: ["cache/indexeddb.ts openDB"],
    in: EVERYWHERE,
    stub: `request(IDBOpenDBRequest.prototype, IDBFactory.prototype, "open")`,
  },
  entries: { at: IDB.map((call) => `cache/indexeddb.ts ${call}`), in: EVERYWHERE, stub: ENTRIES },
  transaction: { at: ["cache/indexeddb.ts IDBPTransaction.done"], in: EVERYWHERE, stub: "transaction()" },
  estimate: {
    at: ["cache/indexeddb.ts StorageManager.estimate"],
    in: EVERYWHERE,
    stub: method("StorageManager", "estimate"),
  },
  persist: { at: ["embedder.ts StorageManager.persist"], in: PAGE, stub: method("StorageManager", "persist") },
  locks: {
    at: ["cache/locks.ts LockManager.request", "cache/locks.ts new Promise"],
    in: EVERYWHERE,
    stub: method("LockManager", "request"),
  },
  // Those of other models, which have to make room.
  evict: {
    at: ["cache/locks.ts LockManager.request"],
    in: EVERYWHERE,
    stub: method("LockManager", "request"),
    by: "eviction",
  },
  digest: { at: ["cache/sha256.ts SubtleCrypto.digest"], in: EVERYWHERE, stub: method("SubtleCrypto", "digest") },
  archive: {
    at: ["tar.ts Blob.arrayBuffer"],
    in: PAGE,
    stub: method("Blob", "arrayBuffer"),
    costs: ["integrity", "storage"],
  },

  // What is the caller's.
  ownFetch: {
    at: ["model/fetch.ts fetch"],
    in: PAGE,
    stub: method("TestFetch", "fetch"),
    by: "fetch",
    costs: ["network"],
  },
  ownBody: { at: BODY, in: PAGE, stub: method("ReadableStreamDefaultReader", "read"), by: "fetch", costs: ["network"] },
  get: cache("get"),
  put: cache("put"),
  delete: cache("delete"),
  keys: cache("keys"),
  room: cache("room"),
  texts: {
    at: ["embedder.ts AsyncIterator.next"],
    in: PAGE,
    stub: method("TestTexts", "next"),
    by: "texts",
    mayLast: true,
  },

  adapter: gpu(["gpu/adapter.ts GPU.requestAdapter", "gpu/host.ts openGpu"], WORKERS, method("GPU", "requestAdapter")),
  device: gpu(["gpu/host.ts requestDevice.call", "gpu/host.ts openGpu"], GPU, method("GPUAdapter", "requestDevice")),
  map: gpu(["gpu/host.ts Encoder.encode"], GPU, method("GPUBuffer", "mapAsync")),
  scope: gpu(["gpu/host.ts Encoder.encode"], GPU, method("GPUDevice", "popErrorScope")),
  // The wasm module could, and does not.
  done: { ...gpu(["gpu/host.ts Encoder.encode"], GPU, method("GPUQueue", "onSubmittedWorkDone")), isUnused: true },
  gpuWasm: gpu(["gpu/host.ts init"], GPU, "fetching(() => true)"),
  gpuWorker: gpu(["gpu/accelerator.ts new Worker", "worker/start.ts new Worker"], WORKER, "worker()"),
  gpuAnswer: gpu(["gpu/host.ts DedicatedWorkerGlobalScope.postMessage"], GPU, "post(globalThis)", SENT),
};

/** What only passes on the promises of others, what ends by itself, and what is made at once. */
export const NOT_THE_PLATFORM = [
  // The package itself, whose calls settle.
  "adapters/ai.ts for await stream",
  "adapters/langchain.ts Embedder.encodeDocument",
  "adapters/langchain.ts Embedder.encodeQuery",
  "adapters/lazy.ts new Promise",
  "adapters/orama.ts Embedder.encodeDocument",
  "adapters/orama.ts Embedder.encodeQuery",
  "adapters/semantic-embedder.ts for await stream",
  "adapters/transformers.ts Embedder.encode",
  // A pause.
  "cache/indexeddb.ts new Promise",
  "cache/port.ts new MessageChannel",
  // Of `Entries`, which are ours.
  ...[
    "ModelCache.get",
    "ModelCache.put",
    "ModelCache.keys",
    "ModelCache.room",
    "Entries.delete",
    "Entries.putWhole",
  ].map((name) => `cache/store.ts ${name}`),
  "embedder.ts new Promise",
  // The CPU's next work.
  "gpu/work.ts new Promise",
  "platform/web-task.ts new MessageChannel",
  "worker/turns.ts new Promise",
  "model/fetch.ts new MessageChannel",
  "model/folder.ts new Promise",
  "model/host.ts new Promise",
  "model/load.ts for await chunks",
  "port.ts new MessageChannel",
  "requirements.ts new Worker",
  // The caller's.
  "worker/pool.ts createWorker.createWorker",
  "settle.ts new Promise",
];

/**
 * Of a search index, whose life is another one (tests/browser/search.test.ts). Its worker waits for `Entries`, for a host and for
 * the page's embedder, which settle; whatever else it waits for, the page answers an abort itself, within a quarter of a second.
 */
export const OF_SEARCH = [
  // As those of the embedder's worker, through the same client.
  "platform/web-search.ts new Worker",
  "search/worker.ts init",
  "search/search-index.ts createWorker.createWorker",
  "search/search-index.ts new MessageChannel",
  // Of `Entries`, of an embedder and of the index itself, which are ours.
  ...["storage", "manage", "read-folder"].flatMap((file) =>
    [
      "ModelCache.get",
      "ModelCache.put",
      "ModelCache.keys",
      "ModelCache.room",
      "Entries.delete",
      "Entries.putWhole",
    ].map((name) => `search/${file}.ts ${name}`),
  ),
  ...["adding", "index-host", "groups", "query"].flatMap((file) =>
    [
      "Encoder.tokenCounts",
      "Encoder.encode",
      "RowSource.texts",
      "RowSource.vectors",
      "RowSource.lookup",
      "new Promise",
    ].map((name) => `search/${file}.ts ${name}`),
  ),
  "search/service.ts Embedder.encodeDocument",
  "search/service.ts Embedder.tokenCounts",
  "search/search-index.ts Embedder.encodeQuery",
  // A host: every answer and every piece of it has a time limit.
  "search/read-folder.ts fetch",
  "search/read-folder.ts new Promise",
  "search/read-folder.ts ReadableStreamDefaultReader.read",
  "search/read-folder.ts ReadableStreamGenericReader.cancel",
  // Of bytes in memory.
  "search/folder-index.ts ReadableStreamDefaultReader.read",
  "search/folder-index.ts ReadableStreamGenericReader.cancel",
  // Told to whoever listens.
  "search/index-host.ts new BroadcastChannel",
  "search/index-host.ts BroadcastChannel.postMessage",
  // The caller's; they end with an abort.
  "search/search-index.ts AsyncIterator.next",
  "search/search-index.ts Reranker.rank",
];

/** What a script runs first, so that its calls of the table fail. */
export async function faultyPrelude(script: Script): Promise<string> {
  const rows = Object.entries(PLATFORM_CALLS).filter(([, row]) => row.in.includes(script));
  const stubs = rows.map(([name, { stub }]) => `${name}: () => { ${stub} },`);
  const prelude = await readFile(new URL("platform-prelude.js", import.meta.url), "utf8");
  return `{ const STUBS = { ${stubs.join("\n")} };\n${prelude} }\n`;
}
