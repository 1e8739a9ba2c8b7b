// Scores by words. Which passages hold a word is kept in memory by the wasm module, in a byte or two for each; minisearch has only what
// one query needs, and computes the scores that it would compute over all passages.

import MiniSearch, { type AsPlainObject } from "minisearch";

import { damaged } from "./parts.js";

/** The passages that hold a word, or words that begin with it. */
export interface Postings {
  terms: string[];
  /** Where each term's postings end in the next two. */
  ends: Uint32Array;
  rows: Uint32Array;
  /** How often each row has the term. */
  counts: Uint32Array;
}

/** What is known of all passages. */
export interface Lengths {
  /** Passages. */
  passages: number;
  /** Words in a passage, on average. */
  average: number;
  /** Words of a row. */
  of(row: number): number;
}

/** A passage that holds words of a query. */
export interface WordHit {
  row: number;
  /** BM25+. */
  score: number;
  /** The words that it holds. */
  words: string[];
}

/**
 * A word of more than half of the passages says little about any of them. Where those are so many that it would take longer than all other
 * words, it is left out, unless the query has no other.
 */
const COMMON_SHARE = 0.5;
const COMMON_PASSAGES = 10_000;

/**
 * Where ranks are joined, what has nothing but a word such as "of" would count as much as what means the same: only words of at most a tenth
 * of the passages are looked for.
 */
const TELLING_SHARE = 0.1;
const TELLING_PASSAGES = 2;

/** As people type, the last word is not whole: from so many letters on it stands for all that begin so. */
const PREFIX_LENGTH = 2;

/**
 * Best first; of equal ones that which was added first.
 *
 * @param isJoined whether the ranks are joined with others
 */
export async function searchWords(
  words: readonly string[],
  { lengths, isJoined }: { lengths: Lengths; isJoined: boolean },
  lookup: (word: string, isPrefix: boolean) => Promise<Postings>,
): Promise<WordHit[]> {
  const unique = [...new Set(words)];
  const last = words.at(-1);
  const isPrefix = (word: string) => word === last && word.length >= PREFIX_LENGTH;
  const found = await Promise.all(unique.map(async (word) => ({ word, postings: await lookup(word, isPrefix(word)) })));
  const most = isJoined
    ? Math.max(TELLING_SHARE * lengths.passages, TELLING_PASSAGES)
    : Math.max(COMMON_SHARE * lengths.passages, COMMON_PASSAGES);
  const there = found.filter(({ postings }) => postings.rows.length > 0);
  const rare = there.filter(({ postings }) => largest(postings) <= most);
  const used = rare.length > 0 || isJoined ? rare : there;
  if (used.length === 0) return [];
  const { index, documentIds, fieldLength } = indexOf(used, lengths);
  const mini = MiniSearch.loadJS<{ id: number; text: string }>(
    {
      documentCount: lengths.passages,
      nextId: lengths.passages,
      documentIds,
      fieldIds: { text: 0 },
      fieldLength,
      averageFieldLength: [lengths.average],
      storedFields: {},
      dirtCount: 0,
      index,
      serializationVersion: 2,
    } as AsPlainObject,
    { fields: ["text"] },
  );
  const results = mini.search(used.map(({ word }) => word).join(" "), {
    tokenize: () => used.map(({ word }) => word),
    processTerm: (word) => word,
    prefix: (word) => isPrefix(word),
  });
  return results
    .map(({ id, score, terms }) => ({ row: id as number, score, words: terms }))
    .sort((a, b) => b.score - a.score || a.row - b.row);
}

function largest({ ends }: Postings): number {
  return ends.reduce((most, end, i) => Math.max(most, end - (ends[i - 1] ?? 0)), 0);
}

/** What minisearch has of these words in its own form (`MiniSearch.toJSON`, version 2). */
function indexOf(found: readonly { postings: Postings }[], lengths: Lengths) {
  const index = new Map<string, Record<string, Record<string, number>>>();
  const documentIds: Record<string, number> = {};
  const fieldLength: Record<string, number[]> = {};
  for (const { postings } of found) {
    postings.terms.forEach((term, i) => {
      if (index.has(term)) return;
      const rows: Record<string, number> = {};
      for (let at = postings.ends[i - 1] ?? 0; at < postings.ends[i]!; at++) {
        const row = postings.rows[at]!;
        rows[row] = postings.counts[at]!;
        documentIds[row] = row;
        // Scores are divided by it.
        if (lengths.of(row) === 0) throw damaged("a passage has words, and its list counts none");
        fieldLength[row] ??= [lengths.of(row)];
      }
      index.set(term, { 0: rows });
    });
  }
  return { index: [...index], documentIds, fieldLength };
}
