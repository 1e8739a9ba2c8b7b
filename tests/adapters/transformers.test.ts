// The pipeline of transformers.js: its options, defaults, results and events.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Embedder, type EmbervecError, quantizeEmbeddings } from "embervec";
import {
  cat,
  cos_sim,
  dot,
  env,
  type FeatureExtractionPipeline,
  layer_norm,
  matmul,
  pipeline,
  type ProgressInfo,
  stack,
  Tensor,
} from "embervec/transformers";

import {
  assertNear,
  casesOf,
  EXACT,
  goldens,
  hubOf,
  isError,
  miniLm,
  norm,
  shortened,
  tiny,
  tokenGoldens,
} from "./support.ts";

/** Nothing is kept on this machine, and no other host than a test's is asked. */
env.useFSCache = false;
env.allowLocalModels = false;
const noHub = hubOf({});
env.fetch = noHub.fetch;

const { fetch } = globalThis;
const load = (name: string): Promise<FeatureExtractionPipeline> => pipeline("feature-extraction", tiny(name));

test("without options there is a vector for each token, padded", async () => {
  for (const name of ["tiny-cls", "tiny-dense", "tiny-max"]) {
    const extractor = await load(name);
    const cases = await tokenGoldens(name);
    const output = await extractor(cases.map(({ text }) => text));
    const most = Math.max(...cases.map(({ tokens }) => tokens.length));
    const width = cases[0]!.tokens[0]!.length;
    assert.ok(cases.length === 2 && cases[0]!.tokens.length !== cases[1]!.tokens.length);
    assert.deepEqual(output.dims, [2, most, width]);
    assert.deepEqual([output.type, output.size, output.location], ["float32", 2 * most * width, "cpu"]);
    assert.ok(output.data instanceof Float32Array);
    cases.forEach(({ text, tokens }, i) => {
      tokens.forEach((vector, j) => assertNear(output[i]![j]!.data, vector, `${name}: ${text}, token ${j}`));
      for (let j = tokens.length; j < most; j++) assert.deepEqual(new Set(output[i]![j]!.data), new Set([0]));
    });
    const scaled = await extractor(cases[0]!.text, { normalize: true });
    assert.deepEqual(scaled.dims, [1, cases[0]!.tokens.length, width]);
    for (const vector of scaled.tolist()[0]) assert.ok(Math.abs(norm(vector) - 1) < 1e-6);
    await extractor.dispose();
  }
});

test("poolings are those of the encoder's tokens, whatever the model's own is", async () => {
  const poolings = { "tiny-cls": "cls", "tiny-lasttoken": "last_token", "tiny-no-modules": "mean" } as const;
  for (const [name, pooling] of Object.entries(poolings)) {
    const extractor = await load(name);
    const cases = goldens(name);
    const output = await extractor(
      cases.map(({ text }) => text),
      { pooling },
    );
    assert.deepEqual(output.dims, [cases.length, cases[0]!.vector.length]);
    cases.forEach(({ text, vector }, i) => assertNear(output[i]!.data, vector, `${name}: ${text}`));
    await extractor.dispose();
  }
  // No prompt, no Dense, no normalisation.
  for (const name of ["tiny-dense", "tiny-prompts"]) {
    const extractor = await load(name);
    for (const { text, tokens } of await tokenGoldens(name)) {
      const mean = tokens[0]!.map((_, i) => tokens.reduce((sum, vector) => sum + vector[i]!, 0) / tokens.length);
      assertNear((await extractor(text, { pooling: "mean" })).data, mean, `${name}: ${text}`);
      assertNear((await extractor(text, { pooling: "first_token" })).data, tokens[0]!, `${name}: ${text}`);
      assertNear((await extractor(text, { pooling: "eos" })).data, tokens.at(-1)!, `${name}: ${text}`);
    }
    await extractor.dispose();
  }
});

