// Documents on their way into an index: what is new is split, encoded and appended. The newest call goes first.

import { SearchEngine } from "../../wasm/search/embervec.js";

import { EmbervecError, codeOf } from "../errors.js";
import { breathe } from "./breathe.js";
import { MAX_DIMENSION } from "./parts.js";
import { passagesOf } from "./passages.js";
import type { Which } from "./protocol.js";
import type { Passage } from "./state.js";
import { type DocumentHead, type StoredIndex, hashOf } from "./stored-index.js";
import type { AddResult, IndexProgress, Metadata, SearchDocument } from "./types.js";
import { wordsOf, wordsOfLong } from "./words.js";

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
  /** Requests with documents of it that are under way. A call that waits for its source has none. */
  requests = 0;
  /** Ends when all documents of the requests up to now have begun. */
  begun: Promise<void> = Promise.resolve();
  /** Ends when all documents up to now have been appended. */
  last: Promise<void> = Promise.resolve();

  readonly #end = new AbortController();
  /** Of the request that was made last. */
  progress: (progress: IndexProgress) => void = () => {};

  /**
   * @param number larger than that of a call that began before
   * @param time when its documents were given; `undefined` if each is given when it comes
   * @param losses of the index, until now
   */
  constructor(
    readonly number: number,
    readonly totalDocuments: number,
    readonly time: number | undefined,
    readonly losses: number,
  ) {}

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

/** A document, and when it was given. */
interface Given {
  document: SearchDocument;
  vector: Float32Array | undefined;
  hash: string;
  time: number;
}

/** A document that is being added. */
class Addition {
  /** Another version goes first, or it was removed. */
  isOver = false;
  /** It comes again in the same call. */
  isReplaced = false;
  isWhole = false;
  readonly ended: Promise<void>;
  end!: () => void;

  constructor(
    readonly job: Job,
    readonly given: Given,
  ) {
    this.ended = new Promise((resolve) => (this.end = resolve));
  }
}

/** Texts that wait for room. */
interface Waiting {
  addition: Addition;
  characters: number;
  resolve: (isIn: boolean) => void;
}

export class Adding {
  /** By their numbers. */
  readonly #jobs = new Map<number, Job>();
  readonly #additions = new Map<string, Addition>();
  /** Counts what is given and removed, so that the last word on a document is known. */
  #clock = 0;
  /** When the version was given that was added last, or the document was removed; as long as there are calls that may be older. */
  readonly #settled = new Map<string, number>();
  readonly #removedFilters: { filter: string; time: number }[] = [];
  /** Those that wait for their turn. */
  readonly #turns: (() => void)[] = [];
  #waiting: Waiting[] = [];
  #charactersUnderWay = 0;
  #committedAt = performance.now();
  #committing: Promise<void> | undefined;

  constructor(
    private readonly index: StoredIndex,
    private readonly encoder: () => Encoder | undefined,
    private readonly prepare: () => Promise<void>,
    private readonly onChange: () => void,
  ) {}

  /** @param isLive whether documents are given one by one, and not all with the call */
  begin(id: number, totalDocuments: number, isLive: boolean): void {
    const time = isLive ? undefined : ++this.#clock;
    this.#jobs.set(id, new Job(id, totalDocuments, time, this.index.losses));
  }

