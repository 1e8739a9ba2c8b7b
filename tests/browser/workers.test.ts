// Bulk jobs on several workers.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openPage, type TestPage } from "../support/browser.ts";
import { assertFinite } from "../support/vectors.ts";

const MODEL = "/tests/fixtures/models/tiny-cls/";

let browser: TestPage;
before(async () => {
  browser = await openPage();
});
after(() => browser.close());

/** Encodes 2,000 texts of mixed length; gives the vectors' components in a row and the order of the stream. */
function encodeMany(workers: number | "auto"): Promise<{ values: number[]; order: number[]; workers: number }> {
  return browser.page.evaluate(
    async ({ model, workers }) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const embedder = await Embedder.load(model, { workers });
      const texts = Array.from({ length: 2000 }, (_, i) => `fox ${i} `.repeat(1 + ((i * 7) % 23)));
      const values: number[] = (await embedder.encode(texts)).flatMap((vector: Float32Array) => [...vector]);
      const order: number[] = [];
      for await (const { index } of embedder.encodeStream(texts)) order.push(index);
      await embedder.dispose();
      return { values, order, workers: embedder.info.workers };
    },
    { model: MODEL, workers },
  );
}

test("the same bits in the same order with any number of workers", async () => {
  const one = await encodeMany(1);
  assert.equal(one.workers, 1);
  assert.equal(one.values.length, 2000 * 32);
  assertFinite(one.values);
  for (const workers of [2, 3, "auto"] as const) {
    const several = await encodeMany(workers);
    if (workers !== "auto") assert.equal(several.workers, workers);
    assert.deepEqual(several.values, one.values, `${workers} workers`);
    assert.deepEqual(several.order, one.order);
    assert.ok(several.order.every((index, i) => index === i));
  }
});

test("workers start when there is work for them, and end with the embedder", async () => {
  const { page } = browser;
  assert.equal(page.workers().length, 0);
  await page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder } = await import(address);
    const embedder = await Embedder.load(model, { workers: 3 });
    Object.assign(globalThis, { embedder });
    await embedder.encode("a query");
    await embedder.encode("one long text ".repeat(500));
  }, MODEL);
  assert.equal(page.workers().length, 1);
  await page.evaluate(async () => {
    const { embedder } = globalThis as unknown as { embedder: { encode(texts: string[]): Promise<void> } };
    await embedder.encode(Array.from({ length: 3000 }, (_, i) => `a quick brown fox, number ${i}`));
  });
  await assertSoon(() => page.workers().length === 3);
  await page.evaluate(async () => {
    const { embedder } = globalThis as unknown as { embedder: { dispose(): Promise<void> } };
    await embedder.dispose();
  });
  await assertSoon(() => page.workers().length === 0);
});

test("disposed in the middle of a bulk job, everything ends", async () => {
  const { page } = browser;
  const codes = await page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder } = await import(address);
    const embedder = await Embedder.load(model, { workers: 2 });
    const texts = Array.from({ length: 5000 }, (_, i) => `a quick brown fox, number ${i}`);
    const jobs = [embedder.encode(texts), embedder.encode(texts)];
    await embedder.encode("started");
    await embedder.dispose();
    return Promise.all(
      jobs.map((job: Promise<unknown>) =>
        job.then(
          () => "done",
          (error: { code: string }) => error.code,
        ),
      ),
    );
  }, MODEL);
  assert.deepEqual(codes, ["disposed", "disposed"]);
  await assertSoon(() => page.workers().length === 0);
});

test("several workers without the cache are refused", async () => {
  const code = await browser.page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder } = await import(address);
    return Embedder.load(model, { workers: 2, cache: "memory" }).catch((error: { code: string }) => error.code);
  }, MODEL);
  assert.equal(code, "invalid_input");
});

async function assertSoon(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 50 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(holds());
}
