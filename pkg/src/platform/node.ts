// What differs between a browser and Node, Bun, Deno and Electron's main process: for these, build.mjs takes this file in place of
// `web.ts`, with the same exports.

import { setMaxListeners } from "node:events";
import { readFile } from "node:fs/promises";
import { availableParallelism, cpus, totalmem } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parentPort } from "node:worker_threads";

import type { BuiltInCache, Entries } from "../cache/cache.js";
import type { Locks } from "../cache/locks.js";
import { OwnCache } from "../cache/own.js";
import { EmbervecError } from "../errors.js";
import { DEFAULT_HUB } from "../model/source.js";
import { FolderCache, cacheFolder } from "./node/folder-cache.js";
import { FileLocks } from "./node/file-locks.js";
import { Thread } from "./node/thread.js";
import type { Environment } from "./web.js";

export { folderFetch } from "./node/model-folder.js";

export type { Environment };

export const CACHE: BuiltInCache = "folder";

export const CACHE_RULE =
  '"folder", "memory", or an object with the methods get, put, delete, keys and room ("indexeddb" is for browsers)';

export const STORAGE = "the cache folder";

export const KEEPS = "The cache folder keeps the model for the next time.";

export const NO_ROOM = "because the cache folder's disk has no room left for it; free some, such as with deleteModel";

export const SCRIPT_MUST_BE =
  "it must lie in the package's folder `dist/node`, or where the option `workerUrl` says; a bundler must leave the package out of its bundle";

export const WASM_MUST_BE =
  "it must lie in the package's folder `dist`, or in that of the option `wasmUrl`; a bundler must leave the package out of its bundle";

export const HOST_MUST_BE =
  "there is no network, the host is down, or it is reached through a proxy only (which the option `fetch` can use)";

const NO_GPU = "there is no WebGPU outside of browsers";

export function checkDevice(device: "auto" | "cpu" | "webgpu"): void {
  if (device === "webgpu")
    throw new EmbervecError("unsupported_device", `device "webgpu" cannot be had: ${NO_GPU}; use "auto" or "cpu"`);
}

export function mayTryGpu(): boolean {
  return false;
}

export function cpuReason(): string {
  return `The CPU: ${NO_GPU}.`;
}

/** Truth as huggingface_hub reads it. */
const TRUE = /^(1|on|yes|true)$/i;

export function environment(): Environment {
  const { HF_ENDPOINT, HF_HUB_OFFLINE = "" } = process.env;
  return {
    hub: HF_ENDPOINT?.trim() || undefined,
    localFilesOnly: TRUE.test(HF_HUB_OFFLINE.trim()) || undefined,
  };
}

/** A token of the environment's goes only to the hub that it is for, and never in place of the caller's. */
export function headersFor(headers: Record<string, string>, base: string): Record<string, string> {
  const token = process.env["HF_TOKEN"]?.trim();
  const isGiven = Object.keys(headers).some((name) => name.toLowerCase() === "authorization");
  if (!token || isGiven || !isOfHub(base)) return headers;
  return { ...headers, Authorization: `Bearer ${token}` };
}

function isOfHub(base: string): boolean {
  try {
    return base.startsWith(`${new URL(environment().hub ?? DEFAULT_HUB).origin}/`);
  } catch {
    // Whoever needs the hub hears that its address is wrong.
    return false;
  }
}

export function openCache(locks: Locks): Entries {
  return new OwnCache(new FolderCache(cacheFolder()), locks);
}

export function lockManager(): LockManager {
  return new FileLocks(cacheFolder()) as unknown as LockManager;
}

/** The current folder. */
export function pageUrl(): string {
  return pathToFileURL(`${process.cwd()}/`).href;
}

export function addressOf(path: string): string {
  const isPath = process.platform === "win32" ? /^([a-z]:)?[\\/]|^\.\.?[\\/]/i : /^\.{0,2}\//;
  // A path that does not end so names a file.
  return isPath.test(path) ? pathToFileURL(resolve(path)).href + (/[\\/]$/.test(path) ? "/" : "") : path;
}

export function startWorker(url: string | undefined): Worker {
  return new Thread(url === undefined ? new URL("./worker.js", import.meta.url) : new URL(url)) as unknown as Worker;
}

export function setBusy(of: Worker | MessagePort, isBusy: boolean): void {
  const handle = of as { ref?(): void; unref?(): void };
  if (isBusy) handle.ref?.();
  else handle.unref?.();
}

export function allowListeners(signal: AbortSignal | undefined): void {
  if (signal) setMaxListeners(0, signal);
}

export function machine(): { processors: number; memory: number | undefined } {
  const limit = process.constrainedMemory?.() || Infinity;
  return { processors: processors(), memory: Math.min(totalmem(), limit) / 2 ** 30 };
}

export function engine(): string {
  const [cpu] = cpus();
  return [processors(), process.arch, process.versions.v8 ?? process.version, cpu?.model].join(" ");
}

function processors(): number {
  return availableParallelism?.() ?? cpus().length;
}

export function checkRequirements(): void {
  if (typeof WebAssembly === "object") return;
  throw new EmbervecError("unsupported_device", "embervec needs WebAssembly, which `--jitless` switches off");
}

export function receive<T>(handler: (message: T) => void): void {
  // This thread is the package's own.
  setMaxListeners(0);
  // As in a browser, where a promise that nobody has waited for is reported, and ends nothing.
  process.on("unhandledRejection", (error) => console.error("embervec:", error));
  parentPort!.on("message", handler);
}

export function send(message: unknown, transfer: Transferable[]): void {
  parentPort!.postMessage(message, transfer as never);
}

export function fail(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}

export function wasmAddress(simd: "simd128" | "relaxed"): URL {
  return simd === "relaxed"
    ? new URL("../embervec-relaxed.wasm", import.meta.url)
    : new URL("../embervec-simd128.wasm", import.meta.url);
}

/** V8 compiles the same bytes only once in a process, whichever thread asks. */
export function wasmSource(address: URL): URL | Promise<BufferSource> {
  return address.protocol === "file:" ? readFile(fileURLToPath(address)) : address;
}

/** Nobody asks for a GPU: see {@link checkDevice}. */
export class Accelerator {
  readonly isDemanded: boolean = false;

  static async start(_options: object): Promise<never> {
    throw new EmbervecError("unsupported_device", NO_GPU);
  }

  async encode(_batch: object): Promise<Float32Array | undefined> {
    return undefined;
  }

  fail(_error: unknown): void {}
}

/** What the other sources import is here, too. */
export type Same = Check<typeof import("./node.js")>;
type Check<T extends Omit<typeof import("./web.js"), "Accelerator">> = T;
