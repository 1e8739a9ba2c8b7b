// `manifest.json`: what the files of a model folder are, chunk by chunk. `npx embervec pack` writes it, beside the weights.

import { EmbervecError, messageOf, shown } from "../errors.js";
import { CHUNK_BYTES, MAX_FILE_BYTES } from "../limits.js";

export const MANIFEST_JSON = "manifest.json";

const FORMAT = "embervec-manifest-1";

/** A file's size, and the SHA-256 of each of its chunks. */
export interface FileDigests {
  size: number;
  chunks: readonly string[];
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
    const problem = `has format ${shown(format)} with chunks of ${shown(chunk_bytes)} bytes`;
    const known = `this version of embervec reads "${FORMAT}" with ${CHUNK_BYTES}`;
    throw new EmbervecError("unsupported_model", `${url} ${problem}; ${known}: update it, or pack the folder again`);
  }
  const manifest = new Map<string, FileDigests>();
  for (const [path, file] of Object.entries(Object(files) as object)) {
    const digests = digestsOf(file);
    if (!digests || !isPlainPath(path)) {
      const problem = `the entry ${shown(path)} is not a file with its size and the SHA-256 of its chunks`;
      throw new EmbervecError("integrity", `${url}: ${problem}; pack the folder again`);
    }
    manifest.set(path, digests);
  }
  return manifest;
}

/** As {@link parseManifest} reads it. `sha256` is each file's own, for other tools. */
export function writeManifest(files: Iterable<[path: string, file: FileDigests & { sha256: string }]>): string {
  const entries = [...files].map(([path, { size, sha256, chunks }]) => [path, { size, sha256, chunks }]);
  const manifest = { format: FORMAT, chunk_bytes: CHUNK_BYTES, files: Object.fromEntries(entries) };
  return `${JSON.stringify(manifest, undefined, 2)}\n`;
}

/** What a manifest or a record says of a file; `undefined` where it cannot be so. */
export function digestsOf(value: unknown): FileDigests | undefined {
  const { size, chunks } = Object(value) as { size?: unknown; chunks?: unknown };
  if (typeof size !== "number" || !Number.isInteger(size) || size < 0 || size > MAX_FILE_BYTES) return undefined;
  if (!Array.isArray(chunks) || chunks.length !== Math.ceil(size / CHUNK_BYTES)) return undefined;
  const isDigest = (digest: unknown) => typeof digest === "string" && /^[0-9a-f]{64}$/.test(digest);
  return chunks.every(isDigest) ? { size, chunks } : undefined;
}

/** Within the folder, and something that an address can name. */
export function isPlainPath(path: string): boolean {
  const isInside = path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
  return isInside && !/[\\\0]|\p{Surrogate}/u.test(path);
}
