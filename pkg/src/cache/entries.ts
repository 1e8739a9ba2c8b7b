// The entries of a cache: how their keys and values are written, and read again. Anybody may have put what lies there,
// so what is not as it is written here is as if it did not exist.
//
// | key | value |
// |---|---|
// | `model <model> ` | a {@link ModelRecord} as JSON, written last: what has none does not exist |
// | `chunk <model> <path> <version> <index> <SHA-256>` | a chunk of a file; without a record of a download under way |
// | `timings <…>` | how fast a GPU was |
// | `kernels <…>` | the names of the CPU's kernels that were the fastest |
// | `index <…>`, `part <…>`, `folder <…>` | of search indexes; see `search/storage.ts` |
//
// A model is a folder's address; with `#q8` it is that folder in 8 bits.

import { bytesOf } from "../bytes.js";
import { CHUNK_BYTES, MAX_FILE_BYTES, MAX_LIST_BYTES } from "../limits.js";
import { type FileDigests, digestsOf, isPlainPath } from "../model/manifest.js";

/** A file as it is stored. */
export interface StoredFile extends FileDigests {
  /** Tells the host's versions of a file apart where no digest does; {@link ANY_VERSION} where one does. */
  version: string;
}

export type StoredFiles = ReadonlyMap<string, StoredFile>;

/** Which files a folder is known not to have: these, or all that are not stored. */
export type AbsentFiles = ReadonlySet<string> | "others";

/** A model that is whole. */
export interface ModelRecord {
  /** What `load` was asked for: a hub id or an address. */
  name: string;
  revision: string | undefined;
  files: StoredFiles;
  /** A later version of this package may ask for files of which nobody knows whether they are there. */
  absent: AbsentFiles;
  /** What the option `integrity` was when the files came and matched it; of some another form is stored. */
  integrity?: ReadonlyMap<string, string> | undefined;
  /** Milliseconds since 1970. */
  storedAt: number;
  usedAt: number;
}

/** Milliseconds that a batch of so many tokens takes on each device; 0 for less than a coarse clock can tell. */
export interface Timing {
  tokens: number;
  cpu: number;
  gpu: number;
}

export const ANY_VERSION = "-";

/** Later than every date: 271,821 years after 1970. */
const MAX_MS = 8.64e15;

/** What the keys of all records begin with. */
export const RECORDS = "model ";
/** What the keys of all chunks begin with. */
export const CHUNKS = "chunk ";

/** What keys of search indexes begin with, which lie in the same cache. */
const OF_SEARCH = ["index ", "part ", "folder "];

export function isOfSearch(key: string): boolean {
  return OF_SEARCH.some((kind) => key.startsWith(kind));
}

/** What the keys of all entries of the same kind begin with. */
export function kindOf(key: string): string {
  const [kind] = key.split(" ", 1);
  return key === kind ? key : `${kind} `;
}

/** Ends with what no address holds, so that no other model's key begins with it. */
export function recordKey(model: string): string {
  return `${RECORDS}${model} `;
}

/** The model of a record's key. */
export function parseRecordKey(key: string): string | undefined {
  return /^model (\S+) $/.exec(key)?.[1];
}

/** What the keys of a model's chunks begin with. */
export function chunksKey(model: string): string {
  return `${CHUNKS}${model} `;
}

/** What the keys of a file's chunks begin with. */
export function fileKey(model: string, path: string, version?: string): string {
  const parts = version === undefined ? [path] : [path, version];
  return chunksKey(model) + parts.map((part) => `${encodeURIComponent(part)} `).join("");
}

export function chunkKey(model: string, path: string, version: string, index: number, digest: string): string {
  return `${fileKey(model, path, version)}${index} ${digest}`;
}

export interface ChunkKey {
  model: string;
  path: string;
  version: string;
  index: number;
  digest: string;
}

