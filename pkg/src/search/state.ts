// An index as it is in memory. What another tab has added is appended to it, and a row never becomes another one. When
// the index is written anew, another state takes its place, so a search under way sees one state from its begin to its
// end.

import { SearchEngine } from "../../wasm/search/embervec.js";

import { appendRows, piece } from "./append-rows.js";
import { breathe } from "./breathe.js";
import type { Core, RowSource } from "./core.js";
import type { Postings } from "./keywords.js";
import {
  BLOCK_ROWS,
  type Block,
  type DocumentRows,
  type IndexRecord,
  type Segment,
  damaged,
  decodeBlock,
  parseRows,
  takenIn,
} from "./parts.js";
import { Recent } from "./recent.js";
import { type Entry, Rows, StoredRows } from "./rows.js";
import type { PartKind, PartStore } from "./storage.js";
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
  /** The number of its first row. */
  first: number;
  /** SHA-256 of each block. */
  blocks: string[];
  /** Handles of its words in the wasm module; those of what this tab has added itself are not known. */
  words: number[];
}

/** A segment of a record that is to be loaded. */
interface Found {
  segment: Loaded;
  /** How many of its first rows are known. */
  behind: number;
  /** The documents of its other rows. */
  documents: DocumentRows[];
  scan: Uint8Array;
  terms: Uint8Array<ArrayBuffer>;
}

