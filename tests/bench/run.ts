// The benchmark: embervec beside transformers.js in one headless Chromium. Prints Markdown, writes target/bench/results.json.
//
// Run by `cargo xtask bench [options]`:
//   --quick          few repetitions
//   --only PART      only this part, may be repeated: load, speed, memory, size, accuracy; and the slow ones that run
//                    only when asked for: kernels (alone, of tests/.build), shapes (BERT-base and -large, random weights),
//                    download (first and later visits, on a network of 50 Mbit/s too), storages (of the browser),
//                    vectors (the search helpers, in Node), node (from `npm install` to vectors in Node),
//                    queries (beside a bulk job), search (indexes of vectors, embervec's and others'), indexing (texts)
//   --rows N         sizes of the indexes of the part search, may be repeated (default 1000, 10000, 100000)
//   --index NAME     only this index of the part search, may be repeated, such as embervec
//   --threads N      threads of transformers.js, workers of embervec (default 1)
//   --sts FOLDER     STS-B too, with the English dev set of this folder, such as stsb-en-dev.csv (slow)
//   --device webgpu  short texts on WebGPU, and nothing else: on Chromium's software adapter, which says little of real GPUs

import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { cpus, platform, release, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";

import type { Page } from "playwright-core";

import { measureDownload, measureStorages } from "./download.ts";
import { Browser, bundle, fileOf, memory, out, root, serve, shapes, wasmHeap } from "./host.ts";
import { KERNEL_PEAK, KERNELS, type Artefact } from "./kernels.ts";
import type { LoadTimes, Variant } from "./page.ts";
import { measureNode } from "./node.ts";
import { peakLoops, type PeakLoop } from "./peak.ts";
import { type Row, log, mb, median, ms, report, results, times } from "./report.ts";
import { measureFolder, measureIndexing, measureSearch, INDEXES, ROWS } from "./search.ts";
import { SHAPES, writeShape } from "./shapes.ts";
import { measureVectors } from "./vectors.ts";
import { flops, mixedTexts, spearman, stsPairs, textOfTokens, textOfWords } from "./workloads.ts";

const DEFAULT_PARTS = ["load", "speed", "memory", "size", "accuracy"] as const;
const PARTS = [
  ...DEFAULT_PARTS,
  "kernels",
  "shapes",
  "download",
  "storages",
  "vectors",
  "node",
  "queries",
  "search",
  "indexing",
] as const;
/** About 20 ms. */
const PEAK_ITERATIONS = 10_000_000;

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    rows: { type: "string", multiple: true, default: ROWS.map(String) },
    index: { type: "string", multiple: true, default: INDEXES },
    only: { type: "string", multiple: true, default: [...DEFAULT_PARTS] },
    threads: { type: "string", default: "1" },
    sts: { type: "string" },
    device: { type: "string", default: "cpu" },
  },
});
const threads = Number(options.threads);
if (!Number.isInteger(threads) || threads < 1)
  throw new Error(`--threads ${options.threads} is not a number of threads`);
const sizes = options.rows.map(Number);
if (!sizes.every((size) => Number.isInteger(size) && size > 0))
  throw new Error(`--rows ${options.rows}: these are no numbers of rows`);
const indexes = INDEXES.filter((name) => options.index.includes(name));
if (indexes.length < options.index.length) throw new Error(`--index ${options.index}: there are ${INDEXES.join("; ")}`);
if (options.device !== "cpu" && options.device !== "webgpu")
  throw new Error(`--device ${options.device}: there are cpu and webgpu`);
const onGpu = options.device === "webgpu";
for (const part of options.only) {
  if (!(PARTS as readonly string[]).includes(part)) throw new Error(`--only ${part}: there are ${PARTS.join(", ")}`);
}
const sts = options.sts === undefined ? undefined : stsFile(options.sts);
const wants = (part: (typeof PARTS)[number]): boolean => options.only.includes(part);

/** The English dev set of STSbenchmark: a line has two sentences and a score. */
function stsFile(folder: string): string {
  const name = readdirSync(folder).find((name) => /en.*dev\.csv$/.test(name));
  if (!name) throw new Error(`--sts ${folder}: the folder has no file such as stsb-en-dev.csv`);
  return join(folder, name);
}

