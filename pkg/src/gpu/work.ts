// What the CPU has done anyway: by it a GPU is judged, so that a trial computes nothing twice.

import type { EncodeRequestOptions, EncodeResult } from "../worker/protocol.js";

/** Texts with the CPU's vectors. */
export interface Reference {
  texts: string[];
  options: EncodeRequestOptions;
  vectors: Float32Array;
  dimension: number;
}

/** A GPU is compared for so many tokens at least: some twenty sentences. */
const ENOUGH_TOKENS = 512;

/** Beyond so many tokens older ones count half: what a phone did before it grew warm says little. */
const REMEMBERED_TOKENS = 16_384;

/** The CPU's speed, and its last results. */
export class CpuWork {
  #tokens = 0;
  #ms = 0;
  #recent: (Reference & { tokens: number })[] = [];
  #noted = () => {};

  /** Takes down what the CPU has encoded. */
  note(
    texts: string[],
    options: EncodeRequestOptions,
    { vectors, dimension, tokenCounts }: EncodeResult,
    ms: number,
  ): void {
    const tokens = tokenCounts.reduce((sum, count) => sum + count, 0);
    if (this.#tokens > REMEMBERED_TOKENS) {
      this.#tokens /= 2;
      this.#ms /= 2;
    }
    this.#tokens += tokens;
    this.#ms += ms;
    // A vector for every token is much memory, and says no more; the first dimensions alone may point anywhere after a rounding.
    if (options.tokens !== true && options.truncateDim === undefined) {
      // The result's own buffer is moved to the page.
      this.#recent.push({ texts, options, vectors: vectors.slice(), dimension, tokens });
      while (this.#recentTokens() - this.#recent[0]!.tokens >= ENOUGH_TOKENS) this.#recent.shift();
    }
    this.#noted();
  }

  /** Milliseconds that the CPU takes for so many tokens; its time grows with their number. 0 as long as the clock stands still. */
  time(tokens: number): number {
    return this.#tokens === 0 ? 0 : (this.#ms / this.#tokens) * tokens;
  }

  /** Waits until there is enough to compare a GPU with, and gives it. */
  async references(): Promise<Reference[]> {
    while (this.#recentTokens() < ENOUGH_TOKENS) await new Promise<void>((resolve) => (this.#noted = resolve));
    return [...this.#recent];
  }

  #recentTokens(): number {
    return this.#recent.reduce((sum, { tokens }) => sum + tokens, 0);
  }
}
