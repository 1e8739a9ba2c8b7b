// A program that uses the package's types. `types.test.ts` compiles it in a project that has the tarball installed, with every
// TypeScript and setting that the package supports, also without the library `dom`.

import {
  cosSim,
  Embedder,
  EmbervecError,
  exportModel,
  importModel,
  listModels,
  quantizeEmbeddings,
  rangesOf,
  semanticSearch,
  type EmbedderInfo,
  type EmbervecErrorCode,
  type EncodeOptions,
  type LoadOptions,
  type ModelCache,
  type ProgressEvent,
  type SearchHit,
  type StreamItem,
} from "embervec";

/** Whether two types are the same; `any` is the same as `any` alone. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <_T extends true>(): void => {};

const bytes = new Map<string, ReturnType<Uint8Array["slice"]>>();

/** As callers write one: nothing in it needs a newer TypeScript. */
const cache: ModelCache = {
  get: async (key) => bytes.get(key),
  put: async (key, value) => void bytes.set(key, value),
  delete: async (prefix) => {
    for (const key of bytes.keys()) if (key.startsWith(prefix)) bytes.delete(key);
  },
  keys: async (prefix) => [...bytes.keys()].filter((key) => key.startsWith(prefix)),
  room: async () => Infinity,
};

export const options: LoadOptions = {
  device: "auto",
  dtype: "q8",
  progress: (event) => same<Same<typeof event, ProgressEvent>>(),
  signal: new AbortController().signal,
  fetch: (input, init) => fetch(input, init),
  credentials: "include",
  headers: { Authorization: "Bearer x" },
  cache,
  workers: 2,
  workerUrl: new URL("https://example.test/worker.js"),
};

// @ts-expect-error An option's name is checked.
export const misspelt: LoadOptions = { divice: "cpu" };
// @ts-expect-error So is its value.
export const unknown: EncodeOptions = { precision: "float16" };

export async function main(): Promise<void> {
  const embedder = await Embedder.load("sentence-transformers/all-MiniLM-L6-v2", options);
  same<Same<typeof embedder, Embedder>>();
  same<Same<typeof embedder.info, EmbedderInfo>>();

  const one = await embedder.encode("a text");
  same<Same<typeof one, Float32Array>>();
  const several = await embedder.encode(["one", "another"]);
  same<Same<typeof several, Float32Array[]>>();
  const small = await embedder.encodeDocument("a text", {
    precision: "ubinary",
    progress: ({ loaded }) => void loaded,
  });
  same<Same<typeof small, Uint8Array>>();
  const tokens = await embedder.encodeQuery("a text", { output: "token" });
  same<Same<typeof tokens, Float32Array[]>>();
  const cut = await embedder.encode("a text", {
    output: "token",
    onTruncated: (indices) => same<Same<typeof indices, number[]>>(),
  });
  same<Same<typeof cut, Float32Array[]>>();
  for await (const item of embedder.encodeStream(["a text"])) same<Same<typeof item, StreamItem>>();
  embedder.addEventListener("device", (event) => void event.type, { once: true });

  const hits = semanticSearch(one, quantizeEmbeddings(several, "int8", { ranges: rangesOf(several) }));
  same<Same<typeof hits, SearchHit[][]>>();
  const score: number = cosSim(one, several[0] ?? []);
  void score;

  const archive = await exportModel("model");
  await importModel("model", new Blob([archive]));
  for (const stored of await listModels({ cache })) same<Same<typeof stored.storedAt, Date | undefined>>();

  try {
    await embedder.dispose();
  } catch (error) {
    if (error instanceof EmbervecError) same<Same<typeof error.code, EmbervecErrorCode>>();
  }
}
