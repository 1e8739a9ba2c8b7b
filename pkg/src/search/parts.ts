// What an index is stored as: the same bytes in a cache, in an exported file and, packed otherwise, in a static folder. Anybody may have put
// there what is read here, so all of it is checked.
//
// | part | what it is | read |
// |---|---|---|
// | record | a {@link IndexRecord} as JSON, written last: what it does not name does not exist | when the index is opened |
// | scan | the vectors in 8 bits, with what they lost by it; of the wasm module | when the index is opened |
// | rows | {@link SegmentRows} as JSON | when the index is opened |
// | terms | which passages hold which words; of the wasm module | when the index is opened |
// | block | texts and 32-bit vectors of {@link BLOCK_ROWS} passages | when a hit is shown or scored |

import { sha256Of } from "../cache/sha256.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import type { EmbeddingSpace } from "../index.js";
import type { IndexInfo, Metadata, PassageOptions } from "./types.js";

/** Of what is written here. A later version refuses what it cannot read, and so does this one. */
export const VERSION = 1;

/** Passages in a block. One is read for each hit: 16 of 384 dimensions and 500 characters are 33 kB. */
export const BLOCK_ROWS = 16;

/** Passages in a segment, which is loaded as a whole. */
export const SEGMENT_ROWS = 1024;

/** JSON that is parsed at once. */
export const MAX_JSON_BYTES = 256 << 20;
const MAX_BLOCK_BYTES = 64 << 20;

/** As the wasm module has it. */
export const MAX_DIMENSION = 16_384;

/** A text is one string, and the longest that Chromium has is this long. */
export const MAX_TEXT = 2 ** 29 - 24;

/** Below it, sums of counts are exact, and a date is below it for 7,000 years. */
const MAX_COUNT = 2 ** 48;

/** Where nobody says: passages of so many tokens are about one thing, and are what small models were trained on. */
export const DEFAULT_TOKENS = 128;

export type Similarity = IndexInfo["similarity"];

/** A part by its number, with its SHA-256. */
export interface Segment {
  number: number;
  rows: number;
  bytes: number;
  /** SHA-256 of the parts. */
  scan: string;
  rowsPart: string;
  terms: string;
}

export interface Probe {
  text: string;
  vector: number[];
}

export interface IndexRecord {
  name: string;
  /** Of this index alone: one that is deleted and made anew under its name counts from the same numbers, and has another. */
  id: string;
  createdAt: number;
  changedAt: number;
  /** Counts the changes. */
  sequence: number;
  /** Counts how often all was written anew. */
  generation: number;
  /** 0 as long as there is no vector. */
  dimension: number;
  similarity: Similarity;
  space?: EmbeddingSpace | undefined;
  probes: Probe[];
  truncateDim?: number | undefined;
  passageOptions: Required<PassageOptions>;
  segments: Segment[];
  /** The part that says which rows have been removed. */
  removed?: { number: number; digest: string } | undefined;
  documents: number;
  passages: number;
}

/** A document's passages in one segment. */
export interface DocumentRows {
  id: string;
  /** Of what was added; of a document in several segments only the last one has it. */
  hash?: string | undefined;
  metadata?: Metadata | undefined;
  /** Position of the first of these passages in the document. */
  from: number;
  /** Begin, end and number of different words of each passage. */
  spans: [start: number, end: number, words: number][];
}

export interface SegmentRows {
  documents: DocumentRows[];
  /** SHA-256 of each block. */
  blocks: string[];
}

/** A block's passages. */
export interface Block {
  texts: string[];
  /** `[texts, dimension]` */
  vectors: Float32Array<ArrayBuffer>;
}

const encoder = new TextEncoder();

