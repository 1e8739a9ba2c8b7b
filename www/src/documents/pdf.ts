/** PDF: the text of each page, with headings where the letters are larger. */

import * as pdfjs from "pdfjs-dist/legacy/build/pdf.mjs";

import type { Input } from "./input";
import { type SectionWriter, tidy } from "./sections";
import { Problem } from "./types";

const RANGE_BYTES = 262_144;
/** A page of any sense is read in a second. */
const PAGE_PATIENCE_MS = 60_000;
/** A parser that nothing comes for gives its memory back. */
const IDLE_MS = 20_000;
const MAX_HEADING = 120;
const MAX_TITLE = 200;

const NOT_STARTED =
  "The part of this page that reads PDF could not be started. Check your connection, then reload the page.";

/** Of a list. A hyphen may be a minus. */
const BULLET = /^[•‣◦▪▸☐☑] ?/;

/** The thread that parses. One that hangs can be ended. */
export interface Parser {
  worker: pdfjs.PDFWorker;
  end(): void;
}

export interface PdfHost {
  /** Rejects if the thread does not run, or with the signal's reason. */
  start(signal: AbortSignal): Promise<Parser>;
  /** Fetches the character map of a font that has none of its own, as those for Chinese, Japanese and Korean. */
  characterMap(file: string): Promise<Uint8Array>;
}

/** Of the last document, for the next one. */
let idle: { parser: Parser; timer: ReturnType<typeof setTimeout> } | undefined;

async function takeParser(host: PdfHost, signal: AbortSignal): Promise<Parser> {
  if (idle === undefined) {
    return host.start(signal).catch((cause: unknown) => {
      signal.throwIfAborted();
      throw new Problem("offline", NOT_STARTED, cause);
    });
  }
  const { parser, timer } = idle;
  clearTimeout(timer);
  idle = undefined;
  return parser;
}

function keepParser(parser: Parser): void {
  if (idle !== undefined) return parser.end();
  const timer = setTimeout(() => {
    idle = undefined;
    parser.end();
  }, IDLE_MS);
  idle = { parser, timer };
}

export async function readPdf(input: Input, out: SectionWriter, host: PdfHost): Promise<void> {
  const parser = await takeParser(host, input.signal);
  const range = new FileRange(input);
  const task = pdfjs.getDocument({
    range,
    rangeChunkSize: RANGE_BYTES,
    worker: parser.worker,
    BinaryDataFactory: dataFactory(host),
    useWorkerFetch: false,
    cMapUrl: "maps/",
    disableAutoFetch: true,
    disableStream: true,
    disableFontFace: true,
    useSystemFonts: true,
    isOffscreenCanvasSupported: false,
    isImageDecoderSupported: false,
    useWasm: false,
    stopAtErrors: false,
    verbosity: pdfjs.VerbosityLevel.ERRORS,
  });
  const patience = new Patience(input.signal, range.failure);
  try {
    await readPages(await patience.of(task.promise), input, out, patience);
  } catch (cause) {
    throw problemOf(cause);
  } finally {
    patience.end();
    // One that hangs, or is still at work, is of no further use.
    if (patience.isOver) parser.end();
    else
      void task.destroy().then(
        () => keepParser(parser),
        () => parser.end(),
      );
  }
}

