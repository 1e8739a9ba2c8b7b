// Against sentence-transformers' own functions; see tests/fixtures/generate.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  type AnyVector,
  cosSim,
  dot,
  Embedder,
  EmbervecError,
  type Precision,
  quantizeEmbeddings,
  rangesOf,
  type SearchHit,
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
const SIMILARITIES: SimilarityFunction[] = ["cosine", "dot", "euclidean", "manhattan"];

/** The message of what must be refused. Wrong arguments are none to the compiler, so they come as `never`. */
function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    assert.ok(isInvalidInput(error), String(error));
    return (error as Error).message;
  }
  throw new assert.AssertionError({ message: "nothing was thrown" });
}

/** Numbers from 0 to 1, the same in every run. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    // Numerical Recipes' linear congruential generator; its high bits are the better ones.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const randomVectors = (random: () => number, rows: number, columns: number) =>
  Array.from({ length: rows }, () => Float32Array.from({ length: columns }, () => random() - 0.5));

/** The definitions, number by number. */
function scoreOf(name: SimilarityFunction, a: ArrayLike<number>, b: ArrayLike<number>): number {
  const sum = (term: (x: number, y: number) => number, x = a, y = b) =>
    Array.from(x).reduce((total, value, i) => total + term(value, y[i]!), 0);
  const product = (x: number, y: number) => x * y;
  switch (name) {
    case "cosine":
      return sum(product) / Math.sqrt(sum(product, a, a) * sum(product, b, b));
    case "dot":
      return sum(product);
    case "euclidean":
      return -Math.sqrt(sum((x, y) => (x - y) ** 2));
    case "manhattan":
      return -sum((x, y) => Math.abs(x - y));
  }
}

/** By sorting everything; of equal scores the first in the corpus is first. */
function sortedHits(scores: number[], topK: number): SearchHit[] {
  return scores
    .map((score, corpusId) => ({ corpusId, score }))
    .sort((a, b) => b.score - a.score || a.corpusId - b.corpusId)
    .slice(0, topK);
}

function assertClose(actual: number, wanted: number, name: string): void {
  assert.ok(Math.abs(actual - wanted) < TOLERANCE, `${name}: ${actual} instead of ${wanted}`);
}

