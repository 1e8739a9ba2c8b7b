// What `npm publish` would send.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const pkg = new URL("../../pkg/", import.meta.url);
const root = new URL("../../", import.meta.url);

interface Packed {
  files: { path: string; size: number }[];
}

const [packed] = JSON.parse(
  execFileSync("npm", ["pack", "--dry-run", "--json"], {
    cwd: fileURLToPath(pkg),
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    shell: process.platform === "win32",
  }),
) as [Packed];
const sizes = new Map(packed.files.map(({ path, size }) => [path, size]));

test("the tarball holds what is promised and nothing else", () => {
  for (const path of [
    "package.json",
    "README.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "dist/index.js",
    "dist/index.d.ts",
    "dist/worker.js",
  ]) {
    assert.ok((sizes.get(path) ?? 0) > 0, `${path} is missing or empty`);
  }
  assert.ok((sizes.get("dist/embervec-simd128.wasm") ?? 0) > 100_000);
  for (const path of sizes.keys()) {
    assert.match(path, /^(package\.json|README\.md|LICENSE-(MIT|APACHE)|dist\/.+\.(js|js\.map|d\.ts|wasm))$/);
  }
});

test("README and licences are the repository's", () => {
  for (const name of ["README.md", "LICENSE-MIT", "LICENSE-APACHE"]) {
    assert.equal(readFileSync(new URL(name, pkg), "utf8"), readFileSync(new URL(name, root), "utf8"), name);
  }
});

test("every address in package.json is in the tarball", () => {
  const { exports, types } = JSON.parse(readFileSync(new URL("package.json", pkg), "utf8"));
  const entries = [
    types,
    ...Object.values(exports).flatMap((entry) => (typeof entry === "string" ? entry : Object.values(entry as object))),
  ];
  assert.ok(entries.length >= 4);
  for (const entry of entries as string[]) {
    const prefix = entry.replace(/^\.\//, "").replace(/\*$/, "");
    const found = [...sizes.keys()].some((path) => (entry.endsWith("*") ? path.startsWith(prefix) : path === prefix));
    assert.ok(found, entry);
  }
});

test("declarations import only declarations of the tarball", () => {
  const declarations = [...sizes.keys()].filter((path) => path.endsWith(".d.ts"));
  for (const path of declarations) {
    const source = readFileSync(new URL(path, pkg), "utf8");
    for (const [, address] of source.matchAll(/(?:from|import)\s*\(?["']([^"']+)["']/g)) {
      const target = new URL(address!.replace(/\.js$/, ".d.ts"), new URL(path, "file:///"));
      assert.ok(sizes.has(target.pathname.slice(1)), `${path} imports ${address}`);
    }
  }
});

test("what the page and the worker load lies beside them", () => {
  const addresses = [
    ["index.js", "./worker.js"],
    ["worker.js", "./embervec-simd128.wasm"],
    ["worker.js", "./embervec-relaxed.wasm"],
  ] as const;
  for (const [file, address] of addresses) {
    const source = readFileSync(new URL(`dist/${file}`, pkg), "utf8");
    assert.ok(source.includes(`new URL("${address}",import.meta.url)`), `${file}: ${address}`);
    assert.ok(sizes.has(`dist/${address.slice(2)}`));
    // Neither is a bundle's leftovers of other modules: a static file server is enough.
    assert.doesNotMatch(source, /^import[\s{"']/m, file);
  }
});

test("nothing of Node is in the browser's files, and nothing of the browser's files is missing in Node's", () => {
  for (const file of ["index.js", "worker.js", "gpu.js"])
    assert.doesNotMatch(readFileSync(new URL(`dist/${file}`, pkg), "utf8"), /["'`]node:|process\.env/, file);
  for (const file of ["node/index.js", "node/worker.js"]) {
    const source = readFileSync(new URL(`dist/${file}`, pkg), "utf8");
    assert.ok(sizes.has(`dist/${file}`));
    assert.doesNotMatch(source, /indexedDB|gpu\.js/, file);
    for (const [, address] of source.matchAll(/new URL\("([^"]+)", import\.meta\.url\)/g))
      assert.ok(sizes.has(new URL(address!, `file:///dist/${file}`).pathname.slice(1)), `${file}: ${address}`);
  }
});
