// Parts `search` and `indexing` of the benchmark: embervec's index beside other indexes that run in a browser.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

import type { Page } from "playwright-core";

import { Browser, memory, out, root, type Server } from "./host.ts";
import type { Variant } from "./page.ts";
import { log, mb, median, ms, report, results, type Row, times } from "./report.ts";
import { random } from "../support/random.ts";
import { corpus, DIMENSION, exactBest, queries } from "./search-data.ts";
import type { Built, Found, IndexName, Latency } from "./search-page.ts";
import { textOfTokens, textOfWords } from "./workloads.ts";

const NAMES: Record<IndexName, string> = {
  embervec: "embervec",
  "embervec, scan": "embervec, its scan alone",
  loop: "a loop over Float32Arrays, and a sort",
  orama: "Orama",
  voy: "voy",
  "hnswlib-wasm": "hnswlib-wasm",
  "hnswlib-wasm, efSearch": "hnswlib-wasm, efSearch 128",
  edgevec: "EdgeVec",
};

/** Those that search what another one has stored. */
const SAME: Partial<Record<IndexName, IndexName>> = { "hnswlib-wasm, efSearch": "hnswlib-wasm" };

const TOP = 10;
const QUERIES = 100;
/** ms for adding vectors. */
const BUILD_MS = 200_000;
/** ms for all searches of one index. */
const SEARCH_MS = 20_000;
const WARM_UP_MS = 1500;

/** Passages of the folder. */
const FOLDER_PASSAGES = 10_000;
const FOLDER = "/target/bench/folder/";

export const ROWS = [1000, 10_000, 100_000];

/** A figure without the load of the machine means little here. */
const busy = (): string => `load average ${loadavg()[0]!.toFixed(1)} on ${availableParallelism()} cores`;

async function openPage(browser: Browser): Promise<Page> {
  const page = await browser.page();
  await page.addScriptTag({ url: "/target/bench/search-page.js" });
  return page;
}

interface Measured extends Built {
  loads: number[];
  /** Why what was stored cannot be opened. */
  unloaded?: string;
  found?: Found;
  recall?: number;
  page?: number;
  resident?: number;
}

export const INDEXES = Object.keys(NAMES) as IndexName[];

export async function measureSearch(
  server: Server,
  sizes: readonly number[],
  indexes: readonly IndexName[],
  isQuick: boolean,
): Promise<void> {
  server.recordsMemory = true;
  const all = queries(QUERIES);
  const rows: Row[] = [];
  for (const size of sizes) {
    log(`search: the exact answers for ${size} rows`);
    const truth = exactBest(size, all, TOP);
    const browser = await Browser.open(server.origin);
    try {
      const done = new Map<IndexName, Measured>();
      for (const name of indexes) {
        log(`search: ${size} rows, ${NAMES[name]}; ${busy()}`);
        const same = SAME[name] && done.get(SAME[name]);
        const measured = await measureIndex(browser, name, size, isQuick ? 1 : 3, same);
        done.set(name, measured);
        if (measured.found) measured.recall = recallOf(measured.found.rows, truth);
        results[`search, ${size}, ${NAMES[name]}`] = { ...measured, load: busy() };
        const row = rowOf(name, size, measured);
        log(row.join(" | "));
        rows.push(row);
      }
    } finally {
      await browser.close();
    }
  }
  server.recordsMemory = false;
  report(
    "search",
    `The ${TOP} best of random unit vectors of 384 dimensions; ${busy()} at the end`,
    [
      "rows",
      "index",
      "build and store, s",
      "file, MB",
      "load, ms",
      "search, ms",
      "95 %",
      "recall@10",
      "page, MB",
      "process, MB",
    ],
    rows,
  );
}

/** Builds it in one page, unless it is there, and opens it in others; what cannot be opened is searched where it was built. */
async function measureIndex(
  browser: Browser,
  name: IndexName,
  size: number,
  visits: number,
  same: Built | undefined,
): Promise<Measured> {
  let page = await openPage(browser);
  const built =
    same ??
    (await page.evaluate(([name, size, limit]) => searchBench.build(name, size, limit), [
      name,
      size,
      BUILD_MS,
    ] as const));
  const measured: Measured = { ...built, loads: [] };
  for (let visit = 0; built.bytes !== undefined && visit < visits; visit++) {
    const next = await openPage(browser);
    const load = await next.evaluate(([name, size]) => searchBench.open(name, size), [name, size] as const);
    if (typeof load === "string") {
      measured.unloaded = load;
      await next.close();
      break;
    }
    await page.close();
    page = next;
    measured.loads.push(load);
  }
  if (built.problem === undefined) {
    measured.found = await page.evaluate(
      ([count, topK, warmUp, limit]) => searchBench.searches(count, topK, warmUp, limit),
      [QUERIES, TOP, WARM_UP_MS, SEARCH_MS] as const,
    );
    measured.page = await memory(page);
    const resident = await browser.resident();
    if (resident) measured.resident = resident.now;
  }
  await page.close();
  return measured;
}

