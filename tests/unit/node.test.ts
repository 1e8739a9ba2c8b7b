// The package where there is no browser, such as rendering on a server.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

/** Runs a module in a Node of its own and gives what it prints, as JSON. */
function run(script: string): unknown {
  // No loader: what is imported is the published file.
  const env = { ...process.env, NODE_OPTIONS: "" };
  const output = execFileSync(process.execPath, ["--input-type=module", "--eval", script], {
    cwd: new URL("../..", import.meta.url),
    encoding: "utf8",
    env,
    // A timer or a worker left behind would keep the process alive.
    timeout: 20_000,
  });
  return JSON.parse(output);
}

/** In Node, and where it is a browser's that is imported, as for rendering on a server. */
const ENTRIES = ["embervec", "./pkg/dist/index.js"];

const importing = (entry: string) => () => {
  const seen = run(`
    const globals = () => Reflect.ownKeys(globalThis).map(String).join();
    const used = [];
    for (const name of ["fetch", "Worker", "indexedDB", "caches", "navigator"]) {
      Object.defineProperty(globalThis, name, { get: () => void used.push(name), configurable: true });
    }
    const before = globals();
    const names = Object.keys(await import("${entry}")).sort();
    console.log(JSON.stringify({ names, same: globals() === before, used }));
  `);
  assert.deepEqual(seen, {
    names: [
      "Embedder",
      "EmbervecError",
      "cacheSize",
      "clearCache",
      "cosSim",
      "deleteModel",
      "dot",
      "exportModel",
      "importModel",
      "isCached",
      "listModels",
      "quantizeEmbeddings",
      "rangesOf",
      "semanticSearch",
      "similarity",
    ],
    same: true,
    used: [],
  });
};
for (const entry of ENTRIES) test(`importing ${entry} has no side effects`, importing(entry));

test("the browser's load says that it needs a browser", () => {
  const seen = run(`
    import { Embedder, EmbervecError } from "./pkg/dist/index.js";
    const error = await Embedder.load("owner/name").catch((error) => error);
    console.log(JSON.stringify({ known: error instanceof EmbervecError, code: error.code, message: error.message }));
  `) as { known: boolean; code: string; message: string };
  assert.ok(seen.known);
  assert.equal(seen.code, "unsupported_device");
  assert.match(seen.message, /Web Workers.*browser/);
});
