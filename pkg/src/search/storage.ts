// An index in a cache: bytes by key, of which the record is written last.

import { bytesOf } from "../bytes.js";
import type { Entries } from "../cache/cache.js";
import type { Locks } from "../cache/locks.js";
import { sha256Of } from "../cache/sha256.js";
import { EmbervecError } from "../errors.js";
import { MAX_PART_BYTES } from "../limits.js";
import { damaged } from "./parts.js";

/** What the keys of all records begin with. No model's key begins so. */
export const RECORDS = "index ";

/** Parts that are written at the same time. */
const WRITES = 8;

export const recordKey = (name: string): string => `${RECORDS}${encodeURIComponent(name)} `;

export function nameOfRecord(key: string): string | undefined {
  const [, encoded] = /^index (\S+) $/.exec(key) ?? [];
  try {
    return encoded && decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}

/** What the keys of all parts of an index begin with. */
export const partsKey = (name: string): string => `part ${encodeURIComponent(name)} `;

export type PartKind = "scan" | "rows" | "terms" | "removed" | "block";

/** The parts of one index. */
export class PartStore {
  constructor(
    private readonly entries: Entries,
    private readonly locks: Locks,
    readonly name: string,
  ) {}

  /** Runs what nobody else may run at the same time, in any tab. */
  change<T>(action: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.locks.hold(`embervec changes index ${this.name}`, action, signal);
  }

  async record(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return bytesOf(await this.entries.get(recordKey(this.name)), MAX_PART_BYTES);
  }

  /** Ends with a blank, so that no other key begins with it. */
  key(generation: number, kind: PartKind, number: number, block = 0): string {
    return `${partsKey(this.name)}${generation} ${kind} ${number} ${block} `;
  }

  /** @throws {EmbervecError} where it is missing or has another SHA-256 */
  async read(key: string, digest: string): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = bytesOf(await this.entries.get(key), MAX_PART_BYTES);
    if (!bytes) throw damaged("a part is missing from the storage");
    if ((await sha256Of(bytes)) !== digest) throw damaged("a part does not have its SHA-256");
    return bytes;
  }

  /** @returns their SHA-256 */
  async write(parts: readonly (readonly [key: string, bytes: Uint8Array<ArrayBuffer>])[]): Promise<string[]> {
    const bytes = parts.reduce((sum, [, { byteLength }]) => sum + byteLength, 0);
    // Some browsers find out late, or not at all, that there is no room.
    if (bytes > (await this.entries.room()))
      throw new EmbervecError("quota", `there is no room for ${(bytes / 1e6).toFixed(1)} MB more`);
    const digests: string[] = [];
    for (let at = 0; at < parts.length; at += WRITES) {
      const group = parts.slice(at, at + WRITES);
      digests.push(...(await Promise.all(group.map(([, bytes]) => sha256Of(bytes)))));
      await Promise.all(group.map(([key, bytes]) => this.entries.put(key, bytes)));
    }
    return digests;
  }

  /**
   * Makes what was written visible, if all of it is still there.
   *
   * @param keys of all parts that the record names
   * @param isOnly whether all other parts are deleted
   */
  async commit(record: Uint8Array<ArrayBuffer>, keys: ReadonlySet<string>, isOnly: boolean): Promise<boolean> {
    return this.entries.putWhole(recordKey(this.name), record, { prefix: partsKey(this.name), keys }, isOnly);
  }

  async drop(keys: readonly string[]): Promise<void> {
    await this.entries.delete(keys);
  }

  keys(): Promise<string[]> {
    return this.entries.keys(partsKey(this.name));
  }

  async delete(): Promise<void> {
    await this.entries.delete([recordKey(this.name), partsKey(this.name)]);
  }

  close(): void {
    this.entries.close();
  }
}

/** In memory, for what is not to be kept. */
export class MemoryEntries implements Entries {
  readonly #entries = new Map<string, Uint8Array<ArrayBuffer>>();

  async get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#entries.get(key);
  }

  async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#entries.set(key, bytes);
  }

  async keys(prefix: string): Promise<string[]> {
    return [...this.#entries.keys()].filter((key) => key.startsWith(prefix));
  }

  async delete(prefixes: readonly string[]): Promise<void> {
    for (const key of [...this.#entries.keys()]) {
      if (prefixes.some((prefix) => key.startsWith(prefix))) this.#entries.delete(key);
    }
  }

  async putWhole(
    key: string,
    bytes: Uint8Array<ArrayBuffer>,
    { prefix, keys }: { prefix: string; keys: ReadonlySet<string> },
    isOnly: boolean,
  ): Promise<boolean> {
    const there = await this.keys(prefix);
    const known = new Set(there);
    if (![...keys].every((part) => known.has(part))) return false;
    if (isOnly) for (const part of there) if (!keys.has(part)) this.#entries.delete(part);
    this.#entries.set(key, bytes);
    return true;
  }

  async room(): Promise<number> {
    return Infinity;
  }

  close(): void {}
}