const MODEL = "all-MiniLM-L6-v2";

const ours = { engine: "embervec", threads, model: `/www/models/${MODEL}/` } as const;
const theirs = { engine: "transformers.js", threads, model: `onnx/${MODEL}` } as const;
const VARIANTS: Variant[] = [
  { ...ours, name: "embervec fp32", dtype: "fp32" },
  { ...ours, name: "embervec q8", dtype: "q8" },
  { ...theirs, name: "transformers.js fp32", dtype: "fp32" },
  { ...theirs, name: "transformers.js q8", dtype: "q8" },
];
const ON_GPU: Variant[] = VARIANTS.map((variant) => ({
  ...variant,
  name: `${variant.name}, WebGPU`,
  device: "webgpu",
}));
/** What a host sends that has run `cargo xtask pack`. */
const PACKED: Variant = { ...ours, name: "embervec q8, packed", dtype: "q8", model: `/www/dist/models/${MODEL}/` };
/** For the memory of one worker more. */
const TWO_WORKERS: Variant = { ...ours, name: "embervec q8, 2 workers", dtype: "q8", threads: 2 };
/** Not what the hub has, but better: only its accuracy is of interest. */
const PER_CHANNEL: Variant = { ...theirs, name: "transformers.js q8, per channel", dtype: "q8", file: "per_channel" };

const openBrowser = (): Promise<Browser> =>
  Browser.open(server.origin, onGpu ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] : []);
const load = (page: Page, variant: Variant): Promise<LoadTimes> =>
  page.evaluate((variant) => bench.load(variant), variant);
const time = (page: Page, texts: string[]): Promise<number> => page.evaluate((texts) => bench.time(texts), texts);

async function embed(page: Page, texts: string[], batch: number): Promise<number[][]> {
  const rows: number[][] = [];
  for (let i = 0; i < texts.length; i += 256) {
    rows.push(
      ...(await page.evaluate(([texts, batch]) => bench.embed(texts, batch), [
        texts.slice(i, i + 256),
        batch,
      ] as const)),
    );
  }
  return rows;
}

// --- parts ---------------------------------------------------------------------------------------------------------

/** Which variants this version has; the others are named, so that nobody takes them for forgotten. */
async function supported(): Promise<Variant[]> {
  const browser = await openBrowser();
  const there: Variant[] = [];
  const missing: string[] = [];
  for (const variant of VARIANTS) {
    const page = await browser.page();
    await load(page, variant).then(
      () => there.push(variant),
      (error: Error) =>
        missing.push(`- skipped: **${variant.name}**, ${threads} thread(s): ${error.message.split("\n")[0]}`),
    );
    await page.close();
  }
  await browser.close();
  results["skipped"] = missing;
  if (missing.length > 0) console.log(`\n${missing.join("\n")}`);
  return there;
}

/** Each visit in a page of its own; the first with an empty profile. */
async function measureLoad(variants: Variant[]): Promise<void> {
  const rounds = options.quick ? 1 : 5;
  const cold = new Map(variants.map(({ name }) => [name, [] as LoadTimes[]]));
  const warm = new Map(variants.map(({ name }) => [name, [] as LoadTimes[]]));
  for (let round = 0; round < rounds; round++) {
    for (const variant of variants) {
      log(`load ${round + 1}/${rounds}: ${variant.name}`);
      const browser = await openBrowser();
      const first = await browser.page();
      cold.get(variant.name)!.push(await load(first, variant));
      // What is written to the caches after the engine is ready.
      await first.waitForTimeout(2000);
      await first.close();
      for (let visit = 0; visit < 2; visit++) {
        const page = await browser.page();
        warm.get(variant.name)!.push(await load(page, variant));
        await page.close();
      }
      await browser.close();
    }
  }
  const rows = variants.map(({ name }) => [
    name,
    ...[cold, warm].flatMap((visits) => [
      ms(median(visits.get(name)!.map(({ load }) => load))),
      ms(median(visits.get(name)!.map(({ firstVector }) => firstVector))),
    ]),
  ]);
  report(
    "load",
    `Loading, ms (median of ${rounds} cold and ${2 * rounds} warm visits)`,
    ["", "cold: ready", "cold: first vector", "warm: ready", "warm: first vector"],
    rows,
  );
}

