// What callers pass is checked before anything is done with it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EmbervecError } from "../../pkg/src/index.ts";
import {
  checkEncodeOptions,
  checkLoadOptions,
  checkPrecision,
  checkStreamOptions,
  checkTexts,
  pinsOf,
} from "../../pkg/src/options.ts";

function refusal(call: () => unknown): EmbervecError {
  try {
    call();
  } catch (error) {
    assert.ok(error instanceof EmbervecError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: "nothing was thrown" });
}

function assertRefused(call: (options: never) => unknown, bad: [string, unknown][]): void {
  for (const [name, value] of bad) {
    const { code, message } = refusal(() => call({ [name]: value } as never));
    assert.equal(code, "invalid_input", message);
    assert.ok(message.includes(`"${name}"`), message);
  }
}

test("options of load", () => {
  checkLoadOptions({});
  checkLoadOptions({
    device: "cpu",
    dtype: "fp32",
    workers: 1,
    progress: () => {},
    signal: new AbortController().signal,
    hub: "/hub",
    revision: "main",
    localFilesOnly: true,
    headers: { authorization: "Bearer x" },
    fetch,
    credentials: "include",
    integrity: { "config.json": "0".repeat(64), "1_Pooling/config.json": `sha256-${btoa("x".repeat(32))}` },
    persist: false,
    cache: "memory",
    wasmUrl: new URL("https://page.test/wasm/"),
    workerUrl: "/embervec/worker.js?v=2",
    createWorker: (url) => new Worker(url),
  });
  assertRefused(checkLoadOptions, [
    ["device", "gpu"],
    ["dtype", "q4"],
    ["progress", "yes"],
    ["signal", {}],
    ["hub", 1],
    ["revision", null],
    ["localFilesOnly", 1],
    ["headers", { a: 1 }],
    ["headers", new Headers({ a: "b" })],
    ["headers", ["a"]],
    ["headers", null],
    ["fetch", "https://proxy.test/"],
    ["credentials", "yes"],
    ["integrity", { "config.json": "sha256-abc" }],
    ["integrity", { "config.json": `sha384-${btoa("x".repeat(48))}` }],
    ["integrity", { "../config.json": "0".repeat(64) }],
    ["integrity", { "config.json": 1 }],
    ["integrity", new Map()],
    ["persist", "no"],
    ["cache", "disk"],
    ["wasmUrl", 7],
    ["workerUrl", null],
    ["createWorker", "/embervec/worker.js"],
    ["workers", 0],
    ["workers", 1.5],
    ["workers", "many"],
    ["quantized", true],
    ["toString", 1],
    ["__proto__x", 1],
  ]);
});

test("a header that cannot be sent is refused by its name, and its value is never shown", () => {
  const headers = { "x-a": "b", Authorization: "Bearer x\n", "x-latin": "é", "x-empty": "" };
  checkLoadOptions({ headers });
  const bad: Record<string, string> = {
    "x-token": "s3cret…",
    "x-line": "s3cret\r\nx: y",
    "x-nul": "s3cret\0",
    "x y": "s3cret",
    "": "s3cret",
    "x:y": "s3cret",
    é: "s3cret",
  };
  for (const [name, value] of Object.entries(bad)) {
    const { code, message } = refusal(() => checkLoadOptions({ headers: { "x-good": "s3cret", [name]: value } }));
    assert.equal(code, "invalid_input");
    assert.ok(message.includes(`"headers": ${JSON.stringify(name)}`) && !message.includes("s3cret"), message);
    // What is refused here is what the platform refuses.
    assert.throws(() => new Headers({ [name]: value }));
  }
  for (const [name, value] of Object.entries(headers)) assert.doesNotThrow(() => new Headers({ [name]: value }));
});

test("pins are read in both of their forms", () => {
  const bytes = Uint8Array.from({ length: 32 }, (_, i) => i * 8);
  const hex = Buffer.from(bytes).toString("hex");
  const base64 = Buffer.from(bytes).toString("base64");
  assert.deepEqual(
    [...pinsOf({ a: hex.toUpperCase(), b: `sha256-${base64}` })],
    [
      ["a", hex],
      ["b", hex],
    ],
  );
  assert.equal(pinsOf(undefined).size, 0);
});

test("a GPU's worker loads the model from IndexedDB", () => {
  checkLoadOptions({ device: "webgpu" });
  assert.equal(refusal(() => checkLoadOptions({ device: "webgpu", cache: "memory" })).code, "invalid_input");
  assert.equal(refusal(() => checkLoadOptions({ device: "webgpu", workers: 2 })).code, "invalid_input");
});

test("options of encode", () => {
  const signal = new AbortController().signal;
  assert.deepEqual(checkEncodeOptions({ pooling: "cls", truncateDim: 8, signal, progress: () => {} }, "query"), {
    task: "query",
    promptName: undefined,
    prompt: undefined,
    normalize: undefined,
    truncateDim: 8,
    tokens: false,
    pooling: ["cls"],
  });
  // An option that is undefined is one that is left out.
  assert.deepEqual(checkEncodeOptions(JSON.parse("{}")), checkEncodeOptions({ normalize: undefined } as never));
  assertRefused(checkEncodeOptions, [
    ["promptName", 1],
    ["prompt", null],
    ["normalize", "true"],
    ["truncateDim", 0],
    ["truncateDim", -1],
    ["truncateDim", 1.5],
    ["truncateDim", NaN],
    ["truncateDim", 2 ** 32],
    ["truncateDim", "8"],
    ["precision", "int4"],
    ["output", "tokens"],
    ["pooling", []],
    ["pooling", [1]],
    ["pooling", 1],
    ["signal", new AbortController()],
    ["progress", {}],
    ["batchSize", 32],
    ["constructor", 1],
  ]);
  for (const options of [null, 7, "cls", () => {}]) {
    assert.equal(refusal(() => checkEncodeOptions(options as never)).code, "invalid_input");
  }
  const { message } = refusal(() => checkEncodeOptions({ output: "token", precision: "int8" }));
  assert.match(message, /precision "int8"/);
});

test("a stream has neither precision nor output", () => {
  assert.deepEqual(checkStreamOptions({ normalize: true }), checkEncodeOptions({ normalize: true }));
  assert.deepEqual(checkStreamOptions({ task: "query" }), checkEncodeOptions({}, "query"));
  assertRefused(checkStreamOptions, [
    ["task", "passage"],
    ["precision", "int8"],
    ["output", "token"],
  ]);
});

test("int8 and uint8 need two texts for their ranges", () => {
  for (const precision of ["int8", "uint8"] as const) {
    assert.equal(refusal(() => checkPrecision(precision, 1)).code, "invalid_input");
    checkPrecision(precision, 2);
  }
  for (const precision of ["float32", "binary", "ubinary"] as const) checkPrecision(precision, 1);
});

test("texts are taken as they are at the call", () => {
  const texts = ["a", "b"];
  const taken = checkTexts(texts, "encode takes a string or");
  texts.push("c");
  assert.deepEqual(taken, ["a", "b"]);
});

test("headers that are no object are refused, and not shown", () => {
  const error = refusal(() => checkLoadOptions({ headers: "Bearer hf_secret" } as never));
  assert.deepEqual([error.code, error.message.includes("secret")], ["invalid_input", false]);
});
