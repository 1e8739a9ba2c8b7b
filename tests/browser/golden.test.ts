// The same vectors as sentence-transformers, through the npm package in a browser.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { openPage, type TestPage, withoutRelaxedSimd } from "../support/browser.ts";
import { type Case, encodeAll, expectedOf, MINI_LM, read, textOf, TINY_MODELS } from "../support/golden.ts";
import { cosine, difference } from "../support/vectors.ts";

/** fp32 in another order of summation: measured differences stay below 1e-6 for unit vectors. */
const TOLERANCE = 1e-5;

function assertClose(actual: number[], each: Case): void {
  const worst = difference(actual, expectedOf(each), each.name);
  assert.ok(worst < TOLERANCE, `${each.name}: ${worst}`);
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
    });

    test("MiniLM gives sentence-transformers' tokens and vectors", async () => {
      const expected = read("all-MiniLM-L6-v2.json");
      assert.ok(expected.cases.length >= 60);
      const { info, actual } = await encodeAll(browser.page, MINI_LM, expected.cases, { dtype: "fp32" });
      assert.equal(info.dimension, expected.dimension);
      assert.equal(info.simd, simd);
      expected.cases.forEach((each, i) => {
        assert.deepEqual(actual[i]!.inputIds, each.input_ids, each.name);
        assert.equal(actual[i]!.truncated, each.truncated, each.name);
        assertClose(actual[i]!.embedding, each);
      });
    });

    for (const name of TINY_MODELS) {
      test(`${name} gives sentence-transformers' vectors`, async () => {
        const expected = read(`models/${name}/expected.json`);
        const { info, actual } = await encodeAll(browser.page, `/tests/fixtures/models/${name}/`, expected.cases, {
          dtype: "fp32",
        });
        assert.equal(info.dimension, expected.dimension);
        expected.cases.forEach((each, i) => assertClose(actual[i]!.embedding, each));
      });
    }

    test("MiniLM in 8 bits, the default, points the same way", async () => {
      const { cases } = read("all-MiniLM-L6-v2.json");
      const { info, actual } = await encodeAll(browser.page, MINI_LM, cases, {});
      assert.equal(info.dtype, "q8");
      assert.match(info.kernels, /^f32 5x(8|16), q8 (dot|pairs) 5x(8|16)$/);
      const cosines = cases.map((each, i) => cosine(expectedOf(each), actual[i]!.embedding, each.name));
      const mean = cosines.reduce((sum, x) => sum + x) / cosines.length;
      assert.ok(mean >= 0.998, `mean ${mean}`);
      cosines.forEach((cosine, i) => assert.ok(cosine >= 0.995, `${cases[i]!.name}: ${cosine}`));
    });

    for (const dtype of ["q8", "fp32"] as const) {
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
      for (const dtype of ["q8", "fp32"] as const) {
        const seen = browser.requests.length;
        await encodeAll(browser.page, MINI_LM, cases.slice(0, 1), { dtype });
        assert.deepEqual(
          browser.requests.slice(seen).filter((path) => path.startsWith("/www/models/")),
          [],
        );
      }
    });
  });
}
