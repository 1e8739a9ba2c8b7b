/** The passages that can be searched: the demo's and the user's, each with its vector once it has been encoded. */

import type { Passage } from "./passages";

export type Source = "builtin" | "own";
export type Scope = Source | "all";

export interface Entry extends Passage {
  readonly source: Source;
  embedding?: Float32Array;
  /** The text was longer than the model reads, so its vector speaks for the beginning only. */
  truncated?: boolean;
}

export class Corpus {
  #entries: Entry[] = [];

  add(passages: readonly Passage[], source: Source): void {
    for (const { topic, text } of passages) this.#entries.push({ topic, text, source });
  }

  remove(source: Source): void {
    this.#entries = this.#entries.filter((entry) => entry.source !== source);
  }

  /** Forgets every vector: another model, or another precision of it, would not be comparable. */
  forgetEmbeddings(): void {
    this.#entries = this.#entries.map(({ topic, text, source }) => ({ topic, text, source }));
  }

  entries(scope: Scope): readonly Entry[] {
    return scope === "all" ? this.#entries : this.#entries.filter((entry) => entry.source === scope);
  }

  count(scope: Scope): number {
    return this.entries(scope).length;
  }

  /** What still has no vector, the user's own text first. */
  pending(): Entry[] {
    const waiting = this.#entries.filter((entry) => entry.embedding === undefined);
    return [...waiting.filter((entry) => entry.source === "own"), ...waiting.filter((entry) => entry.source !== "own")];
  }
}

export interface Ranked {
  readonly entry: Entry;
  readonly score: number;
}

export function encoded(entries: readonly Entry[]): { entries: Entry[]; embeddings: Float32Array[] } {
  const ready: Entry[] = [];
  const embeddings: Float32Array[] = [];
  for (const entry of entries) {
    if (entry.embedding === undefined) continue;
    ready.push(entry);
    embeddings.push(entry.embedding);
  }
  return { entries: ready, embeddings };
}