interface Workload {
  name: string;
  texts: string[];
  /** Tokens of each text, with `[CLS]` and `[SEP]`. */
  tokens: number[];
  rounds: number;
}

function workloads(): Workload[] {
  const uniform = (count: number, tokens: number) => times(count, (i) => textOfTokens(tokens, i));
  const mixed = (count: number) => mixedTexts(count);
  const workload = (name: string, texts: string[], rounds: number): Workload => ({
    name,
    texts,
    // The words are whole tokens.
    tokens: texts.map((text) => text.split(" ").length + 2),
    rounds: options.quick ? Math.min(rounds, 3) : rounds,
  });
  const list = [
    workload("one 8-token query", uniform(1, 8), 41),
    workload("1x128 tokens", uniform(1, 128), 21),
    workload("8x128 tokens", uniform(8, 128), 9),
    workload("32x32 tokens", uniform(32, 32), 9),
    workload("32 texts of 5-200 words", mixed(32), 5),
  ];
  return threads === 1 ? list : [...list, workload("256 texts of 5-200 words", mixed(256), 3)];
}

interface MeasuredLoop extends PeakLoop {
  /** In the loop's unit. */
  samples: number[];
}

/** The peak loops, where the browser has them, in a page of their own; each turn adds a sample to each. */
async function peakMeter(browser: Browser): Promise<{ loops: MeasuredLoop[]; turn(): Promise<void> }> {
  const page = await browser.page();
  const loops: MeasuredLoop[] = [];
  for (const loop of peakLoops) {
    if (await page.evaluate(([name, wasm]) => bench.loadLoop(name, wasm), [loop.name, loop.wasm] as const)) {
      loops.push({ ...loop, samples: [] });
    }
  }
  const turn = async (): Promise<void> => {
    for (const { name, opsPerIteration, samples } of loops) {
      const spent = await page.evaluate(([name, n]) => bench.timeLoop(name, n), [name, PEAK_ITERATIONS] as const);
      samples.push((PEAK_ITERATIONS * opsPerIteration) / spent / 1e6);
    }
  };
  return { loops, turn };
}

function reportPeak(loops: MeasuredLoop[]): void {
  report(
    "peak",
    "The machine's peak in the same run, one core (register-only wasm loops)",
    ["", "median", "best", "unit"],
    loops.map(({ name, samples, unit }) => [name, median(samples).toFixed(1), Math.max(...samples).toFixed(1), unit]),
  );
}

