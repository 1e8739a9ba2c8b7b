// Where models are kept: bytes by key, and nothing else.

import { EmbervecError } from "../errors.js";
import { CACHE } from "../platform/web.js";

/** `Uint8Array<ArrayBuffer>`, which TypeScript before 5.7 cannot say. */
type Bytes = ReturnType<Uint8Array["slice"]>;

/**
 * A place for models. `"indexeddb"` (in browsers), `"folder"` (in Node) and `"memory"` are built in. An object with these five
 * methods is a place of your own.
 *
 * Keys are text without control characters. Values are up to some hundred kB each; embervec verifies
 * what it reads, so a cache need not. If a cache does not answer within 3 s (`put` and `delete`: 10 s), embervec stops using it.
 */
export interface ModelCache {
  /** The bytes of a key, or `undefined`. */
  get(key: string): Promise<Bytes | undefined>;
  /**
   * Stores all of the bytes or none. If there is no room, it rejects with an error whose name is `QuotaExceededError`; if the
   * cache can only be read, with one whose name is `NoModificationAllowedError`.
   */
  put(key: string, bytes: Bytes): Promise<void>;
  /** Deletes every key that begins with `prefix`. */
  delete(prefix: string): Promise<void>;
  /** Every key that begins with `prefix`. */
  keys(prefix: string): Promise<string[]>;
  /** How many bytes can still be stored; `Infinity` if that is not known. */
  room(): Promise<number>;
}

/** A place that the package itself uses: in browsers, and in Node. */
export type BuiltInCache = "indexeddb" | "folder";

/** What the option `cache` takes. */
export type CacheChoice = "indexeddb" | "folder" | "memory" | ModelCache;

/**
 * A cache as the store uses it. Every method settles, and changes all that it is to change or nothing; a caller's own cache only
 * as far as none of its methods fails halfway, and as the browser has Web Locks.
 */
export interface Entries extends Omit<ModelCache, "delete"> {
  /** Deletes every key that begins with one of these; none where the key `unless` is there. */
  delete(prefixes: readonly string[], unless?: string): Promise<void>;
  /**
   * Puts an entry where all of its parts are there.
   *
   * @param isOnly deletes what else begins with the parts' prefix
   * @returns whether it has been put
   */
  putWhole(key: string, bytes: Uint8Array<ArrayBuffer>, parts: Parts, isOnly: boolean): Promise<boolean>;
  /** Gives back what it holds of the browser, until it is used again. */
  close(): void;
}

/** Entries without which another one means nothing. */
export interface Parts {
  /** What all of their keys begin with. */
  prefix: string;
  keys: ReadonlySet<string>;
}

/**
 * A write that has not ended after so many milliseconds is given up. Of 512 kB that is 51 kB/s, a hundredth of what the
 * slowest memory card takes; and a disk that has to wake up, or to tidy up first, has answered by then.
 */
export const WRITE_MS = 10_000;

/** The cache that is to be managed. */
export function managed(choice: CacheChoice = CACHE): Exclude<CacheChoice, "memory"> {
  if (choice !== "memory") return choice;
  throw new EmbervecError("invalid_input", 'cache "memory" keeps no models; leave `cache` out');
}

/** @returns whether all of `parts` are among `keys` */
export function hasAll(keys: readonly string[], parts: Parts): boolean {
  const there = new Set(keys);
  return [...parts.keys].every((key) => there.has(key));
}

/** How the name of a lock begins that says that a model is in use. */
export const USE = "embervec uses ";
