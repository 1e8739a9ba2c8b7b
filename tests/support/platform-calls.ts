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
  /** What a life cycle may fail with. Without them its vectors must be right all the same. */
  costs?: readonly EmbervecErrorCode[];
  /** What makes the call: a cache or texts of the caller's, a GPU, or another model that may have to go. */
  by?: "cache" | "texts" | "gpu" | "eviction";
}

const EVERYWHERE = ["page", "worker.js", "gpu.js"] as const;
const WORKERS = ["worker.js", "gpu.js"] as const;

/** Of a message that nobody is there to answer. */
const SENT = ["hangs", "throws"] as const;

/** What `idb` calls when it is asked for an entry, and for all keys. */
const IDB = ["get", "put", "delete", "getAllKeys"].map((name) => `cache/indexeddb.ts IDBPDatabase.${name}`);

const ENTRIES = ["get", "put", "delete", "getAllKeys"].map((name) => `request(IDBRequest.prototype, IDBObjectStore.prototype, "${name}");`).join(" ");

const cacheMethod = (name: string): PlatformCall => ({
  at: [`cache/store.ts ModelCache.${name}`],
  in: ["page"],
  stub: `promise(TestCache.prototype, "${name}")`,
  by: "cache",
});

export const PLATFORM_CALLS: Record<string, PlatformCall> = {
  // The model host.
  fetch: { at: ["model/host.ts fetch"], in: ["worker.js"], stub: `promise(globalThis, "fetch", (url) => !/wasm$/.test(url))`, costs: ["network"] },
  body: { at: ["model/host.ts ReadableStreamDefaultReader.read"], in: ["worker.js"], stub: `promise(ReadableStreamDefaultReader.prototype, "read")`, costs: ["network"] },

  // The package's own files.
  worker: { at: ["worker/pool.ts new Worker"], in: ["page"], stub: "worker()", costs: ["internal", "network", "unsupported_device"] },
  wasm: { at: ["worker/host.ts init"], in: ["worker.js"], stub: `promise(globalThis, "fetch", (url) => /wasm$/.test(url))`, costs: ["network"] },
  compile: { at: ["worker/host.ts init"], in: ["worker.js"], stub: `promise(WebAssembly, "instantiateStreaming")`, costs: ["network"] },

  // Between the page and its workers.
  question: { at: ["worker/client.ts Worker.postMessage", "worker/client.ts new Promise"], in: ["page"], stub: "post(Worker.prototype)", costs: ["internal"] },
  answer: { at: ["worker/host.ts DedicatedWorkerGlobalScope.postMessage"], in: ["worker.js"], stub: "post(globalThis)", kinds: SENT, costs: ["internal"] },
  port: { at: ["port.ts MessagePort.postMessage", "port.ts new Promise"], in: ["page", "worker.js"], stub: "post(MessagePort.prototype)", by: "cache" },

  // What keeps models.
  open: { at: ["cache/indexeddb.ts openDB"], in: EVERYWHERE, stub: `request(IDBOpenDBRequest.prototype, IDBFactory.prototype, "open")` },
  entries: { at: IDB, in: EVERYWHERE, stub: ENTRIES },
  transaction: { at: IDB, in: EVERYWHERE, stub: "transaction()" },
  estimate: { at: ["cache/indexeddb.ts StorageManager.estimate"], in: EVERYWHERE, stub: `promise(globalThis.StorageManager?.prototype, "estimate")` },
  persist: { at: ["embedder.ts StorageManager.persist"], in: ["page"], stub: `promise(globalThis.StorageManager?.prototype, "persist")` },
  locks: { at: ["cache/store.ts LockManager.request", "model/load.ts LockManager.request"], in: EVERYWHERE, stub: `promise(globalThis.LockManager?.prototype, "request")` },
  digest: { at: ["cache/sha256.ts SubtleCrypto.digest"], in: EVERYWHERE, stub: `promise(globalThis.SubtleCrypto?.prototype, "digest")` },
  archive: { at: ["model/archive.ts Blob.arrayBuffer"], in: ["page"], stub: `promise(Blob.prototype, "arrayBuffer")`, costs: ["integrity"] },
  // Asked for only where there is no room.
  query: { at: ["cache/store.ts LockManager.query"], in: EVERYWHERE, stub: `promise(globalThis.LockManager?.prototype, "query")`, by: "eviction" },

  // What is the caller's.
  get: cacheMethod("get"),
  put: cacheMethod("put"),
  delete: cacheMethod("delete"),
  keys: cacheMethod("keys"),
  room: cacheMethod("room"),
  texts: { at: ["embedder.ts for await texts"], in: ["page"], stub: `promise(TestTexts.prototype, "next")`, by: "texts" },

  // The GPU. Whatever it does, the CPU finishes; where it was demanded, the call may say that it cannot be had.
  adapter: { at: ["gpu/adapter.ts GPU.requestAdapter", "gpu/host.ts openGpu"], in: WORKERS, stub: `promise(globalThis.GPU?.prototype, "requestAdapter")`, by: "gpu", costs: ["unsupported_device"] },
  device: { at: ["gpu/host.ts requestDevice.call", "gpu/host.ts openGpu"], in: ["gpu.js"], stub: `promise(globalThis.GPUAdapter?.prototype, "requestDevice")`, by: "gpu", costs: ["unsupported_device"] },
  map: { at: ["gpu/host.ts Encoder.encode"], in: ["gpu.js"], stub: `promise(globalThis.GPUBuffer?.prototype, "mapAsync")`, by: "gpu", costs: ["unsupported_device", "device_lost"] },
  scope: { at: ["gpu/host.ts Encoder.encode"], in: ["gpu.js"], stub: `promise(globalThis.GPUDevice?.prototype, "popErrorScope")`, by: "gpu", costs: ["unsupported_device", "device_lost"] },
  done: { at: ["gpu/host.ts Encoder.encode"], in: ["gpu.js"], stub: `promise(globalThis.GPUQueue?.prototype, "onSubmittedWorkDone")`, by: "gpu", costs: ["unsupported_device", "device_lost"] },
  gpuWasm: { at: ["gpu/host.ts init"], in: ["gpu.js"], stub: `promise(globalThis, "fetch")`, by: "gpu", costs: ["unsupported_device"] },
  gpuWorker: { at: ["gpu/accelerator.ts new Worker"], in: ["worker.js"], stub: "worker()", by: "gpu", costs: ["unsupported_device"] },
  gpuAnswer: { at: ["gpu/host.ts DedicatedWorkerGlobalScope.postMessage"], in: ["gpu.js"], stub: "post(globalThis)", kinds: SENT, by: "gpu", costs: ["unsupported_device", "device_lost"] },
};

/** What ends by itself: timers, and what only passes on the promises of others; and what is made at once. */
export const NOT_THE_PLATFORM = [
  "port.ts new MessageChannel",
  "cache/port.ts new MessageChannel",
  "settle.ts new Promise",
  "model/host.ts new Promise",
  "embedder.ts new Promise",
  "cache/store.ts new Promise",
  "model/load.ts for await chunks",
];

/** What a script runs first, so that its calls of the table fail. */
export async function faultyPrelude(script: Script): Promise<string> {
  const rows = Object.entries(PLATFORM_CALLS).filter(([, row]) => row.in.includes(script));
  const stubs = rows.map(([name, { stub }]) => `${name}: () => { ${stub} },`);
  const prelude = await readFile(new URL("platform-prelude.js", import.meta.url), "utf8");
  return `{ const STUBS = { ${stubs.join("\n")} };\n${prelude} }\n`;
}
