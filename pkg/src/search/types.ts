// What callers pass to a search index, and get.

import type { CacheChoice, Embedder, EmbeddingSpace, LoadOptions } from "../index.js";

/** What a document's metadata may hold: JSON. Filters read it. */
export type Metadata = { [key: string]: MetadataValue };

/** A value in {@link Metadata}. */
export type MetadataValue = string | number | boolean | null | MetadataValue[] | { [key: string]: MetadataValue };

/** A document to add. */
export interface SearchDocument {
  /** What it is found and replaced by. */
  id: string;
  /** Any length: a long text is split into passages. */
  text: string;
  /** Kept with the document, given back with each hit, and what filters read. */
  metadata?: Metadata;
  /** A vector of your own. The text is then one passage, and is not encoded. */
  vector?: Float32Array | readonly number[];
}

/** A document of the index. */
export interface StoredDocument {
  /** What it was added under. */
  id: string;
  /** The whole text; blanks at its ends may be missing. */
  text: string;
  /** As it was added. */
  metadata: Metadata;
  /** The passages in their order. */
  passages: PassageSpan[];
}

/** A part of a text. */
export interface PassageSpan {
  /** Where it begins, in UTF-16 code units. */
  start: number;
  /** Where it ends. */
  end: number;
}

/** Progress of {@link SearchIndex.add}. */
export interface IndexProgress {
  /** Documents that are done: searchable, or unchanged. */
  documents: number;
  /** Documents to do; 0 if the source does not say how many. */
  totalDocuments: number;
  /** Passages that have been encoded by this call. */
  passages: number;
  /** Passages that are known to be left for this call. */
  pendingPassages: number;
  /** Documents that were unchanged. */
  unchanged: number;
  /** Passages encoded in a second. */
  passagesPerSecond: number;
  /** Milliseconds until it is done, by what has been done; `undefined` until that can be told. */
  remainingMs: number | undefined;
}

/** What {@link SearchIndex.add} has done. */
export interface AddResult {
  /** Documents that are new or were replaced. */
  added: number;
  /** Documents that were there already, word for word. */
  unchanged: number;
  /** Passages that were encoded. Those of a replaced document that did not change keep their vectors. */
  encoded: number;
}

/** Options of {@link SearchIndex.add}. */
export interface AddOptions {
  /** Ends the call with the signal's reason. What was done stays; the same call goes on where this one ended. */
  signal?: AbortSignal;
  /** Called as documents are done. */
  progress?: (progress: IndexProgress) => void;
}

/** How long texts are split. It is fixed when an index is made. */
export interface PassageOptions {
  /**
   * The most tokens of a passage. Default: 128, or as many as the model takes if those are fewer: a shorter passage is about fewer
   * things, and is found more easily.
   */
  maxTokens?: number;
  /**
   * Tokens of whole sentences that a passage repeats of the one before; fewer than `maxTokens`. Default: 0. Where the model takes
   * fewer than `maxTokens`, both become less by the same share.
   */
  overlap?: number;
}

/** Where the package's files are, as in {@link LoadOptions}. */
export interface SearchScripts {
  /** Address of the package's `search-worker.js`, with `embervec-search.wasm` beside it; see {@link LoadOptions.workerUrl}. */
  workerUrl?: string | URL;
  /** Starts the worker; see {@link LoadOptions.createWorker}. */
  createWorker?: LoadOptions["createWorker"];
  /** Address of the folder with `embervec-search.wasm`. */
  wasmUrl?: string | URL;
}

/** Options of {@link SearchIndex.open}. */
export interface OpenOptions extends SearchScripts {
  /**
   * Makes the vectors. An index that exists refuses one of another model. Without it the index answers by words
   * (`mode: "keyword"`), and to vectors of your own; {@link SearchIndex.attach} gives it one later.
   */
  embedder?: Embedder;
  /** Where it is kept, as in {@link LoadOptions.cache}. `"memory"`: nowhere. */
  cache?: CacheChoice;
  /** How long texts are split, for an index that is made now. */
  passages?: PassageOptions;
  /** Only the first dimensions of each vector, for an index that is made now. For models that are trained for it. */
  truncateDim?: number;
  /** For an index that is made now without an `embedder`, from vectors of your own. Default `"cosine"`. */
  similarity?: "cosine" | "dot" | "euclidean";
  /** Ends the call with the signal's reason. */
  signal?: AbortSignal;
}