test("MiniLM's vectors are those of sentence-transformers, more texts than fit a slice", async () => {
  const cases = casesOf("all-MiniLM-L6-v2.json");
  const extractor = await pipeline("feature-extraction", miniLm, { dtype: "fp32" });
  const output = await extractor(
    cases.map(({ text }) => text),
    { pooling: "mean", normalize: true },
  );
  assert.deepEqual(output.dims, [cases.length, 384]);
  cases.forEach(({ text, vector }, i) => assertNear(output[i]!.data, vector, text.slice(0, 60)));
  const many = await extractor(
    Array.from({ length: 300 }, (_, i) => cases[i % 2]!.text),
    { pooling: "mean", normalize: true },
  );
  assert.deepEqual(many.dims, [300, 384]);
  assertNear(many[299]!.data, cases[1]!.vector, "the last");
  await extractor.dispose();
});

test("the examples of transformers.js' documentation run unchanged", async () => {
  const hub = hubOf({ "sentence-transformers/all-MiniLM-L6-v2": miniLm });
  env.fetch = hub.fetch;
  const said: unknown[] = [];
  const { info } = console;
  console.info = (message) => void said.push(message);
  {
    const extractor = await pipeline("feature-extraction", "onnx-community/all-MiniLM-L6-v2-ONNX");
    const output = await extractor("This is a simple test.");
    // What the documentation says that comes out.
    assert.deepEqual([output.type, output.dims], ["float32", [1, 8, 384]]);
    assertNear(output.data.slice(0, 2), [0.2157987803220749, -0.09140099585056305], "its first numbers");
    const list = output.tolist();
    assert.deepEqual([list.length, list[0].length, list[0][0].length], [1, 8, 384]);
    assert.equal(list[0][0][0], output.data[0]);

    const pooled = await extractor("This is a simple test.", { pooling: "mean", normalize: true });
    assert.deepEqual([pooled.type, pooled.dims], ["float32", [1, 384]]);
    assertNear(pooled.data.slice(0, 2), [0.09528215229511261, -0.024730168282985687], "its first numbers");

    const binary = await extractor("This is a simple test.", { pooling: "mean", quantize: true, precision: "binary" });
    assert.deepEqual([binary.type, binary.dims], ["int8", [1, 48]]);
    assert.deepEqual(Array.from(binary.data.slice(0, 3)), [49, 108, 25]);
    await extractor.dispose();
  }
  {
    // Of the model card of Xenova/all-MiniLM-L6-v2.
    const extractor = await pipeline("feature-extraction", "Xenova/all-MiniLM-L6-v2", { quantized: false });
    const sentences = ["This is an example sentence", "Each sentence is converted"];
    const output = await extractor(sentences, { pooling: "mean", normalize: true });
    assert.deepEqual([output.dims, output.type, output.size], [[2, 384], "float32", 768]);
    const near = [0.04592696577310562, 0.07328180968761444, 0.05400655046105385];
    // Its numbers are those of weights in 8 bits.
    assert.ok(near.every((x, i) => Math.abs(x - output.data[i]!) < 0.05));
    // Of the card of jina-embeddings-v2: rows by index, and their cosine.
    const similarity = cos_sim(output[0]!.data, output[1]!.data);
    assert.ok(Math.abs(similarity - dot(output.tolist()[0], output.tolist()[1])) < 1e-6);
    // Of cards that retrieve: a matrix of products.
    const scores = await matmul(output.slice([0, 1]), output.slice([1, null]).transpose(1, 0));
    assert.deepEqual(scores.dims, [1, 1]);
    assert.ok(Math.abs(scores.item() - similarity) < 1e-6);
    // Of the card of nomic-embed-text: Matryoshka.
    const small = layer_norm(output, [output.dims[1]!]).slice(null, [0, 64]).normalize(2, -1);
    assert.deepEqual(small.dims, [2, 64]);
    assert.ok(Math.abs(norm(small.tolist()[0]) - 1) < 1e-6);
    const [first] = output.tolist();
    assert.ok(cos_sim(small[0]!.data, shortened(first, 64)) > 0.99);
    await extractor.dispose();
  }
  {
    // No model: the task's own.
    const extractor = await pipeline("embeddings");
    assert.equal(extractor.embedder.info.model, "sentence-transformers/all-MiniLM-L6-v2");
    await extractor.dispose();
  }
  console.info = info;
  env.fetch = noHub.fetch;
  assert.ok(hub.asked.every((url) => url.startsWith("https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/")));
  assert.equal(said.length, 2, "once for each id");
  assert.match(String(said[1]), /Xenova\/all-MiniLM-L6-v2.*sentence-transformers\/all-MiniLM-L6-v2/);
});

