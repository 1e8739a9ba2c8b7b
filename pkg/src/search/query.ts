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

/** So many of each list are joined, or more: the 101st has 0.38 of the first's weight, and a hit of both beats it. */
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
  const ranked = worded && firsts(core, worded, query);
  const ordered =
    mode === "hybrid" ? fused(core, [meant?.ranked ?? [], ranked ?? []], query) : alone(meant?.ranked, ranked);
  const best = ordered.slice(0, topK);
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
  // Of each document the passage that the query finds: the others may be of something else.
  const nearest = async (id: string) => {
    const vectors = (await of([id])).map(normalized);
    const scores = vectors.map((vector) => scoreOf("dot", plain, vector));
    return vectors[scores.indexOf(Math.max(...scores))]!;
  };
  const directionOf = async (ids: readonly string[]) => mean(await Promise.all(ids.map(nearest)));
  if (liked.length > 0) terms.push([LIKED, await directionOf(liked)]);
  if (disliked.length > 0) terms.push([-DISLIKED, await directionOf(disliked)]);
  const all = terms.reduce((sum, [weight]) => sum + Math.abs(weight), 0);
  // As long as the query was: for a distance the length counts.
  return { vector: weighted([[lengthOf(plain), normalized(weighted(terms))]]), share: QUERY / all };
}

/**
 * The best by vectors: those that can be among the first are scored in 32 bits, those that follow have an estimate. Of
 * each document one passage, if that is asked for.
 */
async function searchVectors(
  core: Core,
  vector: Float32Array,
  query: Query,
  excluded: ReadonlySet<number>,
): Promise<{ ranked: Ranked[]; exact: boolean }> {
  const { rows, scan, source, similarity } = core;
  const { topK, mode, filter, groupBy } = query;
  if (!scan) return { ranked: [], exact: true };
  const wanted = mode === "hybrid" ? joinedOf(query) : topK;
  for (let asked = wanted + excluded.size; ; asked *= 4) {
    const found = scan.search(vector, asked, filter);
    const all = Array.from(found.rows, (row, i): Candidate => {
      const [score, error] = [found.scores[i]!, found.errors[i]!];
      return { row, low: score - error, high: score + error };
    });
    const groups = groupsOf(
      all.filter(({ row }) => !excluded.has(row)),
      keyOf(core, query),
    );
    const isAll = found.rows.length >= rows.passages || found.rows.length < asked;
    if (groupBy && !isAll) {
      // Only documents above the last row that was asked for are above all that is not among them.
      const last = all.map(({ low }) => low).sort((a, b) => b - a)[asked - 1]!;
      if (groups.filter(({ low }) => low >= last).length < wanted) continue;
    }
    const score = async (some: readonly Group[], least: number): Promise<{ row: number; semantic: number }[]> => {
      // A passage that cannot be its document's best, or reach the least of the first, need not be read.
      const rivals = some.map(({ candidates, low }) => candidates.filter(({ high }) => high >= Math.max(low, least)));
      const ids = rivals.flat().map(({ row }) => row);
      const vectors = await source.vectors(ids);
      const scores = new Map(ids.map((row, i) => [row, scoreOf(similarity, vector, vectors[i]!)]));
      return rivals.map((group) => {
        const scored = group.map(({ row }) => ({ row, semantic: scores.get(row)! }));
        return scored.sort(byMeaning)[0]!;
      });
    };
    // Those that seem best are scored first.
    const first = await score(groups.slice(0, topK), -Infinity);
    const least = first.reduce((least, { semantic }) => Math.min(least, semantic), Infinity);
    const others = groups.slice(topK);
    const rest = others.filter(({ high }) => high >= least);
    const scored = [...first, ...(await score(rest, least))].sort(byMeaning);
    const tail = others.filter(({ high }) => high < least);
    const estimated = tail.map(({ candidates }) => ({ row: candidates[0]!.row, semantic: undefined }));
    return { ranked: [...scored, ...estimated], exact: found.isProven };
  }
}

function byMeaning(a: { row: number; semantic: number }, b: { row: number; semantic: number }): number {
  return b.semantic - a.semantic || a.row - b.row;
}

/** A row whose score is from `low` to `high`. */
interface Candidate {
  row: number;
  low: number;
  high: number;
}

/** Rows of which one is wanted, with the bounds of the best score among them. */
interface Group {
  candidates: Candidate[];
  low: number;
  high: number;
}

/** What one hit is wanted of. */
function keyOf({ rows }: Core, { groupBy }: Query): (row: number) => unknown {
  return (row) => (groupBy ? rows.entryOf(row) : row);
}

function groupsOf(candidates: readonly Candidate[], keyOf: (row: number) => unknown): Group[] {
  const groups = new Map<unknown, Group>();
  for (const candidate of candidates) {
    const group = groups.get(keyOf(candidate.row));
    if (group) {
      group.candidates.push(candidate);
      group.low = Math.max(group.low, candidate.low);
      group.high = Math.max(group.high, candidate.high);
    } else {
      groups.set(keyOf(candidate.row), { candidates: [candidate], low: candidate.low, high: candidate.high });
    }
  }
  return [...groups.values()];
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

/** So many of each list are joined. */
function joinedOf({ topK }: Query): number {
  return Math.max(FUSED, topK);
}

/** Ranks are those of passages, or of documents: then the passage that is higher in its list stands for both. */
function fused(core: Core, lists: readonly (readonly { row: number }[])[], query: Query): Scored[] {
  const key = keyOf(core, query);
  const joined = new Map<unknown, Scored & { best: number }>();
  for (const list of lists) {
    list.slice(0, joinedOf(query)).forEach(({ row }, i) => {
      const share = 1 / (FUSION_K + i + 1);
      const known = joined.get(key(row));
      if (!known) joined.set(key(row), { row, score: share, best: share });
      else {
        known.score += share;
        if (share > known.best) [known.row, known.best] = [row, share];
      }
    });
  }
  return [...joined.values()].sort((a, b) => b.score - a.score || a.row - b.row);
}

/** The first of each document, if that is asked for. */
function firsts<T extends { row: number }>(core: Core, ordered: readonly T[], query: Query): T[] {
  const key = keyOf(core, query);
  const seen = new Set<unknown>();
  return ordered.filter(({ row }) => seen.size < seen.add(key(row)).size);
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
