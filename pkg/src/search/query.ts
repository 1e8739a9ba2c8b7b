// One search: by vectors, by words, or by both.

import { EmbervecError } from "../errors.js";
import { type Core, lengthOf, mean, normalized, scoreOf, weighted } from "./core.js";
import { type WordHit, searchWords } from "./keywords.js";
import type { SearchHit, SearchMode, SearchResult } from "./types.js";
import { wordsOf } from "./words.js";

/** What is asked of the worker. */
export interface Query {
  mode: SearchMode;
  /** For the words. */
  text?: string | undefined;
  vector?: Float32Array | undefined;
  like?: string | undefined;
  liked: readonly string[];
  disliked: readonly string[];
  topK: number;
  /** As JSON. */
  filter?: string | undefined;
  groupBy?: "document" | undefined;
  context: number;
}

/** What a search gives before `minScore` and `rerank`. */
export type Found = Pick<SearchResult, "hits" | "exact" | "queryShare" | "searchMs">;

/**
 * Reciprocal rank fusion: a passage's score is the sum of 1 / (k + rank) over both lists. k = 60 is that of Cormack, Clarke and Büttcher,
 * "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods" (SIGIR 2009).
 */
const FUSION_K = 60;

/** So many of each list are joined: the 101st has 0.38 of the weight of the first, and a hit of both lists beats it. */
const FUSED = 100;

/**
 * Weights of the query, of the mean of what is liked and of what is disliked: Rocchio's, as Salton and Buckley found them best ("Improving
 * retrieval performance by relevance feedback", 1990). The query keeps 1 / (1 + 0.75 + 0.15) at least, which is more than half.
 */
const [QUERY, LIKED, DISLIKED] = [1, 0.75, 0.15];

interface Ranked {
  row: number;
  /** `undefined` where it has not been scored. */
  semantic: number | undefined;
}

export async function search(core: Core, query: Query, signal: AbortSignal): Promise<Found> {
  const started = performance.now();
  const { rows, source, similarity } = core;
  const { mode, topK } = query;
  const excluded = new Set(query.like === undefined ? [] : entryOf(core, query.like).rows);
  const { vector, share } = await vectorOf(core, query);
  signal.throwIfAborted();
  const wantsWords = mode !== "semantic";
  const [meant, worded] = await Promise.all([
    mode === "keyword" || !vector ? undefined : searchVectors(core, vector, query, excluded),
    wantsWords ? searchAllWords(core, query) : undefined,
  ]);
  signal.throwIfAborted();
  const words = new Map(worded?.map((hit) => [hit.row, hit]));
  const ordered = mode === "hybrid" ? fused(meant?.ranked ?? [], worded ?? []) : alone(meant?.ranked, worded);
  const best = grouped(core, ordered, query).slice(0, topK);
  const ids = best.map(({ row }) => row);
  const [texts, vectors] = await Promise.all([source.texts(ids), vector ? source.vectors(ids) : undefined]);
  const hits = best.map(({ row, score }, i): SearchHit => {
    const semantic = vector && vectors ? scoreOf(similarity, vector, vectors[i]!) : undefined;
    const { id, metadata } = rows.entryOf(row);
    return {
      id,
      score: mode === "semantic" ? semantic! : score,
      scores: { semantic, keyword: wantsWords ? (words.get(row)?.score ?? 0) : undefined },
      text: texts[i]!,
      ...rows.place(row),
      words: words.get(row)?.words ?? [],
      metadata,
    };
  });
  if (query.context > 0) await addContext(core, hits, ids, query.context);
  return {
    hits,
    exact: meant?.exact ?? true,
    ...(share !== undefined && { queryShare: share }),
    searchMs: performance.now() - started,
  };
}

function entryOf({ rows }: Core, id: string) {
  const entry = rows.entry(id);
  if (!entry)
    throw new EmbervecError("invalid_input", `search: there is no document with the id ${JSON.stringify(id)}`);
  return entry;
}

/** What is searched for, moved by what is liked and disliked. */
async function vectorOf(core: Core, query: Query): Promise<{ vector?: Float32Array; share?: number }> {
  const of = async (ids: readonly string[]) => core.source.vectors(ids.flatMap((id) => entryOf(core, id).rows));
  const plain = query.like === undefined ? query.vector : mean(await of([query.like]));
  const { liked, disliked } = query;
  if (!plain || (liked.length === 0 && disliked.length === 0)) return plain ? { vector: plain } : {};
  const terms: [number, Float32Array][] = [[QUERY, normalized(plain)]];
  const directionOf = async (ids: readonly string[]) => mean((await of(ids)).map(normalized));
  if (liked.length > 0) terms.push([LIKED, await directionOf(liked)]);
  if (disliked.length > 0) terms.push([-DISLIKED, await directionOf(disliked)]);
  const all = terms.reduce((sum, [weight]) => sum + Math.abs(weight), 0);
  // As long as the query was: for a distance the length counts.
  return { vector: weighted([[lengthOf(plain), normalized(weighted(terms))]]), share: QUERY / all };
}

