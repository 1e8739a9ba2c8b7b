// What the page and the search worker say to each other, in the form of the embedder's workers.

import type { EmbeddingSpace } from "../index.js";
import type { SentCache } from "../cache/port.js";
import type { Similarity } from "./parts.js";
import type { Found, Query } from "./query.js";
import type {
  AddResult,
  Duplicate,
  IndexInfo,
  PassageOptions,
  PassagePlace,
  SearchDocument,
  StoredDocument,
  StoredIndex,
} from "./types.js";

/** What is known of an embedder. */
export interface SentEmbedder {
  /** By which the page's service knows it. */
  number: number;
  space: EmbeddingSpace;
  similarity: Similarity;
  /** Tokens that a passage may have, so that nothing is cut. */
  maxTokens: number;
}

export interface OpenRequest {
  kind: "stored";
  name: string;
  cache: SentCache;
  wasmUrl: string | undefined;
  passages: PassageOptions | undefined;
  truncateDim: number | undefined;
  similarity: Similarity | undefined;
  /** An exported index, to be stored under this name. */
  file: Blob | undefined;
  /** To the page's `IndexService`. */
  service: MessagePort;
  embedder: SentEmbedder | undefined;
}

export interface FetchRequest {
  kind: "folder";
  url: string;
  headers: Record<string, string>;
  credentials: RequestCredentials | undefined;
  cache: SentCache;
  wasmUrl: string | undefined;
  service: MessagePort;
  embedder: SentEmbedder | undefined;
}

/** Indexes as a whole. */
export interface ManageRequest {
  cache: SentCache;
}

/** An index, or what is kept of a folder. */
export type DeleteRequest = { name: string } | { url: string };

/** Which documents. */
export type Which = { ids: string[] } | { filter: string };

export type SearchCalls = {
  open: { request: OpenRequest | FetchRequest; result: IndexInfo };
  info: { request: null; result: IndexInfo };
  attach: { request: SentEmbedder; result: IndexInfo };
  /** `isLive`: the documents are given one by one, and not all with the call. */
  beginAdd: { request: { totalDocuments: number; isLive: boolean }; result: number };
  add: { request: { job: number; documents: SearchDocument[] }; result: null };
  endAdd: { request: { job: number }; result: { result: AddResult; info: IndexInfo } };
  search: { request: Query; result: Found };
  get: { request: { id: string }; result: StoredDocument | undefined };
  documents: {
    request: { filter: string | undefined };
    result: Pick<StoredDocument, "id" | "metadata" | "passages">[];
  };
  vectors: { request: { limit: number }; result: { places: PassagePlace[]; vectors: Float32Array; dimension: number } };
  remove: { request: Which; result: { removed: number; info: IndexInfo } };
  duplicates: { request: { threshold: number; topK: number }; result: Duplicate[] };
  clusters: { request: { threshold: number; minSize: number }; result: PassagePlace[][] };
  compact: { request: null; result: IndexInfo };
  /** `undefined` where the worker has to be started again, with the new name. */
  rename: { request: { name: string }; result: IndexInfo | undefined };
  export: { request: null; result: Blob };
  list: { request: ManageRequest; result: StoredIndex[] };
  delete: { request: ManageRequest & DeleteRequest; result: null };
};
