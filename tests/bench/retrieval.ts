// What the demo's ready corpora answer, beside what sentence-transformers' `semantic_search` finds in the same passages in 32 bits
// (tests/fixtures/retrieval.json): `cargo xtask corpora --check`.
//
//   node --import tsx tests/bench/retrieval.ts MODEL_DIR PASSAGES_DIR
//
// PASSAGES_DIR has the passages as NAME.json and their vectors, from crate/corpora/encode.mjs, as NAME.DTYPE.f32.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Embedder, semanticSearch } from "embervec";

import { inCommon, MIN_IN_COMMON, readRetrieval, sha256OfPassages } from "../support/retrieval.ts";

const [modelDir, passagesDir] = process.argv.slice(2);
if (passagesDir === undefined) throw new Error("usage: retrieval.ts MODEL_DIR PASSAGES_DIR");
const fixture = readRetrieval();

console.log(
  "| corpus | passages | dtype | same top 10, in the same order | of 10 in common, mean | fewest | scores differ by, at most |",
);
console.log("| --- | --: | --- | --: | --: | --: | --: |");
const failed: string[] = [];
for (const dtype of ["fp32", "q8"] as const) {
  const embedder = await Embedder.load(modelDir!, { dtype, device: "cpu" });
  for (const [name, { sha256: expectedHash, queries }] of Object.entries(fixture.corpora)) {
    const passages = JSON.parse(readFileSync(join(passagesDir, `${name}.json`), "utf8")) as string[];
    if (sha256OfPassages(passages) !== expectedHash)
      throw new Error(`${name} has other passages than retrieval.json is of: run tests/fixtures/retrieval.py`);
    const bytes = new Uint8Array(readFileSync(join(passagesDir, `${name}.${dtype}.f32`)));
    const { dimension } = embedder.info;
    const corpus = passages.map((_, i) => new Float32Array(bytes.buffer, 4 * i * dimension, dimension));

    let same = 0;
    let scoreError = 0;
    const counts: number[] = [];
    for (const { query, rows, scores } of queries) {
      const vector = await embedder.encodeQuery(query);
      const [ranked] = semanticSearch([vector], corpus, { topK: corpus.length });
      const found = ranked!.slice(0, fixture.top_k).map(({ corpusId }) => corpusId);
      if (found.join() === rows.join()) same++;
      counts.push(inCommon(found, rows));
      const own = new Map(ranked!.map(({ corpusId, score }) => [corpusId, score]));
      rows.forEach((row, i) => (scoreError = Math.max(scoreError, Math.abs(own.get(row)! - scores[i]!))));
    }
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
    const cells = [
      name,
      passages.length,
      dtype,
      `${same} of ${queries.length}`,
      mean.toFixed(2),
      Math.min(...counts),
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
