// Which device a batch goes to.

import assert from "node:assert/strict";
import { test } from "node:test";

import { describe, isFaster } from "../../pkg/src/gpu/timings.ts";

const TIMINGS = [
  { tokens: 8, cpu: 2, gpu: 10 },
  { tokens: 128, cpu: 30, gpu: 12 },
  { tokens: 512, cpu: 120, gpu: 20 },
];

test("the faster device for a batch's number of tokens, between the measured ones, too", () => {
  assert.equal(isFaster(TIMINGS, 2), false);
  assert.equal(isFaster(TIMINGS, 8), false);
  // Times meet where 2 + 28 x = 10 + 2 x: at 8 + 120 * 8 / 26, about 45 tokens.
  assert.equal(isFaster(TIMINGS, 44), false);
  assert.equal(isFaster(TIMINGS, 46), true);
  assert.equal(isFaster(TIMINGS, 512), true);
  assert.equal(isFaster(TIMINGS, 5000), true);
  assert.equal(isFaster([], 5000), false);
  // Times that the clock could not tell from nothing.
  assert.equal(isFaster([{ tokens: 8, cpu: 0, gpu: 0 }], 8), false);
  assert.equal(isFaster([{ tokens: 8, cpu: 0, gpu: 1 }], 8), false);
  assert.equal(isFaster([{ tokens: 8, cpu: 1, gpu: 0 }], 8), true);
});

test("the reason is a sentence with figures", () => {
  assert.equal(
    describe("a card", TIMINGS),
    "WebGPU (a card) where it is faster, the CPU otherwise: 512 tokens take 20 ms there and 120 ms on the CPU.",
  );
  assert.equal(
    describe("software", [{ tokens: 8, cpu: 2, gpu: 300.4 }]),
    "The CPU, because WebGPU (software) is slower here: 8 tokens take 300 ms there and 2 ms on the CPU.",
  );
});
