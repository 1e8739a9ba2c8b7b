import { EmbervecError, messageOf } from "./errors.js";
import { explainConversion, originalOf } from "./model/originals.js";
import { dtypeOf, folderUrl, resolveModel, scriptUrl } from "./model/source.js";
import {
  checkEncodeOptions,
  checkLoadOptions,
  checkPrecision,
  checkStreamOptions,
  checkText,
  checkTexts,
  pinsOf,
} from "./options.js";
import { CACHE, checkDevice, cpuReason, environment, headersFor, mayTryGpu, pageUrl } from "./platform/web.js";
import { checkRequirements } from "./platform/web-parts.js";
import { settled } from "./settle.js";
import type {
  EmbedderInfo,
  EncodeOptions,
  LoadOptions,
  Precision,
  StreamItem,
  StreamOptions,
  Tokens,
} from "./types.js";
import { type AnyVector, type CompareOptions, quantizeEmbeddings, similarity } from "./vectors.js";
import { WorkerPool } from "./worker/pool.js";
import type { DeviceChoice, EncodeRequestOptions, EncodeResult } from "./worker/protocol.js";

/**
 * Texts go to the worker in slices of about so many characters. A slice is a few hundred tokens:
 * enough to keep the encoder busy, and short enough that a query, an abort or a progress bar does
 * not wait long behind a bulk job, which has at most two slices per worker under way.
 */
const SLICE_CHARACTERS = 2048;
const SLICE_TEXTS = 64;

/** Texts go to the worker in slices of about so many characters to have their tokens counted. */
const COUNTED_CHARACTERS = 1 << 18;

/** A text that came alone waits so many milliseconds for others: three or so make a batch, and nobody sees it. */
const LIVE_MS = 20;

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

/** `Options` alone would leave the parameters of functions that are written in the call without types. */
type WithCallbacks<Options> = Options & Pick<EncodeOptions, "progress" | "onTruncated">;

/** The events of an {@link Embedder}. Each says that `info` has changed. */
export interface EmbedderEventMap {
  /** `info.device` or `info.deviceReason` has changed. */
  device: Event;
  /** `info.workers` has changed. */
  workers: Event;
}

type EmbedderListener = ((event: Event) => void) | { handleEvent(event: Event): void } | null;

/** A loaded model. See {@link Embedder.load}. */
export class Embedder extends EventTarget {
  #info: EmbedderInfo;
  readonly #pool: WorkerPool;
  /** Whether a GPU may still be tried. */
  #mayTryGpu = false;
  /** Whether it has been said that texts are cut. */
  #hasWarned = false;

  private constructor(info: EmbedderInfo, pool: WorkerPool) {
    super();
    this.#info = Object.freeze(info);
    this.#pool = pool;
  }

  /** What the model is and how it runs. It is frozen; each event replaces it. */
  get info(): EmbedderInfo {
    return this.#info;
  }

  override addEventListener(
    type: keyof EmbedderEventMap,
    listener: EmbedderListener,
    options?: Parameters<EventTarget["addEventListener"]>[2],
  ): void {
    super.addEventListener(type, listener, options);
  }

  override removeEventListener(
    type: keyof EmbedderEventMap,
    listener: EmbedderListener,
    options?: Parameters<EventTarget["removeEventListener"]>[2],
  ): void {
    super.removeEventListener(type, listener, options);
  }

