// An index in a folder of a web server, made natively: its vectors are read at once, its texts and words piece by piece.

import { SearchEngine } from "../../wasm/search/embervec.js";

import { joined } from "../bytes.js";
import { sha256Of } from "../cache/sha256.js";
import { EmbervecError, messageOf } from "../errors.js";
import { appendRows } from "./append-rows.js";
import type { Core, RowSource } from "./core.js";
import type { Postings } from "./keywords.js";
import {
  BLOCK_ROWS,
  type DocumentRows,
  type IndexRecord,
  MAX_JSON_BYTES,
  checkVersion,
  damaged,
  isCount,
  isDigest,
  isDimension,
  isSimilarity,
  isSpace,
  parseDocuments,
  parseJson,
  takenIn,
} from "./parts.js";
import { Recent } from "./recent.js";
import { Rows } from "./rows.js";
import { checkVectors } from "./verify.js";
import type { EmbeddingSpace } from "../index.js";

const FORMAT = "embervec-index";
const MAX_MANIFEST_BYTES = 1 << 20;
const DIGEST_BYTES = 32;

/** Of scan.bin (crate/search/src/vectors.rs): four letters, version, dimension and rows. */
const SCAN_HEAD_BYTES = 16;
/** Then scale, error and length of each row, as f32, before the values. */
const SCAN_FACTORS = 3;

type Bytes = Uint8Array<ArrayBuffer>;

/** Reads a part of a file, or all of it. What `check` throws for is neither given nor kept. */
export type ReadFile = (
  path: string,
  range: { offset: number; length: number } | undefined,
  limit: number,
  check: (bytes: Bytes) => void | Promise<void>,
) => Promise<Bytes>;

interface File {
  bytes: number;
  sha256: string;
}

type FileName = "scan.bin" | "rows.bin" | "pieces.bin" | "texts.bin" | "terms.bin" | "vectors.f32";

interface Manifest {
  name: string;
  space: EmbeddingSpace | undefined;
  probes: IndexRecord["probes"];
  dimension: number;
  similarity: IndexRecord["similarity"];
  rows: number;
  files: Record<FileName, File>;
}

/** A piece of a file that is read by itself. */
interface Piece {
  offset: number;
  length: number;
  sha256: string;
  /** Of words. */
  first?: string;
}

export class FolderIndex implements RowSource {
  readonly #rows = new Rows();
  readonly #scan: SearchEngine;
  readonly #texts = new Map<number, Promise<string[]>>();
  readonly #terms = new Map<number, Promise<void>>();
  /** Of 16 passages each. */
  readonly #vectors = new Recent<number, Float32Array>(16 << 20, ({ byteLength }) => byteLength);

