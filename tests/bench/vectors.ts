// The search helpers, in this process: its V8 is that of Chromium, and no page is needed.

import { quantizeEmbeddings, rangesOf, semanticSearch } from "embervec";

import { log, mb, median, ms, report, results, type Row } from "./report.ts";

/** As many passages as 20 books have, in MiniLM's dimensions. */
const ROWS = 50_000;
const DIMENSION = 384;

/** What a program without a helper does: cosine by its definition, then a sort of all. */
function plain(query: Float32Array, corpus: Float32Array[], topK: number): unknown {
  const dot = (a: Float32Array, b: Float32Array): number => {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
    return sum;
  };
  return corpus
    .map((row, corpusId) => ({ corpusId, score: dot(query, row) / Math.sqrt(dot(query, query) * dot(row, row)) }))
    .sort((a, b) => b.score - a.score)
    .slice(0, topK);
}

export function measureVectors(rounds: number): void {
  // Rows of one buffer, as `encode` gives them.
  const buffer = Float32Array.from({ length: (ROWS + 1) * DIMENSION }, () => Math.random() - 0.5);
  const [query, ...corpus] = Array.from({ length: ROWS + 1 }, (_, i) =>
    buffer.subarray(i * DIMENSION, (i + 1) * DIMENSION),
  );
  const ranges = rangesOf(corpus);
  const int8 = quantizeEmbeddings(corpus, "int8", { ranges });
  const binary = quantizeEmbeddings(corpus, "binary");
  const [binaryQuery] = quantizeEmbeddings(query!, "binary");

  const floatBytes = 4 * DIMENSION;
  const cases: { name: string; bytes: number; call: () => unknown }[] = [
    { name: "semanticSearch, float32, cosine", bytes: floatBytes, call: () => semanticSearch(query!, corpus) },
    {
      name: "semanticSearch, float32, dot",
      bytes: floatBytes,
      call: () => semanticSearch(query!, corpus, { similarity: "dot" }),
    },
    { name: "semanticSearch, int8, query of floats", bytes: DIMENSION, call: () => semanticSearch(query!, int8) },
    {
      name: "semanticSearch, binary, query of floats",
      bytes: DIMENSION / 8,
      call: () => semanticSearch(query!, binary),
    },
    {
      name: "semanticSearch, binary",
      bytes: DIMENSION / 8,
      call: () => semanticSearch(binaryQuery!, binary, { precision: "binary" }),
    },
    { name: "three dot products a row, and a sort", bytes: floatBytes, call: () => plain(query!, corpus, 10) },
  ];
  const samples = cases.map((): number[] => []);
  // The first rounds are for the optimising compiler.
  for (let round = -5; round < rounds; round++) {
    log(`vectors ${Math.max(0, round + 1)}/${rounds}`);
    cases.forEach(({ call }, i) => {
      const start = performance.now();
      call();
      if (round >= 0) samples[i]!.push(performance.now() - start);
    });
  }
  report(
    "vectors",
    `The 10 best of ${ROWS.toLocaleString("en")} vectors of ${DIMENSION} dimensions for one query, Node ${process.versions.node}`,
    ["", "ms, median", "ms, best", "corpus, MB"],
    cases.map(
      ({ name, bytes }, i): Row => [name, ms(median(samples[i]!)), ms(Math.min(...samples[i]!)), mb(ROWS * bytes)],
    ),
  );
  results["vectorSamplesMs"] = Object.fromEntries(cases.map(({ name }, i) => [name, samples[i]]));
}
