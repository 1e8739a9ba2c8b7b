// Passages that mean nearly the same: pairs, and groups.

import { breathe } from "./breathe.js";
import { type Core, scoreOf } from "./core.js";
import type { Duplicate, PassagePlace } from "./types.js";

interface Near {
  row: number;
  score: number;
}

/** The rows that are alive. */
function aliveOf({ rows }: Core): number[] {
  return [...rows.entries()].flatMap((entry) => entry.rows).sort((a, b) => a - b);
}

export function placeOf({ rows }: Core, row: number): PassagePlace {
  return { id: rows.entryOf(row).id, ...rows.place(row) };
}

/** The rows from `from` on whose similarity to this one is at least the threshold, best first. */
async function near(core: Core, row: number, threshold: number, from: number): Promise<Near[]> {
  const [vector] = await core.source.vectors([row]);
  const found = core.scan!.within(vector!, threshold, from);
  const vectors = await core.source.vectors([...found.rows]);
  return Array.from(found.rows, (other, i) => ({ row: other, score: scoreOf(core.similarity, vector!, vectors[i]!) }))
    .filter(({ score }) => score >= threshold)
    .sort((a, b) => b.score - a.score || a.row - b.row);
}

/** As sentence-transformers' `paraphrase_mining`: the most similar pairs first. */
export async function duplicates(
  core: Core,
  threshold: number,
  topK: number,
  signal: AbortSignal,
): Promise<Duplicate[]> {
  let pairs: { a: number; b: number; score: number }[] = [];
  const best = () => pairs.sort((x, y) => y.score - x.score || x.a - y.a || x.b - y.b).slice(0, topK);
  for (const row of aliveOf(core)) {
    signal.throwIfAborted();
    await breathe();
    for (const { row: other, score } of await near(core, row, threshold, row + 1))
      pairs.push({ a: row, b: other, score });
    if (pairs.length > 4 * topK) pairs = best();
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
  const groups: number[][] = [];
  for (const row of aliveOf(core)) {
    signal.throwIfAborted();
    await breathe();
    const group = await near(core, row, threshold, 0);
    if (group.length >= minSize) groups.push(group.map(({ row }) => row));
  }
  groups.sort((a, b) => b.length - a.length);
  const taken = new Set<number>();
  const unique: number[][] = [];
  for (const group of groups) {
    const left = group.filter((row) => !taken.has(row));
    if (left.length < minSize) continue;
    for (const row of left) taken.add(row);
    unique.push(left);
  }
  unique.sort((a, b) => b.length - a.length);
  return unique.map((group) => group.map((row) => placeOf(core, row)));
}
