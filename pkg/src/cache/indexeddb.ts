// The default cache: one IndexedDB database per origin.

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import { EmbervecError, messageOf } from "../errors.js";
import type { ModelCache } from "./cache.js";

interface Schema extends DBSchema {
  entries: { key: string; value: Uint8Array<ArrayBuffer> };
}

const DATABASE = "embervec";
/** 1 and 2 had a store of records and one of chunks, unverified; nothing of them can be trusted, so they are dropped. */
const DATABASE_VERSION = 3;

/** Behind every key: keys hold no character above. */
const LAST = "\uffff";

export class IndexedDbCache implements ModelCache {
  #database: Promise<IDBPDatabase<Schema>> | undefined;

  async get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#use("read", (database) => database.get("entries", key));
  }

  async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#use("written", (database) => database.put("entries", bytes, key));
  }

  async delete(prefix: string): Promise<void> {
    await this.#use("written", (database) => database.delete("entries", startingWith(prefix)));
  }

  async keys(prefix: string): Promise<string[]> {
    return this.#use("read", (database) => database.getAllKeys("entries", startingWith(prefix)));
  }

  async room(): Promise<number> {
    // Absent outside secure contexts.
    const { quota, usage } = (await navigator.storage?.estimate()) ?? {};
    return quota === undefined || usage === undefined ? Infinity : quota - usage;
  }

  async #use<T>(done: string, action: (database: IDBPDatabase<Schema>) => Promise<T>): Promise<T> {
    try {
      try {
        return await action(await this.#open());
      } catch (error) {
        // The connection was closed: by a newer version of the package in another tab, or by somebody who cleared the storage.
        if (!(error instanceof DOMException) || error.name !== "InvalidStateError") throw error;
        this.#database = undefined;
        return await action(await this.#open());
      }
    } catch (cause) {
      if (cause instanceof DOMException && cause.name === "QuotaExceededError") throw cause;
      throw new EmbervecError("storage", `the browser's IndexedDB cannot be ${done}: ${messageOf(cause)}`, { cause });
    }
  }

  #open(): Promise<IDBPDatabase<Schema>> {
    this.#database ??= openDB<Schema>(DATABASE, DATABASE_VERSION, {
      upgrade(database) {
        for (const name of [...database.objectStoreNames]) database.deleteObjectStore(name);
        database.createObjectStore("entries");
      },
      // A tab with a newer version of the package, or one that deletes the database, must not wait for this one.
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    }).catch((error: unknown) => {
      this.#database = undefined;
      throw error;
    });
    return this.#database;
  }
}

function startingWith(prefix: string): IDBKeyRange {
  return IDBKeyRange.bound(prefix, prefix + LAST);
}
