// `npx embervec`, as it is published. What it packs is compared with what the native packer makes of the same folders.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { FileLocks } from "../../pkg/src/platform/node/file-locks.ts";
import { type ModelServer, hosts, serveModels } from "../support/model-server.ts";
import { type Header, join as joinTensors, split } from "../support/safetensors.ts";
import { temporaryFolder } from "../support/temporary.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const cli = join(root, "pkg/dist/node/cli.js");
const fixtures = join(root, "tests/fixtures/models");
const tiny = readdirSync(fixtures).filter((name) => name.startsWith("tiny-"));
const miniLm = join(root, "www/models/all-MiniLM-L6-v2");
const VERSION = (JSON.parse(readFileSync(join(root, "pkg/package.json"), "utf8")) as { version: string }).version;

const WEIGHTS = "model.safetensors";
const PACKED = "model.q8.safetensors";

/** `cargo xtask test` names it; elsewhere it is where `cargo build -p embervec-pack` puts it. */
const target = process.env["CARGO_TARGET_DIR"] ?? join(root, "target");
const suffix = process.platform === "win32" ? ".exe" : "";
const nativeTool = process.env["EMBERVEC_PACK"] ?? join(target, `debug/embervec-pack${suffix}`);

const folder = await temporaryFolder();
const cache = join(folder, "cache");
let server: ModelServer;
let count = 0;

before(async () => {
  assert.ok(existsSync(nativeTool), `${nativeTool} is missing: cargo build -p embervec-pack`);
  server = await serveModels();
});
after(() => server.close());

/** A path at which nothing is. */
function fresh(): string {
  return join(folder, String(count++), "model");
}

function copyOf(model: string): string {
  const copy = fresh();
  cpSync(join(fixtures, model), copy, { recursive: true });
  return copy;
}

interface Run {
  status: number | null;
  stdout: string;
  stderr: string;
}

interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Resolves when the program is to be interrupted. */
  interrupt?: Promise<void>;
}

function run(args: string[], { cwd = root, env = {}, interrupt }: RunOptions = {}): Promise<Run> {
  // No loader: what runs is the published file.
  const environment = { ...process.env, NODE_OPTIONS: "", EMBERVEC_CACHE: cache, HF_TOKEN: "", ...env };
  const child = spawn(process.execPath, [cli, ...args], { cwd, env: environment, timeout: 60_000 });
  const result = { stdout: "", stderr: "" };
  child.stdout.on("data", (text) => (result.stdout += text));
  child.stderr.on("data", (text) => (result.stderr += text));
  void interrupt?.then(() => child.kill("SIGINT"));
  return new Promise((resolve) => child.on("close", (status) => resolve({ status, ...result })));
}

/** Runs it and expects that it succeeds; gives what it prints. */
async function succeed(args: string[], options?: RunOptions): Promise<string> {
  const { status, stdout, stderr } = await run(args, options);
  assert.equal(status, 0, stderr);
  // Nothing but progress, of which a log has a line every ten seconds.
  assert.match(stderr, /^((downloading|reading the cache:|packing|loading) .*\n)*$/);
  return stdout;
}

/** Runs it and expects that it fails with one plain sentence, which is given. */
async function fail(args: string[], expected: 1 | 2 = 1, options?: RunOptions): Promise<string> {
  const { status, stdout, stderr } = await run(args, options);
  assert.equal(status, expected, stderr);
  assert.equal(stdout, "");
  assert.match(stderr, /^error: /);
  assert.doesNotMatch(stderr, /\n\s+at /, "a stack");
  return stderr;
}

/** The files of a folder and their bytes. */
function contents(path: string): Map<string, string> {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name));
  return new Map(paths.map((file) => [file.slice(path.length), readFileSync(file, "latin1")] as const).sort());
}

/** Packs with both and compares everything that is written. */
async function compare(source: string, ...options: string[]): Promise<void> {
  const [ours, native] = [fresh(), fresh()];
  await succeed(["pack", source, "-o", ours, ...options]);
  execFileSync(nativeTool, [source, "--output", native, ...options]);
  const [found, expected] = [contents(ours), contents(native)];
  assert.deepEqual([...found.keys()], [...expected.keys()]);
  assert.ok(found.has(`/${PACKED}`) && found.has("/manifest.json"));
  for (const [path, bytes] of found) assert.ok(bytes === expected.get(path), `${source}: ${path} differs`);
}

