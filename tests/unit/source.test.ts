// Which address a model's name stands for.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EmbervecError } from "../../pkg/src/index.ts";
import { explainConversion, originalOf } from "../../pkg/src/model/originals.ts";
import { withoutCredentials } from "../../pkg/src/addresses.ts";
import { fileUrl, folderUrl, resolveModel, scriptUrl } from "../../pkg/src/model/source.ts";

const PAGE = "https://page.test/app/index.html?x=1#top";

const resolve = (model: unknown, options: { hub?: string; revision?: string } = {}) =>
  resolveModel(model as string, options, PAGE);

test("a hub id becomes the address of its files", () => {
  assert.deepEqual(resolve("owner/name"), {
    base: "https://huggingface.co/owner/name/resolve/main/",
    revision: "main",
    pointers: "https://huggingface.co/owner/name/raw/main/",
  });
  assert.equal(resolve("bert-base_v1.5").base, "https://huggingface.co/bert-base_v1.5/resolve/main/");
  // Dots within a name are a name, too.
  assert.equal(resolve("owner/..name").base, "https://huggingface.co/owner/..name/resolve/main/");
});

test("hub and revision are the caller's", () => {
  assert.deepEqual(resolve("o/n", { hub: "https://mirror.test", revision: "v1.0" }), {
    base: "https://mirror.test/o/n/resolve/v1.0/",
    revision: "v1.0",
    pointers: "https://mirror.test/o/n/raw/v1.0/",
  });
  assert.equal(resolve("o/n", { hub: "https://mirror.test/hub/" }).base, "https://mirror.test/hub/o/n/resolve/main/");
  assert.equal(resolve("o/n", { hub: "/mirror" }).base, "https://page.test/mirror/o/n/resolve/main/");
  // The hub takes a branch with a slash as one path segment.
  assert.equal(resolve("o/n", { revision: "refs/pr/1" }).base, "https://huggingface.co/o/n/resolve/refs%2Fpr%2F1/");
  assert.equal(resolve("o/n", { revision: "a b#c?d" }).base, "https://huggingface.co/o/n/resolve/a%20b%23c%3Fd/");
});

test("the id of a conversion to ONNX leads to the original", () => {
  const originals = {
    "Xenova/all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "onnx-community/all-MiniLM-L6-v2-ONNX": "sentence-transformers/all-MiniLM-L6-v2",
    "xenova/bge-small-en-v1.5": "BAAI/bge-small-en-v1.5",
    "XENOVA/ALL-minilm-l6-V2-onnx": "sentence-transformers/all-MiniLM-L6-v2",
    "onnx-community/bge-m3-ONNX": "BAAI/bge-m3",
    "Xenova/gte-small": "thenlper/gte-small",
    "Xenova/multilingual-e5-small": "intfloat/multilingual-e5-small",
    "Xenova/LaBSE": "sentence-transformers/LaBSE",
    "onnx-community/gte-multilingual-base": "Alibaba-NLP/gte-multilingual-base",
  };
  for (const [model, original] of Object.entries(originals)) {
    assert.equal(originalOf(model), original);
    assert.deepEqual(resolve(model), resolve(original));
  }
  // Others are what they are.
  for (const model of [
    "Xenova/unknown",
    "Xenova/",
    "Xenova/all-MiniLM",
    "somebody/all-MiniLM-L6-v2",
    "all-MiniLM-L6-v2",
    "/Xenova/all-MiniLM-L6-v2",
    "Xenova/toString",
  ])
    assert.equal(originalOf(model), undefined, model);
  assert.equal(resolve("Xenova/unknown").base, "https://huggingface.co/Xenova/unknown/resolve/main/");
  assert.throws(
    () => resolve("Xenova/gte-small", { revision: "v2" }),
    (error) =>
      error instanceof EmbervecError && error.code === "invalid_input" && /thenlper\/gte-small/.test(error.message),
  );
});

test("a conversion that is not known says what to use instead", () => {
  const missing = new EmbervecError("model_not_found", "there is none");
  const { code, message, cause } = explainConversion("Xenova/unknown", missing) as EmbervecError;
  assert.deepEqual([code, cause], ["model_not_found", missing]);
  assert.match(message, /^there is none\. "Xenova\/unknown" .* original repository/);
  for (const [model, error] of [
    ["somebody/unknown", missing],
    ["Xenova/gte-small", missing],
    ["Xenova/unknown", new EmbervecError("network", "offline")],
    ["Xenova/unknown", new DOMException("", "AbortError")],
  ] as const)
    assert.equal(explainConversion(model, error), error);
});

