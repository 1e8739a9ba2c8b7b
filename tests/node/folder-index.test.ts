// An index in a folder of a web server, as the native writer makes it: it is that which the same documents make here, read piece by piece.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Embedder, EmbervecError } from "embervec";
import { SearchIndex, type SearchDocument } from "embervec/search";

import { MemoryCache } from "../support/memory-cache.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** Built by `cargo xtask test node`. */
const WRITER = process.env["EMBERVEC_WRITE_FOLDER"];

const MODEL = fileURLToPath(new URL("../fixtures/models/tiny-no-modules", import.meta.url));

const ENDINGS = [
  "the sea is calm.",
  "a storm is near!",
  "Was it 3.5 metres?",
  "Über den Fluss, sagte sie.",
  "東京の海。",
  "ท้องฟ้าสีคราม",
];
const DOCUMENTS: SearchDocument[] = Array.from({ length: 120 }, (_, i) => ({
  id: `chapter ${i}`,
  text: Array.from({ length: 1 + (i % 5) }, (_, n) => `Line ${n} of ${i}: ${ENDINGS[(i + n) % ENDINGS.length]}`).join(
    " ",
  ),
  metadata: { part: i % 3 === 0 ? "one" : "two", i },
}));

let embedder: Embedder;
let folder: string;
let whole: SearchIndex;
let server: Server;
let address: string;
/** Of each request, what was asked and how many bytes were sent. */
let requests: { path: string; range: string | undefined; bytes: number }[] = [];
let hasRanges = true;