async function readPages(pdf: pdfjs.PDFDocumentProxy, input: Input, out: SectionWriter, patience: Patience) {
  const { info } = await patience.of(pdf.getMetadata());
  const { Title: title } = info as { Title?: unknown };
  if (typeof title === "string" && tidy(title) !== "") out.title = tidy(title).replace(/\n/g, " ").slice(0, MAX_TITLE);
  const pages = new PageWriter(out);
  const failed: number[] = [];
  for (let number = 1; number <= pdf.numPages; number++) {
    try {
      const page = await patience.of(pdf.getPage(number));
      const { items } = await patience.of(page.getTextContent());
      pages.write(number, items.filter(isText));
      page.cleanup();
    } catch (error) {
      if (error instanceof Problem || input.signal.aborted) throw error;
      failed.push(number);
    }
    input.progress(Math.floor((input.size * number) / pdf.numPages));
    await out.drain();
  }
  if (failed.length === pdf.numPages) throw new Problem("broken", "It is damaged: none of its pages can be read.");
  if (failed.length > 0) out.note(`${pagesText(failed)} could not be read.`);
  const { empty } = pages;
  if (empty.length === pdf.numPages - failed.length) {
    throw new Problem("no-text", "It has no text: its pages are pictures, such as scans.");
  }
  if (empty.length > 0) out.note(`${pagesText(empty)} ${empty.length === 1 ? "has" : "have"} no text.`);
}

function pagesText(pages: readonly number[]): string {
  if (pages.length > 5) return `${pages.length} pages`;
  return `${pages.length === 1 ? "Page" : "Pages"} ${pages.join(", ")}`;
}

function problemOf(cause: unknown): unknown {
  if (!(cause instanceof Error)) return cause;
  if (cause.name === "PasswordException") return new Problem("encrypted", "It is protected by a password.", cause);
  const isOfPdf = /^(?:InvalidPDFException|FormatError|XRefParseException|UnknownErrorException|ResponseException)$/;
  if (isOfPdf.test(cause.name)) return new Problem("broken", "It is damaged, or no PDF.", cause);
  return cause;
}

type TextItem = Extract<Awaited<ReturnType<pdfjs.PDFPageProxy["getTextContent"]>>["items"][number], { str: string }>;

function isText(item: object): item is TextItem {
  return "str" in item;
}

interface Line {
  text: string;
  /** Of the baseline; upwards. */
  y: number;
  x: number;
  end: number;
  height: number;
}

class PageWriter {
  /** The numbers of pages without text. */
  readonly empty: number[] = [];
  readonly #out: SectionWriter;
  /** How many letters there are of each height. */
  #heights = new Map<number, number>();

  constructor(out: SectionWriter) {
    this.#out = out;
  }