/** Of a terms part (crate/search/src/terms.rs): behind four letters and a version, the number of its first row. */
const TERMS_ROW_AT = 8;

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
  readonly #stored = new StoredRows();
  segments: Loaded[] = [];
  /** By row, in the order of adding. */
  readonly pending = new Map<number, Pending>();
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
        state.#take(await state.#find(segment, state.storedRows, 0));
        await breathe();
      }
      state.#removeStored(await state.#readRemoved(record, state.storedRows));
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

  /** How many rows are stored. */
  get storedRows(): number {
    return this.#stored.count;
  }

  /** Rows by the numbers that they are stored by. */
  rowsOf(from: number, to: number): number[] {
    return Array.from({ length: to - from }, (_, i) => this.#stored.rowOf(from + i));
  }

  /** @returns `undefined` for a row that is not stored */
  numberOf(row: number): number | undefined {
    return this.#stored.numberOf(row);
  }

  /** What was pending is stored now, in these segments. */
  keep(rows: readonly number[], segments: Loaded[]): void {
    for (const row of rows) {
      this.#stored.add(row);
      this.pending.delete(row);
    }
    this.segments = segments;
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
      const rows = this.rowsOf(row, row + count);
      await Promise.all([this.#vectorsOf(rows), this.#textsOf(rows)]);
    }
  }

  #textsOf(rows: readonly number[]): Promise<string[]> {
    const stored = async (number: number) => {
      const { block, i } = await this.#blockOf(number);
      return block.texts[i]!;
    };
    return this.#each(
      rows,
      (row, number) => this.#texts.get(row, () => stored(number)),
      ({ text }) => text,
    );
  }

  #vectorsOf(rows: readonly number[]): Promise<Float32Array[]> {
    const { dimension } = this;
    const stored = async (number: number) => {
      const { block, i } = await this.#blockOf(number);
      return block.vectors.slice(i * dimension, (i + 1) * dimension);
    };
    return this.#each(
      rows,
      (row, number) => this.#vectors.get(row, () => stored(number)),
      ({ vector }) => vector,
    );
  }

  async lookup(word: string, isPrefix: boolean): Promise<Postings> {
    const none = { terms: [], ends: new Uint32Array(), rows: new Uint32Array(), counts: new Uint32Array() };
    return (this.#scan?.lookup(word, isPrefix) as Postings | undefined) ?? none;
  }

  async #each<T>(
    rows: readonly number[],
    stored: (row: number, number: number) => Promise<T>,
    pending: (passage: Passage) => T,
  ): Promise<T[]> {
    return Promise.all(
      rows.map((row) => {
        const number = this.numberOf(row);
        return number === undefined ? pending(this.pending.get(row)!.span) : stored(row, number);
      }),
    );
  }

  /** The block that has a row of this number, and the row's place in it. */
  async #blockOf(number: number): Promise<{ block: Block; i: number }> {
    const segment = this.#segmentOf(number);
    const at = number - segment.first;
    return { block: await this.#block(segment, Math.floor(at / BLOCK_ROWS)), i: at % BLOCK_ROWS };
  }

  #segmentOf(number: number): Loaded {
    let [low, high] = [0, this.segments.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (number < this.segments[middle]!.first) high = middle - 1;
      else low = middle;
    }
    return this.segments[low]!;
  }

  #block({ number, first, rows, blocks }: Loaded, index: number): Promise<Block> {
    const key = this.store.key(this.#generation, "block", number, index);
    const from = index * BLOCK_ROWS;
    const count = Math.min(BLOCK_ROWS, rows - from);
    const { dimension } = this;
    return this.#blocks.get(key, async () => {
      const block = decodeBlock(await this.store.read(key, blocks[index]!), count, dimension);
      checkVectors(this.core, dimension, this.rowsOf(first + from, first + from + count), block.vectors);
      return block;
    });
  }

  // --- from the store ----------------------------------------------------------------------------------------------

  /**
   * Takes what a newer record adds to what is loaded, and reads nothing else. Where small segments have become one,
   * their rows keep their numbers.
   *
   * @param before the record of what is loaded
   * @param isChanged whether a document has a change here that is not stored
   * @returns false if everything must be loaded: the index was written anew, or another tab has changed a document that
   *   has a change here
   */
  async takeNew(record: IndexRecord, before: IndexRecord, isChanged: (id: string) => boolean): Promise<boolean> {
    const isOther = (["id", "generation", "dimension", "similarity"] as const).some(
      (key) => record[key] !== before[key],
    );
    const known = this.storedRows;
    const rows = record.segments.reduce((sum, { rows }) => sum + rows, 0);
    if (isOther || rows < known) return false;
    const different = this.segments.findIndex((segment, i) => !isSame(segment, record.segments[i]));
    const kept = different < 0 ? this.segments.length : different;
    const added = record.segments.slice(kept);
    let first = this.segments.slice(0, kept).reduce((sum, { rows }) => sum + rows, 0);
    // Rows of the first new segment that are known: it has taken the place of smaller ones.
    let behind = known - first;
    if (behind > 0 && behind >= (added[0]?.rows ?? 0)) return false;
    const isRemovedKnown = record.removed?.digest === before.removed?.digest;
    const removed = isRemovedKnown ? new Uint32Array() : await this.#readRemoved(record, rows);
    const isRemoved = new Set(removed);
    for (const segment of added) {
      const found = await this.#find(segment, first, behind);
      const { documents } = found;
      if (documents.some(({ id }) => isChanged(id)) || !this.#fits(found)) return false;
      this.#checkOrder(documents);
      const ids = new Set(documents.flatMap(({ id, from }) => (from === 0 ? id : [])));
      const replaced = [...ids].flatMap((id) => this.rows.entry(id) ?? []);
      this.#take(found);
      // An older version goes together with the arrival of the newer one. Documents that were only removed go at the
      // end: if one was added in several parts and then removed, its later parts must still find the first one.
      this.remove(replaced.filter(({ rows }) => rows.every((row) => isRemoved.has(this.numberOf(row) ?? -1))));
      first += segment.rows;
      behind = 0;
      await breathe();
    }
    if (this.#alive(removed).some((row) => isChanged(this.rows.entryOf(row).id))) return false;
    this.#removeStored(removed);
    this.rows.checkWhole();
    return true;
  }

  async #find(segment: Segment, first: number, behind: number): Promise<Found> {
    const read = (kind: PartKind, digest: string) =>
      this.store.read(this.store.key(this.#generation, kind, segment.number), digest);
    const [list, scan, terms] = await Promise.all([
      read("rows", segment.rowsPart),
      read("scan", segment.scan),
      read("terms", segment.terms),
    ]);
    const { documents, blocks } = parseRows(list, segment.rows, Math.ceil(segment.rows / BLOCK_ROWS));
    const loaded = { ...segment, first, blocks, words: [] };
    return { segment: loaded, behind, documents: withoutFirst(documents, behind), scan, terms };
  }

  /** Its words are about all of its rows, so those that are known must be the last ones here. */
  #fits({ segment: { first }, behind }: Found): boolean {
    const row = this.rows.count - behind;
    return this.rowsOf(first, first + behind).every((known, i) => known === row + i);
  }

  /** Throws where passages follow none, or others. */
  #checkOrder(documents: readonly DocumentRows[]): void {
    const lengths = new Map<string, number>();
    for (const { id, from, spans } of documents) {
      const there = lengths.get(id) ?? this.rows.entry(id)?.rows.length;
      if (from > 0 && from !== there) throw damaged(`of the document ${JSON.stringify(id)} passages are missing`);
      lengths.set(id, from + spans.length);
    }
  }

  /** Appends a segment's rows, but for those that are known: either all of them, or none. */
  #take({ segment, behind, documents, scan, terms }: Found): void {
    const engine = this.scanOf(this.dimension);
    const begin = engine.rows;
    const { rows, first } = segment;
    try {
      takenIn(() => {
        const part = behind === 0 ? scan : piece(scan, this.dimension, { from: behind, to: rows, rows });
        appendRows(engine, part, this.dimension, documents);
        segment.words.push(engine.appendTerms(moved(terms, begin - behind - first)));
      });
    } catch (error) {
      const lost = engine.rows - begin;
      this.rows.addLost(lost);
      engine.remove(Uint32Array.from({ length: lost }, (_, i) => begin + i));
      throw error;
    }
    for (const document of documents) this.rows.restore(document);
    for (let row = begin; row < engine.rows; row++) this.#stored.add(row);
    const kept = this.segments.filter((other) => other.first < first);
    for (const handle of this.segments.slice(kept.length).flatMap(({ words }) => words)) engine.removeTerms(handle);
    this.segments = [...kept, segment];
  }

  /** @param rows how many there are */
  async #readRemoved({ removed }: IndexRecord, rows: number): Promise<Uint32Array> {
    if (!removed) return new Uint32Array();
    const key = this.store.key(this.#generation, "removed", removed.number);
    const bytes = await this.store.read(key, removed.digest);
    if (bytes.byteLength % 4 !== 0) throw damaged("its list of removed passages is cut short");
    const numbers = new Uint32Array(bytes.slice().buffer);
    if (numbers.some((number) => number >= rows)) throw damaged("its list of removed passages names others");
    return numbers;
  }

  /** The rows of these numbers that are not removed. */
  #alive(numbers: Uint32Array): number[] {
    return Array.from(numbers, (number) => this.#stored.rowOf(number)).filter((row) => !this.rows.removed.has(row));
  }

  #removeStored(numbers: Uint32Array): void {
    const rows = this.#alive(numbers);
    for (const row of rows) this.rows.remove(row);
    this.#scan?.remove(Uint32Array.from(rows));
    for (const entry of new Set(rows.map((row) => this.rows.entryOf(row)))) {
      if (entry.rows.every((row) => this.rows.removed.has(row))) this.rows.removeEntry(entry);
    }
  }
}

function isSame(segment: Segment, other: Segment | undefined): boolean {
  return (["number", "rows", "scan", "rowsPart", "terms"] as const).every((key) => segment[key] === other?.[key]);
}

/** The passages behind the first ones. */
function withoutFirst(documents: readonly DocumentRows[], count: number): DocumentRows[] {
  let left = count;
  return documents.flatMap((document) => {
    const skipped = Math.min(left, document.spans.length);
    left -= skipped;
    const spans = document.spans.slice(skipped);
    return spans.length === 0 ? [] : { ...document, from: document.from + skipped, spans };
  });
}

/** A terms part about rows that are so much farther than it says. */
function moved(terms: Uint8Array<ArrayBuffer>, distance: number): Uint8Array<ArrayBuffer> {
  if (distance === 0 || terms.byteLength < TERMS_ROW_AT + 4) return terms;
  const copy = terms.slice();
  const view = new DataView(copy.buffer);
  view.setUint32(TERMS_ROW_AT, view.getUint32(TERMS_ROW_AT, true) + distance, true);
  return copy;
}