test("every folder becomes what the native packer makes of it", async () => {
  assert.ok(tiny.length > 10);
  for (const name of tiny) await compare(join(fixtures, name));
});

test("embedding tables have the bits that are asked for", async () => {
  for (const bits of ["4", "6", "8"]) await compare(join(fixtures, "tiny-cls"), "--table-bits", bits);
});

test("MiniLM becomes what the native packer makes of it", async () => {
  await compare(miniLm);
});

/** The weights of a model in three files. */
function shardsOf(model: string): string {
  const source = copyOf(model);
  const { header, data } = split(readFileSync(join(source, WEIGHTS)));
  rmSync(join(source, WEIGHTS));
  const tensors = Object.entries(header).sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0]);
  const size = Math.ceil(tensors.length / 3);
  const weightMap: Record<string, string> = {};
  for (let part = 0; part < 3; part++) {
    const own = tensors.slice(part * size, (part + 1) * size);
    const [from, to] = [own[0]![1].data_offsets[0], own.at(-1)![1].data_offsets[1]];
    const entries = own.map(([name, { dtype, shape, data_offsets }]) => {
      const [begin, end] = data_offsets;
      return [name, { dtype, shape, data_offsets: [begin - from, end - from] }] as const;
    });
    for (const [name] of own) weightMap[name] = `part-${part}.safetensors`;
    const file = joinTensors(Object.fromEntries(entries) as Header, data.subarray(from, to));
    writeFileSync(join(source, `part-${part}.safetensors`), file);
  }
  writeFileSync(join(source, `${WEIGHTS}.index.json`), JSON.stringify({ metadata: {}, weight_map: weightMap }));
  return source;
}

test("shards become one file", async () => {
  await compare(shardsOf("tiny-cls"));
});

test("a shard that is damaged is named", async () => {
  for (const [bytes, problem] of [
    ["version https://git-lfs.github.com/spec/v1\n", "git lfs pull"],
    ["<!doctype html>", "ends within its header"],
    ["\x02\0\0\0\0\0\0\0[1", "not a list of tensors"],
    ['\x08\0\0\0\0\0\0\0{"a":{}}', 'tensor "a"'],
    ["", "ends within its header"],
  ] as const) {
    const source = shardsOf("tiny-cls");
    writeFileSync(join(source, "part-1.safetensors"), bytes, "latin1");
    const output = fresh();
    const error = await fail(["pack", source, "-o", output]);
    assert.ok(error.includes("part-1.safetensors") && error.includes(problem), error);
    assert.ok(!existsSync(output));
  }
});

test("a folder may be named by its `file:` address", async () => {
  const source = copyOf("tiny-cls");
  const output = fresh();
  await succeed(["pack", pathToFileURL(source).href, "-o", output]);
  assert.ok(existsSync(join(output, "manifest.json")));
  // In place, too.
  await succeed(["pack", `${pathToFileURL(source).href}/`]);
  assert.ok(existsSync(join(source, "manifest.json")));
  assert.match(await fail(["models", "fetch", pathToFileURL(source).href], 2), /is a folder; load it by its path/);
  assert.match(await fail(["pack", "file:///nowhere/model", "-o", output]), /there is no folder .*nowhere/);
  assert.match(await fail(["pack", "file:///a%2Fb", "-o", output], 2), /names no folder of this machine/);
  for (const path of ["C:/nowhere", "C:\\nowhere"])
    assert.match(await fail(["pack", path, "-o", output]), /there is no folder C:/);
});

test("a folder can be packed in place", async () => {
  const [ours, native] = [copyOf("tiny-dense"), copyOf("tiny-dense")];
  await succeed(["pack", ours]);
  execFileSync(nativeTool, [native]);
  assert.deepEqual(contents(ours), contents(native));
  // What it has written does not keep it from writing it again.
  await succeed(["pack", ours, "-o", ours]);
  assert.deepEqual(contents(ours), contents(native));
});

