// The worker's side: everything heavy happens here. Built as `worker.js`.

import init, { Embedder, Folder, type Job, Loader } from "../../wasm/simd128/embervec.js";

import type { CacheChoice } from "../cache/cache.js";
import { receiveCache } from "../cache/port.js";
import { ModelStore } from "../cache/store.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import type { FolderFile, FolderPlan } from "../model/folder.js";
import { portFetch } from "../model/fetch.js";
import { type ModelSink, loadModel } from "../model/load.js";
import type { Batch } from "../gpu/protocol.js";
import { CpuWork } from "../gpu/work.js";
import { KEEPS, WASM_MUST_BE, fail, receive, send, wasmAddress, wasmSource } from "../platform/web.js";
import { nextTask } from "../platform/web-task.js";
import { Accelerator, folderFetch } from "../platform/web-parts.js";
import { settled } from "../settle.js";
import type { Dtype } from "../types.js";
import { MeasuredKernels } from "./kernels.js";
import { Turns } from "./turns.js";
import type {
  Calls,
  DeviceChoice,
  EncodeRequestOptions,
  EncodeResult,
  FromWorker,
  LoadRequest,
  LoadResult,
  ToWorker,
} from "./protocol.js";

/** The package's. */
declare const EMBERVEC_VERSION: string;

/** Milliseconds for a wasm module to come and be compiled: 0.7 MB at 50 kbit/s. */
const WASM_MS = 120_000;

/** Each piece is copied into wasm's memory, which never shrinks. */
const PIECE_BYTES = 1 << 18;

/** Tokens are counted in pieces of so many characters: 5 to 10 ms. */
const COUNTED_CHARACTERS = 1 << 14;

/** Characters that take as long as a call of the wasm module. */
const CALL_CHARACTERS = 16;

let embedder: Embedder | undefined;
let store: ModelStore | undefined;
let cache: CacheChoice | undefined;
let loadRequest: LoadRequest | undefined;
let accelerator: Accelerator | undefined;
const work = new CpuWork();
const turns = new Turns(nextTask);
/** The request that the page takes to be the one that computes. */
let turn: number | undefined;
const aborts = new Map<number, AbortController>();

receive((message: ToWorker) => {
  if (message.type === "abort") {
    aborts.get(message.id)?.abort();
    return;
  }
  // The page would wait for what cannot be posted; so it hears of an error of the worker.
  answer(message).catch(fail);
});

async function answer(message: Exclude<ToWorker, { type: "abort" }>): Promise<void> {
  const { id } = message;
  const abort = new AbortController();
  const { signal } = abort;
  aborts.set(id, abort);
  try {
    switch (message.type) {
      case "load":
        return reply({ type: "result", id, result: await load(id, message.request, signal) });
      case "encode": {
        const { texts, options } = message.request;
        const result = await encode(id, texts, options, signal);
        return reply({ type: "result", id, result }, [result.vectors.buffer]);
      }
      case "tokenize": {
        tellTurn(id);
        const result = loaded().tokenize(message.request.text) as Calls["tokenize"]["result"];
        return reply({ type: "result", id, result });
      }
      case "tokenCounts":
        return reply({ type: "result", id, result: await tokenCounts(id, message.request.texts, signal) });
      case "useGpu":
        return reply({ type: "result", id, result: await useGpu(id, message.request.demanded) });
    }
  } catch (error) {
    reply(errorReply(id, error));
  } finally {
    aborts.delete(id);
  }
}

/** Should this worker end without a word, the page knows over what. */
function tellTurn(id: number): void {
  if (turn !== id) reply({ type: "turn", id });
  turn = id;
}

type ModelInfo = Omit<
  LoadResult,
  "cached" | "stored" | "storedReason" | "asksForPersistence" | "simd" | "memoryBytes" | "weights" | "version"
>;

async function load(id: number, request: LoadRequest, signal: AbortSignal): Promise<LoadResult> {
  try {
    const simd = hasRelaxedSimd() ? "relaxed" : "simd128";
    const module = request.wasmUrl ? new URL(`embervec-${simd}.wasm`, request.wasmUrl) : wasmAddress(simd);
    cache = receiveCache(request.cache);
    // A folder of this machine is read where it is.
    const ofFolder = folderFetch(request.base);
    const [opened, memory] = await Promise.all([
      ModelStore.open(ofFolder ? "memory" : cache, signal),
      startWasm(module, signal),
    ]);
    store = opened;
    const kernels = await MeasuredKernels.find(store, simd);
    loadRequest = request;
    const { name, revision, base, pointers, headers, credentials, integrity, dtype } = request;
    const localFilesOnly = request.localFilesOnly && !ofFolder;
    const fetch = ofFolder ?? (request.fetch && portFetch(request.fetch));
    const { model, cached, weights } = await loadModel(store, () => wasmSink(dtype, kernels.names), {
      name,
      revision,
      host: { base, pointers, headers, credentials, fetch, integrity, signal },
      dtype,
      localFilesOnly,
      progress: (event) => reply({ type: "progress", id, event }),
    });
    embedder = model;
    const info = modelInfo(model);
    await kernels.keep(info.kernels);
    const unusable = ofFolder ? undefined : store.unusable;
    const kept = ofFolder ? "The model is read from its folder, so the cache does not keep it, too." : KEEPS;
    return {
      cached,
      stored: unusable === undefined,
      storedReason: unusable === undefined ? kept : `The model is not kept, ${unusable}.`,
      asksForPersistence:
        request.persist &&
        cache === "indexeddb" &&
        unusable === undefined &&
        (await store.isFirst("asked for persistence")),
      simd,
      memoryBytes: memory.buffer.byteLength,
      weights,
      version: EMBERVEC_VERSION,
      ...info,
    };
  } catch (error) {
    throw withAddress(error, request.base);
  }
}

