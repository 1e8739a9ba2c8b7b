// Pure functions on vectors, named and defined as in sentence-transformers' `util`.

import { check, checkValue, type Check, describe, oneOf } from "./check.js";
import { EmbervecError } from "./errors.js";
import type { Precision, SimilarityFunction } from "./types.js";

/** A vector as `encode` returns it, or plain numbers. */
export type Vector = Float32Array | Float64Array | readonly number[];

/** A vector of any {@link Precision}. */
export type AnyVector = Vector | Int8Array | Uint8Array;

/** Options of the functions that compare vectors. */
export interface CompareOptions {
  /**
   * What an `Int8Array` or a `Uint8Array` holds: `int8` or `binary`, `uint8` or `ubinary`. You need it only if both
   * sides are such arrays. Beside a vector of floats, the lengths tell.
   */
  precision?: Precision | undefined;
}

/** Options of {@link semanticSearch}. */
export interface SearchOptions extends CompareOptions {
  /** The largest number of hits for a query; `Infinity`: all vectors of the corpus. Default 10. */
  topK?: number | undefined;
  /** Default `"cosine"`. */
  similarity?: SimilarityFunction | undefined;
}

/** One hit of {@link semanticSearch}. */
export interface SearchHit {
  /** Position in the corpus. */
  corpusId: number;
  /** The similarity to the query; higher is more similar. */
  score: number;
}

const PRECISION = /* @__PURE__ */ oneOf("float32", "int8", "uint8", "binary", "ubinary");
const SIMILARITY = /* @__PURE__ */ oneOf("cosine", "dot", "euclidean", "manhattan");
const TOP_K: [Check, string] = [
  (value) => value === Infinity || (Number.isInteger(value) && (value as number) > 0),
  "a positive integer or Infinity",
];

/**
 * Dot product.
 *
 * @throws {EmbervecError} `invalid_input` names the vector or option that is wrong
 */
export function dot(a: AnyVector, b: AnyVector, options: CompareOptions = {}): number {
  return compareTwo("dot", "dot", a, b, options);
}

/** Cosine of the angle between two vectors, -1 to 1; 0 where one of them is zero. */
export function cosSim(a: AnyVector, b: AnyVector, options: CompareOptions = {}): number {
  return compareTwo("cosSim", "cosine", a, b, options);
}

/**
 * The similarity of every vector of `a` to every vector of `b`, as a matrix: row `i` belongs to the vector `i` of
 * `a`, and has a number for each vector of `b`. One vector counts as a list of one. Euclidean and Manhattan distances
 * are negated, so that larger is always more similar. Quantised vectors are compared as in {@link semanticSearch}.
 */
export function similarity(
  a: AnyVector | readonly AnyVector[],
  b: AnyVector | readonly AnyVector[],
  name: SimilarityFunction = "cosine",
  options: CompareOptions = {},
): Float32Array[] {
  checkValue("the similarity", name, SIMILARITY);
  check("similarity", options, { precision: PRECISION });
  const rows = listOf(a, "a");
  const columns = listOf(b, "b");
  const matrix = Array.from(rows.vectors, () => new Float32Array(columns.vectors.length));
  compare(rows, columns, name, options.precision, (i, j, score) => (matrix[i]![j] = score));
  return matrix;
}

/**
 * Finds, for each query, the `topK` most similar vectors of the corpus, best first. Equal scores keep the corpus's order. One
 * vector counts as a list of one. A number that is not finite is an error, because it has no place in an order.
 *
 * Either side may come from {@link quantizeEmbeddings}, and be compared with floats:
 *
 * - `int8` and `uint8` are compared as the numbers they are, as in sentence-transformers'
 *   `EmbeddingSimilarityEvaluator`. With `similarity: "dot"`, they rank as in `semantic_search_faiss` and
 *   `semantic_search_usearch`: a query that was quantised with the corpus's ranges ({@link rangesOf}) as in their
 *   search, a query of floats as in their rescoring. Leave the query in floats: it finds more (by cosine 95 % of the
 *   5 nearest of 117 texts, instead of 89 %).
 * - `binary` and `ubinary` stand for their signs, 1 and -1. So binary queries rank by Hamming distance, and queries
 *   of floats as in the rescoring of those two functions.
 *
 * @returns one list per query, also for a single one.
 */
