/**
 * A plugin for Orama 3 that fills a vector property when documents are inserted, and the vector of a search from its term.
 *
 * @module embervec/orama
 */

import type { AnyOrama, OramaPluginSync } from "@orama/orama";

import { type Embedder, EmbervecError, type LoadOptions } from "../index.js";
import { dimensionOptions, LazyEmbedder } from "./lazy.js";

/** What {@link pluginEmbervec} takes: where the model comes from, how it is loaded, and which properties it reads and fills. */
export interface EmbervecPluginOptions extends LoadOptions {
  /** A hub id or the address of a folder, as `Embedder.load` takes it. It is loaded with the first text. */
  model?: string;
  /** Instead of `model`: an embedder that is loaded already. It stays yours to dispose of. */
  embedder?: Embedder;
  /**
   * The properties that make the text of a document, such as `["title", "meta.description"]`. Those that a document has are joined by
   * line breaks; one that has none gets no vector.
   */
  properties: readonly string[];
  /** The property of the schema that is filled, of type `vector[n]`. Default `"embedding"`. */
  vectorProperty?: string;
  /** Keep so many dimensions of each vector, scaled to length 1; for models that are trained for it. */
  dimensions?: number;
  /**
   * The least cosine of a hit, where a search does not say (`search({ similarity })`). Orama's own default, 0.8, leaves out nearly
   * everything with most models. Default 0.
   */
  similarity?: number;
}

type Document = Record<string, unknown>;

/** What the plugin gives beside Orama's hooks. */
export interface EmbervecPlugin extends OramaPluginSync {
  /**
   * Fills the vectors of many documents at once, which is several times as fast as one by one while they are inserted. Then give
   * the documents to `insertMultiple`. One that has a vector keeps it.
   */
  embed(documents: readonly object[], options?: { signal?: AbortSignal }): Promise<void>;
  /** Ends an embedder that was loaded here: all memory comes back. */
  dispose(): Promise<void>;
}

/** See {@link EmbervecPluginOptions}. A document or a search that comes with a vector of its own keeps it. */
export function pluginEmbervec({
  model,
  embedder: given,
  properties,
  vectorProperty = "embedding",
  dimensions,
  similarity = 0,
  ...options
}: EmbervecPluginOptions): EmbervecPlugin {
  if (!Array.isArray(properties) || properties.length === 0) {
    throw new EmbervecError("invalid_input", "pluginEmbervec: properties must name the properties that hold the text");
  }
  const lazy = new LazyEmbedder(given ?? model ?? "", options);
  /** Vectors of searches that were filled here, and the term they are of: the caller may use the object for another term. */
  const terms = new WeakMap<object, string>();

  const embedDocuments = async (documents: Document[], signal?: AbortSignal) => {
    const entries = documents.flatMap((document) => {
      const text = textOf(document, properties);
      return text === "" || Array.isArray(valueOf(document, vectorProperty)) ? [] : [{ document, text }];
    });
    if (entries.length === 0) return;
    const embedder = await lazy.get(signal);
    const vectors = await embedder.encodeDocument(
      entries.map(({ text }) => text),
      { ...dimensionOptions(dimensions), ...(signal && { signal }) },
    );
    entries.forEach(({ document }, i) => setValue(document, vectorProperty, Array.from(vectors[i]!)));
  };

  return {
    name: "embervec",
    // Orama awaits a hook only if its constructor is `AsyncFunction`, so none of them may be anything else.
    async beforeInsert(orama, _id, document) {
      await embedDocuments([document as Document]);
      checkSize(orama, vectorProperty, valueOf(document as Document, vectorProperty));
    },
    // Never called by Orama 3.1, but where it is missing `insertMultiple` does not wait for `beforeInsert`.
    async beforeInsertMultiple(_orama, documents) {
      await embedDocuments(documents as Document[]);
    },
    async beforeSearch(orama, params) {
      if (params.mode !== "vector" && params.mode !== "hybrid") return;
      const { vector, term } = params;
      if (vector?.value && !(terms.has(vector.value) && terms.get(vector.value) !== term)) return;
      if (typeof term !== "string" || term === "") {
        throw new EmbervecError("invalid_input", `a search of mode "${params.mode}" needs a term or a vector`);
      }
      const embedder = await lazy.get();
      const value = Array.from(await embedder.encodeQuery(term, dimensionOptions(dimensions)));
      terms.set(value, term);
      params.vector = { property: vector?.property ?? vectorProperty, value };
      params.similarity ??= similarity;
      checkSize(orama, params.vector.property, value);
    },
    async embed(documents, { signal } = {}) {
      await embedDocuments(documents as Document[], signal);
    },
    dispose: () => lazy.dispose(),
  };
}

function textOf(document: Document, properties: readonly string[]): string {
  const texts = properties.map((property) => valueOf(document, property));
  return texts.filter((text): text is string => typeof text === "string" && text !== "").join("\n");
}

/** Of a property within others, as `meta.title`. */
function valueOf(document: Document, path: string): unknown {
  return path.split(".").reduce<unknown>((value, name) => Object(value)[name], document);
}

function setValue(document: Document, path: string, value: number[]): void {
  const names = path.split(".");
  const last = names.pop()!;
  let place = document;
  for (const name of names) place = (place[name] ??= {}) as Document;
  place[last] = value;
}

/** Orama's own message does not say which model it is about. */
function checkSize(orama: AnyOrama, property: string, value: unknown): void {
  const type: unknown = valueOf(orama.schema as Document, property);
  const [, size] = /^vector\[(\d+)\]$/.exec(String(type)) ?? [];
  if (!Array.isArray(value) || Number(size) === value.length) return;
  throw new EmbervecError(
    "invalid_input",
    `the schema's property "${property}" is ${size ? `vector[${size}]` : "not a vector"}, but the model's vectors need vector[${value.length}]`,
  );
}
