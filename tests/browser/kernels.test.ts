// The kernels' own checks in a browser; `cargo xtask test` builds them to tests/.build.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { LoadOptions } from "../../pkg/src/types.ts";
import { openPage, type TestPage, withPrelude } from "../support/browser.ts";

let browser: TestPage;
before(async () => {
  browser = await openPage();
});
after(() => browser.close());

for (const simd of ["simd128", "relaxed"]) {
  test(`every kernel agrees with its scalar meaning: ${simd}`, async () => {
    const { passed, failed } = await browser.page.evaluate(async (simd) => {
      const imports = { env: { now: () => performance.now() } };
      const { instance } = await WebAssembly.instantiateStreaming(fetch(`/tests/.build/kernels-${simd}.wasm`), imports);
      const { check, message, message_len, memory } = instance.exports as {
        check: (index: number) => number;
        message: () => number;
        message_len: () => number;
        memory: WebAssembly.Memory;
      };
      const passed: string[] = [];
      const failed: string[] = [];
      // 2: there are no more.
      for (let index = 0, result = check(index); result !== 2; result = check(++index)) {
        const text = new TextDecoder().decode(new Uint8Array(memory.buffer, message(), message_len()));
        (result === 0 ? passed : failed).push(text);
      }
      return { passed, failed };
    }, simd);
    assert.deepEqual(failed, []);
    assert.ok(passed.includes("linear_q8") && passed.includes("attention"), passed.join());
  });
}

/** Tells how often a worker has read the clock when its model is loaded. The clock does not depend on how busy the machine is. */
const COUNTS_READINGS = `{
  let readings = 0;
  performance.now = () => 0.01 * ++readings;
  const post = self.postMessage;
  self.postMessage = (message, transfer) => {
    if (message.result?.kernels) new BroadcastChannel("readings").postMessage(readings);
    post.call(self, message, transfer);
  };
}`;

test("which kernels are the fastest is measured at the first load only", async () => {
  const browser = await openPage({ overlay: await withPrelude({ "worker.js": COUNTS_READINGS }) });
  try {
    const load = (options: LoadOptions) =>
      browser.page.evaluate(async (options) => {
        const counted = new Promise<number>((resolve) => {
          new BroadcastChannel("readings").onmessage = ({ data }) => resolve(data);
        });
        const address = "/pkg/dist/index.js";
        const { Embedder } = await import(address);
        const embedder = await Embedder.load("/tests/fixtures/models/tiny-cls/", options);
        const kernels: string = embedder.info.kernels;
        await embedder.dispose();
        return { kernels, readings: await counted };
      }, options);
    const first = await load({});
    const second = await load({});
    const unkept = await load({ cache: "memory" });
    // Warming up reads it 80 times; measuring 25 times for each of 16 rates, and more where a wide tile wins.
    assert.ok(first.readings > 400, `${first.readings}`);
    assert.ok(second.readings < 200, `${second.readings}`);
    assert.ok(unkept.readings > 400, `${unkept.readings}`);
    assert.equal(second.kernels, first.kernels);

    const keys = await browser.page.evaluate(async () => {
      const request = indexedDB.open("embervec");
      await new Promise((resolve) => (request.onsuccess = resolve));
      const keys = request.result.transaction("entries").objectStore("entries").getAllKeys();
      await new Promise((resolve) => (keys.onsuccess = resolve));
      request.result.close();
      return keys.result.map(String).filter((key) => key.startsWith("kernels "));
    });
    const agent = await browser.page.evaluate(() => navigator.userAgent);
    assert.equal(keys.length, 1);
    assert.ok(keys[0]!.includes(agent), keys[0]);
  } finally {
    await browser.close();
  }
});
