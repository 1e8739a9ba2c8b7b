// Random unit vectors, the same in a page and in Node.

import { random } from "../support/random.ts";

export const DIMENSION = 384;

/** Gives the next vectors of a sequence, one after the other in one array. */
export function unitVectors(seed: number): (count: number) => Float32Array<ArrayBuffer> {
  const next = random(seed);
  const vector = new Float64Array(DIMENSION);
  return (count) => {
    const all = new Float32Array(count * DIMENSION);
    for (let at = 0; at < all.length; at += DIMENSION) {
      let norm = 0;
      for (let i = 0; i < DIMENSION; i++) {
        // Four make nearly a normal distribution, and so directions that are spread evenly.
        const value = next() + next() + next() + next() - 2;
        vector[i] = value;
        norm += value * value;
      }
      const scale = 1 / Math.sqrt(norm);
      for (let i = 0; i < DIMENSION; i++) all[at + i] = vector[i]! * scale;
    }
    return all;
  };
}

const CORPUS_SEED = 1;
const QUERY_SEED = 2;

export const corpus = (): ((count: number) => Float32Array<ArrayBuffer>) => unitVectors(CORPUS_SEED);

export function queries(count: number): Float32Array[] {
  const all = unitVectors(QUERY_SEED)(count);
  return Array.from({ length: count }, (_, i) => all.slice(i * DIMENSION, (i + 1) * DIMENSION));
}

/** The row numbers of the best rows for each query, by products of 32-bit values that are summed in 64 bits. */
export function exactBest(rows: number, all: readonly Float32Array[], topK: number): number[][] {
  const next = corpus();
  const best = all.map((): { row: number; score: number }[] => []);
  for (let row = 0; row < rows; row++) {
    const vector = next(1);
    all.forEach((query, q) => {
      let score = 0;
      for (let i = 0; i < DIMENSION; i++) score += query[i]! * vector[i]!;
      const list = best[q]!;
      if (list.length === topK && score <= list.at(-1)!.score) return;
      list.splice(list.findLastIndex((other) => other.score >= score) + 1, 0, { row, score });
      if (list.length > topK) list.pop();
    });
  }
  return best.map((list) => list.map(({ row }) => row));
}
