/** Why a passage is a hit: how near each of its sentences is to the query. */

import { cosSim, type Embedder } from "embervec";
import { type Range, sentences } from "./marks";

export interface Sentence extends Range {
  readonly score: number;
}

/** Vectors of sentences that were shown; while somebody types, the same passages come again and again. */
const KEPT = 2000;

export interface Reasons {
  readonly query: Float32Array;
  /** For each text its sentences, in order. */
  readonly sentences: Sentence[][];
}

export class Sentences {
  readonly #vectors = new Map<string, Float32Array>();
  #embedder: Embedder | undefined;

  use(embedder: Embedder | undefined): void {
    if (embedder !== this.#embedder) this.#vectors.clear();
    this.#embedder = embedder;
  }

  /** `undefined` without a model. */
  async rank(query: string, texts: readonly string[], signal: AbortSignal): Promise<Reasons | undefined> {
    const embedder = this.#embedder;
    if (embedder === undefined) return undefined;
    if (this.#vectors.size > KEPT) this.#vectors.clear();
    const ranges = texts.map(sentences);
    const missing = new Set<string>();
    texts.forEach((text, index) => {
      for (const { start, end } of ranges[index]!) {
        const sentence = text.slice(start, end);
        if (!this.#vectors.has(sentence)) missing.add(sentence);
      }
    });
    const [vector] = await Promise.all([
      embedder.encodeQuery(query, { signal }),
      this.#encode(embedder, [...missing], signal),
    ]);
    const scored = (text: string, { start, end }: Range): Sentence[] => {
      const own = this.#vectors.get(text.slice(start, end));
      return own === undefined ? [] : [{ start, end, score: cosSim(vector, own) }];
    };
    const sentencesOf = texts.map((text, index) => ranges[index]!.flatMap((range) => scored(text, range)));
    return { query: vector, sentences: sentencesOf };
  }

  async #encode(embedder: Embedder, texts: string[], signal: AbortSignal): Promise<void> {
    if (texts.length === 0) return;
    const vectors = await embedder.encodeDocument(texts, { signal });
    texts.forEach((text, index) => this.#vectors.set(text, vectors[index]!));
  }
}

export function nearest(sentences: readonly Sentence[]): Sentence | undefined {
  return sentences.reduce<Sentence | undefined>(
    (best, next) => (best && best.score >= next.score ? best : next),
    undefined,
  );
}
