// Models in 8 bits: what is kept, and what is computed from it.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { openPage, type TestPage } from "../support/browser.ts";
import { deleteStored, load, storedKeys } from "../support/load.ts";

const MODEL = "/tests/fixtures/models/tiny-dense/";
const MINI_LM = "/www/models/all-MiniLM-L6-v2/";

let browser: TestPage;
before(async () => {
  browser = await openPage();
});
beforeEach(() => deleteStored(browser.page));
after(() => browser.close());

const modelRequests = () =>
  browser.requests.filter((path) => path.startsWith("/www/models/") || path.startsWith("/tests/"));

test("only the quantised form is kept, and it gives the same bits", async () => {
  const first = await load(browser.page, MODEL, { dtype: "q8" });
  assert.equal(first.cached, false);
  const keys = await storedKeys(browser.page);
  assert.deepEqual(keys.models, [`${browser.origin}${MODEL}#q8`]);
  assert.ok(keys.chunks.length > 0);
  assert.deepEqual(
    keys.chunks.filter((key) => !key.includes("#q8")),
    [],
  );

  const seen = modelRequests().length;
  const second = await load(await browser.openTab(), MODEL, { dtype: "q8", localFilesOnly: true });
  assert.equal(second.cached, true);
  assert.deepEqual(second.vector, first.vector);
  assert.equal(modelRequests().length, seen);
});

test("the original that is kept is quantised without the network", async () => {
  const original = await load(browser.page, MODEL, { dtype: "fp32" });
  const seen = modelRequests().length;
  const quantized = await load(browser.page, MODEL, { dtype: "q8", localFilesOnly: true });
  assert.equal(quantized.error, undefined);
  assert.equal(modelRequests().length, seen);
  assert.notDeepEqual(quantized.vector, original.vector);
  const keys = await storedKeys(browser.page);
  assert.deepEqual(keys.models, [`${browser.origin}${MODEL}`, `${browser.origin}${MODEL}#q8`]);

  await deleteStored(browser.page);
  const direct = await load(browser.page, MODEL, { dtype: "q8", cache: "memory" });
  assert.deepEqual(direct.vector, quantized.vector);
  assert.deepEqual((await storedKeys(browser.page)).models, []);
});

test("what is quantised is no fp32 model", async () => {
  await load(browser.page, MODEL, { dtype: "q8" });
  const { error } = await load(browser.page, MODEL, { dtype: "fp32", localFilesOnly: true });
  assert.equal(error?.code, "model_not_found");
});

test("MiniLM takes 23 MB of storage", async () => {
  await load(browser.page, MINI_LM, { dtype: "q8" });
  const bytes = await browser.page.evaluate(async () => {
    const address = "/pkg/dist/index.js";
    const { cacheSize } = await import(address);
    return (await cacheSize()) as number;
  });
  // 22.7 MB of weights and scales, and half a megabyte of tokenizer.
  assert.ok(bytes > 20e6 && bytes < 23.6e6, `${bytes} bytes`);
});