test("a relative folder is one of the place where the program was started", async () => {
  const source = copyOf("tiny-cls");
  const stdout = await succeed(["pack", "model", "-o", "public/models/x"], { cwd: dirname(source) });
  assert.match(stdout, /\d+ {2}model\.q8\.safetensors\n/);
  assert.match(stdout, /8 files and manifest\.json in public\/models\/x\n/);
  assert.match(stdout, /Content-Encoding: br/);
  assert.ok(existsSync(join(dirname(source), "public/models/x/manifest.json")));
});

test("the output is a folder of this machine, by whatever names it", async () => {
  const source = copyOf("tiny-cls");
  const cwd = dirname(source);
  const pack = (output: string) => ["pack", "model", "-o", output];
  const strange = join(cwd, "100% #?ü");
  for (const output of [pathToFileURL(strange).href, "a b/", "./c"]) await succeed(pack(output), { cwd });
  await succeed(["pack", "model", "--output=~/d"], { cwd, env: { HOME: cwd } });
  for (const output of [strange, join(cwd, "a b"), join(cwd, "c"), join(cwd, "d")])
    assert.deepEqual(contents(output), contents(strange));
  assert.deepEqual(readdirSync(cwd).sort(), ["100% #?ü", "a b", "c", "d", "model"]);
  // Of a variable that is not set: nothing is written into the current folder.
  assert.match(await fail(pack(""), 2, { cwd }), /--output needs a folder/);
  assert.match(await fail(pack("https://host.test/x"), 2, { cwd }), /must be a folder of this machine/);
  writeFileSync(join(cwd, "file"), "");
  assert.match(await fail(pack("file/x"), 1, { cwd }), /cannot write .*file\/x: .*file/);
  assert.deepEqual(readdirSync(cwd).sort(), ["100% #?ü", "a b", "c", "d", "file", "model"]);
});

test("a folder that is there gets the files, and keeps its others", async () => {
  const output = fresh();
  mkdirSync(output, { recursive: true });
  writeFileSync(join(output, "README.md"), "of the site");
  writeFileSync(join(output, "config.json"), "of an earlier version");
  await succeed(["pack", join(fixtures, "tiny-dense"), "-o", output]);
  const native = fresh();
  execFileSync(nativeTool, [join(fixtures, "tiny-dense"), "--output", native]);
  assert.deepEqual(contents(output), new Map([...contents(native), ["/README.md", "of the site"] as const].sort()));
});

test("what fails leaves nothing", async () => {
  const damaged = copyOf("tiny-dense");
  const file = readFileSync(join(damaged, WEIGHTS));
  writeFileSync(join(damaged, WEIGHTS), file.subarray(0, file.length - 100));
  const output = fresh();
  assert.match(
    await fail(["pack", damaged, "-o", output]),
    /model\.safetensors is damaged: it ends after \d+ of \d+ bytes/,
  );
  assert.ok(!existsSync(output));
  assert.deepEqual(existsSync(dirname(output)) ? readdirSync(dirname(output)) : [], []);
  const before = contents(damaged);
  await fail(["pack", damaged]);
  assert.deepEqual(contents(damaged), before);

  mkdirSync(output, { recursive: true });
  writeFileSync(join(output, "config.json"), "of another");
  await fail(["pack", damaged, "-o", output]);
  assert.deepEqual([...contents(output)], [["/config.json", "of another"]]);
});