/** Every variant in a page of its own, all in one browser, taking turns; the peak loops have turns like them. */
async function measureSpeed(variants: Variant[]): Promise<void> {
  const browser = await openBrowser();
  const pages = new Map<Variant, Page>();
  for (const variant of variants) {
    log(`speed: loading ${variant.name}`);
    const page = await browser.page();
    await load(page, variant);
    pages.set(variant, page);
  }
  const list = workloads();
  const [embervec] = [...pages].find(([{ engine }]) => engine === "embervec") ?? [];
  if (embervec) {
    for (const { name, texts, tokens } of list) {
      const counts = await pages.get(embervec)!.evaluate((texts) => bench.tokenCounts(texts), texts);
      if (counts.join() !== tokens.join())
        throw new Error(`${name}: the texts have ${counts} tokens instead of ${tokens}`);
    }
  }

  const { loops, turn: peakTurn } = await peakMeter(browser);

  const samples = new Map<string, number[]>();
  for (const { name, texts, rounds } of list) {
    // Until the optimising compiler has replaced each function's first code.
    for (const page of pages.values()) {
      for (
        let end = performance.now() + (options.quick ? 500 : 3000), first = true;
        first || performance.now() < end;
        first = false
      ) {
        await time(page, texts);
      }
    }
    for (let round = 0; round < rounds; round++) {
      log(`speed ${round + 1}/${rounds}: ${name}`);
      for (const [variant, page] of pages) {
        const key = `${name}, ${variant.name}`;
        samples.set(key, [...(samples.get(key) ?? []), await time(page, texts)]);
      }
      if (round % 5 === 0) await peakTurn();
    }
  }
  await browser.close();

  const best = (unit: string): number =>
    Math.max(...loops.filter((loop) => loop.unit === unit).map(({ samples }) => median(samples)));
  const rows: Row[] = [];
  for (const { name, tokens } of list) {
    for (const variant of variants) {
      const spent = median(samples.get(`${name}, ${variant.name}`)!);
      const peer = variants.find(({ engine, dtype }) => engine === "transformers.js" && dtype === variant.dtype);
      const isOurs = variant.engine === "embervec" && peer !== undefined;
      const rate = flops(tokens) / spent / 1e6;
      const peak = best(variant.dtype === "fp32" ? "GFLOP/s" : "Gop/s") * threads;
      rows.push([
        name,
        variant.name,
        ms(spent),
        rate.toFixed(1),
        `${((100 * rate) / peak).toFixed(0)} %`,
        isOurs ? (median(samples.get(`${name}, ${peer.name}`)!) / spent).toFixed(2) : "",
      ]);
    }
  }
  report(
    "speed",
    `Encoding, ${threads} thread(s) (medians, the engines taking turns)`,
    ["", "engine", "ms", "GFLOP/s or Gop/s", "of peak", "transformers.js' time / embervec's"],
    rows,
  );
  reportPeak(loops);
  results["speedSamplesMs"] = Object.fromEntries(samples);
}

/** How long a query takes while a bulk job runs, and the bulk job with queries and without. */
async function measureQueries(): Promise<void> {
  const rounds = options.quick ? 1 : 3;
  const texts = mixedTexts(options.quick ? 200 : 2000);
  const query = textOfTokens(8, 0);
  const rows: Row[] = [];
  for (const variant of VARIANTS.filter(({ engine }) => engine === "embervec")) {
    const browser = await openBrowser();
    const page = await browser.page();
    await load(page, variant);
    await time(page, texts.slice(0, 100));
    const alone: number[] = [];
    for (let i = 0; i < 41; i++) alone.push(await time(page, [query]));
    const queries: number[] = [];
    const bulk: number[] = [];
    for (let round = 0; round < rounds; round++) {
      log(`queries ${round + 1}/${rounds}: ${variant.name}`);
      const beside = (pause: number) =>
        page.evaluate(([texts, query, pause]) => bench.besideBulk(texts, query, pause), [texts, query, pause] as const);
      bulk.push((await beside(Infinity)).bulk);
      queries.push(...(await beside(500)).queries);
    }
    await browser.close();
    queries.sort((a, b) => a - b);
    const p95 = queries[Math.floor(0.95 * queries.length)]!;
    const seconds = (median(bulk) / 1000).toFixed(1);
    rows.push([variant.name, ms(median(alone)), ms(median(queries)), ms(p95), queries.length, seconds]);
  }
  report(
    "queries",
    `A query of 8 tokens while ${texts.length} texts of 5-200 words are encoded, ${threads} worker(s), ms`,
    ["", "alone", "median", "95 %", "queries", "the texts alone, s"],
    rows,
  );
}

