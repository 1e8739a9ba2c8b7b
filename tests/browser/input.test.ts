// What callers pass wrongly, and what is merely unusual.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openPage, type TestPage } from "../support/browser.ts";

let browser: TestPage;
before(async () => {
  browser = await openPage();
});
after(() => browser.close());

const MODEL = "/tests/fixtures/models/tiny-cls/";

test("what is not a text is refused by name, and the embedder stays usable", async () => {
  const seen = await browser.page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder, EmbervecError } = await import(address);
    const embedder = await Embedder.load(model);
    const hole = ["a", "b"];
    hole[3] = "d";
    const messages = [];
    for (const texts of [null, undefined, 7, {}, hole, ["a", "b", "c", null]]) {
      try {
        await embedder.encode(texts);
        messages.push("no error");
      } catch (error) {
        const known = error instanceof EmbervecError ? (error as Error & { code: string }) : undefined;
        messages.push(`${known?.code}: ${known?.message}`);
      }
    }
    const { length } = await embedder.encode("still usable");
    await embedder.dispose();
    return { messages, length };
  }, MODEL);
  const words = ["null", "undefined", "7", "an object", "texts[2] is a hole", "texts[3] must be a string, not null"];
  seen.messages.forEach((message, i) => {
    assert.ok(message.startsWith("invalid_input: "), message);
    assert.ok(message.includes(words[i]!), message);
  });
  assert.equal(seen.length, 32);
});

test("a stream gives every text in order, and an abort rejects with the signal's reason", async () => {
  const seen = await browser.page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder } = await import(address);
    const embedder = await Embedder.load(model);
    const texts = Array.from({ length: 10_000 }, (_, i) => `text number ${i}`);
    const indices: number[] = [];
    let difference = 0;
    for await (const { index, embedding } of embedder.encodeStream(texts)) {
      indices.push(index);
      if (index % 1000 !== 0) continue;
      const alone: Float32Array = await embedder.encode(texts[index]!);
      if (alone.length !== embedding.length) throw new Error(`${alone.length} and ${embedding.length} components`);
      // NaN stays NaN.
      difference = Math.max(difference, ...alone.map((x, i) => Math.abs(x - embedding[i])));
    }
    const abort = new AbortController();
    const reason = new Error("enough");
    setTimeout(() => abort.abort(reason), 20);
    const rejected = await embedder.encode(texts, { signal: abort.signal }).catch((error: unknown) => error === reason);
    const { length } = await embedder.encode("still usable");
    await embedder.dispose();
    const code = await embedder.encode("gone").catch((error: { code: string }) => error.code);
    return {
      inOrder: indices.every((index, i) => index === i),
      count: indices.length,
      difference,
      rejected,
      length,
      code,
    };
  }, MODEL);
  assert.equal(seen.count, 10_000);
  assert.ok(seen.inOrder);
  assert.ok(seen.difference < 1e-6, String(seen.difference));
  assert.equal(seen.rejected, true);
  assert.equal(seen.length, 32);
  assert.equal(seen.code, "disposed");
});

test("offsets count UTF-16 code units of the JavaScript string", async () => {
  const slices = await browser.page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder } = await import(address);
    const embedder = await Embedder.load(model);
    const text = "\u{1F600} Fox, \uD800caf\u00E9 dog";
    const { tokens, offsets } = await embedder.tokenize(text);
    await embedder.dispose();
    return tokens.map((token: string, i: number) => [token, text.slice(...(offsets[i] as [number, number]))]);
  }, MODEL);
  const find = (token: string) => slices.find(([each]: string[]) => each === token)?.[1];
  assert.equal(find("fox"), "Fox");
  assert.equal(find("dog"), "dog");
  assert.equal(find("[CLS]"), "");
});
