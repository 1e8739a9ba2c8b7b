// The proposed built-in API, as a polyfill.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Embedder } from "embervec";
import {
  install,
  SemanticEmbedder,
  type SemanticEmbedderMonitor,
  type SemanticTaskType,
} from "embervec/semantic-embedder";

import { assertNear, EXACT, goldens, isError, tiny, withPrompt } from "./support.ts";

const scope = globalThis as { SemanticEmbedder?: typeof SemanticEmbedder };
const { dtype, cache } = EXACT as { dtype: "fp32"; cache: "memory" };

test("the import changes nothing; install() does, unless the browser has one", async () => {
  assert.equal(scope.SemanticEmbedder, undefined);
  const installed = install({ model: tiny("tiny-cls"), dtype, cache });
  assert.equal(scope.SemanticEmbedder, installed);
  const embedder = await installed.create();
  assert.ok(embedder instanceof SemanticEmbedder);
  assert.equal(embedder.inputQuota, 32);
  embedder.destroy();

  const own = class {} as unknown as typeof SemanticEmbedder;
  scope.SemanticEmbedder = own;
  assert.equal(install(), own);
  delete scope.SemanticEmbedder;
});

test("vectors are the model's, with what was counted and cut", async () => {
  const Small = SemanticEmbedder.withModel({ model: tiny("tiny-cls"), dtype, cache });
  const embedder = await Small.create();
  const cases = goldens("tiny-cls");
  const { embeddings, metadata } = await embedder.embed(cases.map(({ text }) => text));
  cases.forEach(({ text, vector, tokens, truncated }, i) => {
    const { values, statistics } = embeddings[i]!;
    assert.ok(values instanceof Float32Array);
    assertNear(values, vector, text);
    assert.deepEqual(statistics, { tokenCount: tokens, truncated }, text);
  });
  assert.equal(metadata.maxInputTokens, 32);
  assert.match(metadata.embeddingSpace, /tiny-cls.*@fp32@[0-9a-f]{64}$/);
  const one = await embedder.embed(cases[0]!.text);
  assert.equal(one.embeddings.length, 1);
  assert.ok(Math.abs(embedder.cosineSimilarity(one.embeddings[0]!.values, embeddings[0]!.values) - 1) < 1e-6);
  embedder.destroy();
  await assert.rejects(embedder.embed("fox"), isError("disposed", /./));
});

test("each task has the model's own prompt", async () => {
  const embedder = await SemanticEmbedder.create({ model: tiny("tiny-prompts"), dtype, cache });
  const tasks = { "retrieval-query": "query", "retrieval-document": "document" } as const;
  for (const [taskType, prompt] of Object.entries(tasks)) {
    for (const { text, vector } of withPrompt("tiny-prompts", prompt)) {
      const { embeddings } = await embedder.embed(text, { taskType: taskType as SemanticTaskType });
      assertNear(embeddings[0]!.values, vector, `${taskType}: ${text}`);
    }
  }
  // This model has no prompt for them.
  for (const taskType of ["semantic-similarity", "classification", "clustering"] as const) {
    for (const { text, vector } of withPrompt("tiny-prompts", null).slice(0, 3)) {
      assertNear((await embedder.embed(text, { taskType })).embeddings[0]!.values, vector, text);
    }
  }
  await assert.rejects(embedder.embed("fox", { taskType: "poetry" as SemanticTaskType }), TypeError);
  embedder.destroy();
});

test("prompts of one's own, for queries and documents", async () => {
  const prompts = { query: "query: ", document: "passage: " };
  const embedder = await SemanticEmbedder.create({ model: tiny("tiny-cls"), dtype, cache, prompts });
  const embedded = async (text: string, taskType?: SemanticTaskType) =>
    (await embedder.embed(text, taskType && { taskType })).embeddings[0]!.values;
  assert.deepEqual(await embedded("fox", "retrieval-query"), await embedded("query: fox"));
  assert.deepEqual(await embedded("fox", "retrieval-document"), await embedded("passage: fox"));
  embedder.destroy();
});

