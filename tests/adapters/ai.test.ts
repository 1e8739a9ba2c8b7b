// The adapter to the AI SDK, with the SDK itself.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import {
  cosineSimilarity,
  createProviderRegistry,
  defaultEmbeddingSettingsMiddleware,
  embed,
  embedMany,
  type EmbeddingModel,
  wrapEmbeddingModel,
} from "ai";
import { Embedder } from "embervec";
import { createEmbervec, type EmbervecProviderOptions, embervec } from "embervec/ai";

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

Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

const as = (options: EmbervecProviderOptions) => ({ embervec: { ...options } as Record<string, string> });

after(() => embervec.dispose());

test("embedMany gives sentence-transformers' vectors, with the model's own pooling", async () => {
  for (const name of ["tiny-cls", "tiny-lasttoken", "tiny-dense"]) {
    const cases = goldens(name);
    const { embeddings, usage, warnings } = await embedMany({
      model: embervec(tiny(name), EXACT),
      values: cases.map(({ text }) => text),
    });
    cases.forEach(({ text, vector }, i) => assertNear(embeddings[i]!, vector, `${name}: ${text}`));
    assert.ok(Array.isArray(embeddings[0]), "plain numbers");
    assert.equal(
      usage.tokens,
      cases.reduce((sum, { tokens }) => sum + tokens, 0),
    );
    // What was cut is told.
    const cut = cases.filter(({ truncated }) => truncated).length;
    assert.ok(cut > 0);
    assert.equal(warnings.length, 1);
    assert.match(JSON.stringify(warnings), /only the first 32 tokens/);
  }
});

test("each role has the model's own prompt", async () => {
  const model = embervec(tiny("tiny-prompts"), EXACT);
  for (const role of ["query", "document"] as const) {
    for (const { text, vector } of withPrompt("tiny-prompts", role)) {
      const byRole = await embed({ model, value: text, providerOptions: as({ role }) });
      assertNear(byRole.embedding, vector, `${role}: ${text}`);
      const byName = await embed({ model, value: text, providerOptions: as({ promptName: role }) });
      assert.deepEqual(byName.embedding, byRole.embedding);
    }
  }
  for (const { text, vector } of withPrompt("tiny-prompts", null)) {
    assertNear((await embed({ model, value: text })).embedding, vector, text);
  }
  // The SDK's own way to give a model its settings.
  const queries = wrapEmbeddingModel({
    model,
    middleware: defaultEmbeddingSettingsMiddleware({ settings: { providerOptions: as({ role: "query" }) } }),
  });
  const [{ text, vector }] = withPrompt("tiny-prompts", "query") as [ReturnType<typeof withPrompt>[number]];
  assertNear((await embed({ model: queries, value: text })).embedding, vector, text);
});

test("dimensions are kept and scaled", async () => {
  const [{ text, vector }] = goldens("tiny-cls") as [ReturnType<typeof goldens>[number]];
  const model = embervec(tiny("tiny-cls"), EXACT);
  const { embedding } = await embed({ model, value: text, dimensions: 8 });
  assertNear(embedding, shortened(vector, 8), text);
  assert.ok(Math.abs(norm(embedding) - 1) < 1e-6);
  await assert.rejects(embed({ model, value: text, dimensions: 33 }), isError("invalid_input", /33/));
});

test("a model is loaded with the first texts, once for all its users", async () => {
  const loads = countLoads();
  const provider = createEmbervec(EXACT);
  const model = () => provider(tiny("tiny-max"), { headers: { "x-a": "b" }, progress: () => {} });
  const first = model();
  assert.equal(loads.count, 0);
  const values = ["fox", "river"];
  await Promise.all([embedMany({ model: first, values }), embedMany({ model: model(), values })]);
  await embed({ model: model(), value: "fox" });
  assert.equal(loads.count, 1);
  // Other options are another model.
  await embed({ model: provider(tiny("tiny-max"), { headers: { "x-a": "c" } }), value: "fox" });
  assert.equal(loads.count, 2);
  await provider.dispose();
  await assert.rejects(
    embed({ model: first, value: "fox", maxRetries: 0 })
      .then(() => provider.dispose())
      .then(() => Promise.reject(new Error("loaded again"))),
    /loaded again/,
  );
  loads.restore();
});

test("a load that failed is made again", async () => {
  const { load } = Embedder;
  const provider = createEmbervec(EXACT);
  const model = provider(tiny("tiny-cls"));
  Embedder.load = () => Promise.reject(new Error("no network"));
  await assert.rejects(embed({ model, value: "fox" }), /no network/);
  Embedder.load = load;
  assert.equal((await embed({ model, value: "fox" })).embedding.length, 32);
  await provider.dispose();
});

