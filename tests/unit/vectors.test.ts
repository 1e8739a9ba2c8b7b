// Against sentence-transformers' own functions; see tests/fixtures/generate.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  cosSim,
  dot,
  EmbervecError,
  type Precision,
  quantizeEmbeddings,
  semanticSearch,
  similarity,
  type SimilarityFunction,
} from "../../pkg/src/index.ts";

interface Hit {
  corpus_id: number;
  score: number;
}

interface Quantized {
  name: string;
  precision: Precision;
  of: "a" | "wide";
  ranges?: [number[], number[]];
  calibration_embeddings?: number[][];
  result: number[][];
}

/** Sums of at most twelve float32 products, in float64 here. */
const TOLERANCE = 1e-5;

const expected = JSON.parse(readFileSync(new URL("../fixtures/similarity.json", import.meta.url), "utf8"));

const vectors = (rows: number[][]) => rows.map((row) => Float32Array.from(row));
const isInvalidInput = (error: unknown) => error instanceof EmbervecError && error.code === "invalid_input";

function assertClose(actual: number, wanted: number, name: string): void {
  assert.ok(Math.abs(actual - wanted) < TOLERANCE, `${name}: ${actual} instead of ${wanted}`);
}

for (const name of ["cosine", "dot", "euclidean", "manhattan"] as SimilarityFunction[]) {
  test(`similarity ${name} gives sentence-transformers' matrix`, () => {
    const matrix = similarity(vectors(expected.a), vectors(expected.b), name);
    assert.equal(matrix.length, expected.a.length);
    matrix.forEach((row, i) => {
      assert.equal(row.length, expected.b.length);
      row.forEach((score, j) => assertClose(score, expected.similarity[name][i][j], `${i}, ${j}`));
    });
  });
}

test("cosSim and dot are the elements of the matrices", () => {
  const [a, b] = [vectors(expected.a), vectors(expected.b)];
  a.forEach((x, i) =>
    b.forEach((y, j) => {
      assertClose(cosSim(x, y), expected.similarity.cosine[i][j], `cosSim ${i}, ${j}`);
      assertClose(dot(x, y), expected.similarity.dot[i][j], `dot ${i}, ${j}`);
    }),
  );
});

test("cosSim is the dot product of what sentence-transformers normalises", () => {
  const { dimension, normalized } = expected.truncate;
  const truncated = vectors(expected.a).map((vector) => vector.subarray(0, dimension));
  for (const [raw, unit] of [[truncated, normalized], [vectors(expected.b), expected.normalize.normalized]]) {
    similarity(raw, raw).forEach((row, i) =>
      row.forEach((score, j) => assertClose(score, dot(unit[i], unit[j]), `${i}, ${j}`)),
    );
  }
});

for (const name of ["cosine", "dot"] as const) {
  test(`semanticSearch by ${name} gives sentence-transformers' hits`, () => {
    const lists = semanticSearch(vectors(expected.a), vectors(expected.b), { topK: 3, similarity: name });
    const wanted: Hit[][] = expected.semantic_search[name];
    assert.deepEqual(
      lists.map((hits) => hits.map((hit) => hit.corpusId)),
      wanted.map((hits) => hits.map((hit) => hit.corpus_id)),
    );
    lists.forEach((hits, i) => hits.forEach((hit, j) => assertClose(hit.score, wanted[i]![j]!.score, `${i}, ${j}`)));
  });
}

test("semanticSearch takes one query, any topK, and an empty corpus", () => {
  const [a, b] = [vectors(expected.a), vectors(expected.b)];
  assert.deepEqual(semanticSearch(a[0]!, b, { topK: 3 }), semanticSearch([a[0]!], b, { topK: 3 }));
  const [all] = semanticSearch(a[0]!, b, { topK: 100 });
  assert.deepEqual(all!.map((hit) => hit.corpusId).sort(), b.map((_, i) => i));
  assert.deepEqual(semanticSearch(a[0]!, []), [[]]);
  assert.deepEqual(semanticSearch([], b), []);
});

for (const { name, precision, of, ranges, calibration_embeddings, result } of expected.quantize as Quantized[]) {
  test(`quantizeEmbeddings gives sentence-transformers' ${name}`, () => {
    const options = {
      ...(ranges && { ranges: { min: ranges[0], max: ranges[1] } }),
      ...(calibration_embeddings && { calibrationEmbeddings: vectors(calibration_embeddings) }),
    };
    const quantized = quantizeEmbeddings(vectors(expected[of]), precision, options);
    const type = precision === "int8" || precision === "binary" ? Int8Array : Uint8Array;
    assert.ok(quantized.every((row) => row instanceof type));
    assert.deepEqual(quantized.map((row) => [...row]), result);
  });
}

test("float32 is a copy", () => {
  const [row] = vectors(expected.a);
  const [copy] = quantizeEmbeddings([row!], "float32");
  assert.deepEqual(copy, row);
  assert.notEqual(copy!.buffer, row!.buffer);
});

test("one vector has no range", () => {
  const one = vectors(expected.a).slice(0, 1);
  assert.throws(() => quantizeEmbeddings(one, "int8"), isInvalidInput);
  assert.throws(() => quantizeEmbeddings(vectors(expected.a), "uint8", { calibrationEmbeddings: one }), isInvalidInput);
  assert.deepEqual(quantizeEmbeddings([], "int8"), []);
});

test("vectors of different lengths cannot be compared", () => {
  assert.throws(() => similarity([[1, 2]], [[1]]), isInvalidInput);
  assert.throws(() => cosSim([1, 2], [1]), isInvalidInput);
  assert.throws(() => quantizeEmbeddings([[1, 2], [1]], "int8"), isInvalidInput);
  assert.throws(() => quantizeEmbeddings([[1, 2]], "int8", { ranges: { min: [0], max: [1] } }), isInvalidInput);
});

test("unknown names are refused with those there are", () => {
  for (const name of ["euclid", "toString", undefined, null]) {
    const call = () => semanticSearch([], [], { similarity: name as SimilarityFunction });
    // undefined is the default.
    if (name === undefined) assert.deepEqual(call(), []);
    else assert.throws(call, (error: Error) => isInvalidInput(error) && error.message.includes("cosine, dot, euclidean, manhattan"));
  }
  assert.throws(
    () => quantizeEmbeddings([], "int4" as Precision),
    (error: Error) => isInvalidInput(error) && error.message.includes("float32, int8, uint8, binary, ubinary"),
  );
});
