// Where the benchmark runs: its files, its server and its browsers.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { homedir, platform, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import sirv from "sirv";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const out = join(root, "target/bench");
export const onnx = process.env["BENCH_ONNX"] ?? join(homedir(), ".cache/embervec/onnx");
/** Outside the clone, like the ONNX files. */
export const shapes = join(dirname(onnx), "shapes");

const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // Otherwise `measureUserAgentSpecificMemory` waits for a garbage collection of its own choice.
  "--enable-blink-features=ForceEagerMeasureMemory",
];

/**
 * Put before embervec's workers when memory is measured: `measureUserAgentSpecificMemory` counts a shared wasm memory,
 * which transformers.js has, but not an unshared one (Chromium 156), which embervec has.
 */
const MEMORY_RECORDER = `
  const memories = (globalThis.wasmMemories = []);
  for (const name of ["instantiate", "instantiateStreaming"]) {
    const instantiate = WebAssembly[name];
    WebAssembly[name] = async (...args) => {
      const result = await instantiate(...args);
      const exported = Object.values((result.instance ?? result).exports);
      memories.push(...exported.filter((value) => value instanceof WebAssembly.Memory));
      return result;
    };
  }`;

/** Counts what is dispatched, in whichever worker or page it happens. */
const DISPATCH_COUNTER = `
  if (globalThis.GPUComputePassEncoder) {
    const channel = new BroadcastChannel("dispatches");
    for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) {
      const dispatch = GPUComputePassEncoder.prototype[name];
      GPUComputePassEncoder.prototype[name] = function (...args) { channel.postMessage(1); return dispatch.apply(this, args); };
    }
  }
`;

/** Below these the files of other folders are served. */
const FOLDERS = { "/onnx/": onnx, "/shapes/": shapes };

/** The file that an address of the server names. */
export function fileOf(url: string): string {
  const [prefix, folder] = Object.entries(FOLDERS).find(([prefix]) => url.startsWith(prefix)) ?? ["/", root];
  return join(folder, url.slice(prefix.length));
}

/** Isolated from other origins, as memory measurement and threads need it. */
export function isolate(response: ServerResponse): void {
  response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
  response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
}

/** A script that is served with instruments before it. */
export function instrumented(url: string, instruments: { memory?: boolean; dispatches?: boolean }): string | undefined {
  const isWorker = ["/pkg/dist/worker.js", "/pkg/dist/search-worker.js"].includes(url);
  if (instruments.memory && isWorker) return MEMORY_RECORDER + readFileSync(fileOf(url), "utf8");
  if (instruments.dispatches && url === "/pkg/dist/gpu.js")
    return `{${DISPATCH_COUNTER}}${readFileSync(fileOf(url), "utf8")}`;
  return undefined;
}

export interface Server {
  origin: string;
  /** The address of every request, in order. */
  requests: string[];
  /** Bytes of the bodies that were sent. */
  sent: { url: string; bytes: number }[];
  /** Whether workers of embervec tell their wasm memories. */
  recordsMemory: boolean;
  close(): void;
}

