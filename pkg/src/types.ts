import type { CacheChoice } from "./cache/cache.js";

/** Progress of a load (bytes) or of an encode (texts). */
export interface ProgressEvent {
  /**
   * `download`: bytes from the model host; a download that goes on begins at what is stored. `load`: bytes from the cache into
   * memory. `gpu`: to a GPU that is demanded. `encode` counts texts.
   */
  stage: "download" | "load" | "gpu" | "encode";
  /** The file that the bytes belong to, as a path within the model folder. */
  file?: string;
  /** Over all files, not only `file`. */
  loaded: number;
  /** Over all files; 0 where the host does not say. */
  total: number;
}

export type ProgressCallback = (event: ProgressEvent) => void;

/** How weights are kept. */
export type Dtype = "fp32" | "fp16" | "q8";

export interface LoadOptions {
  /**
   * Where to compute. `"auto"` starts on the CPU; a bulk job or a model of BERT-base size makes it try the
   * GPU in the background (not in Node, where there is none) and use it for whatever it is faster for, once its vectors have agreed with the CPU's. `"webgpu"`
   * demands a GPU, and fails where there is none or its vectors differ. Default `"auto"`.
   */
  device?: "auto" | "cpu" | "webgpu";
  /**
   * How the weights are kept and computed with. `"q8"`: in 8 bits, a quarter of the memory and several
   * times as fast; vectors differ a little (mean cosine to fp32 0.998). `"fp32"`: as sentence-transformers.
   * `"fp16"`: weights rounded to 16 bits, computed with in 32; half of the memory on a GPU, none less on
   * the CPU. Default `"auto"`: `"q8"`.
   */
  dtype?: "auto" | Dtype;
  progress?: ProgressCallback;
  /** Rejects with the signal's reason and leaves nothing half written. */
  signal?: AbortSignal;
  /** Host of hub ids. Default `"https://huggingface.co"`; in Node, what the environment's `HF_ENDPOINT` says. */
  hub?: string;
  /** Branch, tag or commit of a hub id. Default `"main"`. */
  revision?: string;
  /**
   * Never touch the network: what is not in the cache is `model_not_found`. Default `false`; in Node `true` where the environment's
   * `HF_HUB_OFFLINE` is `1`.
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
  credentials?: RequestCredentials;
  /**
   * The SHA-256 of whole files by their path in the folder, as `"sha256-<base64>"` or in hexadecimal digits. Each must be in
   * the folder and match, or the load fails with `integrity`; one that the load does not use is downloaded to be compared. To
   * pin all files, pin `manifest.json`. Weights in 8 bits replace pinned ones only if they or the manifest are pinned, too. A
   * cached file is compared once with a new pin. After that the cache is trusted: whoever can write into it can get past a pin.
   */
  integrity?: Record<string, string>;
  /**
   * Where a downloaded model is kept. `"indexeddb"`: in the browser. `"folder"`, in Node: in `$EMBERVEC_CACHE`, else `$HF_HOME/embervec`,
   * `$XDG_CACHE_HOME/embervec` or `~/.cache/embervec`. `"memory"`: nowhere. Or an object of your own with the methods of {@link ModelCache}. A cache
   * that fails, does not answer or is full is done without; `info.stored` tells. Default `"indexeddb"`, in Node `"folder"`.
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
  /** Whether to ask the browser for storage that it does not clear by itself; some then ask the user. Default `true`. */
  persist?: boolean;
  /**
   * Address of the package's `worker.js` (in Node an address or a path on this machine), which must lie beside `gpu.js` on the page's own origin. Default: that of the
   * package's own files.
   */
  workerUrl?: string | URL;
  /** Address of the folder with the package's `.wasm` files. Default: that of the package's own files. */
  wasmUrl?: string | URL;
}

/** A pooling of the tokens' vectors, as sentence-transformers defines them. */
export type Pooling = "cls" | "mean" | "max" | "sum" | "mean_sqrt_len" | "weighted_mean" | "last_token";

/** Type of a vector's components; `binary` and `ubinary` hold eight dimensions in a byte. */
export type Precision = "float32" | "int8" | "uint8" | "binary" | "ubinary";

export interface EncodeOptions {
  /** Name of one of the model's own prompts, put before every text. */
  promptName?: string;
  /** A prompt to put before every text; beats `promptName`. */
  prompt?: string;
  /**
   * `true`: scale to length 1 after everything else. `false`: leave the model's own normalisation
   * out. Default: as the model's folder says.
   */
  normalize?: boolean;
  /** Keep the first dimensions only (before a `normalize: true`), for models trained for it. */
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
   * Called once, with the positions of the texts that had more tokens than the model takes and were cut. Where nobody asks, the first
   * time is said in the console.
   */
  onTruncated?: (indices: number[]) => void;
  signal?: AbortSignal;
  /** Called with the number of texts done. */
  progress?: ProgressCallback;
}

/** Options of {@link Embedder.encodeStream}. */
export type StreamOptions = Omit<EncodeOptions, "precision" | "output" | "onTruncated">;

/** One result of {@link Embedder.encodeStream}. */
export interface StreamItem {
  /** Position of the text in the input. */
  index: number;
  embedding: Float32Array;
  /** Number of tokens that were encoded, prompt and special tokens included. */
  tokenCount: number;
  /** Whether the text had more tokens than the model takes and was cut. */
  truncated: boolean;
}

/** A text as the model sees it. */
export interface Tokens {
  inputIds: number[];
  tokenTypeIds: number[];
  tokens: string[];
  /**
   * For each token `[begin, end]` such that `text.slice(begin, end)` is what it stands for; `[0, 0]`
   * for `[CLS]` and `[SEP]`, which are not from the text.
   */
  offsets: [number, number][];
  truncated: boolean;
}

/** Similarity function that a model was trained for. */
export type SimilarityFunction = "cosine" | "dot" | "euclidean" | "manhattan";

/** What a loaded model is and how it runs. It is frozen; what changes comes as another object, with an event. */
export interface EmbedderInfo {
  /** As given to `load`. */
  readonly model: string;
  /** `undefined` for a folder's address. */
  readonly revision: string | undefined;
  /** `"webgpu"` as soon as a GPU computes at least a part of the work. */
  readonly device: "cpu" | "webgpu";
  /** A sentence: what was chosen and why. It changes when the choice does. */
  readonly deviceReason: string;
  readonly dtype: Dtype;
  /** The SIMD instructions in use: WebAssembly's relaxed ones where the browser has them. */
  readonly simd: "simd128" | "relaxed";
  /** The variants of the kernels that were the fastest here. They never change a result. */
  readonly kernels: string;
  /** Number of workers that a bulk job has at most. */
  readonly workers: number;
  /** Whether the model came from the cache. */
  readonly cached: boolean;
  /** Whether the cache keeps it for the next time. */
  readonly stored: boolean;
  /** A sentence that says why, or why not. */
  readonly storedReason: string;
  /** Length of a vector. */
  readonly dimension: number;
  /** A text with more tokens is cut; `Infinity`: none is. */
  readonly maxSeqLength: number;
  readonly similarity: SimilarityFunction;
  /** The model's prompts by name. `query` and `document` are always there, if only empty. */
  readonly prompts: Readonly<Record<string, string>>;
}
