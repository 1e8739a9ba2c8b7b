// Models of BERT's larger shapes with random weights: what they cost does not depend on what they know.

import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { Shape } from "./workloads.ts";

export const SHAPES: Record<string, Shape & { heads: number }> = {
  "bert-base": { layers: 12, hidden: 768, intermediate: 3072, heads: 12 },
  "bert-large": { layers: 24, hidden: 1024, intermediate: 4096, heads: 16 },
};

const VOCABULARY = 30522;
const POSITIONS = 512;

/** Writes the folder of a model with fp16 weights, unless it is there; `original` gives the tokenizer. */
export function writeShape(
  folder: string,
  { layers, hidden, intermediate, heads }: Shape & { heads: number },
  original: string,
): void {
  const weights = join(folder, "model.safetensors");
  if (existsSync(weights) && statSync(weights).mtimeMs > statSync(fileURLToPath(import.meta.url)).mtimeMs) return;
  mkdirSync(join(folder, "1_Pooling"), { recursive: true });
  const json = (path: string, value: unknown): void => writeFileSync(join(folder, path), JSON.stringify(value));
  json("config.json", {
    architectures: ["BertModel"],
    model_type: "bert",
    hidden_act: "gelu",
    hidden_size: hidden,
    intermediate_size: intermediate,
    layer_norm_eps: 1e-12,
    max_position_embeddings: POSITIONS,
    num_attention_heads: heads,
    num_hidden_layers: layers,
    pad_token_id: 0,
    position_embedding_type: "absolute",
    torch_dtype: "float16",
    type_vocab_size: 2,
    vocab_size: VOCABULARY,
  });
  json("sentence_bert_config.json", { max_seq_length: POSITIONS, do_lower_case: false });
  json("1_Pooling/config.json", { word_embedding_dimension: hidden, pooling_mode_mean_tokens: true });
  for (const file of ["modules.json", "tokenizer.json", "tokenizer_config.json"])
    copyFileSync(join(original, file), join(folder, file));
  // Under its name only when it is whole.
  writeWeights(`${weights}.part`, tensors({ layers, hidden, intermediate }));
  renameSync(`${weights}.part`, weights);
}

function tensors({ layers, hidden, intermediate }: Shape): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  const linear = (name: string, rows: number, columns: number): void => {
    shapes.set(`${name}.weight`, [rows, columns]).set(`${name}.bias`, [rows]);
  };
  const norm = (name: string): void => void shapes.set(`${name}.weight`, [hidden]).set(`${name}.bias`, [hidden]);
  for (const [name, rows] of [
    ["word", VOCABULARY],
    ["position", POSITIONS],
    ["token_type", 2],
  ] as const) {
    shapes.set(`embeddings.${name}_embeddings.weight`, [rows, hidden]);
  }
  norm("embeddings.LayerNorm");
  for (let i = 0; i < layers; i++) {
    const layer = `encoder.layer.${i}`;
    for (const name of ["query", "key", "value"]) linear(`${layer}.attention.self.${name}`, hidden, hidden);
    linear(`${layer}.attention.output.dense`, hidden, hidden);
    norm(`${layer}.attention.output.LayerNorm`);
    linear(`${layer}.intermediate.dense`, intermediate, hidden);
    linear(`${layer}.output.dense`, hidden, intermediate);
    norm(`${layer}.output.LayerNorm`);
  }
  return shapes;
}

function writeWeights(path: string, shapes: Map<string, number[]>): void {
  const size = (shape: number[]): number => shape.reduce((product, length) => product * length, 1);
  let end = 0;
  const header = Object.fromEntries(
    [...shapes].map(([name, shape]) => [name, { dtype: "F16", shape, data_offsets: [end, (end += 2 * size(shape))] }]),
  );
  const text = JSON.stringify(header);
  const bytes = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));

  const file = openSync(path, "w");
  const write = (bytes: Uint8Array): void => {
    for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
  };
  write(length);
  write(bytes);
  const draw = randomWeights();
  for (const [name, shape] of shapes) {
    const values = new Uint16Array(size(shape));
    if (name.endsWith("LayerNorm.weight")) values.fill(half(1));
    else if (!name.endsWith("LayerNorm.bias")) draw(values);
    write(new Uint8Array(values.buffer));
  }
  closeSync(file);
}

/** Fills with fp16 numbers of a normal distribution of deviation 0.02, the same in every run: quantiles in random order. */
function randomWeights(): (values: Uint16Array) => void {
  const bits = 12;
  const quantiles = Uint16Array.from({ length: 1 << bits }, (_, i) =>
    half(0.02 * normalQuantile((i + 0.5) / (1 << bits))),
  );
  let state = 1;
  return (values) => {
    for (let i = 0; i < values.length; i++) {
      // xorshift32
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      values[i] = quantiles[state >>> (32 - bits)]!;
    }
  };
}

/** By Tukey's lambda distribution, which is normal to within 0.01 except in the far tails. */
function normalQuantile(p: number): number {
  return (p ** 0.1349 - (1 - p) ** 0.1349) / 0.1975;
}

/** The bits of the nearest fp16 number. */
function half(value: number): number {
  const magnitude = Math.abs(value);
  const exponent = Math.max(Math.floor(Math.log2(magnitude)), -14);
  // The mantissa's leading 1 adds one to the exponent; a subnormal number has neither.
  return (value < 0 ? 0x8000 : 0) + ((exponent + 14) << 10) + Math.round(magnitude / 2 ** (exponent - 10));
}
