// What the CPU's worker and the GPU's say to each other.

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
}

export interface OpenRequest {
  /** The stored model. */
  key: string;
  dtype: "fp32" | "q8";
  configPath: string;
  weightsPath: string;
  /** The folder of the `.wasm` files. */
  wasmUrl: string | undefined;
}

/** Of the GPU's worker. */
export type GpuCalls = {
  open: { request: OpenRequest; result: undefined };
  encode: { request: Batch; result: Float32Array };
};