function modelInfo(model: Embedder): ModelInfo {
  const info = model.info() as ModelInfo & { maxSeqLength: number | null };
  return { ...info, maxSeqLength: info.maxSeqLength ?? Infinity };
}

/** Batch by batch. Between two batches others have their turn, and an abort is heard. */
async function encode(
  id: number,
  texts: string[],
  options: EncodeRequestOptions,
  signal: AbortSignal,
): Promise<EncodeResult> {
  const gpu = accelerator;
  // One for all batches, so that requests of the same length are finished one after the other.
  const due = turns.due(charactersOf(texts));
  let job = undefined as Job | undefined;
  let ms = 0;
  const take = (action: () => void) =>
    turns.take(due, () => {
      signal.throwIfAborted();
      tellTurn(id);
      const started = performance.now();
      action();
      ms += performance.now() - started;
    });
  const compute = () => loaded().compute(job!);
  try {
    await take(() => {
      // Not before its turn, so that memory does not grow with the number of requests that wait.
      job = loaded().begin(texts, options, gpu !== undefined);
      // A query is answered in one turn.
      if (!gpu) compute();
    });
    if (gpu)
      await encodeThere(
        gpu,
        job!,
        () => take(compute),
        () => void loaded().encode(texts, options),
        signal,
      );
    else while (!job!.isDone()) await take(compute);
  } catch (error) {
    // Else nothing is certain any more.
    if (!isFatal(error)) job?.free();
    throw error;
  }
  const result = job!.finish() as EncodeResult;
  if (!gpu) work.note(texts, options, result, ms);
  return result;
}

/** @param explain throws what is wrong with the texts, if anything is */
async function encodeThere(
  gpu: Accelerator,
  job: Job,
  compute: () => Promise<void>,
  explain: () => void,
  signal: AbortSignal,
): Promise<void> {
  for (let batch = job.batch() as Batch | undefined; batch; batch = job.batch() as Batch | undefined) {
    const vectors = await gpu.encode(batch);
    signal.throwIfAborted();
    if (vectors && isTaken(job, vectors)) continue;
    // Of a text that has no finite vector the CPU says which it is; else the GPU is at fault. What is demanded of one is not taken
    // from the CPU: the batch's turn comes again.
    if (vectors && gpu.isDemanded) explain();
    else await compute();
    if (vectors) gpu.fail(new EmbervecError("internal", "it gave a vector that is not finite"));
  }
}

/** Takes what a GPU has made of a job's next batch, unless a vector is not finite. */
function isTaken(job: Job, vectors: Float32Array): boolean {
  if (!vectors.every(Number.isFinite)) return false;
  try {
    loaded().accept(job, vectors);
    return true;
  } catch (error) {
    // After what follows the encoder one is not.
    if (codeOf(error) === "unsupported_model") return false;
    throw error;
  }
}

/** Piece by piece, in the pieces of texts that the tokenizer can be given alone. */
async function tokenCounts(id: number, texts: string[], signal: AbortSignal): Promise<Uint32Array> {
  const counts = new Uint32Array(texts.length);
  const characters = charactersOf(texts);
  let index = 0;
  let at = 0;
  let size = COUNTED_CHARACTERS;
  const piece = () => {
    signal.throwIfAborted();
    tellTurn(id);
    for (let left = COUNTED_CHARACTERS; left > 0 && index < texts.length; ) {
      const text = texts[index]!;
      const part = text.slice(at, borderOf(text, at + size));
      const isEnd = at + part.length === text.length;
      const [tokens = 0, length = 0] = loaded().countTokens(part, isEnd);
      counts[index]! += tokens;
      left -= part.length + CALL_CHARACTERS;
      at = isEnd ? 0 : at + length;
      // No border in it. Of a text that ends there is no more to be given: an empty one has no length, either.
      size = length === 0 && !isEnd ? 2 * size : COUNTED_CHARACTERS;
      if (isEnd) index += 1;
    }
  };
  // There may be thousands of pieces: none of them is older than the others' requests.
  while (index < texts.length) await turns.take(turns.due(characters), piece);
  return counts;
}

function charactersOf(texts: readonly string[]): number {
  return texts.reduce((sum, { length }) => sum + length, 0);
}

