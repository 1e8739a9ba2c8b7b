// What every runtime has to do with the published package. Arguments: a model's folder, and a hub that has `owner/name`.

import { Embedder, EmbervecError, clearCache, listModels } from "embervec";

const [folder, hub] = process.argv.slice(-2);
const print = (value) => console.log(JSON.stringify(value));
const vectorsOf = async (embedder) =>
  (await embedder.encode(["a quick brown fox", "東京の天気"])).map((vector) => [...vector]);

const local = await Embedder.load(folder, { dtype: "fp32", workers: 2 });
const vectors = await vectorsOf(local);
print({ vectors });
const many = await local.encode(Array.from({ length: 1000 }, (_, i) => `text ${i}`));
print({ many: many.length });
const signal = AbortSignal.timeout(20);
const aborted = await local.encode(Array(20_000).fill("a text"), { signal }).catch((error) => error);
print({ aborted: aborted.name });
await local.dispose();
const disposed = await local.encode("a").catch((error) => error);
print({ disposed: disposed instanceof EmbervecError && disposed.code });

for (const cached of [false, true]) {
  const embedder = await Embedder.load("owner/name", { hub, dtype: "fp32" });
  const { info } = embedder;
  print({ cached, is: info.cached, stored: info.stored, same: `${await vectorsOf(embedder)}` === `${vectors}` });
  await embedder.dispose();
}
const offline = await Embedder.load("owner/name", { hub, localFilesOnly: true, dtype: "fp32" });
print({ models: (await listModels()).length });
const missing = await Embedder.load("./nothing/").catch((error) => error);
print({ missing: missing.code });
await clearCache();
print({ models: (await listModels()).length });
await offline.encode("the last call");
print({ simd: offline.info.simd, kernels: offline.info.kernels });
// It is not disposed of: the process ends all the same.