  /**
   * Loads a model from the cache, or else from the model host.
   *
   * @param model a hub id such as `"sentence-transformers/all-MiniLM-L6-v2"`, or the address of a
   *   folder with the same files, which starts with `/`, `./`, `../` or a scheme. In Node also a path; such a folder is
   *   read where it is. The id of a conversion to ONNX for transformers.js (`Xenova/…`, `onnx-community/…`) leads to the
   *   original model.
   * @throws {EmbervecError} if the model is not found, cannot be fetched or is not supported
   */
  static async load(model: string, options: LoadOptions = {}): Promise<Embedder> {
    checkRequirements();
    checkLoadOptions(options);
    const page = pageUrl();
    const { base, revision, pointers } = resolveModel(model, options, page);
    const name = originalOf(model) ?? model;
    if (name !== model) tellOriginal(model, name);
    const request = {
      name,
      revision,
      base,
      pointers,
      headers: headersFor(options.headers ?? {}, base),
      credentials: options.credentials,
      integrity: pinsOf(options.integrity),
      dtype: dtypeOf(options),
      localFilesOnly: options.localFilesOnly ?? environment().localFilesOnly ?? false,
      wasmUrl: options.wasmUrl === undefined ? undefined : folderUrl(options.wasmUrl, page),
      persist: options.persist ?? true,
    };
    const workerUrl = options.workerUrl === undefined ? undefined : scriptUrl(options.workerUrl, page);
    const { device = "auto", workers = "auto", signal } = options;
    signal?.throwIfAborted();
    checkDevice(device);
    let embedder: Embedder | undefined;
    const { pool, result } = await WorkerPool.start(
      {
        request,
        cache: options.cache ?? CACHE,
        workers: device === "webgpu" ? 1 : workers,
        workerUrl,
        createWorker: options.createWorker,
        page,
        fetch: options.fetch,
        // Nothing comes before a GPU is asked for, or a bulk job, and so before there is an embedder.
        onDevice: (choice) => void (embedder && embedder.#update("device", choice)),
        onWorkers: (workers) => void (embedder && embedder.#update("workers", { workers })),
      },
      options,
    ).catch((error: unknown) => {
      throw explainConversion(model, error);
    });
    const { isLarge, asksForPersistence, memoryBytes, weights, pooling, normalizes, version, ...loaded } = result;
    const { stored, storedReason } = result;
    // Only a page can ask. A browser that refuses may clear the model when it is short of room, which costs a download.
    if (asksForPersistence)
      void settled("navigator.storage.persist", async () => navigator.storage?.persist?.(), {}).catch(() => {});
    const { dimension } = loaded;
    const prompts = Object.freeze(loaded.prompts);
    const { dtype } = request;
    const embeddingSpace = Object.freeze({
      model: name,
      revision,
      dtype,
      weights,
      dimension,
      pooling: Object.freeze(pooling),
      prompts,
      normalize: normalizes,
      version,
    });
    const choice: DeviceChoice = { device: "cpu", deviceReason: cpuReasonOf(options, stored) };
    embedder = new Embedder(
      { model: name, revision, ...choice, dtype, workers: pool.limit, ...loaded, embeddingSpace },
      pool,
    );
    if (device === "webgpu") {
      try {
        if (!stored) {
          const problem = "WebGPU is not available, because the GPU's worker loads the model from the cache";
          throw new EmbervecError("unsupported_device", `${problem}. ${storedReason}`);
        }
        embedder.#update("device", await pool.useGpu(true, options));
      } catch (error) {
        await embedder.dispose();
        throw error;
      }
    }
    embedder.#mayTryGpu = mayTryGpu(device === "auto" && stored);
    if (isLarge) embedder.#workAhead();
    return embedder;
  }

  /** Called when there is work that a GPU could repay. */
  #workAhead(): void {
    if (!this.#mayTryGpu) return;
    this.#mayTryGpu = false;
    void this.#pool
      .useGpu(false)
      .catch((error: unknown): DeviceChoice => {
        return { device: "cpu", deviceReason: `The CPU, because the GPU could not be tried: ${messageOf(error)}` };
      })
      .then((choice) => void (this.#pool.signal.aborted || this.#update("device", choice)));
  }

  #update(type: keyof EmbedderEventMap, change: Partial<EmbedderInfo>): void {
    this.#info = Object.freeze({ ...this.#info, ...change });
    this.dispatchEvent(new Event(type));
  }

  /**
   * Computes the vector of a text, or the vectors of several texts in their order. The latter are views of one buffer.
   *
   * @throws {EmbervecError} `invalid_input` names the text or option that is wrong
   */
  async encode<const Options extends EncodeOptions = {}>(
    text: string,
    options?: WithCallbacks<Options>,
  ): Promise<VectorOf<Options>>;
  async encode<const Options extends EncodeOptions = {}>(
    texts: readonly string[],
    options?: WithCallbacks<Options>,
  ): Promise<VectorOf<Options>[]>;
  async encode(texts: string | readonly string[], options: EncodeOptions = {}): Promise<unknown> {
    return this.#encode(texts, options);
  }

  /** Like {@link encode}, with the model's own prompt for search queries. */
  async encodeQuery<const Options extends EncodeOptions = {}>(
    text: string,
    options?: WithCallbacks<Options>,
  ): Promise<VectorOf<Options>>;
  async encodeQuery<const Options extends EncodeOptions = {}>(
    texts: readonly string[],
    options?: WithCallbacks<Options>,
  ): Promise<VectorOf<Options>[]>;
  async encodeQuery(texts: string | readonly string[], options: EncodeOptions = {}): Promise<unknown> {
    return this.#encode(texts, options, "query");
  }

  /** Like {@link encode}, with the model's own prompt for the documents to search. */
  async encodeDocument<const Options extends EncodeOptions = {}>(
    text: string,
    options?: WithCallbacks<Options>,
  ): Promise<VectorOf<Options>>;
  async encodeDocument<const Options extends EncodeOptions = {}>(
    texts: readonly string[],
    options?: WithCallbacks<Options>,
  ): Promise<VectorOf<Options>[]>;
  async encodeDocument(texts: string | readonly string[], options: EncodeOptions = {}): Promise<unknown> {
    return this.#encode(texts, options, "document");
  }

  /**
   * Encodes any number of texts and yields each result as soon as it is ready, in order. Memory does
   * not grow with the number of texts: the stream waits for a slow consumer.
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

  /** The matrix of {@link similarity}, by the function that the model was trained for (`info.similarity`). */
  similarity(
    a: AnyVector | readonly AnyVector[],
    b: AnyVector | readonly AnyVector[],
    options?: CompareOptions,
  ): Float32Array[] {
    return similarity(a, b, this.info.similarity, options);
  }

  /** The tokens of a text, without any prompt. */
  async tokenize(text: string): Promise<Tokens> {
    checkText(text, "the text");
    return this.#pool.tokenize(text);
  }

  /**
   * The number of tokens of each text, without special tokens and prompts, and however many there are: for splitting long texts.
   * `info.maxSeqLength - info.specialTokens` are not cut. Queries do not wait for it, and memory is bounded.
   *
   * @throws {EmbervecError} `invalid_input` for a text of a megabyte or more without a place where it can be cut to count its
   *   tokens, which is at spaces and with many models at punctuation; for some tokenizers there is no such place
   */
  async tokenCounts(texts: readonly string[]): Promise<Uint32Array> {
    const list = checkTexts(texts, "tokenCounts takes");
    const counts = new Uint32Array(list.length);
    for (let done = 0, end = 0; done < list.length; done = end) {
      for (let left = COUNTED_CHARACTERS; left > 0 && end < list.length; end++) left -= list[end]!.length + 1;
      counts.set(await this.#pool.tokenCounts(list.slice(done, end)), done);
    }
    return counts;
  }

  /** Ends the workers, which frees all memory. Calls in progress reject with `disposed`. */
  async dispose(): Promise<void> {
    this.#pool.terminate(new EmbervecError("disposed", "this embedder has been disposed of; load another"));
  }

  async #encode(texts: unknown, options: EncodeOptions, task?: "query" | "document"): Promise<unknown> {
    const request = checkEncodeOptions(options, task);
    const isOne = typeof texts === "string";
    const list = isOne ? [texts] : checkTexts(texts, "encode takes a string or");
    const { precision = "float32", output = "sentence", signal, progress } = options;
    checkPrecision(precision, list.length);

    const rows: Float32Array[] = [];
    const tokenRows: TokenVectors[] = [];
    const cut: number[] = [];
    let buffer = new Float32Array(0);
    let done = 0;
    for await (const { vectors, dimension, tokenCounts, truncated } of this.#slices(list, request, signal)) {
      if (output === "token") {
        tokenRows.push(...splitTokens(vectors, dimension, tokenCounts));
      } else {
        if (done === 0) buffer = allocate(list.length, dimension);
        buffer.set(vectors, done * dimension);
        for (let i = done; i < done + tokenCounts.length; i++) {
          rows.push(buffer.subarray(i * dimension, (i + 1) * dimension));
        }
      }
      truncated.forEach((isCut, i) => isCut && cut.push(done + i));
      done += tokenCounts.length;
      progress?.({ stage: "encode", loaded: done, total: list.length });
    }
    signal?.throwIfAborted();
    if (cut.length > 0) this.#tellTruncated(cut, isOne, options);
    const result =
      output === "token" ? tokenRows : precision === "float32" ? rows : quantizeEmbeddings(rows, precision);
    return isOne ? result[0] : result;
  }

  #tellTruncated(cut: number[], isOne: boolean, { onTruncated }: EncodeOptions): void {
    if (onTruncated) return onTruncated(cut);
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const which = isOne
      ? "the text has"
      : cut.length === 1
        ? `texts[${cut[0]}] has`
        : `${cut.length} texts, such as texts[${cut[0]}], have`;
    const limit = `the ${this.#info.maxSeqLength} tokens that ${this.#info.model} takes`;
    console.warn(
      `embervec: ${which} more than ${limit}. The rest was ignored. The option \`onTruncated\` of encode tells you each time which texts were cut.`,
    );
  }

  /** The texts' vectors, slice by slice: the source and the workers are waited for at the same time. */
  async *#slices(
    texts: Iterable<string> | AsyncIterable<string>,
    options: EncodeRequestOptions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EncodeResult, void, undefined> {
    const source = new Slicer(texts);
    // Nobody wants any more what is under way after an abort or a `break`.
    const stop = new AbortController();
    const inFlight: Promise<EncodeResult>[] = [];
    let reading: Promise<string[] | undefined> | undefined;
    let isOver = false;
    let slices = 0;
    try {
      for (;;) {
        if (!isOver && inFlight.length < this.#pool.capacity) reading ??= source.next();
        const [oldest] = inFlight;
        if (!reading && !oldest) return;
        const next = () => {
          const waits = [
            reading?.then((slice) => ({ slice, result: undefined })),
            oldest?.then((result) => ({ slice: undefined, result })),
          ];
          return Promise.race(waits.filter((wait) => wait !== undefined));
        };
        const { slice, result } = await settled("", () => settled("", next, { signal }), { signal: this.#pool.signal });
        if (result) {
          void inFlight.shift();
          yield result;
          continue;
        }
        reading = undefined;
        isOver = slice === undefined;
        if (!slice) continue;
        slices += 1;
        if (slices === BULK_SLICES) this.#workAhead();
        // A second slice while the first is under way: there is work for more than one.
        if (inFlight.length > 0) this.#pool.grow();
        const encoding = this.#pool.encode({ texts: slice, options }, stop.signal);
        // Whoever awaits it sees the error; after an abort or a `break` nobody does.
        encoding.catch(() => {});
        inFlight.push(encoding);
      }
    } finally {
      stop.abort();
      if (!isOver) source.close();
    }
  }
}

/** Ids of which it has been said that they lead elsewhere. */
const told = new Set<string>();

function tellOriginal(model: string, original: string): void {
  if (told.has(model)) return;
  told.add(model);
  console.info(
    `embervec: ${model} is a conversion to ONNX; its original, ${original}, is loaded instead. Use that id to leave this message out.`,
  );
}

function cpuReasonOf({ device = "auto" }: LoadOptions, stored: boolean): string {
  if (device === "cpu") return "The CPU, as demanded.";
  return cpuReason(
    stored
      ? "The CPU, which is faster for a few texts. The GPU will be tried for larger jobs."
      : "The CPU. A GPU would need the model in the cache, where it is not stored.",
  );
}

/** One buffer for all vectors, of which the rows are views. */
function allocate(count: number, dimension: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(count * dimension);
  } catch (cause) {
    const size = `${count} vectors of ${dimension} dimensions take ${((4 * count * dimension) / 1e9).toFixed(1)} GB`;
    throw new EmbervecError(
      "invalid_input",
      `${size}, more than can be allocated at once; use encodeStream, or encode in parts`,
      { cause },
    );
  }
}

/** Cuts a source of texts into slices. */
class Slicer {
  readonly #source: Iterator<string> | AsyncIterator<string>;
  readonly #isLive: boolean;
  /** The next text, once it has been asked for. */
  #reading: Promise<IteratorResult<string>> | undefined;
  #index = 0;

  constructor(texts: Iterable<string> | AsyncIterable<string>) {
    this.#isLive = Symbol.asyncIterator in texts;
    this.#source = Symbol.asyncIterator in texts ? texts[Symbol.asyncIterator]() : texts[Symbol.iterator]();
  }

  /** `undefined` at the end. No text of a slow source waits for the next one for longer than {@link LIVE_MS}. */
  async next(): Promise<string[] | undefined> {
    const slice: string[] = [];
    let characters = 0;
    let late: Promise<undefined> | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      while (characters < SLICE_CHARACTERS && slice.length < SLICE_TEXTS) {
        if (!this.#reading) {
          this.#reading = Promise.resolve(this.#source.next());
          // Whoever awaits it sees the error, and nobody does after an abort.
          this.#reading.catch(() => {});
        }
        const step = await (late ? Promise.race([this.#reading, late]) : this.#reading);
        if (!step) break;
        this.#reading = undefined;
        if (step.done) break;
        // oxlint-disable-next-line typescript/await-thenable -- an array may hold promises, as `for await` allows
        const text = checkText(await step.value, `texts[${this.#index++}]`);
        slice.push(text);
        characters += text.length;
        if (this.#isLive) late ??= new Promise((resolve) => (timer = setTimeout(() => resolve(undefined), LIVE_MS)));
      }
    } finally {
      clearTimeout(timer);
    }
    return slice.length > 0 ? slice : undefined;
  }

  /** Gives the source back. Not awaited: one that gives nothing more may not end, either. */
  close(): void {
    const close = async () => this.#source.return?.();
    close().catch(() => {});
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
