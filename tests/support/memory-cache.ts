// A cache of a caller's own, in memory.

import type { ModelCache } from "../../pkg/src/cache/cache.ts";

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
