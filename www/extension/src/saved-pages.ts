/** The pages that the user has saved, with their vectors, in a database of the extension's own. */

import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { SavedPage } from "./protocol";

/** A model with other vectors needs another version. */
const VERSION = 1;

export interface StoredPage {
  readonly url: string;
  readonly title: string;
  readonly hash: string;
  readonly savedAt: number;
  readonly passages: readonly string[];
  /** One row per passage. */
  readonly vectors: Float32Array<ArrayBuffer>;
}

interface Schema extends DBSchema {
  pages: { key: string; value: StoredPage };
}

export class SavedPages {
  #database: Promise<IDBPDatabase<Schema>> | undefined;
  /** As in the database, which nobody else writes. */
  #pages: Promise<Map<string, StoredPage>> | undefined;

  async list(): Promise<SavedPage[]> {
    const pages = [...(await this.pages())].sort((a, b) => b.savedAt - a.savedAt);
    return pages.map(({ url, title, hash, savedAt, passages }) => ({
      url,
      title,
      hash,
      savedAt,
      passageCount: passages.length,
    }));
  }

  async pages(): Promise<Iterable<StoredPage>> {
    return (await this.#load()).values();
  }

  async put(
    { url, title, hash, passages }: Pick<StoredPage, "url" | "title" | "hash" | "passages">,
    rows: readonly Float32Array[],
  ): Promise<SavedPage> {
    const dimension = rows[0]?.length ?? 0;
    const vectors = new Float32Array(rows.length * dimension);
    rows.forEach((row, index) => vectors.set(row, index * dimension));
    const page = { url, title, hash, savedAt: Date.now(), passages, vectors };
    const pages = await this.#load();
    await (await this.#open()).put("pages", page);
    pages.set(url, page);
    return { url, title, hash, savedAt: page.savedAt, passageCount: passages.length };
  }

  async remove(url: string): Promise<void> {
    const pages = await this.#load();
    await (await this.#open()).delete("pages", url);
    pages.delete(url);
  }

  #load(): Promise<Map<string, StoredPage>> {
    this.#pages ??= this.#open()
      .then((database) => database.getAll("pages"))
      .then((pages) => new Map(pages.map((page) => [page.url, page])))
      .catch((error: unknown) => {
        this.#pages = undefined;
        throw error;
      });
    return this.#pages;
  }

  #open(): Promise<IDBPDatabase<Schema>> {
    this.#database ??= openDB<Schema>("embervec-saved-pages", VERSION, {
      upgrade: (database) => void database.createObjectStore("pages", { keyPath: "url" }),
    }).catch((error: unknown) => {
      this.#database = undefined;
      throw error;
    });
    return this.#database;
  }
}