export function semanticSearch(
  queries: AnyVector | readonly AnyVector[],
  corpus: AnyVector | readonly AnyVector[],
  options: SearchOptions = {},
): SearchHit[][] {
  check("semanticSearch", options, { topK: TOP_K, similarity: SIMILARITY, precision: PRECISION });
  const { topK = 10, similarity = "cosine", precision } = options;
  const list = listOf(queries, "queries");
  const heaps = Array.from(list.vectors, (): SearchHit[] => []);
  compare(list, listOf(corpus, "corpus"), similarity, precision, (query, corpusId, score) => {
    const heap = heaps[query]!;
    // A later hit is worse than an equal one, so it needs a higher score than the worst.
    if (heap.length < topK || score > heap[0]!.score) keep(heap, topK, { corpusId, score });
  });
  return heaps.map((heap) => heap.sort((a, b) => (isWorse(a, b) ? 1 : -1)));
}

const isWorse = (a: SearchHit, b: SearchHit): boolean =>
  a.score < b.score || (a.score === b.score && a.corpusId > b.corpusId);

/** Adds a hit to a binary heap. Its root is the worst hit, which makes room when the heap is full. */
function keep(heap: SearchHit[], size: number, hit: SearchHit): void {
  let place = heap.length;
  if (place < size) {
    for (let parent; place > 0; place = parent) {
      parent = (place - 1) >> 1;
      if (!isWorse(hit, heap[parent]!)) break;
      heap[place] = heap[parent]!;
    }
  } else {
    place = 0;
    for (let child; (child = 2 * place + 1) < size; place = child) {
      if (child + 1 < size && isWorse(heap[child + 1]!, heap[child]!)) child += 1;
      if (isWorse(hit, heap[child]!)) break;
      heap[place] = heap[child]!;
    }
  }
  heap[place] = hit;
}

// --- comparing -----------------------------------------------------------------------------------------------------

/** No ordinary arrays: where one has been among these, V8's code for the loops below is five times as slow. */
type Numbers = Float32Array | Float64Array | Int8Array | Uint8Array;

/** sentence-transformers normalises with the same smallest length. */
const LEAST_LENGTH = 1e-12;

/**
 * The dot product in double precision, or with the length of `a` the cosine. It has four sums, because additions to a
 * single one wait for each other, which takes twice as long.
 */
export function product(a: Numbers, b: Numbers, lengthOfA?: number): number {
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  let square0 = 0;
  let square1 = 0;
  let square2 = 0;
  let square3 = 0;
  const { length } = a;
  const fours = length - (length % 4);
  let i = 0;
  for (; i < fours; i += 4) {
    const b0 = b[i]!;
    const b1 = b[i + 1]!;
    const b2 = b[i + 2]!;
    const b3 = b[i + 3]!;
    sum0 += a[i]! * b0;
    sum1 += a[i + 1]! * b1;
    sum2 += a[i + 2]! * b2;
    sum3 += a[i + 3]! * b3;
    square0 += b0 * b0;
    square1 += b1 * b1;
    square2 += b2 * b2;
    square3 += b3 * b3;
  }
  for (; i < length; i++) {
    sum0 += a[i]! * b[i]!;
    square0 += b[i]! * b[i]!;
  }
  const sum = sum0 + sum1 + sum2 + sum3;
  return lengthOfA === undefined ? sum : sum / (lengthOfA * lengthFrom(square0 + square1 + square2 + square3));
}

/** Of one that is too long for a number there is no cosine: it would be 0 with every other. */
const lengthFrom = (squares: number): number =>
  squares === Infinity ? NaN : Math.max(Math.sqrt(squares), LEAST_LENGTH);

/** Not by {@link product}, which is faster if its second arguments are of one class. */
export function lengthOf(vector: Numbers): number {
  let squares = 0;
  for (let i = 0; i < vector.length; i++) squares += vector[i]! * vector[i]!;
  return lengthFrom(squares);
}

