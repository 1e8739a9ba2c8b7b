// The same vectors as sentence-transformers, through the npm package in a browser.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";

import { openPage, type TestPage } from "../support/browser.ts";

interface Case {
  name: string;
  text: string;
  /** UTF-16 code units of a text with lone surrogates, which `text` cannot hold. */
  utf16?: number[];
  prompt_name?: string | null;
  input_ids: number[];
  truncated: boolean;
  embedding: string;
}

interface Expected {
  dimension: number;
  max_seq_length: number;
  cases: Case[];
}

interface Actual {
  embedding: number[];
  inputIds: number[];
  truncated: boolean;
}

/** fp32 in another order of summation: measured differences stay below 1e-6 for unit vectors. */
const TOLERANCE = 1e-5;

const fixtures = new URL("../fixtures/", import.meta.url);
const read = (path: string): Expected => JSON.parse(readFileSync(new URL(path, fixtures), "utf8"));

let browser: TestPage;
before(async () => {
  browser = await openPage();
});
after(() => browser.close());

function textOf({ text, utf16 }: Case): string {
  return utf16 ? String.fromCharCode(...utf16) : text;
}

function encodeAll(model: string, cases: Case[]): Promise<{ dimension: number; actual: Actual[] }> {
  const input = cases.map((each) => ({ text: textOf(each), prompt: each.prompt_name ?? undefined }));
  return browser.page.evaluate(
    async ({ model, input }) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const embedder = await Embedder.load(model);
      const actual = [];
      for (const { text, prompt } of input) {
        const options = prompt === undefined ? {} : { promptName: prompt };
        const { inputIds, truncated } = await embedder.tokenize(text);
        actual.push({ embedding: [...(await embedder.encode(text, options))], inputIds, truncated });
      }
      const { dimension } = embedder.info;
      await embedder.dispose();
      return { dimension, actual };
    },
    { model, input },
  );
}

function assertClose(actual: number[], base64: string, name: string): void {
  const bytes = Buffer.from(base64, "base64");
  const expected = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  assert.equal(actual.length, expected.length, name);
  const difference = Math.max(...actual.map((x, i) => Math.abs(x - expected[i]!)));
  assert.ok(difference < TOLERANCE, `${name}: ${difference}`);
}

test("MiniLM gives sentence-transformers' tokens and vectors", async () => {
  const expected = read("all-MiniLM-L6-v2.json");
  assert.ok(expected.cases.length >= 60);
  const { dimension, actual } = await encodeAll("/www/models/all-MiniLM-L6-v2/", expected.cases);
  assert.equal(dimension, expected.dimension);
  expected.cases.forEach((each, i) => {
    assert.deepEqual(actual[i]!.inputIds, each.input_ids, each.name);
    assert.equal(actual[i]!.truncated, each.truncated, each.name);
    assertClose(actual[i]!.embedding, each.embedding, each.name);
  });
});

for (const name of readdirSync(new URL("models/", fixtures)).filter((name) => name.startsWith("tiny-"))) {
  test(`${name} gives sentence-transformers' vectors`, async () => {
    const expected = read(`models/${name}/expected.json`);
    const { dimension, actual } = await encodeAll(`/tests/fixtures/models/${name}/`, expected.cases);
    assert.equal(dimension, expected.dimension);
    expected.cases.forEach((each, i) => assertClose(actual[i]!.embedding, each.embedding, each.name));
  });
}

test("a second load makes no request to the model host", async () => {
  const seen = browser.requests.length;
  await encodeAll("/www/models/all-MiniLM-L6-v2/", read("all-MiniLM-L6-v2.json").cases.slice(0, 1));
  assert.deepEqual(browser.requests.slice(seen).filter((path) => path.startsWith("/www/models/")), []);
});
