/**
 * The Vercel AI SDK's embedding models, version 4 of its specification (AI SDK 7).
 *
 * @module embervec/ai
 */

import type { EmbeddingModel } from "ai";
import { type Embedder, EmbervecError, type LoadOptions, type StreamOptions } from "../index.js";
import { dimensionOptions, given, LazyEmbedder, type Loading } from "./lazy.js";

/** The SDK's `EmbeddingModelV4`. */
export type EmbeddingModelV4 = Extract<EmbeddingModel, { specificationVersion: "v4" }>;

/** What `providerOptions.embervec` takes. */
export interface EmbervecProviderOptions
  extends Pick<StreamOptions, "promptName" | "prompt" | "normalize" | "truncateDim" | "pooling"> {
  /**
   * What the texts are for: search queries or the documents that are searched, each with the model's own prompt. Default: as
   * `Embedder.encode`, which is for models without prompts.
   */
  role?: "query" | "document";
}

/** A provider for the AI SDK. It can be called: `provider(id)` is `provider.embeddingModel(id)`. */
export interface EmbervecProvider {
  /**
   * @param model a hub id or the address of a folder, as `Embedder.load` takes it. It is loaded with the first texts; models
   *   of the same id and options share one embedder. Or an embedder that is loaded already.
   * @param options `signal` and `progress` are for this model's wait for the load. Models that differ in `createWorker` or
   *   `fetch` alone share an embedder, which is loaded with those of the first.
   */
  (model: string | Embedder, options?: LoadOptions): EmbeddingModelV4;
  /** The version of the AI SDK's specification. */
  readonly specificationVersion: "v4";
  /** The embedding model of a hub id, a folder's address or a loaded embedder. */
  embeddingModel(model: string | Embedder, options?: LoadOptions): EmbeddingModelV4;
  /** The earlier name of {@link embeddingModel}. */
  textEmbeddingModel(model: string | Embedder, options?: LoadOptions): EmbeddingModelV4;
  /** There are none. */
  languageModel(model: string): never;
  /** There are none. */
  imageModel(model: string): never;
  /** Ends every embedder that this provider has loaded, or loads: all memory comes back. The next call loads it again. */
  dispose(): Promise<void>;
}

const OPTIONS: Record<keyof EmbervecProviderOptions, true> = {
  role: true,
  promptName: true,
  prompt: true,
  normalize: true,
  truncateDim: true,
  pooling: true,
};

/** A provider whose models are loaded with these options, as far as a model has none of its own. */
export function createEmbervec(defaults: LoadOptions = {}): EmbervecProvider {
  const shared: LazyEmbedder[] = [];
  const embeddingModel = (model: string | Embedder, options: LoadOptions = {}): EmbeddingModelV4 => {
    // These two belong to whoever waits for the load, which may be for others, too.
    const { signal, progress, ...load } = { ...defaults, ...given(options) };
    const lazy = new LazyEmbedder(model, load);
    if (typeof model !== "string") return modelOf(lazy);
    const same = shared.find((other) => isSame(other, lazy));
    if (!same) shared.push(lazy);
    return modelOf(same ?? lazy, { signal, progress });
  };
  const none = (kind: string) => (model: string) => {
    throw new EmbervecError("invalid_input", `embervec has no ${kind} model "${model}": it has embedding models only`);
  };
  return Object.assign(embeddingModel, {
    specificationVersion: "v4" as const,
    embeddingModel,
    textEmbeddingModel: embeddingModel,
    languageModel: none("language"),
    imageModel: none("image"),
    dispose: async () => void (await Promise.all(shared.map((lazy) => lazy.dispose()))),
  });
}

/** The default provider. */
export const embervec: EmbervecProvider = /* @__PURE__ */ createEmbervec();

/** Functions that say how a model is loaded, not which. Calls may write them anew each time. */
const HOW: readonly (keyof LoadOptions)[] = ["createWorker", "fetch"];

