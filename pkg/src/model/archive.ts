// A model as one file: a tar archive of its folder with a manifest.json. Unpacked on a server it is a model folder.
//
// Format: POSIX.1-2017, pax, "ustar Interchange Format"
// (<https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06>): for each file a header of 512 bytes, and
// its bytes in blocks of 512.

import { Sha256, sha256Of } from "../cache/sha256.js";
import { ANY_VERSION, type ModelRecord, type StoredFile } from "../cache/entries.js";
import type { ModelStore } from "../cache/store.js";
import { EmbervecError, messageOf } from "../errors.js";
import { CHUNK_BYTES, MAX_LIST_BYTES } from "../limits.js";
import { settled } from "../settle.js";
import { type FileDigests, MANIFEST_JSON, type Manifest, parseManifest, writeManifest } from "./manifest.js";

const BLOCK = 512;
const MAX_NAME = 100;

/** The archive of a stored model. Its parts lie where the browser keeps blobs, not in memory as a whole. */
export async function packModel(store: ModelStore, model: string, record: ModelRecord): Promise<Blob> {
  const files: [string, FileDigests & { sha256: string }][] = [];
  const parts: BlobPart[] = [];
  for (const [path, file] of record.files) {
    const hash = new Sha256();
    const chunks: Blob[] = [];
    for await (const chunk of store.chunks(model, path, file)) {
      hash.update(chunk);
      chunks.push(new Blob([chunk]));
    }
    files.push([path, { size: file.size, sha256: hash.digest(), chunks: file.chunks }]);
    parts.push(headerOf(path, file.size), ...chunks, padding(file.size));
  }
  const manifest = new TextEncoder().encode(writeManifest(files));
  // First, so that a reader knows what is to come.
  const first = [headerOf(MANIFEST_JSON, manifest.byteLength), manifest, padding(manifest.byteLength)];
  return new Blob([...first, ...parts, new Uint8Array(2 * BLOCK)], { type: "application/x-tar" });
}

/**
 * Stores the files of an archive, each chunk verified against the archive's manifest.
 *
 * @returns what is stored, and the manifest by which it has been verified as a pin, for a record
 */
export async function unpackModel(
  store: ModelStore,
  archive: Blob,
  modelOf: (manifest: Manifest) => string,
): Promise<Pick<ModelRecord, "files" | "integrity">> {
  const entries = await list(archive);
  // Tools that pack folders put "./" before each name, or the folder's own.
  const manifestPath = [...entries.keys()].find((path) => path === MANIFEST_JSON || path.endsWith(`/${MANIFEST_JSON}`));
  const entry = manifestPath === undefined ? undefined : entries.get(manifestPath);
  if (manifestPath === undefined || !entry || entry.size > MAX_LIST_BYTES) throw invalid("has no manifest.json");
  const folder = manifestPath.slice(0, -MANIFEST_JSON.length);
  const bytes = await bytesOfPart(entry);
  const manifest = parseManifest(bytes, `${MANIFEST_JSON} of the archive`);
  if (!manifest) throw invalid("has a manifest.json that is not one of embervec's");
  if (manifest.size === 0) throw invalid("has a manifest.json that lists no files");
  const model = modelOf(manifest);
  const stored = new Map<string, StoredFile>();
  for (const [path, { size, chunks }] of manifest) {
    const file = entries.get(folder + path);
    if (file?.size !== size)
      throw invalid(`has ${file ? `${file.size} bytes` : "nothing"} in place of the ${size} of ${path}`);
    const target = store.file(model, path, ANY_VERSION);
    for (const [index, digest] of chunks.entries()) {
      const chunk = await bytesOfPart(file.slice(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES));
      if ((await sha256Of(chunk)) !== digest)
        throw invalid(`is damaged: ${path} does not have the SHA-256 of its manifest.json`);
      await target.write(index, digest, chunk);
    }
    stored.set(path, { size, version: ANY_VERSION, chunks });
  }
  return { files: stored, integrity: new Map([[MANIFEST_JSON, await sha256Of(bytes)]]) };
}

function headerOf(path: string, size: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(BLOCK);
  const put = (at: number, text: string) => header.set(new TextEncoder().encode(text), at);
  const octal = (at: number, length: number, value: number) => put(at, value.toString(8).padStart(length - 1, "0"));
  if (new TextEncoder().encode(path).byteLength > MAX_NAME) {
    throw new EmbervecError(
      "unsupported_model",
      `${path} is too long a name for an archive, which takes ${MAX_NAME} bytes`,
    );
  }
  put(0, path);
  octal(100, 8, 0o644);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, size);
  octal(136, 12, 0);
  put(148, " ".repeat(8));
  put(156, "0");
  put(257, "ustar\x0000");
  octal(
    148,
    7,
    header.reduce((sum, byte) => sum + byte, 0),
  );
  return header;
}

function padding(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}

/** The files of an archive by name. */
async function list(archive: Blob): Promise<Map<string, Blob>> {
  const entries = new Map<string, Blob>();
  for (let at = 0; at + BLOCK <= archive.size; ) {
    const header = await bytesOfPart(archive.slice(at, at + BLOCK));
    if (header.every((byte) => byte === 0)) return entries;
    const text = (from: number, length: number) =>
      new TextDecoder().decode(header.subarray(from, from + length)).replace(/\0.*$/s, "");
    const number = (from: number, length: number) => Number.parseInt(text(from, length).trim() || "0", 8);
    const size = number(124, 12);
    // As long as it is written in octal, a size has at most 8 GB.
    if (!text(257, 6).startsWith("ustar") || !(size >= 0) || at + BLOCK + size > archive.size)
      throw invalid("is no tar archive, or was cut off");
    const kind = text(156, 1);
    const prefix = text(345, 155);
    const name = (prefix === "" ? "" : `${prefix}/`) + text(0, 100);
    if (kind === "" || kind === "0")
      entries.set(name.replace(/^\.\//, ""), archive.slice(at + BLOCK, at + BLOCK + size));
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return entries;
}

/** Milliseconds for 512 kB at most of a file, which may lie on another machine or on a disk that sleeps. */
const READ_MS = 30_000;

async function bytesOfPart(part: Blob): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(await settled("the file", () => part.arrayBuffer(), { ms: READ_MS }));
  } catch (cause) {
    // It may be a file that was moved, deleted or changed after it was chosen.
    const problem = `the archive cannot be read: ${messageOf(cause)}; choose the file again`;
    throw new EmbervecError("integrity", problem, { cause });
  }
}

function invalid(problem: string): EmbervecError {
  return new EmbervecError(
    "integrity",
    `the archive ${problem}; take one that exportModel has made, or pack a folder with \`cargo xtask pack\``,
  );
}
