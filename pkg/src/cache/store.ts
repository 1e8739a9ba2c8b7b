// Models in a cache: verified chunks, and a record for each model that is whole.

import { bytesOf } from "../bytes.js";
import { EmbervecError, messageOf } from "../errors.js";
import { CHUNK_BYTES } from "../limits.js";
import { NO_ROOM, STORAGE } from "../platform/web.js";
import { openCache } from "../platform/web-parts.js";
import { settled } from "../settle.js";
import { type CacheChoice, type Entries, USE } from "./cache.js";
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
  encodeKernels,
  encodeMark,
  encodeRecord,
  encodeTimings,
  fileKey,
  isOfSearch,
  kindOf,
  parseChunkKey,
  parseKernels,
  parseRecord,
  parseRecordKey,
  parseTimings,
  recordKey,
} from "./entries.js";
import { Locks, type Release } from "./locks.js";
import { OwnCache } from "./own.js";
import { sha256Of } from "./sha256.js";

/**
 * Chunks that are read at the same time. 44 of them take 150 ms one by one, 120 two at a time, 110 four at a time; a warm start
 * gains by two and not by more (691, 633 and 643 ms; AMD EPYC, visits taking turns).
 */
const READ_AHEAD = 2;

const NOT_WANTED = "as the option `cache` says";

/** The models of a cache. One that fails is done without from then on; into one that is full nothing more is put. */
export class ModelStore {
  #full: string | undefined;
  /** Why nothing can be changed, as far as somebody has tried. */
  #readOnly: string | undefined;
  #broken: string | undefined;
  #lost: string | undefined;
  /** Whether there is no room for what is optional. */
  #isTight = false;
  /** Bytes of the model that is on its way which have not been put yet. */
  #missing = 0;
  /** Of what is marked as in use. */
  readonly #uses: Promise<Release>[] = [];

  /**
   * @param entries absent where there is only memory
   * @param absent why that is so
   * @param signal ends every wait, with its reason
   */
  constructor(
    private readonly entries: Entries | undefined,
    private readonly locks: Locks,
    private readonly signal?: AbortSignal,
    private readonly absent?: string,
  ) {}

  /** Whatever is wrong with the cache is found out as it is used. */
  static over(choice: Exclude<CacheChoice, "memory">, signal?: AbortSignal): ModelStore {
    const locks = new Locks(typeof choice !== "string");
    return new ModelStore(typeof choice === "string" ? openCache(locks) : new OwnCache(choice, locks), locks, signal);
  }

  /** Opens a cache; does without where the browser's storage is blocked. */
  static async open(choice: CacheChoice, signal?: AbortSignal): Promise<ModelStore> {
    const without = (reason: string) => new ModelStore(undefined, new Locks(), signal, reason);
    if (choice === "memory") return without(NOT_WANTED);
    const store = ModelStore.over(choice, signal);
    // Opening alone tells little: a private window may open a database that takes nothing.
    await store.#keys(RECORDS);
    return store.unusable === undefined ? store : without(store.unusable);
  }

  /** Why models are not kept, as the end of a sentence; `undefined` where they are. */
  get unusable(): string | undefined {
    return this.absent ?? this.#broken ?? this.#full ?? this.#lost;
  }

  /** Whether it cannot even be read. */
  get isBroken(): boolean {
    return this.#broken !== undefined || (this.absent !== undefined && this.absent !== NOT_WANTED);
  }

  get isFull(): boolean {
    return this.#full === NO_ROOM;
  }

  /** Why something could not be changed; for a model that is there it does not matter. */
  get refused(): string | undefined {
    return this.#readOnly;
  }