  write(page: number, items: readonly TextItem[]): void {
    const lines = linesOf(items);
    if (lines.length === 0) return void this.empty.push(page);
    for (const { height, text } of lines) {
      this.#heights.set(height, (this.#heights.get(height) ?? 0) + text.length);
    }
    const [body] = [...this.#heights].reduce((most, one) => (one[1] > most[1] ? one : most));
    let paragraph: Line[] = [];
    const finish = () => {
      if (paragraph.length === 0) return;
      const text = joinBroken(paragraph);
      const scale = paragraph[0]!.height / body;
      paragraph = [];
      const isHeading = scale > 1.12 && text.length <= MAX_HEADING && /\p{L}{2}/u.test(text);
      if (isHeading) this.#out.heading(scale > 1.6 ? 1 : scale > 1.3 ? 2 : 3, text, { page });
      else if (BULLET.test(text)) this.#out.entry(text.replace(BULLET, ""), { page });
      else this.#out.paragraph(text, { page });
    };
    const right = Math.max(...lines.map(({ end }) => end));
    for (const line of lines) {
      const last = paragraph.at(-1);
      if (last !== undefined && isNewParagraph(last, line, right)) finish();
      paragraph.push(line);
    }
    finish();
  }
}

function linesOf(items: readonly TextItem[]): Line[] {
  const lines: Line[] = [];
  let texts: string[] = [];
  let line: Line | undefined;
  const finish = () => {
    const text = tidy(texts.join(""));
    texts = [];
    if (line !== undefined && text !== "") lines.push({ ...line, text });
    line = undefined;
  };
  for (const { str, transform, width, height, hasEOL } of items) {
    if (str.trim() !== "") {
      const [, , , , x, y] = transform as number[] as [number, number, number, number, number, number];
      // Rounded: the same letters are not always as large to the last digit.
      line ??= { text: "", x, y, end: x, height: Math.round(height * 2) / 2 };
      line.end = Math.max(line.end, x + width);
    }
    texts.push(str);
    if (hasEOL) finish();
  }
  finish();
  return lines;
}

function isNewParagraph(last: Line, line: Line, right: number): boolean {
  const height = Math.max(last.height, 1);
  if (BULLET.test(line.text)) return true;
  if (Math.abs(line.height - last.height) > 0.12 * height) return true;
  const down = last.y - line.y;
  if (down > 1.8 * height) return true;
  // Another column goes on with the sentence; a new paragraph follows the end of one.
  const isSentenceEnd = /[.!?:"»”)]$/.test(last.text);
  if (down < 0) return isSentenceEnd;
  const isShort = last.end < right - 4 * height;
  const isIndented = line.x > last.x + 0.8 * height;
  return isSentenceEnd && (isShort || isIndented);
}

/** The lines of a paragraph, with the words whole that were divided. */
function joinBroken(lines: readonly Line[]): string {
  const parts: string[] = [];
  for (const { text } of lines) {
    const last = parts.at(-1) ?? "";
    const isDivided = /\p{L}-$/u.test(last.slice(-3)) && /^\p{Ll}/u.test(text);
    if (isDivided) parts[parts.length - 1] = last.slice(0, -1);
    else if (last !== "" && !/\p{Script=Han}$|[\u3001\u3002\u3040-\u30ff]$/u.test(last.slice(-2))) parts.push(" ");
    parts.push(text);
  }
  return parts.join("");
}

/** Reads only the parts of the file that the parser asks for. */
class FileRange extends pdfjs.PDFDataRangeTransport {
  /** Rejects if the file cannot be read. */
  readonly failure: Promise<never>;
  readonly #input: Input;
  #fail: (reason: unknown) => void = () => {};

  constructor(input: Input) {
    super(input.size, null);
    this.#input = input;
    this.failure = new Promise((_, reject) => (this.#fail = reject));
  }

  override requestDataRange(begin: number, end: number): void {
    // A copy: the parser takes the bytes away to its thread.
    this.#input.bytes(begin, end).then((bytes) => this.onDataRange(begin, bytes.slice()), this.#fail);
  }
}

/** What the parser calls to have files of its own. Standard fonts are needed for drawing alone. */
function dataFactory(host: PdfHost) {
  return class {
    async fetch({ kind, filename }: { kind: string; filename: string }): Promise<Uint8Array> {
      if (kind !== "cMapUrl") throw new Error(`${filename} is not needed for the text`);
      return host.characterMap(filename);
    }
  };
}

/** Waits for the parser, but not after an abort, nor when it hangs. */
class Patience {
  readonly #stopped: Promise<never>;
  readonly #signal: AbortSignal;
  /** Whether the wait has ended without the parser's answer. */
  isOver = false;
  #reject: (reason: unknown) => void = () => {};

  constructor(signal: AbortSignal, failure: Promise<never>) {
    this.#signal = signal;
    this.#stopped = new Promise((_, reject) => (this.#reject = reject));
    this.#stopped.catch(() => {});
    failure.catch((reason: unknown) => this.#stop(reason));
    signal.addEventListener("abort", this.#abort);
    if (signal.aborted) this.#abort();
  }

  async of<T>(promise: Promise<T>): Promise<T> {
    const timer = setTimeout(
      () => this.#stop(new Problem("broken", `A page took more than ${PAGE_PATIENCE_MS / 1000} s.`)),
      PAGE_PATIENCE_MS,
    );
    try {
      return await Promise.race([promise, this.#stopped]);
    } finally {
      clearTimeout(timer);
    }
  }

  end(): void {
    this.#signal.removeEventListener("abort", this.#abort);
  }

  #stop(reason: unknown): void {
    this.isOver = true;
    this.#reject(reason);
  }

  #abort = () => this.#stop(this.#signal.reason);
}
