// What is known of each passage, in memory: whose it is, and where it lies in the text.

import { type DocumentRows, damaged } from "./parts.js";
import type { Metadata } from "./types.js";

/** A document that is in the index. */
export interface Entry {
  id: string;
  /** Of what was added; `undefined` as long as not all of it has been. */
  hash: string | undefined;
  metadata: Metadata;
  /** Rows of its passages, in their order. */
  rows: number[];
}

/** A list of whole numbers that grows, at 4 bytes each. */
class Numbers {
  #values = new Uint32Array(1024);
  #length = 0;

  push(value: number): void {
    this.set(this.#length, value);
  }

  /** What lies between the end and `index` becomes 0. */
  set(index: number, value: number): void {
    if (index >= this.#values.length) {
      const larger = new Uint32Array(Math.max(2 * this.#values.length, index + 1));
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[index] = value;
    this.#length = Math.max(this.#length, index + 1);
  }

  at(index: number): number {
    return this.#values[index]!;
  }

  get length(): number {
    return this.#length;
  }
}

/**
 * Maps rows in memory to their numbers in the storage. Memory has the order in which this tab has heard of rows, the
 * storage the order in which all tabs have stored them. They differ where another tab has stored something while rows
 * were pending here.
 */
export class StoredRows {
  /** By number. */
  readonly #rows = new Numbers();
  /** By row: its number and 1 more, 0 where it is not stored. */
  readonly #numbers = new Numbers();

  get count(): number {
    return this.#rows.length;
  }

  /** The row gets the next number. */
  add(row: number): void {
    this.#rows.push(row);
    this.#numbers.set(row, this.#rows.length);
  }

  rowOf(number: number): number {
    return this.#rows.at(number);
  }

  numberOf(row: number): number | undefined {
    const number = row < this.#numbers.length ? this.#numbers.at(row) : 0;
    return number === 0 ? undefined : number - 1;
  }
}

/** Rows in the order of adding. One that was removed keeps its number until the index is written anew. */
export class Rows {
  readonly #entries: Entry[] = [];
  readonly #indexOf = new Map<Entry, number>();
  readonly #byId = new Map<string, Entry>();
  readonly #entryOf = new Numbers();
  readonly #start = new Numbers();
  readonly #end = new Numbers();
  readonly #words = new Numbers();
  readonly #passage = new Numbers();
  readonly #removed = new Set<number>();
  #count = 0;
  #allWords = 0;

  /** All rows, those that were removed, too. */
  get count(): number {
    return this.#count;
  }

  /** Passages that are there. */
  get passages(): number {
    return this.#count - this.#removed.size;
  }

  get documents(): number {
    return this.#byId.size;
  }

  get averageWords(): number {
    return this.#allWords / Math.max(1, this.passages);
  }

  get removed(): ReadonlySet<number> {
    return this.#removed;
  }

  entry(id: string): Entry | undefined {
    return this.#byId.get(id);
  }

  entries(): IterableIterator<Entry> {
    return this.#byId.values();
  }

  /** A document without passages; it takes the place of one with the same id, whose rows are to be removed before. */
  addEntry(entry: Entry): void {
    this.#indexOf.set(entry, this.#entries.push(entry) - 1);
    this.#byId.set(entry.id, entry);
  }

  add(
    entry: Entry,
    { start, end, words, passage }: { start: number; end: number; words: number; passage: number },
  ): number {
    const row = this.#count++;
    this.#entryOf.push(this.#indexOf.get(entry)!);
    this.#start.push(start);
    this.#end.push(end);
    this.#words.push(words);
    this.#passage.push(passage);
    this.#allWords += words;
    entry.rows.push(row);
    return row;
  }

  /** Rows that nothing is known of, and that nobody finds. */
  addLost(count: number): void {
    const entry: Entry = { id: "", hash: undefined, metadata: {}, rows: [] };
    this.#indexOf.set(entry, this.#entries.push(entry) - 1);
    for (let i = 0; i < count; i++) this.remove(this.add(entry, { start: 0, end: 0, words: 0, passage: i }));
  }

  /** Takes a document's passages as they were stored, those before them being there. */
  restore({ id, hash, metadata = {}, from, spans }: DocumentRows): void {
    let entry = from === 0 ? undefined : this.#byId.get(id);
    // Another version of the document begins anew. Rows of the one before are in the list of what was removed.
    if (from === 0) {
      entry = { id, hash: undefined, metadata, rows: [] };
      this.addEntry(entry);
    }
    if (entry?.rows.length !== from) throw damaged(`of the document ${JSON.stringify(id)} passages are missing`);
    entry.hash = hash;
    for (const [i, [start, end, words]] of spans.entries()) this.add(entry, { start, end, words, passage: from + i });
  }

  /** Throws where a passage that can be found is none of a document that is there. */
  checkWhole(): void {
    const listed = [...this.#byId.values()].reduce((sum, { rows }) => sum + rows.length, 0);
    if (listed !== this.passages) throw damaged("two documents have the same id");
  }

  /** A row that nothing is known of but that it was removed. */
  remove(row: number): void {
    if (this.#removed.has(row)) return;
    this.#removed.add(row);
    this.#allWords -= this.#words.at(row);
  }

  removeEntry(entry: Entry): void {
    for (const row of entry.rows) this.remove(row);
    if (this.#byId.get(entry.id) === entry) this.#byId.delete(entry.id);
  }

  entryOf(row: number): Entry {
    return this.#entries[this.#entryOf.at(row)]!;
  }

  place(row: number): { start: number; end: number; passage: number } {
    return { start: this.#start.at(row), end: this.#end.at(row), passage: this.#passage.at(row) };
  }

  /** The text of a row, which has to be as long as its place. */
  text(row: number, text: string): string {
    if (text.length === this.#end.at(row) - this.#start.at(row)) return text;
    throw damaged("a text does not belong to its passage");
  }

  words(row: number): number {
    return this.#words.at(row);
  }
}
