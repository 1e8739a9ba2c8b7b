import { EmbervecError, messageOf } from "./errors.js";
import { dtypeOf, folderUrl, pageUrl, resolveModel } from "./model/source.js";
import { checkEncodeOptions, checkLoadOptions, checkPrecision, checkStreamOptions, checkText, checkTexts } from "./options.js";
import { checkRequirements } from "./requirements.js";
import type {
  EmbedderInfo,
  EncodeOptions,
  LoadOptions,
  Precision,
  StreamItem,
  StreamOptions,
  Tokens,
} from "./types.js";
import { quantizeEmbeddings } from "./vectors.js";
import { WorkerPool } from "./worker/pool.js";
import type { DeviceChoice, EncodeRequestOptions, EncodeResult } from "./worker/protocol.js";

/**
 * Texts go to the worker in slices of about so many characters. A slice is a few hundred tokens:
 * enough to keep the encoder busy, and short enough that a query, an abort or a progress bar does
 * not wait long behind a bulk job, which has at most two slices per worker under way.
 */
const SLICE_CHARACTERS = 2048;
const SLICE_TEXTS = 64;

/**
 * A job of so many slices, about 8,000 tokens, makes the GPU worth trying: with MiniLM it is a second
 * of work for the CPU, and loading a GPU's code, model and kernels takes about as long.
 */
const BULK_SLICES = 16;

type TokenVectors = Float32Array[];

interface VectorOfPrecision {
  float32: Float32Array;
  int8: Int8Array;
  uint8: Uint8Array;
  binary: Int8Array;
  ubinary: Uint8Array;
}

/** What an option may be in a call; its default where the call leaves it out. */
type Chosen<Options, Name extends keyof EncodeOptions, Default> = Name extends keyof Options
  ? Exclude<Options[Name], undefined> | (undefined extends Options[Name] ? Default : never)
  : Default;

/** A union where the type of the options leaves open what the call gives. */
type VectorOf<Options extends EncodeOptions> =
  | ("token" extends Chosen<Options, "output", "sentence"> ? TokenVectors : never)
  | ("sentence" extends Chosen<Options, "output", "sentence">
      ? VectorOfPrecision[Chosen<Options, "precision", "float32"> & Precision]
      : never);

/** `Options` alone would leave the parameter of a `progress` that is written in the call without a type. */
type WithProgress<Options> = Options & Pick<EncodeOptions, "progress">;

/** A loaded model. See {@link Embedder.load}. */
export class Embedder {
  private constructor(
    /** What the model is and how it runs. */
    readonly info: EmbedderInfo,
    private readonly pool: WorkerPool,
  ) {}

  /**
   * Loads a model: from this browser's cache, else from the model host.
   *
   * @param model a hub id such as `"sentence-transformers/all-MiniLM-L6-v2"`, or the address of a
   *   folder with the same files, which starts with `/`, `./`, `../` or a scheme.
   * @throws {EmbervecError} when the model cannot be had or is not supported
   */
  static async load(model: string, options: LoadOptions = {}): Promise<Embedder> {
    checkRequirements();
    checkLoadOptions(options);
    const page = pageUrl();
    const { base, revision, pointers } = resolveModel(model, options, page);
    const request = {
      name: model,
      revision,
      base,
      pointers,
      headers: options.headers ?? {},
      dtype: dtypeOf(options),
      localFilesOnly: options.localFilesOnly ?? false,
      wasmUrl: options.wasmUrl === undefined ? undefined : folderUrl(options.wasmUrl, page),
    };
    options.signal?.throwIfAborted();
    const workers = workerCount(options);
    let embedder: Embedder | undefined;
    // Nothing comes before a GPU is asked for, and so before there is an embedder.
    const onDevice = (choice: DeviceChoice) => {
      if (embedder) embedder.#setDevice(choice);
    };
    const { pool, result } = await WorkerPool.start(request, options.cache ?? "indexeddb", workers, options, onDevice);
    const { isLarge, asksForPersistence, ...loaded } = result;
    const { stored, storedReason } = result;
    // Only a page can ask. A browser that refuses may clear the model when it is short of room, which costs a download.
    if (asksForPersistence) navigator.storage?.persist?.().catch(() => {});
    const choice: DeviceChoice = { device: "cpu", deviceReason: cpuReason(options, stored) };
    embedder = new Embedder({ model, revision, ...choice, dtype: request.dtype, workers: stored ? workers : 1, ...loaded }, pool);
    if (options.device === "webgpu") {
      try {
        if (!stored) throw new EmbervecError("unsupported_device", `device "webgpu" cannot be had, because the GPU's worker loads the model from the cache. ${storedReason}`);
        embedder.#setDevice(await abortable(pool.useGpu(true, options.progress), options.signal));
      } catch (error) {
        await embedder.dispose();
        throw error;
      }
    }
    embedder.#mayTryGpu = (options.device ?? "auto") === "auto" && stored;
    if (isLarge) embedder.#workAhead();
    return embedder;
  }

