// Documents on their way into an index: what is new is split, encoded and appended. The newest call goes first.

import { EmbervecError } from "../errors.js";
import { breathe } from "./breathe.js";
import { MAX_DIMENSION } from "./parts.js";
import { passagesOf } from "./passages.js";
import type { Passage } from "./state.js";
import { type StoredIndex, hashOf } from "./stored-index.js";
import type { AddResult, IndexProgress, SearchDocument } from "./types.js";
import { wordsOf } from "./words.js";

/** What makes vectors; it is on the page. */
export interface Encoder {
  tokenCounts(texts: string[]): Promise<ArrayLike<number>>;
  encode(texts: string[]): Promise<Float32Array[]>;
}

/** Passages of one document that are encoded, and can then be found, together. */
const SLICE_PASSAGES = 8;

/**
 * Characters of texts that are being encoded, 2,000 tokens or so: enough for every worker of the embedder, and a newer call waits no
 * longer than these take.
 */
const UNDER_WAY_CHARACTERS = 8192;

/** Documents under way: many are short. */
const DOCUMENTS = 64;

/** What is pending is stored when there are so many passages, or after so many milliseconds. */
const COMMIT_PASSAGES = 512;
const COMMIT_MS = 3000;

/** One call of `add`. */
class Job {
  readonly result: AddResult = { added: 0, unchanged: 0, encoded: 0 };
  readonly started = performance.now();
  pendingPassages = 0;
  documents = 0;
  /** Ends when all documents up to now have been appended. */
  last: Promise<void> = Promise.resolve();

  readonly #end = new AbortController();
  /** Of the request that was made last. */
  progress: (progress: IndexProgress) => void = () => {};

  constructor(readonly totalDocuments: number) {}

  get signal(): AbortSignal {
    return this.#end.signal;
  }

  abort(reason: unknown): void {
    this.#end.abort(reason);
  }

  report(): void {
    const seconds = (performance.now() - this.started) / 1000;
    const { encoded, unchanged } = this.result;
    const passagesPerSecond = seconds > 0 ? encoded / seconds : 0;
    // By documents where they are counted: what they hold is not known before they are split.
    const share = this.totalDocuments > 0 ? this.documents / this.totalDocuments : 0;
    this.progress({
      documents: this.documents,
      totalDocuments: this.totalDocuments,
      passages: encoded,
      pendingPassages: this.pendingPassages,
      unchanged,
      passagesPerSecond,
      remainingMs: share > 0.02 ? ((1 - share) / share) * seconds * 1000 : undefined,
    });
  }
}

/** A document that is being added. */
interface Addition {
  document: SearchDocument;
  hash: string;
  isCancelled: boolean;
}

export class Adding {
  /** The newest comes last. */
  readonly #jobs = new Map<number, Job>();
  readonly #additions = new Map<string, Addition>();
  /** Those that wait for their turn. */
  readonly #turns: (() => void)[] = [];
  /** Those that wait for room. */
  readonly #rooms: (() => void)[] = [];
  #charactersUnderWay = 0;
  #committedAt = performance.now();
  #committing: Promise<void> | undefined;

  constructor(
    private readonly index: StoredIndex,
    private readonly encoder: () => Encoder | undefined,
    private readonly prepare: () => Promise<void>,
    private readonly onChange: () => void,
  ) {}

  begin(id: number, totalDocuments: number): void {
    this.#jobs.set(id, new Job(totalDocuments));
  }

  /** Ends a call; what it has appended stays. */
  async end(id: number): Promise<AddResult> {
    const job = this.#jobs.get(id);
    this.#jobs.delete(id);
    this.#nextTurn();
    await this.#commit();
    return job?.result ?? { added: 0, unchanged: 0, encoded: 0 };
  }

