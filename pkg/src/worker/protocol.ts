// What the page and the worker say to each other. Every request has an id and exactly one reply.

import type { SentCache } from "../cache/port.js";
import type { EmbervecErrorCode } from "../errors.js";
import type { Dtype, Pooling, ProgressEvent, SimilarityFunction, Tokens } from "../types.js";

export interface LoadRequest {
  /** As `Embedder.load` was called. */
  name: string;
  revision: string | undefined;
  /** Address of the model folder. */
  base: string;
  /** See `ModelSource`. */
  pointers: string | undefined;
  headers: Record<string, string>;
  credentials: RequestCredentials | undefined;
  /** The caller's `fetch`: a port to a `FetchServer`. */
  fetch: MessagePort | undefined;
  /** The SHA-256 that files must have, by path. */
  integrity: ReadonlyMap<string, string>;
  dtype: Dtype;
  localFilesOnly: boolean;
  cache: SentCache;
  /** The folder of the `.wasm` files. */
  wasmUrl: string | undefined;
  /** Whether the page may ask for storage that the browser does not clear by itself. */
  persist: boolean;
}

export interface LoadResult {
  cached: boolean;
  stored: boolean;
  storedReason: string;
  /** Whether the page is to ask the browser for storage that it does not clear by itself. */
  asksForPersistence: boolean;
  simd: "simd128" | "relaxed";
  kernels: string;
  dimension: number;
  maxSeqLength: number;
  similarity: SimilarityFunction;
  /** Special tokens around a text. */
  specialTokens: number;
  prompts: Record<string, string>;
  pooling: Pooling[];
  /** Whether the folder's last step scales vectors to length 1. */
  normalizes: boolean;
  /** See `EmbeddingSpace`. */
  weights: string;
  /** The package's. */
  version: string;
  /** Of the wasm module's memory, which holds the model. */
  memoryBytes: number;
  /** Whether even one text is so much work that a GPU may be worth its start: from BERT-base on. */
  isLarge: boolean;
}

/** `EncodeOptions` of the wasm module. */
export interface EncodeRequestOptions {
  task?: "query" | "document" | undefined;
  promptName?: string | undefined;
  prompt?: string | undefined;
  pooling?: readonly string[] | undefined;
  normalize?: boolean | undefined;
  truncateDim?: number | undefined;
  tokens?: boolean | undefined;
}

export interface EncodeRequest {
  texts: string[];
  options: EncodeRequestOptions;
}

/** `Encoded` of the wasm module. */
export interface EncodeResult {
  /** `[texts, dimension]`, or `[tokens of all texts, dimension]`. */
  vectors: Float32Array;
  dimension: number;
  tokenCounts: Uint32Array;
  /** 1 for a text that was cut. */
  truncated: Uint8Array;
}

/** Where batches are computed, and a sentence that says why. */
export interface DeviceChoice {
  device: "cpu" | "webgpu";
  deviceReason: string;
}

/** What a worker can be asked, and what comes back. */
export type CallMap = Record<string, { request: unknown; result: unknown }>;

/** Of the CPU's worker. */
export type Calls = {
  load: { request: LoadRequest; result: LoadResult };
  encode: { request: EncodeRequest; result: EncodeResult };
  tokenize: { request: { text: string }; result: Tokens };
  tokenCounts: { request: { texts: string[] }; result: Uint32Array };
  /** Takes a GPU into use. A demand fails where it cannot be met; otherwise the result says what was found. */
  useGpu: { request: { demanded: boolean }; result: DeviceChoice };
};

export type ToWorker<Map extends CallMap = Calls> =
  | { [Name in keyof Map]: { type: Name; id: number; request: Map[Name]["request"] } }[keyof Map]
  | { type: "abort"; id: number };

export type FromWorker<Map extends CallMap = Calls> =
  /** The first message: the script runs. */
  | { type: "started" }
  /** What is computed from now on is of this request. */
  | { type: "turn"; id: number }
  | { type: "result"; id: number; result: Map[keyof Map]["result"] }
  | { type: "progress"; id: number; event: ProgressEvent }
  /** Nobody asked: a GPU failed, or was found again. */
  | ({ type: "device" } & DeviceChoice)
  /** `fatal`: the wasm instance is in an unknown state; the worker must not be used any more. */
  | {
      type: "error";
      id: number;
      code: EmbervecErrorCode;
      message: string;
      cause?: { name: string; message: string };
      fatal: boolean;
    };
