// The same vectors as sentence-transformers, through the npm package in a browser.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { after, before, describe, test } from "node:test";

import type { Page } from "playwright-core";

import { openPage, type TestPage, withoutRelaxedSimd } from "../support/browser.ts";

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

const MINI_LM = "/www/models/all-MiniLM-L6-v2/";

const fixtures = new URL("../fixtures/", import.meta.url);
const read = (path: string): Expected => JSON.parse(readFileSync(new URL(path, fixtures), "utf8"));

function textOf({ text, utf16 }: Case): string {
  return utf16 ? String.fromCharCode(...utf16) : text;
}

interface EncodedAll {
  info: { dimension: number; simd: string; dtype: string; kernels: string };
  actual: Actual[];
}

function encodeAll(page: Page, model: string, cases: Case[], dtype: string): Promise<EncodedAll> {
  const input = cases.map((each) => ({ text: textOf(each), prompt: each.prompt_name ?? undefined }));
  return page.evaluate(
    async ({ model, input, dtype }) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const embedder = await Embedder.load(model, { dtype });
      const actual = [];
      for (const { text, prompt } of input) {
        const options = prompt === undefined ? {} : { promptName: prompt };
        const { inputIds, truncated } = await embedder.tokenize(text);
        actual.push({ embedding: [...(await embedder.encode(text, options))], inputIds, truncated });
      }
      const { info } = embedder;
      await embedder.dispose();
      return { info, actual };
    },
    { model, input, dtype },
  );
}

function expectedOf({ embedding }: Case): Float32Array {
  const bytes = Buffer.from(embedding, "base64");
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

function assertClose(actual: number[], each: Case): void {
  const expected = expectedOf(each);
  assert.equal(actual.length, expected.length, each.name);
  const difference = Math.max(...actual.map((x, i) => Math.abs(x - expected[i]!)));
  assert.ok(difference < TOLERANCE, `${each.name}: ${difference}`);
}

for (const simd of ["relaxed", "simd128"]) {
  describe(simd, () => {
    let browser: TestPage;
    let overlay: string | undefined;
    before(async () => {
      overlay = simd === "simd128" ? await withoutRelaxedSimd() : undefined;
      browser = await openPage(overlay === undefined ? {} : { overlay });
    });
    after(async () => {
      await browser.close();
      if (overlay !== undefined) await rm(overlay, { recursive: true });
    });

    test("MiniLM gives sentence-transformers' tokens and vectors", async () => {
      const expected = read("all-MiniLM-L6-v2.json");
      assert.ok(expected.cases.length >= 60);
      const { info, actual } = await encodeAll(browser.page, MINI_LM, expected.cases, "fp32");
      assert.equal(info.dimension, expected.dimension);
      assert.equal(info.simd, simd);
      expected.cases.forEach((each, i) => {
        assert.deepEqual(actual[i]!.inputIds, each.input_ids, each.name);
        assert.equal(actual[i]!.truncated, each.truncated, each.name);
        assertClose(actual[i]!.embedding, each);
      });
    });

    for (const name of readdirSync(new URL("models/", fixtures)).filter((name) => name.startsWith("tiny-"))) {
      test(`${name} gives sentence-transformers' vectors`, async () => {
        const expected = read(`models/${name}/expected.json`);
        const { info, actual } = await encodeAll(browser.page, `/tests/fixtures/models/${name}/`, expected.cases, "fp32");
        assert.equal(info.dimension, expected.dimension);
        expected.cases.forEach((each, i) => assertClose(actual[i]!.embedding, each));
      });
    }

    test("MiniLM in 8 bits, the default, points the same way", async () => {
      const { cases } = read("all-MiniLM-L6-v2.json");
      const { info, actual } = await encodeAll(browser.page, MINI_LM, cases, "auto");
      assert.equal(info.dtype, "q8");
      assert.match(info.kernels, /^f32 4x(8|16), q8 (dot|pairs) 4x(8|16)$/);
      const cosines = cases.map((each, i) =>
        expectedOf(each).reduce((sum, x, component) => sum + x * actual[i]!.embedding[component]!, 0),
      );
      const mean = cosines.reduce((sum, x) => sum + x) / cosines.length;
      assert.ok(mean >= 0.998, `mean ${mean}`);
      cosines.forEach((cosine, i) => assert.ok(cosine >= 0.995, `${cases[i]!.name}: ${cosine}`));
    });

    for (const dtype of ["q8", "fp32"]) {
      test(`a text has the same bits alone, in any batch and in a stream: ${dtype}`, async () => {
        const texts = read("all-MiniLM-L6-v2.json").cases.slice(0, 64).map(textOf);
        const differing = await browser.page.evaluate(
          async ({ model, texts, dtype }) => {
            const address = "/pkg/dist/index.js";
            const { Embedder } = await import(address);
            const embedder = await Embedder.load(model, { dtype });
            // 37 and 64 have no common factor: a fixed shuffle.
            const shuffled = texts.map((_, i) => texts[(i * 37 + 11) % texts.length]!);
            const together: Float32Array[] = await embedder.encode(shuffled);
            const differing = [];
            for await (const { index, embedding } of embedder.encodeStream(shuffled)) {
              const alone: Float32Array = await embedder.encode(shuffled[index]!);
              const same = alone.every((x, i) => x === embedding[i] && x === together[index]![i]);
              if (!same || alone.length !== embedding.length) differing.push(shuffled[index]);
            }
            await embedder.dispose();
            return differing;
          },
          { model: MINI_LM, texts, dtype },
        );
        assert.deepEqual(differing, []);
      });
    }

    test("a second load makes no request to the model host", async () => {
      const { cases } = read("all-MiniLM-L6-v2.json");
      for (const dtype of ["q8", "fp32"]) {
        const seen = browser.requests.length;
        await encodeAll(browser.page, MINI_LM, cases.slice(0, 1), dtype);
        assert.deepEqual(browser.requests.slice(seen).filter((path) => path.startsWith("/www/models/")), []);
      }
    });
  });
}
