// Tar archives: POSIX.1-2017, pax, "ustar Interchange Format"
// (<https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06>). For each file a header of 512 bytes, and its
// bytes in blocks of 512.

import { EmbervecError, messageOf } from "./errors.js";
import { settled } from "./settle.js";

const BLOCK = 512;
const MAX_NAME = 100;

/** A file of an archive. Its parts lie where the browser keeps blobs, if they are blobs, and not in memory as a whole. */
export interface TarFile {
  path: string;
  size: number;
  parts: readonly BlobPart[];
}

export function writeTar(files: readonly TarFile[]): Blob {
  const parts = files.flatMap(({ path, size, parts }) => [headerOf(path, size), ...parts, padding(size)]);
  return new Blob([...parts, new Uint8Array(2 * BLOCK)], { type: "application/x-tar" });
}

function headerOf(path: string, size: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(BLOCK);
  const put = (at: number, text: string) => header.set(new TextEncoder().encode(text), at);
  const octal = (at: number, length: number, value: number) => put(at, value.toString(8).padStart(length - 1, "0"));
  if (new TextEncoder().encode(path).byteLength > MAX_NAME) {
    throw new EmbervecError(
      "unsupported_model",
      `${path} is too long a name for an archive, which takes ${MAX_NAME} bytes`,
    );
  }
  put(0, path);
  octal(100, 8, 0o644);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, size);
  octal(136, 12, 0);
  put(148, " ".repeat(8));
  put(156, "0");
  put(257, "ustar\x0000");
  octal(
    148,
    7,
    header.reduce((sum, byte) => sum + byte, 0),
  );
  return header;
}

function padding(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}

/**
 * The files of an archive by name.
 *
 * @param hint what to do about one that is wrong, for the message
 */
export async function readTar(archive: Blob, hint: string): Promise<Map<string, Blob>> {
  const entries = new Map<string, Blob>();
  for (let at = 0; at + BLOCK <= archive.size; ) {
    const header = await bytesOfPart(archive.slice(at, at + BLOCK));
    if (header.every((byte) => byte === 0)) return entries;
    const text = (from: number, length: number) =>
      new TextDecoder().decode(header.subarray(from, from + length)).replace(/\0.*$/s, "");
    const number = (from: number, length: number) => Number.parseInt(text(from, length).trim() || "0", 8);
    const size = number(124, 12);
    // As long as it is written in octal, a size has at most 8 GB.
    if (!text(257, 6).startsWith("ustar") || !(size >= 0) || at + BLOCK + size > archive.size)
      throw new EmbervecError("integrity", `the archive is no tar archive, or was cut off; ${hint}`);
    const kind = text(156, 1);
    const prefix = text(345, 155);
    const name = (prefix === "" ? "" : `${prefix}/`) + text(0, 100);
    if (kind === "" || kind === "0")
      entries.set(name.replace(/^\.\//, ""), archive.slice(at + BLOCK, at + BLOCK + size));
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return entries;
}

/** Milliseconds for 512 kB at most of a file, which may lie on another machine or on a disk that sleeps. */
const READ_MS = 30_000;

export async function bytesOfPart(part: Blob): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(await settled("the file", () => part.arrayBuffer(), { ms: READ_MS }));
  } catch (cause) {
    // It may be a file that was moved, deleted or changed after it was chosen.
    const problem = `the archive cannot be read: ${messageOf(cause)}; choose the file again`;
    throw new EmbervecError("integrity", problem, { cause });
  }
}
