// Models in a cache: verified chunks, and a record for each model that is whole.

import { bytesOf } from "../bytes.js";
import { EmbervecError, messageOf } from "../errors.js";
import { CHUNK_BYTES } from "../limits.js";
import { type CacheChoice, MemoryCache, type ModelCache, cacheOf } from "./cache.js";
import {
  ANY_VERSION,
  CHUNKS,
  type ModelRecord,
  RECORDS,
  type StoredFile,
  type Timing,
  chunkBytes,
  chunkKey,
  chunksKey,
  encodeMark,
  encodeRecord,
  encodeTimings,
  fileKey,
  parseChunkKey,
  parseRecord,
  parseRecordKey,
  parseTimings,
  recordKey,
} from "./entries.js";
import { sha256Of } from "./sha256.js";

/**
 * Chunks that are read at the same time. 44 of them take 150 ms one by one, 120 two at a time, 110 four at a time; a warm start
 * gains by two and not by more (691, 633 and 643 ms; AMD EPYC, visits taking turns).
 */
const READ_AHEAD = 2;

const NO_ROOM = "because this browser has no room left for it; free some, such as with deleteModel";

/** The models of a cache. One that fails is done without from then on; into one that is full nothing more is put. */
export class ModelStore {
  #full: string | undefined;
  #broken: string | undefined;
  /** Whether there is no room for what is optional. */
  #isTight = false;
  /** Bytes of the model that is on its way which have not been put yet. */
  #missing = 0;

  private constructor(
    readonly cache: ModelCache,
    /** Why there is only memory. */
    private readonly absent?: string,
  ) {}

  static over(cache: ModelCache): ModelStore {
    return new ModelStore(cache);
  }

  /** Opens a cache; in its place memory where the browser's storage is blocked. */
  static async open(choice: CacheChoice): Promise<ModelStore> {
    if (choice === "memory") return new ModelStore(new MemoryCache(), "as the option `cache` says");
    const cache = cacheOf(choice);
    try {
      // Opening alone tells little: a private window may open a database that takes nothing.
      await cache.keys("model ");
      return new ModelStore(cache);
    } catch (error) {
      return new ModelStore(new MemoryCache(), `because ${messageOf(error)}`);
    }
  }

  /** Why models are not kept, as the end of a sentence; `undefined` where they are. */
  get unusable(): string | undefined {
    return this.absent ?? this.#broken ?? this.#full;
  }

  get isFull(): boolean {
    return this.#full !== undefined;
  }

  async find(model: string): Promise<ModelRecord | undefined> {
    return parseRecord(await this.#read(() => this.cache.get(recordKey(model))));
  }

  /** Every model that is whole. */
  async records(): Promise<Map<string, ModelRecord>> {
    const records = new Map<string, ModelRecord>();
    for (const key of await this.#keys(RECORDS)) {
      const model = parseRecordKey(key);
      const record = model === undefined ? undefined : await this.find(model);
      if (model !== undefined && record) records.set(model, record);
    }
    return records;
  }

  /** For each model the bytes of its chunks, those of an unfinished download at their most. */
  async sizes(): Promise<Map<string, number>> {
    const records = await this.records();
    const sizes = new Map<string, number>();
    for (const key of await this.#keys(CHUNKS)) {
      const chunk = parseChunkKey(key);
      if (!chunk) continue;
      const { model, path, index } = chunk;
      const bytes = chunkBytes(index, records.get(model)?.files.get(path)?.size ?? Infinity);
      // One behind the file's end belongs to another version of it.
      sizes.set(model, (sizes.get(model) ?? 0) + (bytes > 0 ? bytes : CHUNK_BYTES));
    }
    return sizes;
  }

  /** The chunks of a stored file in order, each verified. The first are read at once, the others while the caller is busy. */
  chunks(model: string, path: string, { size, version, chunks }: StoredFile): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const read = (digest: string, index: number) => {
      const chunk = this.readChunk(chunkKey(model, path, version, index, digest), digest, chunkBytes(index, size));
      // Whoever awaits it sees the error, and nobody does after an earlier one.
      chunk.catch(() => {});
      return chunk;
    };
    const reading = chunks.slice(0, READ_AHEAD).map(read);
    return (async function* () {
      for (let i = 0; i < chunks.length; i++) {
        const bytes = await reading.shift();
        if (!bytes) {
          const problem = "is damaged in this browser's storage, or gone from it; load the model once with the network on";
          throw new EmbervecError("integrity", `piece ${i} of ${folderOf(model)}${path} ${problem}`);
        }
        const ahead = i + READ_AHEAD;
        if (ahead < chunks.length) reading.push(read(chunks[ahead]!, ahead));
        yield bytes;
      }
    })();
  }