/** One page after the other: the adapter is software, so pages would only take each other's time. */
async function measureGpu(): Promise<void> {
  const rows: Row[] = [];
  const list = [
    ["one 8-token query", textOfTokens(8, 0), 5],
    ["1x128 tokens", textOfTokens(128, 0), 3],
  ] as const;
  for (const variant of ON_GPU) {
    log(`webgpu: ${variant.name}`);
    const browser = await openBrowser();
    const page = await browser.page();
    server.requests.length = 0;
    const { load: ready, firstVector } = await load(page, variant);
    const code = [...new Set(server.requests)].filter(
      (url) => /\.(js|mjs|wasm)$/.test(url) && !url.endsWith("/target/bench/page.js"),
    );
    const compressed = await Promise.all(code.map((url) => brotliSize(join(root, url))));
    for (const [name, text, rounds] of list) {
      await time(page, [text]);
      const samples: number[] = [];
      for (let i = 0; i < (options.quick ? 2 : rounds); i++) samples.push(await time(page, [text]));
      const dispatches = await page.evaluate(async (text) => {
        const channel = new BroadcastChannel("dispatches");
        let count = 0;
        channel.onmessage = () => (count += 1);
        await bench.time([text]);
        // Messages of another thread may still be on their way.
        await new Promise((resolve) => setTimeout(resolve, 500));
        channel.close();
        return count;
      }, text);
      rows.push([
        name,
        variant.name,
        ms(median(samples)),
        dispatches,
        (ready / 1000).toFixed(1),
        (firstVector / 1000).toFixed(1),
        (compressed.reduce((sum, size) => sum + size, 0) / 1000).toFixed(0),
      ]);
    }
    if (variant === ON_GPU[0]) {
      results["adapter"] = await page.evaluate(async () => {
        const adapter = await navigator.gpu.requestAdapter();
        return {
          name: `${adapter!.info.vendor} ${adapter!.info.architecture}`,
          features: [...adapter!.features].join(" "),
        };
      });
    }
    await browser.close();
  }
  report(
    "webgpu",
    `WebGPU: ${JSON.stringify(results["adapter"])}`,
    ["", "engine", "ms", "dispatches", "cold: ready, s", "cold: first vector, s", "code, kB brotli"],
    rows,
  );
}

async function brotliSize(path: string): Promise<number> {
  const bytes = readFileSync(path);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return (await promisify(brotliCompress)(bytes, { params })).length;
}

async function measureMemory(variants: Variant[]): Promise<void> {
  const rows: Row[] = [];
  const texts = times(32, (i) => textOfWords(200, i));
  const resident = async (browser: Browser): Promise<string> => {
    const bytes = await browser.resident();
    return bytes ? `${mb(bytes.now)} (${mb(bytes.peak)})` : "–";
  };
  server.recordsMemory = true;
  const empty = await openBrowser();
  const blank = await empty.page();
  rows.push(["an empty page", mb(await memory(blank)), "", "", await resident(empty), ""]);
  await empty.close();
  for (const variant of [...variants, TWO_WORKERS]) {
    log(`memory: ${variant.name}`);
    const browser = await openBrowser();
    const page = await browser.page();
    let peak = 0;
    let loading = true;
    const loaded = load(page, variant).finally(() => (loading = false));
    while (loading) peak = Math.max(peak, await memory(page));
    await loaded;
    const afterLoad = await memory(page);
    const residentAfterLoad = await resident(browser);
    await time(page, texts);
    rows.push([
      variant.name,
      mb(afterLoad),
      mb(Math.max(peak, afterLoad)),
      mb(await memory(page)),
      residentAfterLoad,
      await resident(browser),
    ]);
    await browser.close();
  }
  server.recordsMemory = false;
  report(
    "memory",
    "Memory of a cold load and of 32 texts of 200 words, MB (10^6 bytes)",
    [
      "",
      "page, loaded",
      "page, peak of loading",
      "page, after texts",
      "process, loaded (peak)",
      "process, after texts (peak)",
    ],
    rows,
  );
}

/** What a first visit fetches, compressed as a good host would. */
async function measureSize(variants: Variant[]): Promise<void> {
  const rows: Row[] = [];
  const files: Record<string, Record<string, number>> = {};
  for (const engine of ["embervec", "transformers.js"] as const) {
    const variant = variants.find((variant) => variant.engine === engine);
    if (!variant) continue;
    const browser = await openBrowser();
    const page = await browser.page();
    const seen = server.requests.length;
    await load(page, variant);
    const urls = new Set(server.requests.slice(seen));
    await browser.close();
    const sizes: Record<string, number> = {};
    for (const url of urls) {
      if (/\.(onnx|safetensors)$/.test(url) || url === "/favicon.ico") continue;
      const path = fileOf(url);
      if (!existsSync(path)) continue;
      log(`size: ${url}`);
      sizes[url] = await brotliSize(path);
    }
    files[engine] = sizes;
    const sum = (pattern: RegExp): string => {
      const matching = Object.entries(sizes).filter(([url]) => pattern.test(url));
      return (matching.reduce((total, [, size]) => total + size, 0) / 1000).toFixed(0);
    };
    rows.push([engine, sum(/\.m?js$/), sum(/\.wasm$/), sum(/\.(m?js|wasm)$/), sum(/\.(json|txt)$/)]);
  }
  report(
    "size",
    "Download besides weights, kB after brotli 11",
    ["", "JavaScript", "wasm", "code in all", "tokenizer and configuration"],
    rows,
  );
  results["sizeFiles"] = files;
}