/** The best by vectors: those that can be among the first are scored in 32 bits, those that follow have an estimate. */
async function searchVectors(
  { rows, scan, source, similarity }: Core,
  vector: Float32Array,
  { topK, mode, filter, groupBy }: Query,
  excluded: ReadonlySet<number>,
): Promise<{ ranked: Ranked[]; exact: boolean }> {
  if (!scan) return { ranked: [], exact: true };
  for (let wanted = Math.max(topK, mode === "hybrid" ? FUSED : 0); ; wanted *= 4) {
    const found = scan.search(vector, wanted + excluded.size, filter);
    const isAll = found.rows.length >= rows.passages || found.rows.length < wanted;
    const candidates = Array.from(found.rows, (row, i) => ({
      row,
      high: found.scores[i]! + found.errors[i]!,
    })).filter(({ row }) => !excluded.has(row));
    const isNew = firsts(candidates.map(({ row }) => rows.entryOf(row)));
    // Of a document only the best passage counts: more of the others may come before it.
    if (groupBy && !isAll && isNew.filter(Boolean).length < topK) continue;
    const score = async (some: readonly Candidate[]) => {
      const vectors = await source.vectors(some.map(({ row }) => row));
      return some.map((candidate, i) => ({
        row: candidate.row,
        semantic: scoreOf(similarity, vector, vectors[i]!),
      }));
    };
    // Those that seem best are scored first: what cannot reach the least of them need not be read.
    const count = groupBy ? countUntil(isNew, topK) : topK;
    const first = await score(candidates.slice(0, count));
    const least = Math.min(...first.map(({ semantic }) => semantic));
    const others = candidates.slice(count);
    const scored = [...first, ...(await score(others.filter(({ high }) => high >= least)))];
    scored.sort((a, b) => b.semantic - a.semantic || a.row - b.row);
    const tail = others.filter(({ high }) => high < least).map(({ row }) => ({ row, semantic: undefined }));
    return { ranked: [...scored, ...tail], exact: found.isProven };
  }
}

/** A row whose score is at most `high`. */
interface Candidate {
  row: number;
  high: number;
}

/** For each one whether it is the first of its kind. */
function firsts(values: readonly unknown[]): boolean[] {
  const seen = new Set<unknown>();
  return values.map((value) => seen.size < seen.add(value).size);
}

/** How many there are up to the `count`-th that is true. */
function countUntil(flags: readonly boolean[], count: number): number {
  let left = count;
  const last = flags.findIndex((flag) => flag && --left === 0);
  return last < 0 ? flags.length : last + 1;
}

async function searchAllWords({ rows, scan, source }: Core, { text = "", mode, filter }: Query): Promise<WordHit[]> {
  const lengths = {
    passages: rows.passages,
    average: rows.averageWords,
    of: (row: number) => rows.words(row),
  };
  const isJoined = mode === "hybrid";
  const lookup = (word: string, isPrefix: boolean) => source.lookup(word, isPrefix);
  const hits = await searchWords(wordsOf(text), { lengths, isJoined }, lookup);
  if (filter === undefined || !scan) return hits;
  const allowed = new Set(scan.matching(filter));
  return hits.filter(({ row }) => allowed.has(row));
}

interface Scored {
  row: number;
  score: number;
}

function alone(meant: readonly Ranked[] | undefined, worded: readonly WordHit[] | undefined): Scored[] {
  return (
    worded?.map(({ row, score }) => ({ row, score })) ??
    meant!.map(({ row, semantic = 0 }) => ({ row, score: semantic }))
  );
}

function fused(meant: readonly Ranked[], worded: readonly WordHit[]): Scored[] {
  const scores = new Map<number, number>();
  for (const list of [meant, worded]) {
    list.slice(0, FUSED).forEach(({ row }, i) => scores.set(row, (scores.get(row) ?? 0) + 1 / (FUSION_K + i + 1)));
  }
  return Array.from(scores, ([row, score]) => ({ row, score })).sort((a, b) => b.score - a.score || a.row - b.row);
}

function grouped({ rows }: Core, ordered: Scored[], { groupBy }: Query): Scored[] {
  if (!groupBy) return ordered;
  const isNew = firsts(ordered.map(({ row }) => rows.entryOf(row)));
  return ordered.filter((_, i) => isNew[i]);
}

async function addContext(
  { rows, source }: Core,
  hits: SearchHit[],
  ids: readonly number[],
  context: number,
): Promise<void> {
  await Promise.all(
    hits.map(async (hit, i) => {
      const all = rows.entryOf(ids[i]!).rows;
      const at = all.indexOf(ids[i]!);
      const [before, after] = [all.slice(Math.max(0, at - context), at), all.slice(at + 1, at + 1 + context)];
      [hit.before, hit.after] = await Promise.all([source.texts(before), source.texts(after)]);
    }),
  );
}