/** A similarity is made of a sum over the dimensions. */
const TERMS: Record<SimilarityFunction, (x: number, y: number) => number> = {
  cosine: (x, y) => x * y,
  dot: (x, y) => x * y,
  euclidean: (x, y) => (x - y) ** 2,
  manhattan: (x, y) => Math.abs(x - y),
};

/** Larger is more similar, so distances are negated. */
const FROM_SUM: Record<SimilarityFunction, (sum: number, lengths: number) => number> = {
  cosine: (sum, lengths) => sum / lengths,
  dot: (sum) => sum,
  euclidean: (sum) => -Math.sqrt(sum),
  manhattan: (sum) => -sum,
};

type Scorer = (row: Numbers) => number;

/** Compares a query with rows of a format. */
function scorerOf(name: SimilarityFunction, query: Float64Array, { isPacked, bytes }: Format): Scorer {
  const length = name === "cosine" ? lengthOf(query) : undefined;
  if (!isPacked && (name === "cosine" || name === "dot")) return (row) => product(query, row, length);
  const term = TERMS[name];
  const fromSum = FROM_SUM[name];
  if (!isPacked) {
    return (row) => {
      let sum = 0;
      for (let i = 0; i < query.length; i++) sum += term(query[i]!, row[i]!);
      return fromSum(sum, 0);
    };
  }
  // What each half of a byte adds in its place, so that four dimensions of a row take one look-up.
  const sums = new Float64Array(32 * Math.ceil(query.length / 8));
  query.forEach((value, i) => {
    for (let half = 0; half < 16; half++) {
      sums[16 * (i >> 2) + half]! += term(value, (half >> (3 - (i & 3))) & 1 ? 1 : -1);
    }
  });
  const lengths = (length ?? 0) * Math.sqrt(query.length);
  const flip = flipOf(bytes);
  return (row) => {
    let sum = 0;
    for (let i = 0; i < row.length; i++) {
      const byte = row[i]! ^ flip;
      sum += sums[32 * i + ((byte >> 4) & 15)]! + sums[32 * i + 16 + (byte & 15)]!;
    }
    return fromSum(sum, lengths);
  };
}

/** `binary` is `ubinary` less 128 in a signed byte: its highest bit is flipped. */
const flipOf = (bytes: string | undefined): number => (bytes === "Int8Array" ? 0x80 : 0);

function compareTwo(call: string, name: "cosine" | "dot", a: AnyVector, b: AnyVector, options: CompareOptions): number {
  check(call, options, { precision: PRECISION });
  // Nearly every call. Without the preparations for many vectors it takes half the time.
  if (a instanceof Float32Array && b instanceof Float32Array && a.length === b.length && a.length > 0) {
    const score = product(a, b, name === "cosine" ? lengthOf(a) : undefined);
    if (Number.isFinite(Math.fround(score))) return score;
  }
  let result = 0;
  compare(listOfOne(a, "a"), listOfOne(b, "b"), name, options.precision, (_i, _j, score) => (result = score));
  return result;
}