/** Options of {@link SearchIndex.fetch}. */
export interface FetchOptions extends SearchScripts {
  /** As in {@link OpenOptions}. */
  embedder?: Embedder;
  /** Sent with every request. */
  headers?: Record<string, string>;
  /** As in {@link LoadOptions.credentials}. */
  credentials?: "omit" | "same-origin" | "include";
  /**
   * Keeps what was fetched, for the next visit and offline, until {@link SearchIndex.delete} gets the address; as in
   * {@link LoadOptions.cache}. Default: `"memory"`, which keeps nothing.
   */
  cache?: CacheChoice;
  /** Ends the call with the signal's reason. */
  signal?: AbortSignal;
}

/** How hits are found. */
export type SearchMode = "hybrid" | "semantic" | "keyword";

/** A condition on metadata, with MongoDB's operators. */
export type Filter = { [key: string]: FilterValue };

/** A value, or an object of operators: `$eq $ne $gt $gte $lt $lte $in $nin $exists $not`; `$and` and `$or` take lists of filters. */
export type FilterValue = MetadataValue | Filter | Filter[];

/** The place of a text in a list that was ranked again. */
export interface RankedText {
  /** Position in the list that was given. */
  corpusId: number;
  /** The more, the better. */
  score: number;
}

/** Whatever ranks texts for a query again, such as a cross-encoder. */
export interface Reranker {
  /** As `CrossEncoder.rank`: best first. */
  rank(query: string, documents: string[], options?: { topK?: number; signal?: AbortSignal }): Promise<RankedText[]>;
}

/** What to search: a text, a vector, or what is like a document of the index. */
export type SearchQuery = string | Float32Array | readonly number[] | LikeQuery;

/** What is like a document of the index. */
export interface LikeQuery {
  /** The document's id. It is no hit itself. */
  like: string;
}

/** The least scores of a hit. */
export interface MinScores {
  /** Of `scores.semantic`. */
  semantic?: number;
  /** Of `scores.keyword`. */
  keyword?: number;
}

/** Options of {@link SearchIndex.search}. */
export interface SearchOptions {
  /** The most hits. Default 10. */
  topK?: number;
  /**
   * `"semantic"`: by vectors. `"keyword"`: by words. `"hybrid"`: by both, joined by reciprocal rank (k = 60), without words
   * that more than a tenth of the passages hold, which say too little. Default:
   * `"hybrid"` for a text if there is an embedder, `"keyword"` without one, `"semantic"` for a vector.
   */
  mode?: SearchMode;
  /** Only documents whose metadata match. */
  filter?: Filter;
  /**
   * The least score. A number is for the hit's `score`, whose scale depends on the mode; `{ semantic }` and `{ keyword }` are for these
   * scores. `hidden` says how many of the best `topK` were left out.
   */
  minScore?: number | MinScores;
  /** Orders the best hits again. */
  rerank?: Reranker;
  /** How many hits `rerank` sees. Default: 5 times `topK`, at most 50. */
  rerankTop?: number;
  /** `"document"`: of each document the best passage only. Default: every passage is a hit of its own. */
  groupBy?: "document";
  /** So many passages before and after each hit, in `before` and `after`. Default 0. */
  context?: number;
  /**
   * Ids of documents that are what the user means: the query moves towards the passage of each that is nearest to it (Rocchio 1971), and
   * keeps at least half.
   */
  liked?: readonly string[];
  /** Ids of documents that are not what the user means. */
  disliked?: readonly string[];
  /** Name of one of the model's own prompts for the query; its prompt for queries by default. */
  promptName?: string;
  /** Ends the call with the signal's reason. */
  signal?: AbortSignal;
}

