/**
 * The pages that the user has saved: one search index, a document for each passage. A page's passages name it, so that it can be read
 * whole, and say how many there are, so that one that was cut short is noticed.
 */

import { EmbervecError, type Embedder } from "embervec";
import { type Filter, type Metadata, type SearchDocument, SearchIndex } from "embervec/search";
import { deleteOldPages, type OldPage, readOldPages } from "./old-pages";
import type { PassageText } from "./page-messages";
import { type Hit, IMPORTED, type SavedList, type SavedPage, type SavedText } from "./protocol";

const NAME = "saved pages";
/** In its place, once all of it has been encoded again. */
const NEXT = "saved pages, encoded again";

/** Panels need not hear of every passage. */
const REPORT_MS = 200;

/** Of a passage. */
interface Place {
  readonly url: string;
  readonly title: string;
  readonly hash: string;
  readonly savedAt: number;
  /** `beside` the main text: such passages can be read, but are not searched. */
  readonly place: "main" | "beside";
  readonly heading: string;
  readonly index: number;
  /** How many passages the page has. */
  readonly count: number;
}

export interface NewPage {
  readonly url: string;
  readonly title: string;
  readonly hash: string;
  readonly passages: readonly PassageText[];
}

interface Opened {
  index: SearchIndex;
  /** By their addresses. */
  pages: Map<string, SavedPage>;
}

export class SavedPages {
  readonly #onChange: () => void;
  #opened: Promise<Opened> | undefined;
  /** What the index has been given, or refused. */
  #embedder: { embedder: Embedder; isRefused: boolean } | undefined;
  #encoding: SavedList["encoding"];
  #stopEncoding: AbortController | undefined;
  /** One change after the other. */
  #last: Promise<unknown> = Promise.resolve();

  /** @param onChange hears of every change of {@link list} */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  async list(): Promise<SavedList> {
    const { index, pages } = await this.#open();
    return {
      pages: [...pages.values()].sort((a, b) => b.savedAt - a.savedAt),
      bytes: index.info.storedBytes,
      isOtherModel: this.#embedder?.isRefused ?? false,
      ...(this.#encoding && { encoding: this.#encoding }),
    };
  }

  /**
   * The nearest passages, those with the query's words among them, in the order of their meaning. Without a model, or of another
   * model's pages, only those with the query's words.
   *
   * @param except the address of a page that is searched elsewhere
   */
  async search(query: string, topK: number, embedder: Embedder | undefined, except?: string): Promise<Hit[]> {
    const { index, pages } = await this.#open();
    if (pages.size === 0) return [];
    const isMeant = embedder !== undefined && (await this.#attach(index, embedder));
    const filter: Filter = except === undefined ? { place: "main" } : { place: "main", url: { $ne: except } };
    const { hits } = await index.search(query, { topK, filter, mode: isMeant ? "hybrid" : "keyword" });
    // A passage with the query's words is among them; but what means the same comes first.
    if (isMeant) hits.sort((a, b) => (b.scores.semantic ?? 0) - (a.scores.semantic ?? 0));
    return hits.flatMap(({ text, metadata, scores }): Hit[] => {
      const place = placeOf(metadata);
      if (!place || pages.get(place.url)?.savedAt !== place.savedAt) return []; // it is just coming, or going
      const { url, title, heading, savedAt } = place;
      const score = scores.semantic === undefined ? {} : { score: scores.semantic };
      return [{ text, index: place.index, heading, isAside: false, url, title, savedAt, ...score }];
    });
  }

  /** All passages of a page, in their order; `undefined` for one that is not saved. */
  async read(url: string): Promise<SavedText | undefined> {
    const { index, pages } = await this.#open();
    const page = pages.get(url);
    if (!page) return undefined;
    const documents = await index.documents({ filter: { url, savedAt: page.savedAt } });
    const passages = await Promise.all(
      documents.map(async ({ id, metadata }) => ({
        place: placeOf(metadata)!,
        text: (await index.get(id))?.text ?? "",
      })),
    );
    passages.sort((a, b) => a.place.index - b.place.index);
    return {
      page,
      passages: passages.map(({ place, text }) => ({
        text,
        heading: place.heading,
        isAside: place.place === "beside",
        index: place.index,
      })),
    };
  }

  /** Replaces what was saved of the page before. */
  put(page: NewPage, vectors: readonly Float32Array[], embedder: Embedder): Promise<SavedPage> {
    return this.#change(async (opened) => {
      const { stored, storedReason } = opened.index.info;
      if (!stored) throw new EmbervecError("storage", `The page is not saved: ${storedReason}`);
      if (!(await this.#attach(opened.index, embedder)))
        throw new EmbervecError(
          "model_mismatch",
          "the pages that are saved already are of another model: encode them again first",
        );
      return this.#put(opened, page, Date.now(), vectors);
    });
  }

  remove(url: string): Promise<void> {
    return this.#change(async ({ index, pages }) => {
      pages.delete(url);
      await index.remove({ filter: { url } });
      // Removed texts are still in its files, until these are written anew.
      await index.compact();
    });
  }