async function measureAccuracy(variants: Variant[]): Promise<void> {
  interface Case {
    name: string;
    text: string;
    utf16?: number[];
    embedding: string;
  }
  const fixture = JSON.parse(readFileSync(join(root, `tests/fixtures/${MODEL}.json`), "utf8")) as { cases: Case[] };
  const texts = fixture.cases.map(({ text, utf16 }) => (utf16 ? String.fromCharCode(...utf16) : text));
  const references = fixture.cases.map(({ embedding }) => {
    const bytes = Buffer.from(embedding, "base64");
    return [...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))];
  });
  const mixed = mixedTexts(32);

  const rows: Row[] = [];
  for (const variant of [...variants, PACKED, PER_CHANNEL]) {
    log(`accuracy: ${variant.name}`);
    const browser = await openBrowser();
    const page = await browser.page();
    await load(page, variant);
    const cosines = (await embed(page, texts, 1)).map((vector, i) => cosine(vector, references[i]!));
    const alone = await embed(page, mixed, 1);
    const batched = (await embed(page, mixed, mixed.length)).map((vector, i) => cosine(vector, alone[i]!));
    const differing = cosines.filter((value) => value < 0.9999).length;
    const row: Row = [
      variant.name,
      mean(cosines).toFixed(5),
      Math.min(...cosines).toFixed(5),
      differing,
      Math.min(...batched).toFixed(5),
    ];
    results[`cosines, ${variant.name}`] = Object.fromEntries(fixture.cases.map(({ name }, i) => [name, cosines[i]]));
    if (sts) {
      const pairs = stsPairs(readFileSync(sts, "utf8"));
      // One by one, which is each engine at its best: the vectors of one of them depend on the batch.
      const left = await embed(
        page,
        pairs.map(({ left }) => left),
        1,
      );
      const right = await embed(
        page,
        pairs.map(({ right }) => right),
        1,
      );
      const rho = spearman(
        left.map((vector, i) => cosine(vector, right[i]!)),
        pairs.map(({ score }) => score),
      );
      row.push((100 * rho).toFixed(2));
    }
    await browser.close();
    rows.push(row);
  }
  report(
    "accuracy",
    `Accuracy against sentence-transformers in fp32, ${texts.length} texts, each alone`,
    [
      "",
      "mean cosine",
      "worst cosine",
      "texts below 0.9999",
      "worst cosine of a text in a batch of 32 to itself alone",
      ...(sts ? ["STS-B dev, Spearman x 100"] : []),
    ],
    rows,
  );
}