/** Every vector of `b`, in order, with every one of `a`. */
function compare(
  a: List,
  b: List,
  name: SimilarityFunction,
  precision: Precision | undefined,
  visit: (i: number, j: number, score: number) => void,
): void {
  if (a.vectors.length === 0 || b.vectors.length === 0) return;
  const [formatA, formatB] = formatsOf([a, b], precision) as [Format, Format];
  const isScaled = formatA.bytes !== formatB.bytes && !formatA.isPacked && !formatB.isPacked;
  if (isScaled && name !== "cosine" && name !== "dot") {
    throw invalid(`a ${name} distance of floats to bytes is not defined: quantise both, or take "cosine" or "dot"`);
  }
  const scorers = Array.from(a.vectors, (_, i) => {
    const vector = read(a, i, formatA);
    return scorerOf(name, formatA.isPacked ? signsOf(vector, formatA) : new Float64Array(vector), formatB);
  });
  // int8 and uint8 as floats, so that `product` sees rows of one class.
  const numbers = formatB.bytes && !formatB.isPacked ? new Float32Array(formatB.dimension) : undefined;
  for (let j = 0; j < b.vectors.length; j++) {
    let row = read(b, j, formatB);
    if (numbers) {
      numbers.set(row);
      row = numbers;
    }
    for (let i = 0; i < scorers.length; i++) {
      const score = scorers[i]!(row);
      // Any number that is not finite makes the score so. A matrix holds scores in 32 bits.
      if (!Number.isFinite(Math.fround(score))) {
        assertFinite(read(a, i, formatA), a.nameOf(i));
        assertFinite(row, b.nameOf(j));
        throw invalid(`${a.nameOf(i)} and ${b.nameOf(j)} have numbers that are too large to be compared`);
      }
      visit(i, j, score);
    }
  }
}

// --- reading -------------------------------------------------------------------------------------------------------

const invalid = (message: string): EmbervecError => new EmbervecError("invalid_input", message);

/** The name of a vector's class, or "". `instanceof` does not know the classes of another realm. */
const kindOf = (value: unknown): string =>
  ArrayBuffer.isView(value) ? ((value as Numbers)[Symbol.toStringTag] ?? "") : Array.isArray(value) ? "Array" : "";
const areFloats = (kind: string): boolean => kind === "Float32Array" || kind === "Float64Array" || kind === "Array";
const areBytes = (kind: string): boolean => kind === "Int8Array" || kind === "Uint8Array";

/** What a caller gives as vectors. They are checked as they are read. */
interface List {
  vectors: readonly unknown[];
  nameOf: (i: number) => string;
}

const listOfOne = (vector: unknown, name: string): List => ({ vectors: [vector], nameOf: () => name });

function listOf(value: unknown, name: string): List {
  const isArray = Array.isArray(value);
  if (isArray && typeof value[0] !== "number") return { vectors: value, nameOf: (i) => `${name}[${i}]` };
  if (isArray || ArrayBuffer.isView(value)) return listOfOne(value, name);
  throw invalid(`${name} must be a vector or an array of vectors, not ${describe(value)}`);
}

/** What the vectors of a list must be. */
interface Format {
  /** The class of quantised ones; of floats there are several. */
  bytes: string | undefined;
  /** Whether each byte holds eight dimensions. */
  isPacked: boolean;
  dimension: number;
  /** The vector that says how many there are. */
  reference: string;
}

/** By the first vector of each list. What is no vector is left to {@link read}. */
function formatsOf(lists: List[], precision: Precision | undefined): Format[] {
  const firsts = lists.map(({ vectors, nameOf }) => {
    const { length } = Object(vectors[0]) as { length: number };
    return { kind: kindOf(vectors[0]), length, name: nameOf(0) };
  });
  const floats = firsts.find(({ kind }) => areFloats(kind));
  const bytes = firsts.find(({ kind }) => areBytes(kind));
  if (bytes && !precision) {
    const sign = bytes.kind === "Int8Array" ? "" : "u";
    const isWhole = !floats || bytes.length === floats.length;
    const isPacked = !floats || bytes.length === Math.ceil(floats.length / 8);
    if (!isWhole && !isPacked) {
      const size = `${floats.length} dimensions of ${floats.name}`;
      throw invalid(`${bytes.name} has ${bytes.length} bytes: neither ${sign}int8 nor ${sign}binary of the ${size}`);
    }
    if (isWhole && isPacked) {
      throw invalid(`${bytes.name} may be ${sign}int8 or ${sign}binary: say which by option "precision"`);
    }
    precision = `${sign}${isWhole ? "int8" : "binary"}`;
  }
  const isPacked = precision === "binary" || precision === "ubinary";
  const { name: reference, length } = floats ?? bytes ?? firsts[0]!;
  const dimension = isPacked && !floats ? 8 * length : length;
  const format = { bytes: undefined, isPacked: false, dimension, reference };
  if (!precision || precision === "float32") return firsts.map(() => format);
  const ofBytes = { bytes: precision.startsWith("u") ? "Uint8Array" : "Int8Array", isPacked, dimension, reference };
  return firsts.map(({ kind }) => (areBytes(kind) ? ofBytes : format));
}

