// The adapter to LangChain.js, with its core.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Embeddings } from "@langchain/core/embeddings";
import { Embedder } from "embervec";
import { EmbervecEmbeddings } from "embervec/langchain";

import {
  assertNear,
  countLoads,
  countWarnings,
  EXACT,
  goldens,
  isError,
  listenersOf,
  norm,
  shortened,
  tiny,
  withPrompt,
} from "./support.ts";

test("queries and documents have the model's own prompts", async () => {
  const embeddings: Embeddings = new EmbervecEmbeddings({ model: tiny("tiny-prompts"), ...EXACT });
  const documents = withPrompt("tiny-prompts", "document");
  const vectors = await embeddings.embedDocuments(documents.map(({ text }) => text));
  documents.forEach(({ text, vector }, i) => assertNear(vectors[i]!, vector, text));
  for (const { text, vector } of withPrompt("tiny-prompts", "query")) {
    assertNear(await embeddings.embedQuery(text), vector, text);
  }
  assert.ok(Array.isArray(vectors[0]) && embeddings instanceof Embeddings);
  assert.deepEqual(await embeddings.embedDocuments([]), []);
  await (embeddings as EmbervecEmbeddings).dispose();
});

test("prompts of one's own, for each role", async () => {
  const prompts = { query: "query: ", document: "passage: " };
  const embedder = await Embedder.load(tiny("tiny-prompts"), EXACT);
  const embeddings = new EmbervecEmbeddings({ embedder, prompts });
  const encoded = async (prompt: string) => Array.from(await embedder.encode("fox", { prompt }));
  assert.deepEqual(await embeddings.embedQuery("fox"), await encoded("query: "));
  assert.deepEqual((await embeddings.embedDocuments(["fox"]))[0], await encoded("passage: "));
  // The other is the model's own.
  const half = new EmbervecEmbeddings({ embedder, prompts: { query: "" } });
  assert.deepEqual(await half.embedQuery("fox"), await encoded(""));
  assert.deepEqual((await half.embedDocuments(["fox"]))[0], Array.from(await embedder.encodeDocument("fox")));
  const wrong = new EmbervecEmbeddings({ embedder, prompts: { passage: "passage: " } as object });
  await assert.rejects(wrong.embedQuery("fox"), isError("invalid_input", /no "passage"/));
  await embedder.dispose();
});

test("the pooling is the model's own", async () => {
  for (const name of ["tiny-cls", "tiny-weightedmean", "tiny-concat"]) {
    const embeddings = new EmbervecEmbeddings({ model: tiny(name), ...EXACT, maxRetries: 0 });
    const cases = goldens(name);
    const vectors = await embeddings.embedDocuments(cases.map(({ text }) => text));
    cases.forEach(({ text, vector }, i) => assertNear(vectors[i]!, vector, `${name}: ${text}`));
    await embeddings.dispose();
  }
});

test("texts go to the embedder as they are, in one call", async () => {
  const calls: unknown[] = [];
  const fake = {
    encodeDocument: async (texts: string[]) => {
      calls.push(texts);
      return texts.map(() => new Float32Array(2));
    },
  } as unknown as Embedder;
  const texts = Array.from({ length: 1500 }, (_, i) => `line ${i}\nanother line`);
  await new EmbervecEmbeddings({ embedder: fake }).embedDocuments(texts);
  assert.deepEqual(calls, [texts]);
});

test("dimensions are kept and scaled", async () => {
  const [{ text, vector }] = goldens("tiny-cls") as [ReturnType<typeof goldens>[number]];
  const embeddings = new EmbervecEmbeddings({ model: tiny("tiny-cls"), dimensions: 8, ...EXACT });
  const query = await embeddings.embedQuery(text);
  assertNear(query, shortened(vector, 8), text);
  assert.ok(Math.abs(norm(query) - 1) < 1e-6);
  assert.deepEqual((await embeddings.embedDocuments([text]))[0], query);
  await embeddings.dispose();
});

test("the signal ends a load and a call", async () => {
  const reason = new Error("not wanted any more");
  const early = new AbortController();
  const loading = new EmbervecEmbeddings({ model: tiny("tiny-cls"), signal: early.signal, ...EXACT });
  const waiting = loading.embedQuery("fox");
  early.abort(reason);
  await assert.rejects(waiting, reason);

  const embeddings = new EmbervecEmbeddings({ model: tiny("tiny-cls"), ...EXACT });
  await embeddings.embedQuery("fox");
  const abort = new AbortController();
  const texts = Array.from({ length: 20_000 }, (_, i) => `the fox ${i} jumps over the river`);
  const encoding = embeddings.embedDocuments(texts, { signal: abort.signal });
  setTimeout(() => abort.abort(reason), 50);
  const started = performance.now();
  await assert.rejects(encoding, reason);
  assert.ok(performance.now() - started < 2000);
  // Only that call.
  assert.equal((await embeddings.embedQuery("fox")).length, 32);
  await embeddings.dispose();
});

test("calls leave no listener at their signals, and no warning", async () => {
  const warnings = countWarnings();
  const { signal } = new AbortController();
  const { signal: own } = new AbortController();
  const embeddings = new EmbervecEmbeddings({ model: tiny("tiny-cls"), signal, ...EXACT });
  const calls = [
    () => embeddings.embedQuery("fox", { signal: own }),
    () => embeddings.embedDocuments(["fox"], { signal: own }),
  ];
  await Promise.all(Array.from({ length: 50 }, (_, i) => calls[i % 2]!()));
  for (let i = 0; i < 50; i++) await calls[i % 2]!();
  assert.deepEqual([listenersOf(signal), listenersOf(own)], [0, 0]);
  assert.deepEqual(await warnings.end(), []);
  await embeddings.dispose();
});

test("dispose ends a load, and the next call loads again", async () => {
  const embeddings = new EmbervecEmbeddings({ model: tiny("tiny-cls"), ...EXACT });
  const waiting = embeddings.embedQuery("fox");
  const [ended] = await Promise.allSettled([waiting, embeddings.dispose()]);
  assert.ok(isError("disposed", /being loaded/)((ended as PromiseRejectedResult).reason));
  assert.equal((await embeddings.embedQuery("fox")).length, 32);
  await embeddings.dispose();
});

test("a model is loaded once, with the first text; an embedder stays its owner's", async () => {
  const loads = countLoads();
  const embeddings = new EmbervecEmbeddings({ model: tiny("tiny-cls"), ...EXACT });
  assert.equal(loads.count, 0);
  await Promise.all([embeddings.embedQuery("fox"), embeddings.embedDocuments(["fox"])]);
  assert.equal(loads.count, 1);
  loads.restore();
  await embeddings.dispose();

  const embedder = await Embedder.load(tiny("tiny-cls"), EXACT);
  const borrowed = new EmbervecEmbeddings({ embedder });
  await borrowed.embedQuery("fox");
  await borrowed.dispose();
  assert.equal((await embedder.encode("fox")).length, 32);
  await embedder.dispose();
  assert.throws(() => new EmbervecEmbeddings({}), isError("invalid_input", /no model/));
});
