// Where downloaded models are kept: IndexedDB, or memory for a model that is not to be kept.

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import { EmbervecError, messageOf } from "../errors.js";

/** A complete model. It is written last: what has no record does not exist. */
export interface ModelRecord {
  /** The files that the host has, in pieces of {@link CHUNK_BYTES}; the last may be shorter. */
  files: { path: string; size: number }[];
  storedAt: number;
}

/**
 * Large enough that a model is a few dozen records, small enough that two in memory are nothing
 * beside a model.
 */
export const CHUNK_BYTES = 4 << 20;

/** Milliseconds that a batch of so many tokens takes on each device. */
export interface Timing {
  tokens: number;
  cpu: number;
  gpu: number;
}

/** All that the rest of the package knows of storage. `model` is the folder's address, or that with `#q8`. */
export interface ModelStore {
  /** Whether anything outlives this worker. */
  readonly persistent: boolean;
  find(model: string): Promise<ModelRecord | undefined>;
  read(model: string, path: string, chunk: number): Promise<Uint8Array<ArrayBuffer>>;
  write(model: string, path: string, chunk: number, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Makes a model visible whose chunks have all been written. */
  commit(model: string, record: ModelRecord): Promise<void>;
  /** The record first, so that a half-deleted model is never visible. */
  delete(model: string): Promise<void>;
  /** What {@link keepTimings} kept. */
  timings(key: string): Promise<Timing[] | undefined>;
  keepTimings(key: string, timings: Timing[]): Promise<void>;
}

/** Cuts a file that arrives in pieces of any size into chunks. */
export class ChunkWriter {
  readonly #chunk = new Uint8Array(CHUNK_BYTES);
  #filled = 0;
  #chunks = 0;

  constructor(private readonly write: (chunk: number, bytes: Uint8Array<ArrayBuffer>) => Promise<void>) {}

  /** Bytes so far. */
  get size(): number {
    return this.#chunks * CHUNK_BYTES + this.#filled;
  }

  async append(bytes: Uint8Array): Promise<void> {
    while (bytes.byteLength > 0) {
      const taken = bytes.subarray(0, CHUNK_BYTES - this.#filled);
      this.#chunk.set(taken, this.#filled);
      this.#filled += taken.byteLength;
      bytes = bytes.subarray(taken.byteLength);
      if (this.#filled === CHUNK_BYTES) await this.#flush();
    }
  }

  /** Writes what is left; gives the file's size. */
  async end(): Promise<number> {
    const { size } = this;
    if (this.#filled > 0 || this.#chunks === 0) await this.#flush();
    return size;
  }

  async #flush(): Promise<void> {
    const bytes = this.#chunk.slice(0, this.#filled);
    this.#filled = 0;
    await this.write(this.#chunks++, bytes);
  }
}

export async function openStore(cache: "indexeddb" | "memory"): Promise<ModelStore> {
  return cache === "memory" ? new MemoryStore() : IndexedDbStore.open();
}

type ChunkKey = [model: string, path: string, chunk: number];

class MemoryStore implements ModelStore {
  readonly persistent = false;
  readonly #chunks = new Map<string, Uint8Array<ArrayBuffer>>();

  async find(): Promise<undefined> {}

  async read(...key: ChunkKey): Promise<Uint8Array<ArrayBuffer>> {
    return found(this.#chunks.get(JSON.stringify(key)), key);
  }

  async write(model: string, path: string, chunk: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#chunks.set(JSON.stringify([model, path, chunk]), bytes);
  }

  async commit(): Promise<void> {
    // The model is in wasm memory by now, and nobody asks twice.
    this.#chunks.clear();
  }

  async delete(): Promise<void> {
    this.#chunks.clear();
  }

  async timings(): Promise<undefined> {}

  async keepTimings(): Promise<void> {}
}

interface Schema extends DBSchema {
  models: { key: string; value: ModelRecord };
  chunks: { key: ChunkKey; value: Uint8Array<ArrayBuffer> };
  timings: { key: string; value: Timing[] };
}

const DATABASE = "embervec";
const DATABASE_VERSION = 2;

class IndexedDbStore implements ModelStore {
  readonly persistent = true;

  constructor(private readonly database: IDBPDatabase<Schema>) {}

  static async open(): Promise<IndexedDbStore> {
    return storage("opened", async () => {
      const database = await openDB<Schema>(DATABASE, DATABASE_VERSION, {
        upgrade(database, previous) {
          if (previous < 1) {
            database.createObjectStore("models");
            database.createObjectStore("chunks");
          }
          if (previous < 2) database.createObjectStore("timings");
        },
        // A tab with a newer version of the package must not wait for this one.
        blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
      });
      return new IndexedDbStore(database);
    });
  }

  async find(model: string): Promise<ModelRecord | undefined> {
    return storage("read", () => this.database.get("models", model));
  }

  async read(...key: ChunkKey): Promise<Uint8Array<ArrayBuffer>> {
    return found(await storage("read", () => this.database.get("chunks", key)), key);
  }

  async write(model: string, path: string, chunk: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await storage("written", () => this.database.put("chunks", bytes, [model, path, chunk]));
  }

  async commit(model: string, record: ModelRecord): Promise<void> {
    await storage("written", () => this.database.put("models", record, model));
  }

  async delete(model: string): Promise<void> {
    await storage("written", async () => {
      await this.database.delete("models", model);
      // An array sorts behind every string, so this is every path and chunk of the model.
      await this.database.delete("chunks", IDBKeyRange.bound([model], [model, []]));
    });
  }

  async timings(key: string): Promise<Timing[] | undefined> {
    return storage("read", () => this.database.get("timings", key));
  }

  async keepTimings(key: string, timings: Timing[]): Promise<void> {
    await storage("written", () => this.database.put("timings", timings, key));
  }
}

function found(bytes: Uint8Array<ArrayBuffer> | undefined, [model, path, chunk]: ChunkKey): Uint8Array<ArrayBuffer> {
  if (bytes) return bytes;
  throw new EmbervecError("integrity", `piece ${chunk} of ${model}${path} is no longer in the browser's storage; load the model again`);
}

async function storage<T>(done: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "QuotaExceededError") {
      throw new EmbervecError("quota", "the browser has no room left for this model; free some, or load with cache: \"memory\"", { cause });
    }
    throw new EmbervecError(
      "storage",
      `the browser's IndexedDB cannot be ${done}: ${messageOf(cause)}; load with cache: "memory" to do without it`,
      { cause },
    );
  }
}
