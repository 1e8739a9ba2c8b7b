// The GPU's kernels against the CPU's on shapes that fill no tile, workgroup or vector: whatever a kernel takes at a time, some
// of these leave a remainder.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { Dtype } from "embervec";

import { openPage, type TestPage } from "../support/browser.ts";
import { randomModels, type Shape } from "../support/random-model.ts";
import { cosine, difference } from "../support/vectors.ts";

const shape = (hidden_size: number, num_attention_heads: number, intermediate_size: number): Shape => ({
  hidden_size,
  num_attention_heads,
  intermediate_size,
});

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

/** All numbers that divide `n`. */
const divisorsOf = (n: number) => Array.from({ length: n }, (_, i) => i + 1).filter((divisor) => n % divisor === 0);

/** How many values of a row are mixed before they are rounded to 8 bits; see crate/kernels/src/rotate.rs. */
function rotationBlock(size: number): number {
  let block = 1;
  while (block < 32 && size % (8 * block) === 0) block *= 2;
  return block;
}

/** Widths of intermediate layers, of every rotation block, in turn. */
const INTERMEDIATE = [16, 32, 64, 128, 48, 96, 192, 112, 160, 80];

/**
 * A thread has a head's context, and then a block of its row for the rotation: there may be as many heads as blocks,
 * fewer or more. A workgroup holds as many rows as 64 threads allow, and no part of one.
 */
function sweep(sizes: number[], parts: (size: number) => number): Record<string, Shape> {
  const shapes: Record<string, Shape> = {};
  for (const size of sizes) {
    const all = divisorsOf(size / 4);
    const upTo = all.filter((heads) => heads <= parts(size));
    const beyond = all.filter((heads) => heads > parts(size));
    const heads = new Set([upTo[0], upTo.at(-1), beyond[0], beyond.at(-1)]);
    for (const count of heads) {
      if (count === undefined) continue;
      const intermediate = INTERMEDIATE[Object.keys(shapes).length % INTERMEDIATE.length]!;
      shapes[`${size} wide with ${count} heads and ${intermediate} between`] = shape(size, count, intermediate);
    }
  }
  return shapes;
}

/** A shape takes about 3 seconds: all are tested by `cargo xtask test heavy`, one in two by each change. */
const isWanted = (_: unknown, i: number) => process.env["EMBERVEC_ALL_SHAPES"] !== undefined || i % 2 === 0;
const wanted = (shapes: Record<string, Shape>) => Object.fromEntries(Object.entries(shapes).filter(isWanted));

/** Multiples of 4 of every remainder by 16 and by the 64 threads of a workgroup. */
const SWEEP = wanted(sweep([8, 20, 44, 60, 64, 68, 124, 132, 196, 252], () => 16));
/** Of every rotation block, and with rows of one part to 68 of them. */
const Q8_SWEEP = wanted(sweep([16, 32, 48, 64, 80, 96, 112, 128, 256, 272], (size) => size / rotationBlock(size)));

/** What the kernels cannot compute, and a word of the reason. */
const UNSUPPORTED: [name: string, dtype: Dtype, shape: Shape, reason: string][] = [
  ["heads of 6", "fp32", shape(12, 2, 16), "four values at a time"],
  ["an intermediate layer of 18", "fp32", shape(16, 2, 18), "four values at a time"],
  ["257 heads", "fp32", shape(1028, 257, 16), "at most 256 attention heads"],
  ["rows of 36 in 8 bits", "q8", shape(36, 3, 16), "not a multiple of 16"],
  ["an intermediate layer of 20 in 8 bits", "q8", shape(32, 2, 20), "not a multiple of 16"],
  ["rows of 260 parts in 8 bits", "q8", shape(1040, 4, 16), "need 260 threads"],
];

/** Of batches, each with texts of these numbers of tokens; the models have 64 positions. */
const LENGTHS = [[2], [3, 2], [5], [17, 2, 30], [64, 63, 3, 2, 31, 16, 15]];
/** For the many shapes: one token more than a workgroup has rows of, and fewer. */
const FEW_LENGTHS = [[3], [33, 2, 30]];