test("a folder's address is relative to the page and ends with a slash", () => {
  const bases = {
    "/models/a": "https://page.test/models/a/",
    "/models/a/": "https://page.test/models/a/",
    "./a": "https://page.test/app/a/",
    "../a/b": "https://page.test/a/b/",
    "./a/../b": "https://page.test/app/b/",
    "/": "https://page.test/",
    "https://other.test/m": "https://other.test/m/",
    "HTTP://other.test": "http://other.test/",
    "chrome-extension://id/model": "chrome-extension://id/model/",
    "//other.test/m": "https://other.test/m/",
    "/a b/ü": "https://page.test/a%20b/%C3%BC/",
    "/a%23b": "https://page.test/a%23b/",
  };
  for (const [model, base] of Object.entries(bases))
    assert.deepEqual(resolve(model), { base, revision: undefined, pointers: undefined });
});

test("what is neither is refused", () => {
  const bad = [
    "",
    ".",
    "..",
    "...",
    "owner/",
    "owner/..",
    "a/b/c",
    "/a?b",
    "./a#b",
    "owner name",
    " o/n",
    "o/n\n",
    "o\\n",
    "öwner/n",
    "https://",
    "%2e%2e/n",
  ];
  for (const model of [...bad, undefined, null, 7, {}]) {
    assert.throws(
      () => resolve(model),
      (error) => error instanceof EmbervecError && error.code === "invalid_input",
      String(model),
    );
  }
  for (const options of [
    { revision: "" },
    { revision: "." },
    { revision: ".." },
    { revision: "\ud800" },
    { hub: "https://[" },
    { hub: "http://" },
    // A host's name without its scheme would be a folder beside the page.
    { hub: "huggingface.co" },
    { hub: "" },
    { hub: "https://h.test/?a" },
  ]) {
    assert.throws(
      () => resolve("o/n", options),
      (error) => error instanceof EmbervecError && error.code === "invalid_input",
      JSON.stringify(options),
    );
  }
});

test("an address in which no file can lie is none of a folder", () => {
  assert.equal(folderUrl("wasm", PAGE), "https://page.test/app/wasm/");
  for (const address of ["", "C:\\wasm", "data:text/plain,x", "https://", "./a?b"])
    assert.throws(
      () => folderUrl(address, PAGE),
      (error) => error instanceof EmbervecError && error.code === "invalid_input" && /address/.test(error.message),
      address,
    );
});

test("a file's path cannot leave the folder by its characters", () => {
  const base = "https://page.test/m/";
  assert.equal(fileUrl(base, "1_Pooling/config.json"), "https://page.test/m/1_Pooling/config.json");
  assert.equal(fileUrl(base, "a b/c#d?e%f/ü.json"), "https://page.test/m/a%20b/c%23d%3Fe%25f/%C3%BC.json");
  assert.equal(new URL(fileUrl(base, "x:y\\z")).href, "https://page.test/m/x%3Ay%5Cz");
});

test("no message shows a password or a token, and no address holds one", () => {
  const secret = "s3cret";
  const refused: [model: string, options?: object][] = [
    [`https://user:${secret}@host.test/m`],
    [`https://${secret}@host.test/m`],
    [`//user:${secret}@host.test/m`],
    [`user:${secret}@host.test/m`],
    [` https://user:${secret}@host.test/m`],
    [`https://user:${secret}@[bad/m`],
    [`https://user:${secret}@host.test/m?x`],
    [`https://host.test/m?token=${secret}`],
    [`./m#${secret}`],
    ["o/n", { hub: `https://user:${secret}@host.test` }],
    ["o/n", { hub: `https://host.test/?token=${secret}` }],
  ];
  for (const [model, options = {}] of refused) {
    const isSafe = (error: Error) =>
      error instanceof EmbervecError &&
      error.code === "invalid_input" &&
      !`${error.message} ${error.cause}`.includes(secret);
    assert.throws(() => resolve(model, options), isSafe, model);
    if (model.includes("host.test")) assert.throws(() => folderUrl(model, PAGE), isSafe, model);
  }
  assert.throws(() => scriptUrl(`https://user:${secret}@host.test/worker.js`, PAGE), EmbervecError);
  assert.equal(scriptUrl("../worker.js?v=2", PAGE), new URL("../worker.js?v=2", PAGE).href);
  assert.equal(withoutCredentials("https://user:pass@page.test/a?b").href, "https://page.test/a?b");
  // An "@" that is none of a password's.
  assert.equal(resolve("/@scope/m").base, new URL("/@scope/m/", PAGE).href);
  assert.equal(resolve("https://host.test/a@b").base, "https://host.test/a@b/");
});
