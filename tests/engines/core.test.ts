// What must be the same in every engine: vectors, storage, aborts, workers, and doing without a network.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { CHROMIUM } from "../support/chromium.ts";
import type { Engine, EnginePage } from "../support/engine.ts";
import { FIREFOX } from "../support/firefox.ts";
import { encodeInPage, encodingOf, expectedOf, MINI_LM, read } from "../support/golden.ts";
import { loadInPage, type Outcome } from "../support/load.ts";
import { type ModelServer, serveModels, stalls } from "../support/model-server.ts";
import { serveSite, type Site, withoutRelaxedSimd, withPrelude } from "../support/site.ts";
import { assertFinite, cosine, difference } from "../support/vectors.ts";
import { WEBKIT } from "../support/webkit.ts";

const FOLDER = "/tiny-cls/";

/** fp32 in another order of summation: measured differences stay below 1e-6 for unit vectors. */
const TOLERANCE = 1e-5;

/** An abort is answered within a second; the rest is for the browser to be asked and to answer. */
const ABORT_SECONDS = 2;

/** For all that an engine does: 50 to 95 s were seen on two cores that ten other processes kept busy. */
const TIMEOUT_MS = 300_000;

/** A function with one `i8x16.relaxed_swizzle`. */
const RELAXED = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 128, 2, 11,
];

for (const engine of [CHROMIUM, FIREFOX, WEBKIT]) {
  const skip = engine.program === undefined && `there is no ${engine.name} here`;
  describe(engine.name, { skip, timeout: TIMEOUT_MS }, () => coreOf(engine));
}

