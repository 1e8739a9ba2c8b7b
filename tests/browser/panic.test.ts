// A Rust panic ends the worker, never the embedder.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

import { openPage, type TestPage } from "../support/browser.ts";
import { temporaryFolder } from "../support/temporary.ts";

const MODEL = "/tests/fixtures/models/tiny-cls/";

/** The package's worker, whose wasm panics for texts that begin with "panic". */
const WORKER = `
  import { Embedder, panicForTest } from "./wasm/simd128/embervec.js";
  import "./src/worker/host.ts";

  const { begin } = Embedder.prototype;
  Embedder.prototype.begin = function (texts, ...rest) {
    const panic = texts.find((text) => text.startsWith("panic"));
    if (panic) panicForTest(panic);
    return begin.call(this, texts, ...rest);
  };
`;

let overlay: string;
let browser: TestPage;

before(async () => {
  overlay = await temporaryFolder();
  await build({
    stdin: { contents: WORKER, resolveDir: fileURLToPath(new URL("../../pkg", import.meta.url)) },
    outfile: join(overlay, "pkg/dist/worker.js"),
    bundle: true,
    format: "esm",
    define: { EMBERVEC_VERSION: JSON.stringify("test") },
    // "sideEffects" of package.json is true of the page's half; a worker is nothing but side effects.
    ignoreAnnotations: true,
  });
  browser = await openPage({ overlay });
});
after(async () => {
  await browser.close();
});

test("a panic rejects the call with its text, and no other; the next call has a fresh worker", async () => {
  const seen = await browser.page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder, EmbervecError } = await import(address);
    const embedder = await Embedder.load(model);
    const before: Float32Array = await embedder.encode("a quick brown fox");
    const calls = [
      embedder.encode("a quick brown fox"),
      embedder.encode("panic in the kitchen"),
      embedder.encode(["a quick brown fox", "waits"]),
    ];
    const outcomes = await Promise.all(
      calls.map((call: Promise<Float32Array | Float32Array[]>) =>
        call.then(
          (value) => ({ vector: [...(Array.isArray(value) ? value[0]! : value)] }),
          (error: Error & { code: string }) => ({
            isEmbervecError: error instanceof EmbervecError,
            code: error.code,
            message: error.message,
          }),
        ),
      ),
    );
    // Two at once, so that both find the worker dead.
    const after: Float32Array[] = await Promise.all([
      embedder.encode("a quick brown fox"),
      embedder.encode("a quick brown fox"),
    ]);
    const again = await embedder.encode("panic once more").catch((error: Error) => error.message);
    const last: Float32Array = await embedder.encode("a quick brown fox");
    await embedder.dispose();
    return { outcomes, before: [...before], after: [...after, last].map((vector) => [...vector]), again };
  }, MODEL);

  assert.equal(seen.before.length, 32);
  const [first, panic, third] = seen.outcomes;
  assert.deepEqual([first, third], [{ vector: seen.before }, { vector: seen.before }]);
  assert.ok(panic && "code" in panic && panic.isEmbervecError && panic.code === "internal");
  assert.match(panic.message, /^the text "panic in the kitchen" crashes the worker/);
  assert.ok(String(seen.again).includes("panic once more"), String(seen.again));
  for (const vector of seen.after) assert.deepEqual(vector, seen.before);
});

test("every panic costs one worker, no more", async () => {
  const started = browser.requests.filter((path) => path.endsWith("/worker.js")).length;
  assert.equal(started, 3);
});

test("a bulk job with a text that panics fails by that text; a job beside it is finished, and the right vectors come after it", async () => {
  const seen = await browser.page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder } = await import(address);
    const embedder = await Embedder.load(model, { workers: 2 });
    const texts = Array.from({ length: 1000 }, (_, i) => `text ${i}`);
    const bad = texts.with(437, "panic at 437");
    const job = embedder.encode(bad).then(
      () => "resolved",
      (error: Error) => error.message,
    );
    const [message, beside, query] = await Promise.all([job, embedder.encode(texts), embedder.encode("text 7")]);
    await embedder.dispose();
    return { message, count: beside.length, isSame: query.every((x: number, i: number) => x === beside[7]![i]) };
  }, MODEL);
  assert.match(seen.message, /"panic at 437"/);
  assert.deepEqual([seen.count, seen.isSame], [1000, true]);
});
