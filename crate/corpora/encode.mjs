// Encodes the passages of the ready corpora with the package itself, in Node: with the modules that browsers run, so that a visitor's
// queries are compared with vectors of the same arithmetic, and twenty times faster than the portable code of a native debug build.
//
//   node encode.mjs MODEL_DIR DTYPE PASSAGES_DIR CACHE
//
// For each list of texts NAME.json in PASSAGES_DIR it writes NAME.DTYPE.f32, the vectors one after the other, and space.DTYPE.json, whose
// vectors they are. CACHE keeps vectors by the hash of all that they are made of.

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { cosSim, Embedder } from "../../pkg/dist/node/index.js";

const MODEL = "sentence-transformers/all-MiniLM-L6-v2";

/** What `SearchIndex.fetch` encodes to see that it has the same model: several scripts and figures. */
const PROBE_TEXTS = [
  "The quick brown fox jumps over the lazy dog near the river bank, 42 times.",
  "¿Cuánto cuesta un billete de tren de Zürich a Łódź? – 19,99 €",
  "Machine learning models turn words into numbers; 機械学習 は 言葉 を 数 に する.",
];

/** So many passages are encoded anew when vectors come from the cache, to see that this build still gives the same. */
const PROBES = 16;

/** Of two builds of the same arithmetic; in 8 bits a value may be rounded the other way. */
const MIN_COSINE = 0.999;

const [modelDir, dtype, passagesDir, cacheDir] = process.argv.slice(2);
if (cacheDir === undefined) throw new Error("usage: node encode.mjs MODEL_DIR DTYPE PASSAGES_DIR CACHE");

const embedder = await Embedder.load(`${pathToFileURL(resolve(modelDir)).href}/`, {
  dtype: /** @type {"q8" | "fp32"} */ (dtype),
  device: "cpu",
  workers: availableParallelism(),
});
// The address of a folder is no part of what the vectors are.
const space = { ...embedder.info.embeddingSpace, model: MODEL };
const { dimension } = embedder.info;
await mkdir(cacheDir, { recursive: true });
for (const file of (await readdir(passagesDir)).sort()) {
  const name = /^([a-z-]+)\.json$/.exec(file)?.[1];
  if (name !== undefined) await encode(name);
}
const vectors = await embedder.encodeDocument(PROBE_TEXTS);
const probes = PROBE_TEXTS.map((text, i) => ({ text, vector: [...vectors[i]] }));
await writeFile(join(passagesDir, `space.${dtype}.json`), JSON.stringify({ space, probes }));
await embedder.dispose();

/** @param {string} name */
async function encode(name) {
  const json = await readFile(join(passagesDir, `${name}.json`), "utf8");
  const passages = /** @type {string[]} */ (JSON.parse(json));
  const key = createHash("sha256").update(JSON.stringify(space)).update(json).digest("hex");
  const path = join(cacheDir, `${key}.f32`);
  const cached = await readFile(path).catch(() => undefined);
  let all = cached && new Float32Array(new Uint8Array(cached).buffer);
  if (!all || !(await isStillTrue(all, passages))) {
    all = await compute(name, passages);
    // It gets its name only when it is whole.
    await writeFile(`${path}.${process.pid}`, all);
    await rename(`${path}.${process.pid}`, path);
  }
  await writeFile(join(passagesDir, `${name}.${dtype}.f32`), all);
}

/**
 * @param {Float32Array} all
 * @param {string[]} passages
 */
async function isStillTrue(all, passages) {
  if (all.length !== passages.length * dimension) return false;
  const rows = Array.from({ length: PROBES }, (_, i) => Math.floor((i * passages.length) / PROBES));
  const anew = await embedder.encodeDocument(rows.map((row) => passages[row]));
  return rows.every((row, i) => {
    return cosSim(all.subarray(row * dimension, (row + 1) * dimension), anew[i]) >= MIN_COSINE;
  });
}

/**
 * @param {string} name
 * @param {string[]} passages
 */
async function compute(name, passages) {
  const all = new Float32Array(passages.length * dimension);
  let done = 0;
  for await (const { index, embedding, truncated } of embedder.encodeStream(passages, { task: "document" })) {
    if (truncated) throw new Error(`${name}: the model cannot take this passage whole: ${passages[index]}`);
    all.set(embedding, index * dimension);
    done += 1;
    if (done % 1000 === 0)
      console.error(`[corpora] ${name}: ${done} of ${passages.length} passages are encoded in ${dtype}`);
  }
  return all;
}
