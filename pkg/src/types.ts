import type { CacheChoice } from "./cache/cache.js";

/** A `Worker`, which a program for Node does not know without the library `dom`. */
type BrowserWorker = typeof globalThis extends { Worker: { prototype: infer Known } } ? Known : never;

/** Progress of a load (bytes) or of an encode (texts). */
export interface ProgressEvent {
  /**
   * `download`: bytes from the model host; a resumed download starts at what is stored. `load`: bytes from the cache into
   * memory. `gpu`: bytes to the GPU, with `device: "webgpu"`. `encode` counts texts.
   */
  stage: "download" | "load" | "gpu" | "encode";
  /** The file that the bytes belong to, as a path in the model folder. */
  file?: string;
  /** What is done, over all files, not only `file`. */
  loaded: number;
  /** What there is to do, over all files; 0 if the host does not say. */
  total: number;
}

/** Called during a load or an encode. */
export type ProgressCallback = (event: ProgressEvent) => void;

/** How weights are kept. */
export type Dtype = "fp32" | "fp16" | "q8";

/** Options of {@link Embedder.load}. */
export interface LoadOptions {
  /**
   * Where to compute. `"auto"` starts on the CPU. For a bulk job or a model of BERT-base size, it also tries the GPU in the
   * background, and uses it where it is faster, if its vectors agree with the CPU's. `"webgpu"` requires a GPU, and fails if
   * there is none or its vectors differ. Default `"auto"`.
   */
  device?: "auto" | "cpu" | "webgpu";
  /**
   * The precision of the weights. `"q8"`: 8 bits, a quarter of the memory and several times as fast; vectors differ a
   * little (mean cosine to fp32 0.998). `"fp32"`: as sentence-transformers. `"fp16"`: weights rounded to 16 bits, arithmetic
   * in 32; half of the memory on a GPU, no less on the CPU. Default `"auto"`: `"q8"`.
   */
  dtype?: "auto" | Dtype;
  /** Called with the number of bytes that have arrived. */
  progress?: ProgressCallback;
  /** Rejects with the signal's reason and leaves nothing half written. */
  signal?: AbortSignal;
  /** Host of hub ids. Default `"https://huggingface.co"`; in Node, what the environment's `HF_ENDPOINT` says. */
  hub?: string;
  /** Branch, tag or commit of a hub id. Default `"main"`. */
  revision?: string;
  /**
   * Never use the network: a model that is not in the cache fails with `model_not_found`. Default `false`; in Node `true` if
   * the environment's `HF_HUB_OFFLINE` is `1`.
   */
  localFilesOnly?: boolean;
  /**
   * Sent with every request to the model host, such as `{ Authorization: "Bearer …" }`. When the host redirects to another
   * origin, browsers drop `Authorization` but keep all other headers: a token in a header of another name reaches whoever
   * the host redirects to. In Node the environment's `HF_TOKEN` is sent as `Authorization` to the hub (`HF_ENDPOINT`, or Hugging Face's),
   * and to nobody else, unless there is one here.
   */
  headers?: Record<string, string>;
  /**
   * Called instead of the platform's `fetch` for the model's files, on the page: to sign requests, to go through a proxy, or
   * to return files of your own. It must return a `Response`, and should obey `init.signal`.
   */
  fetch?: typeof globalThis.fetch;
  /**
   * Whether cookies go to the model host, as in `fetch`. With `"include"`, a host of another origin must name the page's
   * origin in its CORS headers. Default `"same-origin"`.
   */
  credentials?: "omit" | "same-origin" | "include";
  /**
   * The SHA-256 of whole files by their path in the folder, as `"sha256-<base64>"` or in hexadecimal digits. Each must be in
   * the folder and match, or the load fails with `integrity`; one that the load does not use is downloaded to be compared. To
   * pin all files, pin `manifest.json`. Weights in 8 bits replace pinned ones only if they or the manifest are pinned, too. A
   * cached file is compared once with a new pin. After that the cache is trusted: whoever can write into it can get past a pin.
   */
  integrity?: Record<string, string>;
  /**
   * Where a downloaded model is kept. `"indexeddb"`: in the browser. `"folder"`, in Node: in `$EMBERVEC_CACHE`, else in
   * `$HF_HOME/embervec`, `$XDG_CACHE_HOME/embervec` or `~/.cache/embervec`. `"memory"`: nowhere. You can also pass an object
   * with the methods of `ModelCache`. If a cache fails, does not answer or is full, `load` continues without it, and
   * `info.stored` is `false`. Default `"indexeddb"` in browsers, `"folder"` in Node.
   */
  cache?: CacheChoice;
  /**
   * Workers for bulk jobs, each with the model's weights in its memory. Default `"auto"`: half of
   * `navigator.hardwareConcurrency`, at most 4, and no more than fit into a quarter of `navigator.deviceMemory` (4 GiB where a
   * browser does not say); in Node, of `os.availableParallelism()` and the machine's memory. The first is there from the start, the others start with
   * the first job that has use for them, from the cache. Results are the same bits with any
   * number.
   */
  workers?: "auto" | number;
  /** Whether to ask the browser not to clear its storage by itself; some browsers then ask the user. Default `true`. */
  persist?: boolean;
  /**
   * Address of the package's `worker.js`, on the page's own origin, with `gpu.js` and the `.wasm` files beside it. For bundlers that do
   * not find it by themselves: copy these files from `node_modules/embervec/dist` to a public folder. Pages that demand Trusted Types
   * trust it as they trust a script, so never take it from a user. In Node also a path. Default: that of the package's own files.
   */
  workerUrl?: string | URL;
  /**
   * Starts the worker, with `worker.js` as a module worker, instead of the package itself:
   * `() => new Worker(new URL("embervec/worker.js", import.meta.url), { type: "module" })`. It is called once for each worker, and
   * again where one has not run after 5 seconds, with `workerUrl` or else the address at which `worker.js` lies if the package's files are
   * served as they are.
   *
   * The package never makes a worker of a `blob:`. A page that imports the package from another origin can do so:
   * `(url) => new Worker(URL.createObjectURL(new Blob([`import ${JSON.stringify(url)}`], { type: "text/javascript" })), { type: "module" })`.
   */
  createWorker?: (url: URL) => BrowserWorker;
  /** Address of the folder with the package's `.wasm` files. Default: that of the package's own files. */
  wasmUrl?: string | URL;
}

