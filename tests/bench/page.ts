// What runs in a page of the benchmark: one variant of one engine behind the same few calls, or the peak loops.

import type { Artefact, Kernel } from "./kernels.ts";

/** An engine with one type of weights. */
export interface Variant {
  name: string;
  engine: "embervec" | "transformers.js";
  dtype: string;
  threads: number;
  /** Folder of the model on the benchmark's server. */
  model: string;
  /** Base name of the ONNX file, where it is not `model`. */
  file?: string;
  /** Default: the CPU. */
  device?: "webgpu";
}

export interface LoadTimes {
  /** ms from nothing, the engine's own code included, until it is ready. */
  load: number;
  /** ms from nothing until the vector of a first short text. */
  firstVector: number;
}

type Encode = (texts: string[]) => Promise<Float32Array[]>;

/** The part of embervec that is used; imported by its address, as a page without a bundler does. */
interface Embervec {
  Embedder: {
    load(
      model: string,
      options: object,
    ): Promise<{
      info: { dtype: string; workers: number; kernels: string };
      encode(texts: string[]): Promise<Float32Array[]>;
      encodeStream(texts: string[]): AsyncIterable<{ index: number }>;
      tokenize(text: string): Promise<{ inputIds: number[] }>;
    }>;
  };
}

/** The part of transformers.js that is used. Not its own types: only the benchmark installs it. */
interface Transformers {
  env: {
    allowLocalModels: boolean;
    remoteHost: string;
    remotePathTemplate: string;
    backends: { onnx: { wasm: { numThreads: number; wasmPaths: { mjs: string; wasm: string } } } };
  };
  pipeline(
    task: "feature-extraction",
    model: string,
    options: object,
  ): Promise<(texts: string[], options: object) => Promise<{ data: Float32Array; dims: [number, number] }>>;
}

declare global {
  interface Performance {
    measureUserAgentSpecificMemory(): Promise<{ bytes: number }>;
  }
}

const ORT = "/tests/bench/node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify";

let encode: Encode;
let stream: (texts: string[]) => AsyncIterable<{ index: number }>;
let tokenCount: (text: string) => Promise<number>;
/** The kernels that embervec has chosen. */
let chosen: string | undefined;

async function loadEmbervec({ model, dtype, threads, device }: Variant): Promise<void> {
  const address = "/pkg/dist/index.js";
  const { Embedder }: Embervec = await import(address);
  const workers = threads > 1 ? { workers: threads } : {};
  const embedder = await Embedder.load(model, { device: device ?? "cpu", dtype, ...workers });
  const { info } = embedder;
  if (info.dtype !== dtype || info.workers !== threads) {
    throw new Error(`got ${info.dtype} and ${info.workers} worker(s)`);
  }
  chosen = info.kernels;
  encode = (texts) => embedder.encode(texts);
  stream = (texts) => embedder.encodeStream(texts);
  tokenCount = async (text) => (await embedder.tokenize(text)).inputIds.length;
}

async function loadTransformers({ model, dtype, threads, file, device }: Variant): Promise<void> {
  const address = "/target/bench/transformers.js";
  const { env, pipeline }: Transformers = await import(address);
  // As from the hub: what is fetched goes to the cache.
  env.allowLocalModels = false;
  env.remoteHost = location.origin;
  env.remotePathTemplate = "{model}/";
  // The files that it takes from a CDN by default.
  env.backends.onnx.wasm.wasmPaths = { mjs: `${ORT}.mjs`, wasm: `${ORT}.wasm` };
  env.backends.onnx.wasm.numThreads = threads;
  const options = { dtype, device: device ?? "wasm", ...(file === undefined ? {} : { model_file_name: file }) };
  const extract = await pipeline("feature-extraction", model, options);
  encode = async (texts) => {
    const { data, dims } = await extract(texts, { pooling: "mean", normalize: true });
    return texts.map((_, i) => data.subarray(i * dims[1], (i + 1) * dims[1]));
  };
}

async function load(variant: Variant): Promise<LoadTimes> {
  const start = performance.now();
  await (variant.engine === "embervec" ? loadEmbervec : loadTransformers)(variant);
  const load = performance.now() - start;
  await encode(["a first short text"]);
  return { load, firstVector: performance.now() - start };
}