/** An id that no other index has. Pages without https have no `crypto.randomUUID`. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16).padStart(8, "0")).join("");
}

export function encodeJson(value: object): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify(value));
}

export function encodeBlock({ texts, vectors }: Block): Uint8Array<ArrayBuffer> {
  const json = encodeJson(texts);
  const start = 4 + Math.ceil(json.byteLength / 4) * 4;
  const bytes = new Uint8Array(start + vectors.byteLength);
  new DataView(bytes.buffer).setUint32(0, json.byteLength, true);
  bytes.set(json, 4);
  bytes.set(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength), start);
  return bytes;
}

export function decodeBlock(bytes: Uint8Array<ArrayBuffer>, rows: number, dimension: number): Block {
  const vectorBytes = 4 * rows * dimension;
  if (bytes.byteLength > MAX_BLOCK_BYTES || bytes.byteLength < 4 + vectorBytes) throw damaged("a block is cut short");
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const start = 4 + Math.ceil(length / 4) * 4;
  if (start + vectorBytes !== bytes.byteLength) throw damaged("a block has another length than its passages");
  const texts = parseJson(bytes.subarray(4, 4 + length));
  if (!Array.isArray(texts) || texts.length !== rows || !texts.every((text) => typeof text === "string"))
    throw damaged("a block has other passages than its segment says");
  // A copy: of the bytes' own memory nothing is aligned.
  return { texts, vectors: new Float32Array(bytes.slice(start).buffer) };
}

export function parseRows(bytes: Uint8Array, rows: number, blocks: number): SegmentRows {
  const { documents, blocks: digests } = Object(parseJson(bytes)) as Record<string, unknown>;
  if (!isDigests(digests, blocks)) throw damaged("its list of blocks is not as it was written");
  return { documents: parseDocuments(documents, rows), blocks: digests };
}

/** @param rows of all of them */
export function parseDocuments(value: unknown, rows: number): DocumentRows[] {
  if (!Array.isArray(value)) throw damaged("its list of documents is none");
  let count = 0;
  for (const document of value) {
    const { id, hash, metadata, from, spans } = Object(document) as Record<string, unknown>;
    const isSound =
      typeof id === "string" &&
      (hash === undefined || typeof hash === "string") &&
      (metadata === undefined || isPlain(metadata)) &&
      isPlace(from) &&
      Array.isArray(spans) &&
      spans.length > 0 &&
      spans.every(isSpan);
    if (!isSound) throw damaged(`its list of documents is not as it was written (document ${count})`);
    count += spans.length;
  }
  if (count !== rows) throw damaged(`it lists ${count} passages in place of ${rows}`);
  return value as DocumentRows[];
}

function isPlace(value: unknown): boolean {
  return isCount(value) && value <= MAX_TEXT;
}

function isSpan(value: unknown): boolean {
  if (!Array.isArray(value) || value.length !== 3 || !value.every(isPlace)) return false;
  const [start, end] = value as [number, number, number];
  return start <= end;
}

/** With its SHA-256, because it is what all others are compared with. */
export async function encodeRecord(record: IndexRecord): Promise<Uint8Array<ArrayBuffer>> {
  return encodeJson({ version: VERSION, sha256: await sha256Of(encodeJson(record)), record });
}

/** @throws {EmbervecError} for one that is of a newer version, or not as it was written */
export async function parseRecord(bytes: Uint8Array, name: string): Promise<IndexRecord> {
  const { version, sha256, record } = Object(parseJson(bytes)) as Record<string, unknown>;
  checkVersion(version, name);
  const value = Object(record) as Partial<Record<keyof IndexRecord, unknown>>;
  if ((await sha256Of(encodeJson(value))) !== sha256) throw damaged("its record does not have its SHA-256");
  const { segments, passageOptions, probes, similarity, dimension, space, removed, truncateDim } = value;
  const isSound =
    [value.createdAt, value.changedAt, value.sequence, value.generation, value.documents, value.passages].every(
      isCount,
    ) &&
    typeof value.name === "string" &&
    typeof value.id === "string" &&
    isSimilarity(similarity) &&
    isPassageOptions(passageOptions) &&
    Array.isArray(segments) &&
    segments.every(isSegment) &&
    (isDimension(dimension) || (dimension === 0 && segments.length === 0)) &&
    isSpace(space, probes, dimension) &&
    (truncateDim === undefined || isDimension(truncateDim)) &&
    (removed === undefined || (isCount(Object(removed).number) && isDigest(Object(removed).digest)));
  if (!isSound) throw damaged(`the record of "${name}" is not as it was written`);
  return value as IndexRecord;
}

