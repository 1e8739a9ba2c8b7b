// The default cache: one IndexedDB database per origin.

import { type DBSchema, type IDBPDatabase, type IDBPObjectStore, openDB } from "idb";

import { EmbervecError, messageOf } from "../errors.js";
import { PLATFORM_MS, TimeoutError, settled } from "../settle.js";
import { type Entries, type Parts, WRITE_MS, hasAll } from "./cache.js";

interface Schema extends DBSchema {
  entries: { key: string; value: Uint8Array<ArrayBuffer> };
}

type ReadStore = IDBPObjectStore<Schema, ["entries"]>;
type Store = IDBPObjectStore<Schema, ["entries"], "entries", "readwrite">;

const DATABASE = "embervec";
/** 1 and 2 had a store of records and one of chunks, unverified; nothing of them can be trusted, so they are dropped. */
const DATABASE_VERSION = 3;

/** Behind every key: keys hold no character above. */
const LAST = "\uffff";

/** Milliseconds before what failed is tried again. While a browser clears a site's storage it closes new connections, too. */
const PAUSES_MS = [0, 100, 500, 1500];

/** A connection that nobody has used for so many milliseconds is closed. Opening it again takes about 10. */
const IDLE_MS = 1000;

/** One connection, opened by what needs it. */
export class IndexedDbCache implements Entries {
  #connection: Promise<IDBPDatabase<Schema>> | undefined;
  /** The connection once it is open. */
  #database: IDBPDatabase<Schema> | undefined;
  /** The transaction of this moment. */
  #reading: { database: IDBPDatabase<Schema>; store: ReadStore } | undefined;
  /** Calls under way. */
  #calls = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;

  get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#read((store) => store.get(key));
  }

  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#write(async (store) => void (await store.put(bytes, key)));
  }

  keys(prefix: string): Promise<string[]> {
    return this.#read((store) => store.getAllKeys(startingWith(prefix)));
  }

  delete(prefixes: readonly string[], unless?: string): Promise<void> {
    return this.#write(async (store) => {
      if (unless !== undefined && (await store.getKey(unless)) !== undefined) return;
      await Promise.all(prefixes.map((prefix) => store.delete(startingWith(prefix))));
    });
  }

  putWhole(key: string, bytes: Uint8Array<ArrayBuffer>, parts: Parts, isOnly: boolean): Promise<boolean> {
    return this.#write(async (store) => {
      const keys = await store.getAllKeys(startingWith(parts.prefix));
      if (!hasAll(keys, parts)) return false;
      const others = isOnly ? keys.filter((other) => !parts.keys.has(other)) : [];
      await Promise.all([store.put(bytes, key), ...others.map((other) => store.delete(other))]);
      return true;
    });
  }

  /** What the browser does not tell (outside of secure contexts, Safari before 17, or because it fails) is unknown. */
  async room(): Promise<number> {
    const estimate = async () => navigator.storage?.estimate?.();
    const { quota, usage } = (await settled("it", estimate, { ms: PLATFORM_MS }).catch(() => undefined)) ?? {};
    return quota === undefined || usage === undefined ? Infinity : quota - usage;
  }

  close(): void {
    clearTimeout(this.#idle);
    this.#connection?.then(
      (database) => this.#forget(database),
      () => {},
    );
  }

  /** What is asked for at once is read in one transaction. @param action makes one request */
  #read<T>(action: (store: ReadStore) => Promise<T>): Promise<T> {
    return this.#use("read", PLATFORM_MS, (database) => {
      if (this.#reading?.database === database) {
        try {
          return action(this.#reading.store);
        } catch {
          // It takes no more requests.
        }
      }
      const { store, done } = database.transaction("entries");
      // Where it is aborted the request says so, too.
      done.catch(() => {});
      const reading = { database, store };
      this.#reading = reading;
      setTimeout(() => {
        if (this.#reading === reading) this.#reading = undefined;
      });
      return action(store);
    });
  }

  #write<T>(action: (store: Store) => Promise<T>): Promise<T> {
    return this.#use("written", WRITE_MS, async (database) => {
      const transaction = database.transaction("entries", "readwrite");
      const [result] = await Promise.all([action(transaction.store), transaction.done]);
      return result;
    });
  }

  async #use<T>(done: string, ms: number, action: (database: IDBPDatabase<Schema>) => Promise<T>): Promise<T> {
    this.#calls += 1;
    clearTimeout(this.#idle);
    try {
      for (const pauses = [...PAUSES_MS]; ; ) {
        const database = await (this.#connection ??= this.#open());
        try {
          return await settled("it", () => action(database), { ms });
        } catch (error) {
          if (isQuota(error)) throw error;
          this.#forget(database);
          // The connection may have been closed: by a newer version of the package in another tab, or by somebody who
          // cleared the storage.
          const pause = pauses.shift();
          if (pause === undefined || error instanceof TimeoutError) throw error;
          await new Promise((resolve) => setTimeout(resolve, pause));
        }
      }
    } catch (cause) {
      if (isQuota(cause)) throw cause;
      throw new EmbervecError("storage", `the browser's IndexedDB cannot be ${done}: ${messageOf(cause)}`, { cause });
    } finally {
      this.#calls -= 1;
      if (this.#calls === 0) this.#idle = setTimeout(() => this.close(), IDLE_MS);
    }
  }

  async #open(): Promise<IDBPDatabase<Schema>> {
    let isBlocked = false;
    const open = () =>
      openDB<Schema>(DATABASE, DATABASE_VERSION, {
        upgrade(database) {
          for (const name of [...database.objectStoreNames]) database.deleteObjectStore(name);
          database.createObjectStore("entries");
        },
        blocked: () => void (isBlocked = true),
        // A tab with a newer version of the package, or one that deletes the database, must not wait for this one.
        blocking: (_current, _blocked, event) => {
          (event.target as IDBDatabase).close();
          this.#forget(database);
        },
        terminated: () => this.#forget(database),
      });
    let database: IDBPDatabase<Schema> | undefined;
    try {
      database = await settled("it", open, { ms: PLATFORM_MS, late: (database) => database.close() });
      this.#database = database;
      return database;
    } catch (error) {
      this.#connection = undefined;
      // Its own words would not say what to do.
      throw isBlocked
        ? new Error("another tab keeps an older version of it open; close this site's other tabs")
        : error;
    }
  }

  /** Closes a connection; what is under way over it still ends. */
  #forget(database: IDBPDatabase<Schema> | undefined): void {
    database?.close();
    if (!database || database !== this.#database) return;
    this.#database = this.#connection = undefined;
  }
}

function isQuota(error: unknown): boolean {
  return error instanceof DOMException && error.name === "QuotaExceededError";
}

function startingWith(prefix: string): IDBKeyRange {
  return IDBKeyRange.bound(prefix, prefix + LAST);
}