test("bits are as quantizeEmbeddings packs them", async () => {
  const extractor = await load("tiny-cls");
  const texts = ["fox", "where is the river?"];
  const floats = await extractor(texts, { pooling: "cls" });
  for (const precision of ["binary", "ubinary"] as const) {
    const output = await extractor(texts, { pooling: "cls", quantize: true, precision });
    const expected = quantizeEmbeddings(floats.tolist(), precision);
    assert.deepEqual(output.dims, [2, 4]);
    assert.equal(output.type, precision === "binary" ? "int8" : "uint8");
    assert.deepEqual(
      output.tolist(),
      expected.map((row) => Array.from(row)),
    );
  }
  await assert.rejects(extractor(texts, { quantize: true }), isError("invalid_input", /2 dimensions/));
  await extractor.dispose();
});

test("dtype and device have transformers.js' names and defaults", async () => {
  const seen: [unknown, unknown][] = [];
  const { load } = Embedder;
  Embedder.load = async (_model, options = {}) => {
    seen.push([options.dtype, options.device]);
    throw new Error("enough");
  };
  const choose = (options: object) => assert.rejects(pipeline("feature-extraction", "o/n", options), /enough/);
  for (const options of [
    {},
    { dtype: "auto" },
    { dtype: "q8", device: "wasm" },
    { dtype: "int8", device: "cpu" },
    { dtype: "uint8", device: "auto" },
    { dtype: "fp16", device: "webgpu" },
    { device: "gpu" },
    { dtype: { model: "q8" }, device: null },
    { quantized: true },
    { quantized: false },
  ])
    await choose(options);
  Embedder.load = load;
  assert.deepEqual(seen, [
    // Node's.
    ["fp32", "auto"],
    ["fp32", "auto"],
    ["q8", "cpu"],
    ["q8", "cpu"],
    ["q8", "auto"],
    ["fp16", "webgpu"],
    ["fp32", "webgpu"],
    ["q8", "auto"],
    ["q8", "auto"],
    ["fp32", "auto"],
  ]);
});

test("what is not supported is refused by name", async () => {
  const refused: [object, RegExp][] = [
    [{ dtype: "q4" }, /dtype "q4".*"q8"/],
    [{ device: "cuda" }, /device "cuda".*webgpu/],
    [{ session_options: {} }, /"session_options".*ONNX Runtime/],
    [{ model_file_name: "m" }, /"model_file_name"/],
    [{ cache_dir: "/tmp" }, /"cache_dir".*EMBERVEC_CACHE/],
    [{ config: {} }, /"config"/],
    [{ progres_callback() {} }, /"progres_callback".*progress_callback/],
  ];
  for (const [options, pattern] of refused) {
    await assert.rejects(pipeline("feature-extraction", "o/n", options), isError("invalid_input", pattern));
  }
  await assert.rejects(
    pipeline("text-generation" as "embeddings", "o/n"),
    isError("invalid_input", /"text-generation".*"feature-extraction"/),
  );
  env.cacheDir = "/tmp";
  await assert.rejects(pipeline("feature-extraction", "o/n"), isError("invalid_input", /env\.cacheDir/));
  env.cacheDir = null;
  env.useCustomCache = true;
  await assert.rejects(pipeline("feature-extraction", "o/n"), isError("invalid_input", /env\.customCache/));
  env.useCustomCache = false;

  const extractor = await load("tiny-cls");
  const call = (options: object, texts: unknown = "fox") => extractor(texts as string, options);
  await assert.rejects(call({ pooling: "max" }), isError("invalid_input", /"max".*mean/));
  await assert.rejects(call({ pooling: "cls", quantize: true, precision: "int8" }), isError("invalid_input", /"int8"/));
  await assert.rejects(call({ topk: 1 }), isError("invalid_input", /"topk"/));
  await assert.rejects(call({}, []), isError("invalid_input", /not empty/));
  await assert.rejects(call({}, [1]), isError("invalid_input", /texts\[0\]/));
  await assert.rejects(call({}, 1), isError("invalid_input", /./));
  assert.throws(
    () => (extractor as unknown as { tokenizer: unknown }).tokenizer,
    isError("invalid_input", /tokenizer/),
  );
  assert.throws(() => (extractor as unknown as { model: unknown }).model, isError("invalid_input", /"model"/));
  const output = await extractor("fox");
  assert.throws(() => (output as unknown as { repeat: unknown }).repeat, isError("invalid_input", /"repeat"/));
  await extractor.dispose();
  await assert.rejects(extractor("fox"), isError("disposed", /./));
});

