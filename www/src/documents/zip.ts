/** Files within a ZIP archive, each inflated in slices and not beyond a limit. */

import { Inflate } from "fflate";

import type { Input } from "./input";
import { Problem } from "./types";

/** A slice of 4 kB inflates to at most 4 MB. */
const SLICE_BYTES = 4096;
/** The end of the archive and a comment of any length. */
const MAX_END = 22 + 65_535;
const MAX_DIRECTORY = 16 * 1024 * 1024;

interface Entry {
  isEncrypted: boolean;
  method: number;
  compressed: number;
  size: number;
  offset: number;
}

export class Zip {
  readonly #input: Input;
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(input: Input, entries: ReadonlyMap<string, Entry>) {
    this.#input = input;
    this.#entries = entries;
  }

  static async open(input: Input): Promise<Zip> {
    const { size } = input;
    const start = Math.max(0, size - MAX_END);
    const end = viewOf(await input.bytes(start, size));
    let at = end.byteLength - 22;
    while (at >= 0 && end.getUint32(at, true) !== 0x06054b50) at -= 1;
    if (at < 0) throw broken("its directory is missing");
    const length = end.getUint32(at + 12, true);
    const offset = end.getUint32(at + 16, true);
    if (length > MAX_DIRECTORY || offset + length > start + at) throw broken("its directory is damaged");
    return new Zip(input, directoryOf(await input.bytes(offset, offset + length)));
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** The bytes of a file, if it is there. More than `most` is refused, whatever the archive says the size is. */
  async *read(name: string, most: number): AsyncGenerator<Uint8Array> {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    if (entry.isEncrypted) throw new Problem("encrypted", "It is protected by a password.");
    if (entry.method !== 0 && entry.method !== 8) throw broken(`its compression method ${entry.method} is unknown`);
    if (entry.size > most) throw tooLarge(most);
    const header = viewOf(await this.#input.bytes(entry.offset, entry.offset + 30));
    if (header.byteLength < 30 || header.getUint32(0, true) !== 0x04034b50) throw broken("a file in it is missing");
    const start = entry.offset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    const end = start + entry.compressed;
    if (end > this.#input.size) throw broken("it is cut short");

    let pieces: Uint8Array[] = [];
    const inflate = new Inflate((piece) => void pieces.push(piece));
    let size = 0;
    for (let at = start; at < end; ) {
      const block = await this.#input.bytes(at, Math.min(at + 64 * SLICE_BYTES, end));
      at += block.length;
      for (let from = 0; from < block.length; from += SLICE_BYTES) {
        const slice = block.subarray(from, from + SLICE_BYTES);
        const isLast = at >= end && from + SLICE_BYTES >= block.length;
        if (entry.method === 0) {
          pieces.push(slice);
        } else {
          try {
            inflate.push(slice, isLast);
          } catch (cause) {
            throw broken("its data is damaged", cause);
          }
        }
        for (const piece of pieces) {
          size += piece.length;
          // A bomb says that it is small.
          if (size > entry.size) throw broken("a file in it is larger than it says");
          yield piece;
        }
        pieces = [];
      }
      this.#input.progress(at);
    }
    if (size !== entry.size) throw broken("a file in it has another size than it says");
  }
}

function directoryOf(bytes: Uint8Array): Map<string, Entry> {
  const view = viewOf(bytes);
  const entries = new Map<string, Entry>();
  const decoder = new TextDecoder();
  let at = 0;
  while (at + 46 <= bytes.length && view.getUint32(at, true) === 0x02014b50) {
    const nameEnd = at + 46 + view.getUint16(at + 28, true);
    const name = decoder.decode(bytes.subarray(at + 46, nameEnd)).replaceAll("\\", "/");
    entries.set(name, {
      isEncrypted: (view.getUint16(at + 8, true) & 1) === 1,
      method: view.getUint16(at + 10, true),
      compressed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      offset: view.getUint32(at + 42, true),
    });
    at = nameEnd + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return entries;
}

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array) => new DataView(buffer, byteOffset, byteLength);

function broken(what: string, cause?: unknown): Problem {
  return new Problem("broken", `The file is damaged: ${what}.`, cause);
}

function tooLarge(most: number): Problem {
  const limit = Math.round(most / 1024 / 1024);
  return new Problem("too-large", `It unpacks to more than ${limit} MB, which no ordinary document does.`);
}