/** Whether two are one model: calls may come with an object of options of their own each time. */
function isSame(a: LazyEmbedder, b: LazyEmbedder): boolean {
  const names = Object.keys({ ...a.options, ...b.options }) as (keyof LoadOptions)[];
  const isEqual = (name: keyof LoadOptions) =>
    HOW.includes(name) || textOf(a.options[name]) === textOf(b.options[name]);
  return a.model === b.model && names.every(isEqual);
}

/** An option to be compared: addresses and plain objects of strings by what they hold, all else by what it is. */
function textOf(option: unknown): unknown {
  if (option instanceof URL) return option.href;
  if (typeof option !== "object" || option === null || Object.getPrototypeOf(option) !== Object.prototype)
    return option;
  const entries = Object.entries(option);
  if (!entries.every(([, value]) => typeof value === "string")) return option;
  return JSON.stringify(entries.map((entry) => JSON.stringify(entry)).sort((a, b) => (a < b ? -1 : 1)));
}

function modelOf(lazy: LazyEmbedder, loading?: Loading): EmbeddingModelV4 {
  return {
    specificationVersion: "v4",
    provider: "embervec",
    modelId: typeof lazy.model === "string" ? lazy.model : lazy.model.info.model,
    // Texts are batched within.
    maxEmbeddingsPerCall: Infinity,
    supportsParallelCalls: true,
    async doEmbed({ values, dimensions, abortSignal, providerOptions }) {
      const { role, ...options } = checked(providerOptions?.["embervec"], dimensions);
      const embedder = await lazy.get(abortSignal, loading);
      const embeddings: number[][] = [];
      const truncated: number[] = [];
      let tokens = 0;
      const stream = embedder.encodeStream(values, {
        ...options,
        ...dimensionOptions(dimensions),
        ...(role && { task: role }),
        ...(abortSignal && { signal: abortSignal }),
      });
      for await (const item of stream) {
        embeddings.push(Array.from(item.embedding));
        tokens += item.tokenCount;
        if (item.truncated) truncated.push(item.index);
      }
      return { embeddings, usage: { tokens }, ...notes(truncated, embedder) };
    },
  };
}

/** Nothing is cut silently. */
function notes(
  truncated: number[],
  { info }: Embedder,
): Pick<Awaited<ReturnType<EmbeddingModelV4["doEmbed"]>>, "warnings" | "providerMetadata"> {
  const providerMetadata = { embervec: { truncated } };
  if (truncated.length === 0) return { warnings: [], providerMetadata };
  const which = `values[${truncated[0]}]${truncated.length > 1 ? ` and ${truncated.length - 1} more` : ""}`;
  const message = `${which}: only the first ${info.maxSeqLength} tokens were embedded, which is the limit of ${info.model}`;
  return { warnings: [{ type: "other", message }], providerMetadata };
}

function checked(
  options: Record<string, unknown> | undefined,
  dimensions: number | undefined,
): EmbervecProviderOptions {
  const unknown = Object.keys(options ?? {}).find((name) => !Object.hasOwn(OPTIONS, name));
  if (unknown !== undefined) {
    throw new EmbervecError(
      "invalid_input",
      `providerOptions.embervec has no option "${unknown}"; there are: ${Object.keys(OPTIONS).join(", ")}`,
    );
  }
  const { role, normalize, truncateDim } = (options ?? {}) as EmbervecProviderOptions;
  if (dimensions !== undefined && (normalize === false || truncateDim !== undefined)) {
    const name = truncateDim === undefined ? "normalize: false" : "truncateDim";
    throw new EmbervecError(
      "invalid_input",
      `\`dimensions\` shortens vectors and scales them to length 1: leave it out, or \`${name}\` of providerOptions.embervec`,
    );
  }
  if (role !== undefined && role !== "query" && role !== "document") {
    throw new EmbervecError("invalid_input", `providerOptions.embervec: role must be "query" or "document"`);
  }
  return (options ?? {}) as EmbervecProviderOptions;
}
