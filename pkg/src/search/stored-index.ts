// An index that can be changed, in a cache or in memory.

import { SearchEngine } from "../../wasm/search/embervec.js";

import { joined } from "../bytes.js";
import { sha256Of } from "../cache/sha256.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import {
  BLOCK_ROWS,
  type DocumentRows,
  type IndexRecord,
  SEGMENT_ROWS,
  type Segment,
  type SegmentRows,
  encodeBlock,
  encodeJson,
  encodeRecord,
  parseRecord,
} from "./parts.js";
import type { Entry, Rows } from "./rows.js";
import { type Loaded, type Passage, type Pending, State } from "./state.js";
import type { PartKind, PartStore } from "./storage.js";
import type { Metadata } from "./types.js";
import { wordsOfLong } from "./words.js";

/** So many segments at the end that are not full become one: each costs some reads when the index is opened. */
const MERGE_SEGMENTS = 16;

/** Passages that are appended again at once. */
const AGAIN_PASSAGES = 8;

const CLEARED = "because its storage was cleared while it was open";

/** What is known of a document before it is split. */
export type DocumentHead = Pick<Entry, "id" | "metadata">;

export class StoredIndex {
  #state: State;
  /** Ids of documents that have been removed or replaced since the last commit. */
  #removed = new Set<string>();
  /** Changes run one after the other. */
  #changes: Promise<unknown> = Promise.resolve();
  /** Why nothing is stored any more. */
  #lost: string | undefined;
  /** How often what was pending has been lost, and by which error the last time. */
  #losses = 0;
  #loss: unknown;
  /** Another tab has changed it. */
  #isStale = false;
  #version = 0;
  #refreshing: Promise<boolean> | undefined;

  private constructor(
    readonly store: PartStore,
    private current: IndexRecord,
    state: State,
    private readonly onCommit: () => void,
  ) {
    this.#state = state;
  }

  /** Opens what is stored under the store's name; makes `fresh` where there is nothing. */
  static async open(store: PartStore, fresh: IndexRecord, onCommit: () => void): Promise<StoredIndex> {
    return store.change(async () => {
      const bytes = await store.record();
      const record = bytes ? await parseRecord(bytes, store.name) : fresh;
      const index = new StoredIndex(store, record, await State.load(store, record), onCommit);
      if (!bytes) await index.#writeRecord(record);
      await index.#dropOrphans();
      return index;
    });
  }

  get record(): IndexRecord {
    return this.current;
  }

  get state(): State {
    return this.#state;
  }

  get rows(): Rows {
    return this.#state.rows;
  }

  get pending(): number {
    return this.#state.pending.size;
  }

  get lost(): string | undefined {
    return this.#lost;
  }

  /** Changes when parts may have moved, or rows of another tab have come: so a read that failed may work now. */
  get version(): number {
    return this.#version;
  }

