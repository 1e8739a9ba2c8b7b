// The tests' own comparisons: what they are for, they must not let through.

import assert from "node:assert/strict";
import { test } from "node:test";

import { assertFinite, cosine, difference } from "../support/vectors.ts";

test("a comparison fails on what is not a number, is infinite or is missing", () => {
  assert.equal(difference([1, 2], [1, 4]), 2);
  assert.equal(difference(Float32Array.of(1), [1]), 0);
  assert.equal(cosine([1, 0], [2, 0]), 1);
  const wrong: [number[], number[]][] = [
    [[NaN], [NaN]],
    [
      [1, NaN],
      [1, 2],
    ],
    [[Infinity], [Infinity]],
    [[1], [-Infinity]],
    [[], []],
    [[1], []],
    [[1, 2], [1]],
    [[1, , 2] as number[], [1, 2, 2]],
  ];
  for (const [a, b] of wrong) {
    for (const compare of [difference, cosine]) {
      assert.throws(() => compare(a, b), assert.AssertionError);
      assert.throws(() => compare(b, a), assert.AssertionError);
    }
  }
  assert.throws(() => assertFinite([undefined as never]), assert.AssertionError);
});
