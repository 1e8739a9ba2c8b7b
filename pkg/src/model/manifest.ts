// `manifest.json`: what the files of a model folder are, chunk by chunk. `cargo xtask pack` writes it, beside the weights.

import { EmbervecError, messageOf } from "../errors.js";

export const MANIFEST_JSON = "manifest.json";

const FORMAT = "embervec-manifest-1";

/**
 * Files are fetched, verified and stored in pieces of so many bytes; the last may be shorter. A connection that breaks
 * off costs at most one per request under way, a fiftieth of MiniLM in 8 bits; reading one takes IndexedDB 0.3 ms.
 */
export const CHUNK_BYTES = 512 << 10;

/** A file's size, and the SHA-256 of each of its chunks. */
export interface FileDigests {
  size: number;
  chunks: string[];
}

/** By path within the folder. */
export type Manifest = ReadonlyMap<string, FileDigests>;

/**
 * @returns `undefined` for a file that is somebody else's: the name is in use elsewhere, too
 * @throws {EmbervecError} for a manifest that is damaged
 */
export function parseManifest(bytes: Uint8Array, url: string): Manifest | undefined {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new EmbervecError("integrity", `${url} is not JSON: ${messageOf(cause)}`, { cause });
  }
  const { format, chunk_bytes, files } = Object(json) as { format?: unknown; chunk_bytes?: unknown; files?: unknown };
  if (typeof format !== "string" || !format.startsWith("embervec-manifest-")) return undefined;
  if (format !== FORMAT || chunk_bytes !== CHUNK_BYTES) {
    throw new EmbervecError(
      "unsupported_model",
      `${url} has format "${format}" with chunks of ${String(chunk_bytes)} bytes; this version of embervec reads "${FORMAT}" with ${CHUNK_BYTES}: update it, or pack the folder anew`,
    );
  }
  const manifest = new Map<string, FileDigests>();
  for (const [path, file] of Object.entries(Object(files) as object)) {
    if (!isPlainPath(path) || !isFileDigests(file)) {
      throw new EmbervecError("integrity", `${url}: the entry "${path}" is not a file with its size and the SHA-256 of its chunks; pack the folder anew`);
    }
    manifest.set(path, { size: file.size, chunks: file.chunks });
  }
  return manifest;
}

/** As {@link parseManifest} reads it. `sha256` is each file's own, for other tools. */
export function writeManifest(files: Iterable<[path: string, file: FileDigests & { sha256: string }]>): string {
  const entries = [...files].map(([path, { size, sha256, chunks }]) => [path, { size, sha256, chunks }]);
  return JSON.stringify({ format: FORMAT, chunk_bytes: CHUNK_BYTES, files: Object.fromEntries(entries) }, undefined, 1);
}

export function isFileDigests(value: unknown): value is FileDigests {
  const { size, chunks } = Object(value) as Partial<FileDigests>;
  return (
    Number.isSafeInteger(size) &&
    size! >= 0 &&
    Array.isArray(chunks) &&
    chunks.length === Math.ceil(size! / CHUNK_BYTES) &&
    chunks.every((digest) => typeof digest === "string" && /^[0-9a-f]{64}$/.test(digest))
  );
}

/** Within the folder. */
function isPlainPath(path: string): boolean {
  return path.split("/").every((part) => part !== "" && part !== "." && part !== "..") && !/[\\\0]/.test(path);
}
