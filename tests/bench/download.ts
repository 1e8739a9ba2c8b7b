// Part `download` of the benchmark: what a first and a later visit fetch, how long they take, what an interruption costs.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { readFile, stat } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";

import type { Page } from "playwright-core";

import { Browser, fileOf, instrumented, isolate, memory, wasmHeap } from "./host.ts";
import type { Variant } from "./page.ts";
import { type Row, log, median, report, results } from "./report.ts";
import type { StorageKind, StorageTimes } from "./storage.ts";

const NETWORK = {
  /** Bytes a second of 50 Mbit/s. */
  rate: 50e6 / 8,
  /** ms before each answer. */
  latency: 20,
};

const STORAGES: StorageKind[] = ["IndexedDB", "OPFS, one file", "OPFS, a file each"];

const WEIGHTS = /\.(safetensors|onnx)$/;
const TYPES: Record<string, string> = {
  html: "text/html",
  js: "text/javascript",
  mjs: "text/javascript",
  wasm: "application/wasm",
  json: "application/json",
};

/** A host of code and models with a network in front of it. */
class Host {
  /** Bytes a second of all answers together. */
  rate = Infinity;
  latency = 0;
  recordsMemory = false;
  compressesWeights = false;
  /** Called for each piece that is sent of a weight file. */
  onWeights: (() => void) | undefined;
  requests = 0;
  /** Bytes of bodies. */
  sent = 0;
  sentOfWeights = 0;
  /** Bytes of the weight file that was asked for last, as it is on the disk. */
  sizeOfWeights = 0;
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  readonly #files = new Map<string, Buffer>();
  /** When the network can take the next piece. */
  #freeAt = 0;

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  slow(isSlow: boolean): void {
    this.rate = isSlow ? NETWORK.rate : Infinity;
    this.latency = isSlow ? NETWORK.latency : 0;
  }

  forget(): void {
    this.requests = this.sent = this.sentOfWeights = 0;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = (request.url ?? "").split("?")[0]!;
    if (url === "/favicon.ico") return void response.writeHead(404).end();
    this.requests += 1;
    isolate(response);
    const isWeights = WEIGHTS.test(url);
    // A hub redirects to a signed address that is another one each time, so the browser's own cache has no part in models.
    const isModel = /^\/(www|onnx)\//.test(url);
    response.setHeader("Cache-Control", isModel ? "no-store" : "public, max-age=3600");
    await new Promise((resolve) => setTimeout(resolve, this.latency));
    // A request for a part says that it takes no compression.
    if (isWeights) this.sizeOfWeights = (await stat(fileOf(url))).size;
    const compresses =
      (this.compressesWeights || !isWeights) && /\bbr\b/.test(String(request.headers["accept-encoding"]));
    const file = await this.#read(url, compresses).catch(() => undefined);
    if (!file) return void response.writeHead(404).end();
    if (compresses) response.setHeader("Content-Encoding", "br");
    else response.setHeader("Accept-Ranges", "bytes");
    response.setHeader("ETag", compresses ? '"br"' : '"1"');
    response.setHeader("Content-Type", TYPES[url.split(".").at(-1)!] ?? "application/octet-stream");
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(compresses ? "" : (request.headers.range ?? "")) ?? [];
    const start = Number(from ?? 0);
    const end = to ? Number(to) + 1 : file.length;
    if (from !== undefined) response.setHeader("Content-Range", `bytes ${start}-${end - 1}/${file.length}`);
    response.writeHead(from === undefined ? 200 : 206, { "Content-Length": end - start });
    if (request.method === "HEAD") return void response.end();
    await this.#send(response, file.subarray(start, end), isWeights);
  }

  async #read(url: string, compresses: boolean): Promise<Buffer> {
    const script = instrumented(url, { memory: this.recordsMemory });
    const key = `${url} ${compresses} ${script !== undefined}`;
    let file = this.#files.get(key);
    if (!file) {
      file =
        url === "/visit.html"
          ? Buffer.from(VISIT)
          : script === undefined
            ? await readFile(fileOf(url))
            : Buffer.from(script);
      if (compresses) file = await compressed(file, WEIGHTS.test(url));
      this.#files.set(key, file);
    }
    return file;
  }

  async #send(response: ServerResponse, bytes: Buffer, isWeights: boolean): Promise<void> {
    // 64 kB are 10 ms of the slow network.
    for (let at = 0; at < bytes.length; at += 65536) {
      const piece = bytes.subarray(at, at + 65536);
      const now = performance.now();
      this.#freeAt = Math.max(now, this.#freeAt) + (1000 * piece.length) / this.rate;
      if (this.#freeAt > now) await new Promise((resolve) => setTimeout(resolve, this.#freeAt - now));
      if (response.destroyed) return;
      this.sent += piece.length;
      if (isWeights) this.sentOfWeights += piece.length;
      const isTaken = response.write(piece);
      if (isWeights) this.onWeights?.();
      if (!isTaken) await settled(response);
    }
    response.end();
  }
}