test("errors name the file and say what to do", async () => {
  const output = fresh();
  assert.match(await fail(["pack", "./not-there", "-o", output]), /there is no folder \.\/not-there/);
  assert.match(await fail(["pack", cli, "-o", output]), /is a file; give the model's folder/);
  assert.match(await fail(["pack", join(fixtures, "unsupported-deberta"), "-o", output]), /config\.json.*deberta-v2/);
  const empty = fresh();
  mkdirSync(empty, { recursive: true });
  assert.match(await fail(["pack", empty, "-o", output]), /config\.json is missing from the model folder/);

  const packed = fresh();
  await succeed(["pack", join(fixtures, "tiny-cls"), "-o", packed]);
  assert.match(await fail(["pack", packed, "-o", output]), /model\.q8\.safetensors: the weights are already in 8 bits/);
  cpSync(join(packed, PACKED), join(packed, WEIGHTS));
  rmSync(join(packed, PACKED));
  assert.match(await fail(["pack", packed, "-o", output]), /model\.safetensors: the weights are already in 8 bits/);

  // Another model's file would be served as a part of this one.
  mkdirSync(output, { recursive: true });
  writeFileSync(join(output, WEIGHTS), "of another");
  const error = await fail(["pack", join(fixtures, "tiny-cls"), "-o", output]);
  assert.match(error, /model\.safetensors already exists; delete it first/);
  const file = join(output, WEIGHTS);
  assert.match(await fail(["pack", join(fixtures, "tiny-cls"), "-o", file]), /cannot write .*it is not a folder/);
});

test("links are not followed, and pipes are not waited for", { skip: process.platform === "win32" }, async () => {
  const secret = fresh();
  mkdirSync(secret, { recursive: true });
  writeFileSync(join(secret, "config.json"), "of somebody else");
  const output = fresh();
  mkdirSync(output, { recursive: true });
  symlinkSync(join(secret, "config.json"), join(output, "config.json"));
  await succeed(["pack", join(fixtures, "tiny-cls"), "-o", output]);
  rmSync(output, { recursive: true });
  mkdirSync(output, { recursive: true });
  symlinkSync(secret, join(output, "1_Pooling"));
  assert.match(await fail(["pack", join(fixtures, "tiny-cls"), "-o", output]), /1_Pooling is not a folder/);
  assert.deepEqual([...contents(secret)], [["/config.json", "of somebody else"]]);

  for (const name of ["tokenizer.json", WEIGHTS]) {
    const source = copyOf("tiny-cls");
    rmSync(join(source, name));
    execFileSync("mkfifo", [join(source, name)]);
    const error = await fail(["pack", source, "-o", fresh()]);
    assert.ok(error.includes(`${name}: is not a plain file`), error);
  }
});

test("a model of a hub is downloaded once, and becomes what its folder becomes", async () => {
  const expected = fresh();
  execFileSync(nativeTool, [join(fixtures, "tiny-cls"), "--output", expected]);
  for (const isFirst of [true, false]) {
    server.requests.length = 0;
    const output = fresh();
    const env = { HF_TOKEN: "hf_secret", HF_ENDPOINT: server.origin };
    await succeed(["pack", "owner/name", "-o", output], { env });
    assert.deepEqual(contents(output), contents(expected));
    if (isFirst) assert.equal(server.requests[0]!.headers.authorization, "Bearer hf_secret");
    assert.equal(server.requests.length > 0, isFirst);
  }
  await succeed(["models", "remove", "owner/name"]);
});

test("a download that was interrupted goes on where it was", async () => {
  const hub = await serveModels(dirname(miniLm), "all-MiniLM-L6-v2");
  const weights = `/owner/name/resolve/main/${WEIGHTS}`;
  hub.answers.set(weights, hosts({ speed: 100_000 }));
  const output = fresh();
  const args = ["pack", "owner/name", "--hub", hub.origin, "-o", output];
  try {
    const sent = () => hub.requests.reduce((sum, request) => sum + request.sent, 0);
    const interrupt = (async () => {
      while (sent() < 10e6) await new Promise((resolve) => setTimeout(resolve, 50));
    })();
    const { status, stderr } = await run(args, { interrupt });
    assert.equal(status, 130, stderr);
    assert.match(stderr, /^interrupted; run the same command again to resume\n$/);
    assert.ok(!existsSync(output));
    assert.match(await succeed(["models"]), /^MODEL.*\n\S+ .* incomplete\n$/);

    hub.answers.delete(weights);
    hub.requests.length = 0;
    await succeed(args);
    // Of the 91 MB at least those that were stored are not fetched again.
    assert.ok(sent() < 83e6, `${sent()} bytes`);
    const native = fresh();
    execFileSync(nativeTool, [miniLm, "--output", native]);
    assert.deepEqual(contents(output), contents(native));
    await succeed(["models", "remove", "owner/name"]);
  } finally {
    await hub.close();
  }
});

test("models lists, fetches and removes what is in the cache", async () => {
  const env = { EMBERVEC_CACHE: join(folder, "another-cache") };
  const models = (...args: string[]) => succeed(["models", ...args], { env });
  assert.equal(await models(), "No models are cached.\n");
  const hub = ["--hub", server.origin];
  assert.equal(await models("fetch", "owner/name", ...hub), "cached owner/name\n");
  server.requests.length = 0;
  assert.equal(await models("fetch", "owner/name", ...hub), "owner/name is already cached\n");
  assert.equal(server.requests.length, 0);
  const today = new Date().toISOString().slice(0, 10);
  const row = (weights: string) => new RegExp(`^owner/name +main +${weights} +0\\.\\d MB +${today}$`, "m");
  assert.match(await models("list"), row("q8"));
  assert.doesNotMatch(await models("list"), row("original"));
  await models("fetch", "owner/name", "--dtype", "fp32", ...hub);
  assert.match(await models(), row("q8"));
  assert.match(await models(), row("original"));

  const { status, stderr } = await run(["models", "remove", "owner/name", "--revision", "v2"], { env });
  assert.equal(status, 1);
  assert.match(stderr, /owner\/name at revision v2 is not cached/);
  assert.match(await models("remove", "owner/name"), /^removed owner\/name from the cache: 0\.\d MB\n$/);
  assert.equal(await models(), "No models are cached.\n");
});

test("an interruption ends what waits for somebody else", async () => {
  const own = join(folder, "locked-cache");
  const env = { EMBERVEC_CACHE: own };
  await succeed(["models", "fetch", "owner/name", "--hub", server.origin], { env });
  // Somebody changes the cache for long.
  const end = await new Promise<() => void>((resolve) => {
    const locks = new FileLocks(() => join(own, "models"));
    void locks.request("embervec changes a cache", {}, () => new Promise<void>((end) => resolve(end)));
  });
  const interrupt = new Promise<void>((resolve) => setTimeout(resolve, 8_000)); // it has started long since
  const ended = run(["models", "remove", "owner/name"], { env, interrupt });
  // Without an interruption it would be done then.
  const timer = setTimeout(end, 20_000);
  const { status, stdout } = await ended;
  clearTimeout(timer);
  end();
  assert.equal(status, 130);
  assert.equal(stdout, "");
});

test("help and version are printed, and a wrong command line has the status 2", async () => {
  assert.match(await succeed(["--help"]), /^Usage:\n {2}embervec pack MODEL -o DIR/);
  assert.match(await succeed(["pack", "-h"]), /^Usage:\n {2}embervec pack MODEL -o DIR/);
  assert.equal(await succeed(["--version"]), `${VERSION}\n`);
  for (const [args, problem] of [
    [[], "no command: use `pack` or `models`"],
    [["pakc"], "unknown command `pakc`"],
    [["pack"], "needs a model"],
    [["pack", "a", "b"], "but got another one: `b`"],
    [["pack", "owner/name"], "needs -o DIR"],
    [["pack", fixtures, "--revision", "v2"], "is a folder"],
    [["pack", "a", "-o", "b", "--table-bits", "9"], "must be a number from 4 to 8, not 9"],
    [["pack", "a", "-o", "b", "--dtype", "q8"], "`pack` has no option --dtype"],
    [["pack", "a", "--bits", "8"], "--bits"],
    [["models", "purge"], "unknown command `models purge`"],
    [["models", "list", "a"], "takes no model, but got `a`"],
    [["models", "fetch"], "needs a model"],
    [["models", "fetch", "a", "--dtype", "q4"], "must be one of q8, fp32, fp16, not q4"],
    [["models", "fetch", fixtures], "is a folder"],
    [["models", "remove", "a", "b"], "but got another one: `b`"],
  ] as const) {
    const error = await fail([...args], 2);
    assert.ok(error.includes(problem), error);
    assert.ok(error.endsWith("see `embervec --help`\n"), error);
  }
  assert.match(await fail(["models", "remove", "owner/unknown"]), /owner\/unknown is not cached/);
});
