// Vectors in 32 bits, compared with the same in 8 bits, which came with a SHA-256: a row of a file has none of its own.

import { SearchEngine } from "../../wasm/search/embervec.js";

import type { Core } from "./core.js";
import { damaged, takenIn } from "./parts.js";

/**
 * Throws for vectors that are not those of the rows from `first` on. They are quantised again, and must give a query the
 * very same score: one integer that differs changes it.
 */
export function checkVectors(
  { scan, similarity }: Core,
  dimension: number,
  first: number,
  vectors: Float32Array,
): void {
  const own = new SearchEngine(dimension, similarity);
  try {
    const count = vectors.length / dimension;
    const [found, wanted] = takenIn(() => {
      own.append(own.quantize(vectors), JSON.stringify(Array.from({ length: count }, () => null)));
      const query = queryOf(dimension);
      const rows = Uint32Array.from({ length: count }, (_, i) => i);
      return [
        own.estimates(query, rows),
        scan!.estimates(
          query,
          rows.map((row) => first + row),
        ),
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
