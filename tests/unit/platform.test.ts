// The table of the platform's calls is whole: tests/browser/platform.test.ts makes each of them fail.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NOT_THE_PLATFORM, OF_SEARCH, PLATFORM_CALLS } from "../support/platform-calls.ts";
import { gpuCalls, platformCalls } from "../support/platform-search.ts";

test("every call of the platform that is waited for has a row, and every row a call", async () => {
  const found = [...platformCalls()];
  const rows = new Set([...Object.values(PLATFORM_CALLS).flatMap(({ at }) => at), ...NOT_THE_PLATFORM]);
  const known = new Set([...rows, ...OF_SEARCH]);
  assert.ok(found.includes("model/fetch.ts fetch"), found.join());
  assert.deepEqual(
    found.filter((call) => !known.has(call)),
    [],
    "these calls have no row: add one to PLATFORM_CALLS in tests/support/platform-calls.ts (its `at` is the string above), so that they are " +
      "made to fail in tests/browser/platform.test.ts",
  );
  assert.deepEqual(
    [...rows].filter((call) => !found.includes(call)),
    [],
    "these calls are made no more: take them out of tests/support/platform-calls.ts",
  );
});

test("what the GPU's wasm module waits for is stubbed", async () => {
  const stubs = Object.values(PLATFORM_CALLS)
    .map(({ stub }) => stub)
    .join("\n");
  const found = await gpuCalls();
  assert.ok(found.includes("mapAsync"), found.join());
  assert.deepEqual(
    found.filter((method) => !stubs.includes(`"${method}"`)),
    [],
    "these need a row in tests/support/platform-calls.ts",
  );
});
