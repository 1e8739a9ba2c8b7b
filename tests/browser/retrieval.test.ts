// What the demo's ready corpora answer, compared with what sentence-transformers' `semantic_search` finds in the same
// passages in 32 bits.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openPage, type TestPage } from "../support/browser.ts";
import { inCommon, MIN_IN_COMMON, readRetrieval, sha256OfPassages } from "../support/retrieval.ts";

declare const embedder: import("../../pkg/src/index.ts").Embedder;

/** Of scores in 32 bits: vectors are within 1e-5 of Python's in each component, and their products nearer still. */
const MAX_ERROR = 1e-5;

const { top_k: topK, corpora } = readRetrieval();

let browser: TestPage;

before(async () => {
  browser = await openPage();
});
after(() => browser.close());

/** Loads a model in the page. */
async function load(model: string, dtype: "q8" | "fp32"): Promise<void> {
  await browser.page.evaluate(
    async ({ model, dtype }) => {
      const main = "/pkg/dist/index.js";
      const { Embedder } = await import(main);
      Object.assign(globalThis, { embedder: await Embedder.load(model, { dtype, device: "cpu", cache: "memory" }) });
    },
    { model, dtype },
  );
}

/** All passages of a ready corpus in the order of their rows, and what is found for each query, by row. */
async function ask(corpus: string, queries: string[]): Promise<{ passages: string[]; found: number[][] }> {
  return browser.page.evaluate(
    async ({ corpus, queries, topK }) => {
      const search = "/pkg/dist/search.js";
      const { SearchIndex } = await import(search);
      const index = await SearchIndex.fetch(`/www/dist/corpora/${corpus}/`, { embedder });
      const passages: string[] = [];
      const firstRow = new Map<string, number>();
      for (const { id } of await index.documents()) {
        firstRow.set(id, passages.length);
        const { text, passages: places } = (await index.get(id))!;
        for (const { start, end } of places) passages.push(text.slice(start, end));
      }
      const found: number[][] = [];
      for (const query of queries) {
        const { hits } = await index.search(query, { mode: "semantic", topK });
        found.push(hits.map((hit: { id: string; passage: number }) => firstRow.get(hit.id)! + hit.passage));
      }
      await index.close();
      return { passages, found };
    },
    { corpus, queries, topK },
  );
}

for (const [name, { passages: count, sha256, queries }] of Object.entries(corpora)) {
  test(`${name} in 8 bits: ${MIN_IN_COMMON} of 10 are those of sentence-transformers`, async (t) => {
    await load("/www/dist/models/all-MiniLM-L6-v2/", "q8");
    const { passages, found } = await ask(
      name,
      queries.map(({ query }) => query),
    );
    await browser.page.evaluate(() => embedder.dispose());
    assert.equal(passages.length, count, "passages; if the corpus has changed, run tests/fixtures/retrieval.py");
    assert.equal(sha256OfPassages(passages), sha256, "the passages are others: run tests/fixtures/retrieval.py");
    const counts = queries.map(({ rows }, i) => inCommon(found[i]!, rows));
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
    t.diagnostic(`${mean.toFixed(2)} of ${topK} on average, at least ${Math.min(...counts)}`);
    const shown = queries.map(({ query }, i) => `${counts[i]} ${query}`).join("\n");
    assert.ok(mean >= MIN_IN_COMMON, `${mean} of ${topK} on average:\n${shown}`);

    // All passages in 32 bits take minutes: `cargo xtask corpora --check`. Here the best must have the same scores.
    await load("/www/models/all-MiniLM-L6-v2/", "fp32");
    const scores = await browser.page.evaluate(
      async (asked) => {
        const texts = [...new Set(asked.flatMap(({ passages }) => passages))];
        const vectors = await embedder.encodeDocument(texts);
        const vectorOf = new Map(texts.map((text, i) => [text, vectors[i]!]));
        const scores: number[][] = [];
        for (const { query, passages } of asked) {
          const all = passages.map((text) => vectorOf.get(text)!);
          scores.push([...embedder.similarity([await embedder.encodeQuery(query)], all)[0]!]);
        }
        await embedder.dispose();
        return scores;
      },
      queries.map(({ query, rows }) => ({ query, passages: rows.map((row) => passages[row]!) })),
    );
    let worst = 0;
    for (const [i, { query, scores: expected }] of queries.entries()) {
      for (const [place, score] of scores[i]!.entries()) {
        const error = Math.abs(score - expected[place]!);
        worst = Math.max(worst, error);
        assert.ok(error < MAX_ERROR, `${query}, place ${place}: ${score} in place of ${expected[place]}`);
      }
      assert.deepEqual(
        scores[i],
        scores[i]!.toSorted((a, b) => b - a),
        `${query}: in the same order`,
      );
    }
    t.diagnostic(`in 32 bits scores differ by ${worst.toExponential(1)} at most`);
  });
}