  /** Adds some of a call's documents. */
  async add(
    id: number,
    documents: readonly SearchDocument[],
    progress: (progress: IndexProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const job = this.#jobs.get(id);
    if (!job) throw new EmbervecError("internal", "there is no such call");
    job.progress = progress;
    signal.addEventListener("abort", () => job.abort(signal.reason));
    const underWay = new Set<Promise<void>>();
    try {
      for (const document of documents) {
        await this.#turn(job);
        const adding = this.#addOne(job, document, job.last).finally(() => underWay.delete(adding));
        // Who comes after it does not fail with it.
        job.last = adding.catch(() => {});
        underWay.add(adding);
        if (underWay.size >= DOCUMENTS) await Promise.race(underWay);
      }
      await Promise.all(underWay);
    } catch (error) {
      // Those that are still under way are not added, either.
      job.abort(error);
      throw error;
    }
  }

  /** Stops adding documents. */
  cancel(isMeant: (document: SearchDocument) => boolean): void {
    for (const addition of this.#additions.values()) if (isMeant(addition.document)) addition.isCancelled = true;
  }

  /** @param before ends when it is this document's turn to be appended: what is added first comes first */
  async #addOne(job: Job, document: SearchDocument, before: Promise<void>): Promise<void> {
    const { id, text, metadata = {} } = document;
    const vector = document.vector === undefined ? undefined : Float32Array.from(document.vector);
    const hash = await hashOf(text, metadata, vector);
    const other = this.#additions.get(id);
    if (other?.hash === hash || (!other && this.index.rows.entry(id)?.hash === hash)) {
      await before;
      job.result.unchanged += 1;
      job.documents += 1;
      return job.report();
    }
    // Another version of a document that is on its way.
    if (other) other.isCancelled = true;
    const addition: Addition = { document, hash, isCancelled: false };
    this.#additions.set(id, addition);
    try {
      await this.#append(job, addition, vector, before);
      job.documents += 1;
      job.report();
    } finally {
      if (this.#additions.get(id) === addition) this.#additions.delete(id);
    }
  }

  async #append(job: Job, addition: Addition, own: Float32Array | undefined, before: Promise<void>): Promise<void> {
    const { id, text, metadata = {} } = addition.document;
    const head = { id, metadata };
    await this.prepare();
    const isOver = () => {
      job.signal.throwIfAborted();
      return addition.isCancelled;
    };
    if (own) {
      await before;
      await this.#checkDimension(own);
      if (isOver()) return;
      const passage = { start: 0, end: text.length, text, words: wordsOf(text), vector: own };
      this.index.append(head, 0, [passage], addition.hash);
      return this.#appended(job, true);
    }
    const encoder = this.#encoderFor(id);
    const counts = async (texts: string[]) => {
      job.signal.throwIfAborted();
      return encoder.tokenCounts(texts);
    };
    const spans = await passagesOf(text, this.index.record.passageOptions, counts);
    if (spans.length === 0) {
      await before;
      if (isOver()) return;
      // It has metadata, and is in the list of documents; but it means nothing, so it is like nothing.
      const vector = new Float32Array(this.index.record.dimension);
      this.index.append(head, 0, [{ start: 0, end: text.length, text, words: [], vector }], addition.hash);
      return this.#appended(job, true);
    }
    const known = await this.#knownVectors(id, text, spans);
    const slices = slicesOf(spans);
    const underWay: Promise<Passage[]>[] = [];
    let next = 0;
    let appended = 0;
    job.pendingPassages += spans.length;
    try {
      while (appended < spans.length) {
        // One is encoded while the other is appended.
        while (next < slices.length && underWay.length < 2) {
          await this.#turn(job);
          if (isOver()) return;
          const encoding = this.#encode(job, text, slices[next++]!, known, encoder);
          // Whoever awaits it sees the error.
          encoding.catch(() => {});
          underWay.push(encoding);
        }
        const passages = await underWay.shift()!;
        await before;
        if (isOver()) return;
        const isLast = appended + passages.length === spans.length;
        // The version before can be found until there is something in its place.
        const isThere = this.index.append(head, appended, passages, isLast ? addition.hash : undefined);
        // Another tab has removed or replaced it.
        if (!isThere) return;
        appended += passages.length;
        job.pendingPassages -= passages.length;
        this.#appended(job, isLast);
      }
    } finally {
      job.pendingPassages -= spans.length - appended;
    }
  }

  #appended(job: Job, isLast: boolean): void {
    if (isLast) job.result.added += 1;
    this.onChange();
    job.report();
    this.#commitSoon();
  }