  /** Ends a call; what it has appended stays. */
  async end(id: number): Promise<AddResult> {
    const job = this.#jobs.get(id);
    this.#jobs.delete(id);
    // Something is under way only if the source has failed.
    if (job) this.#abort(job, new EmbervecError("internal", "the call has ended"));
    if (this.#jobs.size === 0) {
      this.#settled.clear();
      this.#removedFilters.length = 0;
    }
    await this.#commit();
    if (job) this.index.throwIfLost(job.losses);
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
    signal.addEventListener("abort", () => this.#abort(job, signal.reason));
    const time = job.time ?? ++this.#clock;
    const before = job.begun;
    let begin!: () => void;
    job.begun = new Promise((resolve) => (begin = resolve));
    job.requests += 1;
    const underWay = new Set<Promise<void>>();
    try {
      const all = await Promise.all(documents.map((document) => givenAt(time, document)));
      await before;
      for (const given of all) {
        await this.#turn(job);
        const adding = this.#addOne(job, given, job.last)
          // The others are not added, either.
          .catch((error: unknown) => this.#abort(job, error))
          .finally(() => underWay.delete(adding));
        job.last = adding;
        underWay.add(adding);
        if (underWay.size >= DOCUMENTS) await Promise.race(underWay);
      }
      begin();
      await Promise.all(underWay);
      this.#check(job);
    } catch (error) {
      this.#abort(job, error);
      throw error;
    } finally {
      begin();
      job.requests -= 1;
      this.#nextTurn();
    }
  }

  /** Stops adding what has been removed. Calls that are under way do not come to it later, either. */
  cancel(which: Which): void {
    if (this.#jobs.size === 0) return;
    const time = ++this.#clock;
    if ("ids" in which) {
      for (const id of which.ids) this.#settle(id, time);
    } else {
      // Throws where it is no filter.
      matches(which.filter, {});
      this.#removedFilters.push({ filter: which.filter, time });
    }
    for (const addition of this.#additions.values()) if (this.#isOutdated(addition.given)) addition.isOver = true;
    this.#letIn();
  }

  #settle(id: string, time: number): void {
    this.#settled.set(id, Math.max(time, this.#settled.get(id) ?? 0));
  }

  /** Whether a newer version has been added, or the document has been removed since. */
  #isOutdated({ document: { id, metadata = {} }, time }: Given): boolean {
    if ((this.#settled.get(id) ?? 0) > time) return true;
    return this.#removedFilters.some((removed) => removed.time > time && matches(removed.filter, metadata));
  }

  #abort(job: Job, reason: unknown): void {
    job.abort(reason);
    this.#nextTurn();
    this.#letIn();
  }

  /** Throws where a call is over. */
  #check(job: Job): void {
    job.signal.throwIfAborted();
    this.index.throwIfLost(job.losses);
  }

  /** @param before ends when it is this document's turn to be appended: what is added first comes first */
  async #addOne(job: Job, given: Given, before: Promise<void>): Promise<void> {
    const { id } = given.document;
    for (;;) {
      this.#check(job);
      const other = this.#additions.get(id);
      if (other && other.job.number > job.number) {
        // It goes first. If its call is aborted, this one is the newest.
        await other.ended;
        continue;
      }
      const isThere = this.index.rows.entry(id)?.hash === given.hash;
      const isOutdated = this.#isOutdated(given);
      if (other && !isOutdated) {
        other.isOver = true;
        other.isReplaced ||= other.job === job;
        this.#letIn();
      }
      if (isThere) {
        if (this.#jobs.size > 1) this.#settle(id, given.time);
        job.result.unchanged += 1;
      }
      if (isThere || isOutdated) break;
      const addition = new Addition(job, given);
      this.#additions.set(id, addition);
      try {
        await this.#append(addition, before);
      } finally {
        if (this.#additions.get(id) === addition) this.#additions.delete(id);
        addition.end();
      }
      if (addition.isWhole || addition.isReplaced || !addition.isOver) break;
    }
    await before;
    job.documents += 1;
    job.report();
  }

  async #append(addition: Addition, before: Promise<void>): Promise<void> {
    const { job, given } = addition;
    const { document, vector: own, hash } = given;
    const { id, text, metadata = {} } = document;
    const head = { id, metadata };
    await this.prepare();
    const isOver = () => {
      this.#check(job);
      return addition.isOver;
    };
    if (own) {
      await before;
      const passage = { start: 0, end: text.length, text, words: await wordsOfLong(text), vector: own };
      await this.#checkDimension(head, passage);
      if (isOver()) return;
      this.index.append(head, 0, [passage], hash);
      return this.#appended(addition, true);
    }
    const encoder = this.#encoderFor(id);
    const counts = async (texts: string[]) => {
      this.#check(job);
      return encoder.tokenCounts(texts);
    };
    const spans = await passagesOf(text, this.index.record.passageOptions, counts);
    if (spans.length === 0) {
      await before;
      if (isOver()) return;
      // It has metadata, and is in the list of documents; but it means nothing, so it is like nothing.
      const vector = new Float32Array(this.index.record.dimension);
      this.index.append(head, 0, [{ start: 0, end: text.length, text, words: [], vector }], hash);
      return this.#appended(addition, true);
    }
    const known = await this.#knownVectors(id, text, spans);
    const slices = slicesOf(spans);
    const underWay: Promise<Passage[] | undefined>[] = [];
    let next = 0;
    let appended = 0;
    job.pendingPassages += spans.length;
    try {
      while (appended < spans.length) {
        // One is encoded while the other is appended.
        while (next < slices.length && underWay.length < 2) {
          await this.#turn(job);
          if (isOver()) return;
          const encoding = this.#encode(addition, slices[next++]!, known, encoder);
          // Whoever awaits it sees the error.
          encoding.catch(() => {});
          underWay.push(encoding);
        }
        const passages = await underWay.shift()!;
        await before;
        if (isOver() || !passages) return;
        const isLast = appended + passages.length === spans.length;
        // The version before can be found until there is something in its place.
        const isThere = this.index.append(head, appended, passages, isLast ? hash : undefined);
        // Another tab has removed or replaced it.
        if (!isThere) return;
        appended += passages.length;
        job.pendingPassages -= passages.length;
        this.#appended(addition, isLast);
      }
    } finally {
      job.pendingPassages -= spans.length - appended;
    }
  }

  #appended(addition: Addition, isLast: boolean): void {
    const { job, given } = addition;
    if (isLast) {
      addition.isWhole = true;
      job.result.added += 1;
      // A call that is alone has no older one.
      if (this.#jobs.size > 1) this.#settle(given.document.id, given.time);
    }
    this.onChange();
    job.report();
    this.#commitSoon();
  }

  /** @returns `undefined` if the document is not to be added any more */
  async #encode(
    addition: Addition,
    spans: readonly { start: number; end: number }[],
    known: ReadonlyMap<string, Float32Array>,
    encoder: Encoder,
  ): Promise<Passage[] | undefined> {
    const { job, given } = addition;
    const { text } = given.document;
    const texts = spans.map(({ start, end }) => text.slice(start, end));
    const unknown = texts.filter((text) => !known.has(text));
    const vectors = unknown.length === 0 ? [] : await this.#encodeWithin(addition, unknown, encoder);
    if (!vectors) return undefined;
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

  /**
   * Encodes texts as soon as there is room for them.
   *
   * @returns `undefined` if the document is not to be added any more
   */
  async #encodeWithin(addition: Addition, texts: string[], encoder: Encoder): Promise<Float32Array[] | undefined> {
    const characters = texts.reduce((sum, { length }) => sum + length, 0);
    const isIn = await new Promise<boolean>((resolve) => {
      this.#waiting.push({ addition, characters, resolve });
      this.#letIn();
    });
    if (!isIn) return undefined;
    try {
      return await encoder.encode(texts);
    } finally {
      this.#charactersUnderWay -= characters;
      this.#letIn();
    }
  }

  /** Texts that there is room for are encoded, those of the newest call first. What is not to be added any more is not. */
  #letIn(): void {
    const isOver = ({ addition }: Waiting) => addition.isOver || addition.job.signal.aborted;
    for (const waiting of this.#waiting) if (isOver(waiting)) waiting.resolve(false);
    this.#waiting = this.#waiting.filter((waiting) => !isOver(waiting));
    this.#waiting.sort((a, b) => b.addition.job.number - a.addition.job.number);
    for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
      const { characters, resolve } = next;
      if (this.#charactersUnderWay > 0 && this.#charactersUnderWay + characters > UNDER_WAY_CHARACTERS) return;
      this.#waiting.shift();
      this.#charactersUnderWay += characters;
      resolve(true);
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
    try {
      const texts = await state.texts(rows);
      const places = [...texts.keys()].filter((i) => wanted.has(texts[i]!));
      const vectors = await state.vectors(places.map((i) => rows[i]!));
      return new Map(places.map((place, i) => [texts[place]!, vectors[i]!]));
    } catch (error) {
      // Written anew meanwhile, or damaged: it is replaced, and all of it is encoded.
      if (codeOf(error) === "integrity") return new Map();
      throw error;
    }
  }

  #encoderFor(id: string): Encoder {
    const encoder = this.encoder();
    if (encoder) return encoder;
    throw new EmbervecError(
      "invalid_input",
      `add: the document ${JSON.stringify(id)} has no vector, and the index no embedder to make one: pass \`embedder\` to SearchIndex.open, or call attach first`,
    );
  }

  async #checkDimension(head: DocumentHead, passage: Passage): Promise<void> {
    const { length } = passage.vector;
    const wrong = (what: string) =>
      new EmbervecError(
        "invalid_input",
        `add: the vector of the document ${JSON.stringify(head.id)} has ${length} dimensions, and ${what}`,
      );
    if (length > MAX_DIMENSION) throw wrong(`an index at most ${MAX_DIMENSION}`);
    if (this.index.record.dimension === 0) await this.index.setDimension(head, passage);
    const { dimension } = this.index.record;
    if (length !== dimension) throw wrong(`the index ${dimension}`);
  }