/** Not between the two halves of a character. */
function borderOf(text: string, at: number): number {
  return (text.codePointAt(at - 1) ?? 0) > 0xffff ? at - 1 : at;
}

async function useGpu(id: number, demanded: boolean): Promise<DeviceChoice> {
  if (!store || !cache || !loadRequest) throw new EmbervecError("internal", "no model is loaded");
  const found = await Accelerator.start({
    embedder: loaded(),
    work,
    store,
    cache,
    request: loadRequest,
    demanded,
    progress: (event) => reply({ type: "progress", id, event }),
    onChange: (choice) => reply({ type: "device", ...choice }),
  });
  accelerator = found.accelerator;
  return found.choice;
}

/**
 * Whether this engine takes relaxed SIMD: it validates a function with one `i8x16.relaxed_swizzle`
 * (the module is that of GoogleChromeLabs/wasm-feature-detect).
 */
function hasRelaxedSimd(): boolean {
  return WebAssembly.validate(
    Uint8Array.of(
      0,
      97,
      115,
      109,
      1,
      0,
      0,
      0,
      1,
      5,
      1,
      96,
      0,
      1,
      123,
      3,
      2,
      1,
      0,
      10,
      15,
      1,
      13,
      0,
      65,
      1,
      253,
      15,
      65,
      2,
      253,
      15,
      253,
      128,
      2,
      11,
    ),
  );
}

async function startWasm(module: URL, signal: AbortSignal): Promise<WebAssembly.Memory> {
  try {
    const { memory } = await settled("the network", () => init({ module_or_path: wasmSource(module) }), {
      ms: WASM_MS,
      signal,
    });
    return memory;
  } catch (cause) {
    signal.throwIfAborted();
    const reason = messageOf(cause);
    // In the words of Chromium and Firefox, and of Safari.
    const isOther = /magic|\\0asm/.test(reason);
    throw new EmbervecError(
      "network",
      `${String(module)} could not be started (${reason})${isOther ? ": the file is not WebAssembly; servers that do not have a file often send an HTML page" : ""}. ${WASM_MUST_BE}`,
      { cause },
    );
  }
}

/** What an attempt to load has made so far. When it fails, its weights would stay beside those of the next one. */
let unfinished: Folder | Loader | undefined;

function wasmSink(dtype: Dtype, kernels: string | undefined): ModelSink<Embedder> {
  unfinished?.free();
  const folder = new Folder();
  unfinished = folder;
  let loader: Loader | undefined;
  const begun = () => {
    if (!loader) throw new EmbervecError("internal", "the loader has not begun");
    return loader;
  };
  return {
    plan: folder as FolderPlan,
    begin: () => {
      const weights = folder.weights() as FolderFile[];
      loader = new Loader(folder, dtype, kernels);
      folder.free();
      unfinished = loader;
      return weights;
    },
    beginWeights: (path, length) => begun().beginWeights(path, length),
    pushWeights: (bytes) => {
      for (let at = 0; at < bytes.length; at += PIECE_BYTES) begun().pushWeights(bytes.subarray(at, at + PIECE_BYTES));
    },
    takeConverted: () => begun().takeConverted() as Uint8Array<ArrayBuffer>,
    endWeights: () => begun().endWeights(),
    finish: () => {
      unfinished = undefined;
      return begun().finish();
    },
  };
}

function loaded(): Embedder {
  if (!embedder) throw new EmbervecError("internal", "no model is loaded");
  return embedder;
}

/** What the loader says of a file begins with its path in the folder; a page wants its address. */
function withAddress(error: unknown, base: string): unknown {
  const code = codeOf(error);
  const isOfFile = code === "integrity" || code === "unsupported_model" || code === "model_not_found";
  if (error instanceof EmbervecError || !isOfFile) return error;
  return new EmbervecError(code, base + messageOf(error), { cause: error });
}

/** Whether the wasm module is in an unknown state. */
function isFatal(error: unknown): boolean {
  if (codeOf(error)) return (Object(error) as { fatal?: unknown }).fatal === true;
  return !isAbort(error);
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

function errorReply(id: number, error: unknown): FromWorker {
  const code = codeOf(error);
  const fatal = isFatal(error);
  const { cause: origin } = Object(error) as { cause?: unknown };
  const cause =
    origin === undefined
      ? {}
      : { cause: { name: origin instanceof Error ? origin.name : "Error", message: messageOf(origin) } };
  if (code) return { type: "error", id, code, message: messageOf(error), ...cause, fatal };
  // A trap, such as memory that could not grow; or a bug. Either way nothing is certain any more.
  const isTrap = error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
  const why = isTrap ? "; most likely this device has too little memory for the model" : "";
  const message = isAbort(error) ? "aborted" : `the worker stopped: ${messageOf(error)}${why}`;
  return { type: "error", id, code: "internal", message, fatal };
}

function reply(message: FromWorker, transfer: Transferable[] = []): void {
  send(message, transfer);
}

reply({ type: "started" });
