// What the CPU's worker and the GPU's say to each other.

import type { SentCache } from "../cache/port.js";
import type { FolderFile } from "../model/folder.js";
import type { Dtype } from "../types.js";
import type { EncodeRequestOptions, EncodeResult } from "../worker/protocol.js";

/** Texts as token ids, one after the other; made by the CPU's wasm module. */
export interface Batch {
  inputIds: Uint32Array;
  tokenTypeIds: Uint32Array;
  /** Where each text ends. */
  ends: Uint32Array;
  /** How each text's tokens become one vector; several are put side by side. None: every token's vector. */
  pooling: string[];
  /** Number of each text's tokens that the pooling leaves out. */
  skip: number;
  /** Whether the vectors are scaled to length 1. */
  normalize: boolean;
}

/** Texts on their way through an encoder: the CPU's wasm module has them. */
export interface CpuJob {
  /** The next batch; `undefined` where none is left. */
  batch(): Batch | undefined;
  /** The result, once all batches are done. */
  finish(): EncodeResult;
}

/** What a GPU's worker needs of the CPU's wasm module. */
export interface CpuEncoder {
  encode(texts: string[], options: EncodeRequestOptions): EncodeResult;
  begin(texts: string[], options: EncodeRequestOptions, forGpu: boolean): CpuJob;
  accept(job: CpuJob, vectors: Float32Array): void;
  gpuNeeds(dtype: string): GpuNeeds;
  /** What the encoder is, as the GPU's module reads it, and the folder's files with its weights. */
  encoderFiles(): { config: string; weights: FolderFile[] };
}

/** What a GPU must have for a model. */
export interface GpuNeeds {
  bufferBytes: number;
  /** Why the kernels cannot compute such a model at all. */
  unsupported?: string;
}

export interface OpenRequest {
  cache: SentCache;
  /** The stored model. */
  model: string;
  dtype: Dtype;
  config: string;
  /** The files with the weights, as they are stored. */
  weights: string[];
  /** The address of the wasm module. */
  module: string;
}

/** Of the GPU's worker. */
export type GpuCalls = {
  open: { request: OpenRequest; result: undefined };
  encode: { request: Batch; result: Float32Array };
  /** Milliseconds that a batch takes there. */
  time: { request: Batch; result: number };
};
