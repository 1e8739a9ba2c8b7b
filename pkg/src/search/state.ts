// An index as it is in memory. After a change by another tab, or when it is written anew, another one takes its place, so that a search
// under way sees one and the same from its begin to its end.

import { SearchEngine } from "../../wasm/search/embervec.js";

import { appendRows } from "./append-rows.js";
import { breathe } from "./breathe.js";
import type { Core, RowSource } from "./core.js";
import type { Postings } from "./keywords.js";
import {
  BLOCK_ROWS,
  type Block,
  type IndexRecord,
  type Segment,
  damaged,
  decodeBlock,
  parseRows,
  takenIn,
} from "./parts.js";
import { Recent } from "./recent.js";
import { type Entry, Rows } from "./rows.js";
import type { PartStore } from "./storage.js";
import { checkVectors } from "./verify.js";

/** A passage to append, with its vector. */
export interface Passage {
  start: number;
  end: number;
  text: string;
  words: string[];
  vector: Float32Array;
}

/** A segment that is loaded. */
export interface Loaded extends Segment {
  /** Its first row. */
  first: number;
  /** SHA-256 of each block. */
  blocks: string[];
}

/** What was appended and is not stored yet. */
export interface Pending {
  entry: Entry;
  /** Position in its document. */
  passage: number;
  span: Passage;
}

/**
 * Of vectors in 32 bits that are kept in memory: all of an index of up to 10,900 passages of 384 dimensions; of a larger one those of the
 * candidates of some hundred queries, wherever they lie.
 */
const VECTOR_BYTES = 16 << 20;

/** Of texts: some 8,000 passages of 500 characters. */
const TEXT_BYTES = 8 << 20;

/** Passages that are read at once for later searches, in about 5 ms. */
const WARM_ROWS = 8 * BLOCK_ROWS;