  /** A version of a file of which nothing is stored yet. */
  file(model: string, path: string, version: string, isOptional = false): StoredChunks {
    return new StoredChunks(this, model, path, version, isOptional);
  }

  /** What is stored of a file, by version. */
  async versions(model: string, path: string, isOptional = false): Promise<Map<string, StoredChunks>> {
    const versions = new Map<string, StoredChunks>();
    for (const key of await this.#keys(fileKey(model, path))) {
      const chunk = parseChunkKey(key);
      if (!chunk) continue;
      const { version, index, digest } = chunk;
      let chunks = versions.get(version);
      if (!chunks) versions.set(version, (chunks = this.file(model, path, version, isOptional)));
      chunks.note(index, digest);
    }
    return versions;
  }

  /** Makes a model visible whose chunks have all been kept, and drops what is left of others. */
  async commit(model: string, record: ModelRecord): Promise<void> {
    if (!(await this.keep(model, recordKey(model), encodeRecord(record)))) return;
    const wanted = new Set<string>();
    for (const [path, { version, chunks }] of record.files) {
      chunks.forEach((digest, index) => wanted.add(chunkKey(model, path, version, index, digest)));
    }
    for (const key of await this.#keys(chunksKey(model))) {
      if (!wanted.has(key)) await this.forget(key);
    }
  }

  /** Notes that a model is in use. */
  async touch(model: string, record: ModelRecord): Promise<void> {
    await this.keep(model, recordKey(model), encodeRecord({ ...record, usedAt: Date.now() }));
  }

  /** Makes a model invisible; its chunks stay, for a download that mends it. */
  async hide(model: string): Promise<void> {
    await this.#read(() => this.cache.delete(recordKey(model)));
  }

  /** The record first, so that a half-deleted model is never visible. */
  async delete(model: string): Promise<void> {
    await this.hide(model);
    await this.#read(() => this.cache.delete(chunksKey(model)));
  }

