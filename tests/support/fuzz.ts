// What the fuzz tests share. Whatever their inputs hold: only the package's own errors leave, with a code; nothing is
// left unhandled or unsettled; sizes are numbers; and time is that of the input's size.
//
// EMBERVEC_FUZZ_SECONDS: how long all targets together may take. A failure prints its seed and path, and the smallest
// input that was found in that time; with these as EMBERVEC_FUZZ_SEED and EMBERVEC_FUZZ_PATH it happens again. That
// input belongs into the target's `examples`.

import assert from "node:assert/strict";
import type { TestContext } from "node:test";

import fc from "fast-check";

import { EmbervecError, codeOf } from "../../pkg/src/errors.ts";
import { CHUNK_BYTES, MAX_FILE_BYTES } from "../../pkg/src/limits.ts";
import type { ProgressEvent } from "../../pkg/src/types.ts";

const SECONDS = Number(process.env["EMBERVEC_FUZZ_SECONDS"] ?? 16);
const TARGETS = 4;
/** Of a case, by itself and for each million bytes of its input. */
const MAX_MS = 1000;
/** A case that takes so long does not end. */
const NEVER_MS = 20_000;

export const encode = (text: string) => new TextEncoder().encode(text);

const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));

/** Gives what an action gives; `undefined` where it fails as it may. */
export async function outcome<T>(action: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await action();
  } catch (error) {
    // What stands in for the wasm module throws as that does: errors with a code.
    if (error instanceof assert.AssertionError || !(error instanceof Error) || codeOf(error) === undefined) throw error;
    if (!(error instanceof EmbervecError))
      assert.match(error.message, /is missing from the model folder|behind its last tensor|is not supported/);
    return undefined;
  }
}

export function assertSize(bytes: number): void {
  assert.ok(Number.isSafeInteger(bytes) && bytes >= 0, `${bytes} bytes`);
}

/** Takes events of whole numbers that only go up. */
export function checkedProgress(): (event: ProgressEvent) => void {
  let last: ProgressEvent | undefined;
  return (event) => {
    const { stage, loaded, total } = event;
    // Of a stored model that turns out to be damaged the download begins anew.
    const before = last?.stage === stage ? last.loaded : 0;
    assertSize(loaded);
    assertSize(total);
    assert.ok(loaded >= before && loaded <= total, `${stage}: after ${before} ${loaded} of ${total}`);
    last = event;
  };
}

/** Runs a target with random inputs, and with those that once failed. */
export async function fuzz<Input>(
  t: TestContext,
  inputs: fc.Arbitrary<Input>,
  examples: Input[],
  target: (input: Input) => Promise<number>,
): Promise<void> {
  let cases = 0;
  const property = fc.asyncProperty(inputs, async (input) => {
    cases += 1;
    const started = performance.now();
    const bytes = await target(input);
    const ms = performance.now() - started;
    assert.ok(ms < MAX_MS * Math.max(1, bytes / 1e6), `${ms} ms for ${bytes} bytes`);
    // A rejection is unhandled once the microtasks are done.
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(unhandled.splice(0), []);
  });
  const { EMBERVEC_FUZZ_SEED: seed, EMBERVEC_FUZZ_PATH: path } = process.env;
  await fc.assert(property, {
    numRuns: Number.MAX_SAFE_INTEGER,
    interruptAfterTimeLimit: (SECONDS * 1000) / TARGETS,
    timeout: NEVER_MS,
    includeErrorInReport: true,
    examples: examples.map((input) => [input]),
    ...(seed !== undefined && { seed: Number(seed) }),
    ...(path !== undefined && { path }),
  });
  t.diagnostic(`${cases} cases`);
}

/** `arbitrary`, and now and then something else. */
export const mostly = <T, Odd>(arbitrary: fc.Arbitrary<T>, odd: fc.Arbitrary<Odd>) =>
  fc.oneof({ weight: 12, arbitrary }, { weight: 1, arbitrary: odd as unknown as fc.Arbitrary<T> });

export const oddText = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.constantFrom(
    "",
    " ",
    ".",
    "..",
    "a/../b",
    "/",
    "__proto__",
    "constructor",
    "toString",
    "\ud800",
    "%",
    "%zz",
    "a b",
    "\n",
    "ä",
    "#q8",
    "-",
    "é",
  ),
);
const oddNumber = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(
    0,
    -0,
    -1,
    0.5,
    NaN,
    Infinity,
    2 ** 31,
    2 ** 32,
    2 ** 53,
    1e308,
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    MAX_FILE_BYTES,
    MAX_FILE_BYTES + 1,
  ),
);
export const oddJson = fc.oneof(
  fc.jsonValue(),
  oddText,
  oddNumber,
  fc.constantFrom({ toString: null, valueOf: 1 }, { toJSON: 1 }, [[[[]]]], { length: 1 }, { __proto__: 1 }),
);
export const oddValue = fc.oneof(
  oddJson,
  fc.anything({
    withBigInt: true,
    withDate: true,
    withTypedArray: true,
    withNullPrototype: true,
    withSparseArray: true,
  }),
  fc.constantFrom(
    undefined,
    new ArrayBuffer(2),
    new DataView(new ArrayBuffer(2)),
    new Uint16Array(2),
    new Blob(["{}"]),
    Symbol("odd"),
    () => 1,
  ),
  fc.constant(null).map(() => new Uint8Array(new SharedArrayBuffer(2)).fill(123)),
);

/** Text with a few characters changed. */
export const damaged = (text: fc.Arbitrary<string>) =>
  fc.tuple(text, fc.array(fc.tuple(fc.nat(), fc.nat(3), oddText), { maxLength: 3 })).map(([text, cuts]) =>
    cuts.reduce((text, [at, count, put]) => {
      const from = at % (text.length + 1);
      return text.slice(0, from) + put + text.slice(from + count);
    }, text),
  );

export const filePath = mostly(
  fc.constantFrom("config.json", "model.safetensors", "modules.json", "1_Pooling/config.json", "model.q8.safetensors"),
  oddText,
);
export const hex = fc.string({ unit: fc.constantFrom(..."0123456789abcdef".split("")), minLength: 64, maxLength: 64 });
