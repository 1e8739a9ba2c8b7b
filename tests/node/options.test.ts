// What `load` is told, by options and by the environment, and how it names what is wrong.

import assert from "node:assert/strict";
import { cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { clearCache, Embedder, EmbervecError, isCached, listModels, type LoadOptions } from "embervec";

import { hosts, inTurn, type ModelServer, serveModels, stalls, status } from "../support/model-server.ts";
import { run } from "../support/node.ts";
import { temporaryFolder } from "../support/temporary.ts";

const MODEL = "owner/name";
const TINY = fileURLToPath(new URL("../fixtures/models/tiny-cls", import.meta.url));
const VARIABLES = ["EMBERVEC_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_HOME", "XDG_CACHE_HOME"];

let folder: string;
let host: ModelServer;
let home: string;
let count = 0;

before(async () => {
  folder = await temporaryFolder();
});
beforeEach(async () => {
  host = await serveModels();
  for (const name of VARIABLES) delete process.env[name];
  home = join(folder, `home ${count++}`);
  process.env["EMBERVEC_CACHE"] = home;
});
afterEach(async () => {
  await host.close();
});
after(() => {
  for (const name of VARIABLES) delete process.env[name];
});

async function load(model: string, options: LoadOptions = {}): Promise<{ vector: number[]; info: Embedder["info"] }> {
  const embedder = await Embedder.load(model, options);
  try {
    return { vector: [...(await embedder.encode("a quick brown fox"))], info: embedder.info };
  } finally {
    await embedder.dispose();
  }
}

const isError = (code: string, pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof EmbervecError, String(error));
  assert.equal(`${error.code}: ${pattern.test(error.message) ? "" : error.message}`, `${code}: `);
  return true;
};

test("a folder is read where it is, by whatever names it", async () => {
  const { vector, info } = await load(TINY);
  assert.equal(info.stored, true);
  assert.match(info.storedReason, /read from its folder/);
  const strange = join(folder, "a model, 100% #1?é");
  await cp(TINY, strange, { recursive: true });
  // An address would lose the end of this one.
  const worse = join(folder, "ends with \u0001 ");
  await cp(TINY, worse, { recursive: true });
  const link = join(folder, "a link");
  await symlink(strange, link);
  const here = relative(process.cwd(), strange);
  const names = [`${TINY}/`, `${TINY}//`, pathToFileURL(TINY).href, `file:${TINY}`, strange, worse, `${worse}/`];
  for (const name of [...names, link, `${link}/`, here.startsWith(".") ? here : `./${here}`])
    assert.deepEqual((await load(name, { localFilesOnly: true })).vector, vector, name);
  assert.equal(await isCached(TINY), true);
  // Nothing of it is copied.
  assert.deepEqual(await listModels(), []);
});

test("embeddingSpace is the same from a path, a host, the cache, and what the cache has in 32 bits", async () => {
  const hub = host.origin;
  const space = async (model: string, options: LoadOptions = {}) => {
    const { embeddingSpace, cached } = (await load(model, options)).info;
    return { ...embeddingSpace, cached };
  };
  const { dtype, weights, pooling, normalize, dimension, version, prompts } = await space(TINY);
  assert.match(weights, /^[0-9a-f]{64}$/);
  const { version: expected } = JSON.parse(await readFile(new URL("../../pkg/package.json", import.meta.url), "utf8"));
  assert.deepEqual([dtype, pooling, normalize, dimension, version], ["q8", ["cls"], false, 32, expected]);
  const of = { model: MODEL, revision: "main", dtype, weights, pooling, normalize, dimension, version, prompts };
  assert.deepEqual(await space(MODEL, { hub }), { ...of, cached: false });
  assert.deepEqual(await space(MODEL, { hub, localFilesOnly: true }), { ...of, cached: true });
  assert.deepEqual(await space(MODEL, { hub, cache: "memory" }), { ...of, cached: false });
  // Other numbers, from the same folder.
  await clearCache();
  const wide = await space(MODEL, { hub, dtype: "fp32" });
  assert.notEqual(wide.weights, weights);
  assert.deepEqual(wide.weights, (await space(TINY, { dtype: "fp32" })).weights);
  // The weights in 8 bits are made of those that are stored, without the host.
  assert.deepEqual(await space(MODEL, { hub, localFilesOnly: true }), { ...of, cached: true });
});