function coreOf(engine: Engine): void {
  let server: ModelServer;
  let site: Site;
  let page: EnginePage;
  let model: string;
  /** Of a load that nothing disturbs. */
  let goodVector: number[];

  before(async () => {
    server = await serveModels();
    model = server.origin + FOLDER;
    site = await serveSite({ connectTo: server.origin });
    page = await engine.start();
    await page.open(site.page);
    const { vector, error } = await load({ cache: "memory" });
    assert.ok(vector, error?.message);
    goodVector = vector;
  });
  afterEach(async () => {
    server.answers.clear();
    server.requests.length = 0;
    // A new page: what a test has started ends with the old one.
    await page.open(site.page);
    await page.evaluate(async () => {
      const address = "/pkg/dist/index.js";
      const { clearCache } = await import(address);
      await clearCache();
    });
  });
  after(async () => {
    await page?.close();
    site?.close();
    await server?.close();
  });

  const load = (options: object = {}, in_: EnginePage = page): Promise<Outcome> =>
    in_.evaluate(loadInPage, { model, options });

  for (const simd of ["relaxed", "simd128"]) {
    test(`MiniLM gives sentence-transformers' vectors: ${simd}`, async (context) => {
      const hasRelaxed = await page.evaluate(async (module) => WebAssembly.validate(Uint8Array.from(module)), RELAXED);
      if (simd === "relaxed" && !hasRelaxed) return context.skip("this version has no relaxed SIMD");
      const overlay = simd === "simd128" ? await withoutRelaxedSimd() : undefined;
      const golden = await serveSite(overlay === undefined ? {} : { overlay });
      try {
        await page.open(golden.page);
        const { cases, dimension } = read("all-MiniLM-L6-v2.json");
        const exact = await page.evaluate(encodeInPage, encodingOf(MINI_LM, cases, { dtype: "fp32" }));
        assert.equal(exact.info.simd, simd);
        assert.equal(exact.info.dimension, dimension);
        cases.forEach((each, i) => {
          const { embedding, inputIds, truncated } = exact.actual[i]!;
          assert.deepEqual(inputIds, each.input_ids, each.name);
          assert.equal(truncated, each.truncated, each.name);
          const worst = difference(embedding, expectedOf(each), each.name);
          assert.ok(worst < TOLERANCE, `${each.name}: ${worst}`);
        });
        const short = await page.evaluate(encodeInPage, encodingOf(MINI_LM, cases, {}));
        assert.deepEqual([short.info.dtype, short.info.simd], ["q8", simd]);
        const cosines = cases.map((each, i) => cosine(expectedOf(each), short.actual[i]!.embedding, each.name));
        const mean = cosines.reduce((sum, x) => sum + x) / cosines.length;
        assert.ok(mean >= 0.998, `mean ${mean}`);
        cosines.forEach((cosine, i) => assert.ok(cosine >= 0.995, `${cases[i]!.name}: ${cosine}`));
      } finally {
        golden.close();
      }
    });
  }

  test("a second load makes no request to the model host", async () => {
    for (const dtype of ["fp32", "q8"]) {
      const first = await load({ dtype });
      assert.ok(first.vector, first.error?.message);
      assert.ok(dtype === "q8" || first.cached === false);
      server.requests.length = 0;
      await page.open(site.page);
      assert.deepEqual(await load({ dtype }), { ...first, cached: true });
      assert.deepEqual(server.requests, []);
    }
  });

  test("without the host, what is stored still loads, and what is not is an error", async () => {
    assert.deepEqual((await load()).vector, goodVector);
    await page.open(site.page);
    await server.stop();
    try {
      assert.deepEqual(await load(), { vector: goodVector, cached: true });
      assert.deepEqual(await load({ localFilesOnly: true }), { vector: goodVector, cached: true });
      const other = { model: `${server.origin}/tiny-max/`, options: {} };
      assert.equal((await page.evaluate(loadInPage, other)).error?.code, "network");
      const local = { ...other, options: { localFilesOnly: true } };
      assert.equal((await page.evaluate(loadInPage, local)).error?.code, "model_not_found");
    } finally {
      await server.start();
    }
  });

  test("an abort is answered at once, and leaves nothing that disturbs the next load", async () => {
    server.answers.set(`${FOLDER}model.safetensors`, stalls);
    const requested = server.requested(`${FOLDER}model.safetensors`);
    await page.evaluate(async (model) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const controller = new AbortController();
      const outcome = Embedder.load(model, { signal: controller.signal }).then(() => "loaded", String);
      Object.assign(globalThis, { controller, outcome });
    }, model);
    await requested;
    const started = performance.now();
    const outcome = await page.evaluate(async () => {
      const { controller, outcome } = globalThis as unknown as {
        controller: AbortController;
        outcome: Promise<string>;
      };
      controller.abort("the reason");
      return outcome;
    });
    const seconds = (performance.now() - started) / 1000;
    assert.equal(outcome, "the reason");
    assert.ok(seconds < ABORT_SECONDS, `${seconds} s`);
    server.answers.clear();
    assert.deepEqual(await load(), { vector: goodVector, cached: false });
  });

  test("the same bits in the same order with any number of workers", async () => {
    const encodeMany = (workers: number) =>
      page.evaluate(
        async ({ model, workers }) => {
          const address = "/pkg/dist/index.js";
          const { Embedder } = await import(address);
          const embedder = await Embedder.load(model, { workers });
          const texts = Array.from({ length: 500 }, (_, i) => `fox ${i} `.repeat(1 + ((i * 7) % 23)));
          // The others take part as soon as they have loaded.
          const passes: number[][] = [];
          for (let i = 0; i < 3; i++)
            passes.push((await embedder.encode(texts)).flatMap((vector: Float32Array) => [...vector]));
          await embedder.dispose();
          return { passes, workers: embedder.info.workers };
        },
        { model, workers },
      );
    const one = await encodeMany(1);
    const several = await encodeMany(3);
    assert.deepEqual([one.workers, several.workers], [1, 3]);
    assert.equal(one.passes[0]!.length, 500 * 32);
    for (const values of one.passes) assertFinite(values);
    assert.deepEqual(several.passes, one.passes);
  });

  test("where the user blocks storage, a model loads all the same, and an abort is answered", async () => {
    const blocked = await engine.start({ blocksStorage: true });
    try {
      await blocked.open(site.page);
      const isBlocked = await blocked.evaluate(async () => {
        try {
          return await new Promise<boolean>((resolve) => {
            Object.assign(indexedDB.open("x"), { onsuccess: () => resolve(false), onerror: () => resolve(true) });
          });
        } catch {
          return true;
        }
      });
      assert.ok(isBlocked);
      assert.deepEqual(await load({}, blocked), { vector: goodVector, cached: false });
      const { stored, storedReason } = await blocked.evaluate(async (model) => {
        const address = "/pkg/dist/index.js";
        const { Embedder } = await import(address);
        const embedder = await Embedder.load(model);
        await embedder.dispose();
        return embedder.info as { stored: boolean; storedReason: string };
      }, model);
      assert.equal(stored, false);
      assert.match(storedReason, /not kept/);
      server.answers.set(`${FOLDER}model.safetensors`, stalls);
      const reason = await blocked.evaluate(async (model) => {
        const address = "/pkg/dist/index.js";
        const { Embedder } = await import(address);
        return Embedder.load(model, { signal: AbortSignal.timeout(500) }).catch((error: Error) => error.name);
      }, model);
      assert.equal(reason, "TimeoutError");
    } finally {
      await blocked.close();
    }
  });

  test("what the package cannot do without is named by the first thing that load does", async () => {
    const overlay = await withPrelude({ "index.js": "WebAssembly.validate = () => false;" });
    const old = await serveSite({ overlay });
    try {
      await page.open(old.page);
      const { error } = await load();
      assert.deepEqual([error?.isEmbervecError, error?.code], [true, "unsupported_device"]);
      assert.match(error!.message, /WebAssembly SIMD/);
      assert.ok(!old.requests.some((path) => path.endsWith("worker.js")), old.requests.join());
    } finally {
      old.close();
    }
  });
}