/** Resolves when a response takes more, or nothing any more. */
function settled(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}

/** The weights' quality is that of `embervec-pack`'s report; a higher one takes a minute for 0.3 %. */
function compressed(bytes: Buffer, isWeights: boolean): Promise<Buffer> {
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: isWeights ? 5 : 11,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  };
  return promisify(brotliCompress)(bytes, { params });
}

/** Begins at once; what the address says to load, in JSON. */
const VISIT = `<!doctype html><title>visit</title><script src="/target/bench/page.js"></script>
<script>
  globalThis.visit = bench.load(JSON.parse(decodeURIComponent(location.search.slice(1)))).then(() => performance.now());
</script>`;

declare global {
  /** ms from the navigation to the first vector. */
  var visit: Promise<number>;
}

const open = (browser: Browser, variant: Variant): Promise<Page> =>
  browser.page(`/visit.html?${encodeURIComponent(JSON.stringify(variant))}`);
const visited = (page: Page): Promise<number> => page.evaluate(() => visit);
const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);
const seconds = (ms: number): string => (ms / 1000).toFixed(2);

interface Visit extends Variant {
  compressed?: boolean;
}

/** `variants`: the first is packed, and is measured compressed as well. */
export async function measureDownload(variants: Variant[], rounds: number): Promise<void> {
  const [packed, ...others] = variants;
  const visits: Visit[] = [packed!, { ...packed!, name: `${packed!.name}, br`, compressed: true }, ...others];
  const host = new Host();
  const origin = await host.listen();
  try {
    // Compressed once and compiled once, so that the first round is like the others.
    for (const visit of visits) await firstAndSecond(host, origin, visit);
    await measureVisits(host, origin, visits, rounds);
    await measureInterruption(host, origin, visits);
    await measureLoadingMemory(host, origin, visits);
  } finally {
    host.close();
  }
}

interface Fetched {
  ms: number;
  bytes: number;
  requests: number;
}

async function visitOnce(host: Host, browser: Browser, visit: Visit): Promise<Fetched> {
  host.compressesWeights = visit.compressed ?? false;
  host.forget();
  const page = await open(browser, visit);
  const ms = await visited(page);
  // What is written to the caches after the engine is ready.
  await page.waitForTimeout(1500);
  await page.close();
  return { ms, bytes: host.sent, requests: host.requests };
}

async function firstAndSecond(host: Host, origin: string, visit: Visit): Promise<{ first: Fetched; second: Fetched }> {
  const browser = await Browser.open(origin);
  try {
    const first = await visitOnce(host, browser, visit);
    return { first, second: await visitOnce(host, browser, visit) };
  } finally {
    await browser.close();
  }
}

async function measureVisits(host: Host, origin: string, visits: Visit[], rounds: number): Promise<void> {
  const samples = new Map<string, { cold: number[]; warm: number[] }>();
  const fetched = new Map<string, Fetched[]>();
  for (let round = 0; round < rounds; round++) {
    for (const isSlow of [false, true]) {
      host.slow(isSlow);
      for (const visit of visits) {
        log(`download ${round + 1}/${rounds}: ${visit.name}, ${isSlow ? "50 Mbit/s" : "local"}`);
        const { first, second } = await firstAndSecond(host, origin, visit);
        const key = `${visit.name}, ${isSlow}`;
        const sample = samples.get(key) ?? { cold: [], warm: [] };
        samples.set(key, sample);
        sample.cold.push(first.ms);
        sample.warm.push(second.ms);
        fetched.set(visit.name, [first, second]);
      }
    }
  }
  host.slow(false);
  const time = (name: string, isSlow: boolean, visit: "cold" | "warm") =>
    seconds(median(samples.get(`${name}, ${isSlow}`)![visit]));
  report(
    "download",
    `From navigation to the first vector (medians of ${rounds}), and what was fetched`,
    [
      "",
      "first visit, MB",
      "requests",
      "second visit, MB",
      "requests ",
      "cold, local, s",
      "cold, 50 Mbit/s, s",
      "warm, local, s",
      "warm, 50 Mbit/s, s",
    ],
    visits.map(({ name }) => {
      const [first, second] = fetched.get(name)!;
      return [
        name,
        ...[first!, second!].flatMap(({ bytes, requests }) => [mb(bytes), requests]),
        time(name, false, "cold"),
        time(name, true, "cold"),
        time(name, false, "warm"),
        time(name, true, "warm"),
      ];
    }),
  );
  results["downloadSamplesMs"] = Object.fromEntries(samples);
}

