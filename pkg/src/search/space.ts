// Whose vectors an index holds: a name, and three texts with their vectors, which no other model gives.

import { EmbervecError } from "../errors.js";
import { scoreOf } from "./core.js";
import type { Probe } from "./parts.js";
import type { EmbeddingSpace } from "../index.js";

/** Of several scripts, with figures and names, so that a tokenizer or weights that differ are seen. */
const PROBE_TEXTS = [
  "The quick brown fox jumps over the lazy dog near the river bank, 42 times.",
  "¿Cuánto cuesta un billete de tren de Zürich a Łódź? – 19,99 €",
  "Machine learning models turn words into numbers; 機械学習 は 言葉 を 数 に する.",
];

/** Of one model computed twice, on any device, it is above 0.99999; of weights in 8 bits to those in 32 about 0.998. */
const MIN_COSINE = 0.9999;

/**
 * For the very same weights in 8 bits, by their SHA-256: activations are rounded to 8 bits, too, and an engine with relaxed SIMD rounds
 * some of them to another integer than one without. The probes' cosine is 0.9998 between the two modules, so an index that was
 * made in Chromium would be refused in Safari.
 */
const MIN_COSINE_SAME_Q8 = 0.999;

export type EncodeTexts = (texts: string[]) => Promise<Float32Array[]>;

export async function makeProbes(encode: EncodeTexts): Promise<Probe[]> {
  const vectors = await encode(PROBE_TEXTS);
  return PROBE_TEXTS.map((text, i) => ({ text, vector: Array.from(vectors[i]!) }));
}

/** A model's space where only the first dimensions of its vectors are taken; those of a shorter one are all taken. */
export function cutTo(space: EmbeddingSpace, truncateDim: number | undefined): EmbeddingSpace {
  return { ...space, dimension: Math.min(space.dimension, truncateDim ?? space.dimension) };
}

/**
 * @param own as it is with the index's `truncateDim`
 * @throws {EmbervecError} `model_mismatch` where the probes have other vectors than they had
 */
export async function checkSpace(
  name: string,
  wanted: EmbeddingSpace,
  probes: readonly Probe[],
  own: EmbeddingSpace,
  encode: EncodeTexts,
): Promise<void> {
  const refuse = (why: string) => {
    throw new EmbervecError(
      "model_mismatch",
      `the index "${name}" needs the model ${nameOf(wanted)}, and this embedder is ${nameOf(own)}: ${why}. Load that model, or make a new index with this one.`,
    );
  };
  if (own.dimension !== wanted.dimension)
    refuse(`its vectors have ${own.dimension} dimensions, not ${wanted.dimension}`);
  const isSame = wanted.weights !== undefined && wanted.weights === own.weights && wanted.dtype === own.dtype;
  const least = isSame && own.dtype === "q8" ? MIN_COSINE_SAME_Q8 : MIN_COSINE;
  const vectors = await encode(probes.map(({ text }) => text));
  for (const [i, { vector }] of probes.entries()) {
    const cosine = scoreOf("cosine", Float32Array.from(vector), vectors[i]!);
    if (!(cosine >= least))
      refuse(`it gives a test text another vector (cosine ${cosine.toFixed(4)}, at least ${least} is wanted)`);
  }
}

function nameOf({ model, revision, dtype }: EmbeddingSpace): string {
  return `"${model}"${revision === undefined ? "" : ` (revision ${revision})`} in ${dtype}`;
}
