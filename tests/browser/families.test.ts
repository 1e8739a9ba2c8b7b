// Every family of encoders gives sentence-transformers' tokens and vectors in a browser, on the CPU and on the GPU. The folders are those of
// tests/fixtures/families.py.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import type { Dtype } from "embervec";

import { openPage, type TestPage } from "../support/browser.ts";
import { encodeAll, expectedOf, read } from "../support/golden.ts";
import { randomModels, widenedModels } from "../support/random-model.ts";
import { cosine, difference } from "../support/vectors.ts";

const NAMES = readdirSync(new URL("../fixtures/families/", import.meta.url)).sort();

/** fp32 in another order of summation. */
const TOLERANCE = { cpu: 1e-5, webgpu: 1e-4 };
/** Of a text in 8 bits, beside Python; beside the CPU's a value may be rounded to its neighbour. */
const LEAST_COSINE = 0.995;

/** Of a width, or a width between layers, that is no multiple of 4. */
const ODD = [
  "albert-groups",
  "camembert-odd",
  "distilbert-prefix",
  "electra-prefix",
  "gte-parts",
  "jina-bert-odd",
  "modernbert-older",
  "mpnet-prefix",
  "new-parts",
  "nomic-bert-parts",
  "roberta-prefix",
  "xlm-roberta-prefix",
];
/** What the GPU's kernels do not compute, and a word of the reason. */
const NOT_ON_GPU: Record<string, RegExp> = {
  ...Object.fromEntries(ODD.map((name) => [name, /four values at a time/])),
  "jina-code-mean": /queries and keys/,
  "jina-code-odd": /queries and keys|four values at a time/,
  "static-dense": /static model/,
  "static-mean": /static model/,
  "static-model2vec": /static model/,
};

/** What no folder of Python's has in a width that 8 bits take on a GPU: the tensors of BERT under other configurations. */
const roberta = {
  hidden_size: 48,
  num_attention_heads: 6,
  intermediate_size: 80,
  model_type: "roberta",
  pad_token_id: 0,
};
const RANDOM = {
  "positions behind the padding token": roberta,
  "GELU by tanh": { ...roberta, hidden_act: "gelu_new" },
  ReLU: { ...roberta, hidden_act: "relu" },
  // Attention over more tokens than one launch takes.
  "long texts": { ...roberta, max_position_embeddings: 1500 },
  SiLU: { ...roberta, hidden_act: "silu" },
};
/** Those that have kernels of their own on a GPU. */
const WIDENED = ["gte-cls", "jina-bert-mean", "modernbert-cls", "mpnet-mean", "new-cls", "nomic-bert-mean"];
/** A window, and biases by distance, over more tokens than one launch takes. */
const LONG = ["jina-bert-mean", "modernbert-cls"];
/** The padding token, which keeps its own position, is among these. */
const TEXTS = [
  "a quick brown fox",
  "[PAD] a [PAD] fox [PAD]",
  "",
  "the lazy dog ".repeat(4),
  "the fox and a dog ".repeat(280),
];

describe("families", () => {
  let browser: TestPage;
  before(async () => {
    const overlay = await randomModels(RANDOM);
    await widenedModels(overlay, WIDENED, LONG);
    browser = await openPage({ gpu: true, overlay });
  });
  after(() => browser.close());

  for (const name of NAMES) {
    const expected = read(`families/${name}/expected.json`);
    const { cases } = expected;
    const model = `/tests/fixtures/families/${name}/`;
    const assertNear = (actual: { embedding: number[] }[], tolerance: number) =>
      cases.forEach((each, i) => {
        const worst = difference(actual[i]!.embedding, expectedOf(each), each.name);
        assert.ok(worst < tolerance, `${each.name}: ${worst}`);
      });

    test(`${name}: tokens and vectors`, async () => {
      const { info, actual } = await encodeAll(browser.page, model, cases, { dtype: "fp32", device: "cpu" });
      assert.equal(info.dimension, expected.dimension);
      cases.forEach((each, i) => {
        assert.deepEqual(actual[i]!.inputIds, each.input_ids, each.name);
        assert.equal(actual[i]!.truncated, each.truncated, each.name);
      });
      assertNear(actual, TOLERANCE.cpu);
    });

    test(`${name}: 8 bits`, async () => {
      const { actual } = await encodeAll(browser.page, model, cases, { dtype: "q8", device: "cpu" });
      cases.forEach((each, i) => {
        const expected = expectedOf(each);
        // Of a text without tokens.
        if (expected.every((x) => x === 0))
          return assert.deepEqual([...actual[i]!.embedding], [...expected], each.name);
        const similarity = cosine(actual[i]!.embedding, expected, each.name);
        assert.ok(similarity >= LEAST_COSINE, `${each.name}: ${similarity}`);
      });
    });

    test(`${name}: WebGPU`, async () => {
      const onGpu = () => encodeAll(browser.page, model, cases, { dtype: "fp32", device: "webgpu" });
      const reason = NOT_ON_GPU[name];
      if (reason) return assert.rejects(onGpu, reason);
      const { info, actual } = await onGpu();
      assert.equal(info.device, "webgpu", info.deviceReason);
      assertNear(actual, TOLERANCE.webgpu);
    });
  }

  for (const name of [...Object.keys(RANDOM), ...WIDENED]) {
    for (const dtype of ["fp32", "fp16", "q8"] as const) {
      test(`${name}: ${dtype} on both devices`, async () => {
        const [cpu, gpu] = await vectorsOf(browser, `/models/${encodeURIComponent(name)}/`, dtype);
        cpu!.forEach((vector, i) => {
          const least = dtype === "q8" ? LEAST_COSINE : 1 - 1e-6;
          const similarity = cosine(gpu![i]!, vector, TEXTS[i]!);
          assert.ok(similarity >= least, `text ${i}: ${similarity}`);
        });
      });
    }
  }
});

/** Of {@link TEXTS}, on each device. */
function vectorsOf({ page }: TestPage, model: string, dtype: Dtype): Promise<number[][][]> {
  return page.evaluate(
    async ({ model, dtype, texts }) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const results = [];
      for (const device of ["cpu", "webgpu"]) {
        const embedder = await Embedder.load(model, { dtype, device });
        const vectors: Float32Array[] = await embedder.encode(texts);
        if (embedder.info.device !== device) throw new Error(embedder.info.deviceReason);
        results.push(vectors.map((vector) => [...vector]));
        await embedder.dispose();
      }
      return results;
    },
    { model, dtype, texts: TEXTS },
  );
}
