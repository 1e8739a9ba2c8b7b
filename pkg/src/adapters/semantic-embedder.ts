/**
 * The proposed built-in `SemanticEmbedder` (https://github.com/webmachinelearning/proposals/issues/18), with a model of your
 * choice. Importing it changes nothing; {@link install} makes it `globalThis.SemanticEmbedder` where the browser has none.
 *
 * @module embervec/semantic-embedder
 */

import {
  cosSim,
  Embedder,
  EmbervecError,
  isCached,
  type LoadOptions,
  type StreamOptions,
  type Vector,
} from "../index.js";
import { given, promptOption, type WithPrompts } from "./lazy.js";

const DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2";

/** What a text's vector is for. */
export type SemanticTaskType =
  | "semantic-similarity"
  | "retrieval-query"
  | "retrieval-document"
  | "classification"
  | "clustering";

/** Which model it is; no part of the proposal. */
export interface SemanticEmbedderModel extends Omit<LoadOptions, "progress" | "signal">, WithPrompts {
  /** A hub id or the address of a folder, as `Embedder.load` takes it. Default `"sentence-transformers/all-MiniLM-L6-v2"`. */
  model?: string;
}

/** Tells how far a download is. */
export class SemanticEmbedderMonitor extends EventTarget {
  /** Called for each `downloadprogress` event; `addEventListener` works, too. */
  ondownloadprogress: ((event: Event & { loaded: number; total: number }) => void) | null = null;

  /** Made by {@link SemanticEmbedder.create}. */
  constructor() {
    super();
    // What a listener throws is reported, and ends no load.
    this.addEventListener("downloadprogress", (event) => {
      this.ondownloadprogress?.(event as Event & { loaded: number; total: number });
    });
  }
}

/** Options of {@link SemanticEmbedder.create}. */
export interface SemanticEmbedderCreateOptions extends SemanticEmbedderModel {
  /** Gets a target of `downloadprogress` events, whose `loaded` goes from 0 to 1 and whose `total` is 1. */
  monitor?: (monitor: SemanticEmbedderMonitor) => void;
  /** On an abort, `create` rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** Options of {@link SemanticEmbedder.embed}. */
export interface SemanticEmbedOptions {
  /** Default `"semantic-similarity"`. */
  taskType?: SemanticTaskType;
  /** On an abort, `embed` rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** What {@link SemanticEmbedder.embed} gives. */
export interface SemanticEmbedResult {
  /** One for each text, in their order. */
  embeddings: {
    /** The vector. */
    values: Float32Array;
    /** What was read of the text. */
    statistics: {
      /** Number of tokens that were encoded. */
      tokenCount: number;
      /** Whether the text had more tokens than the model takes and was cut. */
      truncated: boolean;
    };
  }[];
  /** What holds for all of them. */
  metadata: {
    /** Vectors of different spaces cannot be compared: the model, revision, dtype and weights of `info.embeddingSpace`. */
    embeddingSpace: string;
    /** A text with more tokens is cut. */
    maxInputTokens: number;
  };
}

/**
 * The names that models give their prompts for a task, in lower case; the first that a model has is used. `retrieval-query` and
 * `retrieval-document` are what `encodeQuery` and `encodeDocument` do.
 */
const PROMPTS: Record<SemanticTaskType, readonly string[]> = {
  "semantic-similarity": ["semantic-similarity", "sts", "similarity"],
  "retrieval-query": [],
  "retrieval-document": [],
  classification: ["classification"],
  clustering: ["clustering"],
};

/** Models that are being loaded. */
const loading: string[] = [];

/** A loaded model, in the shape of the proposal. */
export class SemanticEmbedder {
  /** Of a class that {@link install} or {@link withModel} has made. */
  protected static readonly defaults: SemanticEmbedderModel = {};
  readonly #embedder: Embedder;

  readonly #prompts: WithPrompts["prompts"];

  private constructor(embedder: Embedder, prompts: WithPrompts["prompts"]) {
    this.#embedder = embedder;
    this.#prompts = prompts;
  }

  /** The same class with another model for those who name none. */
  static withModel(defaults: SemanticEmbedderModel): typeof SemanticEmbedder {
    return class extends SemanticEmbedder {
      protected static override readonly defaults = defaults;
    };
  }

