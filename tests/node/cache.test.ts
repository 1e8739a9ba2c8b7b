// The cache folder: what a second load takes from it, and what becomes of it when others use, damage or forbid it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, cp, mkdir, readFile, readdir, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

import {
  Embedder,
  cacheSize,
  clearCache,
  deleteModel,
  exportModel,
  importModel,
  isCached,
  listModels,
  type LoadOptions,
} from "embervec";

import { FileLocks } from "../../pkg/src/platform/node/file-locks.ts";
import { FolderCache } from "../../pkg/src/platform/node/folder-cache.ts";
import { keyOf, nameOf, scopeOf } from "../../pkg/src/platform/node/file-names.ts";
import { hosts, type ModelServer, serveModels } from "../support/model-server.ts";
import { MemoryCache } from "../support/memory-cache.ts";
import { run, start } from "../support/node.ts";
import { randomModels } from "../support/random-model.ts";
import { temporaryFolder } from "../support/temporary.ts";

const MODEL = "owner/name";
let host: ModelServer;
let home: string;

beforeEach(async () => {
  host = await serveModels();
  home = await temporaryFolder();
  process.env["EMBERVEC_CACHE"] = home;
});
afterEach(async () => {
  await host.close();
  delete process.env["EMBERVEC_CACHE"];
});

interface Outcome {
  vector: number[];
  cached: boolean;
  stored: boolean;
  storedReason: string;
}

async function load(options: LoadOptions = {}, model = MODEL): Promise<Outcome> {
  const embedder = await Embedder.load(model, { hub: host.origin, ...options });
  const vector = [...(await embedder.encode("a quick brown fox"))];
  const { cached, stored, storedReason } = embedder.info;
  await embedder.dispose();
  return { vector, cached, stored, storedReason };
}

/** {@link load} in a process of its own. */
const script = (model: string, hub: string) => `import { Embedder } from "embervec";
  const embedder = await Embedder.load(${JSON.stringify(model)}, {
    hub: ${JSON.stringify(hub)}, progress: (event) => console.log(JSON.stringify(event)),
  });
  const vector = [...(await embedder.encode("a quick brown fox"))];
  const { cached, stored, storedReason } = embedder.info;
  console.log(JSON.stringify({ vector, cached, stored, storedReason }));`;

/** The files of the cache, by their keys. */
async function files(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const models = join(home, "models");
  for (const name of await readdir(models, { recursive: true })) {
    const path = join(models, name);
    const key = keyOf(name.split(/[\\/]/));
    if ((await stat(path)).isFile() && key !== undefined) found.set(key, path);
  }
  return found;
}

test("a second load asks the host for nothing", async () => {
  for (const dtype of ["q8", "fp32"] as const) {
    const first = await load({ dtype });
    assert.equal(first.cached, false);
    assert.equal(first.stored, true);
    const asked = host.requests.length;
    const second = await load({ dtype });
    assert.deepEqual(second, { ...first, cached: true });
    assert.deepEqual(await load({ dtype, localFilesOnly: true }), second);
    assert.equal(host.requests.length, asked);
  }
  // Nothing is left of what was written.
  assert.deepEqual(
    (await readdir(join(home, "models"))).filter((name) => name.startsWith(".tmp")),
    [],
  );
});

test("stored models are listed, exported, imported and deleted", async () => {
  const { vector } = await load();
  const options = { hub: host.origin };
  assert.equal(await isCached(MODEL, options), true);
  const [stored] = await listModels();
  assert.equal(stored?.model, MODEL);
  assert.equal(stored?.complete, true);
  assert.ok((await cacheSize()) > 20_000);
  const archive = await exportModel(MODEL, options);
  await deleteModel(MODEL, options);
  assert.equal(await isCached(MODEL, options), false);
  await host.stop();
  await importModel(MODEL, archive, options);
  assert.deepEqual((await load()).vector, vector);
  await clearCache();
  assert.deepEqual(await listModels(), []);
  assert.equal((await files()).size, 0);
  await host.start();
});

test("several processes load the same model at the same time, and one of them fetches it", async () => {
  const env = { EMBERVEC_CACHE: home };
  const outcomes = await Promise.all([1, 2, 3].map(() => run(script(MODEL, host.origin), { env })));
  const results = outcomes.map((printed) => printed.at(-1) as Outcome);
  assert.deepEqual(
    results.map(({ stored }) => stored),
    [true, true, true],
  );
  for (const { vector } of results) assert.deepEqual(vector, results[0]!.vector);
  assert.deepEqual(results.map(({ cached }) => cached).sort(), [false, true, true]);
  const weights = host.requests.filter(({ path }) => path === "/owner/name/resolve/main/model.safetensors");
  assert.equal(weights.length, 1);
});