/** A pooling of the tokens' vectors, as sentence-transformers defines them. */
export type Pooling = "cls" | "mean" | "max" | "sum" | "mean_sqrt_len" | "weighted_mean" | "last_token";

/** Type of a vector's components; `binary` and `ubinary` hold eight dimensions in a byte. */
export type Precision = "float32" | "int8" | "uint8" | "binary" | "ubinary";

/** Options of {@link Embedder.encode}, {@link Embedder.encodeQuery} and {@link Embedder.encodeDocument}. */
export interface EncodeOptions {
  /** Name of one of the model's own prompts, put before every text. */
  promptName?: string;
  /** A prompt to put before every text; beats `promptName`. */
  prompt?: string;
  /**
   * `true`: scale to length 1 after everything else. `false`: skip the model's own normalization.
   * Default: as the model's folder says.
   */
  normalize?: boolean;
  /** Keep only the first dimensions (before `normalize: true`), for models that are trained for it. */
  truncateDim?: number;
  /**
   * Default `"float32"`. `int8` and `uint8` take their ranges from the texts of this call, so they
   * need at least two; {@link quantizeEmbeddings} takes ranges of your own.
   */
  precision?: Precision;
  /** `"token"`: a vector for every token instead of one for the text. Default `"sentence"`. */
  output?: "sentence" | "token";
  /** Another pooling than the model's; several are concatenated. */
  pooling?: Pooling | readonly Pooling[];
  /**
   * Called once, with the positions of the texts that had more tokens than the model takes and were cut. Without it, the console
   * reports the first time.
   */
  onTruncated?: (indices: number[]) => void;
  /** On an abort, the call rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Called with the number of texts done. */
  progress?: ProgressCallback;
}

/** Options of {@link Embedder.encodeStream}. */
export interface StreamOptions extends Omit<EncodeOptions, "precision" | "output" | "onTruncated"> {
  /** What the texts are for: as `encodeQuery` or `encodeDocument`, with the model's own prompt. Default: as `encode`. */
  task?: "query" | "document";
}

