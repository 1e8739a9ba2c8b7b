// The core of the package in Node, and in Bun and Deno where they are installed: `npm ci --ignore-scripts` in `tests/node/runtimes`.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { serveModels } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";

const here = fileURLToPath(new URL("runtimes/", import.meta.url));
const TINY = fileURLToPath(new URL("../fixtures/models/tiny-cls", import.meta.url));

const binary = (...candidates: string[]) =>
  candidates.map((path) => join(here, "node_modules", path)).find((path) => existsSync(path));
const { platform, arch } = process;

const RUNTIMES: Record<string, string[] | undefined> = {
  node: [process.execPath],
  bun: ofPath(binary(`@oven/bun-${platform}-${arch}/bin/bun`), "run"),
  deno: ofPath(binary(`@deno/${platform}-${arch}-glibc/deno`, `@deno/${platform}-${arch}/deno`), "run", "--allow-all"),
};

function ofPath(path: string | undefined, ...args: string[]): string[] | undefined {
  return path === undefined ? undefined : [path, ...args];
}

for (const [name, command] of Object.entries(RUNTIMES)) {
  test(`the core of the package in ${name}`, { skip: !command && `${name} is not installed` }, async () => {
    const [program, ...args] = command!;
    const home = await temporaryFolder();
    const host = await serveModels();
    const { stdout } = await promisify(execFile)(program!, [...args, join(here, "core.mjs"), TINY, host.origin], {
      env: { PATH: process.env["PATH"], HOME: home, EMBERVEC_CACHE: home, NO_COLOR: "1" },
      cwd: here,
      timeout: 60_000,
    });
    await host.close();
    const [first, ...lines] = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    for (const vector of first.vectors) {
      assert.equal(vector.length, 32);
      assert.ok(vector.every(Number.isFinite));
    }
    const { simd, kernels } = lines.pop();
    console.log(`${name}: ${simd}, ${kernels}`);
    assert.deepEqual(lines, [
      { many: 1000 },
      { aborted: "TimeoutError" },
      { disposed: "disposed" },
      { cached: false, is: false, stored: true, same: true },
      { cached: true, is: true, stored: true, same: true },
      { models: 1 },
      { missing: "model_not_found" },
      { models: 0 },
    ]);
  });
}