for (const name of SIMILARITIES) {
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
  for (const [raw, unit] of [
    [truncated, normalized],
    [vectors(expected.b), expected.normalize.normalized],
  ]) {
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
  assert.deepEqual(
    all!.map((hit) => hit.corpusId).sort(),
    b.map((_, i) => i),
  );
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
    assert.deepEqual(
      quantized.map((row) => [...row]),
      result,
    );
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

test("vectors of different lengths are refused by position", () => {
  assert.match(
    refusal(() => similarity([[1, 2]], [[1, 2], [1]])),
    /^b\[1\] has 1 dimensions, but a\[0\] has 2 dimensions$/,
  );
  assert.match(
    refusal(() => similarity([[1, 2], [1]], [[1, 2]])),
    /^a\[1\] has 1 /,
  );
  assert.match(
    refusal(() => cosSim([1, 2], [1])),
    /^b has 1 dimensions, but a has 2 /,
  );
  assert.match(
    refusal(() => dot(new Float32Array(2), new Float32Array(3))),
    /^b has 3 /,
  );
  assert.match(
    refusal(() =>
      semanticSearch(
        [1, 2],
        [
          [1, 2],
          [1, 2, 3],
        ],
      ),
    ),
    /^corpus\[1\] has 3 dimensions, but queries has 2 /,
  );
  assert.match(
    refusal(() => quantizeEmbeddings([[1, 2], [1]], "int8")),
    /^embeddings\[1\] has 1 /,
  );
  assert.match(
    refusal(() => quantizeEmbeddings([[1, 2]], "int8", { ranges: { min: [0], max: [1] } })),
    /^ranges\.min has 1 /,
  );
  assert.match(
    refusal(() => quantizeEmbeddings([[1, 2]], "int8", { calibrationEmbeddings: [[1, 2], [1]] })),
    /^calibrationEmbeddings\[1\] has 1 dimensions, but embeddings\[0\] has 2 /,
  );
  assert.match(
    refusal(() => rangesOf([[1, 2], [1]])),
    /^embeddings\[1\] has 1 /,
  );
});

test("what is no vector is refused by position", () => {
  const v = [1, 2];
  const holes = [v, , v];
  for (const bad of [
    undefined,
    null,
    "ab",
    7,
    {},
    { length: 2, 0: 1, 1: 2 },
    new Set(v),
    new ArrayBuffer(8),
    () => v,
  ]) {
    assert.match(
      refusal(() => semanticSearch(bad as never, [v])),
      /^queries must be a vector or an array of vectors, not /,
    );
    assert.match(
      refusal(() => semanticSearch(v, bad as never)),
      /^corpus must be /,
    );
    assert.match(
      refusal(() => semanticSearch(v, [v, bad] as never)),
      /^corpus\[1\] must be a vector \(Float32Array, /,
    );
    // An array that begins with a number is one vector.
    const first = bad === 7 ? /^corpus\[1\] must be a finite number, not an array$/ : /^corpus\[0\] must be a vector /;
    assert.match(
      refusal(() => semanticSearch(v, [bad, v] as never)),
      first,
    );
    assert.match(
      refusal(() => semanticSearch([v, bad] as never, [v])),
      /^queries\[1\] must be a vector /,
    );
    assert.match(
      refusal(() => similarity([v, bad] as never, v)),
      /^a\[1\] must be /,
    );
    assert.match(
      refusal(() => dot(v, bad as never)),
      /^b must be /,
    );
    assert.match(
      refusal(() => cosSim(bad as never, v)),
      /^a must be /,
    );
    assert.match(
      refusal(() => quantizeEmbeddings([v, bad] as never, "binary")),
      /^embeddings\[1\] must be /,
    );
    assert.match(
      refusal(() => quantizeEmbeddings(bad as never, "float32")),
      /^embeddings must be /,
    );
    assert.match(
      refusal(() => rangesOf([v, bad] as never)),
      /^embeddings\[1\] must be /,
    );
    assert.match(
      refusal(() => quantizeEmbeddings(v, "int8", { ranges: { min: bad as never, max: v } })),
      /^ranges\.min must be /,
    );
  }
  for (const bad of [
    new DataView(new ArrayBuffer(8)),
    new Int16Array(2),
    new BigInt64Array(2),
    new Uint8ClampedArray(2),
  ]) {
    assert.match(
      refusal(() => semanticSearch(v, [bad] as never)),
      /^corpus\[0\] must be a vector /,
    );
    assert.match(
      refusal(() => semanticSearch(bad as never, [v])),
      /^queries must be a vector /,
    );
  }
  assert.match(
    refusal(() => semanticSearch(v, holes as never)),
    /^corpus\[1\] must be a vector .*, not undefined$/,
  );
  assert.match(
    refusal(() => similarity(holes as never, v)),
    /^a\[1\] must be a vector .*, not undefined$/,
  );
  assert.match(
    refusal(() => semanticSearch([[]], [v])),
    /^queries\[0\] is empty$/,
  );
  assert.match(
    refusal(() => semanticSearch(v, [[]])),
    /^corpus\[0\] is empty$/,
  );
  assert.match(
    refusal(() => dot(new Float32Array(0), new Float32Array(0))),
    /^a is empty$/,
  );
  assert.match(
    refusal(() => quantizeEmbeddings([[]], "ubinary")),
    /^embeddings\[0\] is empty$/,
  );
  assert.match(
    refusal(() => semanticSearch(v, [v, [1, "2"]] as never)),
    /^corpus\[1\]\[1\] must be a finite number, not "2"$/,
  );
  assert.match(
    refusal(() => dot([1, , 3] as never, [1, 2, 3])),
    /^a\[1\] must be a finite number, not undefined$/,
  );
  assert.match(
    refusal(() => dot([v] as never, v)),
    /^a\[0\] must be a finite number, not an array$/,
  );
});

test("a number that is not finite is refused by position, and the exact match comes first", () => {
  for (const bad of [NaN, Infinity, -Infinity]) {
    for (const type of [Float32Array, Float64Array, Array] as { from(values: number[]): Float32Array }[]) {
      const corpus = [
        [0, 1, 0],
        [0.9, 0, 0.5],
        [1, bad, 0],
        [1, 0, 0],
      ].map((row) => type.from(row));
      const query = type.from([1, 0, 0]);
      for (const name of SIMILARITIES) {
        const position = new RegExp(`^corpus\\[2\\]\\[1\\] must be a finite number, not ${bad}$`);
        assert.match(
          refusal(() => semanticSearch(query, corpus, { similarity: name })),
          position,
        );
        assert.equal(semanticSearch(query, corpus.toSpliced(2, 1), { similarity: name })[0]![0]!.corpusId, 2);
        assert.match(
          refusal(() => semanticSearch(corpus, [query], { similarity: name })),
          /^queries\[2\]\[1\] /,
        );
        assert.match(
          refusal(() => similarity(corpus, corpus.slice(0, 2), name)),
          /^a\[2\]\[1\] /,
        );
        assert.match(
          refusal(() => similarity(corpus[2]!, query, name)),
          /^a\[1\] /,
        );
      }
      assert.match(
        refusal(() => cosSim(query, corpus[2]!)),
        /^b\[1\] /,
      );
      assert.match(
        refusal(() => dot(corpus[2]!, query)),
        /^a\[1\] /,
      );
      for (const precision of ["float32", "int8", "uint8", "binary", "ubinary"] as const) {
        assert.match(
          refusal(() => quantizeEmbeddings(corpus, precision)),
          /^embeddings\[2\]\[1\] /,
        );
      }
      assert.match(
        refusal(() => rangesOf(corpus)),
        /^embeddings\[2\]\[1\] /,
      );
      assert.match(
        refusal(() => quantizeEmbeddings([query], "int8", { ranges: { min: [0, 0, 0], max: corpus[2]! } })),
        /^ranges\.max\[1\] /,
      );
      assert.match(
        refusal(() => semanticSearch(corpus[2]!, [Int8Array.of(1)])),
        /^queries\[1\] /,
      );
    }
  }
  // Finite, but their product is not.
  assert.match(
    refusal(() => dot([1e200], [1e200])),
    /^a and b have numbers that are too large/,
  );
  assert.match(
    refusal(() => similarity([1e20], [[1], [1e20]], "dot")),
    /^a and b\[1\] have numbers that are too large/,
  );
  assert.match(
    refusal(() => quantizeEmbeddings([1e39], "float32")),
    /^embeddings\[0\] must be a finite number/,
  );
});

test("options that are unknown or wrong are refused by name, with what they must be", () => {
  const v = [1, 2];
  const calls: [string, (options: never) => unknown, Record<string, unknown[]>][] = [
    [
      "semanticSearch",
      (options) => semanticSearch(v, [v], options),
      {
        topK: [0, -1, 1.5, NaN, -Infinity, "3", null, 3n],
        similarity: ["euclid", "toString", null, ["dot"], () => 1],
        precision: ["int4", "", null, 8],
      },
    ],
    ["similarity", (options) => similarity(v, v, "dot", options), { precision: ["int4", null] }],
    ["dot", (options) => dot(v, v, options), { precision: ["int4", null] }],
    ["cosSim", (options) => cosSim(new Float32Array(2), new Float32Array(2), options), { precision: ["int4", null] }],
    [
      "quantizeEmbeddings",
      (options) => quantizeEmbeddings([v, v], "int8", options),
      { ranges: [null, 1, v, { min: v }], calibrationEmbeddings: [null, {}, "ab", new Float32Array(2)] },
    ],
  ];
  for (const [name, call, bad] of calls) {
    call({} as never);
    call(Object.fromEntries(Object.keys(bad).map((option) => [option, undefined])) as never);
    for (const [option, values] of Object.entries(bad)) {
      for (const value of values) {
        const message = refusal(() => call({ [option]: value } as never));
        assert.ok(message.startsWith(`${name}: option "${option}" must be `), message);
      }
    }
    assert.equal(
      refusal(() => call({ top_k: 3 } as never)),
      `${name} has no option "top_k"; there are: ${Object.keys(bad)
        .sort((a, b) => (a === "topK" ? -1 : b === "topK" ? 1 : 0))
        .join(", ")}`,
    );
    for (const options of [null, 3, "dot"])
      assert.match(
        refusal(() => call(options as never)),
        /options must be an object/,
      );
  }
  for (const bad of ["euclid", "toString", null, {}]) {
    assert.match(
      refusal(() => similarity([], [], bad as never)),
      /^the similarity must be "cosine", "dot", "euclidean", "manhattan", not /,
    );
  }
  assert.deepEqual(similarity([v], [v], undefined), similarity([v], [v], "cosine"));
  for (const bad of ["int4", undefined, null]) {
    assert.match(
      refusal(() => quantizeEmbeddings([], bad as never)),
      /^precision must be "float32", "int8", "uint8", "binary", "ubinary", not /,
    );
  }
  const reversed = { min: [0, 1], max: [1, 0] };
  assert.match(
    refusal(() => quantizeEmbeddings([v], "int8", { ranges: reversed })),
    /^ranges\.min\[1\] is above ranges\.max\[1\]$/,
  );
});

test("one vector counts as a list of one, in any class", () => {
  const [a, b] = [vectors(expected.a), vectors(expected.b)];
  for (const type of [Float32Array, Float64Array, Array] as { from(values: Iterable<number>): AnyVector }[]) {
    const one = type.from(a[0]!);
    const many = b.map((row) => type.from(row));
    for (const name of SIMILARITIES) {
      assert.deepEqual(
        semanticSearch(one, many, { similarity: name }),
        semanticSearch([a[0]!], b, { similarity: name }),
      );
      assert.deepEqual(
        semanticSearch(many, one, { similarity: name }),
        semanticSearch(b, [a[0]!], { similarity: name }),
      );
      assert.deepEqual(similarity(one, many, name), similarity([a[0]!], b, name));
      assert.deepEqual(similarity(many, one, name), similarity(b, [a[0]!], name));
      assert.deepEqual(similarity(one, many[0]!, name), similarity([a[0]!], [b[0]!], name));
    }
    assert.equal(dot(one, many[0]!), dot(a[0]!, b[0]!));
    assert.equal(cosSim(one, many[0]!), cosSim(a[0]!, b[0]!));
    const ranges = rangesOf(b);
    for (const precision of ["float32", "int8", "uint8", "binary", "ubinary"] as const) {
      assert.deepEqual(
        quantizeEmbeddings(one as never, precision, { ranges }),
        quantizeEmbeddings([a[0]!], precision, { ranges }),
      );
    }
  }
  assert.deepEqual(similarity([], b), []);
  assert.deepEqual(similarity(a[0]!, []), [new Float32Array(0)]);
  assert.equal(dot([0.1, 0.2], [0.3, 0.4]), 0.1 * 0.3 + 0.2 * 0.4);
});

test("an embedder's similarity is the function that its model was trained for", () => {
  const [a, b] = [vectors(expected.a), vectors(expected.b)];
  for (const name of SIMILARITIES) {
    const embedder = { info: { similarity: name } } as Embedder;
    assert.deepEqual(Embedder.prototype.similarity.call(embedder, a, b), similarity(a, b, name));
  }
  const [bits] = quantizeEmbeddings(a[0]!, "binary");
  const embedder = { info: { similarity: "dot" } } as Embedder;
  assert.deepEqual(Embedder.prototype.similarity.call(embedder, bits!, bits!, { precision: "binary" }), [
    Float32Array.of(8),
  ]);
});

test("rangesOf gives the corpus's ranges, and quantizes with them as with its own", () => {
  const { a } = expected;
  const { min, max } = rangesOf(a);
  const column = (i: number): number[] => a.map((row: number[]) => Math.fround(row[i]!));
  assert.deepEqual(
    [...min],
    a[0].map((_: number, i: number) => Math.min(...column(i))),
  );
  assert.deepEqual(
    [...max],
    a[0].map((_: number, i: number) => Math.max(...column(i))),
  );
  for (const precision of ["int8", "uint8"] as const) {
    const all = quantizeEmbeddings(a, precision);
    assert.deepEqual(quantizeEmbeddings(a, precision, { ranges: { min, max } }), all);
    assert.deepEqual(quantizeEmbeddings(a[3], precision, { ranges: { min, max } }), [all[3]]);
    // As they come back from JSON.
    assert.deepEqual(quantizeEmbeddings(a[3], precision, { ranges: { min: [...min], max: [...max] } }), [all[3]]);
  }
  assert.match(
    refusal(() => rangesOf(a.slice(0, 1))),
    /at least two vectors/,
  );
  assert.match(
    refusal(() => rangesOf([])),
    /at least two vectors/,
  );
  assert.match(
    refusal(() => quantizeEmbeddings([Int8Array.of(1)] as never, "binary")),
    /^embeddings\[0\] must be a vector .*Int8Array/,
  );
});

/** What a quantised vector stands for, by numpy's `unpackbits` for bits. */
function valuesOf(vector: Int8Array | Uint8Array, precision: Precision, dimension: number): number[] {
  if (!precision.endsWith("binary")) return [...vector];
  const bits = [...vector]
    .map((byte) => (precision === "binary" ? byte + 128 : byte).toString(2).padStart(8, "0"))
    .join("");
  return [...bits.slice(0, dimension)].map((bit) => (bit === "1" ? 1 : -1));
}

for (const precision of ["int8", "uint8", "binary", "ubinary"] as const) {
  test(`${precision} vectors are searched by floats and by each other`, () => {
    const random = randomNumbers(9);
    for (const dimension of [2, 7, 8, 9, 12, 384]) {
      const corpus = randomVectors(random, 40, dimension);
      const queries = randomVectors(random, 3, dimension);
      const ranges = rangesOf(corpus);
      const small = quantizeEmbeddings(corpus, precision, { ranges }) as Int8Array[];
      const smallQueries = quantizeEmbeddings(queries, precision, { ranges }) as Int8Array[];
      // Beside floats the last bits of a byte are known to be nothing; among bytes they are dimensions.
      const padded = precision.endsWith("binary") ? 8 * small[0]!.length : dimension;
      for (const name of SIMILARITIES) {
        const check = (lists: SearchHit[][], lefts: ArrayLike<number>[], length: number, what: string) =>
          lists.forEach((hits, i) => {
            const scores = small.map((row) => scoreOf(name, lefts[i]!, valuesOf(row, precision, length)));
            assert.equal(hits.length, small.length);
            assert.equal(new Set(hits.map(({ corpusId }) => corpusId)).size, small.length);
            hits.forEach(({ corpusId, score }, place) => {
              const wanted = scores[corpusId]!;
              assert.ok(
                Math.abs(score - wanted) <= 1e-12 * (1 + Math.abs(wanted)),
                `${what}, ${name}, ${dimension}: ${score}, ${wanted}`,
              );
              if (place > 0) assert.ok(score <= hits[place - 1]!.score);
            });
          });
        const options = { similarity: name, topK: Infinity };
        const unpacked = smallQueries.map((query) => valuesOf(query, precision, padded));
        check(semanticSearch(smallQueries, small, { ...options, precision }), unpacked, padded, "bytes");

        if (precision.endsWith("int8") && (name === "euclidean" || name === "manhattan")) {
          assert.match(
            refusal(() => semanticSearch(queries, small, options)),
            /distance of floats to bytes is not defined/,
          );
          assert.match(
            refusal(() => similarity(small, queries, name)),
            /distance of floats to bytes is not defined/,
          );
          continue;
        }
        check(semanticSearch(queries, small, options), queries, dimension, "floats");
        check(semanticSearch(queries, small, { ...options, precision }), queries, dimension, "floats, precision given");

        const matrix = similarity(small, queries, name);
        const turned = similarity(queries, small, name);
        matrix.forEach((row, i) =>
          row.forEach((score, j) =>
            assert.ok(Math.abs(score - turned[j]![i]!) <= TOLERANCE * (1 + Math.abs(score)), `${name}, ${i}, ${j}`),
          ),
        );
      }
      const [first, second] = small.map((row) => valuesOf(row, precision, padded));
      assertClose(cosSim(small[0]!, small[1]!, { precision }), scoreOf("cosine", first!, second!), "cosSim");
      assert.equal(dot(small[0]!, small[1]!, { precision }), scoreOf("dot", first!, second!));
    }
  });
}

test("bits rank as sentence-transformers' search does: by Hamming distance, and rescored by the float query", () => {
  const random = randomNumbers(4);
  const corpus = randomVectors(random, 60, 64);
  const [query] = randomVectors(random, 1, 64);
  const bits = quantizeEmbeddings(corpus, "ubinary");
  const [queryBits] = quantizeEmbeddings(query!, "ubinary");
  const ones = (byte: number) => byte.toString(2).replaceAll("0", "").length;
  const hamming = bits.map((row) => row.reduce((sum, byte, i) => sum + ones(byte ^ queryBits![i]!), 0));
  // numpy: query @ unpackbits(row)
  const rescored = bits.map((row) =>
    valuesOf(row, "ubinary", 64).reduce((sum, sign, i) => sum + (sign === 1 ? query![i]! : 0), 0),
  );
  const ids = (hits: SearchHit[]) => hits.map(({ corpusId }) => corpusId);
  for (const name of SIMILARITIES) {
    const [hits] = semanticSearch(queryBits!, bits, { precision: "ubinary", similarity: name, topK: 60 });
    assert.deepEqual(
      ids(hits!),
      ids(
        sortedHits(
          hamming.map((distance) => -distance),
          60,
        ),
      ),
      name,
    );
  }
  for (const name of ["cosine", "dot"] as const) {
    assert.deepEqual(
      ids(semanticSearch(query!, bits, { similarity: name, topK: 60 })[0]!),
      ids(sortedHits(rescored, 60)),
      name,
    );
  }
  const [[best]] = semanticSearch(bits[7]!, bits, { precision: "ubinary", similarity: "manhattan" }) as [[SearchHit]];
  assert.equal(best.corpusId, 7);
});

test("bytes that may be two things need a precision, and those that are neither are refused", () => {
  const floats = new Float32Array(16).fill(1);
  const [i16, i2, u16, u2] = [
    new Int8Array(16).fill(1),
    new Int8Array(2),
    new Uint8Array(16).fill(1),
    new Uint8Array(2),
  ];
  assert.equal(semanticSearch(floats, i16, { similarity: "dot" })[0]![0]!.score, 16);
  assert.equal(semanticSearch(floats, u16, { similarity: "dot" })[0]![0]!.score, 16);
  // 0 is half of the bits in `binary`, which is less 128, and none in `ubinary`.
  assert.equal(semanticSearch(floats, i2, { similarity: "dot" })[0]![0]!.score, -12);
  assert.equal(semanticSearch(floats, u2, { similarity: "dot" })[0]![0]!.score, -16);

  assert.match(
    refusal(() => semanticSearch(i2, i2)),
    /^queries may be int8 or binary: say which by option "precision"$/,
  );
  assert.match(
    refusal(() => similarity([u2], [u2])),
    /^a\[0\] may be uint8 or ubinary/,
  );
  assert.match(
    refusal(() => cosSim(i16, i16)),
    /^a may be int8 or binary/,
  );
  // One dimension is one byte, packed or not.
  assert.match(
    refusal(() => semanticSearch([1], Int8Array.of(1))),
    /^corpus may be int8 or binary/,
  );
  assert.equal(semanticSearch([1], Int8Array.of(5), { precision: "int8", similarity: "dot" })[0]![0]!.score, 5);
  assert.equal(semanticSearch([1], Int8Array.of(5), { precision: "binary", similarity: "dot" })[0]![0]!.score, 1);

  assert.match(
    refusal(() => semanticSearch(floats, [new Int8Array(3)])),
    /^corpus\[0\] has 3 bytes: neither int8 nor binary of the 16 dimensions of queries$/,
  );
  assert.match(
    refusal(() => semanticSearch(floats, [i2, new Int8Array(3)])),
    /^corpus\[1\] has 3 bytes, but queries has 16 dimensions, which take 2 bytes$/,
  );
  assert.match(
    refusal(() => semanticSearch(floats, i16, { precision: "binary" })),
    /^corpus has 16 bytes, but queries has 16 dimensions, which take 2 bytes$/,
  );
  assert.match(
    refusal(() => semanticSearch(floats, i16, { precision: "uint8" })),
    /^corpus must be a vector \(Uint8Array\), not an object \(Int8Array\)$/,
  );
  assert.match(
    refusal(() => semanticSearch(floats, i16, { precision: "float32" })),
    /^corpus must be a vector \(Float32Array, /,
  );
  assert.match(
    refusal(() => semanticSearch(i16, u16, { precision: "int8" })),
    /^corpus must be a vector \(Int8Array\)/,
  );
  assert.match(
    refusal(() => semanticSearch(floats, [floats, i16])),
    /^corpus\[1\] must be a vector \(Float32Array, /,
  );
  assert.match(
    refusal(() => semanticSearch(floats, [i16, floats] as AnyVector[])),
    /^corpus\[1\] must be a vector \(Int8Array\)/,
  );
  assert.match(
    refusal(() => semanticSearch(floats, [i2, u2])),
    /^corpus\[1\] must be a vector \(Int8Array\)/,
  );
});

test("vectors of another realm are vectors", async () => {
  const { runInNewContext } = await import("node:vm");
  const [row, list, bytes] = runInNewContext("[new Float32Array([1, 2]), [3, 4], new Int8Array([5, 6])]") as [
    Float32Array,
    number[],
    Int8Array,
  ];
  assert.equal(dot(row, list), 11);
  assert.deepEqual(semanticSearch(row, [list, list])[0]!.length, 2);
  assert.equal(dot(row, bytes), 17);
  assert.deepEqual(quantizeEmbeddings(row, "ubinary"), [Uint8Array.of(0xc0)]);
});

test("hits are those of a plain sort, whatever the order, the ties and topK", () => {
  const random = randomNumbers(1);
  for (const size of [1, 2, 3, 10, 500]) {
    for (const values of [2, 5, 1e9]) {
      const unsorted = Array.from({ length: size }, () => Math.floor(random() * values));
      for (const scores of [unsorted, unsorted.toSorted((a, b) => a - b), unsorted.toSorted((a, b) => b - a)]) {
        const corpus = scores.map((score) => [score]);
        for (const topK of [1, 2, 3, 7, 10, 499, 500, 501, Infinity]) {
          assert.deepEqual(
            semanticSearch([1], corpus, { topK, similarity: "dot" }),
            [sortedHits(scores, topK)],
            `${size}, ${values}, ${topK}`,
          );
        }
      }
    }
  }
  const corpus = Array.from({ length: 12 }, () => [1, 1]);
  assert.deepEqual(
    semanticSearch(
      [
        [1, 2],
        [2, 1],
      ],
      corpus,
    ).map((hits) => hits.map(({ corpusId }) => corpusId)),
    [[...Array(10).keys()], [...Array(10).keys()]],
  );
});

test("scores are those of dot and cosSim to the bit, for any number of dimensions", () => {
  const random = randomNumbers(2);
  for (const dimension of [1, 2, 3, 4, 5, 6, 7, 8, 9, 383, 384]) {
    const [query, ...corpus] = randomVectors(random, 6, dimension);
    for (const [name, pair] of [
      ["cosine", cosSim],
      ["dot", dot],
    ] as const) {
      for (const { corpusId, score } of semanticSearch(query!, corpus, { similarity: name })[0]!) {
        assert.equal(score, pair(query!, corpus[corpusId]!));
        const wanted = scoreOf(name, query!, corpus[corpusId]!);
        assert.ok(Math.abs(score - wanted) < 1e-14 * dimension, `${name}, ${dimension}: ${score}, ${wanted}`);
      }
    }
  }
});

test("a search takes well below half the time of scoring all by three dot products and sorting", () => {
  const random = randomNumbers(3);
  const [query, ...corpus] = randomVectors(random, 10_001, 384);
  const product = (a: Float32Array, b: Float32Array) => {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
    return sum;
  };
  const plain = () =>
    sortedHits(
      corpus.map((row) => product(query!, row) / Math.sqrt(product(query!, query!) * product(row, row))),
      10,
    );
  const [hits] = semanticSearch(query!, corpus);
  assert.deepEqual(
    hits!.map(({ corpusId }) => corpusId),
    plain().map(({ corpusId }) => corpusId),
  );
  const time = (call: () => unknown) => {
    const start = performance.now();
    call();
    return performance.now() - start;
  };
  // Measured: 0.27. The best of several rounds in turn, as other processes only ever add to a time.
  const best = { plain: Infinity, search: Infinity };
  for (let round = 0; round < 15; round++) {
    best.plain = Math.min(best.plain, time(plain));
    best.search = Math.min(
      best.search,
      time(() => semanticSearch(query!, corpus)),
    );
  }
  assert.ok(best.search < 0.7 * best.plain, `${best.search} ms, and ${best.plain} the plain way`);
});

test("of a vector that is too long for a number there is no cosine, and the error names it", () => {
  assert.throws(
    () =>
      semanticSearch(
        [1, 0],
        [
          [1e200, 0],
          [0, 1],
        ],
      ),
    /corpus\[0\]/,
  );
  assert.throws(
    () => cosSim([1e200, 0], [1, 0]),
    (error) => error instanceof EmbervecError && error.code === "invalid_input",
  );
});