test("texts are named by their place among all, and few are in memory at a time", async () => {
  const extractor = await load("tiny-cls");
  const { embedder } = extractor;
  const slices: number[] = [];
  const encode = embedder.encode.bind(embedder);
  embedder.encode = ((texts: string[], options: object) => {
    slices.push(texts.length);
    return encode(texts, options);
  }) as typeof encode;
  const said: string[] = [];
  const { warn } = console;
  console.warn = (message: string) => void said.push(message);
  const texts: unknown[] = Array.from({ length: 300 }, (_, i) => `fox ${i}`);
  texts[299] = 1;
  await assert.rejects(extractor(texts as string[]), isError("invalid_input", /texts\[299\]/));
  // A hole.
  texts.length = 299;
  texts[300] = "fox";
  await assert.rejects(extractor(texts as string[]), isError("invalid_input", /texts\[299\]/));
  texts.length = 300;
  assert.deepEqual(slices, [], "before the first is encoded");
  texts[299] = "the fox jumps over the river ".repeat(10);
  for (let i = 0; i < 2; i++) await extractor(texts as string[], { pooling: "mean" });
  assert.deepEqual(slices.splice(0), [256, 44, 256, 44]);
  console.warn = warn;
  assert.equal(said.length, 1, "once for a pipeline");
  assert.match(said[0]!, /texts\[299\] has more than the 32 tokens/);

  const long = ["fox ".repeat(7_000), "fox ".repeat(7_000), "fox ".repeat(7_000), "fox ".repeat(40_000), "fox"];
  const output = await extractor(long, { pooling: "mean" });
  assert.deepEqual(slices, [3, 1, 1]);
  assert.deepEqual(output.dims, [5, 32]);
  assertNear(output[4]!.data, (await extractor("fox", { pooling: "mean" })).data, "the last");
  await extractor.dispose();
});

test("progress comes in transformers.js' events, file by file", async () => {
  const seen: ProgressInfo[] = [];
  const extractor = await pipeline("feature-extraction", tiny("tiny-cls"), {
    progress_callback: (info) => seen.push(info),
  });
  await extractor.dispose();
  assert.deepEqual(seen.at(-1), { status: "ready", task: "feature-extraction", model: tiny("tiny-cls") });
  const files = new Set(seen.flatMap((info) => ("file" in info ? info.file : [])));
  assert.ok(files.has("config.json") && files.has("tokenizer.json") && files.has("model.safetensors"));
  for (const file of files) {
    const ofFile = seen.filter((info) => "file" in info && info.file === file);
    assert.deepEqual(
      ofFile.map(({ status }) => status).filter((status, i, all) => status !== all[i - 1]),
      ["initiate", "download", "progress", "done"],
      file,
    );
    const steps = ofFile.filter((info) => info.status === "progress");
    const last = steps.at(-1)!;
    assert.deepEqual([last.progress, last.loaded], [100, last.total], file);
    assert.ok(last.total > 0 && last.name === tiny("tiny-cls"));
    steps.forEach((step, i) => assert.ok(step.loaded >= (steps[i - 1]?.loaded ?? 0)));
  }
  const totals = seen.filter((info) => info.status === "progress_total");
  const last = totals.at(-1)!;
  assert.deepEqual([last.progress, last.loaded], [100, last.total]);
  assert.deepEqual(new Set(Object.keys(last.files)), files);
  assert.equal(
    Object.values(last.files).reduce((sum, { loaded }) => sum + loaded, 0),
    last.loaded,
  );
  totals.forEach((info, i) => assert.ok(info.progress >= (totals[i - 1]?.progress ?? 0)));
});

