// Random manifests and archives.

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { MemoryCache } from "../support/memory-cache.ts";
import { sha256Of } from "../../pkg/src/cache/sha256.ts";
import { CHUNK_BYTES, MAX_FILE_BYTES } from "../../pkg/src/limits.ts";
import { cacheSize, exportModel, importModel, isCached, listModels } from "../../pkg/src/manage.ts";
import { parseManifest, writeManifest } from "../../pkg/src/model/manifest.ts";
import {
  assertSize,
  damaged,
  encode,
  filePath,
  fuzz,
  hex,
  mostly,
  oddJson,
  oddText,
  outcome,
} from "../support/fuzz.ts";

test("manifests", async (t) => {
  const digests = fc.nat(3 * CHUNK_BYTES).chain((size) => {
    const count = Math.ceil(size / CHUNK_BYTES);
    return fc.record({
      size: mostly(fc.constant(size), oddJson),
      chunks: mostly(fc.array(mostly(hex, oddJson), { minLength: count, maxLength: count }), oddJson),
    });
  });
  const json = fc.record({
    format: mostly(fc.constant("embervec-manifest-1"), oddJson),
    chunk_bytes: mostly(fc.constant(CHUNK_BYTES), oddJson),
    files: mostly(
      fc
        .array(fc.tuple(filePath, mostly(digests, oddJson)), { maxLength: 5 })
        .map((files) => Object.fromEntries(files)),
      oddJson,
    ),
  });
  const inputs = fc.oneof(
    { weight: 6, arbitrary: json.map((value) => encode(JSON.stringify(value))) },
    { weight: 3, arbitrary: damaged(json.map((value) => JSON.stringify(value))).map(encode) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 1000 }) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom("[", '{"a":', '"', "0"), fc.nat(200_000))
        .map(([text, count]) => encode(text.repeat(count))),
    },
  );
  const examples = [
    JSON.stringify({ format: "embervec-manifest-1", chunk_bytes: { toString: null } }),
    JSON.stringify({ format: { toString: null } }),
    '{"format": "embervec-manifest-1", "chunk_bytes": 524288, "files": {"__proto__": {"size": 0, "chunks": []}}}',
  ].map(encode);
  await fuzz(t, inputs as fc.Arbitrary<Uint8Array>, examples, async (bytes) => {
    const manifest = await outcome(() => parseManifest(bytes, "https://host.test/manifest.json"));
    for (const { size, chunks } of manifest?.values() ?? []) {
      const isSound =
        Number.isInteger(size) &&
        size >= 0 &&
        size <= MAX_FILE_BYTES &&
        chunks.length === Math.ceil(size / CHUNK_BYTES);
      assert.ok(isSound, `${size} bytes in ${chunks.length} chunks`);
    }
    if (manifest) {
      const again = writeManifest([...manifest].map(([path, file]) => [path, { ...file, sha256: "" }]));
      assert.deepEqual(parseManifest(encode(again), ""), manifest);
    }
    return bytes.length;
  });
});

const digestOfByte = new Map<string, string>();
/** The SHA-256 of short contents, which come again and again. */
async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const key = String(bytes);
  const known = digestOfByte.get(key);
  if (known !== undefined) return known;
  const digest = await sha256Of(bytes);
  if (bytes.length < 100) digestOfByte.set(key, digest);
  return digest;
}

interface ArchiveInput {
  name: string;
  files: [path: string, content: number[]][];
  /** A folder in which all of it lies. */
  prefix: string;
  /** Bytes of the archive that are changed. */
  changes: [at: number, byte: number][];
  /** The share of the archive that is left. */
  cut: number;
}

function tar(files: [string, Uint8Array<ArrayBuffer>][]): Uint8Array<ArrayBuffer>[] {
  return files.flatMap(([path, bytes]) => {
    const header = new Uint8Array(512);
    header.set(encode(path).subarray(0, 100));
    header.set(encode(bytes.length.toString(8).padStart(11, "0")), 124);
    header.set(encode("0"), 156);
    header.set(encode("ustar"), 257);
    return [header, bytes, new Uint8Array(-bytes.length & 511)];
  });
}

test("archives", async (t) => {
  const name = mostly(
    fc.constantFrom("owner/name", "/models/a", "https://host.test/a/", "./a b", "data:a b", "x:y z"),
    oddText,
  );
  const inputs: fc.Arbitrary<ArchiveInput> = fc.record({
    name,
    files: fc.array(fc.tuple(filePath, fc.array(fc.nat(255), { maxLength: 8 })), { maxLength: 4 }),
    prefix: mostly(fc.constantFrom("", "./", "folder/"), oddText),
    changes: mostly(fc.constant([]), fc.array(fc.tuple(fc.nat(4096), fc.nat(255)), { maxLength: 4 })),
    cut: mostly(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
  });
  const plain = { name: "owner/name", prefix: "", changes: [], cut: 1 };
  const examples: ArchiveInput[] = [
    { ...plain, files: [] },
    { ...plain, files: [["__proto__", [1]]] },
    { ...plain, name: "data:a b", files: [["config.json", [1]]] },
    { ...plain, files: [["\ud800", [1]]] },
  ];
  await fuzz(t, inputs, examples, async ({ name, files, prefix, changes, cut }) => {
    const unique = new Map(files.map(([path, content]) => [path, Uint8Array.from(content)]));
    const listed: [string, { size: number; sha256: string; chunks: string[] }][] = [];
    for (const [path, bytes] of unique) {
      const digest = await digestOf(bytes);
      listed.push([path, { size: bytes.length, sha256: digest, chunks: bytes.length > 0 ? [digest] : [] }]);
    }
    const entries: [string, Uint8Array<ArrayBuffer>][] = [["manifest.json", encode(writeManifest(listed))], ...unique];
    const bytes = new Uint8Array(
      await new Blob(tar(entries.map(([path, bytes]) => [prefix + path, bytes]))).arrayBuffer(),
    );
    for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
    const archive = new Blob([bytes.subarray(0, Math.ceil(cut * bytes.length))]);
    const cache = new MemoryCache();
    const isImported = await outcome(async () => {
      await importModel(name, archive, { cache });
      return true;
    });
    const models = await listModels({ cache });
    assertSize(await cacheSize({ cache }));
    assert.equal(
      models.some(({ complete }) => complete),
      isImported === true,
    );
    if (!isImported) return archive.size;
    assert.equal(await isCached(name, { cache }), true);
    assert.equal(models[0]!.model, name);
    const exported = await outcome(() => exportModel(name, { cache }));
    // Only a name may be too long.
    if (!exported) return archive.size;
    const other = new MemoryCache();
    await importModel(name, exported, { cache: other });
    assert.deepEqual(
      (await listModels({ cache: other })).map(({ size }) => size),
      models.map(({ size }) => size),
    );
    return archive.size;
  });
});
