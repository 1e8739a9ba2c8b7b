// The kernels that are timed alone, and what they cost.

export interface Kernel {
  name: string;
  /** An export of `tests/.build/kernels-*.wasm`, and its arguments but the rounds. */
  call: "time_linear" | "time_attention" | "time_self_attention" | "time_feed_forward" | "time_layer_norm";
  args: number[];
  /** Its instruction: what it is compared with. */
  type: "f32" | "q8";
  /** Additions and multiplications; none for what memory bounds. */
  ops?: number;
}

/** The loops of `peak.ts` that each artefact's linear layers can be built on; the fastest is their peak. */
export const KERNEL_PEAK = {
  simd128: { f32: ["f32x4.mul + add"], q8: ["i32x4.dot_i16x8_s + add"] },
  relaxed: {
    f32: ["f32x4.relaxed_madd"],
    q8: ["i32x4.relaxed_dot_i8x16_i7x16_add_s", "i16x8.relaxed_dot_i8x16_i7x16_s + i32x4.dot_i16x8_s + add"],
  },
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
  return {
    name: `linear ${type}${gelu ? " + GELU" : ""}, ${m}x${n}x${k}`,
    call: "time_linear",
    args,
    type,
    ops: 2 * m * n * k,
  };
}

function attention(tokens: number): Kernel {
  const ops = 4 * tokens * tokens * HEADS * HEAD_SIZE;
  return {
    name: `attention, ${tokens} tokens`,
    call: "time_attention",
    args: [tokens, HEADS, HEAD_SIZE],
    type: "f32",
    ops,
  };
}

/** The two halves of a layer, but for the output of the first and the layer norms. */
function halves(type: "f32" | "q8", tokens: number): Kernel[] {
  const size = HEADS * HEAD_SIZE;
  const q8 = Number(type === "q8");
  const attentionOps = tokens * (2 * 3 * size * size + 4 * tokens * size);
  return [
    {
      name: `self-attention ${type}, ${tokens} tokens`,
      call: "time_self_attention",
      args: [q8, tokens, HEADS, HEAD_SIZE],
      type,
      ops: attentionOps,
    },
    {
      name: `feed-forward ${type}, ${tokens} tokens`,
      call: "time_feed_forward",
      args: [q8, tokens, size, 4 * size],
      type,
      ops: tokens * 16 * size * size,
    },
  ];
}

export const KERNELS: Kernel[] = [
  ...(["f32", "q8"] as const).flatMap((type) => [
    ...SHAPES.map((shape) => linear(type, false, shape)),
    // What the epilogue adds.
    linear(type, true, [128, 1536, 384]),
    ...halves(type, 128),
  ]),
  ...[32, 128, 256].map(attention),
  { name: "residual + layer norm, 128x384", call: "time_layer_norm", args: [128, 384], type: "f32" },
];
