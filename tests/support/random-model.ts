// Models of any shape with random weights, for comparing devices with each other.

import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import * as safetensors from "./safetensors.ts";
import { temporaryFolder } from "./temporary.ts";

export interface Shape {
  hidden_size: number;
  num_attention_heads: number;
  intermediate_size: number;
  /** Of a family whose tensors have the names of BERT's. */
  model_type?: string;
  pad_token_id?: number;
  hidden_act?: string;
  max_position_embeddings?: number;
}

const TEMPLATE = fileURLToPath(new URL("../fixtures/models/tiny-cls/", import.meta.url));

/** An overlay with these models as `/models/<name>/`: the files of `tiny-cls`, but for the shape and the weights. */
export async function randomModels(shapes: Record<string, Shape>): Promise<string> {
  const overlay = await temporaryFolder();
  for (const [name, shape] of Object.entries(shapes)) {
    const folder = join(overlay, "models", name);
    await mkdir(folder, { recursive: true });
    await cp(TEMPLATE, folder, { recursive: true });
    const config = { ...JSON.parse(await readFile(join(folder, "config.json"), "utf8")), ...shape };
    await writeFile(join(folder, "config.json"), JSON.stringify(config));
    const pooling = { embedding_dimension: shape.hidden_size, pooling_mode: "mean" };
    await writeFile(join(folder, "1_Pooling/config.json"), JSON.stringify(pooling));
    // RoBERTa's positions begin behind that of the padding token.
    const skipped = shape.model_type === "roberta" ? shape.pad_token_id! + 1 : 0;
    await writeFile(
      join(folder, "sentence_bert_config.json"),
      JSON.stringify({ max_seq_length: config.max_position_embeddings - skipped }),
    );
    const file = join(folder, "model.safetensors");
    await writeFile(file, reshaped(await readFile(file), config));
  }
  return overlay;
}

const FAMILIES = fileURLToPath(new URL("../fixtures/families/", import.meta.url));

/** What is twice as large in a widened model: of tests/fixtures/families.py's `SMALL` the sizes, and those of layers that are one. */
const WIDENED = [24, 40, 3 * 24, 2 * 40];

const SIZES = /("(?:hidden_size|intermediate_size|head_dim|embedding_dimension)": )(\d+)/g;

/** What their texts are limited by, where no table is: eight times as many tokens. */
const LENGTHS = /("(?:max_position_embeddings|model_max_length)": )(\d+)/g;

/** Adds twice as wide models of these families to an overlay, as `/models/<name>/`: of a width that 8 bits take on a GPU. */
export async function widenedModels(overlay: string, names: readonly string[], long: readonly string[]): Promise<void> {
  for (const name of names) {
    const folder = join(overlay, "models", name);
    await cp(join(FAMILIES, name), folder, { recursive: true });
    for (const path of ["config.json", "1_Pooling/config.json"]) {
      // As text: to Python 2 is not 2.0.
      const config = await readFile(join(folder, path), "utf8");
      const widened = config.replace(SIZES, (_, before, size) => `${before}${2 * size}`);
      await writeFile(join(folder, path), widened);
    }
    for (const path of long.includes(name) ? ["config.json", "tokenizer_config.json"] : []) {
      const config = await readFile(join(folder, path), "utf8");
      await writeFile(
        join(folder, path),
        config.replace(LENGTHS, (_, before, length) => `${before}${8 * length}`),
      );
    }
    const file = join(folder, "model.safetensors");
    const { header } = safetensors.split(await readFile(file));
    const shapes = Object.entries(header).map(([tensor, { shape }]): [string, number[]] => [
      tensor,
      shape.map((size) => (WIDENED.includes(size) ? 2 * size : size)),
    ]);
    await writeFile(file, randomTensors(shapes));
  }
}

/** The tensors of `file` in the sizes of `config`. */
function reshaped(
  file: Buffer,
  config: Shape & { vocab_size: number; max_position_embeddings: number; type_vocab_size: number },
): Buffer {
  const shapes = Object.entries(safetensors.split(file).header).map(([name, { shape: rank }]): [string, number[]] => {
    const { hidden_size: hidden, intermediate_size: intermediate } = config;
    const isIntermediate = name.includes("intermediate.dense");
    const rows = name.includes("word_embeddings")
      ? config.vocab_size
      : name.includes("position_embeddings")
        ? config.max_position_embeddings
        : name.includes("token_type_embeddings")
          ? config.type_vocab_size
          : isIntermediate
            ? intermediate
            : hidden;
    const columns = /layer\.\d+\.output\.dense/.test(name) ? intermediate : hidden;
    return [name, rank.length === 1 ? [rows] : [rows, columns]];
  });
  return randomTensors(shapes);
}

function randomTensors(shapes: [name: string, shape: number[]][]): Buffer {
  const uniform = randomNumbers();
  const header: safetensors.Header = {};
  const tensors: Buffer[] = [];
  let end = 0;
  for (const [name, shape] of shapes) {
    const [, columns] = shape;
    // Of a linear layer every output has about the variance of its inputs.
    const isNorm = columns === undefined && name.endsWith(".weight");
    const range = columns === undefined ? 0.2 : Math.sqrt(3 / columns);
    const values = Float32Array.from(
      { length: shape.reduce((a, b) => a * b) },
      () => (isNorm ? 1 : 0) + range * uniform(),
    );
    tensors.push(Buffer.from(values.buffer));
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + values.byteLength] };
    end += values.byteLength;
  }
  return safetensors.join(header, Buffer.concat(tensors));
}

/** Numbers from -1 to 1, the same in every run. */
function randomNumbers(): () => number {
  let state = 1;
  return () => {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  };
}