test("env says where models come from", async () => {
  const hub = hubOf({ "owner/tiny": tiny("tiny-cls") });
  env.fetch = hub.fetch;
  const base = async (options: object = {}) => {
    hub.asked.length = 0;
    await (await pipeline("feature-extraction", "owner/tiny", options)).dispose();
    return hub.asked[0]!;
  };
  assert.ok((await base()).startsWith("https://huggingface.co/owner/tiny/resolve/main/"));
  assert.ok((await base({ revision: "v1" })).startsWith("https://huggingface.co/owner/tiny/resolve/v1/"));
  env.remoteHost = "https://mirror.test/";
  assert.ok((await base()).startsWith("https://mirror.test/owner/tiny/resolve/main/"));
  env.remotePathTemplate = "{model}/resolve/at-{revision}/";
  assert.ok((await base({ revision: "a/b" })).startsWith("https://mirror.test/owner/tiny/resolve/at-a%2Fb/"));
  env.remotePathTemplate = "{model}/resolve/{revision}/";

  // A folder of one's own comes first, and is enough without the network.
  env.fetch = fetch;
  env.allowLocalModels = true;
  env.localModelPath = new URL("..", `file://${tiny("tiny-cls")}`).pathname.replace(/models\/$/, "");
  env.allowRemoteModels = false;
  const local = await pipeline("feature-extraction", "models/tiny-cls");
  assert.equal((await local("fox", { pooling: "cls" })).dims[1], 32);
  await local.dispose();
  // Neither place has it: the message says so of both.
  await assert.rejects(pipeline("feature-extraction", "owner/tiny"), (error: EmbervecError) => {
    assert.ok(isError("model_not_found", /cache.*env\.localModelPath.*owner\/tiny/s)(error));
    return isError("model_not_found", /owner\/tiny/)(error.cause);
  });
  env.allowRemoteModels = true;
  env.fetch = hub.fetch;
  await assert.rejects(
    pipeline("feature-extraction", "owner/tiny", { local_files_only: true }),
    isError("model_not_found", /./),
  );
  env.allowLocalModels = false;
  env.remoteHost = "https://huggingface.co/";
  env.fetch = noHub.fetch;
});

test("settings of ONNX Runtime are taken, and said to have no effect, once", async () => {
  const said: string[] = [];
  const { warn } = console;
  console.warn = (message: string) => void said.push(message);
  env.backends.onnx.wasm["numThreads"] = 1;
  env.backends.onnx["logLevel"] = "error";
  for (let i = 0; i < 2; i++) await (await load("tiny-cls")).dispose();
  console.warn = warn;
  env.backends.onnx = { wasm: {}, webgpu: {} };
  assert.equal(said.length, 1);
  assert.match(said[0]!, /env\.backends\.onnx has no effect/);
});

test("a signal ends the load and the call", async () => {
  const reason = new Error("not wanted any more");
  const abort = new AbortController();
  const loading = pipeline("feature-extraction", tiny("tiny-cls"), { signal: abort.signal });
  abort.abort(reason);
  await assert.rejects(loading, reason);
  const extractor = await pipeline("feature-extraction", tiny("tiny-cls"), { embervec: { ...EXACT, workers: "auto" } });
  const second = new AbortController();
  const texts = Array.from({ length: 20_000 }, (_, i) => `the fox ${i} jumps over the river`);
  const encoding = extractor(texts, { pooling: "mean", signal: second.signal });
  setTimeout(() => second.abort(reason), 50);
  await assert.rejects(encoding, reason);
  await extractor.dispose();
});