/** Both artefacts' kernels without a model, taking turns with the peak loops. */
async function measureKernels(): Promise<void> {
  const rounds = options.quick ? 3 : 15;
  const browser = await openBrowser();
  const page = await browser.page();
  const { loops, turn } = await peakMeter(browser);
  const loopsOf = (names: readonly string[]): MeasuredLoop[] => loops.filter(({ name }) => names.includes(name));
  const artefacts = (Object.keys(KERNEL_PEAK) as Artefact[]).filter(
    (artefact) => loopsOf(KERNEL_PEAK[artefact].q8).length > 0,
  );
  for (const artefact of artefacts) {
    console.log(
      `- ${artefact} computes with ${await page.evaluate((artefact) => bench.loadKernels(artefact), artefact)}`,
    );
  }
  const samples = new Map<string, number[]>();
  // The first rounds are for the optimising compiler.
  for (let round = -2; round < rounds; round++) {
    log(`kernels ${Math.max(0, round + 1)}/${rounds}`);
    for (const kernel of KERNELS) {
      for (const artefact of artefacts) {
        const key = `${kernel.name}, ${artefact}`;
        const spent = await page.evaluate(([artefact, kernel]) => bench.timeKernel(artefact, kernel), [
          artefact,
          kernel,
        ] as const);
        if (round >= 0) samples.set(key, [...(samples.get(key) ?? []), spent]);
      }
    }
    if (round >= 0) await turn();
  }
  await browser.close();

  const cells = (artefact: Artefact, { name, type, ops }: (typeof KERNELS)[number]): Row => {
    const spent = median(samples.get(`${name}, ${artefact}`)!);
    if (ops === undefined) return [spent.toFixed(3), "", ""];
    const rate = ops / spent / 1e6;
    const peak = Math.max(...loopsOf(KERNEL_PEAK[artefact][type]).map(({ samples }) => median(samples)));
    return [spent.toFixed(3), rate.toFixed(1), `${((100 * rate) / peak).toFixed(0)} %`];
  };
  report(
    "kernels",
    `The kernels alone, 1 thread, m x n x k (medians of ${rounds})`,
    [
      "",
      ...artefacts.flatMap((artefact) => [`${artefact}: ms`, `${artefact}: GFLOP/s or Gop/s`, `${artefact}: of peak`]),
    ],
    KERNELS.map((kernel) => [kernel.name, ...artefacts.flatMap((artefact) => cells(artefact, kernel))]),
  );
  reportPeak(loops);
  results["kernelSamplesMs"] = Object.fromEntries(samples);
}

/** Larger models in q8. What fails is a row too. */
async function measureShapes(): Promise<void> {
  const rows: Row[] = [];
  for (const [name, shape] of Object.entries(SHAPES)) {
    log(`shapes: writing ${name}`);
    writeShape(join(shapes, name), shape, join(root, "www/models", MODEL));
    const variant: Variant = { ...ours, threads: 1, name, dtype: "q8", model: `/shapes/${name}/` };
    rows.push([
      name,
      ...(await measureShape(variant, shape).catch((error: Error) => [`failed: ${error.message.split("\n")[0]}`])),
    ]);
  }
  report(
    "shapes",
    "Random weights in BERT's larger shapes, q8, 1 thread; MB are 10^6 bytes",
    [
      "",
      "fp16 file, MB",
      "cold: ready, s",
      "warm: ready, s",
      "1x128 tokens, ms",
      "Gop/s",
      "page, cold: loaded (peak), MB",
      "page, warm: loaded (peak) / after the text, MB",
      "wasm heap: cold / warm / after the text, MB",
    ],
    rows,
  );
}

