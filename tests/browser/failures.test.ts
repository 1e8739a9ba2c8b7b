// Model hosts that fail and model files that lie. Whatever comes: an error that names it, no model
// in the cache, and a good load afterwards.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { openPage, type TestPage, withPrelude } from "../support/browser.ts";
import { deleteStored, load, storedKeys } from "../support/load.ts";
import {
  type Answer,
  announces,
  breaksOff,
  endless,
  endsEarly,
  type ModelServer,
  sends,
  serveModels,
  status,
  withoutCors,
} from "../support/model-server.ts";
import { type Entry, type Header, join, split } from "../support/safetensors.ts";

const FOLDER = "/tiny-cls/";
const WEIGHTS = "model.safetensors";

/** A hostile size must be refused, not allocated or counted to; a load takes a fraction of a second, and all attempts 4 s. */
const MAX_SECONDS = 6;

let server: ModelServer;
let browser: TestPage;
let goodVector: number[] | undefined;

before(async () => {
  server = await serveModels();
  // A rejection that nobody handles is told to the page's server.
  const tell = "addEventListener('unhandledrejection', ({ reason }) => fetch('/unhandled?' + encodeURI(reason)));";
  browser = await openPage({ connectTo: "http://127.0.0.1:*", overlay: await withPrelude({ "worker.js": tell }) });
  goodVector = (await load(browser.page, server.origin + FOLDER)).vector;
  assert.equal(goodVector?.length, 32);
  await deleteStored(browser.page);
});
// One test that fails must not make the others fail.
afterEach(async () => {
  server.answers.clear();
  await deleteStored(browser.page);
  assert.deepEqual(
    browser.requests.filter((path) => path.startsWith("/unhandled")),
    [],
  );
});
after(async () => {
  await browser.close();
  await server.close();
});

/** `words` must all be in the message; `URL` stands for the file's address. */
function fails(what: string, file: string, answer: Answer, code: string, ...words: string[]): void {
  test(what, async () => {
    const path = FOLDER + file;
    server.answers.set(path, answer);
    const url = server.origin + path;
    await assertFails(
      server.origin + FOLDER,
      code,
      words.map((word) => word.replace("URL", url)),
    );
    server.answers.clear();
    await assertLoads();
  });
}

async function assertFails(model: string, code: string, words: string[]): Promise<void> {
  const started = performance.now();
  const { error } = await load(browser.page, model);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(error, "it loads");
  assert.ok(error.isEmbervecError, error.message);
  assert.equal(error.code, code, error.message);
  for (const word of words) assert.ok(error.message.includes(word), `"${word}" is not in: ${error.message}`);
  assert.ok(seconds < MAX_SECONDS, `${seconds} s`);
  assert.deepEqual((await storedKeys(browser.page)).models, []);
}

async function assertLoads(): Promise<void> {
  const { vector, cached, error } = await load(browser.page, server.origin + FOLDER);
  assert.deepEqual(vector, goodVector, error?.message);
  assert.equal(cached, false);
  // So that the emptiness after a failure can be seen to differ.
  assert.deepEqual((await storedKeys(browser.page)).models, [server.origin + FOLDER]);
  await deleteStored(browser.page);
}