/** Serves the repository and the ONNX files. */
export async function serve(countsDispatches: boolean): Promise<Server> {
  const setHeaders = (response: ServerResponse): void => {
    isolate(response);
    response.setHeader("Cache-Control", "public, max-age=3600");
  };
  const files = sirv(root, { dev: true, setHeaders });
  const folders = Object.entries(FOLDERS).map(
    ([prefix, folder]) => [prefix, sirv(folder, { dev: true, setHeaders })] as const,
  );
  const http = createServer((request, response) => {
    const url = request.url ?? "";
    server.requests.push(url);
    response.on("finish", () => server.sent.push({ url, bytes: Number(response.getHeader("content-length") ?? 0) }));
    const script = instrumented(url, { memory: server.recordsMemory, dispatches: countsDispatches });
    if (url === "/blank.html") {
      setHeaders(response);
      response.writeHead(200, { "content-type": "text/html" });
      const counter = countsDispatches ? `<script>{${DISPATCH_COUNTER}}</script>` : "";
      response.end(`<!doctype html><title>benchmark</title>${counter}<script src="/target/bench/page.js"></script>`);
    } else if (script !== undefined) {
      setHeaders(response);
      response.writeHead(200, { "content-type": "text/javascript" });
      response.end(script);
    } else {
      const [prefix, models] = folders.find(([prefix]) => url.startsWith(prefix)) ?? ["/", files];
      request.url = url.slice(prefix.length - 1);
      models(request, response, () => void response.writeHead(404).end());
    }
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const { port } = http.address() as AddressInfo;
  const server: Server = {
    origin: `http://127.0.0.1:${port}`,
    requests: [],
    sent: [],
    recordsMemory: false,
    close: () => http.close(),
  };
  return server;
}

/** What other libraries' bundles have. */
const PEERS = {
  "transformers.js": 'export { env, pipeline } from "@huggingface/transformers";',
  "orama.js": 'export { create, insertMultiple, load, save, search } from "@orama/orama";',
  "voy.js": 'export * from "voy-search/voy_search_bg.js";',
  "hnswlib.js": 'export { defaultParams, hnswParamsForAda, loadHnswlib } from "hnswlib-wasm";',
  "edgevec.js": 'export { default, EdgeVec, EdgeVecConfig } from "edgevec/edgevec.js";',
};

/** The harness, and other libraries bundled as an application would; embervec is served as it is published. */
export async function bundle(): Promise<void> {
  const common = { bundle: true, minify: true, format: "esm", target: "es2022", logLevel: "error" } as const;
  await build({
    ...common,
    entryPoints: ["page.ts", "search-page.ts", "storage.ts"].map((file) => join(root, "tests/bench", file)),
    outdir: out,
  });
  const resolveDir = join(root, "tests/bench");
  for (const [file, contents] of Object.entries(PEERS))
    await build({ ...common, stdin: { contents, resolveDir }, outfile: join(out, file) });
}

export class Browser {
  private constructor(
    readonly context: BrowserContext,
    private readonly origin: string,
    private readonly profile: string,
  ) {}

  /** With an empty profile on the disk: a private window would keep IndexedDB and the caches in memory. */
  static async open(origin: string, flags: string[] = []): Promise<Browser> {
    const profile = mkdtempSync(join(tmpdir(), "embervec-bench-"));
    const executablePath = process.env["CHROME"] ?? "chromium";
    const context = await chromium.launchPersistentContext(profile, { executablePath, args: [...FLAGS, ...flags] });
    context.setDefaultTimeout(600_000);
    return new Browser(context, origin, profile);
  }

  async page(path = "/blank.html"): Promise<Page> {
    const page = await this.context.newPage();
    await page.goto(this.origin + path);
    return page;
  }

  /** The page's renderer process: resident bytes now and at most, from Linux's own books. */
  async resident(): Promise<{ now: number; peak: number } | undefined> {
    if (platform() !== "linux") return undefined;
    const session = await this.context.browser()!.newBrowserCDPSession();
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    await session.detach();
    const sizes = processInfo
      .filter(({ type }) => type === "renderer")
      .map(({ id }) => {
        const status = readFileSync(`/proc/${id}/status`, "utf8");
        const read = (key: string): number => Number(new RegExp(`${key}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
        return { now: read("VmRSS"), peak: read("VmHWM") };
      });
    // The other renderers, if any, are empty spares.
    return sizes.reduce((most, size) => (size.peak > most.peak ? size : most));
  }

  async close(): Promise<void> {
    await this.context.close();
    rmSync(this.profile, { recursive: true, force: true });
  }
}

/** Bytes of a page with its workers, wasm memories included. */
export async function memory(page: Page): Promise<number> {
  return (await page.evaluate(() => bench.memory())) + (await wasmHeap(page));
}

/** Bytes of the wasm memories of a page's workers, which never shrink. */
export async function wasmHeap(page: Page): Promise<number> {
  const wasm = await Promise.all(
    page.workers().map((worker) =>
      worker.evaluate(() => {
        const { wasmMemories = [] } = globalThis as { wasmMemories?: WebAssembly.Memory[] };
        return wasmMemories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
      }),
    ),
  );
  return wasm.reduce((sum, bytes) => sum + bytes, 0);
}