async function measureShape(variant: Variant, shape: (typeof SHAPES)[string]): Promise<Row> {
  const text = [textOfTokens(128, 0)];
  log(`shapes: time, ${variant.name}`);
  const browser = await openBrowser();
  const first = await browser.page();
  const cold = await load(first, variant);
  await first.waitForTimeout(2000);
  await first.close();
  const warm: number[] = [];
  const spent: number[] = [];
  for (let visit = 0; visit < (options.quick ? 1 : 3); visit++) {
    const page = await browser.page();
    warm.push((await load(page, variant)).load);
    const [tokens] = await page.evaluate((texts) => bench.tokenCounts(texts), text);
    if (tokens !== 128) throw new Error(`the text has ${tokens} tokens`);
    // Until the optimising compiler has replaced each function's first code.
    for (let i = 0; i < 3; i++) await time(page, text);
    for (let i = 0; i < 5; i++) spent.push(await time(page, text));
    log(
      `shapes: ${variant.name} computes with ${await page.evaluate(() => bench.chosenKernels())}, ${spent.slice(-5).map(ms).join(", ")} ms`,
    );
    await page.close();
  }
  await browser.close();
  results[`${variant.name}SamplesMs`] = spent;

  // Apart, because measuring memory collects garbage, which takes time.
  log(`shapes: memory, ${variant.name}`);
  server.recordsMemory = true;
  const another = await openBrowser();
  const visit = async (): Promise<{ page: Page; heap: number; loaded: number; peak: number }> => {
    const page = await another.page();
    let peak = 0;
    let loading = true;
    const done = load(page, variant).finally(() => (loading = false));
    // A failure is for `await`, not for nobody.
    done.catch(() => {});
    while (loading) peak = Math.max(peak, await memory(page));
    await done;
    const loaded = await memory(page);
    return { page, heap: await wasmHeap(page), loaded, peak: Math.max(peak, loaded) };
  };
  try {
    const coldVisit = await visit();
    await coldVisit.page.close();
    const warmVisit = await visit();
    await time(warmVisit.page, text);
    const encoding = median(spent);
    const file = statSync(join(shapes, variant.name, "model.safetensors")).size;
    return [
      mb(file),
      (cold.load / 1000).toFixed(1),
      (median(warm) / 1000).toFixed(1),
      encoding.toFixed(0),
      (flops([128], shape) / encoding / 1e6).toFixed(1),
      `${mb(coldVisit.loaded)} (${mb(coldVisit.peak)})`,
      `${mb(warmVisit.loaded)} (${mb(warmVisit.peak)}) / ${mb(await memory(warmVisit.page))}`,
      `${mb(coldVisit.heap)} / ${mb(warmVisit.heap)} / ${mb(await wasmHeap(warmVisit.page))}`,
    ];
  } finally {
    server.recordsMemory = false;
    await another.close();
  }
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function cosine(a: number[], b: number[]): number {
  const dot = (x: number[], y: number[]): number => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

async function machine(): Promise<void> {
  const browser = await openBrowser();
  const version = browser.context.browser()!.version();
  await browser.close();
  const packageVersion = (path: string): string =>
    JSON.parse(readFileSync(join(root, path, "package.json"), "utf8")).version;
  const [cpu] = cpus();
  results["machine"] = {
    date: new Date().toISOString().slice(0, 10),
    cpu: `${cpu!.model} x ${cpus().length}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    system: `${platform()} ${release()}`,
    chromium: version,
    embervec: packageVersion("pkg"),
    "transformers.js": packageVersion("tests/bench/node_modules/@huggingface/transformers"),
    "onnxruntime-web": packageVersion("tests/bench/node_modules/onnxruntime-web"),
  };
  console.log(
    Object.entries(results["machine"] as object)
      .map(([key, value]) => `- ${key}: ${value}`)
      .join("\n"),
  );
}

await mkdir(out, { recursive: true });
await mkdir(shapes, { recursive: true });
await bundle();
const server = await serve(onGpu);
try {
  await machine();
  if (onGpu) await measureGpu();
  else await measureAll();
} finally {
  server.close();
  await writeFile(join(out, "results.json"), `${JSON.stringify(results, null, 2)}\n`);
}

async function measureAll(): Promise<void> {
  if (wants("kernels")) await measureKernels();
  if (wants("shapes")) await measureShapes();
  if (wants("vectors")) measureVectors(options.quick ? 5 : 31);
  if (wants("queries")) await measureQueries();
  if (wants("search")) {
    await measureSearch(server, sizes, indexes, options.quick);
    await measureFolder(server);
  }
  if (wants("indexing")) await measureIndexing(server, ours.model, theirs.model, options.quick);
  if (wants("node")) await measureNode(options.quick);
  if (wants("storages")) await measureStorages(server.origin, options.quick ? 1 : 5);
  if (wants("download")) {
    const [fp32, q8] = VARIANTS.filter(({ engine }) => engine === "transformers.js");
    await measureDownload([PACKED, VARIANTS[1]!, q8!, fp32!], options.quick ? 1 : 5);
  }
  const variants = DEFAULT_PARTS.some(wants) ? await supported() : [];
  if (wants("speed")) await measureSpeed(variants);
  if (wants("load")) await measureLoad(variants);
  if (wants("memory")) await measureMemory(variants);
  if (wants("accuracy")) await measureAccuracy(variants);
  if (wants("size")) await measureSize(variants);
}