export function checkVersion(version: unknown, name: string): void {
  if (version === VERSION) return;
  if (typeof version === "number" && version > VERSION) {
    throw new EmbervecError(
      "unsupported_model",
      `the index "${name}" was made by a newer version of embervec (its form is ${version}, this one reads ${VERSION}): update the package, or make the index anew`,
    );
  }
  throw damaged(`"${name}" is no index`);
}

export function isSimilarity(value: unknown): value is Similarity {
  return value === "cosine" || value === "dot" || value === "euclidean";
}

export function isPassageOptions(value: unknown): value is Required<PassageOptions> {
  const { maxTokens, overlap } = Object(value) as Record<string, unknown>;
  return isCount(maxTokens) && maxTokens > 0 && isCount(overlap) && overlap < maxTokens;
}

/** Passages that a model takes whole. They overlap by the same share. */
export function fitted({ maxTokens, overlap }: Required<PassageOptions>, most: number): Required<PassageOptions> {
  if (maxTokens <= most) return { maxTokens, overlap };
  return { maxTokens: most, overlap: Math.floor((overlap * most) / maxTokens) };
}

export function isDimension(value: unknown): value is number {
  return isCount(value) && value > 0 && value <= MAX_DIMENSION;
}

/**
 * Whether a model is named with the texts that tell it apart, or none is. A probe of fewer dimensions would be like
 * any model's.
 */
export function isSpace(space: unknown, probes: unknown, dimension: number): boolean {
  if (!Array.isArray(probes) || !probes.every((probe) => isProbe(probe, dimension))) return false;
  if (space === undefined) return true;
  const { model, dtype, dimension: own } = Object(space) as Record<string, unknown>;
  return typeof model === "string" && typeof dtype === "string" && own === dimension && probes.length > 0;
}

function isProbe(value: unknown, dimension: number): boolean {
  const { text, vector } = Object(value) as Record<string, unknown>;
  const isVector = Array.isArray(vector) && vector.length === dimension && vector.every(Number.isFinite);
  return typeof text === "string" && isVector;
}

function isSegment(value: unknown): value is Segment {
  const { number, rows, bytes, scan, rowsPart, terms } = Object(value) as Record<string, unknown>;
  const isSmall = isCount(rows) && rows > 0 && rows <= SEGMENT_ROWS;
  return isCount(number) && isSmall && isCount(bytes) && [scan, rowsPart, terms].every(isDigest);
}

export function isDigest(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function isDigests(value: unknown, count: number): value is string[] {
  return Array.isArray(value) && value.length === count && value.every(isDigest);
}

export function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < MAX_COUNT;
}

export function isPlain(value: unknown): value is Metadata {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function parseJson(bytes: Uint8Array): unknown {
  if (bytes.byteLength > MAX_JSON_BYTES) throw damaged("a list is longer than any index has");
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw damaged(`a part cannot be read: ${messageOf(cause)}`, cause);
  }
}

/** Takes in what was read: what an index never writes is damage, and no fault of a call. */
export function takenIn<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    const code = codeOf(error);
    // A RangeError: lists that are too deep, or too long for a string.
    const isRefused = code === "invalid_input" || code === "integrity" || error instanceof RangeError;
    throw isRefused ? damaged(messageOf(error), error) : error;
  }
}

export function damaged(problem: string, cause?: unknown): EmbervecError {
  return new EmbervecError(
    "integrity",
    `the index is damaged: ${problem}. Delete it with SearchIndex.delete and add the documents again, or import a copy.`,
    { cause },
  );
}
