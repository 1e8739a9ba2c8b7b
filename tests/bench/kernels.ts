// The kernels that are timed alone, and what they cost.

export interface Kernel {
  name: string;
  /** An export of `tests/.build/kernels-*.wasm`, and its arguments but the rounds. */
  call: "time_linear" | "time_attention" | "time_layer_norm";
  args: number[];
  /** Its instruction: what it is compared with. */
  type: "f32" | "q8";
  /** Additions and multiplications; none for what memory bounds. */
  ops?: number;
}

/** The loop of `peak.ts` that each artefact's linear layers are built on. */
export const KERNEL_PEAK = {
  simd128: { f32: "f32x4.mul + add", q8: "i32x4.dot_i16x8_s + add" },
  relaxed: { f32: "f32x4.relaxed_madd", q8: "i32x4.relaxed_dot_i8x16_i7x16_add_s" },
} as const;

export type Artefact = keyof typeof KERNEL_PEAK;

const HEADS = 12;
const HEAD_SIZE = 32;

/** MiniLM's linear layers: output, QKV, the two of the feed-forward part; then the same with more tokens. */
const SHAPES = [
  [64, 384, 384],
  [128, 1152, 384],
  [128, 1536, 384],
  [128, 384, 1536],
  [512, 1536, 384],
] as const;

function linear(type: "f32" | "q8", gelu: boolean, [m, n, k]: readonly [number, number, number]): Kernel {
  const args = [Number(type === "q8"), Number(gelu), m, n, k];
  return { name: `linear ${type}${gelu ? " + GELU" : ""}, ${m}x${n}x${k}`, call: "time_linear", args, type, ops: 2 * m * n * k };
}

function attention(tokens: number): Kernel {
  const ops = 4 * tokens * tokens * HEADS * HEAD_SIZE;
  return { name: `attention, ${tokens} tokens`, call: "time_attention", args: [tokens, HEADS, HEAD_SIZE], type: "f32", ops };
}

export const KERNELS: Kernel[] = [
  ...(["f32", "q8"] as const).flatMap((type) => [
    ...SHAPES.map((shape) => linear(type, false, shape)),
    // What the epilogue adds.
    linear(type, true, [128, 1536, 384]),
  ]),
  ...[32, 128, 256].map(attention),
  { name: "residual + layer norm, 128x384", call: "time_layer_norm", args: [128, 384], type: "f32" },
];