/** A vector, checked; its numbers may still not be finite. */
function read({ vectors, nameOf }: List, i: number, { bytes, isPacked, dimension, reference }: Format): Numbers {
  const vector = vectors[i] as Numbers | readonly number[];
  const kind = kindOf(vector);
  if (bytes ? kind !== bytes : !areFloats(kind)) {
    const kinds = bytes ?? "Float32Array, Float64Array or an array of numbers";
    throw invalid(`${nameOf(i)} must be a vector (${kinds}), not ${describe(vector)}`);
  }
  if (vector.length === 0) throw invalid(`${nameOf(i)} is empty`);
  const length = isPacked ? Math.ceil(dimension / 8) : dimension;
  if (vector.length !== length) {
    const [unit, means] = isPacked ? ["bytes", `, which take ${length} bytes`] : ["dimensions", ""];
    throw invalid(`${nameOf(i)} has ${vector.length} ${unit}, but ${reference} has ${dimension} dimensions${means}`);
  }
  return kind === "Array" ? new Float64Array(assertFinite(vector, nameOf(i))) : (vector as Numbers);
}

/** 1 for a bit that is set, -1 for one that is not. */
function signsOf(packed: Numbers, { bytes, dimension }: Format): Float64Array {
  const flip = flipOf(bytes);
  return new Float64Array(dimension).map((_, i) => (((packed[i >> 3]! ^ flip) >> (7 - (i & 7))) & 1 ? 1 : -1));
}

function assertFinite<T extends Numbers | readonly number[]>(vector: T, name: string): T {
  for (let i = 0; i < vector.length; i++) {
    if (!Number.isFinite(vector[i])) throw invalid(`${name}[${i}] must be a finite number, not ${describe(vector[i])}`);
  }
  return vector;
}

// --- quantising ----------------------------------------------------------------------------------------------------

/** The smallest and the largest value of each dimension. */
export interface Ranges {
  /** The smallest values. */
  min: Vector;
  /** The largest values. */
  max: Vector;
}

/** Options of {@link quantizeEmbeddings}. */
export interface QuantizeOptions {
  /** For `int8` and `uint8`; beats `calibrationEmbeddings`. */
  ranges?: Ranges | undefined;
  /** Vectors to take the ranges from. Default: the vectors themselves. */
  calibrationEmbeddings?: readonly Vector[] | undefined;
}

const QUANTIZE_OPTIONS: Record<keyof QuantizeOptions, [Check, string]> = {
  ranges: [
    (value) => typeof value === "object" && value !== null && "min" in value && "max" in value,
    "an object with the vectors `min` and `max`",
  ],
  calibrationEmbeddings: [(value) => Array.isArray(value), "an array of vectors"],
};

/** Steps of a byte. */
const STEPS = 255;

/**
 * Converts vectors to fewer bits. `int8` and `uint8` divide each dimension's range into 255 steps; `binary`
 * and `ubinary` keep the sign, eight dimensions in a byte, the first in its highest bit (`binary`
 * less 128, as a signed byte). One vector counts as a list of one.
 *
 * Vectors can only be compared if they were quantised with the same ranges. Keep those of the corpus for later vectors:
 *
 * ```js
 * const ranges = rangesOf(corpus);
 * const small = quantizeEmbeddings(corpus, "int8", { ranges });
 * small.push(...quantizeEmbeddings(another, "int8", { ranges }));
 * const [hits] = semanticSearch(query, small);
 * ```
 */
