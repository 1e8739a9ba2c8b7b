// The package's README beside the code that it describes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const file = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

test("every error code has its row in the README's table and in the comment, and no row is left over", () => {
  const source = file("pkg/src/errors.ts");
  const [, union = ""] = /export type EmbervecErrorCode =([^;]+);/.exec(source) ?? [];
  const codes = Array.from(union.matchAll(/"(\w+)"/g), ([, code]) => code);
  assert.ok(codes.length >= 12, "the union has not been found");

  const [, troubleshooting = ""] = /^## Troubleshooting$(.*?)^## /ms.exec(file("pkg/README.md")) ?? [];
  const rows = Array.from(troubleshooting.matchAll(/^\| `(\w+)` \| [A-Z].* \| [A-Z].* \|$/gm), ([, code]) => code);
  assert.deepEqual(rows, codes);
  assert.deepEqual(
    Array.from(source.matchAll(/^ \* \| `(\w+)` \|/gm), ([, code]) => code),
    codes,
  );
});