  /** Whether nobody has asked so before. */
  async isFirst(event: string): Promise<boolean> {
    if (await this.#read(() => this.cache.get(event))) return false;
    return this.keep("", event, encodeMark());
  }

  async timings(key: string, since: number): Promise<Timing[] | undefined> {
    return parseTimings(await this.#read(() => this.cache.get(`timings ${key}`)), since);
  }

  async keepTimings(key: string, timings: Timing[]): Promise<void> {
    await this.keep("", `timings ${key}`, encodeTimings(timings));
  }

  /**
   * Sees to it that there is room for a model before it comes, as far as the cache tells.
   *
   * @param optional so many bytes more would be of use meanwhile
   */
  async reserve(model: string, bytes: number, optional: number): Promise<void> {
    this.#missing = bytes;
    if (this.unusable !== undefined) return;
    const known: unknown = await this.#read(() => this.cache.room());
    // What is no number says nothing.
    const room = typeof known === "number" && !Number.isNaN(known) ? known : Infinity;
    if (room >= bytes + optional) return;
    this.#isTight = true;
    if (room < bytes && !(await this.#evict(bytes - room, model))) this.#full = NO_ROOM;
  }

  /**
   * Deletes other models until there is room for so many bytes more, or none at all if that cannot be reached. What was not in use for the
   * longest goes first; what any tab has loaded stays.
   */
  async #evict(bytes: number, model: string): Promise<boolean> {
    const [records, sizes] = [await this.records(), await this.sizes()];
    const lastUse = (model: string) => records.get(model)?.usedAt ?? 0;
    const victims: string[] = [];
    for (const other of [...sizes.keys()].sort((a, b) => lastUse(a) - lastUse(b))) {
      if (bytes <= 0) break;
      if (folderOf(other) === folderOf(model) || (await isInUse(other))) continue;
      victims.push(other);
      bytes -= sizes.get(other) ?? 0;
    }
    if (bytes > 0) return false;
    for (const victim of victims) await this.delete(victim);
    return true;
  }

  /**
   * Puts an entry of a model; makes room for it where there is none.
   *
   * @param isOptional it is left out where there is none
   * @returns whether it has been put; once one has not that is not optional, nothing is any more
   */
  async keep(model: string, key: string, bytes: Uint8Array<ArrayBuffer>, isOptional = false): Promise<boolean> {
    if (this.unusable !== undefined || (isOptional && this.#isTight)) return false;
    try {
      if (await this.#put(key, bytes)) {
        if (!isOptional) this.#missing -= bytes.byteLength;
        return true;
      }
      this.#isTight = true;
      if (isOptional) return false;
      // What a model in 8 bits is being made of can be fetched again.
      const folder = folderOf(model);
      if (folder !== model && !(await this.find(folder))) {
        await this.delete(folder);
        if (await this.#put(key, bytes)) return true;
      }
      // A browser may report more room than it gives (Chromium since version 133), so this is the first that is known of it.
      if ((await this.#evict(Math.max(this.#missing, bytes.byteLength), model)) && (await this.#put(key, bytes))) return true;
      this.#full = NO_ROOM;
    } catch (error) {
      this.#broken = `because ${messageOf(error)}`;
    }
    return false;
  }

  /** @returns whether there was room */
  async #put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
    try {
      await this.cache.put(key, bytes);
      return true;
    } catch (error) {
      if (error instanceof Error && error.name === "QuotaExceededError") return false;
      throw error;
    }
  }

  /** A chunk, unless it is damaged or not there. `length`: its bytes, where that is known. */
  async readChunk(key: string, digest: string, length?: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const value: unknown = await this.#read(() => this.cache.get(key));
    if (value === undefined || value === null) return undefined;
    const bytes = bytesOf(value, CHUNK_BYTES);
    const isWhole = bytes && (length === undefined || bytes.byteLength === length);
    if (isWhole && (await sha256Of(bytes)) === digest) return bytes;
    await this.forget(key);
    return undefined;
  }

  /** Deletes every entry whose key begins so. */
  async forget(key: string): Promise<void> {
    await this.#read(() => this.cache.delete(key));
  }

  /** Every key that begins with `prefix`. */
  async #keys(prefix: string): Promise<string[]> {
    const keys: unknown = await this.#read(() => this.cache.keys(prefix));
    return Array.isArray(keys) ? keys.filter((key) => typeof key === "string" && key.startsWith(prefix)) : [];
  }

  /** A cache that cannot be read is as one that holds nothing. */
  async #read<T>(action: () => Promise<T>): Promise<T | undefined> {
    if (this.#broken !== undefined) return undefined;
    try {
      return await action();
    } catch (error) {
      this.#broken = `because ${messageOf(error)}`;
      return undefined;
    }
  }
}

export interface Chunk {
  bytes: Uint8Array<ArrayBuffer>;
  digest: string;
}

/** The chunks of one version of a file. */
export class StoredChunks {
  /** For each index the digests of what is stored: one, unless the file was changed and has {@link ANY_VERSION}. */
  readonly #digests = new Map<number, string[]>();

  /** @param isOptional whether it does not matter if there is no room for them */
  constructor(
    private readonly store: ModelStore,
    private readonly model: string,
    private readonly path: string,
    readonly version: string,
    private readonly isOptional = false,
  ) {}

  /** Whether what is written can be read again. */
  get isKept(): boolean {
    return this.store.unusable === undefined;
  }

  has(index: number): boolean {
    return this.#digests.has(index);
  }

  /** The number of chunks from the first on without a gap. */
  get beginning(): number {
    let count = 0;
    while (this.has(count)) count += 1;
    return count;
  }

  /** How many there are. */
  get count(): number {
    return this.#digests.size;
  }

  note(index: number, digest: string): void {
    this.#digests.set(index, [...(this.#digests.get(index) ?? []), digest]);
  }

  /**
   * The chunk of this digest, or of any; `undefined` where there is none, or it is damaged.
   *
   * @param size the file's bytes, where that is known
   */
  async read(index: number, digest: string | undefined, size: number | undefined): Promise<Chunk | undefined> {
    const digests = this.#digests.get(index) ?? [];
    digest ??= digests[0];
    if (digest === undefined || !digests.includes(digest)) return undefined;
    // Only the last one is shorter.
    const length = size === undefined ? (this.has(index + 1) ? CHUNK_BYTES : undefined) : chunkBytes(index, size);
    const bytes = await this.store.readChunk(this.#key(index, digest), digest, length);
    if (bytes) return { bytes, digest };
    this.#digests.delete(index);
    return undefined;
  }

  async write(index: number, digest: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const isKept = await this.store.keep(this.model, this.#key(index, digest), bytes, this.isOptional);
    if (isKept) this.note(index, digest);
  }

  async clear(): Promise<void> {
    this.#digests.clear();
    await this.store.forget(fileKey(this.model, this.path, this.version));
  }

  #key(index: number, digest: string): string {
    return chunkKey(this.model, this.path, this.version, index, digest);
  }
}

/** Cuts a file that is made here into chunks and keeps them. */
export class ChunkWriter {
  readonly #chunk = new Uint8Array(CHUNK_BYTES);
  #filled = 0;
  readonly #digests: string[] = [];
  readonly #stored: StoredChunks;

  constructor(store: ModelStore, model: string, path: string) {
    this.#stored = store.file(model, path, ANY_VERSION);
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

  /** Bytes so far. */
  get size(): number {
    return this.#digests.length * CHUNK_BYTES + this.#filled;
  }

  /** Keeps what is left. */
  async end(): Promise<StoredFile> {
    const { size } = this;
    if (this.#filled > 0) await this.#flush();
    return { size, version: ANY_VERSION, chunks: this.#digests };
  }

  async #flush(): Promise<void> {
    const bytes = this.#chunk.slice(0, this.#filled);
    this.#filled = 0;
    const digest = await sha256Of(bytes);
    await this.#stored.write(this.#digests.length, digest, bytes);
    this.#digests.push(digest);
  }
}

/** Keeps a file that is in memory. */
export async function keepFile(store: ModelStore, model: string, path: string, bytes: Uint8Array): Promise<StoredFile> {
  const writer = new ChunkWriter(store, model, path);
  await writer.append(bytes);
  return writer.end();
}

/**
 * Marks a model as in use, in all tabs, for as long as this worker lives. Without locks, which a browser has in secure
 * contexts only and a user can block, a model that is in use in another tab may be evicted, and is fetched again.
 */
export function markInUse(model: string): Promise<void> {
  return new Promise((resolve) => {
    const hold = () => {
      resolve();
      return new Promise(() => {});
    };
    const held = globalThis.navigator?.locks?.request(useLock(model), { mode: "shared" }, hold);
    if (held) held.catch(() => resolve());
    else resolve();
  });
}

async function isInUse(model: string): Promise<boolean> {
  const locks = await globalThis.navigator?.locks?.query().catch(() => undefined);
  return (locks?.held ?? []).some(({ name }) => name === useLock(model));
}

function useLock(model: string): string {
  return `embervec uses ${folderOf(model)}`;
}

/** The address of a model's folder. */
export function folderOf(model: string): string {
  return model.replace(/#q8$/, "");
}
