// What the demo's ready corpora answer, beside what sentence-transformers' `semantic_search` finds in the same passages in 32 bits
// (tests/fixtures/retrieval.json): `cargo xtask corpora --check`.
//
//   node --import tsx tests/bench/retrieval.ts MODEL_DIR PASSAGES_DIR
//
// PASSAGES_DIR has the passages as NAME.json and their vectors, from crate/corpora/encode.mjs, as NAME.DTYPE.f32.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Embedder, semanticSearch } from "embervec";

/** How many of the ten best must be the same in 8 bits, on average. */
const MIN_IN_COMMON = 9;

interface Expected {
  sha256: string;
  queries: { query: string; rows: number[]; scores: number[] }[];
}

const [modelDir, passagesDir] = process.argv.slice(2);
if (passagesDir === undefined) throw new Error("usage: retrieval.ts MODEL_DIR PASSAGES_DIR");
const fixture = JSON.parse(readFileSync("tests/fixtures/retrieval.json", "utf8")) as {
  top_k: number;
  corpora: Record<string, Expected>;
};

/** As retrieval.py computes it: each passage after its number of bytes. */
function sha256(passages: string[]): string {
  const hash = createHash("sha256");
  for (const passage of passages) {
    const bytes = Buffer.from(passage);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(bytes.length));
    hash.update(length).update(bytes);
  }
  return hash.digest("hex");
}

console.log(
  "| corpus | passages | dtype | same top 10, in the same order | of 10 in common, mean | fewest | scores differ by, at most |",
);
console.log("| --- | --: | --- | --: | --: | --: | --: |");
const failed: string[] = [];
for (const dtype of ["fp32", "q8"] as const) {
  const embedder = await Embedder.load(modelDir!, { dtype, device: "cpu" });
  for (const [name, { sha256: expectedHash, queries }] of Object.entries(fixture.corpora)) {
    const passages = JSON.parse(readFileSync(join(passagesDir, `${name}.json`), "utf8")) as string[];
    if (sha256(passages) !== expectedHash)
      throw new Error(`${name} has other passages than retrieval.json is of: run tests/fixtures/retrieval.py`);
    const bytes = new Uint8Array(readFileSync(join(passagesDir, `${name}.${dtype}.f32`)));
    const { dimension } = embedder.info;
    const corpus = passages.map((_, i) => new Float32Array(bytes.buffer, 4 * i * dimension, dimension));

    let same = 0;
    let scoreError = 0;
    const inCommon: number[] = [];
    for (const { query, rows, scores } of queries) {
      const vector = await embedder.encodeQuery(query);
      const [ranked] = semanticSearch([vector], corpus, { topK: corpus.length });
      const found = ranked!.slice(0, fixture.top_k).map(({ corpusId }) => corpusId);
      if (found.join() === rows.join()) same++;
      inCommon.push(found.filter((row) => rows.includes(row)).length);
      const own = new Map(ranked!.map(({ corpusId, score }) => [corpusId, score]));
      rows.forEach((row, i) => (scoreError = Math.max(scoreError, Math.abs(own.get(row)! - scores[i]!))));
    }
    const mean = inCommon.reduce((sum, count) => sum + count, 0) / inCommon.length;
    const cells = [
      name,
      passages.length,
      dtype,
      `${same} of ${queries.length}`,
      mean.toFixed(2),
      Math.min(...inCommon),
      scoreError.toExponential(1),
    ];
    console.log(`| ${cells.join(" | ")} |`);
    const isGood = dtype === "fp32" ? same === queries.length : mean >= MIN_IN_COMMON;
    if (!isGood) failed.push(`${name} in ${dtype}`);
  }
  await embedder.dispose();
}
if (failed.length > 0) {
  console.error(`too little of what sentence-transformers finds is found: ${failed.join(", ")}`);
  process.exitCode = 1;
}