  /** `"available"`: the model is in the cache. `"downloadable"`: {@link create} would fetch it. */
  static async availability(
    options: SemanticEmbedderModel = {},
  ): Promise<"unavailable" | "downloadable" | "downloading" | "available"> {
    const { model = DEFAULT_MODEL, ...load } = { ...this.defaults, ...given(options) };
    const { hub, revision, cache, dtype, localFilesOnly } = load;
    const where = { hub, revision, cache, dtype };
    // A cache that does not work keeps nothing.
    const isHere = cache !== "memory" && (await isCached(model, given(where)).catch(refuseInput));
    if (isHere) return "available";
    return loading.includes(model) ? "downloading" : localFilesOnly ? "unavailable" : "downloadable";
  }

  /** Loads the model. */
  static async create(options: SemanticEmbedderCreateOptions = {}): Promise<SemanticEmbedder> {
    const { monitor, model = DEFAULT_MODEL, prompts, ...load } = { ...this.defaults, ...given(options) };
    const target = new SemanticEmbedderMonitor();
    monitor?.(target);
    const tell = (loaded: number) => {
      const event = Object.assign(new Event("downloadprogress"), { loaded, total: 1, lengthComputable: true });
      target.dispatchEvent(event);
    };
    tell(0);
    let told = 0;
    loading.push(model);
    const embedder = await Embedder.load(model, {
      ...load,
      progress: ({ stage, loaded, total }) => {
        const share = total > 0 ? loaded / total : 0;
        // 1 is for the model that is loaded.
        if (stage !== "download" || share <= told || share >= 1) return;
        told = share;
        tell(share);
      },
    }).finally(() => loading.splice(loading.indexOf(model), 1));
    tell(1);
    return new this(embedder, prompts);
  }

  /** Tokens of a text beyond these are left out, which `statistics.truncated` tells. */
  get inputQuota(): number {
    return this.#embedder.info.maxSeqLength;
  }

  /** @throws {TypeError} for another `taskType` */
  async embed(input: string | readonly string[], options: SemanticEmbedOptions = {}): Promise<SemanticEmbedResult> {
    const { taskType = "semantic-similarity", signal } = options;
    if (!Object.hasOwn(PROMPTS, taskType)) {
      throw new TypeError(
        `taskType must be one of ${Object.keys(PROMPTS).join(", ")}, not ${JSON.stringify(taskType)}`,
      );
    }
    const { info } = this.#embedder;
    const embeddings: SemanticEmbedResult["embeddings"] = [];
    const stream = this.#embedder.encodeStream(typeof input === "string" ? [input] : input, {
      ...taskOf(taskType, info.prompts, this.#prompts),
      ...(signal && { signal }),
    });
    for await (const { embedding, tokenCount, truncated } of stream) {
      embeddings.push({ values: embedding.slice(), statistics: { tokenCount, truncated } });
    }
    const { model, revision, dtype, weights } = info.embeddingSpace;
    const space = [model, ...(revision === undefined ? [] : [revision]), dtype, weights];
    return { embeddings, metadata: { embeddingSpace: space.join("@"), maxInputTokens: info.maxSeqLength } };
  }

  /** The cosine of the angle between two vectors, as `values` are. */
  cosineSimilarity(a: Vector, b: Vector): number {
    return cosSim(a, b);
  }

  /** Ends the model's workers: all memory comes back. */
  destroy(): void {
    void this.#embedder.dispose();
  }
}

function taskOf(
  task: SemanticTaskType,
  prompts: Readonly<Record<string, string>>,
  own: WithPrompts["prompts"],
): StreamOptions {
  if (task === "retrieval-query") return { task: "query", ...promptOption("query", own) };
  if (task === "retrieval-document") return { task: "document", ...promptOption("document", own) };
  const promptName = PROMPTS[task]
    .map((wanted) => Object.keys(prompts).find((name) => name.toLowerCase() === wanted))
    .find((name) => name !== undefined);
  return promptName === undefined ? {} : { promptName };
}

function refuseInput(error: unknown): false {
  if (error instanceof EmbervecError && error.code === "invalid_input") throw error;
  return false;
}

/**
 * Makes `globalThis.SemanticEmbedder` this class, unless the browser has one of its own.
 *
 * @param model which model it is for those who name none
 * @returns the class that is there afterwards
 */
export function install(model: SemanticEmbedderModel = {}): typeof SemanticEmbedder {
  const scope = globalThis as { SemanticEmbedder?: typeof SemanticEmbedder };
  if (!scope.SemanticEmbedder) {
    Object.defineProperty(scope, "SemanticEmbedder", {
      value: SemanticEmbedder.withModel(model),
      configurable: true,
      writable: true,
    });
  }
  return scope.SemanticEmbedder!;
}
