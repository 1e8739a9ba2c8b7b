/** A collection of documents: an index, and what is being added to it. */

import type { Embedder } from "embervec";
import { codeOf, messageOf } from "./errors";
import type { Metadata, SearchIndex, StoredDocument } from "embervec/search";

/** What the page keeps with each section of a document; a section is one entry of the index. */
export interface SectionMetadata {
  /** Names the document within its collection. */
  readonly doc: string;
  readonly title: string;
  readonly type: string;
  /** "page 3", "Bread › Sourdough"; empty where there is none. */
  readonly place: string;
  /** Position among the document's sections. */
  readonly n: number;
}

export interface DocumentEntry extends SectionMetadata {
  readonly id: string;
}

const ID_SEPARATOR = "\n#";

export function sectionId(doc: string, n: number): string {
  return `${doc}${ID_SEPARATOR}${n}`;
}

/** An index that was made elsewhere may hold anything. */
export function sectionOf(id: string, metadata: Metadata): SectionMetadata {
  const text = (key: string) => (typeof metadata[key] === "string" ? metadata[key] : "");
  return {
    doc: text("doc") || id,
    title: text("title") || text("doc") || id,
    type: text("type"),
    place: text("place"),
    n: typeof metadata["n"] === "number" ? metadata["n"] : 0,
  };
}

export type CollectionKind = "own" | "ready";

/** Dispatches `change` when its size, its name or its model has changed. */
export class Collection extends EventTarget {
  readonly kind: CollectionKind;
  readonly index: SearchIndex;
  /** Why it is searched by words only although there is a model. */
  problem: string | undefined;
  /** Whether that is because its vectors are another model's. */
  isOfAnotherModel = false;
  #title: string | undefined;
  #hasModel = false;

  /** @param title of a ready collection; one's own are called as their index */
  constructor(index: SearchIndex, kind: CollectionKind, title?: string) {
    super();
    this.index = index;
    this.kind = kind;
    this.#title = title;
    index.addEventListener("change", () => this.changed());
  }

  get name(): string {
    return this.#title ?? this.index.info.name;
  }

  /** Whether it can be searched by meaning. */
  get hasModel(): boolean {
    return this.#hasModel;
  }

  async attach(embedder: Embedder): Promise<void> {
    try {
      await this.index.attach(embedder);
      this.#hasModel = true;
      this.problem = undefined;
      this.isOfAnotherModel = false;
    } catch (error) {
      this.problem = messageOf(error);
      this.isOfAnotherModel = codeOf(error) === "model_mismatch";
    }
    this.changed();
  }

  /** One entry for each document, in order of adding. */
  async documents(): Promise<DocumentEntry[]> {
    const first = await this.index.documents({ filter: { n: 0 } });
    return first.map(({ id, metadata }) => ({ id, ...sectionOf(id, metadata) }));
  }

  /** The sections of a document from one number up to but without another, in order. */
  async sections(doc: string, from: number, to: number): Promise<StoredDocument[]> {
    const entries = await this.index.documents({ filter: { doc, n: { $gte: from, $lt: to } } });
    const found = await Promise.all(entries.map(({ id }) => this.index.get(id)));
    const sections = found.filter((stored) => stored !== undefined);
    return sections.sort((a, b) => sectionOf(a.id, a.metadata).n - sectionOf(b.id, b.metadata).n);
  }

  /** The types of its documents. */
  async types(): Promise<string[]> {
    return [...new Set((await this.documents()).map(({ type }) => type).filter(Boolean))];
  }

  async removeDocument(doc: string): Promise<void> {
    await this.index.remove({ filter: { doc } });
  }

  changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}
