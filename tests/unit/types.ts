// Checked by `npm run check`, never run: which type each call has, as a user of the package sees it.

import {
  cosSim,
  dot,
  Embedder,
  EmbervecError,
  type EmbervecErrorCode,
  type EncodeOptions,
  type Precision,
  quantizeEmbeddings,
  type Ranges,
  rangesOf,
  type SearchHit,
  semanticSearch,
  similarity,
} from "embervec";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Fails to compile unless `actual` has exactly the type `Expected`. */
declare function is<Expected>(): <Actual>(actual: Actual, equal: Equal<Actual, Expected>) => void;

declare const embedder: Embedder;
declare const texts: readonly string[];
declare const precision: Precision;
declare const options: EncodeOptions;
declare const maybe: boolean;
declare const either: string | string[];

type Vector = Float32Array;
type AnyVector = Float32Array | Int8Array | Uint8Array;

export async function encode(): Promise<void> {
  is<Vector>()(await embedder.encode("text"), true);
  is<Vector[]>()(await embedder.encode(texts), true);
  is<Vector[]>()(await embedder.encode(["a", "b"], { normalize: true, pooling: ["cls", "mean"] }), true);
  is<Vector>()(await embedder.encode("text", { precision: "float32", output: "sentence" }), true);
  is<Int8Array[]>()(await embedder.encode(texts, { precision: "int8" }), true);
  is<Uint8Array[]>()(await embedder.encode(texts, { precision: "uint8" }), true);
  is<Int8Array>()(await embedder.encode("text", { precision: "binary" }), true);
  is<Uint8Array>()(await embedder.encodeQuery("text", { precision: "ubinary" }), true);
  is<Vector[]>()(await embedder.encodeQuery("text", { output: "token" }), true);
  is<Vector[][]>()(await embedder.encodeDocument(texts, { output: "token" }), true);
  is<Int8Array[]>()(await embedder.encodeDocument(texts, { precision: "binary" }), true);

  await embedder.encode(texts, { progress: ({ loaded, total }) => void is<number>()(loaded + total, true) });

  // What the types leave open stays open.
  is<AnyVector>()(await embedder.encode("text", { precision }), true);
  is<AnyVector | Vector[]>()(await embedder.encode("text", options), true);
  is<Vector | Int8Array>()(await embedder.encode("text", maybe ? { precision: "binary" } : {}), true);

  // @ts-expect-error no such pooling
  await embedder.encode("text", { pooling: "median" });
  // @ts-expect-error no such option
  await embedder.encode("text", { batchSize: 32 });
  // @ts-expect-error no such precision
  await embedder.encode("text", { precision: "int4" });
  // @ts-expect-error not a text
  await embedder.encode(7);
  // @ts-expect-error not texts
  await embedder.encode(["a", null]);
  // @ts-expect-error one or many: the result depends on it
  await embedder.encode(either);
}

export async function stream(): Promise<void> {
  for await (const { index, embedding, tokenCount, truncated } of embedder.encodeStream(new Set(["a"]))) {
    is<number>()(index, true);
    is<Vector>()(embedding, true);
    is<number>()(tokenCount, true);
    is<boolean>()(truncated, true);
  }
  embedder.encodeStream(texts, { task: "query" });
  // @ts-expect-error there are queries and documents
  embedder.encodeStream(texts, { task: "passage" });
  // @ts-expect-error a stream gives sentence vectors
  embedder.encodeStream(texts, { output: "token" });
  // @ts-expect-error a stream gives float32
  embedder.encodeStream(texts, { precision: "int8" });
}

export async function load(): Promise<void> {
  is<Embedder>()(
    await Embedder.load("owner/name", { device: "auto", dtype: "fp32", wasmUrl: new URL("https://a.test") }),
    true,
  );
  await Embedder.load("/m/", {
    fetch: async (url, init) => fetch(url, init),
    credentials: "omit",
    persist: false,
    workerUrl: "/worker.js",
  });
  await Embedder.load("/m/", { integrity: { "config.json": "sha256-…" } });
  // @ts-expect-error not a Response
  await Embedder.load("/m/", { fetch: async () => new Uint8Array() });
  // @ts-expect-error no such credentials
  await Embedder.load("/m/", { credentials: "always" });
  // @ts-expect-error load is the only way to an embedder
  new Embedder();
  // @ts-expect-error no such device
  await Embedder.load("owner/name", { device: "gpu" });
  // @ts-expect-error info is for reading
  embedder.info = await Embedder.load("owner/name");
}

export function vectors(a: Float32Array[]): void {
  is<Float32Array[]>()(quantizeEmbeddings(a, "float32"), true);
  is<Int8Array[]>()(quantizeEmbeddings(a, "int8", { ranges: { min: [0], max: [1] } }), true);
  is<Uint8Array[]>()(quantizeEmbeddings(a, "ubinary"), true);
  is<AnyVector[]>()(quantizeEmbeddings(a, precision), true);
  is<Float32Array[]>()(similarity(a, [[1, 2]], "euclidean"), true);
  is<{ corpusId: number; score: number } | undefined>()(
    semanticSearch(a[0]!, a)[0]?.map(({ corpusId, score }) => ({ corpusId, score }))[0],
    true,
  );
  const hits = semanticSearch([0.1, 0.2], [a[0]!, [1, 2]], { topK: Infinity, similarity: "dot", precision: "float32" });
  is<SearchHit[][]>()(hits, true);
  is<Ranges>()(rangesOf(a), true);

  // One vector wherever several are taken.
  is<SearchHit[][]>()(semanticSearch(a[0]!, a[1]!), true);
  is<Float32Array[]>()(similarity(a[0]!, [1, 2]), true);
  is<Float32Array[]>()(embedder.similarity(a[0]!, a), true);
  is<Int8Array[]>()(quantizeEmbeddings([1, 2], "int8", { ranges: rangesOf(a) }), true);

  // Quantised ones wherever vectors are compared.
  const bytes = quantizeEmbeddings(a, precision);
  is<SearchHit[][]>()(semanticSearch(bytes, bytes, { precision }), true);
  is<SearchHit[][]>()(semanticSearch(a[0]!, new Int8Array(2)), true);
  is<Float32Array[]>()(similarity(a, new Uint8Array(2), "cosine", { precision: "uint8" }), true);
  is<Float32Array[]>()(embedder.similarity(bytes, bytes, { precision: "binary" }), true);
  is<number>()(cosSim(bytes[0]!, bytes[1]!, { precision: "ubinary" }) + dot(a[0]!, [1, 2]), true);

  // @ts-expect-error no such similarity
  similarity(a, a, "jaccard");
  // @ts-expect-error no such option
  semanticSearch(a, a, { top_k: 3 });
  // @ts-expect-error no such precision
  semanticSearch(a, a, { precision: "int4" });
  // @ts-expect-error no vectors
  semanticSearch("text", a);
  // @ts-expect-error no class of vectors
  similarity(new Int16Array(2), a);
  // @ts-expect-error several, of which there is one number only for two
  dot(a, a);
  // @ts-expect-error quantised already
  quantizeEmbeddings(new Int8Array(2), "binary");
  // @ts-expect-error one vector has no ranges
  rangesOf(a[0]!);
}

export function errors(error: unknown): void {
  if (!(error instanceof EmbervecError)) return;
  is<EmbervecErrorCode>()(error.code, true);
  if (error.code === "unauthorized") return;
  // @ts-expect-error no such code
  if (error.code === "oops") return;
}
