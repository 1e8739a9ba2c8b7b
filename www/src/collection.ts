/** A collection of documents: an index, and what is being added to it. */

import type { Embedder } from "embervec";
import { codeOf, messageOf } from "./errors";
import { type AddOptions, type Metadata, type SearchDocument, SearchIndex, type StoredDocument } from "embervec/search";

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

const WAITING = " (waiting for the model)";

/** The index that keeps what waits lies beside the collection's own. */
export function waitingName(name: string): string {
  return name + WAITING;
}

/** The collection that such an index waits for; none for any other. */
export function waitsFor(name: string): string | undefined {
  return name.endsWith(WAITING) ? name.slice(0, -WAITING.length) : undefined;
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
  /** Documents that came before the model: they are kept, and found by their words. */
  waiting: SearchIndex | undefined;
  #title: string | undefined;
  #hasModel = false;
  #encoding: Promise<void> | undefined;

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

  /** Passages, also those that wait for the model. */
  get passages(): number {
    return this.index.info.passages + (this.waiting?.info.passages ?? 0);
  }

  /** What is searched by words where there is no model: the index, and what waits. */
  get indexes(): readonly SearchIndex[] {
    return this.waiting === undefined ? [this.index] : [this.index, this.waiting];
  }

  /** Keeps documents until there is a model. */
  async wait(documents: AsyncIterable<SearchDocument>, signal: AbortSignal): Promise<void> {
    // Words need no vectors, but an index has them.
    async function* withVectors() {
      for await (const document of documents) yield { ...document, vector: [1] };
    }
    await inTurn(waitingName(this.name), { mode: "shared", signal }, async () => {
      if (this.waiting !== undefined && (await isGone(this.waiting))) await this.#drop(this.waiting);
      if (this.waiting === undefined) {
        this.waiting = await SearchIndex.open(waitingName(this.name));
        this.waiting.addEventListener("change", () => this.changed());
      }
      await this.waiting.add(withVectors(), { signal });
    });
  }

  /** Encodes what waits; a call that comes meanwhile waits for the same. */
  encodeWaiting(options: AddOptions): Promise<void> {
    this.#encoding ??= this.#encodeWaiting(options).finally(() => (this.#encoding = undefined));
    return this.#encoding;
  }

  async #encodeWaiting(options: AddOptions): Promise<void> {
    const { signal } = options;
    await inTurn(waitingName(this.name), { mode: "exclusive", ...(signal && { signal }) }, async () => {
      const { waiting, index } = this;
      if (waiting === undefined) return;
      const isDone = await isGone(waiting);
      async function* stored() {
        for (const { id } of await waiting!.documents()) {
          const document = await waiting!.get(id);
          if (document !== undefined) yield { id, text: document.text, metadata: document.metadata };
        }
      }
      if (!isDone) await index.add(stored(), options);
      await this.#drop(waiting);
      if (!isDone) await SearchIndex.delete(waiting.info.name);
    });
  }

  async #drop(waiting: SearchIndex): Promise<void> {
    this.waiting = undefined;
    await waiting.close();
    this.changed();
  }

  async get(id: string): Promise<StoredDocument | undefined> {
    return (await this.index.get(id)) ?? this.waiting?.get(id);
  }

  /** One entry for each document, in order of adding. */
  async documents(): Promise<DocumentEntry[]> {
    const lists = await Promise.all(this.indexes.map((index) => index.documents({ filter: { n: 0 } })));
    const first = new Map(lists.flat().map(({ id, metadata }) => [id, { id, ...sectionOf(id, metadata) }]));
    return [...first.values()];
  }

  /** The sections of a document from one number up to but without another, in order. */
  async sections(doc: string, from: number, to: number): Promise<StoredDocument[]> {
    const filter = { doc, n: { $gte: from, $lt: to } };
    const lists = await Promise.all(this.indexes.map((index) => index.documents({ filter })));
    const ids = new Set(lists.flat().map(({ id }) => id));
    const found = await Promise.all([...ids].map((id) => this.get(id)));
    const sections = found.filter((stored) => stored !== undefined);
    return sections.sort((a, b) => sectionOf(a.id, a.metadata).n - sectionOf(b.id, b.metadata).n);
  }

  /** The types of its documents. */
  async types(): Promise<string[]> {
    return [...new Set((await this.documents()).map(({ type }) => type).filter(Boolean))];
  }

  async removeDocument(doc: string): Promise<void> {
    await Promise.all(this.indexes.map((index) => index.remove({ filter: { doc } })));
  }

  changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}

/** Whether another tab has encoded what waited, and deleted the index. */
async function isGone({ info }: SearchIndex): Promise<boolean> {
  return info.stored && !(await SearchIndex.list()).some(({ name }) => name === info.name);
}

/** Several tabs may add to what waits at the same time; the one that encodes and deletes it does so alone. */
async function inTurn(name: string, options: LockOptions, action: () => Promise<void>): Promise<void> {
  let hasBegun = false;
  const begin = () => {
    hasBegun = true;
    return action();
  };
  try {
    await navigator.locks.request(`embervec demo ${name}`, options, begin);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (hasBegun) throw error;
    await begin(); // locks are blocked, as the storage is, so there is nothing that tabs share
  }
}
