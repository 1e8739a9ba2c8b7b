// A search by vectors: which of them it reads, and that it finds what reading all of them finds.

import assert from "node:assert/strict";
import { test } from "node:test";

import { type Core, scoreOf } from "../../pkg/src/search/core.ts";
import { type Query, search } from "../../pkg/src/search/query.ts";

const DIMENSION = 8;

/** Of 8 bits, about. */
const ERROR = 0.01;

/** Numbers from -1 to 1 that look random and are the same everywhere. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31;
  };
}

interface Passage {
  document: number;
  vector: Float32Array;
}

/** An index whose estimates are as far from the scores as they may be, and a count of the vectors that are read. */
function coreOf(passages: readonly Passage[]): { core: Core; read: Set<number> } {
  const entries = new Map<number, { id: string; metadata: object; rows: number[] }>();
  passages.forEach(({ document }, row) => {
    const entry = entries.get(document) ?? { id: String(document), metadata: {}, rows: [] };
    entry.rows.push(row);
    entries.set(document, entry);
  });
  const next = random(7);
  const off = passages.map(() => (next() > 0 ? ERROR : -ERROR));
  const read = new Set<number>();
  const scan = {
    search(query: Float32Array, k: number) {
      const all = passages.map(({ vector }, row) => ({ row, score: scoreOf("cosine", query, vector) + off[row]! }));
      all.sort((a, b) => b.score - a.score || a.row - b.row);
      const least = k > all.length ? -Infinity : all[k - 1]!.score - ERROR;
      const found = all.filter(({ score }) => score + ERROR >= least);
      return {
        rows: Uint32Array.from(found, ({ row }) => row),
        scores: found.map(({ score }) => score),
        errors: found.map(() => ERROR),
        isProven: true,
      };
    },
  };
  const core = {
    similarity: "cosine",
    scan,
    rows: {
      passages: passages.length,
      entryOf: (row: number) => entries.get(passages[row]!.document)!,
      place: (row: number) => ({ start: 0, end: 0, passage: row }),
    },
    source: {
      texts: async (rows: number[]) => rows.map(String),
      vectors: async (rows: number[]) => rows.map((row) => (read.add(row), passages[row]!.vector)),
    },
  };
  return { core: core as unknown as Core, read };
}

function passagesOf(count: number, documentOf: (row: number) => number): Passage[] {
  const next = random(3);
  return Array.from({ length: count }, (_, row) => ({
    document: documentOf(row),
    vector: Float32Array.from({ length: DIMENSION }, next),
  }));
}

const QUERY = Float32Array.from({ length: DIMENSION }, random(11));

const queryOf = (options: Partial<Query>): Query => ({
  mode: "semantic",
  vector: QUERY,
  liked: [],
  disliked: [],
  topK: 10,
  groupBy: "document",
  context: 0,
  ...options,
});

/** The best passage of each document, best first. */
function expected(passages: readonly Passage[]): string[] {
  const scored = passages.map(({ document, vector }, row) => ({
    document,
    row,
    score: scoreOf("cosine", QUERY, vector),
  }));
  scored.sort((a, b) => b.score - a.score || a.row - b.row);
  const seen = new Set<number>();
  return scored
    .filter(({ document }) => seen.size < seen.add(document).size)
    .map(({ document, row }) => `${document}: ${row}`);
}

const { signal } = new AbortController();

async function found(core: Core, options: Partial<Query>): Promise<string[]> {
  const { hits } = await search(core, queryOf(options), signal);
  return hits.map(({ id, passage }) => `${id}: ${passage}`);
}

test("of each document the best passage, whatever the estimates say", async () => {
  for (const [count, documents] of [
    [9, 9],
    [500, 9],
    [500, 60],
    [3000, 700],
  ] as const) {
    // Neighbours, and strangers.
    for (const documentOf of [
      (row: number) => row % documents,
      (row: number) => Math.floor((row * documents) / count),
    ]) {
      const passages = passagesOf(count, documentOf);
      for (const topK of [1, 10, 100]) {
        const { core } = coreOf(passages);
        assert.deepEqual(await found(core, { topK }), expected(passages).slice(0, topK), `${count} of ${documents}`);
      }
    }
  }
});

test("a document whose passages are the best ones takes the place of no other", async () => {
  const passages = passagesOf(2000, (row) => row % 40);
  for (const passage of passages.slice(0, 400)) {
    passage.document = 99;
    passage.vector = passage.vector.map((x, i) => QUERY[i]! + x / 1000);
  }
  const { core } = coreOf(passages);
  assert.deepEqual(await found(core, {}), expected(passages).slice(0, 10));
});

test("of a document with many passages only those that can be its best one are read", async () => {
  const passages = passagesOf(9900, (row) => row % 9);
  const { core, read } = coreOf(passages);
  assert.deepEqual(await found(core, {}), expected(passages));
  assert.ok(read.size < 300, `${read.size} vectors are read`);
});
