// What a search needs of an index, wherever it is kept.

import type { SearchEngine } from "../../wasm/search/embervec.js";

import type { Postings } from "./keywords.js";
import type { Similarity } from "./parts.js";
import type { Rows } from "./rows.js";

/** Gives what is not in memory. */
export interface RowSource {
  texts(rows: readonly number[]): Promise<string[]>;
  /** In 32 bits. */
  vectors(rows: readonly number[]): Promise<Float32Array[]>;
  /** The passages that hold a word. */
  lookup(word: string, isPrefix: boolean): Promise<Postings>;
}

export interface Core {
  rows: Rows;
  /** The vectors in 8 bits; `undefined` as long as there is none. */
  scan: SearchEngine | undefined;
  similarity: Similarity;
  source: RowSource;
}

/** As sentence-transformers' functions, of vectors of one length; summed in 64 bits. */
export function scoreOf(similarity: Similarity, a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  switch (similarity) {
    case "dot":
      return dot;
    case "cosine":
      return aa > 0 && bb > 0 ? dot / Math.sqrt(aa * bb) : 0;
    case "euclidean":
      // Not below 0 by rounding.
      return -Math.sqrt(Math.max(0, aa + bb - 2 * dot));
  }
}

export function lengthOf(vector: Float32Array): number {
  let sum = 0;
  for (const x of vector) sum += x * x;
  return Math.sqrt(sum);
}

/** Of length 1; as it is where it has none. */
export function normalized(vector: Float32Array): Float32Array<ArrayBuffer> {
  const length = lengthOf(vector);
  return Float32Array.from(vector, (x) => (length > 0 ? x / length : x));
}

/** The sum of vectors of one length, each times its weight. */
export function weighted(
  terms: readonly (readonly [weight: number, vector: Float32Array])[],
): Float32Array<ArrayBuffer> {
  const sum = new Float32Array(terms[0]![1].length);
  for (const [weight, vector] of terms) {
    for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + weight * vector[i]!;
  }
  return sum;
}

export function mean(vectors: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  return weighted(vectors.map((vector) => [1 / vectors.length, vector] as const));
}