/** The tab is closed when half of the weights have come, and the page is opened again. */
async function measureInterruption(host: Host, origin: string, visits: Visit[]): Promise<void> {
  host.slow(true);
  const rows: Row[] = [];
  for (const visit of visits) {
    log(`download: interrupted, ${visit.name}`);
    host.compressesWeights = visit.compressed ?? false;
    const browser = await Browser.open(origin);
    // An undisturbed visit tells what half is.
    host.forget();
    await visited(await open(browser, visit));
    const all = host.sentOfWeights;
    await browser.close();

    const another = await Browser.open(origin);
    host.forget();
    const half = new Promise<void>((resolve) => (host.onWeights = () => host.sentOfWeights >= all / 2 && resolve()));
    const page = await open(another, visit);
    await half;
    await page.close();
    const before = host.sentOfWeights;
    host.onWeights = undefined;
    host.forget();
    await visited(await open(another, visit));
    const share = `${((100 * host.sentOfWeights) / host.sizeOfWeights).toFixed(0)} %`;
    rows.push([visit.name, mb(host.sizeOfWeights), mb(all), mb(before), mb(host.sentOfWeights), share]);
    await another.close();
  }
  host.slow(false);
  report(
    "interruption",
    "The tab is closed at half of the weights, and opened again",
    ["", "file, MB", "undisturbed, MB", "before, MB", "after, MB", "after, of the file"],
    rows,
  );
}

/** On the slow network, so that there are many samples before the end. */
async function measureLoadingMemory(host: Host, origin: string, visits: Visit[]): Promise<void> {
  host.slow(true);
  host.recordsMemory = true;
  const rows: Row[] = [];
  for (const visit of visits) {
    log(`download: memory, ${visit.name}`);
    host.compressesWeights = visit.compressed ?? false;
    const browser = await Browser.open(origin);
    const page = await open(browser, visit);
    const samples: number[] = [];
    let isLoading = true;
    void visited(page).finally(() => (isLoading = false));
    while (isLoading) samples.push(await memory(page));
    await visited(page);
    const loaded = await memory(page);
    const heap = await wasmHeap(page);
    const peak = Math.max(...samples, loaded);
    const process = await browser.resident();
    rows.push([
      visit.name,
      samples.length,
      mb(loaded),
      mb(peak),
      mb(peak - loaded),
      heap > 0 ? mb(heap) : "–",
      process ? mb(process.peak) : "–",
    ]);
    await browser.close();
  }
  host.slow(false);
  host.recordsMemory = false;
  report(
    "loadingMemory",
    "Memory of a first visit at 50 Mbit/s, MB",
    ["", "samples", "page, loaded", "page, peak", "peak over loaded", "wasm of workers, loaded", "process, peak"],
    rows,
  );
}

/** Which of the browser's storages is the fastest for a model's chunks. */
export async function measureStorages(origin: string, rounds: number): Promise<void> {
  const samples = new Map<string, StorageTimes[]>();
  for (let round = 0; round < rounds; round++) {
    log(`storages ${round + 1}/${rounds}`);
    const browser = await Browser.open(origin);
    for (const action of ["write", "read"] as const) {
      for (const kind of STORAGES) {
        // In a page of its own, as a later visit is.
        const page = await browser.page();
        const times = await page.evaluate(
          ([kind, action]) =>
            new Promise<StorageTimes | string>((resolve) => {
              const worker = new Worker("/target/bench/storage.js", { type: "module" });
              worker.onmessage = ({ data }) => resolve(data);
              worker.onerror = ({ message }) => resolve(message);
              worker.postMessage([kind, action]);
            }),
          [kind, action] as const,
        );
        if (typeof times === "string") throw new Error(times);
        const key = `${kind}: ${action}`;
        samples.set(key, [...(samples.get(key) ?? []), times]);
        await page.close();
      }
    }
    await browser.close();
  }
  report(
    "storages",
    `The browser's storages alone: 44 pieces of 512 kB (medians of ${rounds})`,
    ["", "open, ms", "open and all pieces, ms"],
    [...samples].map(([key, times]) => [
      key,
      median(times.map(({ open }) => open)).toFixed(1),
      median(times.map(({ all }) => all)).toFixed(0),
    ]),
  );
}
