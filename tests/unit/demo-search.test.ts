// How the demo joins what several collections find.

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Collection } from "../../www/src/collection.ts";
import { searchAll } from "../../www/src/search.ts";
import type { SearchHit, SearchMode } from "../../pkg/src/search/types.ts";

/** BM25 of a word that one passage of so many has once, as it is in a passage of average length. */
const once = (passages: number, have = 1) => Math.log(1 + (passages - have + 0.5) / (have + 0.5)) * 1.5;

function collection(name: string, passages: number, found: Record<string, Partial<SearchHit["scores"]>>): Collection {
  const hits = Object.entries(found).map(([id, scores]) => {
    const score = scores.semantic ?? scores.keyword ?? 0;
    return { id, passage: 0, text: id, start: 0, end: 1, metadata: {}, score, scores, words: [] };
  });
  const index = { info: { name, passages }, search: async () => ({ hits, mode: "hybrid", encodeMs: 0, searchMs: 0 }) };
  return { name, indexes: [index], index, hasModel: true } as unknown as Collection;
}

const ranked = async (collections: Collection[], mode: SearchMode) => {
  const { signal } = new AbortController();
  const { hits } = await searchAll(collections, { query: "q", mode, type: "", topK: 10, signal });
  return hits.map(({ id }) => id);
};

test("a word counts as much in a collection of two passages as in one of ten thousand", async () => {
  const small = collection("small", 2, { rare: { keyword: once(2) }, often: { keyword: once(2, 2) } });
  const large = collection("large", 10_000, {
    "in ten": { keyword: once(10_000, 10) },
    "in a thousand": { keyword: once(10_000, 1000) },
  });
  for (const collections of [
    [small, large],
    [large, small],
  ])
    assert.deepEqual(await ranked(collections, "keyword"), ["rare", "in ten", "often", "in a thousand"]);
});

test("cosines are compared as they are; words do not come before all that is alike", async () => {
  const meant = collection("meant", 10, {
    near: { semantic: 0.8 },
    far: { semantic: 0.1 },
    opposite: { semantic: -0.2 },
  });
  const other = collection("other", 1000, { nearer: { semantic: 0.9 }, "less far": { semantic: 0.2 } });
  assert.deepEqual(await ranked([meant, other], "semantic"), ["nearer", "near", "less far", "far", "opposite"]);
  const words = collection("words", 1000, { first: { keyword: 12 }, second: { keyword: 11 }, third: { keyword: 10 } });
  assert.deepEqual(await ranked([meant, words], "semantic"), ["near", "first", "far", "second", "opposite", "third"]);
});

test("what is found by both comes first", async () => {
  const a = collection("a", 100, { both: { semantic: 0.5, keyword: once(100) }, "a meant": { semantic: 0.6 } });
  const b = collection("b", 5, { words: { semantic: 0.1, keyword: once(5, 3) } });
  assert.equal((await ranked([a, b], "hybrid"))[0], "both");
});