  /** Also of an index that cannot be opened. */
  clear(): Promise<void> {
    return this.#queue(async () => {
      const opened = await this.#opened?.catch(() => undefined);
      await opened?.index.close();
      await SearchIndex.delete(NAME);
      await deleteOldPages();
      this.#forget();
    });
  }

  /** All of it as a file, for {@link SearchIndex.import}. */
  async export(): Promise<Blob> {
    await this.#last;
    return (await this.#open()).index.export();
  }

  /**
   * Takes the pages of the index {@link IMPORTED} over. Of a page that is in both, the one that was saved last stays.
   *
   * @returns how many came
   */
  merge(embedder: Embedder): Promise<number> {
    return this.#change(async (opened) => {
      const isThere = (await SearchIndex.list()).some(({ name }) => name === IMPORTED);
      if (!isThere) return 0; // the answer to the same call was lost
      const imported = await SearchIndex.open(IMPORTED);
      try {
        const found = await pagesOf(imported);
        if (found.size === 0) throw new EmbervecError("integrity", "The file holds no saved pages.");
        if (!(await this.#attach(opened.index, embedder)))
          throw new EmbervecError("model_mismatch", "the saved pages are of another model: encode them again first");
        const vectors = await vectorsFor(imported, embedder);
        let count = 0;
        for (const page of found.values()) {
          if ((opened.pages.get(page.url)?.savedAt ?? 0) >= page.savedAt) continue;
          const documents: SearchDocument[] = [];
          for (const { id, metadata } of await imported.documents({
            filter: { url: page.url, savedAt: page.savedAt },
          })) {
            const vector = vectors.get(id);
            const text = (await imported.get(id))?.text ?? "";
            documents.push({ id: idOf(placeOf(metadata)!), text, metadata, ...(vector && { vector }) });
          }
          await this.#replace(opened, page, documents);
          count += 1;
        }
        return count;
      } finally {
        await imported.close();
        await SearchIndex.delete(IMPORTED);
      }
    });
  }

  /**
   * Makes new vectors for all texts, with this model. Until all are there, the old ones stay.
   *
   * @returns `false` if it was stopped
   */
  encodeAgain(embedder: Embedder): Promise<boolean> {
    return this.#change(async ({ index }) => {
      if (await this.#attach(index, embedder)) return true;
      const { signal } = (this.#stopEncoding = new AbortController());
      const all = await index.documents();
      const total = all.length;
      async function* documents(): AsyncGenerator<SearchDocument> {
        for (const { id, metadata } of all) yield { id, metadata, text: (await index.get(id))?.text ?? "" };
      }
      const say = (done: number) => {
        this.#encoding = { done, total };
        this.#onChange();
      };
      say(0);
      const next = await SearchIndex.open(NEXT, { embedder });
      let reported = 0;
      try {
        await next.add(documents(), {
          signal,
          progress: ({ documents }) => {
            const now = performance.now();
            if (now - reported < REPORT_MS) return;
            reported = now;
            say(documents);
          },
        });
      } catch (error) {
        await next.close();
        await SearchIndex.delete(NEXT);
        if (signal.aborted) return false;
        throw error;
      } finally {
        this.#encoding = this.#stopEncoding = undefined;
      }
      await index.close();
      await SearchIndex.delete(NAME);
      await next.rename(NAME);
      await next.close();
      this.#forget();
      return true;
    });
  }

  /** What has been encoded so far is dropped. */
  stopEncoding(): void {
    this.#stopEncoding?.abort();
  }

  /** @returns whether the saved pages are of this model */
  async #attach(index: SearchIndex, embedder: Embedder): Promise<boolean> {
    if (this.#embedder?.embedder === embedder) return !this.#embedder.isRefused;
    let isRefused = false;
    try {
      await index.attach(embedder);
    } catch (error) {
      if (!(error instanceof EmbervecError && error.code === "model_mismatch")) throw error;
      isRefused = true;
    }
    this.#embedder = { embedder, isRefused };
    if (isRefused) this.#onChange();
    return !isRefused;
  }

  async #put(opened: Opened, page: NewPage, savedAt: number, vectors: readonly Float32Array[]): Promise<SavedPage> {
    const { url, title, hash, passages } = page;
    const isAllBeside = passages.every(([, isAside]) => isAside);
    const count = passages.length;
    const documents = passages.map(([text, isAside, heading], index): SearchDocument => {
      const place: Place = {
        url,
        title,
        hash,
        savedAt,
        place: isAside && !isAllBeside ? "beside" : "main",
        heading,
        index,
        count,
      };
      return { id: idOf(place), text, metadata: { ...place }, vector: vectors[index]! };
    });
    const mainCount = isAllBeside ? count : passages.filter(([, isAside]) => !isAside).length;
    const saved = { url, title, hash, savedAt, passageCount: count, mainCount };
    await this.#replace(opened, saved, documents);
    return saved;
  }

  /** What is there of the page goes when the other is stored. */
  async #replace({ index, pages }: Opened, page: SavedPage, documents: SearchDocument[]): Promise<void> {
    const { url, savedAt } = page;
    try {
      await index.add(documents);
    } catch (error) {
      await index.remove({ filter: { url, savedAt } });
      throw error;
    }
    pages.set(url, page);
    const old = await index.remove({ filter: { url, savedAt: { $ne: savedAt } } });
    if (old > 0) await index.compact();
  }

  #change<Result>(action: (opened: Opened) => Promise<Result>): Promise<Result> {
    return this.#queue(async () => action(await this.#open()));
  }

  async #queue<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => {});
    try {
      return await result;
    } finally {
      this.#onChange();
    }
  }

  #forget(): void {
    this.#opened = undefined;
    this.#embedder = undefined;
  }

  #open(): Promise<Opened> {
    this.#opened ??= this.#openIndex().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  async #openIndex(): Promise<Opened> {
    const names = new Set((await SearchIndex.list()).map(({ name }) => name));
    if (names.has(NEXT)) {
      // The browser was closed before all was encoded, or just before it took the other's place.
      if (names.has(NAME)) await SearchIndex.delete(NEXT);
      else {
        const next = await SearchIndex.open(NEXT);
        await next.rename(NAME);
        await next.close();
      }
    }
    const index = await SearchIndex.open(NAME);
    const opened = { index, pages: await pagesOf(index) };
    const kept = [...opened.pages.values()].map(({ savedAt }) => savedAt);
    // What was saved when the browser was closed is not whole.
    if (index.size > 0) await index.remove({ filter: { savedAt: { $nin: kept } } });
    await this.#takeOver(opened);
    return opened;
  }

  /** From the database of the extension's first version, whose vectors are of the same model. */
  async #takeOver(opened: Opened): Promise<void> {
    const old = await readOldPages();
    for (const page of old ?? []) {
      if (!opened.pages.has(page.url)) await this.#put(opened, newPage(page), page.savedAt, rowsOf(page));
    }
    if (old) await deleteOldPages();
  }
}

