/** The passages of the pages that tabs show, and their vectors, which are made as far as somebody wants them. */

import type { Embedder } from "embervec";
import type { PassageText } from "./page-messages";
import type { Failure, PagePart, Progress } from "./protocol";

/** Without a query: what a first one will find at once. */
const WARM_PASSAGES = 200;
/** Of them at a time: a first query waits for no more. */
const WARM_PART = 16;
/** Of pages and vectors, the ones that were used last: 40,000 vectors are about 60 MB. */
const KEPT_PAGES = 20;
const KEPT_VECTORS = 40_000;
/** So many passages with a word of the query are encoded first. */
const MAX_FIRST = 200;

export interface Page {
  readonly key: string;
  readonly url: string;
  readonly title: string;
  readonly passages: PassageText[];
  isComplete: boolean;
  isSaving: boolean;
  /** `waiting`: for a first query. */
  state: "waiting" | "going" | "stopped";
  /** How many more passages may be encoded. */
  budget: number;
  /** How many passages a run may take. */
  runBudget: number;
  /** What made it fail. */
  error: unknown;
  /** The higher, the later it was turned to, or asked for something new: such a page goes before the others. */
  rank: number;
  /** The query that was asked last, and of how many passages. */
  asked: { query: string; count: number };
  /** Positions of what is encoded first, the last one at the beginning. */
  first: number[];
  /** Where the next ones are looked for: first in the main text, then beside it. */
  nextMain: number;
  nextAside: number;
}

export class PageEncoder {
  readonly #embedder: () => Promise<Embedder>;
  readonly #onProgress: (page: Page) => void;
  readonly #describe: (error: unknown) => Failure;
  readonly #pages = new Map<string, Page>();
  /** By the passage's text: what two pages share, or a page before and after a change, is encoded once. */
  readonly #vectors = new Map<string, Float32Array>();
  /** Texts that are being encoded. */
  readonly #underWay = new Set<string>();
  /** Which page each panel shows. */
  readonly #shown = new Map<unknown, string>();
  /** Whoever waits for a run to end. */
  #waiting: (() => void)[] = [];
  #lastRank = 0;
  #running: { page: Page; controller: AbortController } | undefined;

  constructor(
    embedder: () => Promise<Embedder>,
    onProgress: (page: Page) => void,
    describe: (error: unknown) => Failure,
  ) {
    this.#embedder = embedder;
    this.#onProgress = onProgress;
    this.#describe = describe;
  }

  get(key: string): Page | undefined {
    const page = this.#pages.get(key);
    if (page) {
      this.#pages.delete(key);
      this.#pages.set(key, page);
    }
    return page;
  }

  vectorOf(text: string): Float32Array | undefined {
    return this.#vectors.get(text);
  }