test("an option that is undefined is one that was left out", async () => {
  const asked: string[] = [];
  const { load } = Embedder;
  Embedder.load = (model) => {
    asked.push(model);
    return Promise.reject(new Error("enough"));
  };
  const Small = SemanticEmbedder.withModel({ model: tiny("tiny-cls"), dtype, cache });
  await assert.rejects(Small.create({ model: undefined as never }), /enough/);
  Embedder.load = load;
  assert.deepEqual(asked, [tiny("tiny-cls")]);
  const local = SemanticEmbedder.withModel({ model: tiny("tiny-cls"), cache, localFilesOnly: true });
  const undefinedOptions = { model: undefined, localFilesOnly: undefined, cache: undefined } as object;
  assert.equal(await local.availability(undefinedOptions), "unavailable");
});

test("what a handler of progress throws is reported and ends nothing", async () => {
  const thrown: unknown[] = [];
  const listeners = process.rawListeners("uncaughtException") as (() => void)[];
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => void thrown.push(error));
  const reason = new Error("a fault of the handler");
  let heard = 0;
  const embedder = await SemanticEmbedder.create({
    model: tiny("tiny-cls"),
    dtype,
    cache,
    monitor(target) {
      target.ondownloadprogress = () => {
        throw reason;
      };
      target.addEventListener("downloadprogress", () => void (heard += 1));
    },
  });
  assert.equal((await embedder.embed("fox")).embeddings.length, 1);
  process.removeAllListeners("uncaughtException");
  for (const listener of listeners) process.on("uncaughtException", listener);
  assert.ok(heard >= 2);
  assert.deepEqual(thrown, Array(heard).fill(reason));
  embedder.destroy();
});

test("prompts for other tasks are found by the names that models give them", async () => {
  const { load } = Embedder;
  const asked: object[] = [];
  const info = {
    model: "m",
    dtype: "q8",
    maxSeqLength: 8,
    embeddingSpace: { model: "m", revision: "main", dtype: "q8", weights: "w" },
    prompts: { query: "", document: "", STS: "s: ", Clustering: "c: " },
  };
  Embedder.load = async () =>
    ({
      info,
      encodeStream: (_: string[], options: object) => {
        asked.push(options);
        return [];
      },
    }) as unknown as Embedder;
  const embedder = await SemanticEmbedder.create();
  for (const taskType of ["semantic-similarity", "clustering", "classification"] as const) {
    await embedder.embed("fox", { taskType });
  }
  Embedder.load = load;
  assert.deepEqual(asked, [{ promptName: "STS" }, { promptName: "Clustering" }, {}]);
});

test("create tells how far it is and can be aborted", async () => {
  const seen: number[] = [];
  let handled = 0;
  const monitor = (target: SemanticEmbedderMonitor) => {
    target.addEventListener("downloadprogress", (event) => {
      const { loaded, total } = event as Event & { loaded: number; total: number };
      assert.equal(total, 1);
      seen.push(loaded);
    });
    target.ondownloadprogress = () => void (handled += 1);
  };
  const creating = SemanticEmbedder.create({ model: tiny("tiny-cls"), dtype, cache, monitor });
  assert.equal(await SemanticEmbedder.availability({ model: tiny("tiny-cls"), dtype, cache }), "downloading");
  const embedder = await creating;
  assert.equal(seen[0], 0);
  assert.equal(seen.at(-1), 1);
  assert.deepEqual(
    seen,
    [...seen].sort((a, b) => a - b),
  );
  assert.equal(handled, seen.length);
  assert.equal(await SemanticEmbedder.availability({ model: tiny("tiny-cls"), dtype, cache }), "downloadable");
  assert.equal(
    await SemanticEmbedder.availability({ model: tiny("tiny-cls"), cache, localFilesOnly: true }),
    "unavailable",
  );

  const reason = new Error("not wanted any more");
  const abort = new AbortController();
  const aborted = SemanticEmbedder.create({ model: tiny("tiny-cls"), dtype, cache, signal: abort.signal });
  abort.abort(reason);
  await assert.rejects(aborted, reason);
  const late = new AbortController();
  late.abort(reason);
  await assert.rejects(embedder.embed("fox", { signal: late.signal }), reason);
  embedder.destroy();
});
