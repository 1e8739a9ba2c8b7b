// An index in a folder of a web server, as the native writer makes it: it is that which the same documents make here, read piece by piece.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { cp, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { deflateRawSync, inflateRawSync } from "node:zlib";

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
/** Milliseconds until an answer; how many are waited for, and were at most. */
let delay = 0;
let waiting = 0;
let most = 0;
/** What is sent in place of the bytes that were asked for. */
let damage: (path: string, bytes: Buffer) => Uint8Array = (_, bytes) => bytes;

before(async () => {
  assert.ok(WRITER, "EMBERVEC_WRITE_FOLDER is the path of the example write_folder");
  const root = await temporaryFolder();
  process.env["EMBERVEC_CACHE"] = join(root, "cache");
  embedder = await Embedder.load(MODEL, { dtype: "fp32" });
  whole = await SearchIndex.open("whole", { embedder, cache: "memory", passages: { maxTokens: 30 } });
  await whole.add(DOCUMENTS);
  folder = join(root, "index");
  await write(folder, whole);
  server = createServer(async (request, response) => {
    most = Math.max(most, ++waiting);
    if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
    waiting -= 1;
    const path = new URL(request.url!, "http://host").pathname;
    const bytes = await readFile(join(root, decodeURIComponent(path))).catch(() => undefined);
    const { range } = request.headers;
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
    const isPart = bytes !== undefined && hasRanges && from !== undefined;
    const sound = isPart ? bytes.subarray(Number(from), Number(to) + 1) : bytes;
    const part = sound && damage(path, sound);
    requests.push({ path, range, bytes: part?.length ?? 0 });
    response.writeHead(part ? (isPart ? 206 : 200) : 404, { "content-length": part?.length ?? 0 });
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

/** Has the native writer write what an index in memory holds. */
async function write(folder: string, whole: SearchIndex): Promise<void> {
  const { places, vectors } = await whole.vectors({ limit: 100_000 });
  const { dimension, similarity, embeddingSpace } = whole.info;
  const probes = await Promise.all(
    PROBES.map(async (text) => ({
      text,
      vector: [...(await embedder.encodeDocument(text, { truncateDim: dimension }))],
    })),
  );
  const lines: object[] = [{ name: "chapters", dimension, similarity, space: embeddingSpace, probes }];
  for (const { id, metadata } of DOCUMENTS) {
    const text = (await whole.get(id))?.text ?? "";
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

test("vectors of neighbours come in one request, and a few requests are made at a time", async () => {
  const index = await SearchIndex.fetch(address, { embedder });
  requests = [];
  most = 0;
  delay = 20;
  try {
    await index.search("storm", { topK: 1000, mode: "semantic" });
  } finally {
    delay = 0;
  }
  const pieces = Math.ceil(index.info.passages / 16);
  for (const name of ["vectors.f32", "texts.bin"])
    assert.equal(requests.filter(({ path }) => path.endsWith(name)).length, pieces, name);
  assert.ok(pieces > 6 && most <= 6, `${most} of ${pieces} requests at a time`);
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

test("a folder of the first dimensions opens with its model", async () => {
  const cut = await SearchIndex.open("cut", { embedder, cache: "memory", truncateDim: 16 });
  await cut.add(DOCUMENTS.slice(0, 20));
  await write(join(folder, "../cut"), cut);
  const index = await SearchIndex.fetch(new URL("../cut/", address), { embedder });
  assert.equal(index.info.dimension, 16);
  assert.deepEqual((await index.search("storm")).hits, (await cut.search("storm")).hits);
  await Promise.all([index.close(), cut.close()]);
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
      // A digit of the manifest's name or probes may be another one. Vectors have a test of their own.
      if (name === "manifest.json" && change.length === bytes.length) continue;
      if (name === "vectors.f32" && change.length === bytes.length) continue;
      await assert.rejects(
        use(),
        isError("integrity", /damaged|SHA-256|not JSON/),
        `${name} of ${change.length} bytes`,
      );
    }
  }
});

/** Opens what is there and reads all of it. */
async function readAll(address: string | URL, options: { cache?: MemoryCache } = {}): Promise<void> {
  const index = await SearchIndex.fetch(address, { embedder, ...options });
  try {
    for (const query of ["storm", "sea", "東京", "fluss"]) {
      for (const mode of ["keyword", "semantic", "hybrid"] as const) {
        const { hits } = await index.search(query, { topK: 100, mode });
        for (const { score } of hits) assert.ok(Number.isFinite(score), `a score is ${score}`);
      }
    }
    for (const { id } of await index.documents()) await index.get(id);
    const { vectors } = await index.vectors({ limit: 100_000 });
    assert.ok(
      vectors.every((vector) => vector.every(Number.isFinite)),
      "vectors are finite",
    );
  } finally {
    await index.close();
  }
}

test("a vector in 32 bits that does not become its row's 8 bits is refused", async () => {
  const dimension = whole.info.dimension;
  const change = (bytes: Buffer, edit: (vector: Float32Array) => void) => {
    const vector = new Float32Array(new Uint8Array(bytes).buffer);
    edit(vector);
    return new Uint8Array(vector.buffer);
  };
  const largest = (vector: Float32Array) => vector.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const largestOf = (vector: Float32Array) => vector.findIndex((x) => Math.abs(x) === largest(vector));
  const all = new Float32Array(new Uint8Array(await readFile(join(folder, "vectors.f32"))).buffer);
  const other = all.slice(7 * dimension, 8 * dimension);
  const damages: [string, (bytes: Buffer) => Uint8Array][] = [
    ["a sign", (bytes) => change(bytes, (vector) => (vector[largestOf(vector)]! *= -1))],
    [
      "a hundredth of it more",
      (bytes) => change(bytes, (vector) => (vector[largestOf(vector) ^ 1]! += 0.01 * largest(vector))),
    ],
    ["NaN", (bytes) => change(bytes, (vector) => (vector[0] = Number.NaN))],
    ["Infinity", (bytes) => change(bytes, (vector) => (vector[0] = Infinity))],
    ["zeros", (bytes) => new Uint8Array(bytes.length)],
    ["another row", (bytes) => change(bytes, (vector) => vector.set(other))],
    ["a byte less", (bytes) => bytes.subarray(0, -1)],
    ["four bytes less", (bytes) => bytes.subarray(0, -4)],
    ["nothing", () => new Uint8Array()],
    ["more than was asked for", (bytes) => Buffer.concat([bytes, bytes])],
  ];
  try {
    for (const [name, edit] of damages) {
      damage = (path, bytes) => (path.endsWith("vectors.f32") ? edit(bytes) : bytes);
      const index = await SearchIndex.fetch(address, { embedder });
      for (const use of [
        () => index.search("storm", { topK: 100 }),
        () => index.search({ like: "chapter 7" }),
        () => index.search("storm", { liked: ["chapter 9"] }),
        () => index.duplicates(0.9),
      ])
        await assert.rejects(use(), isError("integrity", /vector|longer/), `${name}: ${use}`);
      // What was wrong on its way is right the next time.
      damage = (_, bytes) => bytes;
      assert.deepEqual((await index.search("storm")).hits, (await whole.search("storm")).hits, name);
      await index.close();
    }
  } finally {
    damage = (_, bytes) => bytes;
  }
});

test("what arrives damaged is not kept, and what is kept and damaged is fetched again", async () => {
  let cache = new MemoryCache();
  for (const name of await readdir(folder)) {
    cache = new MemoryCache();
    damage = (path, bytes) => (path.endsWith(name) ? Buffer.concat([bytes.subarray(1), Buffer.of(0)]) : bytes);
    try {
      await assert.rejects(readAll(address, { cache }), isError("integrity", /./), name);
    } finally {
      damage = (_, bytes) => bytes;
    }
    await readAll(address, { cache });
  }
  for (const key of await cache.keys("")) {
    const bytes = (await cache.get(key))!;
    await cache.put(
      key,
      bytes.map((byte) => byte ^ 1),
    );
  }
  await readAll(address, { cache });
  requests = [];
  await readAll(address, { cache });
  assert.deepEqual(
    requests.map(({ path }) => path),
    ["/index/manifest.json"],
  );
});

test("a new version of a folder takes the place of the one that was kept", async () => {
  const cache = new MemoryCache();
  const moved = join(folder, "../moved");
  const url = new URL("../moved/", address);
  await forge(moved, {});
  await readAll(url, { cache });
  await forge(moved, {
    documents: (documents) => documents.forEach((document) => (document.id = `new ${document.id}`)),
    manifest: (manifest) => (manifest.name = "the next one"),
  });
  await readAll(url, { cache });
  const index = await SearchIndex.fetch(url, { embedder, cache });
  assert.ok((await index.get("new chapter 8")) !== undefined, "it is the new one");
  await index.close();
  // Nothing of a version before stays, and of the last one nothing if that is wanted.
  const other = new MemoryCache();
  await readAll(url, { cache: other });
  assert.deepEqual((await cache.keys("")).sort(), (await other.keys("")).sort());
  await cache.put("folder", new Uint8Array(1));
  await SearchIndex.delete(url, { cache });
  assert.deepEqual(await cache.keys(""), ["folder"]);
});

interface Listed {
  id: string;
  from: number;
  metadata?: unknown;
  spans: [number, number, number][];
}

/** Of manifest.json, what is forged. */
interface Manifest {
  name: string;
  rows: number;
  dimension: number;
  space: { model?: string; dimension: number };
  probes: { vector: number[] }[];
  files: Record<string, { bytes: number; sha256: string }>;
}

interface Forgery {
  documents?: (documents: Listed[]) => void;
  files?: (files: Record<string, Buffer>) => void;
  manifest?: (manifest: Manifest) => void;
}

/** Writes another folder, whose manifest has the SHA-256 of what is in it. */
async function forge(path: string, { documents, files: edit, manifest: last }: Forgery): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name !== "manifest.json");
  const files: Record<string, Buffer> = {};
  for (const name of names) files[name] = await readFile(join(folder, name));
  if (documents) {
    const list = JSON.parse(inflateRawSync(files["rows.bin"]!).toString()) as { documents: Listed[] };
    documents(list.documents);
    files["rows.bin"] = deflateRawSync(JSON.stringify(list).replace('"DEEP"', DEEP));
  }
  edit?.(files);
  const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8")) as Manifest;
  for (const [name, bytes] of Object.entries(files))
    manifest.files[name] = { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  last?.(manifest);
  await mkdir(path, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(path, name), bytes);
  await writeFile(join(path, "manifest.json"), JSON.stringify(manifest));
}

/** Lists in lists, deeper than JSON.stringify goes: it stands for "DEEP". */
const DEEP = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;

const swapped = (bytes: Buffer, a: number, b: number, length: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy.set(bytes.subarray(a, a + length), b);
  copy.set(bytes.subarray(b, b + length), a);
  return copy;
};

/** Of pieces.bin: where the table begins, and the length of an entry. */
const [TABLE, ENTRY] = [8, 40];

test("a folder whose files have the manifest's SHA-256 and do not fit together is refused", async () => {
  const rows = whole.info.passages;
  const { dimension } = whole.info;
  const forgeries: [string, Forgery][] = [
    ["2^53 rows", { manifest: (manifest) => (manifest.rows = 2 ** 53) }],
    ["a row less", { manifest: (manifest) => (manifest.rows = rows - 1) }],
    ["no dimension", { manifest: (manifest) => (manifest.dimension = 0) }],
    ["a dimension that 32 bits take for the right one", { manifest: (m) => (m.dimension = 2 ** 32 + dimension) }],
    ["a dimension that no index has", { manifest: (manifest) => (manifest.dimension = 50_000) }],
    ["half the dimension", { manifest: (manifest) => (manifest.dimension = dimension / 2) }],
    ["a model without probes", { manifest: (manifest) => (manifest.probes = []) }],
    ["probes of one number", { manifest: (m) => m.probes.forEach((probe) => (probe.vector = [1])) }],
    ["a model of another dimension", { manifest: (manifest) => (manifest.space.dimension = 2 * dimension) }],
    ["a model without a name", { manifest: (manifest) => delete manifest.space.model }],
    ["a list of the wrong form", { manifest: (manifest) => (manifest.files = {}) }],
    ["vectors of a row less", { files: (f) => (f["vectors.f32"] = f["vectors.f32"]!.subarray(0, -4 * dimension)) }],
    ["NaN as a vector", { files: (files) => files["vectors.f32"]!.writeFloatLE(Number.NaN, 4 * dimension) }],
    [
      "two vectors swapped",
      { files: (f) => (f["vectors.f32"] = swapped(f["vectors.f32"]!, 0, 4 * dimension, 4 * dimension)) },
    ],
    [
      "the texts of other passages",
      { files: (f) => (f["pieces.bin"] = swapped(f["pieces.bin"]!, TABLE, TABLE + ENTRY, ENTRY)) },
    ],
    ["a piece of no bytes", { files: (files) => files["pieces.bin"]!.writeUInt32LE(0, TABLE + 4) }],
    ["more pieces of words than there are", { files: (files) => files["pieces.bin"]!.writeUInt32LE(2 ** 31, 4) }],
    ["two documents of one id", { documents: (documents) => (documents[3]!.id = documents[1]!.id) }],
    ["a document that goes on before it begins", { documents: (documents) => (documents[3]!.from = 7) }],
    ["a document at 2^40", { documents: (documents) => (documents[2]!.spans[0] = [2 ** 40, 2 ** 40 + 9, 2]) }],
    ["a passage that is longer than its text", { documents: (documents) => (documents[2]!.spans[0]![1] += 1) }],
    [
      "a passage in place of the one before",
      { documents: (documents) => documents[4]!.spans.forEach((s) => (s[0] = 0)) },
    ],
    ["a passage that ends before it begins", { documents: (documents) => documents[2]!.spans[0]!.reverse() }],
    [
      "passages without words that have words",
      { documents: (d) => d.forEach(({ spans }) => spans.forEach((s) => (s[2] = 0))) },
    ],
    ["metadata that are too deep", { documents: (documents) => (documents[0]!.metadata = { deep: "DEEP" }) }],
    ["documents that are none", { documents: (documents) => documents.fill(null as never) }],
    [
      "a list that is 300 MB when it is unpacked",
      { files: (f) => (f["rows.bin"] = deflateRawSync(Buffer.alloc(300 << 20, 32))) },
    ],
    ["a list that is cut off", { files: (files) => (files["rows.bin"] = files["rows.bin"]!.subarray(0, -9)) }],
  ];
  const forged = join(folder, "../forged");
  for (const [name, forgery] of forgeries) {
    await forge(forged, forgery);
    await assert.rejects(readAll(new URL("../forged/", address)), isError("integrity", /damaged/), name);
  }
});
