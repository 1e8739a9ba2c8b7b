// Passages that mean nearly the same: pairs, and groups.

import { SearchEngine } from "../../wasm/search/embervec.js";

import { breathe } from "./breathe.js";
import { type Core, scoreOf } from "./core.js";
import type { Duplicate, PassagePlace } from "./types.js";

/** Vectors that are read at once. */
const READ_ROWS = 1024;

/** A row whose cosine is from `low` to `high`. */
interface Near {
  row: number;
  low: number;
  high: number;
}

/** Passages as sentence-transformers compares them here: by cosine, whatever function the model was trained for. */
interface Cosines {
  /** Those that are there. */
  rows: readonly number[];
  /** Those of them, from the `first`-th on, whose cosine to a vector can be at least `least`. */
  near(vector: Float32Array, least: number, first: number): Near[];
  free(): void;
}

async function cosinesOf(core: Core, signal: AbortSignal): Promise<Cosines> {
  const rows = aliveOf(core);
  const isOwn = core.similarity === "cosine" || rows.length === 0;
  const scan = isOwn ? core.scan : await scanOf(core, rows, signal);
  return {
    rows,
    near(vector, least, first) {
      const found = scan!.within(vector, least, isOwn ? (rows[first] ?? core.rows.count) : first);
      return Array.from(found.rows, (row, i) => {
        const [score, error] = [found.scores[i]!, found.errors[i]!];
        return { row: isOwn ? row : rows[row]!, low: score - error, high: score + error };
      });
    },
    free() {
      if (!isOwn) scan!.free();
    },
  };
}

/** The same vectors for another function. It numbers them in the order of `rows`. */
async function scanOf({ source }: Core, rows: readonly number[], signal: AbortSignal): Promise<SearchEngine> {
  let scan: SearchEngine | undefined;
  try {
    for (let at = 0; at < rows.length; at += READ_ROWS) {
      signal.throwIfAborted();
      const vectors = await source.vectors(rows.slice(at, at + READ_ROWS));
      const dimension = vectors[0]!.length;
      scan ??= new SearchEngine(dimension, "cosine");
      const joined = new Float32Array(vectors.length * dimension);
      vectors.forEach((vector, i) => joined.set(vector, i * dimension));
      scan.append(scan.quantize(joined), JSON.stringify(vectors.map(() => null)));
    }
    return scan!;
  } catch (error) {
    scan?.free();
    throw error;
  }
}

/** The rows that are alive. */
function aliveOf({ rows }: Core): number[] {
  return [...rows.entries()].flatMap((entry) => entry.rows).sort((a, b) => a - b);
}

export function placeOf({ rows }: Core, row: number): PassagePlace {
  return { id: rows.entryOf(row).id, ...rows.place(row) };
}

/** The exact cosines of rows to a vector. */
async function scoresOf({ source }: Core, vector: Float32Array, rows: readonly number[]): Promise<number[]> {
  const vectors = await source.vectors(rows);
  return vectors.map((other) => scoreOf("cosine", vector, other));
}

/** As sentence-transformers' `paraphrase_mining`: the most similar pairs first. */
export async function duplicates(
  core: Core,
  threshold: number,
  topK: number,
  signal: AbortSignal,
): Promise<Duplicate[]> {
  let pairs: { a: number; b: number; score: number }[] = [];
  let least = threshold;
  const best = () => pairs.sort((x, y) => y.score - x.score || x.a - y.a || x.b - y.b).slice(0, topK);
  const cosines = await cosinesOf(core, signal);
  try {
    for (const [i, row] of cosines.rows.entries()) {
      signal.throwIfAborted();
      await breathe();
      const [vector] = await core.source.vectors([row]);
      const found = cosines.near(vector!, least, i + 1).map(({ row }) => row);
      const scores = await scoresOf(core, vector!, found);
      found.forEach((other, n) => {
        if (scores[n]! >= least) pairs.push({ a: row, b: other, score: scores[n]! });
      });
      if (pairs.length <= 4 * topK) continue;
      pairs = best();
      // What is below the last of them is none of the best.
      least = pairs.at(-1)!.score;
    }
  } finally {
    cosines.free();
  }
  return best().map(({ a, b, score }) => ({ score, a: placeOf(core, a), b: placeOf(core, b) }));
}

/**
 * As sentence-transformers' `community_detection`: groups around a passage, the largest first; in each the passage in its middle comes first.
 * No passage is in two groups.
 */
export async function clusters(
  core: Core,
  threshold: number,
  minSize: number,
  signal: AbortSignal,
): Promise<PassagePlace[][]> {
  const groups: { middle: number; rows: Uint32Array }[] = [];
  const cosines = await cosinesOf(core, signal);
  try {
    for (const row of cosines.rows) {
      signal.throwIfAborted();
      await breathe();
      const [vector] = await core.source.vectors([row]);
      const found = cosines.near(vector!, threshold, 0);
      if (found.length < minSize) continue;
      // Of most it is certain on which side of the threshold they are.
      const unsure = found.filter(({ low }) => low < threshold).map(({ row }) => row);
      const scores = await scoresOf(core, vector!, unsure);
      const far = new Set(unsure.filter((_, i) => scores[i]! < threshold));
      const rows = Uint32Array.from(found.filter(({ row }) => !far.has(row)).map(({ row }) => row));
      if (rows.length >= minSize) groups.push({ middle: row, rows });
    }
  } finally {
    cosines.free();
  }
  groups.sort((a, b) => b.rows.length - a.rows.length);
  const taken = new Set<number>();
  const unique: { middle: number; rows: number[] }[] = [];
  for (const { middle, rows } of groups) {
    const left = [...rows].filter((row) => !taken.has(row));
    if (left.length < minSize) continue;
    for (const row of left) taken.add(row);
    unique.push({ middle, rows: left });
  }
  unique.sort((a, b) => b.rows.length - a.rows.length);
  const places: PassagePlace[][] = [];
  for (const { middle, rows } of unique) {
    signal.throwIfAborted();
    const [vector] = await core.source.vectors([middle]);
    const scores = await scoresOf(core, vector!, rows);
    const order = rows.map((row, i) => ({ row, score: scores[i]! }));
    order.sort((a, b) => b.score - a.score || a.row - b.row);
    places.push(order.map(({ row }) => placeOf(core, row)));
  }
  return places;
}