/** One result of {@link Embedder.encodeStream}. */
export interface StreamItem {
  /** Position of the text in the input. */
  index: number;
  /** The text's vector. */
  embedding: Float32Array;
  /** Number of tokens that were encoded, prompt and special tokens included. */
  tokenCount: number;
  /** Whether the text had more tokens than the model takes and was cut. */
  truncated: boolean;
}

/** A text as the model sees it. */
export interface Tokens {
  /** The tokens' positions in the vocabulary, with the special tokens. */
  inputIds: number[];
  /** The segment of each token: 0 for all tokens of a single text. */
  tokenTypeIds: number[];
  /** The tokens as the vocabulary has them, such as `"##ing"`. */
  tokens: string[];
  /**
   * For each token `[begin, end]` such that `text.slice(begin, end)` is what it stands for; `[0, 0]`
   * for `[CLS]` and `[SEP]`, which are not from the text.
   */
  offsets: [number, number][];
  /** Whether the text had more tokens than the model takes and was cut. */
  truncated: boolean;
}

/** Similarity function that a model was trained for. */
export type SimilarityFunction = "cosine" | "dot" | "euclidean" | "manhattan";

/**
 * Names the space of a model's vectors. Vectors of two spaces that differ in any of these cannot be compared, except that another
 * `version` gives nearly the same ones. Two spaces that do not differ may still give vectors that do: the tokenizer is not among
 * these. Vectors of the same texts have the last word.
 */
export interface EmbeddingSpace {
  /** As `info.model`. */
  readonly model: string;
  /** As `info.revision`. A branch such as `"main"` may have moved since: see `weights`. */
  readonly revision: string | undefined;
  /** The precision of the weights. */
  readonly dtype: Dtype;
  /**
   * A SHA-256 of the weights as they are kept for this `dtype`, in hexadecimal digits: of the digests of their chunks, so it is not that
   * of a file. It is the same whether they come from a host, a cache, an archive or a folder. Weights in 8 bits that a packer has
   * made have another one than those that are made while the model loads, unless they are the same bytes; by default a packer keeps
   * less of the embedding tables.
   */
  readonly weights: string;
  /** Length of a vector. */
  readonly dimension: number;
  /** The poolings of the tokens' vectors; none where a text's vector is made in another way. */
  readonly pooling: readonly Pooling[];
  /** The model's prompts by name. */
  readonly prompts: Readonly<Record<string, string>>;
  /** Whether the model's own last step scales vectors to length 1. */
  readonly normalize: boolean;
  /** The package's version. */
  readonly version: string;
}

/** What a loaded model is and how it runs. It is frozen: a change replaces the object and dispatches an event. */
export interface EmbedderInfo {
  /** As given to `load`; for the id of a conversion to ONNX, that of its original. */
  readonly model: string;
  /** `undefined` for a folder's address. */
  readonly revision: string | undefined;
  /** `"webgpu"` as soon as a GPU does at least a part of the work. */
  readonly device: "cpu" | "webgpu";
  /** A sentence: what was chosen and why. It changes when the choice does. */
  readonly deviceReason: string;
  /** The precision of the weights. */
  readonly dtype: Dtype;
  /** The SIMD instructions in use: WebAssembly's relaxed ones where the browser has them. */
  readonly simd: "simd128" | "relaxed";
  /** The variants of the kernels that were the fastest on this device. They never change a result. */
  readonly kernels: string;
  /** The largest number of workers for a bulk job. */
  readonly workers: number;
  /** Whether the model came from the cache. */
  readonly cached: boolean;
  /** Whether the cache keeps it for the next visit. */
  readonly stored: boolean;
  /** A sentence that says why, or why not. */
  readonly storedReason: string;
  /** Length of a vector. */
  readonly dimension: number;
  /** A text with more tokens is cut. `Infinity`: there is no limit. */
  readonly maxSeqLength: number;
  /** Number of special tokens around a text: `maxSeqLength - specialTokens` are left for the text and its prompt. */
  readonly specialTokens: number;
  /** The similarity function that the model was trained for. */
  readonly similarity: SimilarityFunction;
  /** The model's prompts by name. `query` and `document` always exist, possibly empty. */
  readonly prompts: Readonly<Record<string, string>>;
  /** What the vectors can be compared with: to be kept beside them. A plain object, frozen. */
  readonly embeddingSpace: EmbeddingSpace;
}