  async #encode(
    job: Job,
    text: string,
    spans: readonly { start: number; end: number }[],
    known: ReadonlyMap<string, Float32Array>,
    encoder: Encoder,
  ): Promise<Passage[]> {
    const texts = spans.map(({ start, end }) => text.slice(start, end));
    const unknown = texts.filter((text) => !known.has(text));
    const vectors = unknown.length === 0 ? [] : await this.#encodeWithin(unknown, encoder);
    job.result.encoded += unknown.length;
    let next = 0;
    const passages: Passage[] = [];
    for (const [i, { start, end }] of spans.entries()) {
      const passage = texts[i]!;
      const vector = known.get(passage) ?? vectors[next++]!;
      passages.push({ start, end, text: passage, words: wordsOf(passage), vector });
      await breathe();
    }
    return passages;
  }

  /** Encodes texts as soon as there is room for them. */
  async #encodeWithin(texts: string[], encoder: Encoder): Promise<Float32Array[]> {
    const characters = texts.reduce((sum, { length }) => sum + length, 0);
    while (this.#charactersUnderWay > 0 && this.#charactersUnderWay + characters > UNDER_WAY_CHARACTERS) {
      await new Promise<void>((resolve) => this.#rooms.push(resolve));
    }
    this.#charactersUnderWay += characters;
    try {
      return await encoder.encode(texts);
    } finally {
      this.#charactersUnderWay -= characters;
      for (const resolve of this.#rooms.splice(0)) resolve();
    }
  }

  /** Vectors of the version before of a document, by the texts of passages that are in both. */
  async #knownVectors(
    id: string,
    text: string,
    spans: readonly { start: number; end: number }[],
  ): Promise<Map<string, Float32Array>> {
    const { state } = this.index;
    const old = state.rows.entry(id);
    if (!old) return new Map();
    const rows = [...old.rows];
    const wanted = new Set(spans.map(({ start, end }) => text.slice(start, end)));
    const texts = await state.texts(rows);
    const common = rows.filter((_, i) => wanted.has(texts[i]!));
    const vectors = await state.vectors(common);
    return new Map(common.map((row, i) => [texts[rows.indexOf(row)]!, vectors[i]!]));
  }

  #encoderFor(id: string): Encoder {
    const encoder = this.encoder();
    if (encoder) return encoder;
    throw new EmbervecError(
      "invalid_input",
      `add: the document ${JSON.stringify(id)} has no vector, and the index no embedder to make one: pass \`embedder\` to SearchIndex.open, or call attach first`,
    );
  }

  async #checkDimension(vector: Float32Array): Promise<void> {
    const { dimension } = this.index.record;
    if (vector.length > MAX_DIMENSION)
      throw new EmbervecError(
        "invalid_input",
        `add: a vector has ${vector.length} dimensions, and an index at most ${MAX_DIMENSION}`,
      );
    // Another tab may be first.
    if (dimension === 0)
      await this.index.update(({ dimension }) => (dimension === 0 ? { dimension: vector.length } : undefined));
    const wanted = this.index.record.dimension;
    if (vector.length !== wanted)
      throw new EmbervecError(
        "invalid_input",
        `add: a vector has ${vector.length} dimensions, and the index ${wanted}`,
      );
  }

  /** Waits as long as a newer call has something to do. */
  async #turn(job: Job): Promise<void> {
    for (;;) {
      job.signal.throwIfAborted();
      const newest = [...this.#jobs.values()].at(-1);
      if (newest === job || newest === undefined) return;
      await new Promise<void>((resolve) => {
        this.#turns.push(resolve);
        job.signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
  }

  #nextTurn(): void {
    for (const resolve of this.#turns.splice(0)) resolve();
  }

  #commitSoon(): void {
    const isDue = this.index.pending >= COMMIT_PASSAGES || performance.now() - this.#committedAt > COMMIT_MS;
    // A failure is seen by the commit at the end.
    if (isDue)
      this.#committing ??= this.#commit()
        .catch(() => {})
        .finally(() => (this.#committing = undefined));
  }

  async #commit(): Promise<void> {
    this.#committedAt = performance.now();
    await this.index.commit();
    this.onChange();
  }
}

function slicesOf<T>(items: readonly T[]): T[][] {
  const slices: T[][] = [];
  for (let at = 0; at < items.length; at += SLICE_PASSAGES) slices.push(items.slice(at, at + SLICE_PASSAGES));
  return slices;
}
