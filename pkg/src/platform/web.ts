// What differs between a browser and Node, without what is built on it: that is in `web-parts.ts`. For Node, build.mjs takes
// `node.ts` in place of this file.

import { withoutCredentials } from "../addresses.js";
import type { BuiltInCache } from "../cache/cache.js";
import { HERE, besides, isMoved, startAt, startBeside } from "../worker/start.js";

/** What a dedicated worker has of it; these sources are also a page's. */
interface WorkerScope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown, transfer: Transferable[]): void;
}

declare const self: WorkerScope;

/** The cache that is used where the caller names none. */
export const CACHE: BuiltInCache = "indexeddb";

/** What the option `cache` must be. */
export const CACHE_RULE: string =
  '"indexeddb", "memory", or an object with the methods get, put, delete, keys and room ("folder" is for Node)';

/** Where models are kept, for messages. */
export const STORAGE: string = "this browser's storage";

export const KEEPS: string = "This browser keeps the model for the next visit.";

export const NO_ROOM: string =
  "because this browser has no room left for it; free some space, for example with deleteModel";

/** What to do where a worker does not start. */
export const SCRIPT_MUST_BE: string = [
  ...(isMoved ? ['With Vite, add `optimizeDeps: { exclude: ["embervec"] }` to its configuration. Otherwise:'] : []),
  "Copy worker.js, gpu.js and the .wasm files from node_modules/embervec/dist to a folder of this site and pass the address of worker.js there as `workerUrl`,",
  'or start a module worker (`type: "module"`) yourself with the option `createWorker`.',
  "A Content-Security-Policy must allow it (worker-src; where it demands Trusted Types, `trusted-types embervec`).",
].join(" ");

/** What to do where a wasm module does not start. */
export const WASM_MUST_BE: string = [
  "Copy the .wasm files from node_modules/embervec/dist to a folder of this site and pass its address as `wasmUrl`, unless they are there.",
  "They must be served as application/wasm, and a Content-Security-Policy must allow 'wasm-unsafe-eval'.",
].join(" ");

export const HOST_MUST_BE: string =
  "Check your connection. If you are online, the host may be down or block requests from other sites (CORS), or this page's Content-Security-Policy (connect-src) may forbid it.";

export const PASS_TOKEN: string = 'pass a token in the option `headers`, as { Authorization: "Bearer …" }';

/** Refuses a device that cannot be there. */
export function checkDevice(_device: "auto" | "cpu" | "webgpu"): void {}

/** Whether a GPU may be tried, as far as the caller lets it. */
export function mayTryGpu(isAllowed: boolean): boolean {
  return isAllowed;
}

/** Why the CPU is used that nobody has demanded. */
export function cpuReason(reason: string): string {
  return reason;
}

/** What a load takes from the surroundings where the caller does not say. */
export interface Environment {
  localFilesOnly?: boolean | undefined;
}

export function environment(): Environment {
  return {};
}

/** The hub that the surroundings name where the caller does not. */
export function environmentHub(): string | undefined {
  return undefined;
}

/** Whether addresses of this protocol can be fetched without the option `fetch`. One letter is a drive of Windows. */
export function canFetch(protocol: string): boolean {
  return protocol.length > 2;
}

/** What is sent to the host of a model's folder, given the caller's own headers. */
export function headersFor(headers: Record<string, string>, _base: string): Record<string, string> {
  return headers;
}

/** What all that share a cache have in common: the built-in one, or a caller's own. */
export function lockManager(_isOwn: boolean): LockManager | undefined {
  return globalThis.navigator?.locks;
}

/** What addresses are relative to. */
export function pageUrl(): string {
  return withoutCredentials(globalThis.document?.baseURI ?? globalThis.location?.href ?? HERE ?? "file:///").href;
}

/** The address of a path on this machine; what is no path stays as it is. */
export function addressOf(path: string): string {
  return path;
}

/** Where a worker's script is and how it is started. */
export interface WorkerScript {
  url: URL;
  start: () => Worker;
}

/**
 * @param url absent for the package's own, whose address is written out because bundlers look for exactly this
 * @param page what the address is relative to where this script has none
 */
export function workerScript(url: string | undefined, page: string): WorkerScript {
  const name = "embervec";
  if (url !== undefined) return { url: new URL(url), start: () => startAt(url, name) };
  const plain = () => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name });
  return { url: besides("worker.js", page), start: () => startBeside("worker.js", name, plain) };
}

/** Says whether anybody waits for a worker or a port: in Node nothing else keeps a process alive. */
export function setBusy(_of: Worker | MessagePort, _isBusy: boolean): void {}

/** Lets any number of calls listen to a signal, of which Node warns. */
export function allowListeners(_signal: AbortSignal | undefined): void {}

/** Processors as the system counts them, and GiB of memory where it is known. */
export function machine(): { processors: number; memory: number | undefined } {
  const { hardwareConcurrency = 2, deviceMemory } = (globalThis.navigator ?? {}) as {
    hardwareConcurrency?: number;
    deviceMemory?: number;
  };
  return { processors: hardwareConcurrency, memory: deviceMemory };
}

/** What decides which of the kernels are the fastest, beside the package. */
export function engine(): string {
  return [navigator.hardwareConcurrency, navigator.userAgent].join(" ");
}

/** Takes what the page sends to this worker. */
export function receive<T>(handler: (message: T) => void): void {
  self.onmessage = ({ data }: MessageEvent<T>) => handler(data);
}

/** Sends to the page. */
export function send(message: unknown, transfer: Transferable[]): void {
  self.postMessage(message, transfer);
}

/** Fails the worker with an error that nobody can be told of. */
export function fail(error: unknown): void {
  reportError(error);
}

/** The address of a wasm module of the package. Written out, because bundlers look for exactly this. */
export function wasmAddress(simd: "simd128" | "relaxed"): URL {
  return withoutCredentials(
    simd === "relaxed"
      ? new URL("./embervec-relaxed.wasm", import.meta.url)
      : new URL("./embervec-simd128.wasm", import.meta.url),
  );
}

/** What a wasm module is made of. */
export function wasmSource(address: URL): URL | Promise<BufferSource> {
  return address;
}