  get storedBytes(): number {
    return this.#state.segments.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** For {@link throwIfLost}. */
  get losses(): number {
    return this.#losses;
  }

  /**
   * Throws where something that was pending at some time, or has come since then, may have been lost.
   *
   * @param losses of that time
   */
  throwIfLost(losses: number): void {
    if (this.#losses > losses) throw this.#loss;
  }

  /** Another tab says so, or something is not where it was. */
  markStale(): void {
    this.#isStale = true;
  }

  /** Takes up what other tabs have stored. */
  async refresh(): Promise<boolean> {
    if (!this.#isStale) return false;
    // One that has not begun is for all who ask.
    this.#refreshing ??= this.#exclusive(async () => {
      this.#refreshing = undefined;
      this.#isStale = false;
      return this.#takeUp();
    });
    return this.#refreshing;
  }

  // --- in memory ---------------------------------------------------------------------------------------------------

  /**
   * Appends passages of a document, which can be found from now on, and are stored by the next {@link commit}. With the first of them
   * a document of the same id goes.
   *
   * @param from position of the first of them in the document
   * @param hash of the document, with its last passages
   * @returns whether the document is still there to be appended to
   */
  append(document: DocumentHead, from: number, passages: readonly Passage[], hash: string | undefined): boolean {
    const { id, metadata } = document;
    const before = this.rows.entry(id);
    if (from > 0 && before?.rows.length !== from) return false;
    // The document before stays until its successor has been taken: a vector or metadata may be refused.
    this.#take(id, metadata, passages);
    let entry = before;
    if (!entry || from === 0) {
      if (before) this.removeEntries([before]);
      entry = { id, hash: undefined, metadata, rows: [] };
      this.rows.addEntry(entry);
    }
    entry.hash = hash;
    for (const span of passages) {
      const passage = entry.rows.length;
      const row = this.rows.add(entry, { start: span.start, end: span.end, words: countOf(span.words), passage });
      this.#state.pending.set(row, { entry, passage, span });
    }
    return true;
  }

  /** Gives passages to the wasm module: all of them, or none. */
  #take(id: string, metadata: Metadata, passages: readonly Passage[]): void {
    const { dimension } = this.current;
    const vectors = new Float32Array(passages.length * dimension);
    passages.forEach(({ vector }, i) => vectors.set(vector, i * dimension));
    try {
      takePassages(this.#state.scanOf(dimension), vectors, metadata, passages);
    } catch (error) {
      throw refused(id, error);
    }
  }

  /**
   * Takes the number of dimensions from the first vector, which stays for good.
   *
   * @throws {EmbervecError} `invalid_input` if that vector's document cannot be taken: then there is none yet
   */
  async setDimension({ id, metadata }: DocumentHead, passage: Passage): Promise<void> {
    const { vector } = passage;
    try {
      const scan = new SearchEngine(vector.length, this.current.similarity);
      try {
        takePassages(scan, vector, metadata, [passage]);
      } finally {
        scan.free();
      }
    } catch (error) {
      throw refused(id, error);
    }
    // Another tab may be first.
    await this.update(({ dimension }) => (dimension === 0 ? { dimension: vector.length } : undefined));
  }

  removeEntries(entries: readonly Entry[]): void {
    this.#state.remove(entries);
    for (const { id } of entries) this.#removed.add(id);
  }

  // --- in the store ------------------------------------------------------------------------------------------------

  /**
   * Stores what is pending.
   *
   * @throws {EmbervecError} `quota`: then the index is as it was stored last; `storage`: then nothing more is stored
   */
  async commit(): Promise<void> {
    const losses = this.#losses;
    await this.#exclusive(() => {
      // What was to be stored may have been lost by the commit before.
      this.throwIfLost(losses);
      return this.#commit();
    });
  }

  /**
   * Changes the record itself.
   *
   * @param changeOf what is to change of the record as it is now, which another tab may have changed; `undefined` for nothing
   */
  async update(changeOf: (record: IndexRecord) => Partial<IndexRecord> | undefined): Promise<void> {
    await this.#exclusive(async () => {
      await this.#takeUp();
      const change = changeOf(this.current);
      if (!change) return;
      await this.#writeRecord({ ...this.current, ...change });
      this.#state.similarity = this.current.similarity;
    });
  }

  /** Gives all that is stored to somebody; nobody changes it meanwhile. */
  async exported<T>(action: (store: PartStore, record: IndexRecord) => Promise<T>): Promise<T> {
    await this.commit();
    return this.#exclusive(async () => {
      await this.#takeUp();
      return action(this.store, this.current);
    });
  }

  /** One change after the other, in this tab and in others. */
  #exclusive<T>(action: () => Promise<T>): Promise<T> {
    const run = this.#changes.then(() => this.store.change(action));
    this.#changes = run.catch(() => {});
    return run;
  }

  async #commit(): Promise<void> {
    if (this.pending === 0 && this.#removed.size === 0) return;
    await this.#takeUp();
    const state = this.#state;
    const before = this.current;
    // More may come meanwhile; it is for the next time.
    const rows = [...state.pending.keys()];
    const pending = [...state.pending.values()];
    const removing = this.#removed;
    this.#removed = new Set();
    const written: string[] = [];
    try {
      const segments: Loaded[] = [];
      let number = this.#nextNumber();
      for (let at = 0; at < pending.length; at += SEGMENT_ROWS) {
        const some = pending.slice(at, at + SEGMENT_ROWS);
        segments.push(await this.#writeSegment(number++, state.storedRows + at, some, written));
      }
      const removed = await this.#writeRemoved(number, rows, written);
      const all = [...state.segments, ...segments];
      await this.#writeRecord({ ...before, segments: all.map(plain), removed }, all);
      state.keep(rows, all);
      if (before.removed) await this.store.drop([this.#removedKey(before)]).catch(() => {});
    } catch (error) {
      // What is not in the record does not exist; it only takes up room.
      await this.store.drop(written).catch(() => {});
      this.#removed = new Set([...removing, ...this.#removed]);
      throw isFull(error) ? await this.#backToStored(error) : this.#loses(error);
    }
    await this.#mergeTail();
  }

  async #backToStored(cause: unknown): Promise<unknown> {
    this.#removed.clear();
    this.#replaceState(await State.load(this.store, this.current));
    this.#losses += 1;
    this.#loss = new EmbervecError(
      "quota",
      `there is no room for more in the index "${this.store.name}": what was added or removed since it was last stored has been undone. Free some space, and try again`,
      { cause },
    );
    return this.#loss;
  }

  #loses(error: unknown): unknown {
    this.#lost ??= `because ${messageOf(error)}`;
    if (codeOf(error)) return error;
    return new EmbervecError("storage", `the index "${this.store.name}" cannot be stored: ${messageOf(error)}`, {
      cause: error,
    });
  }

  #replaceState(state: State): void {
    this.#version += 1;
    // Not freed at once: a search may be under way. Whoever collects the object frees its memory.
    this.#state = state;
  }

  #nextNumber(): number {
    const { removed, segments } = this.current;
    return 1 + Math.max(0, removed?.number ?? 0, ...segments.map(({ number }) => number));
  }

  #removedKey({ generation, removed }: IndexRecord): string {
    return this.store.key(generation, "removed", removed!.number);
  }

  /** @param next rows that are stored now */
  async #writeRemoved(number: number, next: readonly number[], written: string[]): Promise<IndexRecord["removed"]> {
    const { storedRows } = this.#state;
    const numbers = new Map(next.map((row, i) => [row, storedRows + i]));
    const numberOf = (row: number) => this.#state.numberOf(row) ?? numbers.get(row) ?? [];
    const rows = Uint32Array.from([...this.rows.removed].flatMap(numberOf)).sort();
    if (rows.length === 0) return undefined;
    const key = this.store.key(this.current.generation, "removed", number);
    written.push(key);
    const [digest] = await this.store.write([[key, new Uint8Array(rows.buffer)]]);
    return { number, digest: digest! };
  }

  async #writeSegment(
    number: number,
    first: number,
    rows: readonly Pending[],
    written: string[],
    generation = this.current.generation,
  ): Promise<Loaded> {
    const { dimension } = this.current;
    const key = (kind: PartKind, block = 0) => this.store.key(generation, kind, number, block);
    const scan = this.#state.scanOf(dimension);
    const vectors = new Float32Array(rows.length * dimension);
    rows.forEach(({ span }, i) => vectors.set(span.vector, i * dimension));
    const blocks: [string, Uint8Array<ArrayBuffer>][] = [];
    for (let at = 0; at < rows.length; at += BLOCK_ROWS) {
      const texts = rows.slice(at, at + BLOCK_ROWS).map(({ span }) => span.text);
      const block = { texts, vectors: vectors.slice(at * dimension, (at + texts.length) * dimension) };
      blocks.push([key("block", at / BLOCK_ROWS), encodeBlock(block)]);
    }
    const words = rows.map(({ span }) => span.words);
    const parts: [string, Uint8Array<ArrayBuffer>][] = [
      [key("scan"), scan.quantize(vectors) as Uint8Array<ArrayBuffer>],
      [key("terms"), SearchEngine.encodeTerms(words, first) as Uint8Array<ArrayBuffer>],
    ];
    written.push(...[...blocks, ...parts].map(([key]) => key), key("rows"));
    const digests = await this.store.write(blocks);
    const list = encodeJson({ documents: documentsOf(rows), blocks: digests } satisfies SegmentRows);
    const [scanDigest, terms, rowsPart] = await this.store.write([...parts, [key("rows"), list]]);
    const bytes = [...blocks, ...parts].reduce((sum, [, { byteLength }]) => sum + byteLength, list.byteLength);
    const segment = { number, rows: rows.length, bytes, scan: scanDigest!, rowsPart: rowsPart!, terms: terms! };
    return { ...segment, first, blocks: digests, words: [] };
  }

  /**
   * Writes the record, and so makes what it names the index.
   *
   * @param segments of the record, with their blocks
   * @param isOnly whether all other parts are deleted
   */
  async #writeRecord(change: IndexRecord, segments = this.#state.segments, isOnly = false): Promise<void> {
    const { documents, passages } = this.rows;
    const sequence = this.current.sequence + 1;
    const record: IndexRecord = { ...change, changedAt: Date.now(), sequence, documents, passages };
    const keys = new Set([
      ...this.#keysOf(record.generation, segments),
      ...(record.removed ? [this.#removedKey(record)] : []),
    ]);
    const commit = async () =>
      this.store.commit(await encodeRecord(record), keys, isOnly).catch((cause: unknown) => {
        if (!isFull(cause) || codeOf(cause)) throw cause;
        const problem = `there is no room for the index "${this.store.name}": free some space, and try again`;
        throw new EmbervecError("quota", problem, { cause });
      });
    // One without parts would else be made anew: nothing of it is missing.
    if (this.#lost === CLEARED || !(await commit())) {
      this.#lost = CLEARED;
      throw new EmbervecError(
        "storage",
        `the index "${this.store.name}" is not stored any more, ${CLEARED}. Close it, open it again, and add its documents again`,
      );
    }
    this.current = record;
    this.onCommit();
  }

  #keysOf(generation: number, segments: readonly Loaded[]): string[] {
    return segments.flatMap(({ number, blocks }) => [
      ...(["scan", "rows", "terms"] as const).map((kind) => this.store.key(generation, kind, number)),
      ...blocks.map((_, i) => this.store.key(generation, "block", number, i)),
    ]);
  }

  /** What another tab has stored meanwhile; what is pending here comes behind it. */
  async #takeUp(): Promise<boolean> {
    const bytes = await this.store.record();
    if (!bytes) {
      // It is told when something is to be stored.
      this.#lost = CLEARED;
      return false;
    }
    const record = await parseRecord(bytes, this.store.name);
    const { id, sequence } = this.current;
    if (record.id === id && record.sequence === sequence) return false;
    const before = this.#state;
    const isNew = await before.takeNew(record, this.current, (id) => this.#isChanged(id));
    const state = isNew ? before : await State.load(this.store, record);
    // The same object, so that an embedder which has been compared with them is not compared again.
    if (JSON.stringify(record.probes) === JSON.stringify(this.current.probes)) record.probes = this.current.probes;
    this.current = record;
    this.#replaceState(state);
    // It is there again.
    if (this.#lost === CLEARED) this.#lost = undefined;
    if (isNew) return true;
    this.#removeAgain();
    this.#appendAgain(before);
    return true;
  }

  /** Whether a document has been appended, replaced or removed here, and that is not stored. */
  #isChanged(id: string): boolean {
    const entry = this.rows.entry(id);
    return this.#removed.has(id) || (entry !== undefined && this.#state.pending.has(entry.rows.at(-1)!));
  }

  /** What was appended and is not stored. */
  #appendAgain(before: State): void {
    const pending = [...before.pending.values()];
    for (let at = 0; at < pending.length; ) {
      const { entry, passage } = pending[at]!;
      const begin = at;
      while (pending[at]?.entry === entry) at += 1;
      if (before.rows.entry(entry.id) !== entry) continue;
      // A few at a time, as they were appended: each comes with all metadata of its document.
      for (let from = begin; from < at; from += AGAIN_PASSAGES) {
        const spans = pending.slice(from, Math.min(at, from + AGAIN_PASSAGES)).map(({ span }) => span);
        this.append(entry, passage + from - begin, spans, entry.hash);
      }
    }
  }

  /** What was removed here since the last commit, and nothing else: what was removed before, another tab may have added again. */
  #removeAgain(): void {
    this.removeEntries([...this.#removed].flatMap((id) => this.rows.entry(id) ?? []));
  }

  /** Parts of a change that was never finished. */
  async #dropOrphans(): Promise<void> {
    const { generation, removed } = this.current;
    const known = new Set(this.#keysOf(generation, this.#state.segments));
    if (removed) known.add(this.#removedKey(this.current));
    const orphans = (await this.store.keys()).filter((key) => !known.has(key));
    if (orphans.length > 0) await this.store.drop(orphans);
  }

  // --- anew --------------------------------------------------------------------------------------------------------

  /** Many small segments at the end become one. The rows keep their numbers. */
  async #mergeTail(): Promise<void> {
    const state = this.#state;
    let from = state.segments.length;
    let rows = 0;
    while (from > 0 && rows + state.segments[from - 1]!.rows <= SEGMENT_ROWS) rows += state.segments[--from]!.rows;
    const small = state.segments.slice(from);
    if (small.length < MERGE_SEGMENTS) return;
    const written: string[] = [];
    const { first } = small[0]!;
    try {
      const merged = await this.#writeSegment(
        this.#nextNumber(),
        first,
        await this.#rowsOf(state.rowsOf(first, first + rows)),
        written,
      );
      const all = [...state.segments.slice(0, from), merged];
      await this.#writeRecord({ ...this.current, segments: all.map(plain) }, all);
      state.keep([], all);
      this.#version += 1;
      await this.store.drop(this.#keysOf(this.current.generation, small));
    } catch {
      // It is as good as it was.
      await this.store.drop(written).catch(() => {});
    }
  }

  /** Stored rows, as they were when they were pending. */
  async #rowsOf(rows: readonly number[]): Promise<Pending[]> {
    const state = this.#state;
    const [texts, vectors] = await Promise.all([state.texts(rows), state.vectors(rows)]);
    const found: Pending[] = [];
    for (const [i, row] of rows.entries()) {
      const { start, end, passage } = state.rows.place(row);
      const text = texts[i]!;
      const span = { start, end, text, words: await wordsOfLong(text), vector: vectors[i]! };
      found.push({ entry: state.rows.entryOf(row), passage, span });
    }
    return found;
  }

  /** Writes everything anew, without what was removed. */
  async compact(): Promise<void> {
    await this.commit();
    await this.#exclusive(async () => {
      await this.#takeUp();
      const { rows, storedRows } = this.#state;
      const generation = this.current.generation + 1;
      const alive = this.#state.rowsOf(0, storedRows).filter((row) => !rows.removed.has(row));
      const written: string[] = [];
      const segments: Loaded[] = [];
      try {
        for (let at = 0; at < alive.length; at += SEGMENT_ROWS) {
          const some = await this.#rowsOf(alive.slice(at, at + SEGMENT_ROWS));
          segments.push(await this.#writeSegment(1 + at / SEGMENT_ROWS, at, some, written, generation));
        }
        const next = { ...this.current, generation, segments: segments.map(plain), removed: undefined };
        await this.#writeRecord(next, segments, true);
      } catch (error) {
        await this.store.drop(written).catch(() => {});
        if (!isFull(error)) throw error;
        const problem = "there is no room to write the index anew; it stays as it is";
        throw new EmbervecError("quota", problem, { cause: error });
      }
      const before = this.#state;
      this.#replaceState(await State.load(this.store, this.current));
      // Meanwhile more may have come, or gone.
      this.#removeAgain();
      this.#appendAgain(before);
    });
  }
}