describe("the host", () => {
  fails("404 for config.json", "config.json", status(404), "model_not_found", "URL", "is missing");
  fails("404 for the weights", WEIGHTS, status(404), "model_not_found", "URL", "is missing");
  fails("401", "config.json", status(401), "unauthorized", "URL", "401", "headers");
  fails("403 for config.json", "config.json", status(403), "model_not_found", "URL", "403", "headers");
  fails("403 for the weights", WEIGHTS, status(403), "model_not_found", "URL", "403");
  fails("429", WEIGHTS, status(429), "network", "URL", "429");
  fails("500", "config.json", status(500), "network", "URL", "500");
  fails("500 for an optional file", "modules.json", status(500), "network", "URL", "500");
  const html = "<!doctype html><title>Welcome</title>";
  fails("a web page for JSON", "config.json", sends(html, "text/html; charset=utf-8"), "integrity", "URL", "web page");
  const page = sends(html, "text/html");
  fails("a web page for the tokenizer", "tokenizer.json", page, "model_not_found", "URL", "is missing");
  fails("a web page for the weights", WEIGHTS, page, "integrity", "URL", "web page");
  fails("HTML that calls itself JSON", "config.json", sends(html, "application/json"), "integrity", "URL", "line 1");
  fails("HTML that calls itself weights", WEIGHTS, sends(html), "integrity", "URL", "not a safetensors file");
  fails("a config.json that does not end", "config.json", endless(), "integrity", "URL", "more than");
  fails("an empty config.json", "config.json", sends(""), "integrity", "URL", "is not JSON", "line 1");
  fails("an empty modules.json", "modules.json", sends(""), "integrity", "URL", "is not JSON", "line 1");
  fails("empty weights", WEIGHTS, sends(""), "integrity", "URL", "ends within its header");
  fails("weights that break off", WEIGHTS, breaksOff, "network", "URL", "broke off");
  fails("JSON that breaks off", "tokenizer.json", breaksOff, "network", "URL", "broke off");
  fails("an optional file that breaks off", "modules.json", breaksOff, "network", "URL", "broke off");
  fails("weights that end early", WEIGHTS, endsEarly, "integrity", "URL", "107776", "53888");
  fails(
    "too long a content-length",
    WEIGHTS,
    announces((size) => size + 9),
    "network",
    "URL",
    "broke off",
    "107785",
  );
  fails(
    "too short a content-length",
    WEIGHTS,
    announces((size) => size - 9),
    "integrity",
    "URL",
    "107776",
    "107767",
  );
  fails("no CORS header", "config.json", withoutCors, "network", "URL", "CORS");

  test("nobody listens", async () => {
    const gone = await serveModels();
    await gone.close();
    await assertFails(gone.origin + FOLDER, "network", [`Could not fetch ${gone.origin + FOLDER}`]);
    await assertLoads();
  });
});

const BIAS = "embeddings.LayerNorm.bias";
const WEIGHT = "embeddings.LayerNorm.weight";

/** The weights with another header, as an object or as text; the tensors' bytes stay. */
function withHeader(change: (header: Header) => Header | string): Answer {
  return sends((body) => {
    const { header, data } = split(body);
    return join(change(header), data);
  });
}

const withEntry = (name: string, entry: Partial<Entry>) =>
  withHeader((header) => ({ ...header, [name]: { ...header[name]!, ...entry } }));

const withHeaderLength = (length: number | bigint) =>
  sends((body) => {
    const { header, data } = split(body);
    return join(header, data, length);
  });

