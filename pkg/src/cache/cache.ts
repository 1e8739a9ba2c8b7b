// Where models are kept: bytes by key, and nothing else.

import { EmbervecError } from "../errors.js";
import { IndexedDbCache } from "./indexeddb.js";

/**
 * A place for models. `"indexeddb"` and `"memory"` are built in; an object with these five methods is
 * one of the caller's own.
 *
 * Keys are text without control characters. Values are up to some hundred kB each; embervec verifies
 * what it reads, so a cache need not.
 */
export interface ModelCache {
  /** `undefined` where there is nothing. */
  get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** All of the bytes or none. Rejects with an error of the name `QuotaExceededError` where there is no room for them. */
  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Deletes every key that begins with `prefix`. */
  delete(prefix: string): Promise<void>;
  /** Every key that begins with `prefix`. */
  keys(prefix: string): Promise<string[]>;
  /** How many bytes can still be put; `Infinity` where nobody knows. */
  room(): Promise<number>;
}

/** What the option `cache` takes. */
export type CacheChoice = "indexeddb" | "memory" | ModelCache;

/** A cache that is gone with its worker. */
export class MemoryCache implements ModelCache {
  readonly #entries = new Map<string, Uint8Array<ArrayBuffer>>();

  async get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#entries.get(key);
  }

  async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#entries.set(key, bytes);
  }

  async delete(prefix: string): Promise<void> {
    for (const key of await this.keys(prefix)) this.#entries.delete(key);
  }

  async keys(prefix: string): Promise<string[]> {
    return [...this.#entries.keys()].filter((key) => key.startsWith(prefix));
  }

  async room(): Promise<number> {
    return Infinity;
  }
}

/** The cache that an option names; there is none to manage for `"memory"`. */
export function cacheOf(choice: CacheChoice = "indexeddb"): ModelCache {
  if (choice === "indexeddb") return new IndexedDbCache();
  if (choice !== "memory") return choice;
  throw new EmbervecError("invalid_input", "cache \"memory\" keeps no models; leave `cache` out");
}
