// The GPU's kernels against the CPU's on shapes that fill no tile, workgroup or vector: whatever a kernel takes at a time, some
// of these leave a remainder.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { Dtype } from "embervec";

import { openPage, type TestPage } from "../support/browser.ts";
import { randomModels, type Shape } from "../support/random-model.ts";

const shape = (hidden_size: number, num_attention_heads: number, intermediate_size: number): Shape => ({ hidden_size, num_attention_heads, intermediate_size });

const SHAPES: Record<string, Shape> = {
  "one head of four": shape(4, 1, 4),
  "heads of 12": shape(36, 3, 100),
  "many heads": shape(132, 33, 68),
  "wider than its intermediate layer": shape(260, 5, 20),
};

/** 8 bits need rows of a multiple of 16 values. */
const Q8_SHAPES: Record<string, Shape> = {
  "no power of two": shape(48, 6, 80),
  "one head": shape(16, 1, 112),
  "more threads than a workgroup's 64": shape(544, 17, 96),
};

/** Of batches, each with texts of these numbers of tokens; the models have 64 positions. */
const LENGTHS = [[2], [3, 2], [5], [17, 2, 30], [64, 63, 3, 2, 31, 16, 15]];

/** Components are of the size of 1; the sums are of at most 544 products in another order. */
const TOLERANCE = 1e-4;
/** In q8 a value may be rounded to its neighbour, see webgpu.test.ts. */
const LEAST_COSINE = 0.9995;

describe("kernels of the GPU", () => {
  let browser: TestPage;
  before(async () => {
    browser = await openPage({ gpu: true, overlay: await randomModels({ ...SHAPES, ...Q8_SHAPES }) });
  });
  after(() => browser.close());

  /** For each device the vectors of all tokens, and those of all texts. */
  const vectorsOf = (name: string, dtype: Dtype): Promise<{ hidden: number[][]; pooled: number[][] }[]> =>
    browser.page.evaluate(
      async ({ model, dtype, lengths }) => {
        const address = "/pkg/dist/index.js";
        const { Embedder } = await import(address);
        const results = [];
        for (const device of ["cpu", "webgpu"]) {
          const embedder = await Embedder.load(model, { dtype, device });
          const hidden: Float32Array[] = [];
          const pooled: Float32Array[] = [];
          for (const batch of lengths) {
            const texts = batch.map((tokens) => Array(tokens - 2).fill("a").join(" "));
            hidden.push(...(await embedder.encode(texts, { output: "token" })).flat());
            pooled.push(...(await embedder.encode(texts, { pooling: ["mean", "max"], normalize: true })));
          }
          if (hidden.length !== lengths.flat().reduce((a, b) => a + b)) throw new Error(`${hidden.length} tokens`);
          if (embedder.info.device !== device) throw new Error(embedder.info.deviceReason);
          results.push({ hidden: hidden.map((row) => [...row]), pooled: pooled.map((row) => [...row]) });
          await embedder.dispose();
        }
        return results;
      },
      { model: `/models/${encodeURIComponent(name)}/`, dtype, lengths: LENGTHS },
    );

  for (const dtype of ["fp32", "fp16"] as const) {
    for (const name of Object.keys(SHAPES)) {
      test(`${dtype}, ${name}`, async () => {
        const [cpu, gpu] = await vectorsOf(name, dtype);
        assertClose(gpu!.hidden, cpu!.hidden);
        assertClose(gpu!.pooled, cpu!.pooled);
      });
    }
  }

  for (const name of Object.keys(Q8_SHAPES)) {
    test(`q8, ${name}`, async () => {
      const [cpu, gpu] = await vectorsOf(name, "q8");
      cpu!.hidden.forEach((row, i) => assertSimilar(gpu!.hidden[i]!, row, `token ${i}`));
      cpu!.pooled.forEach((row, i) => assertSimilar(gpu!.pooled[i]!, row, `text ${i}`));
    });
  }
});

function assertClose(actual: number[][], expected: number[][]): void {
  assert.equal(actual.length, expected.length);
  expected.forEach((row, i) => {
    assert.equal(actual[i]!.length, row.length);
    const difference = Math.max(...row.map((x, j) => Math.abs(x - actual[i]![j]!)));
    assert.ok(difference < TOLERANCE, `row ${i} differs by ${difference}`);
  });
}

function assertSimilar(actual: number[], expected: number[], what: string): void {
  assert.equal(actual.length, expected.length);
  const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const cosine = dot(actual, expected) / Math.sqrt(dot(actual, actual) * dot(expected, expected));
  assert.ok(cosine >= LEAST_COSINE, `${what}: ${cosine}`);
}