describe("the weights", () => {
  const damaged = (what: string, answer: Answer, ...words: string[]) =>
    fails(what, WEIGHTS, answer, "integrity", WEIGHTS, ...words);

  damaged("offsets outside the file", withEntry(BIAS, { data_offsets: [9_000_000, 9_000_128] }), WEIGHT);
  damaged("offsets beyond 32 bits", withEntry(BIAS, { data_offsets: [2 ** 40, 2 ** 40 + 128] }), BIAS);
  damaged("offsets that run backwards", withEntry(BIAS, { data_offsets: [128, 0] }), BIAS);
  damaged("negative offsets", withEntry(BIAS, { data_offsets: [-128, 0] }), BIAS);
  damaged("tensors that overlap", withEntry(WEIGHT, { data_offsets: [64, 192] }), WEIGHT, "overlap");
  damaged("a hole", withEntry(WEIGHT, { data_offsets: [132, 260] }), WEIGHT, "gap");
  damaged(
    "a tensor of 3 GB",
    withEntry("pooler.dense.weight", { shape: [750_000_000], data_offsets: [99_712, 3_000_099_712] }),
    "pooler.dense.weight",
    "[750000000]",
    "[32, 32]",
  );
  damaged("a shape whose size overflows", withEntry(BIAS, { shape: [2 ** 31, 2 ** 31, 2 ** 31] }), BIAS, "too large");
  damaged("a header of 10 GB", withHeaderLength(10_000_000_000), "10000000000", "not a safetensors file");
  damaged("a header of 2^64 - 1 bytes", withHeaderLength(2n ** 64n - 1n), "18446744073709551615");
  damaged("a header longer than the file", withHeaderLength(107_731), "ends within its header");
  damaged("a header of no bytes", withHeaderLength(0), "header");
  damaged(
    "a header that is a list",
    withHeader(() => "[]"),
    "header",
  );
  damaged(
    "a header that is nested without end",
    withHeader(() => "[".repeat(100_000)),
    "header",
  );
  damaged("bytes without end behind the last tensor", endless());
  damaged(
    "a tensor name that occurs twice",
    withHeader((header) => `{"${BIAS}":${JSON.stringify(header[BIAS])},${JSON.stringify(header).slice(1)}`),
    BIAS,
    "twice",
  );
  damaged("an unknown dtype", withEntry(BIAS, { dtype: "F12" }), BIAS, "F12");
  damaged("integers for weights", withEntry(BIAS, { dtype: "I32" }), BIAS, "I32", "supported: F32");
  damaged("a wrong shape", withEntry(BIAS, { shape: [8, 4] }), BIAS, "[8, 4]", "[32]");
  damaged("a size that is not the shape's", withEntry(BIAS, { shape: [33] }), BIAS, "132", "0..128");
  damaged(
    "a missing tensor",
    sends((body) => {
      // Its bytes, which are the first, go too, and every other tensor moves to the front.
      const { header, data } = split(body);
      const { [BIAS]: gone, ...rest } = header;
      const size = gone!.data_offsets[1];
      for (const entry of Object.values(rest))
        entry.data_offsets = [entry.data_offsets[0] - size, entry.data_offsets[1] - size];
      return join(rest, data.subarray(size));
    }),
    BIAS,
    "missing",
  );
  damaged(
    "a tensor under two names",
    withHeader(({ "pooler.dense.bias": bias, ...header }) => ({ ...header, "bert.embeddings.LayerNorm.bias": bias! })),
    BIAS,
    "same weights",
  );
  for (const [value, bits] of [
    ["NaN", 0x7fc00000],
    ["inf", 0x7f800000],
  ] as const) {
    damaged(
      `${value} in a tensor`,
      sends((body) => {
        const { header, data } = split(body);
        data.writeUInt32LE(bits, header[BIAS]!.data_offsets[0] + 4);
        return join(header, data);
      }),
      BIAS,
      "element 1",
      value,
    );
  }
});

/** A JSON file with other values in place of some. */
const withValues = (values: object) =>
  sends((body) => Buffer.from(JSON.stringify({ ...JSON.parse(body.toString()), ...values })));

function modules(...entries: [path: string, type: string][]): Answer {
  const modules = entries.map(([path, kind], idx) => {
    return { idx, name: String(idx), path, type: `sentence_transformers.models.${kind}` };
  });
  return sends(JSON.stringify(modules));
}

