// A model as one file: a tar archive of its folder with a manifest.json. Unpacked on a server it is a model folder.

import { Sha256, sha256Of } from "../cache/sha256.js";
import { ANY_VERSION, type ModelRecord, type StoredFile } from "../cache/entries.js";
import type { ModelStore } from "../cache/store.js";
import { EmbervecError } from "../errors.js";
import { CHUNK_BYTES, MAX_LIST_BYTES } from "../limits.js";
import { type TarFile, bytesOfPart, readTar, writeTar } from "../tar.js";
import { type FileDigests, MANIFEST_JSON, type Manifest, parseManifest, writeManifest } from "./manifest.js";

const HINT = "use one from exportModel, or pack a folder with `npx embervec pack`";

/** The archive of a stored model. Its parts lie where the browser keeps blobs, not in memory as a whole. */
export async function packModel(store: ModelStore, model: string, record: ModelRecord): Promise<Blob> {
  const files: [string, FileDigests & { sha256: string }][] = [];
  const packed: TarFile[] = [];
  for (const [path, file] of record.files) {
    const hash = new Sha256();
    const chunks: Blob[] = [];
    for await (const chunk of store.chunks(model, path, file)) {
      hash.update(chunk);
      chunks.push(new Blob([chunk]));
    }
    files.push([path, { size: file.size, sha256: hash.digest(), chunks: file.chunks }]);
    packed.push({ path, size: file.size, parts: chunks });
  }
  const manifest = new TextEncoder().encode(writeManifest(files));
  // First, so that a reader knows what is to come.
  return writeTar([{ path: MANIFEST_JSON, size: manifest.byteLength, parts: [manifest] }, ...packed]);
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
  const entries = await readTar(archive, HINT);
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

function invalid(problem: string): EmbervecError {
  return new EmbervecError("integrity", `the archive ${problem}; ${HINT}`);
}