export class State implements RowSource {
  readonly rows = new Rows();
  segments: Loaded[] = [];
  /** The last rows. */
  pending: Pending[] = [];
  #scan: SearchEngine | undefined;
  /** 100 blocks of 16 passages of 384 dimensions: neighbours of what was asked for. */
  readonly #blocks = new Recent<string, Block>(
    4 << 20,
    ({ texts, vectors }) => vectors.byteLength + 2 * texts.reduce((sum, text) => sum + text.length, 0),
  );
  readonly #vectors = new Recent<number, Float32Array>(VECTOR_BYTES, ({ byteLength }) => byteLength);
  readonly #texts = new Recent<number, string>(TEXT_BYTES, ({ length }) => 2 * length);
  /** Whether the rest of a small index is on its way into memory. */
  #isWarm = false;
  readonly #generation: number;

  /** @param dimension 0 as long as there is no vector */
  constructor(
    private readonly store: PartStore,
    { generation, similarity }: IndexRecord,
    private dimension: number,
  ) {
    this.#generation = generation;
    this.similarity = similarity;
  }

  similarity: IndexRecord["similarity"];

  /** Reads all that a record names, but for texts and vectors in 32 bits. */
  static async load(store: PartStore, record: IndexRecord): Promise<State> {
    const state = new State(store, record, record.dimension);
    try {
      for (const segment of record.segments) {
        await state.#loadSegment(segment);
        await breathe();
      }
      await state.#loadRemoved(record);
      state.rows.checkWhole();
    } catch (error) {
      state.free();
      throw error;
    }
    return state;
  }

  get core(): Core {
    return { rows: this.rows, scan: this.#scan, similarity: this.similarity, source: this };
  }

  /** Rows that are stored. */
  get storedRows(): number {
    const last = this.segments.at(-1);
    return last ? last.first + last.rows : 0;
  }

  /** The wasm module's part; there is one from the first vector on. */
  scanOf(dimension: number): SearchEngine {
    this.dimension = dimension;
    this.#scan ??= new SearchEngine(dimension, this.similarity);
    return this.#scan;
  }

  remove(entries: readonly Entry[]): void {
    const rows = entries.flatMap(({ rows }) => rows);
    for (const entry of entries) this.rows.removeEntry(entry);
    if (rows.length > 0) this.#scan?.remove(Uint32Array.from(rows));
  }

  free(): void {
    this.#scan?.free();
    this.#scan = undefined;
  }

  async texts(rows: readonly number[]): Promise<string[]> {
    const texts = await this.#textsOf(rows);
    return texts.map((text, i) => this.rows.text(rows[i]!, text));
  }

  async vectors(rows: readonly number[]): Promise<Float32Array[]> {
    const vectors = await this.#vectorsOf(rows);
    if (!this.#isWarm && 4 * this.dimension * this.storedRows <= VECTOR_BYTES) {
      this.#isWarm = true;
      // What is damaged is told to whoever asks for it.
      this.#warmUp().catch(() => {});
    }
    return vectors;
  }

  /** Reads all of a small index behind the first vectors that were asked for: no later search waits for the storage. */
  async #warmUp(): Promise<void> {
    for (let row = 0; row < this.storedRows && this.#scan !== undefined; row += WARM_ROWS) {
      await breathe();
      const count = Math.min(WARM_ROWS, this.storedRows - row);
      const rows = Array.from({ length: count }, (_, i) => row + i);
      await Promise.all([this.#vectorsOf(rows), this.#textsOf(rows)]);
    }
  }

  #textsOf(rows: readonly number[]): Promise<string[]> {
    const stored = async (row: number, segment: Loaded) => {
      const { block, i } = await this.#blockOf(row, segment);
      return block.texts[i]!;
    };
    return this.#each(
      rows,
      (row, segment) => this.#texts.get(row, () => stored(row, segment)),
      ({ text }) => text,
    );
  }

  #vectorsOf(rows: readonly number[]): Promise<Float32Array[]> {
    const { dimension } = this;
    const stored = async (row: number, segment: Loaded) => {
      const { block, i } = await this.#blockOf(row, segment);
      return block.vectors.slice(i * dimension, (i + 1) * dimension);
    };
    return this.#each(
      rows,
      (row, segment) => this.#vectors.get(row, () => stored(row, segment)),
      ({ vector }) => vector,
    );
  }

  async lookup(word: string, isPrefix: boolean): Promise<Postings> {
    const none = { terms: [], ends: new Uint32Array(), rows: new Uint32Array(), counts: new Uint32Array() };
    return (this.#scan?.lookup(word, isPrefix) as Postings | undefined) ?? none;
  }

  async #each<T>(
    rows: readonly number[],
    stored: (row: number, segment: Loaded) => Promise<T>,
    pending: (passage: Passage) => T,
  ): Promise<T[]> {
    return Promise.all(
      rows.map((row) => {
        const segment = this.#segmentOf(row);
        return segment ? stored(row, segment) : pending(this.pending[row - this.storedRows]!.span);
      }),
    );
  }

  /** The block that has a row, and the row's place in it. */
  async #blockOf(row: number, segment: Loaded): Promise<{ block: Block; i: number }> {
    const at = row - segment.first;
    return { block: await this.#block(segment, Math.floor(at / BLOCK_ROWS)), i: at % BLOCK_ROWS };
  }

  #segmentOf(row: number): Loaded | undefined {
    let [low, high] = [0, this.segments.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { first, rows } = this.segments[middle]!;
      if (row < first) high = middle;
      else if (row >= first + rows) low = middle + 1;
      else return this.segments[middle];
    }
    return undefined;
  }

  #block({ number, first, rows, blocks }: Loaded, index: number): Promise<Block> {
    const key = this.store.key(this.#generation, "block", number, index);
    const count = Math.min(BLOCK_ROWS, rows - index * BLOCK_ROWS);
    const { dimension } = this;
    return this.#blocks.get(key, async () => {
      const block = decodeBlock(await this.store.read(key, blocks[index]!), count, dimension);
      checkVectors(this.core, dimension, first + index * BLOCK_ROWS, block.vectors);
      return block;
    });
  }

  async #loadSegment(segment: Segment): Promise<void> {
    const { number, rows } = segment;
    const read = (kind: "scan" | "rows" | "terms", digest: string) =>
      this.store.read(this.store.key(this.#generation, kind, number), digest);
    const [scan, list, terms] = await Promise.all([
      read("scan", segment.scan),
      read("rows", segment.rowsPart),
      read("terms", segment.terms),
    ]);
    const { documents, blocks } = parseRows(list, rows, Math.ceil(rows / BLOCK_ROWS));
    const first = this.rows.count;
    for (const document of documents) this.rows.restore(document);
    const engine = this.scanOf(this.dimension);
    takenIn(() => {
      appendRows(engine, scan, this.dimension, documents);
      engine.appendTerms(terms);
    });
    this.segments.push({ ...segment, first, blocks });
  }

  async #loadRemoved({ removed }: IndexRecord): Promise<void> {
    if (!removed) return;
    const key = this.store.key(this.#generation, "removed", removed.number);
    const bytes = await this.store.read(key, removed.digest);
    if (bytes.byteLength % 4 !== 0) throw damaged("its list of removed passages is cut short");
    const rows = new Uint32Array(bytes.slice().buffer);
    if (rows.some((row) => row >= this.rows.count)) throw damaged("its list of removed passages names others");
    for (const row of rows) this.rows.remove(row);
    this.#scan?.remove(rows);
    for (const entry of [...this.rows.entries()]) {
      if (entry.rows.every((row) => this.rows.removed.has(row))) this.rows.removeEntry(entry);
    }
  }
}