before(async () => {
  assert.ok(WRITER, "EMBERVEC_WRITE_FOLDER is the path of the example write_folder");
  const root = await temporaryFolder();
  process.env["EMBERVEC_CACHE"] = join(root, "cache");
  embedder = await Embedder.load(MODEL, { dtype: "fp32" });
  whole = await SearchIndex.open("whole", { embedder, cache: "memory", passages: { maxTokens: 30 } });
  await whole.add(DOCUMENTS);
  folder = join(root, "index");
  await write(folder);
  server = createServer(async (request, response) => {
    const path = new URL(request.url!, "http://host").pathname;
    const bytes = await readFile(join(root, decodeURIComponent(path))).catch(() => undefined);
    const { range } = request.headers;
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
    const part = bytes && hasRanges && from ? bytes.subarray(Number(from), Number(to) + 1) : bytes;
    requests.push({ path, range, bytes: part?.length ?? 0 });
    response.writeHead(part ? (part === bytes ? 200 : 206) : 404, { "content-length": part?.length ?? 0 });
    response.end(part);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/index/`;
});
after(async () => {
  server?.close();
  await whole?.close();
  await embedder?.dispose();
});

/** Has the native writer write what the index in memory holds. */
async function write(folder: string): Promise<void> {
  const { places, vectors } = await whole.vectors({ limit: 100_000 });
  const probes = await Promise.all(
    PROBES.map(async (text) => ({ text, vector: [...(await embedder.encodeDocument(text))] })),
  );
  const { dimension, similarity, embeddingSpace } = whole.info;
  const lines: object[] = [{ name: "chapters", dimension, similarity, space: embeddingSpace, probes }];
  for (const { id, metadata } of DOCUMENTS) {
    const { text } = (await whole.get(id))!;
    for (const [i, place] of places.entries()) {
      if (place.id !== id) continue;
      const { start, end } = place;
      lines.push({ document: id, text: text.slice(start, end), start, end, metadata, vector: [...vectors[i]!] });
    }
  }
  const writer = spawn(WRITER!, [folder], { stdio: ["pipe", "inherit", "inherit"] });
  writer.stdin.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const [code] = (await once(writer, "close")) as [number];
  assert.equal(code, 0);
}

const PROBES = ["One text to know the model by.", "Noch einer, 19,99 €.", "三つ目。"];

const isError = (code: string, pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof EmbervecError, String(error));
  assert.equal(`${error.code}: ${pattern.test(error.message) ? "" : error.message}`, `${code}: `);
  return true;
};

test("it finds what the same documents find here, by words of any script and by meaning", async () => {
  const index = await SearchIndex.fetch(address, { embedder });
  assert.equal(index.size, DOCUMENTS.length);
  assert.equal(index.info.passages, whole.info.passages);
  assert.equal(index.info.readOnly, true);
  for (const query of ["calm sea", "storm", "fluss", "über", "metres 3.5", "東京", "ท้องฟ้า", "lin", "nothing of it"]) {
    for (const mode of ["keyword", "semantic", "hybrid"] as const) {
      for (const filter of [undefined, { part: "one" }]) {
        const options = { mode, topK: 20, context: 1, ...(filter && { filter }) };
        const [found, expected] = await Promise.all([index.search(query, options), whole.search(query, options)]);
        assert.deepEqual(found.hits, expected.hits, `${query}, ${mode}`);
        assert.equal(found.exact, true);
      }
    }
  }
  const like = { like: "chapter 7" };
  assert.deepEqual((await index.search(like)).hits, (await whole.search(like)).hits);
  assert.deepEqual(await index.get("chapter 8"), await whole.get("chapter 8"));
  await assert.rejects(index.add([{ id: "n", text: "new" }]), isError("invalid_input", /read-only/));
  await assert.rejects(index.remove("chapter 1"), isError("invalid_input", /read-only/));
  await index.close();
});

test("it reads vectors and lists at once, and texts as they are shown", async () => {
  requests = [];
  const index = await SearchIndex.fetch(address, { embedder });
  assert.deepEqual(
    requests.map(({ path, range }) => [path, range]).sort(),
    ["manifest.json", "pieces.bin", "rows.bin", "scan.bin"].map((name) => [`/index/${name}`, undefined]),
  );
  requests = [];
  await index.search("storm", { topK: 3 });
  assert.ok(requests.length > 0, "texts are read");
  assert.ok(
    requests.every(({ range }) => range !== undefined),
    "in parts",
  );
  requests = [];
  await index.search("storm", { topK: 3 });
  assert.deepEqual(requests, [], "and only once");
  await index.close();
});

test("vectors for a map are what 8 bits hold, and come in one request", async () => {
  const index = await SearchIndex.fetch(address, { embedder });
  requests = [];
  const { places, vectors } = await index.vectors({ limit: 50 });
  assert.deepEqual(
    requests.map(({ path, range }) => [path, range]),
    [["/index/scan.bin", undefined]],
  );
  const all = await whole.vectors({ limit: 100_000 });
  assert.equal(places.length, 50);
  for (const [i, { id, passage }] of places.entries()) {
    const row = all.places.findIndex((place) => place.id === id && place.passage === passage);
    const exact = all.vectors[row]!;
    // Half of the distance between two of the 255 values, and what sums in 32 bits round.
    const bound = (1.001 * Math.max(...exact.map(Math.abs))) / 127 / 2;
    exact.forEach((x, k) => assert.ok(Math.abs(x - vectors[i]![k]!) <= bound, `row ${row}, dimension ${k}`));
  }
  await index.close();
});

test("a host without ranges costs bytes, and nothing else", async () => {
  hasRanges = false;
  try {
    const index = await SearchIndex.fetch(address, { embedder });
    assert.deepEqual((await index.search("storm")).hits, (await whole.search("storm")).hits);
    await index.close();
  } finally {
    hasRanges = true;
  }
});

test("what was fetched is there offline, if it is to be kept", async () => {
  const cache = new MemoryCache();
  const first = await SearchIndex.fetch(address, { embedder, cache });
  const { hits } = await first.search("storm");
  await first.close();
  requests = [];
  const second = await SearchIndex.fetch(address, { embedder, cache });
  assert.deepEqual((await second.search("storm")).hits, hits);
  assert.deepEqual(
    requests.map(({ path }) => path),
    ["/index/manifest.json"],
  );
  await second.close();
  assert.deepEqual(await SearchIndex.list({ cache }), []);
});

test("another model, a folder that is none, and files that are damaged are told", async () => {
  const other = await Embedder.load(fileURLToPath(new URL("../fixtures/models/tiny-cls", import.meta.url)), {
    dtype: "fp32",
  });
  await assert.rejects(SearchIndex.fetch(address, { embedder: other }), isError("model_mismatch", /tiny-no-modules/));
  await other.dispose();
  await assert.rejects(SearchIndex.fetch(new URL("../none/", address)), isError("index_not_found", /manifest\.json/));
  const broken = join(folder, "../broken");
  for (const name of await readdir(folder)) {
    const bytes = await readFile(join(folder, name));
    for (const change of [
      bytes.subarray(0, -1),
      bytes.map((byte, i) => (i === bytes.length >> 1 ? byte ^ 4 : byte)),
      Buffer.of(),
    ]) {
      await mkdir(broken, { recursive: true });
      await cp(folder, broken, { recursive: true });
      await writeFile(join(broken, name), change);
      const use = async () => {
        const index = await SearchIndex.fetch(new URL("../broken/", address), { embedder });
        try {
          for (const query of ["storm", "sea", "東京", "fluss"]) await index.search(query, { topK: 100 });
        } finally {
          await index.close();
        }
      };
      // A digit of the manifest's name or probes may be another one, and of a vector in 32 bits the last bits.
      if (name === "manifest.json" && change.length === bytes.length) continue;
      if (name === "vectors.f32" && change.length >= bytes.length - 1) continue;
      await assert.rejects(
        use(),
        isError("integrity", /damaged|SHA-256|not JSON/),
        `${name} of ${change.length} bytes`,
      );
    }
  }
});
