/**
 * A plugin for Orama 3 that fills a vector property when documents are inserted, and the vector of a search from its term.
 *
 * @module embervec/orama
 */

import type { AnyOrama, OramaPluginSync } from "@orama/orama";

import { type Embedder, EmbervecError, type LoadOptions } from "../index.js";
import { dimensionOptions, LazyEmbedder, promptOption, type WithPrompts } from "./lazy.js";

/** What {@link pluginEmbervec} takes: where the model comes from, how it is loaded, and which properties it reads and fills. */
export interface EmbervecPluginOptions extends LoadOptions, WithPrompts {
  /** A hub id or the address of a folder, as `Embedder.load` takes it. It is loaded with the first text. */
  model?: string;
  /** Instead of `model`: an embedder that is loaded already. It stays yours to dispose of. */
  embedder?: Embedder;
  /** Ends a load. Once it has aborted, none begins. */
  signal?: AbortSignal;
  /**
   * The properties that make the text of a document, such as `["title", "meta.description"]`, each of type `string`, `string[]`, `enum`
   * or `enum[]` in the schema. Those that a document has are joined by line breaks; one that has none gets no vector.
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
   * the documents to `insertMultiple`. One that has a vector of yours keeps it.
   */
  embed(documents: readonly object[], options?: { signal?: AbortSignal }): Promise<void>;
  /** Ends an embedder that was loaded here: all memory comes back. */
  dispose(): Promise<void>;
}

/**
 * See {@link EmbervecPluginOptions}. A document or a search that comes with a vector of its own keeps it; a vector that was filled
 * here is made anew when the text is another.
 */
export function pluginEmbervec({
  model,
  embedder: given,
  properties,
  vectorProperty = "embedding",
  dimensions,
  prompts,
  similarity = 0,
  ...options
}: EmbervecPluginOptions): EmbervecPlugin {
  if (!Array.isArray(properties) || properties.length === 0) {
    throw new EmbervecError("invalid_input", "pluginEmbervec: properties must name the properties that hold the text");
  }
  const lazy = new LazyEmbedder(given ?? model ?? "", options);
  /** The vectors that were made here, and the texts that they are of: an object with one may come again with another text. */
  const texts = new WeakMap<object, string>();
  /** Those of searches, with their terms. A document's vector in a search is the caller's choice. */
  const terms = new WeakMap<object, string>();
  /** The vectors of documents that were inserted. */
  const inserted = new WeakMap<object, number[]>();

  const embedDocuments = async (documents: Document[], signal?: AbortSignal) => {
    const entries = documents.flatMap((document) => {
      const text = textOf(document, properties);
      const vector = valueOf(document, vectorProperty);
      const source = Array.isArray(vector) ? texts.get(vector) : "";
      // The caller's, or one of this very text; of nothing there is none.
      if (source === undefined || source === text) return [];
      if (text !== "") return [{ document, text }];
      setValue(document, vectorProperty, undefined);
      return [];
    });
    if (entries.length === 0) return;
    const embedder = await lazy.get(signal);
    const vectors = await embedder.encodeDocument(
      entries.map(({ text }) => text),
      { ...dimensionOptions(dimensions), ...promptOption("document", prompts), ...(signal && { signal }) },
    );
    entries.forEach(({ document, text }, i) => {
      const vector = Array.from(vectors[i]!);
      texts.set(vector, text);
      setValue(document, vectorProperty, vector);
    });
  };

  const fill = async (orama: AnyOrama, documents: Document[]) => {
    await embedDocuments(documents);
    for (const document of documents) checkSize(orama, vectorProperty, valueOf(document, vectorProperty));
  };

  return {
    name: "embervec",
    afterCreate(orama) {
      for (const property of properties) checkText(orama, property);
    },
    // Orama awaits a hook only if its constructor is `AsyncFunction`, so none of them may be anything else.
    async beforeInsert(orama, _id, document) {
      await fill(orama, [document as Document]);
      const vector = valueOf(document as Document, vectorProperty);
      if (Array.isArray(vector)) inserted.set(document, vector);
    },
    // Never called by Orama 3.1, but where it is missing `insertMultiple` does not wait for `beforeInsert`.
    async beforeInsertMultiple(orama, documents) {
      await fill(orama, documents as Document[]);
    },
    // Orama removes a document before it inserts the new one, and an update's hooks do not get the new one. So the model is loaded
    // first: where it cannot be, the document stays.
    async beforeUpdate() {
      await lazy.get();
    },
    async beforeUpdateMultiple() {
      await lazy.get();
    },
    async beforeUpsert(orama, _id, document) {
      await fill(orama, [document as Document]);
    },
    async beforeUpsertMultiple(orama, documents) {
      await fill(orama, documents as Document[]);
    },
    async beforeSearch(orama, params) {
      if (params.mode !== "vector" && params.mode !== "hybrid") return;
      const { vector, term } = params;
      if (vector?.value && !(terms.has(vector.value) && terms.get(vector.value) !== term)) return;
      if (typeof term !== "string" || term === "") {
        throw new EmbervecError("invalid_input", `a search of mode "${params.mode}" needs a term or a vector`);
      }
      const embedder = await lazy.get();
      const value = Array.from(
        await embedder.encodeQuery(term, { ...dimensionOptions(dimensions), ...promptOption("query", prompts) }),
      );
      terms.set(value, term);
      params.vector = { property: vector?.property ?? vectorProperty, value };
      params.similarity ??= similarity;
      checkSize(orama, params.vector.property, value);
    },
    // Orama leaves the vector out of a hit by `null`, which it also writes into the document that it keeps, and which it refuses when
    // the document comes back with an update: after it has removed the old one.
    afterSearch(orama, _params, _language, { hits }) {
      for (const hit of hits) {
        if (valueOf(hit.document as Document, vectorProperty) !== null) continue;
        hit.document = { ...hit.document };
        setValue(hit.document as Document, vectorProperty, undefined);
        const kept = orama.documentsStore.get(orama.data.docs, hit.id) as Document | undefined;
        if (kept) setValue(kept, vectorProperty, inserted.get(kept));
      }
    },
    async embed(documents, { signal } = {}) {
      await embedDocuments(documents as Document[], signal);
    },
    dispose: () => lazy.dispose(),
  };
}

function textOf(document: Document, properties: readonly string[]): string {
  const texts = properties.flatMap((property) => valueOf(document, property));
  return texts.filter((text): text is string => typeof text === "string" && text !== "").join("\n");
}

/** Of a property within others, as `meta.title`. */
function valueOf(document: Document, path: string): unknown {
  return path.split(".").reduce<unknown>((value, name) => Object(value)[name], document);
}

function setValue(document: Document, path: string, value: number[] | undefined): void {
  const names = path.split(".");
  const last = names.pop()!;
  let place = document;
  for (const name of names) place = (place[name] ??= {}) as Document;
  if (value) place[last] = value;
  else delete place[last];
}

/** A text that is never read would be missed by nobody. */
function checkText(orama: AnyOrama, property: string): void {
  const type: unknown = valueOf(orama.schema as Document, property);
  if (/^(string|enum)(\[\])?$/.test(String(type))) return;
  const problem =
    type === undefined
      ? "is not in the schema"
      : `holds no text in the schema, but ${typeof type === "string" ? type : "further properties"}`;
  throw new EmbervecError("invalid_input", `pluginEmbervec: properties: "${property}" ${problem}`);
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
