/** How a reader gets at a file: in slices, with progress, and with an end when it is aborted. */

import { Problem } from "./types";

/** How much of a text is read. */
export const MAX_TEXT_BYTES = 256 * 1024 * 1024;
const SLICE_BYTES = 512 * 1024;

export class Input {
  readonly size: number;
  readonly signal: AbortSignal;
  /** Called with the bytes of the file that have been read. */
  readonly progress: (loaded: number) => void;
  readonly #blob: Blob;
  /** The first slice: for most files all there is. It is looked at several times, and each look costs a millisecond. */
  #head: Promise<Uint8Array<ArrayBuffer>> | undefined;

  constructor(blob: Blob, signal: AbortSignal, progress: (loaded: number) => void) {
    this.size = blob.size;
    this.signal = signal;
    this.progress = progress;
    this.#blob = blob;
  }

  /** Not to be changed. */
  async bytes(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    this.signal.throwIfAborted();
    let bytes: Uint8Array<ArrayBuffer>;
    if (end <= SLICE_BYTES || this.size <= SLICE_BYTES) {
      this.#head ??= this.#read(0, SLICE_BYTES);
      bytes = (await this.#head).subarray(start, end);
    } else {
      bytes = await this.#read(start, end);
    }
    this.signal.throwIfAborted();
    return bytes;
  }

  /** In slices, up to the limit for texts. */
  async *slices(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const end = Math.min(this.size, MAX_TEXT_BYTES);
    for (let at = 0; at < end; at += SLICE_BYTES) yield this.bytes(at, Math.min(at + SLICE_BYTES, end));
  }

  async #read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return new Uint8Array(await this.#blob.slice(start, end).arrayBuffer());
    } catch (cause) {
      const why = "The browser could not open it: it was moved, changed or deleted, or it is a folder.";
      throw new Problem("unreadable", why, cause);
    }
  }
}

/** The text of a file, with `\n` at the end of every line. */
export async function* textOf(input: Input, encoding: string): AsyncGenerator<string> {
  const decoder = new TextDecoder(encoding);
  let loaded = 0;
  let heldBack = "";
  for await (const slice of input.slices()) {
    const text = heldBack + decoder.decode(slice, { stream: true });
    // A line may end with \r\n, and the \n may be in the next slice.
    heldBack = text.endsWith("\r") ? "\r" : "";
    yield withNewlines(heldBack === "" ? text : text.slice(0, -1));
    loaded += slice.length;
    input.progress(loaded);
  }
  yield withNewlines(heldBack + decoder.decode());
}

export function withNewlines(text: string): string {
  return text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
}

/** A longer line comes in parts of at most this. */
const MAX_LINE = 65_536;

export class LineSplitter {
  #rest: string[] = [];
  #restLength = 0;

  /** The lines that end in this text. */
  push(text: string): string[] {
    const lines: string[] = [];
    let from = 0;
    for (;;) {
      const newline = text.indexOf("\n", from);
      const end = newline < 0 ? text.length : newline;
      for (; this.#restLength + end - from > MAX_LINE; from += MAX_LINE - this.#restLength) {
        lines.push(this.#take(text.slice(from, from + MAX_LINE - this.#restLength)));
      }
      if (newline < 0) break;
      lines.push(this.#take(text.slice(from, newline)));
      from = newline + 1;
    }
    this.#rest.push(text.slice(from));
    this.#restLength += text.length - from;
    return lines;
  }

  end(): string[] {
    return this.#restLength === 0 ? [] : [this.#take("")];
  }

  #take(last: string): string {
    const line = this.#rest.length === 0 ? last : this.#rest.join("") + last;
    this.#rest = [];
    this.#restLength = 0;
    return line;
  }
}