test("links are followed, as in the hub's own cache", async () => {
  const { vector } = await load(TINY);
  const hub = join(folder, "models--owner--name");
  for (const path of await readdir(TINY, { recursive: true })) {
    if (!/\.(json|safetensors)$/.test(path)) continue;
    const blob = join(hub, "blobs", path.replaceAll("/", "-"));
    const link = join(hub, "snapshots/abc", path);
    await mkdir(dirname(blob), { recursive: true });
    await mkdir(dirname(link), { recursive: true });
    await cp(join(TINY, path), blob);
    await symlink(relative(dirname(link), blob), link);
  }
  assert.deepEqual((await load(join(hub, "snapshots/abc"))).vector, vector);
});

test("a folder that is not a model's fails as a host's does", async () => {
  const copy = join(folder, "broken");
  await cp(TINY, copy, { recursive: true });
  await assert.rejects(load(join(folder, "nothing")), isError("model_not_found", /nothing\/config\.json/));
  await assert.rejects(load(join(TINY, "config.json")), isError("model_not_found", /config\.json/));
  await rename(join(copy, "model.safetensors"), join(copy, "other.safetensors"));
  await assert.rejects(load(copy), isError("model_not_found", /broken\/.*model\.safetensors/));
  await mkdir(join(copy, "model.safetensors"));
  await assert.rejects(load(copy), isError("model_not_found", /model\.safetensors/));
  await rm(join(copy, "model.safetensors"), { recursive: true });
  await writeFile(join(copy, "model.safetensors"), "nothing");
  await assert.rejects(load(copy), isError("integrity", /model\.safetensors/));
  const modules = [{ idx: 0, name: "0", path: "../tiny", type: "sentence_transformers.models.Transformer" }];
  await writeFile(join(copy, "modules.json"), JSON.stringify(modules));
  await assert.rejects(load(copy), isError("unsupported_model", /modules\.json.*\.\.\/tiny/));
  await assert.rejects(load("file://elsewhere/model/"), isError("invalid_input", /elsewhere/));
});

