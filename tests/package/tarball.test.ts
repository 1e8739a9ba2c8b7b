// What `npm publish` would send. `cargo xtask package` compares its size with the budget.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, readFile, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { installed, npm, pack } from "../support/tarball.ts";
import { temporaryFolder } from "../support/temporary.ts";

const run = promisify(execFile);

const here = fileURLToPath(new URL(".", import.meta.url));
const root = new URL("../../", import.meta.url);

const tarball = await pack();
const project = await installed(tarball);

const read = (path: string): Promise<string> => readFile(join(project, "node_modules/embervec", path), "utf8");
const manifest = JSON.parse(await read("package.json"));

/** The files that are there once; all others follow from the entries. */
const FILES = [
  "package.json",
  "README.md",
  "LICENSE-MIT",
  "LICENSE-APACHE",
  "dist/THIRD-PARTY-NOTICES.txt",
  "dist/embervec-relaxed.wasm",
  "dist/embervec-simd128.wasm",
  "dist/embervec-webgpu.wasm",
  "dist/embervec-search.wasm",
];

test("the tarball holds what is promised and nothing else", () => {
  for (const path of FILES) assert.ok((tarball.files.get(path) ?? 0) > 100, `${path} is missing or empty`);
  assert.ok(tarball.files.get("dist/embervec-simd128.wasm")! > 100_000);
  for (const path of tarball.files.keys()) {
    // No source, no map, no test, no declaration of what is inside: those of an entry are one file.
    if (!FILES.includes(path)) assert.match(path, /^dist\/([a-z-]+\.(js|d\.ts)|node\/[a-z-]+\.js|[a-z-]+\.wasm)$/);
  }
});

test("the licences are the repository's", async () => {
  for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) {
    assert.equal(await read(name), await readFile(new URL(name, root), "utf8"), name);
  }
});

test("what it contains of others is named", async () => {
  const notices = await read("dist/THIRD-PARTY-NOTICES.txt");
  for (const name of [
    "npm idb",
    "npm @noble/hashes",
    "npm minisearch",
    "crate burn",
    "crate tokenizers",
    "crate wgpu",
    "crate std",
  ]) {
    assert.match(notices, new RegExp(`^${name} .`, "m"));
  }
  // Neither what only builds nor what only tests.
  for (const name of ["npm esbuild", "npm rollup", "crate serde_derive", "crate xtask", "crate embervec-wasm"]) {
    assert.doesNotMatch(notices, new RegExp(`^${name}\\b`, "m"));
  }
  for (const words of ["Permission is hereby granted", "TERMS AND CONDITIONS", "Mozilla Public License Version 2.0"]) {
    assert.ok(notices.includes(words), words);
  }
});

// --- package.json --------------------------------------------------------------------------------------------------

/** Every address below a field. */
const addressesIn = (value: unknown): string[] =>
  typeof value === "string" ? [value] : Object.values((value ?? {}) as object).flatMap(addressesIn);

