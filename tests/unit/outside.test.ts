// What hosts, archives and callers give: manifests, pointers and models of other browsers, each of which anybody can
// write.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryCache } from "../support/memory-cache.ts";
import { sha256Of } from "../../pkg/src/cache/sha256.ts";
import { EmbervecError, type EmbervecErrorCode, codeOf, messageOf, shown } from "../../pkg/src/errors.ts";
import { CHUNK_BYTES, MAX_FILE_BYTES } from "../../pkg/src/limits.ts";
import { exportModel, importModel, isCached, listModels } from "../../pkg/src/manage.ts";
import { parseManifest, writeManifest } from "../../pkg/src/model/manifest.ts";
import { parsePointer } from "../../pkg/src/model/pointer.ts";
import { similarity } from "../../pkg/src/vectors.ts";
import { pointerText } from "../support/plain-model.ts";

const DIGEST = "0".repeat(64);
const encode = (text: string) => new TextEncoder().encode(text);
const fails = (code: EmbervecErrorCode) => (error: unknown) => error instanceof EmbervecError && error.code === code;

/** JSON of an object that cannot be made into text or a number. */
const UNSPEAKABLE = { toString: null, valueOf: 1, toJSON: 1 };

test("manifests that are damaged are refused by their address, those of others are none", () => {
  const manifest = (change: object) => ({
    format: "embervec-manifest-1",
    chunk_bytes: CHUNK_BYTES,
    files: {},
    ...change,
  });
  const file = (path: string, entry: unknown) => manifest({ files: { [path]: entry } });
  const good = { size: 1, sha256: DIGEST, chunks: [DIGEST] };
  const read = (json: unknown) =>
    parseManifest(encode(typeof json === "string" ? json : JSON.stringify(json)), "https://h.test/manifest.json");
  assert.deepEqual([...read(file("a/b.json", good))!], [["a/b.json", { size: 1, chunks: [DIGEST] }]]);
  for (const other of [null, 7, "[]", "{}", { format: 1 }, { format: "web-app" }, { format: UNSPEAKABLE }])
    assert.equal(read(other), undefined);
  const wrong: [unknown, EmbervecErrorCode][] = [
    ["", "integrity"],
    ["{", "integrity"],
    [manifest({ format: "embervec-manifest-2" }), "unsupported_model"],
    [manifest({ chunk_bytes: 1 }), "unsupported_model"],
    [manifest({ chunk_bytes: UNSPEAKABLE }), "unsupported_model"],
    [manifest({ chunk_bytes: [[[UNSPEAKABLE]]] }), "unsupported_model"],
    [manifest({ files: "text" }), "integrity"],
    [file("a", null), "integrity"],
    [file("a", UNSPEAKABLE), "integrity"],
    [file("a", { ...good, size: UNSPEAKABLE }), "integrity"],
    [file("a", { ...good, size: -1 }), "integrity"],
    [file("a", { ...good, size: 1e300 }), "integrity"],
    [
      file("a", { ...good, size: MAX_FILE_BYTES + 1, chunks: Array(MAX_FILE_BYTES / CHUNK_BYTES + 1).fill(DIGEST) }),
      "integrity",
    ],
    [file("a", { ...good, chunks: [UNSPEAKABLE] }), "integrity"],
    [file("a", { ...good, chunks: [DIGEST, DIGEST] }), "integrity"],
    [file("../a", good), "integrity"],
    [file("", good), "integrity"],
    [file("\ud800", good), "integrity"],
    [file("x".repeat(1 << 20), null), "integrity"],
  ];
  for (const [json, code] of wrong) {
    assert.throws(
      () => read(json),
      (error: Error) => fails(code)(error) && error.message.includes("https://h.test/") && error.message.length < 1000,
    );
  }
});

test("a pointer to more than any model has is refused", () => {
  const pointer = (size: string) => pointerText(DIGEST, size);
  assert.deepEqual(parsePointer(pointer("90868376"), "u"), { sha256: DIGEST, size: 90_868_376 });
  for (const none of ["", pointer("-1"), pointer("1e3"), pointer(""), pointer("1").slice(1)])
    assert.equal(parsePointer(none, "u"), undefined);
  for (const size of [String(MAX_FILE_BYTES + 1), "99999999999999999999", "9".repeat(400)]) {
    assert.throws(
      () => parsePointer(pointer(size), "https://h.test/raw/x"),
      (error: Error) => fails("integrity")(error) && error.message.includes("https://h.test/raw/x"),
    );
  }
});

