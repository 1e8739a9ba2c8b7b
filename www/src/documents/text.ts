/** Plain text: paragraphs, lists, lines that stand for themselves, logs. */

import { type Input, LineSplitter, textOf } from "./input";
import type { SectionWriter } from "./sections";

/** Lines of a block that are looked at to tell what it is. */
const SAMPLE_LINES = 200;
/** A line this long is a paragraph by itself. */
const LONG_LINE = 160;
/** A block's widest line is at least this wide if the lines are broken by an editor. */
const MIN_WIDTH = 45;
/** What follows a log's entry, such as a stack trace, belongs to it up to this length. */
const MAX_LOG_ENTRY = 4000;

/** A bullet, a box or a number. Bounded, so linear. */
const ITEM =
  /^\s{0,16}(?:[-*+•‣◦▪▸–—☐☑☒✓✔✗]\s{1,8}(?:\[[ xX]?\]\s{1,8})?|\[[ xX]?\]\s{1,8}|\(?\d{1,3}[.)]\s{1,8})(?=\S)/;
/** Marks that say nothing; a number does. */
const BULLET = /^\s{0,16}(?:[-*+•‣◦▪▸–—☐☑☒✓✔✗]\s{1,8})?(?:\[[ xX]?\]\s{1,8})?/;
/** The beginning of a log's line: a time, an address with a time, or a level. */
const LOG =
  /^\W{0,3}(?:\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|\d\d[-/.]\d\d[-/.]\d{2,4}[ ,]{1,2}\d\d:\d\d|\d\d:\d\d:\d\d|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{1,3}(?:\.\d{1,3}){3} \S{1,64} \S{1,64} \[|\d{10,13}\b|(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\b)/;
/** Colours of a terminal. */
const COLOUR = /\x1b\[[\d;]{0,16}[A-Za-z]/g;
const UNDERLINE = /^(?:={3,80}|-{3,80})\s*$/;

type BlockKind = "items" | "lines" | "paragraph" | "paragraphs" | "log";

export async function readText(input: Input, encoding: string, out: SectionWriter, isLog: boolean): Promise<void> {
  const blocks = new TextBlocks(out, { isLog, firstLine: 1 });
  const splitter = new LineSplitter();
  for await (const text of textOf(input, encoding)) {
    for (const line of splitter.push(text)) blocks.line(line);
    await out.drain();
  }
  for (const line of splitter.end()) blocks.line(line);
  blocks.end();
}

/** Lines that are part of another kind of document. */
export function writeLines(text: string, out: SectionWriter, firstLine?: number): void {
  const blocks = new TextBlocks(out, { firstLine });
  for (const line of text.split("\n")) blocks.line(line);
  blocks.end();
}

export interface TextBlockOptions {
  isLog?: boolean;
  /** Of the first line. Without it, sections have no line. */
  firstLine?: number | undefined;
}

/** Takes lines, and writes what they are. */
export class TextBlocks {
  readonly #out: SectionWriter;
  readonly #isLog: boolean;
  #number: number | undefined;
  #block: { text: string; line: number | undefined }[] = [];
  /** Once a block was looked at; its further lines are of the same kind. */
  #kind: BlockKind | undefined;
  /** Whether entries of the log begin with a time. */
  #isTimed = false;
  #entry: { texts: string[]; length: number; line: number | undefined } | undefined;

  constructor(out: SectionWriter, { isLog = false, firstLine }: TextBlockOptions) {
    this.#out = out;
    this.#isLog = isLog;
    this.#number = firstLine;
  }

  line(text: string): void {
    const line = this.#number;
    if (this.#number !== undefined) this.#number += 1;
    if (text.includes("\x1b")) text = text.replace(COLOUR, "");
    if (text.trim() === "") {
      if (this.#kind !== "log") this.end();
      return;
    }
    const [title, ...more] = this.#block;
    if (title !== undefined && more.length === 0 && UNDERLINE.test(text)) {
      this.#block = [];
      this.#out.heading(text.startsWith("=") ? 1 : 2, title.text, placeOf(title.line));
      return;
    }
    this.#block.push({ text, line });
    const isKnown = this.#kind !== undefined && this.#kind !== "paragraph";
    if (isKnown || this.#block.length >= SAMPLE_LINES) this.#write();
  }

  /** The end of a block, or of all. */
  end(): void {
    this.#write();
    this.#finishEntry();
    this.#kind = undefined;
  }

  #write(): void {
    const block = this.#block;
    if (block.length === 0) return;
    this.#block = [];
    if (this.#kind === undefined) {
      const lines = block.map(({ text }) => text);
      const timed = shareOf(lines, (line) => LOG.test(line));
      // Stack traces have more lines than what they follow.
      this.#isTimed = timed > (this.#isLog ? 0.05 : 0.5);
      this.#kind = this.#isLog || (this.#isTimed && lines.length > 2) ? "log" : kindOf(lines);
    }
    switch (this.#kind) {
      case "log":
        for (const { text, line } of block) this.#logLine(text, line);
        break;
      case "items":
        for (const { text, line } of block) this.#itemLine(text, line);
        break;
      case "lines":
        for (const { text, line } of block) this.#out.entry(text, placeOf(line));
        break;
      case "paragraphs":
        for (const { text, line } of block) this.#out.paragraph(text, placeOf(line));
        break;
      case "paragraph":
        this.#out.paragraph(joinLines(block.map(({ text }) => text)), placeOf(block[0]!.line));
        break;
    }
  }

  #logLine(text: string, line: number | undefined): void {
    const goesOn = this.#isTimed ? !LOG.test(text) : /^\s/.test(text);
    if (!goesOn || (this.#entry?.length ?? 0) > MAX_LOG_ENTRY) this.#finishEntry();
    this.#extendEntry(text, line);
  }

  #itemLine(text: string, line: number | undefined): void {
    if (ITEM.test(text)) this.#finishEntry();
    // What comes before the first item introduces the list.
    else if (this.#entry === undefined) return this.#out.paragraph(text, placeOf(line));
    this.#extendEntry(text.replace(BULLET, ""), line);
  }

  #extendEntry(text: string, line: number | undefined): void {
    this.#entry ??= { texts: [], length: 0, line };
    this.#entry.texts.push(text);
    this.#entry.length += text.length;
  }

  #finishEntry(): void {
    if (this.#entry === undefined) return;
    const { texts, line } = this.#entry;
    this.#entry = undefined;
    this.#out.entry(this.#kind === "log" ? texts.join("\n") : joinLines(texts), placeOf(line));
  }
}

const placeOf = (line: number | undefined) => (line === undefined ? {} : { line });

function shareOf(lines: readonly string[], test: (line: string, index: number) => boolean): number {
  return lines.filter(test).length / lines.length;
}

function kindOf(lines: readonly string[]): BlockKind {
  if (ITEM.test(lines[0]!) || shareOf(lines, (line) => ITEM.test(line)) >= 0.5) return "items";
  if (lines.length === 1) return "paragraph";
  const total = lines.reduce((sum, line) => sum + line.length, 0);
  if (total / lines.length > LONG_LINE) return "paragraphs";

  // An editor breaks a line where the next word does not fit; who writes a list does not wait for the margin.
  const width = Math.max(...lines.map((line) => line.trimEnd().length));
  const isBroken = (line: string, index: number) => {
    const next = lines[index + 1];
    return next === undefined || line.trimEnd().length + 1 + firstWord(next).length > width;
  };
  if (width >= MIN_WIDTH && shareOf(lines, isBroken) >= 0.8) return "paragraph";
  // Sentences, and verses, go on over the end of a line.
  const goesOn = (line: string, index: number) => {
    const next = lines[index + 1];
    return next !== undefined && (/[,;:\u2013\u2014-]\s?$/.test(line.slice(-2)) || /^\s{0,16}\p{Ll}/u.test(next));
  };
  return lines.filter(goesOn).length >= (lines.length - 1) * 0.4 ? "paragraph" : "lines";
}

function firstWord(line: string): string {
  const text = line.trimStart();
  const end = text.search(/\s/);
  return end < 0 ? text : text.slice(0, end);
}

/** Lines of one paragraph. A hyphen at the end of a line stays: who breaks plain text does so between words. */
export function joinLines(lines: readonly string[]): string {
  const parts: string[] = [];
  for (const line of lines) {
    const next = line.trim();
    const last = parts.at(-1) ?? "";
    if (last !== "" && !endsWithoutBlank(last)) parts.push(" ");
    parts.push(next);
  }
  return parts.join("");
}

/** After a hyphen, and in Chinese and Japanese, no blank takes a line break's place. */
function endsWithoutBlank(line: string): boolean {
  return /(?:\p{L}-|[\p{Script=Han}\u3001\u3002\u3040-\u30ff])$/u.test(line.slice(-3));
}
