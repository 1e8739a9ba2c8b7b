/** One query over all collections that it is meant for. */

import { type Collection, type SectionMetadata, sectionOf } from "./collection";
import { messageOf } from "./errors";
import type { Filter, SearchHit, SearchIndex, SearchMode } from "embervec/search";

export interface Hit extends SectionMetadata {
  /** The same for the same passage in every search. */
  readonly key: string;
  readonly collection: Collection;
  readonly id: string;
  readonly passage: number;
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly score: number;
  readonly scores: SearchHit["scores"];
  /** The score by words as a share of what one occurrence of the rarest word counts in its collection; none where no word was found. */
  readonly wordShare: number | undefined;
  readonly words: readonly string[];
}

export interface Request {
  readonly query: string;
  readonly mode: SearchMode;
  readonly type: string;
  readonly topK: number;
  readonly signal: AbortSignal;
}

export interface Found {
  readonly hits: Hit[];
  /** Passages that were searched. */
  readonly passages: number;
  /** What could not be searched as it was asked, in sentences. */
  readonly notes: string[];
  /** Whether anything was searched by meaning. */
  readonly isByMeaning: boolean;
  readonly truncated: boolean;
  readonly encodeMs: number;
  readonly searchMs: number;
}

/** As the index joins its own two lists. */
const RANK_CONSTANT = 60;

export async function searchAll(collections: readonly Collection[], request: Request): Promise<Found> {
  const notes: string[] = [];
  const found = { passages: 0, isByMeaning: false, truncated: false, encodeMs: 0, searchMs: 0 };
  const searchOne = async (collection: Collection, index: SearchIndex) => {
    try {
      const { hits, ...result } = await index.search(request.query, optionsFor(collection, index, request));
      found.passages += index.info.passages;
      found.isByMeaning ||= result.mode !== "keyword";
      found.truncated ||= result.truncated;
      // They run at the same time.
      found.encodeMs = Math.max(found.encodeMs, result.encodeMs);
      found.searchMs = Math.max(found.searchMs, result.searchMs);
      return hits.map((hit) => toHit(collection, hit, index.info.passages));
    } catch (error) {
      request.signal.throwIfAborted();
      notes.push(`${collection.name} could not be searched: ${messageOf(error)}`);
      return [];
    }
  };
  const lists = await Promise.all(
    collections.flatMap((collection) => collection.indexes.map((index) => searchOne(collection, index))),
  );
  request.signal.throwIfAborted();
  const hits = lists.length === 1 ? lists[0]! : merged(withoutTwins(lists.flat()));
  return { ...found, hits: hits.slice(0, request.topK), notes };
}

/** What is like a passage: by its vector where it is, by its text elsewhere. */
export async function searchLike(
  { collection: home, id, key, text }: Hit,
  collections: readonly Collection[],
  { topK, type, signal }: Omit<Request, "query" | "mode">,
): Promise<Hit[]> {
  const lists = await Promise.all(
    collections
      .filter(({ hasModel }) => hasModel)
      .map(async (collection) => {
        const options = { topK, mode: "semantic" as const, ...filterFor(type), signal };
        const { hits } = await collection.index.search(collection === home ? { like: id } : text, options);
        return hits.map((hit) => toHit(collection, hit, collection.index.info.passages));
      }),
  );
  const hits = lists.flat().filter((hit) => hit.key !== key);
  return hits.sort((a, b) => b.score - a.score).slice(0, topK);
}

function optionsFor({ hasModel, waiting }: Collection, index: SearchIndex, { mode, topK, type, signal }: Request) {
  const possible: SearchMode = hasModel && index !== waiting ? mode : "keyword";
  return { topK, mode: possible, ...filterFor(type), signal };
}

function filterFor(type: string): { filter?: Filter } {
  return type === "" ? {} : { filter: { type } };
}

/** @param passages of the index that it is from */
function toHit(collection: Collection, { id, metadata, ...hit }: SearchHit, passages: number): Hit {
  const { keyword = 0 } = hit.scores;
  const wordShare = keyword > 0 ? keyword / rarestWord(passages) : undefined;
  const key = `${collection.name}\n${id}\n${hit.start}`;
  return { ...sectionOf(id, metadata), ...hit, id, collection, key, wordShare };
}

/**
 * The inverse document frequency of BM25 (Robertson and Zaragoza, 2009, with Lucene's 1 that keeps it above 0) of a word that one passage has:
 * 8.9 among 10,000 passages, 0.7 among two.
 */
function rarestWord(passages: number): number {
  return Math.log(1 + (Math.max(passages, 1) - 0.5) / 1.5);
}

/** While what waited is encoded, it is in both of a collection's indexes; the one with vectors comes first. */
function withoutTwins(hits: readonly Hit[]): Hit[] {
  const encoded = new Set(hits.filter(({ scores }) => scores.semantic !== undefined).map(idOf));
  return hits.filter((hit) => hit.scores.semantic !== undefined || !encoded.has(idOf(hit)));
}

function idOf({ collection, id }: Hit): string {
  return `${collection.name}\n${id}`;
}

/**
 * The best of several collections, by reciprocal rank. Their own ranks say nothing about each other. Cosines do, and so do scores by words once
 * it does not matter any more how many passages a collection has.
 */
export function merged(hits: readonly Hit[]): Hit[] {
  const share = new Map<Hit, number>(hits.map((hit) => [hit, 0]));
  for (const scoreOf of [({ scores }: Hit) => scores.semantic, ({ wordShare }: Hit) => wordShare]) {
    const ranked = hits.flatMap((hit) => {
      const score = scoreOf(hit);
      return score === undefined ? [] : [{ hit, score }];
    });
    ranked.sort((a, b) => b.score - a.score);
    ranked.forEach(({ hit }, rank) => share.set(hit, share.get(hit)! + 1 / (RANK_CONSTANT + rank + 1)));
  }
  return [...hits].sort((a, b) => share.get(b)! - share.get(a)!);
}