const newPage = ({ url, title, hash, passages }: OldPage): NewPage => ({
  url,
  title,
  hash,
  passages: passages.map((text) => [text, false, ""]),
});

function rowsOf({ passages, vectors }: OldPage): Float32Array[] {
  const dimension = vectors.length / passages.length;
  return passages.map((_, index) => vectors.subarray(index * dimension, (index + 1) * dimension));
}

const idOf = ({ url, savedAt, index }: Place) => `${savedAt} ${index} ${url}`;

/** The pages that are whole; of several with the same address the last one. */
async function pagesOf(index: SearchIndex): Promise<Map<string, SavedPage>> {
  const found = new Map<string, { page: SavedPage; missing: number; mainCount: number }>();
  for (const { metadata } of await index.documents()) {
    const place = placeOf(metadata);
    if (!place) continue;
    const { url, title, hash, savedAt, count } = place;
    const key = `${savedAt} ${url}`;
    const known = found.get(key) ?? {
      page: { url, title, hash, savedAt, passageCount: count, mainCount: 0 },
      missing: count,
      mainCount: 0,
    };
    known.missing -= 1;
    if (place.place === "main") known.mainCount += 1;
    found.set(key, known);
  }
  const pages = new Map<string, SavedPage>();
  for (const { page, missing, mainCount } of found.values()) {
    if (missing === 0 && page.savedAt > (pages.get(page.url)?.savedAt ?? 0))
      pages.set(page.url, { ...page, mainCount });
  }
  return pages;
}

/** An imported file may hold anything. */
function placeOf(metadata: Metadata): Place | undefined {
  const { url, title, hash, savedAt, place, heading, index, count } = metadata;
  const isText = [url, title, hash, heading].every((value) => typeof value === "string");
  const isNumber = [savedAt, index, count].every((value) => Number.isSafeInteger(value) && (value as number) >= 0);
  if (!isText || !isNumber || (place !== "main" && place !== "beside")) return undefined;
  if (!URL.canParse(url as string) || !/^(https?|file):$/.test(new URL(url as string).protocol)) return undefined;
  return metadata as unknown as Place;
}

/** By the documents' ids; those of another model are of no use, and those of a text that was split cannot be taken over. */
async function vectorsFor(index: SearchIndex, embedder: Embedder): Promise<Map<string, Float32Array>> {
  try {
    await index.attach(embedder);
  } catch (error) {
    if (error instanceof EmbervecError && error.code === "model_mismatch") return new Map();
    throw error;
  }
  if (index.info.embeddingSpace === undefined) return new Map();
  const { places, vectors } = await index.vectors({ limit: Math.max(1, index.info.passages) });
  const split = new Set(places.filter(({ passage }) => passage > 0).map(({ id }) => id));
  return new Map(places.flatMap(({ id }, i) => (split.has(id) ? [] : [[id, vectors[i]!] as const])));
}