test("a load's signal and progress are the caller's who gave them, and nobody else's", async () => {
  const loads = countLoads();
  const provider = createEmbervec(EXACT);
  const reason = new Error("not wanted any more");
  const abort = new AbortController();
  const seen = { first: 0, second: 0 };
  const first = provider(tiny("tiny-cls"), { signal: abort.signal, progress: () => void (seen.first += 1) });
  const second = provider(tiny("tiny-cls"), { progress: () => void (seen.second += 1) });
  const waiting = embed({ model: first, value: "fox", maxRetries: 0 });
  const other = embed({ model: second, value: "fox" });
  abort.abort(reason);
  await assert.rejects(waiting, reason);
  assert.equal((await other).embedding.length, 32);
  assert.ok(seen.second > 0);
  assert.equal(loads.count, 1);
  // It was for the load: the model is there now.
  assert.equal((await embed({ model: first, value: "fox" })).embedding.length, 32);

  await provider.dispose();
  const before = seen.first;
  await assert.rejects(embed({ model: first, value: "fox", maxRetries: 0 }), reason);
  assert.equal((await embed({ model: provider(tiny("tiny-cls")), value: "fox" })).embedding.length, 32);
  assert.equal(seen.first, before);
  await provider.dispose();

  // Several calls of one model: each event comes once.
  const events: string[] = [];
  const told = provider(tiny("tiny-cls"), { progress: (event) => void events.push(JSON.stringify(event)) });
  await Promise.all([told.doEmbed({ values: ["fox"] }), told.doEmbed({ values: ["fox"] })]);
  assert.deepEqual([...new Set(events)], events);
  await provider.dispose();
  loads.restore();
});

test("functions that are written anew in each call load no model anew", async () => {
  // Node has no Worker to make.
  const { load } = Embedder;
  let count = 0;
  Embedder.load = (model, { createWorker, ...options } = {}) => {
    assert.equal(typeof createWorker, "function");
    count += 1;
    return load.call(Embedder, model, options);
  };
  const provider = createEmbervec(EXACT);
  for (let i = 0; i < 5; i++) {
    const { signal } = new AbortController();
    const model = provider(tiny("tiny-cls"), {
      createWorker: () => assert.fail(),
      fetch: (...args) => fetch(...args),
      progress: () => {},
      signal,
      headers: i % 2 === 0 ? { "x-a": "b", "x-c": "d" } : { "x-c": "d", "x-a": "b" },
      integrity: {},
      ...(i === 1 && { dtype: undefined as never }),
    });
    await embed({ model, value: "fox" });
  }
  Embedder.load = load;
  assert.equal(count, 1);
  await provider.dispose();
});

test("dispose ends all that the provider has loaded, also what is loaded or used again", async () => {
  const { load } = Embedder;
  let alive = 0;
  let disposed = 0;
  Embedder.load = async (...args) => {
    const embedder = await load.apply(Embedder, args);
    const dispose = embedder.dispose.bind(embedder);
    alive += 1;
    embedder.dispose = async () => {
      await dispose();
      alive -= 1;
      disposed += 1;
    };
    return embedder;
  };
  const provider = createEmbervec(EXACT);
  const model = provider(tiny("tiny-cls"));
  await embed({ model, value: "fox" });
  await provider.dispose();
  assert.deepEqual([alive, disposed], [0, 1]);
  // Both are the one that is loaded again.
  await embed({ model, value: "fox" });
  await embed({ model: provider(tiny("tiny-cls")), value: "fox" });
  assert.equal(alive, 1);
  await provider.dispose();
  await provider.dispose();
  assert.deepEqual([alive, disposed], [0, 2]);

  // A load that is under way ends, too.
  const waiting = model.doEmbed({ values: ["fox"] });
  const [ended] = await Promise.allSettled([waiting, provider.dispose()]);
  assert.ok(isError("disposed", /being loaded/)((ended as PromiseRejectedResult).reason));
  assert.equal(alive, 0);
  Embedder.load = load;
});

test("dispose does not wait for a load", async () => {
  const { load } = Embedder;
  Embedder.load = (_model, { signal } = {}) =>
    new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason)));
  const provider = createEmbervec(EXACT);
  const waiting = provider(tiny("tiny-cls")).doEmbed({ values: ["fox"] });
  const [ended] = await Promise.allSettled([waiting, provider.dispose()]);
  assert.ok(isError("disposed", /being loaded/)((ended as PromiseRejectedResult).reason));
  Embedder.load = load;
});