function recallOf(found: readonly number[][], truth: readonly number[][]): number {
  const share = (rows: readonly number[], i: number) => truth[i]!.filter((row) => rows.includes(row)).length / TOP;
  return found.reduce((sum, rows, i) => sum + share(rows, i), 0) / found.length;
}

const atShare = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))]!;

const short = (value: number): string => (value < 10 ? value.toFixed(2) : ms(value));

function rowOf(name: IndexName, size: number, measured: Measured): Row {
  const { build, bytes, unstored, loads, unloaded, found, recall, page, resident, problem } = measured;
  const isScan = found !== undefined && found.candidates.length > 0;
  const search = found ? short(median(found.samples)) : "";
  return [
    size.toLocaleString("en"),
    isScan ? `${NAMES[name]}, leaves ${median(found.candidates)} to score again` : NAMES[name],
    problem ?? (build / 1000).toFixed(build < 10_000 ? 2 : 0),
    bytes === undefined ? (unstored ?? "") : mb1(bytes),
    loads.length > 0 ? ms(median(loads)) : (unloaded ?? ""),
    found && found.own.length > 0 ? `${search}, in the worker ${short(median(found.own))}` : search,
    found ? short(atShare(found.samples, 0.95)) : "",
    // The scan alone gives what is to be scored again.
    recall === undefined || isScan ? "" : recall.toFixed(3),
    page === undefined ? "" : mb(page),
    resident === undefined ? "" : mb(resident),
  ];
}

const mb1 = (bytes: number): string => (bytes / 1e6).toFixed(1);

/** A word for each number; short ones for small numbers. */
function wordOf(number: number): string {
  let word = "";
  for (let rest = number; word.length < 4 || rest > 0; rest = Math.floor(rest / 70))
    word += "bdfgklmnprstvz"[rest % 14]! + "aeiou"[Math.floor(rest / 14) % 5]!;
  return word;
}

/** 20,000 different words, few of which are frequent, as in a language. */
const VOCABULARY = 20_000;

/** What the example `write_folder` reads: random vectors, and texts of 50 to 99 words, four to a document. */
function* passages(): Generator<string> {
  const next = random(1);
  const vectors = corpus();
  yield `${JSON.stringify({ name: "random", dimension: DIMENSION, similarity: "cosine", probes: [] })}\n`;
  let start = 0;
  for (let row = 0; row < FOLDER_PASSAGES; row++) {
    if (row % 4 === 0) start = 0;
    const count = 50 + Math.floor(50 * next());
    const text = times(count, () => wordOf(Math.floor(VOCABULARY * next() ** 3))).join(" ");
    const end = start + text.length;
    const document = `document ${Math.floor(row / 4)}`;
    yield `${JSON.stringify({ document, text, start, end, vector: [...vectors(1)] })}\n`;
    start = end + 1;
  }
}

async function writeFolder(): Promise<void> {
  const example = ["run", "-p", "embervec-search", "--features", "folder", "--example", "write_folder", "--"];
  const stdio: ("pipe" | "inherit")[] = ["pipe", "inherit", "inherit"];
  const child = spawn(process.env["CARGO"] ?? "cargo", [...example, join(out, "folder")], { cwd: root, stdio });
  const closed = once(child, "close");
  await pipeline(passages, child.stdin!);
  const [code] = await closed;
  if (code !== 0) throw new Error(`${example.join(" ")} ended with ${code}`);
}

