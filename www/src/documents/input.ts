/** How a reader gets at a file: in slices, with progress, and with an end when it is aborted. */

import { Problem } from "./types";

/** How much of a text is read. */
export const MAX_TEXT_BYTES = 256 * 1024 * 1024;
const SLICE_BYTES = 512 * 1024;

export interface Input {
  readonly blob: Blob;
  /** Called with the bytes of the file that have been read. */
  readonly progress: (loaded: number) => void;
  readonly signal: AbortSignal;
}

export async function bytesAt({ blob, signal }: Pick<Input, "blob" | "signal">, start: number, end: number) {
  signal.throwIfAborted();
  let buffer: ArrayBuffer;
  try {
    buffer = await blob.slice(start, end).arrayBuffer();
  } catch (cause) {
    throw new Problem(
      "unreadable",
      "The browser could not open it: it was moved, changed or deleted, or it is a folder.",
      cause,
    );
  }
  signal.throwIfAborted();
  return new Uint8Array(buffer);
}

/** The bytes of a file, up to the limit for texts. */
export async function* slices(input: Pick<Input, "blob" | "signal">, from = 0): AsyncGenerator<Uint8Array> {
  const end = Math.min(input.blob.size, MAX_TEXT_BYTES);
  for (let at = from; at < end; at += SLICE_BYTES) yield bytesAt(input, at, Math.min(at + SLICE_BYTES, end));
}

/** The text of a file, with `\n` at the end of every line. */
export async function* textOf(input: Input, encoding: string): AsyncGenerator<string> {
  const decoder = new TextDecoder(encoding);
  let loaded = 0;
  let heldBack = "";
  for await (const slice of slices(input)) {
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
