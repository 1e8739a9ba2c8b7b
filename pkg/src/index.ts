/**
 * Text embeddings on the user's own device: start with {@link Embedder.load}.
 *
 * @module embervec
 */

export { Embedder, type EmbedderEventMap } from "./embedder.js";
export { EmbervecError, type EmbervecErrorCode } from "./errors.js";
export type { CacheChoice, ModelCache } from "./cache/cache.js";
export {
  cacheSize,
  clearCache,
  deleteModel,
  exportModel,
  importModel,
  isCached,
  listModels,
  type ModelOptions,
  type StoredModel,
} from "./manage.js";
export type {
  Dtype,
  EmbedderInfo,
  EmbeddingSpace,
  EncodeOptions,
  LoadOptions,
  Pooling,
  Precision,
  ProgressCallback,
  ProgressEvent,
  SimilarityFunction,
  StreamItem,
  StreamOptions,
  Tokens,
} from "./types.js";
export {
  cosSim,
  dot,
  quantizeEmbeddings,
  rangesOf,
  semanticSearch,
  similarity,
  type AnyVector,
  type CompareOptions,
  type QuantizeOptions,
  type Ranges,
  type SearchHit,
  type SearchOptions,
  type Vector,
} from "./vectors.js";