test("every address in package.json is in the tarball", () => {
  const { main, module, types, exports, typesVersions, bin } = manifest;
  const addresses = [main, module, types, ...[exports, typesVersions, bin].flatMap(addressesIn)] as string[];
  assert.ok(addresses.length > 10);
  for (const address of addresses) {
    const prefix = address.replace(/^\.\//, "").replace(/\*$/, "");
    const found = [...tarball.files.keys()].some((path) =>
      address.endsWith("*") ? path.startsWith(prefix) : path === prefix,
    );
    assert.ok(found, address);
  }
});

test("every entry has a name, and types wherever it is looked for", () => {
  const named = new Set(addressesIn(manifest.exports));
  for (const path of tarball.files.keys()) {
    if (/^dist\/[^/]+\.(d\.ts|wasm)$/.test(path)) assert.ok(named.has(`./${path}`), `${path} is in no export`);
  }
  for (const [name, entry] of Object.entries(manifest.exports as Record<string, { types?: string }>)) {
    if (entry.types === undefined) continue;
    // The first condition that fits is taken.
    assert.equal(Object.keys(entry)[0], "types", name);
    assert.equal(Object.keys(entry).at(-1), "default", name);
    // `moduleResolution: "node10"` does not read `exports`.
    const versions = name === "." ? [manifest.types] : manifest.typesVersions["*"][name.slice(2)];
    assert.deepEqual(versions, [entry.types], name);
  }
});

test("a bundler that leaves out what has no effect keeps the workers", () => {
  const patterns = (manifest.sideEffects as string[]).map(
    (pattern) => new RegExp(`^${pattern.replaceAll(".", "\\.").replace("**/", "([^/]+/)*")}$`),
  );
  const keeps = (path: string) => patterns.some((pattern) => pattern.test(`./${path}`));
  for (const path of [...tarball.files.keys()].filter((path) => path.endsWith(".js"))) {
    assert.equal(keeps(path), /(worker|gpu)\.js$/.test(path), path);
  }
});

/** The addresses that a package of this repository has. */
const addressesOf = (repository: string) => ({
  repository: { type: "git", url: `git+${repository}.git`, directory: "pkg" },
  homepage: `${repository}#readme`,
  bugs: { url: `${repository}/issues` },
});

/** A step of a workflow, run as GitHub runs it, in a folder. */
async function step(workflow: string, name: string, cwd: string): Promise<void> {
  const lines = (await readFile(new URL(`.github/workflows/${workflow}`, root), "utf8")).split("\n");
  const first = lines.findIndex((line) => line.trim() === `- name: ${name}`);
  const begin = lines.findIndex((line, i) => i > first && /^ +run: \|$/.test(line)) + 1;
  assert.ok(first > 0 && begin > first, `${workflow} has no step "${name}"`);
  const [indent] = /^ */.exec(lines[begin]!)!;
  const end = lines.findIndex((line, i) => i >= begin && line !== "" && !line.startsWith(indent));
  const script = lines.slice(begin, end < 0 ? undefined : end).map((line) => line.slice(indent.length));
  const env = { ...process.env, GITHUB_SERVER_URL: "https://host.test", GITHUB_REPOSITORY: "owner/embervec" };
  await run("bash", ["-eo", "pipefail", "-c", script.join("\n")], { cwd, env });
}

test("a release names its repository, and is refused without", { skip: process.platform === "win32" }, async () => {
  const folder = await temporaryFolder();
  const release = async (changes: object) => {
    await mkdir(join(folder, "package"), { recursive: true });
    await mkdir(join(folder, "release"), { recursive: true });
    await writeFile(join(folder, "package/package.json"), JSON.stringify({ ...manifest, ...changes }));
    await run("tar", ["-czf", "release/embervec-1.0.0.tgz", "package"], { cwd: folder });
  };
  const check = () => step("release.yml", "The package names this repository", folder);
  const refuses = (url: string) => (error: { stdout: string }) =>
    error.stdout === `::error::The repository in the package is ${url}: see docs/RELEASING.md.\n`;
  const nothing = { repository: undefined, homepage: undefined, bugs: undefined };
  await release(nothing);
  await assert.rejects(check, refuses("undefined"));
  await release(addressesOf("https://host.test/somebody/else"));
  await assert.rejects(check, refuses("git+https://host.test/somebody/else.git"));
  await writeFile(join(folder, "package.json"), JSON.stringify({ ...manifest, ...nothing }));
  await step("ci.yml", "The repository's addresses", folder);
  const named = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  assert.deepEqual(named, { ...manifest, ...addressesOf("https://host.test/owner/embervec") });
  await release(named);
  await check();
});

test("the package names its repository where that is known", () => {
  const { GITHUB_REPOSITORY, GITHUB_SERVER_URL = "https://github.com" } = process.env;
  const { repository, homepage, bugs } = manifest;
  if (GITHUB_REPOSITORY !== undefined) {
    assert.deepEqual({ repository, homepage, bugs }, addressesOf(`${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}`));
    return;
  }
  // All of them or none: some would lead to another repository than the others.
  const address = /^git\+(.*)\.git$/.exec(repository?.url ?? "")?.[1];
  const none = { repository: undefined, homepage: undefined, bugs: undefined };
  assert.deepEqual({ repository, homepage, bugs }, address === undefined ? none : addressesOf(address));
});

// --- the files -----------------------------------------------------------------------------------------------------

test("declarations import the index, and what the package wants to be installed beside it", async () => {
  const peers = Object.keys(manifest.peerDependencies ?? {});
  for (const path of [...tarball.files.keys()].filter((path) => path.endsWith(".d.ts"))) {
    for (const [, address] of (await read(path)).matchAll(/(?:from|import)\s*\(?["']([^"']+)["']/g)) {
      const isPeer = peers.some((name) => address === name || address!.startsWith(`${name}/`));
      assert.ok(address === "./index.js" || isPeer, `${path} imports ${address}`);
    }
  }
});

test("what the page and the worker load lies beside them", async () => {
  const addresses = [
    ["index.js", "./worker.js"],
    ["worker.js", "./embervec-simd128.wasm"],
    ["worker.js", "./embervec-relaxed.wasm"],
  ] as const;
  for (const [file, address] of addresses) {
    const source = await read(`dist/${file}`);
    assert.ok(source.includes(`new URL("${address}",import.meta.url)`), `${file}: ${address}`);
    assert.ok(tarball.files.has(`dist/${address.slice(2)}`));
    // Neither is a bundle's leftovers of other modules: a static file server is enough.
    assert.doesNotMatch(source, /^import[\s{"']/m, file);
  }
});

test("no file names a map, which is not packed", async () => {
  for (const path of [...tarball.files.keys()].filter((path) => path.endsWith(".js"))) {
    assert.ok(!(await read(path)).includes("sourceMappingURL"), path);
  }
});

test("it can be imported and, where Node can do so, required", async () => {
  const scripts = [["--input-type=module", 'console.log((await import("embervec")).cosSim([2], [1]))']];
  if ("require_module" in process.features) {
    scripts.push(["--input-type=commonjs", 'console.log(require("embervec").cosSim([2], [1]))']);
  }
  for (const [type, script] of scripts) {
    // Without the loader of the tests.
    const env = { ...process.env, NODE_OPTIONS: "" };
    const { stdout } = await run(process.execPath, [type!, "--eval", script!], { cwd: project, env });
    assert.equal(stdout, "1\n", type);
  }
});

// --- what others say -----------------------------------------------------------------------------------------------

/** Runs a tool of tests/package/node_modules on the tarball, and fails with what it prints. */
async function tool(script: string, ...args: string[]): Promise<void> {
  const path = join(here, "node_modules", script);
  await run(process.execPath, [path, ...args], { cwd: here, env: { ...process.env, NODE_OPTIONS: "" } }).catch(
    ({ stdout, stderr }) => assert.fail(`${stdout}\n${stderr}`),
  );
}

test("publint finds nothing", () => tool("publint/src/cli.js", "run", tarball.file, "--strict"));

test("@arethetypeswrong/cli finds nothing", () =>
  tool(
    "@arethetypeswrong/cli/dist/index.js",
    tarball.file,
    // The package has ES modules only. CommonJS gets them by `require`, which Node can do since 20.19 and 22.12.
    "--ignore-rules=cjs-resolves-to-esm",
    // They are files to be fetched, not modules with types.
    "--exclude-entrypoints",
    ...Object.keys(manifest.exports).filter((name) => /\.(wasm|json)$/.test(name)),
  ));

// --- a tree that was not built -------------------------------------------------------------------------------------

/** A tree as `pkg/prepack.mjs` sees it, with files of these ages in seconds. */
async function treeWith(files: Record<string, number>): Promise<string> {
  const tree = await temporaryFolder();
  const now = Date.now() / 1000;
  for (const [path, age] of Object.entries(files)) {
    await mkdir(join(tree, path, ".."), { recursive: true });
    await writeFile(join(tree, path), "{}");
    await utimes(join(tree, path), now - age, now - age);
  }
  const { name, version, scripts } = manifest;
  await writeFile(join(tree, "pkg/package.json"), JSON.stringify({ name, version, scripts }));
  await utimes(join(tree, "pkg/package.json"), now - 1000, now - 1000);
  await cp(new URL("pkg/prepack.mjs", root), join(tree, "pkg/prepack.mjs"));
  return tree;
}

const BUILT = {
  "crate/wasm/src/lib.rs": 900,
  "crate/xtask/src/main.rs": 1,
  "Cargo.lock": 900,
  "pkg/src/index.ts": 700,
  "pkg/build.mjs": 700,
  "pkg/notices.mjs": 700,
  "pkg/wasm/simd128/.stamp": 600,
  "pkg/wasm/simd128/embervec_bg.wasm": 800,
  "pkg/dist/index.js": 500,
  "pkg/dist/embervec-simd128.wasm": 500,
};

const packIn = async (files: Record<string, number>) => npm(join(await treeWith(files), "pkg"), "pack", "--dry-run");

test("npm packs what was built", async () => {
  await packIn(BUILT);
});

for (const [what, change, message] of [
  ["without dist", { "pkg/dist": undefined }, /there is no pkg\/dist/],
  ["without wasm", { "pkg/wasm": undefined }, /there is no pkg\/wasm/],
  ["after a change of TypeScript", { "pkg/src/index.ts": 10 }, /pkg\/src\/index\.ts is newer than pkg\/dist/],
  ["after a change of the build", { "pkg/build.mjs": 10 }, /pkg\/build\.mjs is newer than pkg\/dist/],
  ["after a change of the notices", { "pkg/notices.mjs": 10 }, /pkg\/notices\.mjs is newer than pkg\/dist/],
  [
    "after wasm was built anew",
    { "pkg/wasm/simd128/embervec_bg.wasm": 10 },
    /embervec_bg\.wasm is newer than pkg\/dist/,
  ],
  ["after a change of Rust", { "crate/wasm/src/lib.rs": 10 }, /lib\.rs is newer than pkg\/wasm\/simd128\/\.stamp/],
] as const) {
  test(`npm does not pack ${what}`, async () => {
    const removed = Object.entries(change).flatMap(([path, age]) => (age === undefined ? [path] : []));
    const files = Object.entries({ ...BUILT, ...change }).filter(
      ([path, age]) => age !== undefined && !removed.some((place) => path.startsWith(place)),
    );
    await assert.rejects(packIn(Object.fromEntries(files) as Record<string, number>), (error: { stderr: string }) => {
      assert.match(error.stderr.replaceAll("\\", "/"), message);
      assert.match(error.stderr, /cargo xtask pkg/);
      return true;
    });
  });
}