/** Bytes that an index in a folder of a server costs its visitors. */
export async function measureFolder(server: Server): Promise<void> {
  log(`search: writing a folder of ${FOLDER_PASSAGES} passages`);
  await writeFolder();
  const browser = await Browser.open(server.origin);
  const page = await openPage(browser);
  const rows: Row[] = [];
  const step = async (what: string, action: () => Promise<number>) => {
    const seen = server.sent.length;
    const spent = await action();
    const sent = server.sent.slice(seen).filter(({ url }) => url.startsWith(FOLDER));
    rows.push([what, mb3(sent.reduce((sum, { bytes }) => sum + bytes, 0)), sent.length, ms(spent)]);
  };
  const search = async (query: string | number) => {
    const { ms, hits } = await page.evaluate((query) => searchBench.searchFolder(query), query);
    if (hits === 0) throw new Error(`${query}: nothing was found`);
    return ms;
  };
  await step("SearchIndex.fetch", () => page.evaluate((url) => searchBench.fetchFolder(url), FOLDER));
  await step("a first search by a vector, 10 texts", () => search(0));
  await step("another", () => search(1));
  await step("a first search by a word, 10 texts", () => search(wordOf(100)));
  await browser.close();
  report(
    "folder",
    `A folder of ${FOLDER_PASSAGES.toLocaleString("en")} passages of 384 dimensions on a server; ${busy()}`,
    ["", "read, MB", "requests", "ms"],
    rows,
  );
}

const mb3 = (bytes: number): string => (bytes / 1e6).toFixed(3);

/** Passages a second into an index, beside a loop over transformers.js; and what a query waits meanwhile. */
export async function measureIndexing(server: Server, model: string, onnx: string, isQuick: boolean): Promise<void> {
  // Up to 126 words, each a token: each text is one passage.
  const texts = times(isQuick ? 100 : 400, (i) => textOfWords(20 + ((37 * i) % 107), i));
  const query = textOfTokens(8, 0);
  const rows: Row[] = [];
  const rounds = isQuick ? 1 : 2;
  for (const threads of [1, 2]) {
    const browser = await Browser.open(server.origin);
    const page = await openPage(browser);
    await page.evaluate(([model, threads]) => searchBench.loadEmbedder(model, threads), [model, threads] as const);
    const peer = await browser.page();
    const variant: Variant = { name: "", engine: "transformers.js", dtype: "q8", threads, model: onnx };
    await peer.evaluate((variant) => bench.load(variant), variant);
    const add = (name: string, texts: string[], pause: number) =>
      page.evaluate(([name, texts, query, pause]) => searchBench.addTexts(name, texts, query, pause), [
        name,
        texts,
        query,
        pause,
      ] as const);
    await add("warm-up", texts.slice(0, 50), Infinity);
    await peer.evaluate((texts) => bench.timeEach(texts), texts.slice(0, 50));
    const alone: number[] = [];
    const searched: number[] = [];
    const looped: number[] = [];
    const beside: Latency[] = [];
    const after: Latency[] = [];
    for (let round = 0; round < rounds; round++) {
      log(`indexing ${round + 1}/${rounds}: ${threads} worker(s); ${busy()}`);
      const quiet = await add(`alone ${round}`, texts, Infinity);
      alone.push(quiet.ms);
      after.push(...quiet.after);
      looped.push(await peer.evaluate((texts) => bench.timeEach(texts), texts));
      const disturbed = await add(`beside ${round}`, texts, 300);
      searched.push(disturbed.ms);
      beside.push(...disturbed.beside);
    }
    await browser.close();
    const rate = (spent: number[]): string => ((1000 * texts.length) / median(spent)).toFixed(1);
    const part = (list: Latency[], key: keyof Latency, share = 0.5): string =>
      list.length === 0
        ? ""
        : ms(
            atShare(
              list.map((latency) => latency[key]),
              share,
            ),
          );
    const latencies = [
      part(after, "total"),
      part(beside, "total"),
      part(beside, "total", 0.95),
      part(beside, "encode"),
      part(beside, "search"),
      beside.length,
    ];
    rows.push([`embervec q8, ${threads} worker(s)`, rate(alone), rate(searched), ...latencies]);
    rows.push([`transformers.js q8 in a loop, ${threads} thread(s)`, rate(looped), "", "", "", "", "", "", ""]);
    results[`indexing, ${threads}`] = { alone, searched, looped, beside, after };
  }
  report(
    "indexing",
    `${texts.length} passages of 22 to 128 tokens; ${busy()} at the end`,
    [
      "",
      "passages a second",
      "the same, searched all the while",
      "a query after it, ms",
      "a query meanwhile, ms",
      "95 %",
      "of which encoding",
      "of which the index",
      "queries",
    ],
    rows,
  );
}
