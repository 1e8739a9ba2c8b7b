// Comparisons of vectors that nothing passes which is not a number, or is missing.

import assert from "node:assert/strict";

type Vector = ArrayLike<number>;

export function assertFinite(vector: Vector, name = "the vector"): void {
  assert.ok(vector.length > 0, `${name} is empty`);
  for (let i = 0; i < vector.length; i++)
    assert.ok(Number.isFinite(vector[i]), `component ${i} of ${name} is ${vector[i]}`);
}

/** The largest difference between two vectors' components. */
export function difference(a: Vector, b: Vector, name?: string): number {
  assert.equal(a.length, b.length, name);
  assertFinite(a, name);
  assertFinite(b, name);
  return Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i]!)));
}

export function cosine(a: Vector, b: Vector, name?: string): number {
  assert.equal(a.length, b.length, name);
  assertFinite(a, name);
  assertFinite(b, name);
  const dot = (a: Vector, b: Vector) => Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
