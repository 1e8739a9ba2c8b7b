/**
 * Search by meaning and by words, in an index on the user's own device: start with {@link SearchIndex.open}.
 *
 * @module search
 */

export { SearchIndex, type SearchIndexEventMap } from "./search-index.js";
export type {
  AddOptions,
  AddResult,
  Duplicate,
  FetchOptions,
  Filter,
  FilterValue,
  IndexInfo,
  IndexProgress,
  LikeQuery,
  Metadata,
  MetadataValue,
  MinScores,
  OpenOptions,
  PassageOptions,
  PassagePlace,
  PassageSpan,
  PassageVectors,
  RankedText,
  Reranker,
  SearchDocument,
  SearchHit,
  SearchMode,
  SearchOptions,
  SearchQuery,
  SearchResult,
  SearchScripts,
  StoredDocument,
  StoredIndex,
} from "./types.js";