test("calls leave no listener at their signal, and no warning", async () => {
  const warnings = countWarnings();
  const provider = createEmbervec(EXACT);
  const { signal } = new AbortController();
  const { signal: abortSignal } = new AbortController();
  const call = () => embed({ model: provider(tiny("tiny-cls"), { signal }), value: "fox", abortSignal });
  await Promise.all(Array.from({ length: 50 }, call));
  for (let i = 0; i < 50; i++) await call();
  assert.deepEqual([listenersOf(signal), listenersOf(abortSignal)], [0, 0]);
  assert.deepEqual(await warnings.end(), []);
  await provider.dispose();
});

test("an abort ends the call, while loading and while encoding, and nobody else's", async () => {
  const provider = createEmbervec(EXACT);
  const model = provider(tiny("tiny-cls"));
  const abort = new AbortController();
  const loading = embed({ model, value: "fox", abortSignal: abort.signal });
  const other = embed({ model, value: "fox" });
  const reason = new Error("not wanted any more");
  abort.abort(reason);
  await assert.rejects(loading, reason);
  assert.equal((await other).embedding.length, 32);

  const second = new AbortController();
  const values = Array.from({ length: 20_000 }, (_, i) => `the fox ${i} jumps over the river`);
  const encoding = embedMany({ model, values, abortSignal: second.signal });
  setTimeout(() => second.abort(reason), 50);
  const started = performance.now();
  await assert.rejects(encoding, reason);
  assert.ok(performance.now() - started < 2000);
  await provider.dispose();
});

test("any number of values is one call", async () => {
  const embedder = await Embedder.load(tiny("tiny-cls"), EXACT);
  const model = embervec(embedder);
  assert.equal(model.maxEmbeddingsPerCall, Infinity);
  let calls = 0;
  const { doEmbed } = model;
  model.doEmbed = (options) => {
    calls += 1;
    return doEmbed(options);
  };
  const values = Array.from({ length: 3000 }, (_, i) => `fox ${i}`);
  const { embeddings } = await embedMany({ model, values });
  assert.deepEqual([calls, embeddings.length], [1, 3000]);
  assert.equal(model.modelId, tiny("tiny-cls"));
  // It is the caller's.
  await createEmbervec().dispose();
  assert.ok(cosineSimilarity(embeddings[0]!, (await embed({ model, value: "fox 0" })).embedding) > 0.99999);
  await embedder.dispose();
  await assert.rejects(embed({ model, value: "fox" }), isError("disposed", /./));
});

test("it is a provider for a registry", async () => {
  const provider = createEmbervec(EXACT);
  const registry = createProviderRegistry({ local: provider }, { separator: " > " });
  const model: EmbeddingModel = registry.embeddingModel(`local > ${tiny("tiny-cls")}`);
  const [{ text, vector }] = goldens("tiny-cls") as [ReturnType<typeof goldens>[number]];
  assertNear((await embed({ model, value: text })).embedding, vector, text);
  assert.equal(provider.textEmbeddingModel("a").modelId, "a");
  assert.throws(() => provider.languageModel("gpt"), isError("invalid_input", /language model "gpt"/));
  await provider.dispose();
});

test("wrong options are refused by name", async () => {
  const model = embervec(tiny("tiny-cls"), EXACT);
  const withOptions = (options: Record<string, string>) =>
    embed({ model, value: "fox", providerOptions: { embervec: options } });
  await assert.rejects(withOptions({ rôle: "query" }), isError("invalid_input", /"rôle".*role/));
  await assert.rejects(withOptions({ role: "passage" }), isError("invalid_input", /role/));
  await assert.rejects(withOptions({ promptName: "none" }), isError("invalid_input", /none/));
  const shorter = async (options: EmbervecProviderOptions) =>
    model.doEmbed({ values: ["fox"], dimensions: 8, providerOptions: { embervec: { ...options } as never } });
  await assert.rejects(shorter({ normalize: false }), isError("invalid_input", /`dimensions`.*`normalize: false`/));
  await assert.rejects(shorter({ truncateDim: 4 }), isError("invalid_input", /`dimensions`.*`truncateDim`/));
  assert.equal((await shorter({ normalize: true })).embeddings[0]!.length, 8);
  assert.throws(() => embervec(""), isError("invalid_input", /no model/));
});
