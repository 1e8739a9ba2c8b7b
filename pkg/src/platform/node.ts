// What differs between a browser and Node, Bun, Deno and Electron's main process: for these, build.mjs takes this file in place of
// `web.ts`, with the same exports.

import { setMaxListeners } from "node:events";
import { readFile } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parentPort } from "node:worker_threads";

import { DEFAULT_HUB } from "../addresses.js";
import type { BuiltInCache } from "../cache/cache.js";
import { EmbervecError } from "../errors.js";
import { cacheFolder } from "./node/folder-cache.js";
import { FileLocks } from "./node/file-locks.js";
import { Thread } from "./node/thread.js";
import type { Environment, WorkerScript } from "./web.js";

export type { Environment, WorkerScript };

export const CACHE: BuiltInCache = "folder";

export const CACHE_RULE =
  '"folder", "memory", or an object with the methods get, put, delete, keys and room ("indexeddb" is for browsers)';

export const STORAGE = "the cache folder";

export const KEEPS = "The cache folder keeps the model for the next time.";

export const NO_ROOM =
  "because the cache folder's disk has no room left for it; free some space, for example with deleteModel";

export const SCRIPT_MUST_BE =
  "It must be in the package's folder `dist/node` or at the option `workerUrl`. If you bundle your program, mark the package as external.";

export const WASM_MUST_BE =
  "It must be in the package's folder `dist` or in the option `wasmUrl`. If you bundle your program, mark the package as external.";

export const HOST_MUST_BE =
  "Check your connection. If you are online, the host may be down, or you may need a proxy (which the option `fetch` can use).";

export const PASS_TOKEN =
  'pass a token in the option `headers`, as { Authorization: "Bearer …" }, or for the hub in the environment variable HF_TOKEN';

export const NO_GPU = "there is no WebGPU outside of browsers";

export function checkDevice(device: "auto" | "cpu" | "webgpu"): void {
  if (device === "webgpu")
    throw new EmbervecError("unsupported_device", `WebGPU is not available: ${NO_GPU}. Use device "auto" or "cpu".`);
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
  const { HF_HUB_OFFLINE = "" } = process.env;
  return { localFilesOnly: TRUE.test(HF_HUB_OFFLINE.trim()) || undefined };
}

export function environmentHub(): string | undefined {
  const hub = process.env["HF_ENDPOINT"]?.trim();
  if (!hub || (/^(https?|file):/i.test(hub) && URL.canParse(hub))) return hub || undefined;
  const problem = `the environment variable HF_ENDPOINT is not the address of a hub, such as ${DEFAULT_HUB}`;
  throw new EmbervecError("invalid_input", problem);
}

/** Of the files of this machine `folderFetch` is the `fetch`. */
export function canFetch(protocol: string): boolean {
  return protocol === "http:" || protocol === "https:";
}

/** A token of the environment's goes only to the hub that it is for, and never in place of the caller's. */
export function headersFor(headers: Record<string, string>, base: string): Record<string, string> {
  const token = process.env["HF_TOKEN"]?.trim();
  const isGiven = Object.keys(headers).some((name) => name.toLowerCase() === "authorization");
  if (!token || isGiven || !isOfHub(base)) return headers;
  const authorization = `Bearer ${token}`;
  try {
    new Headers({ authorization });
  } catch {
    // Without its cause, which repeats the token.
    throw new EmbervecError("invalid_input", "the environment variable HF_TOKEN has characters that no token has");
  }
  return { ...headers, Authorization: authorization };
}

function isOfHub(base: string): boolean {
  try {
    return base.startsWith(`${new URL(environmentHub() ?? DEFAULT_HUB).origin}/`);
  } catch {
    // Whoever needs the hub hears that its address is wrong.
    return false;
  }
}

/** A caller's own cache has no folder here, and nothing is put into the one that it is used in place of. */
export function lockManager(isOwn: boolean): LockManager {
  const folder = () => join(tmpdir(), `embervec-${process.getuid?.() ?? "locks"}`);
  return new FileLocks(isOwn ? folder : cacheFolder) as unknown as LockManager;
}

/** The current folder. */
export function pageUrl(): string {
  return pathToFileURL(`${process.cwd()}/`).href;
}

export function addressOf(path: string): string {
  const isPath = process.platform === "win32" ? /^([a-z]:)?[\\/]|^\.\.?[\\/]/i : /^\.{0,2}\//;
  if (!isPath.test(path)) return path;
  // With a slash at its end: there, an address loses spaces and control characters.
  const { href } = pathToFileURL(resolve(path).replace(/[\\/]?$/, "/"));
  // A path that does not end so names a file.
  return /[\\/]$/.test(path) ? href : href.slice(0, -1);
}

export function workerScript(workerUrl: string | undefined): WorkerScript {
  const url = workerUrl === undefined ? new URL("./worker.js", import.meta.url) : new URL(workerUrl);
  return { url, start: () => new Thread(url) as unknown as Worker };
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

/** What the other sources import is here, too. */
export type Same = Check<typeof import("./node.js")>;
type Check<T extends typeof import("./web.js")> = T;