export function quantizeEmbeddings(
  embeddings: Vector | readonly Vector[],
  precision: "float32",
  options?: QuantizeOptions,
): Float32Array[];
export function quantizeEmbeddings(
  embeddings: Vector | readonly Vector[],
  precision: "int8" | "binary",
  options?: QuantizeOptions,
): Int8Array[];
export function quantizeEmbeddings(
  embeddings: Vector | readonly Vector[],
  precision: "uint8" | "ubinary",
  options?: QuantizeOptions,
): Uint8Array[];
export function quantizeEmbeddings(
  embeddings: Vector | readonly Vector[],
  precision: Precision,
  options?: QuantizeOptions,
): (Float32Array | Int8Array | Uint8Array)[];
export function quantizeEmbeddings(
  embeddings: Vector | readonly Vector[],
  precision: Precision,
  options: QuantizeOptions = {},
): (Float32Array | Int8Array | Uint8Array)[] {
  checkValue("precision", precision, PRECISION);
  check("quantizeEmbeddings", options, QUANTIZE_OPTIONS);
  const list = listOf(embeddings, "embeddings");
  const [format] = formatsOf([list], "float32") as [Format];
  const vectors = floatsOf(list, format);
  switch (precision) {
    case "float32":
      return vectors.map((vector) => vector.slice());
    case "ubinary":
      return vectors.map(packSigns);
    case "binary":
      return vectors.map((vector) => signed(packSigns(vector)));
    case "int8":
    case "uint8":
      break;
  }
  if (vectors.length === 0) return [];
  const { ranges, calibrationEmbeddings = embeddings } = options;
  const bound = (name: "min" | "max") => floatsOf(listOfOne(ranges![name], `ranges.${name}`), format)[0]!;
  const { min, max } = ranges
    ? { min: bound("min"), max: bound("max") }
    : rangesIn(floatsOf(listOf(calibrationEmbeddings, "calibrationEmbeddings"), format));
  const steps = min.map((least, i) => {
    if (least > max[i]!) throw invalid(`ranges.min[${i}] is above ranges.max[${i}]`);
    // In float32, as sentence-transformers computes: a step's border must not move.
    // A dimension without a range has steps of 1, as there.
    return Math.fround(Math.fround(max[i]! - least) / STEPS) || 1;
  });
  return vectors.map((vector) => {
    const positions = Uint8Array.from(vector, (value, i) => {
      const position = Math.fround(Math.fround(value - min[i]!) / steps[i]!);
      return Math.min(STEPS, Math.max(0, Math.trunc(position)));
    });
    return precision === "uint8" ? positions : signed(positions);
  });
}

const signed = (bytes: Uint8Array): Int8Array => Int8Array.from(bytes, (byte) => byte - 128);

/** The ranges of a corpus, for {@link quantizeEmbeddings}. The corpus needs at least two vectors. */
export function rangesOf(embeddings: readonly Vector[]): Ranges {
  const list = listOf(embeddings, "embeddings");
  return rangesIn(floatsOf(list, formatsOf([list], "float32")[0]!));
}

function rangesIn(vectors: Float32Array[]): { min: Float32Array; max: Float32Array } {
  if (vectors.length < 2) {
    throw invalid(
      "the ranges of int8 and uint8 need at least two vectors: " +
        "give quantizeEmbeddings `ranges` of your corpus (rangesOf) or `calibrationEmbeddings`",
    );
  }
  const min = vectors[0]!.slice();
  const max = vectors[0]!.slice();
  for (const vector of vectors) {
    for (let i = 0; i < vector.length; i++) {
      min[i] = Math.min(min[i]!, vector[i]!);
      max[i] = Math.max(max[i]!, vector[i]!);
    }
  }
  return { min, max };
}

/** As numpy's `packbits(vector > 0)`: the last byte is filled up with zeros. */
function packSigns(vector: Float32Array): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(vector.length / 8));
  for (let i = 0; i < vector.length; i++) {
    if (vector[i]! > 0) bytes[i >> 3]! |= 0x80 >> (i & 7);
  }
  return bytes;
}

/** In float32, which is what sentence-transformers quantises. */
function floatsOf(list: List, format: Format): Float32Array[] {
  return Array.from(list.vectors, (_, i) => {
    const vector = read(list, i, format);
    return assertFinite(vector instanceof Float32Array ? vector : new Float32Array(vector), list.nameOf(i));
  });
}