  /** Whether a GPU may still be tried. */
  #mayTryGpu = false;

  /** Called when there is work that a GPU could repay. */
  #workAhead(): void {
    if (!this.#mayTryGpu) return;
    this.#mayTryGpu = false;
    this.pool.useGpu(false).then(
      (choice) => this.#setDevice(choice),
      (error: unknown) => this.#setDevice({ device: "cpu", deviceReason: `The CPU, because the GPU could not be tried: ${messageOf(error)}` }),
    );
  }

  #setDevice({ device, deviceReason }: DeviceChoice): void {
    Object.assign(this.info, { device, deviceReason });
  }

  /**
   * The vector of a text, or of each of several texts in their order; these are views of one buffer.
   *
   * @throws {EmbervecError} `invalid_input` names the text or option that is wrong
   */
  async encode<const Options extends EncodeOptions = {}>(text: string, options?: WithProgress<Options>): Promise<VectorOf<Options>>;
  async encode<const Options extends EncodeOptions = {}>(
    texts: readonly string[],
    options?: WithProgress<Options>,
  ): Promise<VectorOf<Options>[]>;
  async encode(texts: string | readonly string[], options: EncodeOptions = {}): Promise<unknown> {
    return this.#encode(texts, options);
  }

  /** As {@link encode}, with the model's own prompt for search queries. */
  async encodeQuery<const Options extends EncodeOptions = {}>(text: string, options?: WithProgress<Options>): Promise<VectorOf<Options>>;
  async encodeQuery<const Options extends EncodeOptions = {}>(
    texts: readonly string[],
    options?: WithProgress<Options>,
  ): Promise<VectorOf<Options>[]>;
  async encodeQuery(texts: string | readonly string[], options: EncodeOptions = {}): Promise<unknown> {
    return this.#encode(texts, options, "query");
  }

  /** As {@link encode}, with the model's own prompt for the documents that are searched. */
  async encodeDocument<const Options extends EncodeOptions = {}>(text: string, options?: WithProgress<Options>): Promise<VectorOf<Options>>;
  async encodeDocument<const Options extends EncodeOptions = {}>(
    texts: readonly string[],
    options?: WithProgress<Options>,
  ): Promise<VectorOf<Options>[]>;
  async encodeDocument(texts: string | readonly string[], options: EncodeOptions = {}): Promise<unknown> {
    return this.#encode(texts, options, "document");
  }

  /**
   * Encodes any number of texts and gives each result as soon as it is there, in order. Memory does
   * not grow with the number of texts; a consumer that is slow is waited for.
   */
  async *encodeStream(
    texts: Iterable<string> | AsyncIterable<string>,
    options: StreamOptions = {},
  ): AsyncGenerator<StreamItem, void, undefined> {
    const { signal, progress } = options;
    const request = checkStreamOptions(options);
    if (typeof texts === "string" || !(Symbol.iterator in Object(texts) || Symbol.asyncIterator in Object(texts))) {
      throw new EmbervecError("invalid_input", "encodeStream takes an array or another iterable of strings");
    }
    const total = Array.isArray(texts) ? texts.length : 0;
    let index = 0;
    for await (const { vectors, dimension, tokenCounts, truncated } of this.#slices(texts, request, signal)) {
      for (let i = 0; i < tokenCounts.length; i++) {
        const embedding = vectors.subarray(i * dimension, (i + 1) * dimension);
        yield { index, embedding, tokenCount: tokenCounts[i]!, truncated: truncated[i] === 1 };
        index += 1;
        signal?.throwIfAborted();
      }
      progress?.({ stage: "encode", loaded: index, total: Math.max(total, index) });
    }
  }

  /** The tokens of a text, without any prompt. */
  async tokenize(text: string): Promise<Tokens> {
    checkText(text, "the text");
    return this.pool.request("tokenize", { text });
  }

  /** Ends the workers: all memory comes back. Calls that are under way reject with `disposed`. */
  async dispose(): Promise<void> {
    this.pool.terminate(new EmbervecError("disposed", "this embedder has been disposed of; load another"));
  }

  async #encode(texts: unknown, options: EncodeOptions, task?: "query" | "document"): Promise<unknown> {
    const request = checkEncodeOptions(options, task);
    const isOne = typeof texts === "string";
    const list = isOne ? [texts] : checkTexts(texts);
    const { precision = "float32", output = "sentence", signal, progress } = options;
    checkPrecision(precision, list.length);

    const rows: Float32Array[] = [];
    const tokenRows: TokenVectors[] = [];
    let buffer = new Float32Array(0);
    let done = 0;
    for await (const { vectors, dimension, tokenCounts } of this.#slices(list, request, signal)) {
      if (output === "token") {
        tokenRows.push(...splitTokens(vectors, dimension, tokenCounts));
      } else {
        if (done === 0) buffer = new Float32Array(list.length * dimension);
        buffer.set(vectors, done * dimension);
        for (let i = done; i < done + tokenCounts.length; i++) {
          rows.push(buffer.subarray(i * dimension, (i + 1) * dimension));
        }
      }
      done += tokenCounts.length;
      progress?.({ stage: "encode", loaded: done, total: list.length });
    }
    signal?.throwIfAborted();
    const result = output === "token" ? tokenRows : precision === "float32" ? rows : quantizeEmbeddings(rows, precision);
    return isOne ? result[0] : result;
  }

  /** The texts' vectors, slice by slice. */
  async *#slices(
    texts: Iterable<string> | AsyncIterable<string>,
    options: EncodeRequestOptions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EncodeResult, void, undefined> {
    const inFlight: Promise<EncodeResult>[] = [];
    const next = () => abortable(inFlight.shift()!, signal);
    let slices = 0;
    for await (const slice of slicesOf(texts)) {
      signal?.throwIfAborted();
      slices += 1;
      if (slices === BULK_SLICES) this.#workAhead();
      // A second slice while the first is under way: there is work for more than one.
      if (inFlight.length > 0) this.pool.grow();
      const result = this.pool.request("encode", { texts: slice, options });
      // Whoever awaits it sees the error; after an abort or a `break` nobody does.
      result.catch(() => {});
      inFlight.push(result);
      while (inFlight.length >= this.pool.capacity) yield await next();
    }
    while (inFlight.length > 0) yield await next();
  }
}