  private constructor(
    readonly manifest: Manifest,
    private readonly read: ReadFile,
    private readonly textPieces: readonly Piece[],
    private readonly termPieces: readonly Piece[],
    scan: Uint8Array,
    documents: readonly DocumentRows[],
  ) {
    this.#scan = new SearchEngine(manifest.dimension, manifest.similarity);
    takenIn(() => appendRows(this.#scan, scan, manifest.dimension, documents));
    for (const document of documents) this.#rows.restore(document);
    this.#rows.checkWhole();
  }

  static async open(read: ReadFile): Promise<FolderIndex> {
    const isManifest = (bytes: Bytes) => void parseManifest(bytes);
    const manifest = parseManifest(await read("manifest.json", undefined, MAX_MANIFEST_BYTES, isManifest));
    const whole = (name: FileName) => readWhole(read, manifest, name);
    const [scan, packed, table] = await Promise.all([whole("scan.bin"), whole("rows.bin"), whole("pieces.bin")]);
    const documents = parseDocuments(Object(parseJson(await inflate(packed))).documents, manifest.rows);
    const { texts, terms } = parsePieces(table, manifest);
    return new FolderIndex(manifest, read, texts, terms, scan, documents);
  }

  get core(): Core {
    return { rows: this.#rows, scan: this.#scan, similarity: this.manifest.similarity, source: this };
  }

  get bytes(): number {
    return Object.values(this.manifest.files).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  async texts(rows: readonly number[]): Promise<string[]> {
    return Promise.all(
      rows.map(async (row) => {
        const texts = await this.#piece(Math.floor(row / BLOCK_ROWS));
        return this.#rows.text(row, texts[row % BLOCK_ROWS]!);
      }),
    );
  }

  #piece(index: number): Promise<string[]> {
    let texts = this.#texts.get(index);
    if (!texts) {
      texts = this.#readTexts(index);
      this.#texts.set(index, texts);
      texts.catch(() => this.#texts.delete(index));
    }
    return texts;
  }

  async #readTexts(index: number): Promise<string[]> {
    const texts = parseJson(await inflate(await this.#read("texts.bin", this.textPieces[index]!)));
    const wanted = Math.min(BLOCK_ROWS, this.manifest.rows - index * BLOCK_ROWS);
    if (!Array.isArray(texts) || texts.length !== wanted || !texts.every((text) => typeof text === "string"))
      throw damaged("texts.bin has other passages than the manifest says");
    return texts as string[];
  }

  async vectors(rows: readonly number[]): Promise<Float32Array[]> {
    const { dimension } = this.manifest;
    return Promise.all(
      rows.map(async (row) => {
        const piece = Math.floor(row / BLOCK_ROWS);
        const vectors = await this.#vectors.get(piece, () => this.#readVectors(piece));
        const at = (row % BLOCK_ROWS) * dimension;
        return vectors.subarray(at, at + dimension);
      }),
    );
  }

  /** Those of neighbours in one request: what passages of one document are asked for comes together. */
  async #readVectors(piece: number): Promise<Float32Array> {
    const { dimension, rows } = this.manifest;
    const first = piece * BLOCK_ROWS;
    const length = 4 * Math.min(BLOCK_ROWS, rows - first) * dimension;
    const bytes = await this.read("vectors.f32", { offset: 4 * first * dimension, length }, length, (bytes) => {
      if (bytes.byteLength !== length) throw damaged("a vector is cut short");
      const numbers = Array.from({ length: Math.min(BLOCK_ROWS, rows - first) }, (_, i) => first + i);
      checkVectors(this.core, dimension, numbers, floatsOf(bytes));
    });
    return floatsOf(bytes);
  }

  /**
   * As they are scanned: in 8 bits, widened. scan.bin is read again, in one request or from the cache, because the wasm
   * module keeps the bytes to itself and a second copy would double the memory.
   */
  async scannedVectors(rows: readonly number[]): Promise<Float32Array[]> {
    const scan = await readWhole(this.read, this.manifest, "scan.bin");
    const { dimension, rows: all } = this.manifest;
    // The wasm module has checked these bytes when the index was opened, and their SHA-256 is the same.
    const scales = new DataView(scan.buffer, scan.byteOffset + SCAN_HEAD_BYTES);
    const values = new Int8Array(scan.buffer, scan.byteOffset + SCAN_HEAD_BYTES + SCAN_FACTORS * 4 * all);
    return rows.map((row) => {
      const scale = scales.getFloat32(4 * row, true);
      return Float32Array.from(values.subarray(row * dimension, (row + 1) * dimension), (value) => value * scale);
    });
  }

  async lookup(word: string, isPrefix: boolean): Promise<Postings> {
    const wanted = this.#piecesOf(word, isPrefix);
    await Promise.all(wanted.map((index) => this.#loadTerms(index)));
    return this.#scan.lookup(word, isPrefix) as Postings;
  }

  #piecesOf(word: string, isPrefix: boolean): number[] {
    const encoder = new TextEncoder();
    const key = encoder.encode(word);
    const wanted: number[] = [];
    this.termPieces.forEach(({ first }, index) => {
      const next = this.termPieces[index + 1]?.first;
      const begins = compare(encoder.encode(first!), key) <= 0 || (isPrefix && first!.startsWith(word));
      const isBefore = next !== undefined && compare(encoder.encode(next), key) <= 0;
      if (begins && !isBefore) wanted.push(index);
    });
    return wanted;
  }

  #loadTerms(index: number): Promise<void> {
    let loading = this.#terms.get(index);
    if (!loading) {
      loading = this.#read("terms.bin", this.termPieces[index]!).then((bytes) => {
        takenIn(() => this.#scan.appendTerms(bytes));
      });
      this.#terms.set(index, loading);
      loading.catch(() => this.#terms.delete(index));
    }
    return loading;
  }

  #read(name: FileName, { offset, length, sha256 }: Piece): Promise<Bytes> {
    return this.read(name, { offset, length }, length, (bytes) => check(name, bytes, sha256));
  }
}

/** A copy: of the bytes' own memory nothing is aligned. */
function floatsOf(bytes: Bytes): Float32Array<ArrayBuffer> {
  return new Float32Array(bytes.slice().buffer);
}

/** In the order of their bytes, as the terms are sorted. */
function compare(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

function readWhole(read: ReadFile, { files }: Manifest, name: FileName): Promise<Bytes> {
  const { bytes, sha256 } = files[name];
  return read(name, undefined, bytes, (content) => check(name, content, sha256));
}

async function check(name: string, bytes: Bytes, sha256: string): Promise<void> {
  if ((await sha256Of(bytes)) === sha256) return;
  throw new EmbervecError(
    "integrity",
    `${name} of the index does not have the SHA-256 of its manifest.json: it was cut off or changed on the way, or the folder holds files of two versions`,
  );
}

/** Raw deflate (RFC 1951). */
async function inflate(bytes: Bytes): Promise<Bytes> {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    for (let read = await reader.read(); !read.done && length <= MAX_JSON_BYTES; read = await reader.read()) {
      pieces.push(read.value);
      length += read.value.byteLength;
    }
  } catch (cause) {
    throw damaged(`a part cannot be unpacked: ${messageOf(cause)}`, cause);
  }
  if (length <= MAX_JSON_BYTES) return joined(pieces);
  reader.cancel().catch(() => {});
  throw damaged("a part is longer than any index has when it is unpacked");
}

const FILES: readonly FileName[] = ["scan.bin", "rows.bin", "pieces.bin", "texts.bin", "terms.bin", "vectors.f32"];

function parseManifest(bytes: Uint8Array): Manifest {
  const { format, version, name, space, probes, dimension, similarity, rows, files } = Object(
    parseJson(bytes),
  ) as Record<string, unknown>;
  if (format !== FORMAT) throw damaged("its manifest.json is not that of an index");
  checkVersion(version, typeof name === "string" ? name : "");
  const isFile = (file: unknown) => isCount(Object(file).bytes) && isDigest(Object(file).sha256);
  const isSound =
    typeof name === "string" &&
    isDimension(dimension) &&
    isSpace(space, probes, dimension) &&
    isSimilarity(similarity) &&
    isCount(rows) &&
    FILES.every((file) => isFile(Object(files)[file])) &&
    Object(files)["vectors.f32"].bytes === 4 * rows * dimension;
  if (!isSound) throw damaged("its manifest.json is not as it was written");
  return { name, space, probes, dimension, similarity, rows, files } as Manifest;
}

/**
 * The table of pieces: number of pieces of texts and of words, u32; for each piece offset and length, u32, and SHA-256; then the first word
 * of each piece of words, as u32 length and UTF-8. All little-endian.
 */
function parsePieces(bytes: Bytes, { files, rows }: Manifest): { texts: Piece[]; terms: Piece[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const number = () => {
    if (at + 4 > bytes.byteLength) throw damaged("pieces.bin is cut short");
    at += 4;
    return view.getUint32(at - 4, true);
  };
  const take = (length: number) => {
    if (at + length > bytes.byteLength) throw damaged("pieces.bin is cut short");
    at += length;
    return bytes.subarray(at - length, at);
  };
  const [textCount, termCount] = [number(), number()];
  const piece = (file: FileName): Piece => {
    const [offset, length] = [number(), number()];
    if (length === 0 || offset + length > files[file].bytes)
      throw damaged(`pieces.bin names what ${file} does not have`);
    const sha256 = Array.from(take(DIGEST_BYTES), (byte) => byte.toString(16).padStart(2, "0")).join("");
    return { offset, length, sha256 };
  };
  if (textCount !== Math.ceil(rows / BLOCK_ROWS)) throw damaged("pieces.bin has other pieces than the manifest says");
  const texts: Piece[] = [];
  for (let i = 0; i < textCount; i++) texts.push(piece("texts.bin"));
  const terms: Piece[] = [];
  for (let i = 0; i < termCount; i++) terms.push(piece("terms.bin"));
  const decoder = new TextDecoder();
  for (const term of terms) term.first = decoder.decode(take(number()));
  return { texts, terms };
}
