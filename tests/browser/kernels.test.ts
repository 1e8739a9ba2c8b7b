// The kernels' own checks in a browser; `cargo xtask test` builds them to tests/.build.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openPage, type TestPage } from "../support/browser.ts";

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
