// Under which licences the package takes what it contains.

import assert from "node:assert/strict";
import { test } from "node:test";

/** A script of the build, without types. */
const script = String(new URL("../../pkg/notices.mjs", import.meta.url));
const { choose } = (await import(script)) as {
  choose(crate: {
    kind: string;
    name: string;
    version: string;
    license?: string;
    texts: Map<string, string>;
  }): string[];
};

const chosen = (license: string | undefined, ...texts: string[]): string[] =>
  choose({
    kind: "crate",
    name: "some",
    version: "1.0.0",
    ...(license !== undefined && { license }),
    texts: new Map(texts.map((id) => [id, "its text"])),
  });

test("of several licences one is taken, all of those that belong together", () => {
  assert.deepEqual(chosen("Apache-2.0"), ["Apache-2.0"]);
  assert.deepEqual(chosen("Apache-2.0 OR MIT"), ["MIT"]);
  assert.deepEqual(chosen("Apache-2.0/MIT"), ["MIT"]);
  assert.deepEqual(chosen("MIT AND Unicode-3.0"), ["MIT", "Unicode-3.0"]);
  assert.deepEqual(chosen("(MIT OR Apache-2.0) AND Unicode-3.0"), ["MIT", "Unicode-3.0"]);
  // `AND` binds tighter.
  assert.deepEqual(chosen("Zlib AND MPL-2.0 OR Apache-2.0"), ["Apache-2.0"]);
  assert.deepEqual(chosen("Apache-2.0 WITH LLVM-exception"), ["Apache-2.0 WITH LLVM-exception"]);
});

test("one whose text is there is taken first", () => {
  assert.deepEqual(chosen("Apache-2.0 OR MIT", "Apache-2.0"), ["Apache-2.0"]);
  assert.deepEqual(chosen("Apache-2.0 OR MIT", "Apache-2.0", "MIT"), ["MIT"]);
});

test("a licence that is not allowed is not taken, and an error where there is no other", () => {
  assert.deepEqual(chosen("GPL-3.0 OR MIT"), ["MIT"]);
  for (const license of ["GPL-3.0-only", "MIT AND GPL-3.0-only", "Apache-2.0 WITH Some-exception", "custom"]) {
    assert.throws(() => chosen(license), {
      message: new RegExp(`^crate some 1\\.0\\.0: its licence, ${license}, is none`),
    });
  }
  assert.throws(() => chosen(undefined), /crate some 1\.0\.0: it names no licence/);
});
