// Vectors in 32 bits, compared with the same in 8 bits, which came with a SHA-256: a row of a file has none of its own.

import { SearchEngine } from "../../wasm/search/embervec.js";

import type { Core } from "./core.js";
import { damaged, takenIn } from "./parts.js";

/**
 * Throws for vectors that are not those of these rows. They are quantised again, and must give a query the very same
 * score: one integer that differs changes it.
 */
export function checkVectors(
  { scan, similarity }: Core,
  dimension: number,
  rows: readonly number[],
  vectors: Float32Array,
): void {
  const own = new SearchEngine(dimension, similarity);
  try {
    const [found, wanted] = takenIn(() => {
      own.append(own.quantize(vectors), JSON.stringify(rows.map(() => null)));
      const query = queryOf(dimension);
      return [
        own.estimates(
          query,
          Uint32Array.from(rows, (_, i) => i),
        ),
        scan!.estimates(query, Uint32Array.from(rows)),
      ];
    });
    if (found.some((score, i) => score !== wanted[i])) throw damaged("a vector does not belong to its passage");
  } finally {
    own.free();
  }
}

/** Values of both signs from 0.5 to 1: every integer counts, and different rows hardly ever have the same sum. */
function queryOf(dimension: number): Float32Array {
  return Float32Array.from({ length: dimension }, (_, i) => (i % 2 === 0 ? 1 : -1) * (0.5 + ((i * GOLDEN) % 1) / 2));
}

/** Its multiples are spread evenly. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;
