/** Collects what a reader finds into sections, and hands them on in batches. */

import type { Place, Section } from "./types";

/** Paragraphs that follow each other are joined until there is this much: one line of a dialogue means little by itself. */
const JOINED = 250;
/** But not beyond this. */
const MAX_JOINED = 2000;
/** A longer paragraph is cut: some twenty passages, which the index cuts further by tokens. */
const MAX_SECTION = 8000;
/** A run without blanks in ASCII this long is no word of any language, but an embedded picture, a key or a checksum. */
const MAX_RUN = 1000;
/** A batch is handed on when it has as many sections, or as many characters. */
const BATCH_SECTIONS = 200;
const BATCH_CHARACTERS = 65_536;
const MAX_HEADING = 200;

export type SendBatch = (sections: Section[], isLast: boolean) => Promise<void>;

export interface SectionOptions {
  /** Whether short paragraphs are joined. Default: yes. */
  joins?: boolean;
}

export class SectionWriter {
  /** Sections so far. */
  count = 0;
  /** Sentences for the person, which the next batch takes along. */
  notes: string[] = [];
  title: string | undefined;

  readonly #send: SendBatch;
  readonly #joins: boolean;
  #batch: Section[] = [];
  #characters = 0;
  #headings: { level: number; text: string; place: Place }[] = [];
  /** Whether nothing has followed the last heading. */
  #isBare = false;
  #pending: { texts: string[]; length: number; place: Place } | undefined;
  #runs = 0;

  constructor(send: SendBatch, { joins = true }: SectionOptions = {}) {
    this.#send = send;
    this.#joins = joins;
  }

  /** Names what follows, up to the next heading of the same level or above. */
  heading(level: number, text: string, place: Place = {}): void {
    this.#finish();
    const name = cutAt(tidy(text).replace(/\n/g, " "), MAX_HEADING)[0] ?? "";
    if (name === "") return;
    const last = this.#headings.at(-1);
    // A heading without a text is a text of its own, unless a lower one follows, which carries its words.
    if (this.#isBare && last !== undefined && level <= last.level) this.#addBareHeading();
    while ((this.#headings.at(-1)?.level ?? 0) >= level) this.#headings.pop();
    this.#headings.push({ level, text: name, place });
    this.#isBare = true;
    if (level === 1) this.title ??= name;
  }

  /** Running text. */
  paragraph(text: string, place: Place = {}): void {
    for (const piece of cutAt(this.#clean(text), MAX_SECTION)) {
      if (this.#pending !== undefined) {
        const { length, place: started } = this.#pending;
        const isElsewhere = started.page !== place.page;
        if (!this.#joins || length >= JOINED || length + piece.length > MAX_JOINED || isElsewhere) this.#finish();
      }
      this.#pending ??= { texts: [], length: 0, place };
      this.#pending.texts.push(piece);
      this.#pending.length += piece.length;
    }
  }

  /** What stands for itself. */
  entry(text: string, place: Place = {}): void {
    this.#finish();
    for (const piece of cutAt(this.#clean(text), MAX_SECTION)) this.#add(piece, place, true);
  }

  note(sentence: string): void {
    this.notes.push(sentence);
  }

  /** Hands full batches on. To be awaited after each slice of the input: the page may be slower than the reader. */
  async drain(): Promise<void> {
    if (this.#batch.length >= BATCH_SECTIONS || this.#characters >= BATCH_CHARACTERS) await this.#handOn(false);
  }

  /** Hands on what is left; without an end, if a problem follows. */
  async end(isLast = true): Promise<void> {
    this.#finish();
    if (this.#isBare) this.#addBareHeading();
    if (this.#runs > 0) {
      const what = this.#runs === 1 ? "A run" : `${this.#runs} runs`;
      this.note(`${what} of over ${MAX_RUN} characters without a blank, such as an embedded picture, was left out.`);
    }
    if (isLast ? this.count > 0 : this.#batch.length > 0) await this.#handOn(isLast);
  }

  async #handOn(isLast: boolean): Promise<void> {
    const sections = this.#batch;
    this.#batch = [];
    this.#characters = 0;
    await this.#send(sections, isLast);
  }

  #addBareHeading(): void {
    const heading = this.#headings.pop()!;
    this.#add(heading.text, heading.place, true);
    this.#headings.push(heading);
  }

  #finish(): void {
    if (this.#pending === undefined) return;
    const { texts, place } = this.#pending;
    this.#pending = undefined;
    this.#add(texts.join("\n\n"), place, false);
  }

  #add(text: string, place: Place, isEntry: boolean): void {
    if (!saysSomething(text)) return;
    this.#isBare = false;
    const section: { -readonly [Key in keyof Section]: Section[Key] } = { text };
    if (isEntry) section.isEntry = true;
    if (this.#headings.length > 0) section.headings = this.#headings.map((heading) => heading.text);
    this.#batch.push(Object.assign(section, place));
    this.#characters += text.length;
    this.count += 1;
  }

  #clean(text: string): string {
    const { kept, dropped } = withoutRuns(tidy(text));
    this.#runs += dropped;
    return kept;
  }
}

/** Without control characters, invisible ones and blanks in a row. Newlines stay. */
export function tidy(text: string): string {
  return text
    .replace(/[\0-\x08\x0b\x0e-\x1f\x7f\xad\u200b\u2060\ufeff\ufffe\uffff]/g, "")
    .replace(/[^\S\n]+/g, " ")
    .replace(/ ?\n ?/g, "\n")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

/** Whether there are two letters or digits. */
function saysSomething(text: string): boolean {
  const letters = /[\p{L}\p{N}]/gu;
  return letters.test(text) && letters.test(text);
}

/** Cuts after a sentence where there is one in the second half, else at a blank, else between two characters. */
export function cutAt(text: string, most: number): string[] {
  const pieces: string[] = [];
  let from = 0;
  while (text.length - from > most) {
    const half = from + most / 2;
    const last = from + most - 1;
    // Only here is it looked for: to the text's beginning it would take a time that is quadratic in the length.
    const second = text.slice(half, last + 1);
    const afterLast = (sign: string) => half + second.lastIndexOf(sign) + 1;
    let end = Math.max(afterLast(". "), afterLast("\n"), afterLast("。"));
    if (end <= half) end = afterLast(" ");
    if (end <= half) end = isHighSurrogate(text.charCodeAt(last)) ? last : last + 1;
    pieces.push(text.slice(from, end).trim());
    from = end;
  }
  pieces.push(text.slice(from).trim());
  return pieces.filter((piece) => piece !== "");
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function withoutRuns(text: string): { kept: string; dropped: number } {
  if (text.length < MAX_RUN) return { kept: text, dropped: 0 };
  const kept: string[] = [];
  let dropped = 0;
  let from = 0;
  let start = 0;
  for (let at = 0; at <= text.length; at++) {
    const unit = at < text.length ? text.charCodeAt(at) : 0x20;
    if (unit > 0x20 && unit < 0x7f) continue;
    if (at - start >= MAX_RUN) {
      kept.push(text.slice(from, start));
      from = at;
      dropped += 1;
    }
    start = at + 1;
  }
  kept.push(text.slice(from));
  return { kept: dropped === 0 ? text : kept.join("").trim(), dropped };
}