test("what is damaged, cut, replaced or gone is fetched again", async () => {
  const first = await load();
  const damages: [string, (path: string) => Promise<unknown>][] = [
    [
      "other bytes",
      async (path) =>
        writeFile(
          path,
          (await readFile(path)).map((byte) => byte ^ 1),
        ),
    ],
    ["cut", async (path) => truncate(path, 100)],
    ["empty", async (path) => truncate(path, 0)],
    ["endless", async (path) => truncate(path, 2 ** 34)],
  ];
  for (const [name, damage] of damages) {
    for (const kind of ["chunk ", "model "]) {
      const [, path] = [...(await files())].find(([key]) => key.startsWith(kind) && !key.includes(".json"))!;
      await damage(path);
      const outcome = await load();
      assert.deepEqual(outcome.vector, first.vector, name);
      assert.equal(outcome.stored, true, `${name} ${kind}`);
      assert.equal((await load()).cached, true, `${name} ${kind}`);
    }
  }
});

test("what others have put into the folder is left alone, and does no harm", async () => {
  const models = join(home, "models");
  await mkdir(join(models, "chunk"), { recursive: true });
  const foreign = ["README.md", "chunk/x", "chunk/%zz=", "model=", "MODEL=", "..="];
  for (const name of foreign) await writeFile(join(models, name), "theirs");
  await symlink(models, join(models, "chunk", "loop"));
  assert.equal((await load()).stored, true);
  assert.equal((await load()).cached, true);
  await clearCache();
  for (const name of foreign.filter((name) => name !== "model="))
    assert.equal(await readFile(join(models, name), "utf8"), "theirs", name);
});

test("a process that is killed in the middle of a download leaves what has come to the next one", async () => {
  const shape = { hidden_size: 256, num_attention_heads: 4, intermediate_size: 2048 };
  const models = join(await randomModels({ large: shape }), "models");
  const large = await serveModels(models, "large");
  const weights = "/owner/name/resolve/main/model.safetensors";
  large.answers.set(weights, hosts({ speed: 100_000 }));
  const env = { EMBERVEC_CACHE: home };
  const first = start(script(MODEL, large.origin), { env });
  for (let loaded = 0; loaded < 3 << 20; ) ({ loaded } = (await first.line()) as { loaded: number });
  first.kill();
  assert.equal((await first.ended).signal, "SIGKILL");
  const chunks = [...(await files()).keys()].filter((key) => key.includes("model.safetensors")).length;
  assert.ok(chunks >= 3, String(chunks));
  large.answers.delete(weights);
  const asked = large.requests.length;
  const outcome = await load({ hub: large.origin });
  assert.equal(outcome.stored, true);
  const sent = large.requests
    .slice(asked)
    .reduce((sum, request) => sum + (request.path === weights ? request.sent : 0), 0);
  const { size } = await stat(join(models, "large/model.safetensors"));
  assert.ok(sent <= size - chunks * (512 << 10), `${sent} of ${size}, with ${chunks} chunks there`);
  await large.close();
});

/** Someone who may write into nothing of ours: nobody. Whoever is not root writes into nothing that they have closed to themselves. */
const uid = process.getuid?.() === 0 ? 65534 : undefined;

/** Where a lock's file is. */
const lockPath = (folder: string, name: string) =>
  join(folder, ".locks", createHash("sha256").update(name).digest("hex"));

async function age(path: string): Promise<void> {
  const hourAgo = new Date(Date.now() - 3_600_000);
  await utimes(path, hourAgo, hourAgo);
}

/** A lock of a process that is gone. */
async function leaveLock(folder: string, name: string): Promise<void> {
  await mkdir(join(folder, ".locks"), { recursive: true });
  await writeFile(lockPath(folder, name), "");
  await age(lockPath(folder, name));
}

test("who has lost a lock leaves it to whom has it now", async () => {
  const locks = new FileLocks(() => home);
  const path = lockPath(home, "a");
  const hold = async (options: LockOptions = {}) => {
    let end = () => {};
    const ended = new Promise<void>((resolve) => (end = resolve));
    let request: Promise<void> | undefined;
    const isHeld = await new Promise<boolean>((resolve, reject) => {
      request = locks.request("a", options, (lock) => (resolve(lock !== null), ended));
      request.catch(reject);
    });
    return { isHeld, release: () => (end(), request) };
  };
  const first = await hold();
  // As after a standstill of the whole process.
  await age(path);
  const second = await hold();
  await first.release();
  const third = await hold({ ifAvailable: true });
  assert.deepEqual(
    [first, second, third].map(({ isHeld }) => isHeld),
    [true, true, false],
  );
  await second.release();
  await assert.rejects(stat(path), { code: "ENOENT" });
});

