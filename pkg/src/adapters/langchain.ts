/**
 * LangChain.js's `Embeddings`, for `@langchain/core` 1.
 *
 * @module embervec/langchain
 */

import { Embeddings, type EmbeddingsParams } from "@langchain/core/embeddings";

import type { Embedder, LoadOptions } from "../index.js";
import { dimensionOptions, LazyEmbedder, promptOption, type WithPrompts, withSignals } from "./lazy.js";

/** What {@link EmbervecEmbeddings} takes: where the model comes from, and how it is loaded. */
export interface EmbervecEmbeddingsParams extends EmbeddingsParams, LoadOptions, WithPrompts {
  /** A hub id or the address of a folder, as `Embedder.load` takes it. It is loaded with the first text. */
  model?: string;
  /** Instead of `model`: an embedder that is loaded already. It stays yours to dispose of. */
  embedder?: Embedder;
  /** Keep so many dimensions of each vector, scaled to length 1; for models that are trained for it. */
  dimensions?: number;
  /** Ends the load and every call. */
  signal?: AbortSignal;
}

/**
 * Embeddings on the user's own device, with the model's own pooling and its prompts: `embedQuery` uses that for queries,
 * `embedDocuments` that for documents.
 */
export class EmbervecEmbeddings extends Embeddings {
  readonly #lazy: LazyEmbedder;
  readonly #dimensions: number | undefined;
  readonly #prompts: WithPrompts["prompts"];
  readonly #signal: AbortSignal | undefined;

  /** The model is loaded with the first texts. */
  constructor({
    model,
    embedder,
    dimensions,
    prompts,
    maxConcurrency,
    maxRetries,
    onFailedAttempt,
    ...options
  }: EmbervecEmbeddingsParams) {
    // For subclasses. Nothing goes through LangChain's queue here: the workers have one, and a local failure does not pass by itself.
    super({
      ...(maxConcurrency !== undefined && { maxConcurrency }),
      ...(maxRetries !== undefined && { maxRetries }),
      ...(onFailedAttempt !== undefined && { onFailedAttempt }),
    });
    this.#lazy = new LazyEmbedder(embedder ?? model ?? "", options);
    this.#dimensions = dimensions;
    this.#prompts = prompts;
    this.#signal = options.signal;
  }

  /**
   * The vectors of documents to search, in their order.
   *
   * @param options with a `signal` for this call alone
   */
  override async embedDocuments(documents: string[], options: { signal?: AbortSignal } = {}): Promise<number[][]> {
    return withSignals([this.#signal, options.signal], async (signal) => {
      const embedder = await this.#lazy.get(signal);
      const vectors = await embedder.encodeDocument(documents, this.#options("document", signal));
      return vectors.map((vector) => Array.from(vector));
    });
  }

  /**
   * The vector of a search query.
   *
   * @param options with a `signal` for this call alone
   */
  override async embedQuery(query: string, options: { signal?: AbortSignal } = {}): Promise<number[]> {
    return withSignals([this.#signal, options.signal], async (signal) => {
      const embedder = await this.#lazy.get(signal);
      return Array.from(await embedder.encodeQuery(query, this.#options("query", signal)));
    });
  }

  /** Ends an embedder that was loaded here: all memory comes back. The next call loads it again. */
  async dispose(): Promise<void> {
    await this.#lazy.dispose();
  }

  #options(role: "query" | "document", signal: AbortSignal) {
    return { ...dimensionOptions(this.#dimensions), ...promptOption(role, this.#prompts), signal };
  }
}