/** A tar archive of files, each with its header as the format has it. */
function tar(files: Record<string, Uint8Array | string>): Blob {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (const [path, content] of Object.entries(files)) {
    const bytes = typeof content === "string" ? encode(content) : content;
    const header = new Uint8Array(512);
    header.set(encode(path));
    header.set(encode(bytes.length.toString(8).padStart(11, "0")), 124);
    header.set(encode("0"), 156);
    header.set(encode("ustar"), 257);
    parts.push(header, bytes.slice(), new Uint8Array(-bytes.length & 511));
  }
  return new Blob([...parts, new Uint8Array(1024)]);
}

async function archiveOf(paths: string[]): Promise<Blob> {
  const bytes = encode("{}");
  const digest = await sha256Of(bytes);
  const manifest = writeManifest(paths.map((path) => [path, { size: bytes.length, sha256: digest, chunks: [digest] }]));
  return tar(Object.fromEntries([["manifest.json", manifest], ...paths.map((path) => [path, bytes] as const)]));
}

test("an archive that is imported is listed, exported and the same again", async () => {
  const names = ["owner/name", "https://host.test/a/", "/a b", "./ä", "data:a b", "x:y z/%zz", "blob:https://h.test"];
  for (const paths of [["config.json"], ["__proto__"], ["constructor", "a/__proto__/b"], ["ä b", "%zz", "x y"]]) {
    for (const name of names) {
      const cache = new MemoryCache();
      await importModel(name, await archiveOf(paths), { cache });
      const listed = await listModels({ cache });
      assert.deepEqual(
        listed.map(({ model, complete, size }) => [model, complete, size]),
        [[name, true, 2 * paths.length]],
      );
      assert.equal(await isCached(name, { cache }), true);
      const other = new MemoryCache();
      await importModel(name, await exportModel(name, { cache }), { cache: other });
      assert.deepEqual(
        (await listModels({ cache: other })).map(({ size }) => size),
        listed.map(({ size }) => size),
      );
    }
  }
});

test("an archive that no model can be made of is refused, and nothing is listed", async () => {
  const bad = [
    await archiveOf([]),
    tar({ "manifest.json": JSON.stringify({ format: "embervec-manifest-1", chunk_bytes: CHUNK_BYTES }) }),
    tar({ "manifest.json": "[]" }),
    tar({ "manifest.json": "{" }),
    tar({ "config.json": "{}" }),
    tar({}),
    new Blob(["x".repeat(2000)]),
  ];
  for (const archive of bad) {
    const cache = new MemoryCache();
    await assert.rejects(importModel("owner/name", archive, { cache }), fails("integrity"));
    assert.deepEqual(await listModels({ cache }), []);
  }
  // A file that was deleted after it had been chosen.
  const gone = new Blob(["x".repeat(2000)]);
  gone.slice = () =>
    Object.assign(new Blob(), { arrayBuffer: () => Promise.reject(new DOMException("not found", "NotReadableError")) });
  await assert.rejects(importModel("owner/name", gone, { cache: new MemoryCache() }), fails("integrity"));
});

test("whatever is thrown has a message, and only a code of ours counts", () => {
  const thrown: unknown[] = [
    undefined,
    null,
    1n,
    Symbol("s"),
    () => {},
    Object.create(null),
    UNSPEAKABLE,
    { code: UNSPEAKABLE },
    { message: UNSPEAKABLE },
    [[]],
  ];
  for (const value of thrown) {
    assert.equal(typeof messageOf(value), "string");
    assert.equal(codeOf(value), undefined);
  }
  assert.equal(messageOf("text"), "text");
  assert.equal(messageOf(new Error("The connection was closed.")), "The connection was closed");
  assert.equal(messageOf(new Error("It is full. Make room.")), "It is full. Make room.");
  assert.equal(messageOf({ message: "text" }), "text");
  assert.equal(codeOf({ code: "quota" }), "quota");
  assert.equal(codeOf({ code: "toString" }), undefined);
  const loop: unknown[] = [];
  loop.push(loop);
  assert.equal(shown(loop), "object");
  assert.ok(shown("x".repeat(1e6)).length < 100);
});

test("options that cannot be made into text are refused as others are", async () => {
  const odd = Object.create(null) as never;
  assert.throws(() => similarity([], [], odd), fails("invalid_input"));
  await assert.rejects(isCached("owner/name", null as never), fails("invalid_input"));
  await assert.rejects(isCached("owner/name", { dtype: "q4" as never }), fails("invalid_input"));
  await assert.rejects(isCached("owner/name", { cache: { get: odd } as never }), fails("invalid_input"));
  await assert.rejects(
    isCached("owner/name", { hub: Object.assign(odd, { constructor: { name: odd } }) }),
    fails("invalid_input"),
  );
});