test("a model that somebody may use is not deleted to make room", async () => {
  const cache = new MemoryCache();
  const first = await load({ cache });
  assert.equal(first.stored, true);
  const full = Object.assign(cache, { room: async () => 0 });
  const { stored, storedReason } = await load({ cache: full }, `${host.origin}/tiny-max/`);
  assert.equal(stored, false);
  assert.match(storedReason, /no room left.*deleteModel/);
  assert.deepEqual(await load({ cache }), { ...first, cached: true });
});

test("where no folder can be made, a model runs from memory, and the reason is said", async () => {
  const { vector } = await load();
  const file = join(home, "file");
  await writeFile(file, "");
  const places: [string, RegExp][] = [
    [file, /ENOTDIR/],
    [join(file, "below"), /ENOTDIR|EEXIST/],
    ["file:///tmp/models", /EMBERVEC_CACHE must be a folder's path/],
    ["a".repeat(300), /ENAMETOOLONG/],
  ];
  // There Node's own way of making folders never ends.
  if (process.platform === "linux") places.push(["/proc/models", /ENOENT|EACCES|EPERM/]);
  for (const [place, reason] of places) {
    process.env["EMBERVEC_CACHE"] = place;
    const outcome = await load();
    assert.deepEqual(outcome.vector, vector, place);
    assert.equal(outcome.stored, false, place);
    assert.match(outcome.storedReason, reason, place);
  }
});

/** Everybody may read what is below, and nobody write. */
async function openToRead(folder: string): Promise<void> {
  for (const name of ["", ...(await readdir(folder, { recursive: true }))]) {
    const path = join(folder, name);
    await chmod(path, (await stat(path)).isFile() ? 0o444 : 0o555);
  }
}

/** Why nobody cannot run Node, such as one below /root; `false` where they can. */
function whyNobodyRuns(): string | false {
  if (uid === undefined) return false;
  const { error, stderr, status } = spawnSync(process.execPath, ["--version"], { uid, gid: uid, cwd: "/", env: {} });
  return status !== 0 && `user ${uid} cannot run ${process.execPath}: ${error?.message ?? String(stderr)}`;
}

test("a folder that can only be read: the model that is in it is used, another one runs from memory", {
  skip: whyNobodyRuns(),
}, async () => {
  // The clone may be closed to others.
  const cwd = await temporaryFolder();
  const installed = join(cwd, "node_modules/embervec");
  const pkg = fileURLToPath(new URL("../../pkg", import.meta.url));
  for (const name of ["package.json", "dist/node", "dist/embervec-simd128.wasm", "dist/embervec-relaxed.wasm"])
    await cp(join(pkg, name), join(installed, name), { recursive: true });
  await openToRead(cwd);
  const first = await load();
  // As a container's image has it.
  const image = await temporaryFolder();
  await cp(home, image, { recursive: true });
  // With the locks of processes that are gone, which nobody can take away.
  for (const base of [`${host.origin}/${MODEL}/resolve/main/`, `${host.origin}/tiny-max/`])
    await leaveLock(join(image, "models"), `embervec loads ${base}`);
  await openToRead(image);
  const asked = host.requests.length;
  const options = { cwd, env: { EMBERVEC_CACHE: image }, ...(uid === undefined ? {} : { uid }) };
  const [kept] = (await run(script(MODEL, host.origin), options)).slice(-1) as [Outcome];
  assert.deepEqual(kept.vector, first.vector);
  assert.equal(kept.cached, true);
  assert.equal(kept.stored, true);
  assert.equal(host.requests.length, asked);

  const [other] = (await run(script(`${host.origin}/tiny-max/`, host.origin), options)).slice(-1) as [Outcome];
  assert.equal(other.stored, false);
  assert.match(other.storedReason, /not kept, because (EACCES|EROFS|EPERM).*models/);

  const [refused] = await run(
    `import { deleteModel } from "embervec";
    const error = await deleteModel("${MODEL}", { hub: "${host.origin}" }).catch((error) => error);
    console.log(JSON.stringify([error?.code, error?.message]));`,
    options,
  );
  const [code, message] = refused as [string, string];
  assert.equal(code, "storage");
  assert.match(message, /EACCES|EROFS|EPERM/);
});

test("no folder at all: the model runs from memory, and says why", async () => {
  const file = join(home, "file");
  await writeFile(file, "");
  process.env["EMBERVEC_CACHE"] = join(file, "cache");
  const { stored, storedReason, vector } = await load();
  assert.equal(vector.length, 32);
  assert.equal(stored, false);
  assert.match(storedReason, /ENOTDIR|EEXIST/);
});

/** What Node takes for the home folder. */
async function withHome<T>(home: string, action: () => Promise<T>): Promise<T> {
  const name = process.platform === "win32" ? "USERPROFILE" : "HOME";
  const before = process.env[name];
  process.env[name] = home;
  try {
    return await action();
  } finally {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  }
}

test("no home folder: the model runs from memory, and says why", async () => {
  delete process.env["EMBERVEC_CACHE"];
  const { stored, storedReason, vector } = await withHome("", load);
  assert.equal(vector.length, 32);
  assert.equal(stored, false);
  assert.match(storedReason, /not kept, because there is no home folder for the cache; set EMBERVEC_CACHE/);
  const isError = { code: "storage", message: /no home folder.*EMBERVEC_CACHE/ };
  await withHome("", () => assert.rejects(listModels(), isError));
  const kept = await withHome("", () => load({ cache: "memory" }));
  assert.match(kept.storedReason, /option `cache`/);
});

test("with a cache of the caller's or none nothing is put into the home folder", async () => {
  delete process.env["EMBERVEC_CACHE"];
  for (const cache of ["memory", new MemoryCache()] as const) {
    const outcome = await withHome(home, () => load({ cache }));
    assert.equal(outcome.stored, cache !== "memory");
    assert.deepEqual(await readdir(home), []);
  }
});

test("a name tells its key, and no two keys have names that a file system takes for the same", () => {
  const digest = "0123456789abcdef".repeat(4);
  const keys = [
    "",
    "a",
    "a ",
    " a",
    "model https://host.test/Owner/Name/ ",
    "model https://host.test/owner/name/ ",
    "model https://host.test/owner/name/#q8 ",
    `chunk https://host.test/M/#q8 1_Pooling%2Fconfig.json - 0 ${digest}`,
    `chunk https://host.test/${"long/".repeat(100)} ${"p".repeat(300)} %22etag%22 12 ${digest}`,
    "con aux nul.txt",
    "x . ..",
    "x ../.. y",
    "kernels 0.1.0 relaxed 4 x64 13.6 AMD EPYC (TM) 100%",
    "ſK ſK ſK",
    "! ~ + = % %2e",
    "!a !A",
    "東京 😀 é",
  ];
  const names = new Set<string>();
  for (const key of keys) {
    const name = nameOf(key);
    assert.equal(keyOf(name.split("/")), key);
    assert.equal(name, name.toLowerCase());
    assert.match(name, /^[a-z0-9._%!+~=/-]+$/);
    for (const part of name.split("/")) {
      assert.ok(part !== "" && part !== "." && part !== ".." && part.length <= 125, name);
      assert.doesNotMatch(part, /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)|\.$/, name);
    }
    names.add(name);
    for (let length = 0; length <= key.length; length++)
      assert.ok(name.startsWith(scopeOf(key.slice(0, length)).join("/")), key.slice(0, length));
  }
  assert.equal(names.size, keys.length);
});

test("an entry is put, got, listed and deleted by its key", async () => {
  const cache = new FolderCache(() => join(home, "models"));
  const bytes = Uint8Array.of(1, 2, 3);
  assert.deepEqual(await cache.keys(""), []);
  assert.equal(await cache.get("a b c"), undefined);
  for (const key of ["a b c", "a b cd", "a b ", "a bc d", "b", "a"]) await cache.put(key, bytes);
  assert.deepEqual(await cache.get("a b c"), bytes);
  assert.deepEqual((await cache.keys("a b ")).sort(), ["a b ", "a b c", "a b cd"]);
  assert.deepEqual((await cache.keys("a b")).sort(), ["a b ", "a b c", "a b cd", "a bc d"]);
  assert.deepEqual((await cache.keys("")).length, 6);
  await cache.delete("a b c");
  assert.deepEqual((await cache.keys("")).sort(), ["a", "a b ", "a bc d", "b"]);
  await cache.delete("");
  assert.deepEqual(await readdir(join(home, "models")), []);
  assert.ok((await cache.room()) > 0);
});