export function parseChunkKey(key: string): ChunkKey | undefined {
  const parts = /^chunk (\S+) (\S+) (\S+) (0|[1-9]\d{0,5}) ([0-9a-f]{64})$/.exec(key);
  if (!parts) return undefined;
  const [, model, path, version, digits, digest] = parts as unknown as [string, string, string, string, string, string];
  const index = Number(digits);
  if (index * CHUNK_BYTES >= MAX_FILE_BYTES) return undefined;
  try {
    return { model, path: decodeURIComponent(path), version: decodeURIComponent(version), index, digest };
  } catch {
    // It is no percent-encoding.
    return undefined;
  }
}

/** The bytes of a chunk of a file of this size. */
export function chunkBytes(index: number, size: number): number {
  return Math.min(CHUNK_BYTES, size - index * CHUNK_BYTES);
}

export function encodeRecord({ files, absent, integrity, ...record }: ModelRecord): Uint8Array<ArrayBuffer> {
  const pins = integrity && { integrity: [...integrity] };
  return encode({
    ...record,
    ...pins,
    files: Object.fromEntries(files),
    absent: absent === "others" ? absent : [...absent],
  });
}

export function parseRecord(value: unknown): ModelRecord | undefined {
  const { name, revision, files, absent, integrity, storedAt, usedAt } = Object(parse(value)) as Record<
    string,
    unknown
  >;
  const isSound =
    typeof name === "string" &&
    (revision === undefined || typeof revision === "string") &&
    isDate(storedAt) &&
    isDate(usedAt);
  if (!isSound) return undefined;
  const stored = new Map<string, StoredFile>();
  for (const [path, file] of Object.entries(Object(files) as object)) {
    const digests = digestsOf(file);
    const { version } = Object(file) as { version?: unknown };
    if (!digests || !isPlainPath(path) || !isVersion(version)) return undefined;
    stored.set(path, { ...digests, version });
  }
  if (stored.size === 0) return undefined;
  if (absent !== "others" && !(Array.isArray(absent) && absent.every((path) => typeof path === "string")))
    return undefined;
  return {
    name,
    revision,
    files: stored,
    absent: absent === "others" ? absent : new Set(absent as string[]),
    ...(Array.isArray(integrity) &&
      integrity.every(Array.isArray) && { integrity: new Map(integrity as [string, string][]) }),
    storedAt,
    usedAt,
  };
}

export function encodeTimings(timings: readonly Timing[]): Uint8Array<ArrayBuffer> {
  return encode({ measuredAt: Date.now(), timings });
}

/** @param since milliseconds since 1970: what was measured earlier is out of date */
export function parseTimings(value: unknown, since: number): Timing[] | undefined {
  const { measuredAt, timings } = Object(parse(value)) as Record<string, unknown>;
  if (!isDate(measuredAt) || measuredAt < since || measuredAt > Date.now()) return undefined;
  if (!Array.isArray(timings) || timings.length === 0) return undefined;
  const isMs = (value: unknown): value is number => typeof value === "number" && value >= 0 && value < Infinity;
  const sound = timings.map((timing) => {
    const { tokens, cpu, gpu } = Object(timing) as Record<string, unknown>;
    return isMs(tokens) && tokens > 0 && isMs(cpu) && isMs(gpu) ? { tokens, cpu, gpu } : undefined;
  });
  return sound.every((timing) => timing !== undefined) ? sound : undefined;
}

export function encodeKernels(names: string): Uint8Array<ArrayBuffer> {
  return encode({ names });
}

export function parseKernels(value: unknown): string | undefined {
  const { names } = Object(parse(value)) as { names?: unknown };
  return typeof names === "string" ? names : undefined;
}

/** An entry of which only its being there matters. */
export function encodeMark(): Uint8Array<ArrayBuffer> {
  return encode({});
}

function encode(value: object): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function parse(value: unknown): unknown {
  const bytes = bytesOf(value, MAX_LIST_BYTES);
  try {
    return bytes && JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** It becomes a part of a key, as what an ETag or a date says. */
function isVersion(value: unknown): value is string {
  return typeof value === "string" && value !== "" && !/\p{Surrogate}/u.test(value);
}

function isDate(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= MAX_MS;
}