/** A passage that was found. */
export interface SearchHit {
  /** Of its document. */
  id: string;
  /** What hits are ordered by; equal ones in the order of adding. */
  score: number;
  /** What `score` is made of. */
  scores: {
    /** By the index's similarity, in 32 bits; `undefined` if nothing was searched by meaning. */
    semantic: number | undefined;
    /** BM25+, as minisearch computes it; 0 for no word, `undefined` if nothing was searched by words. */
    keyword: number | undefined;
    /** Of the option `rerank`. */
    rerank?: number;
  };
  /** Of the passage. */
  text: string;
  /** Where the passage begins in its document's text, in UTF-16 code units. */
  start: number;
  /** Where it ends. */
  end: number;
  /** Position among its document's passages. */
  passage: number;
  /** The query's words that it holds, as they were cut; for marking them. */
  words: string[];
  /** Of its document. */
  metadata: Metadata;
  /** With the option `context`: the passages before it. */
  before?: string[];
  /** With the option `context`: the passages after it. */
  after?: string[];
}

/** What {@link SearchIndex.search} found. */
export interface SearchResult {
  /** Best first. */
  hits: SearchHit[];
  /** How many of the best `topK` are not among them because of `minScore`. */
  hidden: number;
  /** How it was searched. */
  mode: SearchMode;
  /** Whether the query had more tokens than the model takes and was cut. */
  truncated: boolean;
  /** Whether these are certainly the best by 32-bit vectors. Large indexes (from 300,000 passages) are not searched whole. */
  exact: boolean;
  /** What `liked` and `disliked` did: the share of the query that is left in the vector that was searched for, from 0.5 to 1. */
  queryShare?: number;
  /** Milliseconds, without the query's encoding. */
  searchMs: number;
  /** Milliseconds of the query's encoding. */
  encodeMs: number;
}

/** Two passages that mean nearly the same. */
export interface Duplicate {
  /** The cosine of their vectors. */
  score: number;
  /** The one that was added first. */
  a: PassagePlace;
  /** The other one. */
  b: PassagePlace;
}

/** A passage of a document. */
export interface PassagePlace extends PassageSpan {
  /** Of its document. */
  id: string;
  /** Position among its document's passages. */
  passage: number;
}

/** Vectors of passages. */
export interface PassageVectors {
  /** Whose vectors they are. */
  places: PassagePlace[];
  /** As many as places. */
  vectors: Float32Array[];
}

/** What an index is. It is frozen: a change replaces the object and dispatches `change`. */
export interface IndexInfo {
  /** As it was opened by; the address of a folder. */
  readonly name: string;
  /** Documents. */
  readonly documents: number;
  /** Passages. */
  readonly passages: number;
  /** Length of a vector; 0 as long as there is none. */
  readonly dimension: number;
  /** What hits are ordered by: the model's own function. */
  readonly similarity: "cosine" | "dot" | "euclidean";
  /** The space that its vectors are of; `undefined` for vectors of your own. */
  readonly embeddingSpace: EmbeddingSpace | undefined;
  /** Bytes of memory that its vectors take. */
  readonly memoryBytes: number;
  /** Bytes in storage, about. */
  readonly storedBytes: number;
  /** Whether the cache keeps it for the next visit. */
  readonly stored: boolean;
  /** A sentence that says why, or why not. */
  readonly storedReason: string;
  /** Whether it can be changed; one from {@link SearchIndex.fetch} cannot. */
  readonly readOnly: boolean;
  /** How texts are split. */
  readonly passageOptions: Required<PassageOptions>;
}

/** An index in the cache. */
export interface StoredIndex {
  /** What {@link SearchIndex.open} opens it by. */
  name: string;
  /** Number of documents; 0 for an index that cannot be read. */
  documents: number;
  /** Number of passages. */
  passages: number;
  /** Bytes in storage, about. */
  storedBytes: number;
  /** The model that it needs; `undefined` for vectors of your own. */
  model: string | undefined;
  /** Its space, as far as the model says it. */
  embeddingSpace: EmbeddingSpace | undefined;
  /** When it was changed last. */
  changedAt: Date;
}