test("what is no address of a folder says so, and nothing is asked for", async () => {
  const fetched: string[] = [];
  const fetch = async (url: string | URL | Request) => {
    fetched.push(String(url));
    return new Response("", { status: 404 });
  };
  for (const name of [
    "C:\\models\\x",
    "c:/models/x",
    "ftp://host.test/x",
    "s3://bucket/x",
    "data:text/plain,x",
    "hf:o/n",
  ]) {
    await assert.rejects(
      load(name),
      isError("invalid_input", /cannot be fetched.*begins with [a-z0-9]+:.*https:/),
      name,
    );
    // Whoever gives a `fetch` knows what it can do.
    await assert.rejects(load(name, { fetch }), isError("model_not_found", /config\.json/), name);
  }
  assert.notEqual(fetched.length, 0);
  for (const name of ["~/x", "a b", "100%", "a/b/c", "models/x/", ".\\x", "\\\\server\\x", ".", " ./x"])
    await assert.rejects(load(name), isError("invalid_input", /neither a hub id .* nor a folder's address/), name);
  await assert.rejects(load(`file://${folder}/100%`), isError("invalid_input", /names no file of this machine/));
});

test("a hub that is no address is named, unless nobody needs it", async () => {
  for (const hub of ["nonsense", "huggingface.co", "http://", "https://[", "//huggingface.co", "ftp://host.test"]) {
    process.env["HF_ENDPOINT"] = hub;
    await assert.rejects(
      load(MODEL),
      isError("invalid_input", /HF_ENDPOINT .* such as https:\/\/huggingface\.co/),
      hub,
    );
    await load(TINY);
  }
  await load(MODEL, { hub: host.origin, cache: "memory" });
  process.env["HF_ENDPOINT"] = ` ${host.origin}/ `;
  await load(MODEL, { cache: "memory" });
  for (const hub of ["huggingface.co", "", "."])
    await assert.rejects(load(MODEL, { hub }), isError("invalid_input", /the hub ".*" is not an address/), hub);
});

test("the environment names the cache", async () => {
  const places: [Record<string, string>, string][] = [
    [{ EMBERVEC_CACHE: join(folder, "1") }, "1"],
    [{ HF_HOME: join(folder, "2"), XDG_CACHE_HOME: join(folder, "x") }, "2/embervec"],
    [{ XDG_CACHE_HOME: join(folder, "3") }, "3/embervec"],
    [{ HOME: join(folder, "4") }, "4/.cache/embervec"],
    // What is empty is as if it were not there.
    [{ HOME: join(folder, "5"), EMBERVEC_CACHE: "", HF_HOME: " ", XDG_CACHE_HOME: "" }, "5/.cache/embervec"],
    // A relative one is to be ignored.
    [{ HOME: join(folder, "6"), XDG_CACHE_HOME: "relative" }, "6/.cache/embervec"],
    // As in a file of variables, which no shell reads.
    [{ HOME: join(folder, "7"), HF_HOME: "~/hf" }, "7/hf/embervec"],
    [{ EMBERVEC_CACHE: join(folder, "100% #?ü") }, "100% #?ü"],
  ];
  for (const [env, place] of places) {
    await run(
      `import { Embedder } from "embervec";
      await Embedder.load("${MODEL}", { hub: "${host.origin}" });`,
      { env },
    );
    assert.deepEqual((await readdir(join(folder, place, "models"))).filter((name) => !name.startsWith(".")).sort(), [
      "chunk",
      "kernels",
      "model",
    ]);
  }
});

test("the hub, its token and being offline are the environment's, unless the caller says otherwise", async () => {
  const other = await serveModels();
  process.env["HF_ENDPOINT"] = host.origin;
  process.env["HF_TOKEN"] = "hf_secret";
  await load(MODEL, { cache: "memory" });
  const sent = (server: ModelServer) => new Set(server.requests.map(({ headers }) => headers.authorization));
  assert.deepEqual([...sent(host)], ["Bearer hf_secret"]);
  // Nobody else is told.
  await load(MODEL, { hub: other.origin, cache: "memory" });
  await load(`${other.origin}/tiny-cls/`, { cache: "memory" });
  assert.deepEqual([...sent(other)], [undefined]);
  host.requests.length = 0;
  await load(MODEL, { cache: "memory", headers: { authorization: "Bearer mine" } });
  assert.deepEqual([...sent(host)], ["Bearer mine"]);

  process.env["HF_HUB_OFFLINE"] = "1";
  host.requests.length = 0;
  await assert.rejects(load(MODEL), isError("model_not_found", /not completely stored in the cache folder/));
  assert.equal(host.requests.length, 0);
  await load(TINY);
  await load(MODEL, { localFilesOnly: false });
  await load(MODEL);
  await other.close();
});

test("a token that no header takes is named, and not shown", async () => {
  process.env["HF_ENDPOINT"] = host.origin;
  for (const token of ["hf_se\ncret", "hf_secret”"]) {
    process.env["HF_TOKEN"] = token;
    await assert.rejects(load(MODEL), (error: Error) => {
      isError("invalid_input", /HF_TOKEN/)(error);
      assert.doesNotMatch(error.message + error.cause, /hf_|cret/);
      return true;
    });
  }
  assert.equal(host.requests.length, 0);
  await load(MODEL, { headers: { authorization: "Bearer mine" } });
});

test("a token does not follow a redirect to another origin", async () => {
  const other = await serveModels();
  process.env["HF_ENDPOINT"] = host.origin;
  process.env["HF_TOKEN"] = "hf_secret";
  const weights = "/owner/name/resolve/main/model.safetensors";
  host.answers.set(weights, status(302, { location: `${other.origin}/tiny-cls/model.safetensors` }));
  await load(MODEL, { cache: "memory" });
  assert.deepEqual(
    other.requests.map(({ path, headers }) => [path, headers.authorization]),
    [["/tiny-cls/model.safetensors", undefined]],
  );
  await other.close();
});

test("a host that misbehaves", async () => {
  const { vector } = await load(TINY);
  const weights = "/plain/model.safetensors";
  const url = `${host.origin}/plain/`;
  host.answers.set(weights, inTurn(status(503), hosts({ dropsAfter: 50_000 }), hosts()));
  assert.deepEqual((await load(url)).vector, vector);
  host.answers.set(weights, status(404));
  await assert.rejects(load(url, { cache: "memory" }), isError("model_not_found", /model\.safetensors/));
  host.answers.set(weights, status(401));
  await assert.rejects(load(url, { cache: "memory" }), isError("unauthorized", /`headers`.*HF_TOKEN/));
  host.answers.set(weights, stalls);
  const signal = AbortSignal.timeout(1000);
  await assert.rejects(load(url, { cache: "memory", signal }), { name: "TimeoutError" });
  await host.stop();
  await assert.rejects(
    load(url, { cache: "memory" }),
    isError("network", /Could not fetch \S+ \(.*ECONNREFUSED.*\)\. .*the host may be down/),
  );
  await host.start();
});

test("the caller's fetch, headers, pins and progress", async () => {
  const asked: string[] = [];
  const stages = new Set<string>();
  const { info } = await load(MODEL, {
    hub: host.origin,
    headers: { "x-test": "1" },
    fetch: (url, init) => {
      asked.push(String(url));
      return fetch(url, init);
    },
    progress: ({ stage }) => stages.add(stage),
  });
  assert.equal(info.stored, true);
  assert.ok(asked.length > 3);
  assert.ok(host.requests.every(({ headers }) => headers["x-test"] === "1"));
  assert.deepEqual([...stages], ["download"]);
  const integrity = { "config.json": "0".repeat(64) };
  await assert.rejects(load(TINY, { integrity }), isError("integrity", /config\.json.*`integrity`/));
});

test("device", async () => {
  for (const device of ["auto", "cpu"] as const) {
    const { info } = await load(TINY, { device });
    assert.equal(info.device, "cpu");
    assert.match(info.deviceReason, device === "auto" ? /no WebGPU outside of browsers/ : /as demanded/);
  }
  await assert.rejects(
    load(TINY, { device: "webgpu" }),
    isError("unsupported_device", /no WebGPU outside of browsers/),
  );
});

test("cache and workers", async () => {
  await assert.rejects(load(TINY, { cache: "indexeddb" }), isError("invalid_input", /"folder".*browsers/));
  const { info } = await load(MODEL, { hub: host.origin, cache: "memory" });
  assert.equal(info.stored, false);
  assert.match(info.storedReason, /as the option `cache` says/);
  assert.equal((await load(MODEL, { hub: host.origin, cache: "folder" })).info.stored, true);
  assert.equal((await load(TINY, { workers: 3 })).info.workers, 3);
});

test("the wasm files lie elsewhere: in another folder, or on a server", async () => {
  const dist = new URL("../../pkg/dist/", import.meta.url);
  const server = await serveModels(fileURLToPath(dist));
  for (const name of await readdir(dist))
    if (name.endsWith(".wasm"))
      server.answers.set(`/${name}`, (response, body) =>
        response.writeHead(200, { "content-type": "application/wasm" }).end(body),
      );
  for (const wasmUrl of [dist, fileURLToPath(dist), server.origin])
    assert.equal((await load(TINY, { wasmUrl })).vector.length, 32);
  assert.equal(server.requests.length, 1);
  await server.close();
});
