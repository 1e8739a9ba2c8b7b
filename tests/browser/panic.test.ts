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

  const { encode } = Embedder.prototype;
  Embedder.prototype.encode = function (texts, options) {
    const panic = texts.find((text) => text.startsWith("panic"));
    if (panic) panicForTest(panic);
    return encode.call(this, texts, options);
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
    // "sideEffects" of package.json is true of the page's half; a worker is nothing but side effects.
    ignoreAnnotations: true,
  });
  browser = await openPage({ overlay });
});
after(async () => {
  await browser.close();
});

test("a panic rejects what is under way, and the next call has a fresh worker", async () => {
  const seen = await browser.page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder, EmbervecError } = await import(address);
    const embedder = await Embedder.load(model);
    const before: Float32Array = await embedder.encode("a quick brown fox");
    const calls = [embedder.encode("panic in the kitchen"), embedder.encode("waits behind it"), embedder.encode(["waits", "too"])];
    const outcomes = await Promise.all(
      calls.map((call: Promise<unknown>) =>
        call.then(
          () => ({ isEmbervecError: false, code: "none", message: "resolved" }),
          (error: Error & { code: string }) => ({
            isEmbervecError: error instanceof EmbervecError,
            code: error.code,
            message: error.message,
          }),
        ),
      ),
    );
    // Two at once, so that both find the worker dead.
    const after: Float32Array[] = await Promise.all([embedder.encode("a quick brown fox"), embedder.encode("a quick brown fox")]);
    const again = await embedder.encode("panic once more").catch((error: Error) => error.message);
    const last: Float32Array = await embedder.encode("a quick brown fox");
    await embedder.dispose();
    return { outcomes, before: [...before], after: [...after, last].map((vector) => [...vector]), again };
  }, MODEL);

  assert.equal(seen.outcomes.length, 3);
  for (const { isEmbervecError, code, message } of seen.outcomes) {
    assert.ok(isEmbervecError, message);
    assert.equal(code, "internal");
    assert.ok(message.includes("panic in the kitchen"), message);
  }
  assert.ok(String(seen.again).includes("panic once more"), String(seen.again));
  assert.equal(seen.before.length, 32);
  for (const vector of seen.after) assert.deepEqual(vector, seen.before);
});

test("every panic costs one worker, no more", async () => {
  const started = browser.requests.filter((path) => path.endsWith("/worker.js")).length;
  assert.equal(started, 3);
});