// Results of transformers.js 4.3.1 for the same calls.
test("tensors compute as those of transformers.js", async () => {
  const t = new Tensor("float32", [1, 2, 3, 4, 5, 6], [2, 3]);
  assert.deepEqual(t.tolist(), [
    [1, 2, 3],
    [4, 5, 6],
  ]);
  assert.deepEqual([t[1]!.tolist(), t[1]![2]!.item(), t[-1]!.dims], [[4, 5, 6], 6, [3]]);
  assert.deepEqual(
    [...t].map((row) => row.tolist()),
    t.tolist(),
  );
  assert.deepEqual([...t[0]!], [1, 2, 3]);
  const shapes: [Tensor, number[], number[]][] = [
    [t.transpose(1, 0), [3, 2], [1, 4, 2, 5, 3, 6]],
    [t.slice(null, [1, 3]), [2, 2], [2, 3, 5, 6]],
    [t.slice(null, [-2, null]), [2, 2], [2, 3, 5, 6]],
    [t.slice(1), [3], [4, 5, 6]],
    [t.slice(null, -1), [2], [3, 6]],
    [t.view(3, -1), [3, 2], [1, 2, 3, 4, 5, 6]],
    [t.unsqueeze(0), [1, 2, 3], [1, 2, 3, 4, 5, 6]],
    [t.unsqueeze(-1), [2, 3, 1], [1, 2, 3, 4, 5, 6]],
    [t.unsqueeze(0).squeeze(), [2, 3], [1, 2, 3, 4, 5, 6]],
    [t.unsqueeze(0).squeeze(0), [2, 3], [1, 2, 3, 4, 5, 6]],
    [t.flatten(), [6], [1, 2, 3, 4, 5, 6]],
    [t.sum(1), [2], [6, 15]],
    [t.sum(0, true), [1, 3], [5, 7, 9]],
    [t.sum(), [], [21]],
    [t.mean(1), [2], [2, 5]],
    [t.mean(), [], [3.5]],
    [t.max(0), [3], [4, 5, 6]],
    [t.min(1), [2], [1, 4]],
    [t.mul(2).sub(1).div(2).add(1), [2, 3], [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]],
    [t.neg().clamp(-4, -2).round(), [2, 3], [-2, -2, -3, -4, -4, -4]],
    [t.gt(3), [2, 3], [0, 0, 0, 1, 1, 1]],
    [t.lt(3), [2, 3], [1, 1, 0, 0, 0, 0]],
    [t.map((x) => x * x), [2, 3], [1, 4, 9, 16, 25, 36]],
    [t.to("int8"), [2, 3], [1, 2, 3, 4, 5, 6]],
    [cat([t, t], 1), [2, 6], [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]],
    [cat([t, t]), [4, 3], [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]],
    [stack([t, t], 1), [2, 2, 3], [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]],
  ];
  for (const [i, [tensor, dims, data]] of shapes.entries()) {
    assert.deepEqual([tensor.dims, Array.from(tensor.data)], [dims, data], String(i));
  }
  assertNear(t.norm(2, 1).data, [3.7416573867739413, 8.774964387392123], "norm");
  assertNear(t.norm().data, [9.539392014169456], "norm of all");
  const rows = [
    0.2672612419124244, 0.5345224838248488, 0.8017837257372732, 0.4558423058385518, 0.5698028822981898,
    0.6837634587578276,
  ];
  assertNear(t.normalize(2, -1).data, rows, "rows");
  assertNear(
    t.normalize(2, 0).data,
    [1, 2, 3, 4, 5, 6].map((x, i) => x / Math.hypot([1, 2, 3][i % 3]!, [4, 5, 6][i % 3]!)),
    "columns",
  );
  assertNear(
    layer_norm(t, [3]).data,
    [-1.2247298955917358, 0, 1.2247298955917358, -1.2247298955917358, 0, 1.2247298955917358],
    "layer_norm",
  );
  assert.deepEqual((await matmul(t, t.transpose(1, 0))).tolist(), [
    [14, 32],
    [32, 77],
  ]);
  // In place: the same tensor, which still has rows.
  const own = t.clone();
  assert.deepEqual(own.mul_(2)[1]!.tolist(), [8, 10, 12]);
  assert.deepEqual(own.unsqueeze_(0).dims, [1, 2, 3]);
  assert.deepEqual(t.tolist()[0], [1, 2, 3]);
  assert.throws(() => t[2], isError("invalid_input", /out of bounds/));
  assert.throws(() => t.item(), isError("invalid_input", /item/));
  assert.throws(() => new Tensor("float32", [1, 2], [3]), isError("invalid_input", /dimensions/));
  assert.throws(() => new Tensor("int4" as "int8", [1], [1]), isError("invalid_input", /int4/));
});