  /** @returns how many passages of the page are known */
  show(panel: unknown, { key, url, title, from, passages, isEnd, budget }: PagePart & { budget: number }): number {
    let page = this.get(key);
    if (!page) {
      page = {
        key,
        url,
        title,
        passages: [],
        isComplete: false,
        isSaving: false,
        state: "waiting",
        budget: Math.min(WARM_PASSAGES, budget),
        runBudget: budget,
        error: undefined,
        rank: 0,
        asked: { query: "", count: 0 },
        first: [],
        nextMain: 0,
        nextAside: 0,
      };
      this.#pages.set(key, page);
      this.#forgetPages();
    }
    page.runBudget = budget;
    if (from <= page.passages.length) {
      page.passages.push(...passages.slice(page.passages.length - from));
      if (isEnd && from + passages.length === page.passages.length) page.isComplete = true;
    }
    if (this.#shown.get(panel) !== key) page.rank = ++this.#lastRank;
    this.#shown.set(panel, key);
    this.#continue();
    this.#onProgress(page);
    return page.passages.length;
  }

  leave(panel: unknown): void {
    this.#shown.delete(panel);
    this.#continue();
  }

  /** The first query of a page gives it the budget; the passages with its words come first. */
  ask(page: Page, query: string): void {
    if (page.state === "waiting") {
      page.state = "going";
      page.budget = Math.max(page.budget, page.runBudget);
      this.#onProgress(page);
    }
    const count = page.passages.length;
    if (page.asked.query !== query) page.rank = ++this.#lastRank;
    if (page.asked.query !== query || page.asked.count !== count) {
      const open = withWords(page.passages, query, (text) => !this.#vectors.has(text));
      page.first = open.slice(0, MAX_FIRST).reverse();
    }
    page.asked = { query, count };
    this.#continue();
  }

  start(page: Page): void {
    page.state = "going";
    page.error = undefined;
    page.budget = page.runBudget;
    this.#continue();
    this.#onProgress(page);
  }

  stop(page: Page): void {
    page.state = "stopped";
    page.isSaving = false;
    this.#continue();
    this.#wake();
    this.#onProgress(page);
  }

  /** What has failed is tried again: the model has come. */
  retry(): void {
    for (const page of this.#pages.values()) page.error = undefined;
    this.#continue();
  }

  /** Resolves with all vectors, in the order of the passages; `undefined` if it was stopped. */
  async all(page: Page): Promise<Float32Array[] | undefined> {
    if (!page.isComplete) throw new Error("The page has not been read to its end yet.");
    page.isSaving = true;
    page.error = undefined;
    this.#continue();
    this.#onProgress(page);
    try {
      for (;;) {
        const vectors = page.passages.map(([text]) => this.#vectors.get(text));
        if (vectors.every((vector) => vector !== undefined)) return vectors;
        if (!page.isSaving) return undefined;
        if (page.error !== undefined) throw page.error;
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    } finally {
      page.isSaving = false;
      this.#onProgress(page);
    }
  }

  progressOf(page: Page): Progress {
    const { key, isSaving, error, isComplete, state, budget } = page;
    const total = page.passages.length;
    const encoded = this.#countOf(page);
    const progress = { key, encoded, total, isSaving };
    if (error !== undefined) return { ...progress, state: "failed", failure: this.#describe(error) };
    if (isComplete && encoded === total) return { ...progress, state: "done" };
    if (isSaving || this.#running?.page === page) return { ...progress, state: "encoding" };
    return { ...progress, state: state === "going" ? (budget > 0 ? "encoding" : "paused") : state };
  }

  #countOf(page: Page): number {
    let count = 0;
    for (const [text] of page.passages) if (this.#vectors.has(text)) count += 1;
    return count;
  }

  /** Runs what is to run now, and nothing else. */
  #continue(): void {
    const wanted = this.#wanted();
    if (this.#running && this.#running.page !== wanted) this.#running.controller.abort();
    else if (!this.#running && wanted) void this.#run(wanted);
  }

  /** Of the pages that somebody waits for, the one with the highest rank. */
  #wanted(): Page | undefined {
    const shown = new Set(this.#shown.values());
    let wanted: Page | undefined;
    for (const page of this.#pages.values()) {
      if (page.error !== undefined || page.rank < (wanted?.rank ?? 0)) continue;
      const isRunning = page === this.#running?.page; // so the end of its texts or of its budget may be under way
      if (!isRunning && this.#peek(page) === undefined) continue;
      const isOpen = page.state !== "stopped" && (isRunning || page.budget > 0);
      if (page.isSaving || (isOpen && shown.has(page.key))) wanted = page;
    }
    return wanted;
  }

  async #run(page: Page): Promise<void> {
    const controller = new AbortController();
    const { signal } = controller;
    this.#running = { page, controller };
    const texts: string[] = [];
    try {
      const embedder = await this.#embedder();
      const source = this.#textsOf(page, texts);
      const isWarming = page.state === "waiting" && !page.isSaving;
      const encoded = isWarming
        ? encodeInParts(embedder, source, signal, () => page.state !== "waiting")
        : embedder.encodeStream(source, { task: "document", signal });
      for await (const { index, embedding } of encoded) {
        const text = texts[index]!;
        this.#vectors.set(text, embedding.slice());
        this.#underWay.delete(text);
        this.#onProgress(page);
      }
    } catch (error) {
      if (!signal.aborted) page.error = error;
    } finally {
      for (const text of texts) {
        // What was taken, but has not been encoded, costs nothing.
        if (this.#underWay.delete(text) && !page.isSaving) page.budget += 1;
      }
      this.#running = undefined;
      this.#forgetVectors();
      // What was under way is open again.
      for (const page of this.#pages.values()) page.nextMain = page.nextAside = 0;
      this.#wake();
      this.#continue();
      this.#onProgress(page);
    }
  }

  /** Asked for one by one, so that a new query's passages come next. */
  *#textsOf(page: Page, taken: string[]): Generator<string> {
    for (let index = this.#peek(page); index !== undefined; index = this.#peek(page)) {
      if (!page.isSaving && page.budget <= 0) return;
      const [text] = page.passages[index]!;
      page.budget -= 1;
      this.#underWay.add(text);
      taken.push(text);
      yield text;
    }
  }

  /** What is to be encoded next. */
  #peek(page: Page): number | undefined {
    const { passages, first } = page;
    const isOpen = (index: number) => {
      const [text] = passages[index]!;
      return !this.#vectors.has(text) && !this.#underWay.has(text);
    };
    for (let index = first.at(-1); index !== undefined; index = first.at(-1)) {
      if (isOpen(index)) return index;
      first.pop();
    }
    for (; page.nextMain < passages.length; page.nextMain++) {
      if (!passages[page.nextMain]![1] && isOpen(page.nextMain)) return page.nextMain;
    }
    for (; page.nextAside < passages.length; page.nextAside++) {
      if (passages[page.nextAside]![1] && isOpen(page.nextAside)) return page.nextAside;
    }
    return undefined;
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #forgetPages(): void {
    const shown = new Set(this.#shown.values());
    for (const [key, page] of this.#pages) {
      if (this.#pages.size <= KEPT_PAGES) break;
      if (!shown.has(key) && !page.isSaving) this.#pages.delete(key);
    }
  }

  /** The oldest first, but none of a page that is shown or being saved. */
  #forgetVectors(): void {
    if (this.#vectors.size <= KEPT_VECTORS) return;
    const shown = new Set(this.#shown.values());
    const kept = new Set<string>();
    for (const { key, isSaving, passages } of this.#pages.values()) {
      if (shown.has(key) || isSaving) for (const [text] of passages) kept.add(text);
    }
    for (const text of this.#vectors.keys()) {
      if (this.#vectors.size <= KEPT_VECTORS) break;
      if (!kept.has(text)) this.#vectors.delete(text);
    }
  }
}

/** Positions of the passages with words of the query; those with the most come first. */
export function withWords(
  passages: readonly PassageText[],
  query: string,
  isWanted: (text: string) => boolean = () => true,
): number[] {
  const words = [...new Set(query.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) ?? [])].slice(0, 20);
  if (words.length === 0) return [];
  const found: { index: number; count: number }[] = [];
  passages.forEach(([text], index) => {
    if (!isWanted(text)) return;
    const lower = text.toLowerCase();
    const count = words.filter((word) => lower.includes(word)).length;
    if (count > 0) found.push({ index, count });
  });
  found.sort((a, b) => b.count - a.count || a.index - b.index);
  return found.map(({ index }) => index);
}

/** Like `encodeStream`, but with little under way. */
async function* encodeInParts(
  embedder: Embedder,
  texts: Iterator<string>,
  signal: AbortSignal,
  isOver: () => boolean,
): AsyncGenerator<{ index: number; embedding: Float32Array }> {
  for (let index = 0; !isOver(); ) {
    const part: string[] = [];
    while (part.length < WARM_PART) {
      const { value, done } = texts.next();
      if (done) break;
      part.push(value);
    }
    if (part.length === 0) return;
    for (const embedding of await embedder.encodeDocument(part, { signal })) yield { index: index++, embedding };
  }
}
