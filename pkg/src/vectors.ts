// Pure functions on vectors, named and defined as in sentence-transformers' `util`.

import { EmbervecError, shown } from "./errors.js";
import type { Precision, SimilarityFunction } from "./types.js";

type Vector = Float32Array | readonly number[];

function sameLength(a: Vector, b: Vector): number {
  if (a.length !== b.length) {
    throw new EmbervecError("invalid_input", `vectors of ${a.length} and ${b.length} dimensions cannot be compared`);
  }
  return a.length;
}

/** Dot product. */
export function dot(a: Vector, b: Vector): number {
  const length = sameLength(a, b);
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** Cosine of the angle between two vectors, -1 to 1; 0 where one of them is zero. */
export function cosSim(a: Vector, b: Vector): number {
  // sentence-transformers normalises with the same smallest length.
  const length = (v: Vector) => Math.max(Math.sqrt(dot(v, v)), 1e-12);
  return dot(a, b) / (length(a) * length(b));
}

/** Negated, so that larger is more similar. */
function euclideanSim(a: Vector, b: Vector): number {
  const length = sameLength(a, b);
  let sum = 0;
  for (let i = 0; i < length; i++) sum += (a[i]! - b[i]!) ** 2;
  return -Math.sqrt(sum);
}

/** Negated, so that larger is more similar. */
function manhattanSim(a: Vector, b: Vector): number {
  const length = sameLength(a, b);
  let sum = 0;
  for (let i = 0; i < length; i++) sum += Math.abs(a[i]! - b[i]!);
  return -sum;
}

const SIMILARITIES: Record<SimilarityFunction, (a: Vector, b: Vector) => number> = {
  cosine: cosSim,
  dot,
  euclidean: euclideanSim,
  manhattan: manhattanSim,
};

function similarityOf(name: SimilarityFunction): (a: Vector, b: Vector) => number {
  if (typeof name !== "string" || !Object.hasOwn(SIMILARITIES, name)) {
    throw new EmbervecError(
      "invalid_input",
      `similarity ${shown(name)} does not exist; there are: ${Object.keys(SIMILARITIES).join(", ")}`,
    );
  }
  return SIMILARITIES[name];
}

/**
 * The similarity of every vector of `a` with every vector of `b`, as a matrix: row `i` is an array
 * of `b.length` numbers. Euclidean and Manhattan distances are negated, so that larger is always
 * more similar.
 */
export function similarity(
  a: readonly Vector[],
  b: readonly Vector[],
  name: SimilarityFunction = "cosine",
): Float32Array[] {
  const score = similarityOf(name);
  return a.map((row) => Float32Array.from(b, (column) => score(row, column)));
}

/** One hit of {@link semanticSearch}. */
export interface SearchHit {
  /** Position in the corpus. */
  corpusId: number;
  score: number;
}

/**
 * For each query the `topK` most similar vectors of the corpus, best first.
 *
 * @returns one list per query, also for a single one.
 */
export function semanticSearch(
  queries: Float32Array | readonly Float32Array[],
  corpus: readonly Float32Array[],
  { topK = 10, similarity: name = "cosine" }: { topK?: number; similarity?: SimilarityFunction } = {},
): SearchHit[][] {
  const score = similarityOf(name);
  const list = queries instanceof Float32Array ? [queries] : queries;
  return list.map((query) =>
    corpus
      .map((vector, corpusId): SearchHit => ({ corpusId, score: score(query, vector) }))
      // Equal scores keep the corpus's order: Array.prototype.sort is stable.
      .sort((a, b) => b.score - a.score)
      .slice(0, topK),
  );
}

/** The smallest and the largest value of each dimension. */
export interface Ranges {
  min: Vector;
  max: Vector;
}

/** Options of {@link quantizeEmbeddings}. */
export interface QuantizeOptions {
  /** For `int8` and `uint8`; beats `calibrationEmbeddings`. */
  ranges?: Ranges;
  /** Vectors to take the ranges from. Default: the vectors themselves. */
  calibrationEmbeddings?: readonly Vector[];
}

/** Steps of a byte. */
const STEPS = 255;

/**
 * Vectors in fewer bits. `int8` and `uint8` divide each dimension's range into 255 steps; `binary`
 * and `ubinary` keep the sign, eight dimensions in a byte, the first in its highest bit (`binary`
 * less 128, as a signed byte).
 */
export function quantizeEmbeddings(embeddings: readonly Vector[], precision: "float32", options?: QuantizeOptions): Float32Array[];
export function quantizeEmbeddings(embeddings: readonly Vector[], precision: "int8" | "binary", options?: QuantizeOptions): Int8Array[];
export function quantizeEmbeddings(embeddings: readonly Vector[], precision: "uint8" | "ubinary", options?: QuantizeOptions): Uint8Array[];
export function quantizeEmbeddings(
  embeddings: readonly Vector[],
  precision: Precision,
  options?: QuantizeOptions,
): (Float32Array | Int8Array | Uint8Array)[];
export function quantizeEmbeddings(
  embeddings: readonly Vector[],
  precision: Precision,
  options: QuantizeOptions = {},
): (Float32Array | Int8Array | Uint8Array)[] {
  switch (precision) {
    case "float32":
      return embeddings.map((vector) => Float32Array.from(vector));
    case "binary":
      return embeddings.map((vector) => Int8Array.from(packSigns(vector), (byte) => byte - 128));
    case "ubinary":
      return embeddings.map(packSigns);
    case "int8":
    case "uint8": {
      if (embeddings.length === 0) return [];
      const { min, max } = options.ranges ?? rangesOf(options.calibrationEmbeddings ?? embeddings);
      return embeddings.map((vector) => {
        sameLength(vector, min);
        const bucket = (value: number, i: number) => {
          // In float32, as sentence-transformers computes: a step's border must not move.
          // A dimension without a range has steps of 1, as there.
          const step = Math.fround(Math.fround(max[i]! - min[i]!) / STEPS) || 1;
          const steps = Math.fround(Math.fround(value - min[i]!) / step);
          return Math.min(STEPS, Math.max(0, Math.trunc(steps)));
        };
        const buckets = Uint8Array.from(vector, bucket);
        return precision === "uint8" ? buckets : Int8Array.from(buckets, (value) => value - 128);
      });
    }
    default:
      throw new EmbervecError(
        "invalid_input",
        `precision ${shown(precision)} does not exist; there are: float32, int8, uint8, binary, ubinary`,
      );
  }
}

function rangesOf(vectors: readonly Vector[]): Ranges {
  const first = vectors[0];
  if (first === undefined || vectors.length < 2) {
    throw new EmbervecError(
      "invalid_input",
      "int8 and uint8 need ranges: give `ranges`, or `calibrationEmbeddings` of at least two vectors",
    );
  }
  const min = Float32Array.from(first);
  const max = Float32Array.from(first);
  for (const vector of vectors) {
    sameLength(vector, first);
    for (let i = 0; i < vector.length; i++) {
      min[i] = Math.min(min[i]!, vector[i]!);
      max[i] = Math.max(max[i]!, vector[i]!);
    }
  }
  return { min, max };
}

/** As numpy's `packbits(vector > 0)`: the last byte is filled up with zeros. */
function packSigns(vector: Vector): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(vector.length / 8));
  for (let i = 0; i < vector.length; i++) {
    if (vector[i]! > 0) bytes[i >> 3]! |= 0x80 >> (i & 7);
  }
  return bytes;
}