function cpuReason({ device = "auto" }: LoadOptions, stored: boolean): string {
  if (device === "cpu") return "The CPU, as demanded.";
  if (!stored) return "The CPU: a GPU's worker loads the model from the cache, where it is not kept.";
  return "The CPU, which is the faster one for a few texts; a bulk job makes the GPU be tried.";
}

/**
 * More workers than physical cores only cost memory; there are about half as many of these as the
 * browser says, and one of them is the page's.
 */
function workerCount({ workers = "auto", cache, device }: LoadOptions): number {
  if (workers !== "auto") return workers;
  if (cache === "memory" || device === "webgpu") return 1;
  return Math.max(1, Math.min(4, Math.floor((globalThis.navigator?.hardwareConcurrency ?? 2) / 2)));
}

async function* slicesOf(texts: Iterable<string> | AsyncIterable<string>): AsyncGenerator<string[], void, undefined> {
  let slice: string[] = [];
  let characters = 0;
  let index = 0;
  for await (const text of texts) {
    slice.push(checkText(text, `texts[${index++}]`));
    characters += text.length;
    if (characters >= SLICE_CHARACTERS || slice.length === SLICE_TEXTS) {
      yield slice;
      slice = [];
      characters = 0;
    }
  }
  if (slice.length > 0) yield slice;
}

/** Rejects with the signal's reason as soon as it aborts; the work in the worker just runs out. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  signal.throwIfAborted();
  let abort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function splitTokens(vectors: Float32Array, dimension: number, tokenCounts: Uint32Array): TokenVectors[] {
  let row = 0;
  return Array.from(tokenCounts, (count) =>
    Array.from({ length: count }, () => {
      const vector = vectors.subarray(row * dimension, (row + 1) * dimension);
      row += 1;
      return vector;
    }),
  );
}