function takePassages(
  scan: SearchEngine,
  vectors: Float32Array,
  metadata: Metadata,
  passages: readonly Passage[],
): void {
  const words = passages.map(({ words }) => words);
  // What may be refused comes first.
  const [part, terms] = [scan.quantize(vectors), SearchEngine.encodeTerms(words, scan.rows)];
  scan.append(part, JSON.stringify(passages.map(() => metadata)));
  scan.appendTerms(terms);
}

/** The wasm module knows a document's rows, not its id. */
function refused(id: string, error: unknown): unknown {
  // A RangeError: metadata that are too long for a string.
  if (codeOf(error) !== "invalid_input" && !(error instanceof RangeError)) return error;
  const problem = messageOf(error).replace(/^(vector|metadata)( of row)? \d+/, "its $1");
  return new EmbervecError("invalid_input", `add: the document ${JSON.stringify(id)} cannot be taken: ${problem}`, {
    cause: error,
  });
}

/** A passage's length for its score: minisearch counts different words. */
function countOf(words: readonly string[]): number {
  return new Set(words).size;
}

function plain({ number, rows, bytes, scan, rowsPart, terms }: Loaded): Segment {
  return { number, rows, bytes, scan, rowsPart, terms };
}

/** The rows by document. */
function documentsOf(rows: readonly Pending[]): DocumentRows[] {
  const documents: DocumentRows[] = [];
  let last: Entry | undefined;
  for (const { entry, passage, span } of rows) {
    const before = documents.at(-1);
    const isNext = entry === last && before !== undefined && before.from + before.spans.length === passage;
    const document = isNext ? before : { id: entry.id, metadata: entry.metadata, from: passage, spans: [] };
    if (!isNext) documents.push(document);
    document.spans.push([span.start, span.end, countOf(span.words)]);
    if (passage === entry.rows.length - 1 && entry.hash !== undefined) document.hash = entry.hash;
    last = entry;
  }
  return documents;
}

function isFull(error: unknown): boolean {
  return Object(error).name === "QuotaExceededError" || codeOf(error) === "quota";
}

/** What tells two versions of a document apart. */
export async function hashOf(text: string, metadata: Metadata, vector: Float32Array | undefined): Promise<string> {
  const json = encodeJson([text, metadata]);
  return sha256Of(vector ? joined([json, new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength)]) : json);
}
