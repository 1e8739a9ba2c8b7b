/** Every collection of this browser: one's own and the ready ones that were opened. */

import type { Embedder } from "embervec";
import { Collection, waitingName, waitsFor } from "./collection";
import { remember, remembered } from "./remembered";
import { SearchIndex } from "embervec/search";

/** An entry of `corpora/index.json`: a collection whose index was made in advance. */
export interface ReadyCorpus {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly source: string;
  readonly licence: string;
  readonly passages: number;
  readonly bytes: number;
  readonly examples?: readonly string[];
}

const CORPORA = "./corpora/";
const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((name) => typeof name === "string");

/** Dispatches `change` when a collection has come, gone or changed. */
export class Library extends EventTarget {
  #collections: Collection[] = [];
  #corpora: ReadyCorpus[] = [];
  #embedder: Embedder | undefined;
  #attaching: Promise<void> = Promise.resolve();

  get collections(): readonly Collection[] {
    return this.#collections;
  }

  get corpora(): readonly ReadyCorpus[] {
    return this.#corpora;
  }

  find(name: string): Collection | undefined {
    return this.#collections.find((collection) => collection.name === name);
  }

  isOpen({ title }: ReadyCorpus): boolean {
    return this.#collections.some((collection) => collection.kind === "ready" && collection.name === title);
  }

  /** What is kept from the last visit. A first visit finds the first ready corpus open, so that there is something to search. */
  async open(): Promise<void> {
    const names = (await SearchIndex.list()).map(({ name }) => name);
    const waiting = names.filter((name) => waitsFor(name) !== undefined);
    const own = new Set(names.map((name) => waitsFor(name) ?? name));
    await Promise.all([...own].map((name) => this.#openOwn(name, waiting.includes(waitingName(name)))));
    this.#corpora = await readCorpora();
    this.#changed();
    const opened = remembered("opened", isNames) ?? this.#corpora.slice(0, 1).map(({ name }) => name);
    await Promise.all(
      this.#corpora.filter(({ name }) => opened.includes(name)).map((corpus) => this.openReady(corpus)),
    );
  }

  async #openOwn(name: string, isWaiting: boolean): Promise<void> {
    const collection = new Collection(await SearchIndex.open(name), "own");
    if (isWaiting) collection.waiting = await SearchIndex.open(waitingName(name));
    await this.#take(collection);
  }

  async openReady(corpus: ReadyCorpus): Promise<Collection> {
    const url = new URL(`${CORPORA}${corpus.name}/`, document.baseURI);
    const index = await SearchIndex.fetch(url, { cache: "indexeddb" });
    const collection = await this.#take(new Collection(index, "ready", corpus.title));
    this.#rememberOpened();
    return collection;
  }

  async create(name: string): Promise<Collection> {
    return this.#take(new Collection(await SearchIndex.open(this.freeName(name)), "own"));
  }

  async import(file: Blob, name: string): Promise<Collection> {
    return this.#take(new Collection(await SearchIndex.import(file, { name: this.freeName(name) }), "own"));
  }

  async rename(collection: Collection, name: string): Promise<void> {
    if (name === collection.name) return;
    const free = this.freeName(name);
    await collection.index.rename(free);
    await collection.waiting?.rename(waitingName(free));
    this.#changed();
  }

  /** Deletes one's own; one that is ready is only closed, and can be opened again. */
  async remove(collection: Collection): Promise<void> {
    this.#collections = this.#collections.filter((other) => other !== collection);
    this.#changed();
    const names = collection.indexes.map(({ info }) => info.name);
    await Promise.all(collection.indexes.map((index) => index.close()));
    if (collection.kind === "own") await Promise.all(names.map((name) => SearchIndex.delete(name)));
    else this.#rememberOpened();
  }

  async removeAll(): Promise<void> {
    for (const collection of this.#collections.slice()) await this.remove(collection);
  }

  /** "Notes", or "Notes 2" where there are Notes. */
  freeName(wanted: string): string {
    const base = wanted.trim() || "Documents";
    let name = base;
    for (let count = 2; this.find(name) !== undefined; count++) name = `${base} ${count}`;
    return name;
  }

  /** Gives every collection the model. Those of the model before are opened anew. One call after the other. */
  attach(embedder: Embedder | undefined): Promise<void> {
    this.#attaching = this.#attaching.then(() => this.#attach(embedder));
    return this.#attaching;
  }

  async #attach(embedder: Embedder | undefined): Promise<void> {
    const before = this.#embedder;
    this.#embedder = embedder;
    if (before !== undefined && before !== embedder) await this.#reopen();
    if (embedder !== undefined) await Promise.all(this.#collections.map((collection) => collection.attach(embedder)));
  }

  async #reopen(): Promise<void> {
    const open = this.#collections;
    this.#collections = [];
    await Promise.all(open.flatMap(({ indexes }) => indexes).map((index) => index.close()));
    await Promise.all(
      open.map(async (collection) => {
        const corpus = this.#corpora.find(({ title }) => title === collection.name);
        if (collection.kind === "own") await this.#openOwn(collection.name, collection.waiting !== undefined);
        else if (corpus !== undefined) await this.openReady(corpus);
      }),
    );
  }

  /** A collection of another model, encoded anew with this one. */
  async rebuild(collection: Collection): Promise<void> {
    const embedder = this.#embedder;
    if (embedder === undefined) throw new Error("There is no model yet.");
    const { name } = collection;
    const old = collection.index;
    const fresh = await SearchIndex.open(this.freeName(`${name} (new)`), { embedder });
    async function* documents() {
      for (const { id } of await old.documents()) {
        const document = await old.get(id);
        if (document !== undefined) yield document;
      }
    }
    await fresh.add(documents());
    await this.remove(collection);
    await fresh.rename(name);
    await this.#take(new Collection(fresh, "own"));
  }

  async #take(collection: Collection): Promise<Collection> {
    this.#collections = [...this.#collections, collection].sort((a, b) => a.name.localeCompare(b.name));
    collection.addEventListener("change", () => this.#changed());
    if (this.#embedder !== undefined) await collection.attach(this.#embedder);
    this.#changed();
    return collection;
  }

  #rememberOpened(): void {
    const open = this.#corpora.filter((corpus) => this.isOpen(corpus));
    remember(
      "opened",
      open.map(({ name }) => name),
    );
  }

  #changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}

/** None where the folder is not there, which is no fault: the page works without. */
async function readCorpora(): Promise<ReadyCorpus[]> {
  try {
    const response = await fetch(`${CORPORA}index.json`);
    return response.ok ? ((await response.json()) as ReadyCorpus[]) : [];
  } catch {
    return []; // offline, before the first visit was complete
  }
}
