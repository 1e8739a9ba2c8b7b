// The same vectors as sentence-transformers, through the npm package in Node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Embedder } from "embervec";

import { type Case, encodingOf, expectedOf, read, textOf, TINY_MODELS } from "../support/golden.ts";
import { cosine, difference } from "../support/vectors.ts";

/** As in a browser: fp32 in another order of summation. */
const TOLERANCE = 1e-5;

const MINI_LM = fileURLToPath(new URL("../../www/models/all-MiniLM-L6-v2", import.meta.url));
const MODELS = fileURLToPath(new URL("../fixtures/models/", import.meta.url));

function assertClose(actual: Float32Array, each: Case): void {
  const worst = difference([...actual], expectedOf(each), each.name);
  assert.ok(worst < TOLERANCE, `${each.name}: ${worst}`);
}

async function encodeAll(embedder: Embedder, cases: Case[]): Promise<Float32Array[]> {
  const vectors = [];
  for (const { text, prompt } of encodingOf("", cases, {}).input)
    vectors.push(await embedder.encode(text, prompt === undefined ? {} : { promptName: prompt }));
  return vectors;
}

async function withModel<T>(
  model: string,
  dtype: "fp32" | "q8",
  action: (embedder: Embedder) => Promise<T>,
): Promise<T> {
  const embedder = await Embedder.load(model, { dtype });
  try {
    return await action(embedder);
  } finally {
    await embedder.dispose();
  }
}

test("MiniLM gives sentence-transformers' tokens and vectors", async () => {
  const expected = read("all-MiniLM-L6-v2.json");
  assert.ok(expected.cases.length >= 60);
  await withModel(MINI_LM, "fp32", async (embedder) => {
    assert.equal(embedder.info.dimension, expected.dimension);
    const vectors = await encodeAll(embedder, expected.cases);
    for (const [i, each] of expected.cases.entries()) {
      const { inputIds, truncated } = await embedder.tokenize(textOf(each));
      assert.deepEqual(inputIds, each.input_ids, each.name);
      assert.equal(truncated, each.truncated, each.name);
      assertClose(vectors[i]!, each);
    }
  });
});

for (const name of TINY_MODELS) {
  test(`${name} gives sentence-transformers' vectors`, async () => {
    const expected = read(`models/${name}/expected.json`);
    await withModel(MODELS + name, "fp32", async (embedder) => {
      assert.equal(embedder.info.dimension, expected.dimension);
      const vectors = await encodeAll(embedder, expected.cases);
      expected.cases.forEach((each, i) => assertClose(vectors[i]!, each));
    });
  });
}

test("MiniLM in 8 bits, the default, points the same way", async () => {
  const { cases } = read("all-MiniLM-L6-v2.json");
  await withModel(MINI_LM, "q8", async (embedder) => {
    assert.match(embedder.info.kernels, /^f32 5x(8|16), q8 (dot|pairs) 5x(8|16)$/);
    const vectors = await encodeAll(embedder, cases);
    const cosines = cases.map((each, i) => cosine(expectedOf(each), [...vectors[i]!], each.name));
    const mean = cosines.reduce((sum, x) => sum + x) / cosines.length;
    assert.ok(mean >= 0.998, `mean ${mean}`);
    cosines.forEach((cosine, i) => assert.ok(cosine >= 0.995, `${cases[i]!.name}: ${cosine}`));
  });
});

test("a text has the same bits alone, in any batch, in a stream, and from any worker", async () => {
  const texts = read("all-MiniLM-L6-v2.json").cases.slice(0, 64).map(textOf);
  const embedder = await Embedder.load(MINI_LM, { workers: 2 });
  // Several slices for each worker.
  const many = Array.from({ length: 3 }, () => texts).flat();
  let together: Float32Array[] = [];
  for (let ready = false; !ready; ) {
    together = await embedder.encode(many);
    // The second worker loads meanwhile; a third of this takes it.
    ready = embedder.info.workers === 2;
  }
  const streamed = [];
  for await (const { embedding } of embedder.encodeStream(many)) streamed.push(embedding);
  for (const [i, text] of texts.entries()) {
    const alone = await embedder.encode(text);
    for (const other of [together[i]!, together[i + texts.length]!, streamed[i]!]) assert.deepEqual(other, alone, text);
  }
  await embedder.dispose();
});