  /** Waits as long as a newer call has something to do. */
  async #turn(job: Job): Promise<void> {
    for (;;) {
      this.#check(job);
      const isBefore = ({ number, requests }: Job) => number > job.number && requests > 0;
      if (![...this.#jobs.values()].some(isBefore)) return;
      await new Promise<void>((resolve) => this.#turns.push(resolve));
    }
  }

  #nextTurn(): void {
    for (const resolve of this.#turns.splice(0)) resolve();
  }

  #commitSoon(): void {
    const isDue = this.index.pending >= COMMIT_PASSAGES || performance.now() - this.#committedAt > COMMIT_MS;
    // After a failure, what has been lost ends all calls, and what is still pending is seen by the commit at the end.
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

async function givenAt(time: number, document: SearchDocument): Promise<Given> {
  const { text, metadata = {} } = document;
  const vector = document.vector === undefined ? undefined : Float32Array.from(document.vector);
  return { document, vector, hash: await hashOf(text, metadata, vector), time };
}

/** Whether a filter matches a document that is not in the index yet. */
function matches(filter: string, metadata: Metadata): boolean {
  const scan = new SearchEngine(1, "dot");
  try {
    scan.append(scan.quantize(Float32Array.of(1)), JSON.stringify([metadata]));
    return scan.matching(filter).length > 0;
  } finally {
    scan.free();
  }
}

function slicesOf<T>(items: readonly T[]): T[][] {
  const slices: T[][] = [];
  for (let at = 0; at < items.length; at += SLICE_PASSAGES) slices.push(items.slice(at, at + SLICE_PASSAGES));
  return slices;
}
