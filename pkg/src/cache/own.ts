// A caller's own cache.

import { PLATFORM_MS, settled } from "../settle.js";
import { type Entries, type ModelCache, type Parts, WRITE_MS, hasAll } from "./cache.js";
import type { Locks } from "./locks.js";

/** Held for a few calls of the cache, of which none lasts for ever. */
const CHANGES = "embervec changes a cache";

/** Five methods without transactions, in place of which a lock keeps others from changing anything meanwhile. */
export class OwnCache implements Entries {
  constructor(
    private readonly cache: ModelCache,
    private readonly locks: Locks,
  ) {}

  get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return answered(() => this.cache.get(key));
  }

  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return answered(() => this.cache.put(key, bytes), WRITE_MS);
  }

  async keys(prefix: string): Promise<string[]> {
    const keys: unknown = await answered(() => this.cache.keys(prefix));
    return Array.isArray(keys) ? keys.filter((key) => typeof key === "string" && key.startsWith(prefix)) : [];
  }

  async room(): Promise<number> {
    // Who fails to say how much there is may still have it, and what is no number says nothing.
    const room: unknown = await answered(() => this.cache.room()).catch(() => undefined);
    return typeof room === "number" && !Number.isNaN(room) ? room : Infinity;
  }

  delete(prefixes: readonly string[], unless?: string): Promise<void> {
    return this.locks.hold(CHANGES, async () => {
      if (unless !== undefined && (await this.keys(unless)).includes(unless)) return;
      for (const prefix of prefixes) await answered(() => this.cache.delete(prefix), WRITE_MS);
    });
  }

  putWhole(key: string, bytes: Uint8Array<ArrayBuffer>, parts: Parts, isOnly: boolean): Promise<boolean> {
    return this.locks.hold(CHANGES, async () => {
      const keys = await this.keys(parts.prefix);
      if (!hasAll(keys, parts)) return false;
      await this.put(key, bytes);
      for (const other of keys) {
        if (isOnly && !parts.keys.has(other)) await answered(() => this.cache.delete(other), WRITE_MS);
      }
      return true;
    });
  }

  close(): void {}
}

function answered<T>(start: () => Promise<T>, ms = PLATFORM_MS): Promise<T> {
  return settled("the cache", start, { ms });
}
