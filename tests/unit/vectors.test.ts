import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { EmbervecError, semanticSearch, similarity, type SimilarityFunction } from "../../pkg/src/index.ts";

// From sentence-transformers' own functions; see tests/fixtures/generate.py.
const expected = JSON.parse(readFileSync(new URL("../fixtures/similarity.json", import.meta.url), "utf8"));

const vectors = (rows: number[][]) => rows.map((row) => Float32Array.from(row));

for (const name of ["cosine", "dot", "euclidean", "manhattan"] as SimilarityFunction[]) {
  test(`similarity ${name} gives sentence-transformers' matrix`, () => {
    const matrix = similarity(vectors(expected.a), vectors(expected.b), name);
    matrix.forEach((row, i) =>
      row.forEach((score, j) => assert.ok(Math.abs(score - expected.similarity[name][i][j]) < 1e-5, `${i}, ${j}`)),
    );
  });
}

test("semanticSearch ranks the best first, for each query", () => {
  const lists = semanticSearch(vectors(expected.a), vectors(expected.b), { topK: 3 });
  assert.equal(lists.length, expected.a.length);
  lists.forEach((hits, i) => {
    const row: number[] = expected.similarity.cosine[i];
    const best = row.map((score, id) => ({ score, id })).sort((x, y) => y.score - x.score).slice(0, 3);
    assert.deepEqual(hits.map((hit) => hit.corpusId), best.map(({ id }) => id));
  });
});

test("vectors of different lengths cannot be compared", () => {
  assert.throws(
    () => similarity([[1, 2]], [[1]]),
    (error) => error instanceof EmbervecError && error.code === "invalid_input",
  );
});