describe("the small files", () => {
  const unsupported = "unsupported_model";
  const config = (what: string, values: object, code: string, ...words: string[]) =>
    fails(what, "config.json", withValues(values), code, "config.json", ...words);

  fails("a config.json that is not JSON", "config.json", sends("hidden_size: 32"), "integrity", "URL", "line 1");
  fails("a config.json that is a number", "config.json", sends("32"), "unsupported_model", "config.json", "32");
  config("a negative hidden_size", { hidden_size: -32 }, unsupported, "-32");
  config("a hidden_size of text", { hidden_size: "32" }, unsupported, '"32"');
  config("a hidden_size of 0", { hidden_size: 0 }, unsupported, "hidden_size is 0");
  const heads = "num_attention_heads 4";
  config("a hidden_size that the heads do not divide", { hidden_size: 33 }, unsupported, "hidden_size 33", heads);
  config("a vocabulary of 10^12 words", { vocab_size: 1e12 }, unsupported, "1000000000000");
  config("a vocabulary of 10^9 words", { vocab_size: 1e9 }, unsupported, "vocab_size is 1000000000");
  const small = withValues({ vocab_size: 100 });
  fails("a vocabulary smaller than the weights'", "config.json", small, "integrity", WEIGHTS, "[176, 32]", "[100, 32]");
  config("a billion layers", { num_hidden_layers: 1e9 }, unsupported, "num_hidden_layers is 1000000000");
  fails(
    "more layers than the weights have",
    "config.json",
    withValues({ num_hidden_layers: 3 }),
    "integrity",
    WEIGHTS,
    "encoder.layer.2",
  );
  config("another model_type", { model_type: "gpt2" }, unsupported, "gpt2", "supported: bert");
  config("another activation", { hidden_act: "mish" }, unsupported, "mish", "supported: gelu");

  const cut = sends((body) => body.subarray(0, 3000));
  fails("a tokenizer.json that is cut off", "tokenizer.json", cut, "integrity", "URL", "EOF", "line");
  const tokenizer = (what: string, answer: Answer) => fails(what, "tokenizer.json", answer, unsupported, "URL");
  tokenizer("a tokenizer.json of {}", sends("{}"));
  tokenizer("a tokenizer.json that is a list", sends("[]"));
  tokenizer("a tokenizer.json whose model is text", withValues({ model: "WordPiece" }));
  tokenizer("a tokenizer.json of an unknown model", withValues({ model: { type: "Bytes", vocab: {} } }));
  tokenizer("a tokenizer.json with ids that are text", withValues({ model: { type: "WordPiece", vocab: { a: "b" } } }));

  const POOLING = "1_Pooling/config.json";
  fails("a missing pooling config", POOLING, status(404), "model_not_found", "URL");
  const pooling = (what: string, values: object, ...words: string[]) =>
    fails(what, POOLING, withValues(values), unsupported, "URL", ...words);
  pooling("a pooling without a size", { word_embedding_dimension: undefined }, "embedding_dimension");
  pooling("a pooling of an unknown kind", { pooling_mode: "median" }, "median", "lasttoken");
  pooling("a pooling with an unknown option", { pooling_power: 3 }, "pooling_power 3");

  fails(
    "an unknown module",
    "modules.json",
    modules(["", "Transformer"], ["1_LSTM", "LSTM"]),
    unsupported,
    "LSTM",
    "Pooling",
  );
  fails(
    "pooling first",
    "modules.json",
    modules(["1_Pooling", "Pooling"]),
    unsupported,
    "modules.json",
    "Transformer or StaticEmbedding first",
  );
  fails("no module", "modules.json", sends("[]"), unsupported, "modules.json", "a list of modules");
  fails("a modules.json that is an object", "modules.json", sends("{}"), unsupported, "modules.json", "a list of");
  for (const path of ["../../secrets", "/etc", "1_Pooling/../.."]) {
    const outside = modules(["", "Transformer"], [path, "Pooling"]);
    fails(`a module in ${path}`, "modules.json", outside, unsupported, "modules.json", path);
  }

  // To Python it is a folder's name, and so it is here.
  const elsewhere = modules(["", "Transformer"], ["https://example.org/x", "Pooling"]);
  const folder = "tiny-cls/https:/example.org/x/config.json";
  fails("a module at another host's address", "modules.json", elsewhere, "model_not_found", folder);

  test("DeBERTa", async () => {
    await assertFails(`${server.origin}/unsupported-deberta/`, unsupported, [
      "config.json",
      "deberta-v2",
      "supported: bert",
    ]);
    await assertLoads();
  });

  test("an unsupported model is refused before its weights are fetched", async () => {
    // They would not end.
    server.answers.set(`${FOLDER}config.json`, withValues({ model_type: "deberta-v2" }));
    server.answers.set(`${FOLDER}${WEIGHTS}`, (response, body) => void response.writeHead(200).write(body));
    await assertFails(server.origin + FOLDER, unsupported, ["deberta-v2"]);
    server.answers.clear();
    await assertLoads();
  });
});