/** Bytes of the page and its workers, without unshared wasm memories, which Chromium leaves out. */
async function memory(): Promise<number> {
  return (await performance.measureUserAgentSpecificMemory()).bytes;
}

/** ms for encoding these texts in one call. */
async function time(texts: string[]): Promise<number> {
  const start = performance.now();
  const vectors = await encode(texts);
  const ms = performance.now() - start;
  if (vectors.length !== texts.length || !vectors.every((vector) => Number.isFinite(vector[0]))) {
    throw new Error("the vectors are wrong");
  }
  return ms;
}

/** ms for encoding these texts one after the other, as a program with a loop does. */
async function timeEach(texts: string[]): Promise<number> {
  let spent = 0;
  for (const text of texts) spent += await time([text]);
  return spent;
}

/** The texts' vectors, in calls of `batch` texts. */
async function embed(texts: string[], batch: number): Promise<number[][]> {
  const rows: number[][] = [];
  for (let i = 0; i < texts.length; i += batch) {
    for (const row of await encode(texts.slice(i, i + batch))) rows.push([...row]);
  }
  return rows;
}

/** ms of a stream, and of queries that come one after the other, `pause` ms apart, as long as it lasts; none for a pause of `Infinity`. */
async function besideBulk(texts: string[], query: string, pause: number): Promise<{ bulk: number; queries: number[] }> {
  const start = performance.now();
  let isOver = false;
  const bulk = (async () => {
    for await (const _ of stream(texts));
    isOver = true;
    return performance.now() - start;
  })();
  const queries: number[] = [];
  for (;;) {
    const wait = new Promise((resolve) => pause < Infinity && setTimeout(resolve, pause));
    await Promise.race([wait, bulk]);
    if (isOver) return { bulk: await bulk, queries };
    queries.push(await time([query]));
  }
}

function chosenKernels(): string | undefined {
  return chosen;
}

function tokenCounts(texts: string[]): Promise<number[]> {
  return Promise.all(texts.map(tokenCount));
}

const loops = new Map<string, (iterations: number) => number>();

/** Compiles a loop and runs it until the optimising compiler has replaced its first code; false if it does not validate. */
async function loadLoop(name: string, wasm: string): Promise<boolean> {
  const bytes = Uint8Array.from(atob(wasm), (character) => character.charCodeAt(0));
  if (!WebAssembly.validate(bytes)) return false;
  const { instance } = await WebAssembly.instantiate(bytes);
  loops.set(name, instance.exports["run"] as (iterations: number) => number);
  for (let end = performance.now() + 300; performance.now() < end; ) timeLoop(name, 10_000);
  return true;
}

/** ms for so many iterations of a loop. */
function timeLoop(name: string, iterations: number): number {
  const start = performance.now();
  loops.get(name)!(iterations);
  return performance.now() - start;
}

interface KernelExports extends Record<Kernel["call"], (...args: number[]) => number> {
  memory: WebAssembly.Memory;
  warm_up(): void;
  select(): void;
  message(): number;
  message_len(): number;
}

const kernels = new Map<Artefact, KernelExports>();

/** Starts an artefact's kernels as the package does; gives the names of the variants that were chosen. */
async function loadKernels(artefact: Artefact): Promise<string> {
  const imports = { env: { now: () => performance.now() } };
  const { instance } = await WebAssembly.instantiateStreaming(fetch(`/tests/.build/kernels-${artefact}.wasm`), imports);
  const exported = instance.exports as unknown as KernelExports;
  kernels.set(artefact, exported);
  exported.warm_up();
  // While the optimising compiler works.
  await new Promise((resolve) => setTimeout(resolve, 100));
  exported.select();
  return new TextDecoder().decode(new Uint8Array(exported.memory.buffer, exported.message(), exported.message_len()));
}

/** ms of one run of a kernel, the mean of some 2 ms. */
function timeKernel(artefact: Artefact, { call, args }: Kernel): number {
  return kernels.get(artefact)![call](...args, 1);
}

const api = {
  load,
  time,
  timeEach,
  besideBulk,
  embed,
  memory,
  tokenCounts,
  chosenKernels,
  loadLoop,
  timeLoop,
  loadKernels,
  timeKernel,
};
export type Bench = typeof api;

declare global {
  var bench: Bench;
}
globalThis.bench = api;
