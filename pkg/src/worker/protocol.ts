// What the page and the worker say to each other. Every request has an id and exactly one reply.

import type { EmbervecErrorCode } from "../errors.js";
import type { ProgressEvent, SimilarityFunction, Tokens } from "../types.js";

export interface LoadRequest {
  /** Address of the model folder. */
  base: string;
  headers: Record<string, string>;
  dtype: "fp32" | "q8";
  localFilesOnly: boolean;
  cache: "indexeddb" | "memory";
  /** The folder of the `.wasm` files. */
  wasmUrl: string | undefined;
}

export interface LoadResult {
  cached: boolean;
  simd: "simd128" | "relaxed";
  kernels: string;
  dimension: number;
  maxSeqLength: number;
  similarity: SimilarityFunction;
  prompts: Record<string, string>;
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

/** What can be asked, and what comes back. */
export interface Calls {
  load: { request: LoadRequest; result: LoadResult };
  encode: { request: EncodeRequest; result: EncodeResult };
  tokenize: { request: { text: string }; result: Tokens };
}

export type CallName = keyof Calls;

export type ToWorker =
  | { [Name in CallName]: { type: Name; id: number; request: Calls[Name]["request"] } }[CallName]
  | { type: "abort"; id: number };

export type FromWorker =
  | { type: "result"; id: number; result: Calls[CallName]["result"] }
  | { type: "progress"; id: number; event: ProgressEvent }
  /** `fatal`: the wasm instance is in an unknown state; the worker must not be used any more. */
  | { type: "error"; id: number; code: EmbervecErrorCode; message: string; fatal: boolean };