/** Components are of the size of 1; the sums are of at most 544 products in another order. */
const TOLERANCE = 1e-4;
/** In q8 a value may be rounded to its neighbour, see webgpu.test.ts. */
const LEAST_COSINE = 0.9995;

interface Vectors {
  hidden: number[][];
  pooled: number[][];
}

describe("kernels of the GPU", () => {
  let browser: TestPage;
  before(async () => {
    const unsupported = Object.fromEntries(UNSUPPORTED.map(([name, , shape]) => [name, shape]));
    const overlay = await randomModels({ ...SHAPES, ...Q8_SHAPES, ...SWEEP, ...Q8_SWEEP, ...unsupported });
    browser = await openPage({ gpu: true, overlay });
  });
  after(() => browser.close());

  /** For each device the vectors of all tokens, and those of all texts. */
  const vectorsOf = (name: string, dtype: Dtype, lengths = LENGTHS): Promise<Vectors[]> =>
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
            const texts = batch.map((tokens) =>
              Array(tokens - 2)
                .fill("a")
                .join(" "),
            );
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
      { model: `/models/${encodeURIComponent(name)}/`, dtype, lengths },
    );

  const assertFloats = async (name: string, dtype: Dtype, lengths?: number[][]) => {
    const [cpu, gpu] = await vectorsOf(name, dtype, lengths);
    assertClose(gpu!.hidden, cpu!.hidden);
    assertClose(gpu!.pooled, cpu!.pooled);
  };
  const assertQ8 = async (name: string, lengths?: number[][]) => {
    const [cpu, gpu] = await vectorsOf(name, "q8", lengths);
    assertSimilar(gpu!.hidden, cpu!.hidden, "token");
    assertSimilar(gpu!.pooled, cpu!.pooled, "text");
  };

  for (const dtype of ["fp32", "fp16"] as const) {
    for (const name of Object.keys(SHAPES)) test(`${dtype}, ${name}`, () => assertFloats(name, dtype));
  }
  for (const name of Object.keys(Q8_SHAPES)) test(`q8, ${name}`, () => assertQ8(name));
  for (const name of Object.keys(SWEEP)) test(`fp32, ${name}`, () => assertFloats(name, "fp32", FEW_LENGTHS));
  for (const name of Object.keys(Q8_SWEEP)) test(`q8, ${name}`, () => assertQ8(name, FEW_LENGTHS));

  for (const [name, dtype, , reason] of UNSUPPORTED) {
    test(`${name} stay on the CPU, and a demand says why`, async () => {
      const outcome = await browser.page.evaluate(
        async ({ model, dtype }) => {
          const address = "/pkg/dist/index.js";
          const { Embedder } = await import(address);
          const embedder = await Embedder.load(model, { dtype });
          const vector: Float32Array = await embedder.encode("a");
          await embedder.dispose();
          const error = await Embedder.load(model, { dtype, device: "webgpu" }).catch((error: unknown) => error);
          const { code, message } = error as { code?: string; message?: string };
          return { isFinite: vector.every(Number.isFinite), code, message };
        },
        { model: `/models/${encodeURIComponent(name)}/`, dtype },
      );
      assert.equal(outcome.isFinite, true);
      assert.equal(outcome.code, "unsupported_device", outcome.message);
      assert.ok(outcome.message?.includes(reason), outcome.message);
    });
  }
});

function assertClose(actual: number[][], expected: number[][]): void {
  assert.equal(actual.length, expected.length);
  expected.forEach((row, i) => {
    const worst = difference(actual[i]!, row, `row ${i}`);
    assert.ok(worst < TOLERANCE, `row ${i} differs by ${worst}`);
  });
}

function assertSimilar(actual: number[][], expected: number[][], what: string): void {
  assert.equal(actual.length, expected.length);
  expected.forEach((row, i) => {
    const similarity = cosine(actual[i]!, row, `${what} ${i}`);
    assert.ok(similarity >= LEAST_COSINE, `${what} ${i}: ${similarity}`);
  });
}
