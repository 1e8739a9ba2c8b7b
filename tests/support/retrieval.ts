// What sentence-transformers finds in the demo's ready corpora: tests/fixtures/retrieval.json, made by retrieval.py.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

export interface Retrieval {
  top_k: number;
  corpora: Record<string, ExpectedCorpus>;
}

export interface ExpectedCorpus {
  passages: number;
  /** Of the passages. */
  sha256: string;
  /** The rows of the best passages, best first, and their scores; one score more says how sure the last place is. */
  queries: { query: string; rows: number[]; scores: number[] }[];
}

export function readRetrieval(): Retrieval {
  return JSON.parse(readFileSync(new URL("../fixtures/retrieval.json", import.meta.url), "utf8")) as Retrieval;
}

/** As retrieval.py computes it: each passage after its number of bytes. */
export function sha256OfPassages(passages: readonly string[]): string {
  const hash = createHash("sha256");
  for (const passage of passages) {
    const bytes = Buffer.from(passage);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(bytes.length));
    hash.update(length).update(bytes);
  }
  return hash.digest("hex");
}

/** How many rows two lists have in common. */
export function inCommon(found: readonly number[], expected: readonly number[]): number {
  return found.filter((row) => expected.includes(row)).length;
}

/** How many of the best are the same in 8 bits, on average. */
export const MIN_IN_COMMON = 9;
