// Loops that do nothing but arithmetic in registers: what the machine's 128-bit SIMD can do at most.

import binaryen from "binaryen";

// Independent chains hide an instruction's latency; more of them, and their operands, would not fit 16 registers.
const CHAINS = 12;

interface Loop {
  name: string;
  unit: "GFLOP/s" | "Gop/s";
  /** Additions and multiplications of one step of one chain. */
  ops: number;
  /** `v128` constants $a and $b. */
  type: "f32x4" | "i32x4";
  a: number;
  b: number;
  /** The next value of the chain $c. Each step needs the last one, so nothing can be hoisted or merged. */
  step: (c: string) => string;
}

const LOOPS: Loop[] = [
  {
    name: "f32x4.mul + add",
    unit: "GFLOP/s",
    ops: 8,
    type: "f32x4",
    a: 0.999,
    b: 0.001,
    step: (c) => `(f32x4.add (f32x4.mul ${c} (local.get $a)) (local.get $b))`,
  },
  {
    name: "f32x4.relaxed_madd",
    unit: "GFLOP/s",
    ops: 8,
    type: "f32x4",
    a: 0.999,
    b: 0.001,
    step: (c) => `(f32x4.relaxed_madd ${c} (local.get $a) (local.get $b))`,
  },
  {
    name: "i32x4.dot_i16x8_s + add",
    unit: "Gop/s",
    ops: 16,
    type: "i32x4",
    a: 0x00030005,
    b: 0x00070009,
    step: (c) => `(i32x4.add (i32x4.dot_i16x8_s ${c} (local.get $a)) (local.get $b))`,
  },
  {
    name: "i32x4.relaxed_dot_i8x16_i7x16_add_s",
    unit: "Gop/s",
    ops: 32,
    type: "i32x4",
    a: 0x01020304,
    b: 0x05060708,
    step: (c) => `(i32x4.relaxed_dot_i8x16_i7x16_add_s (local.get $a) (local.get $b) ${c})`,
  },
  {
    // The fastest way on x86-64 without VNNI.
    name: "i16x8.relaxed_dot_i8x16_i7x16_s + i32x4.dot_i16x8_s + add",
    unit: "Gop/s",
    ops: 32,
    type: "i32x4",
    a: 0x01020304,
    b: 0x00010001,
    step: (c) =>
      `(i32x4.add (i32x4.dot_i16x8_s (i16x8.relaxed_dot_i8x16_i7x16_s ${c} (local.get $a)) (local.get $b)) (local.get $b))`,
  },
];

export interface PeakLoop {
  name: string;
  unit: string;
  opsPerIteration: number;
  /** A module that exports `run(iterations)`, in base64. */
  wasm: string;
}

export const peakLoops: PeakLoop[] = LOOPS.map((loop) => ({
  name: loop.name,
  unit: loop.unit,
  opsPerIteration: loop.ops * CHAINS,
  wasm: assemble(loop),
}));

function assemble({ type, a, b, step }: Loop): string {
  const chains = Array.from({ length: CHAINS }, (_, i) => `$c${i}`);
  const scalar = type === "f32x4" ? "f32" : "i32";
  const splat = (value: number) => `(${type}.splat (${scalar}.const ${value}))`;
  const module = binaryen.parseText(`
    (module
      (func (export "run") (param $n i32) (result ${scalar})
        (local $a v128) (local $b v128) ${chains.map((c) => `(local ${c} v128)`).join(" ")}
        (local.set $a ${splat(a)})
        (local.set $b ${splat(b)})
        ${chains.map((c, i) => `(local.set ${c} ${splat(i + 1)})`).join("\n")}
        (loop $next
          ${chains.map((c) => `(local.set ${c} ${step(`(local.get ${c})`)})`).join("\n")}
          (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (${type}.extract_lane 0
          ${chains.map((c) => `(local.get ${c})`).reduce((sum, c) => `(${type}.add ${sum} ${c})`)})))`);
  module.setFeatures(binaryen.Features.All);
  const bytes = module.emitBinary();
  module.dispose();
  return Buffer.from(bytes).toString("base64");
}
