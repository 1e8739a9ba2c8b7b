// Blocks that were read a moment ago: as one types, the same ones come again.

import type { Block } from "./parts.js";

/** 500 blocks of 16 passages of 384 dimensions. */
const MAX_BYTES = 16 << 20;

export class BlockCache {
  readonly #blocks = new Map<string, Promise<Block>>();
  readonly #bytes = new Map<string, number>();
  #sum = 0;

  get(key: string, read: () => Promise<Block>): Promise<Block> {
    const known = this.#blocks.get(key);
    if (known) {
      // The one that was used last is the last to go.
      this.#blocks.delete(key);
      this.#blocks.set(key, known);
      return known;
    }
    const block = read();
    this.#blocks.set(key, block);
    block.then(
      ({ texts, vectors }) =>
        this.#note(key, vectors.byteLength + 2 * texts.reduce((sum, text) => sum + text.length, 0)),
      () => this.#blocks.delete(key),
    );
    return block;
  }

  clear(): void {
    this.#blocks.clear();
    this.#bytes.clear();
    this.#sum = 0;
  }

  #note(key: string, bytes: number): void {
    if (!this.#blocks.has(key)) return;
    this.#bytes.set(key, bytes);
    this.#sum += bytes;
    for (const oldest of this.#blocks.keys()) {
      if (this.#sum <= MAX_BYTES || oldest === key) return;
      this.#blocks.delete(oldest);
      this.#sum -= this.#bytes.get(oldest) ?? 0;
      this.#bytes.delete(oldest);
    }
  }
}