  /** Gives back what it holds of the browser. */
  close(): void {
    this.entries?.close();
    for (const use of this.#uses.splice(0))
      use.then(
        (release) => release(),
        () => {},
      );
  }

  async find(model: string): Promise<ModelRecord | undefined> {
    return parseRecord(await this.#use((entries) => entries.get(recordKey(model))));
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
      const chunk = this.readChunk(
        model,
        chunkKey(model, path, version, index, digest),
        digest,
        chunkBytes(index, size),
      );
      // Whoever awaits it sees the error, and nobody does after an earlier one.
      chunk.catch(() => {});
      return chunk;
    };
    const reading = chunks.slice(0, READ_AHEAD).map(read);
    const missing = (index: number) => {
      const piece = `piece ${index} of ${folderOf(model)}${path}`;
      if (this.#broken !== undefined)
        return new EmbervecError("storage", `${piece} could not be read, ${this.#broken}`);
      const problem = `is damaged in ${STORAGE}, or missing from it; load the model once while you are online`;
      return new EmbervecError("integrity", `${piece} ${problem}`);
    };
    return (async function* () {
      for (let i = 0; i < chunks.length; i++) {
        const bytes = await reading.shift();
        if (!bytes) throw missing(i);
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
    await this.#putRecord(model, record, true);
    if (this.#lost !== undefined) await this.dropUnfinished(model);
  }

  /** Notes that a model is in use. */
  async touch(model: string, record: ModelRecord): Promise<void> {
    await this.#putRecord(model, { ...record, usedAt: Date.now() }, false, true);
  }

  async #putRecord(model: string, record: ModelRecord, isOnly: boolean, isOptional = false): Promise<void> {
    const bytes = encodeRecord(record);
    const keys = new Set<string>();
    for (const [path, { version, chunks }] of record.files) {
      chunks.forEach((digest, index) => keys.add(chunkKey(model, path, version, index, digest)));
    }
    const parts = { prefix: chunksKey(model), keys };
    const put = (entries: Entries) => entries.putWhole(recordKey(model), bytes, parts, isOnly);
    const isPut = await this.#keep(model, bytes.byteLength, put, isOptional);
    if (isPut === false) this.#lost = "because it was deleted while it was loading";
  }

  /** Makes a model invisible; its chunks stay, for a download that mends it. */
  async hide(model: string): Promise<void> {
    await this.#use((entries) => entries.delete([recordKey(model)]));
  }

  async delete(...models: string[]): Promise<void> {
    // The records first, so that a cache that fails halfway shows no half model.
    const keys = [...models.map(recordKey), ...models.map(chunksKey)];
    await this.#use((entries) => entries.delete(keys));
  }

  /** Deletes everything but search indexes. */
  async clear(): Promise<void> {
    const kinds = new Set((await this.#keys("")).filter((key) => !isOfSearch(key)).map(kindOf));
    await this.#use((entries) => entries.delete([RECORDS, ...kinds]));
  }

  /** Deletes what there is of a model, unless it is whole. */
  async dropUnfinished(model: string): Promise<void> {
    await this.#use((entries) => entries.delete([chunksKey(model)], recordKey(model)));
  }

  /** Whether nobody has asked so before. */
  async isFirst(event: string): Promise<boolean> {
    if (await this.#use((entries) => entries.get(event))) return false;
    return this.#note(event, encodeMark());
  }

  async timings(key: string, since: number): Promise<Timing[] | undefined> {
    return parseTimings(await this.#use((entries) => entries.get(`timings ${key}`)), since);
  }

  async keepTimings(key: string, timings: Timing[]): Promise<void> {
    await this.#note(`timings ${key}`, encodeTimings(timings));
  }

  /** The kernels that were measured under this key. */
  async kernels(key: string): Promise<string | undefined> {
    return parseKernels(await this.#use((entries) => entries.get(`kernels ${key}`)));
  }

  /** In place of those of other keys, which are of the browser's or the package's earlier versions. */
  async keepKernels(key: string, names: string): Promise<void> {
    await this.#use((entries) => entries.delete(["kernels "]));
    await this.#note(`kernels ${key}`, encodeKernels(names));
  }

  /** No model has to make room for it. */
  #note(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
    return this.keep("", key, bytes, true);
  }

  /**
   * Sees to it that there is room for a model before it comes, as far as the cache tells.
   *
   * @param optional so many bytes more would be of use meanwhile
   */
  async reserve(model: string, bytes: number, optional: number): Promise<void> {
    this.#missing = bytes;
    if (this.unusable !== undefined) return;
    const room = (await this.#use((entries) => entries.room())) ?? Infinity;
    if (room >= bytes + optional) return;
    this.#isTight = true;
    const evict = () => this.#evict(bytes - room, model);
    if (room < bytes && !(await this.#makingRoom(evict))) this.#full = NO_ROOM;
  }

  /** One after another: each keeps others from what it may delete. */
  #makingRoom<T>(action: () => Promise<T>): Promise<T> {
    return this.locks.hold("embervec makes room", action, this.signal);
  }

  /**
   * Deletes other models until there is room for so many bytes more, or none at all if that cannot be reached. What was not in use for the
   * longest goes first; what any tab has loaded, or is loading, stays.
   */
  async #evict(bytes: number, model: string): Promise<boolean> {
    const [records, sizes] = [await this.records(), await this.sizes()];
    const lastUse = (model: string) => records.get(model)?.usedAt ?? 0;
    const victims: string[] = [];
    /** By folder: with it nobody can begin to use the folder. */
    const held = new Map<string, Release | undefined>([[folderOf(model), undefined]]);
    try {
      for (const other of [...sizes.keys()].sort((a, b) => lastUse(a) - lastUse(b))) {
        if (bytes <= 0) break;
        const folder = folderOf(other);
        if (!held.has(folder)) held.set(folder, await this.locks.tryTake(useLock(folder), "exclusive", this.signal));
        if (!held.get(folder)) continue;
        victims.push(other);
        bytes -= sizes.get(other) ?? 0;
      }
      if (bytes > 0) return false;
      await this.delete(...victims);
      return true;
    } finally {
      for (const release of held.values()) release?.();
    }
  }

  /**
   * Puts an entry of a model; makes room for it where there is none.
   *
   * @param isOptional it is left out where there is none
   * @returns whether it has been put; once one has not that is not optional, nothing is any more
   */
  async keep(model: string, key: string, bytes: Uint8Array<ArrayBuffer>, isOptional = false): Promise<boolean> {
    const put = async (entries: Entries) => {
      await entries.put(key, bytes);
      return true;
    };
    return (await this.#keep(model, bytes.byteLength, put, isOptional)) ?? false;
  }

  /** @returns what `put` gives; `undefined` where there is no room, or no cache that works */
  async #keep(
    model: string,
    size: number,
    put: (entries: Entries) => Promise<boolean>,
    isOptional = false,
  ): Promise<boolean | undefined> {
    if (this.unusable !== undefined || (isOptional && this.#isTight)) return undefined;
    const attempt = () => this.#use((entries) => put(entries).catch(refuseUnlessFull));
    let result = await attempt();
    if (result === "full") {
      this.#isTight = true;
      if (isOptional) return undefined;
      // What a model in 8 bits is being made of can be fetched again.
      const folder = folderOf(model);
      if (folder !== model) {
        await this.dropUnfinished(folder);
        result = await attempt();
      }
    }
    // A browser may report more room than it gives (Chromium since version 133): this is the first that is known of it.
    if (result === "full") {
      result = await this.#makingRoom(async () => {
        const again = await attempt();
        if (again !== "full" || !(await this.#evict(Math.max(this.#missing, size), model))) return again;
        return attempt();
      });
    }
    if (result === "full") {
      this.#full = NO_ROOM;
      return undefined;
    }
    if (isOptional) return result;
    if (result) this.#missing -= size;
    // Nothing that can be deleted makes room there.
    if (result === undefined) this.#full = this.#readOnly;
    return result;
  }

  /** A chunk, unless it is damaged or not there. `length`: its bytes, where that is known. */
  async readChunk(
    model: string,
    key: string,
    digest: string,
    length?: number,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const value: unknown = await this.#use((entries) => entries.get(key));
    if (value === undefined || value === null) return undefined;
    const bytes = bytesOf(value, CHUNK_BYTES);
    const isWhole = bytes && (length === undefined || bytes.byteLength === length);
    if (isWhole && (await sha256Of(bytes)) === digest) return bytes;
    // A model without it is not whole.
    await this.#use((entries) => entries.delete([recordKey(model), key]));
    return undefined;
  }

  /** Deletes every chunk of a version of a file. A model that has that one is not whole any more. */
  async forget(model: string, path: string, version: string): Promise<void> {
    const record = await this.find(model);
    const isOther = record && record.files.get(path)?.version !== version;
    await this.#use((entries) =>
      entries.delete([...(isOther ? [] : [recordKey(model)]), fileKey(model, path, version)]),
    );
  }

  /**
   * Marks a model as in use, in all tabs, until the store is closed or its worker ends. Without locks a model that is in
   * use in another tab may be evicted, and is fetched again.
   */
  async use(model: string): Promise<void> {
    if (this.absent !== undefined) return;
    const use = this.locks.take(useLock(folderOf(model)), "shared", this.signal);
    this.#uses.push(use);
    await use;
  }

  /** Runs what only one tab at a time may do with a model. */
  async exclusively<T>(model: string, action: () => Promise<T>): Promise<T> {
    // Without storage there is nothing to wait for.
    if (this.absent !== undefined) return action();
    return this.locks.hold(`embervec loads ${folderOf(model)}`, action, this.signal);
  }

  /** Every key that begins with `prefix`. */
  async #keys(prefix: string): Promise<string[]> {
    return (await this.#use((entries) => entries.keys(prefix))) ?? [];
  }

  /** A cache that fails is as one that holds nothing. */
  async #use<T>(action: (entries: Entries) => Promise<T>): Promise<T | undefined> {
    const { entries, signal } = this;
    if (!entries || this.#broken !== undefined) return undefined;
    try {
      return await settled("the cache", () => action(entries), { signal });
    } catch (error) {
      signal?.throwIfAborted();
      const problem = `because ${messageOf(error)}`;
      // It can still be read.
      if (isNamed(error, "NoModificationAllowedError")) this.#readOnly = problem;
      else this.#broken = problem;
      return undefined;
    }
  }
}

function refuseUnlessFull(error: unknown): "full" {
  if (isNamed(error, "QuotaExceededError")) return "full";
  throw error;
}

function isNamed(error: unknown, name: string): boolean {
  return error instanceof Error && error.name === name;
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
    const bytes = await this.store.readChunk(this.model, this.#key(index, digest), digest, length);
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
    await this.store.forget(this.model, this.path, this.version);
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

function useLock(folder: string): string {
  return USE + folder;
}

/** The address of a model's folder. */
export function folderOf(model: string): string {
  return model.replace(/#q8$/, "");
}
