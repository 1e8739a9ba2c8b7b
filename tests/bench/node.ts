// From `npm install` to vectors in Node, beside transformers.js: sizes, times on a line of 50 Mbit/s, memory.

import { execFile, spawn } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import {
  createServer,
  get as plain,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { get as secure } from "node:https";
import type { AddressInfo } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { onnx, root } from "./host.ts";
import { log, mb, median, report, type Row, times } from "./report.ts";
import { mixedTexts, textOfWords } from "./workloads.ts";

const run = promisify(execFile);
const BYTES_PER_MS = 50e6 / 8 / 1000;
const TRANSFORMERS = "4.3.1";

/** What a project installs, and the model that it loads: `id` of a hub, or the address of a folder. */
interface Peer {
  name: string;
  engine: "embervec" | "transformers.js";
  install: (line: Line) => string;
  model: (line: Line) => string;
}

const PEERS: Peer[] = [
  {
    name: "embervec q8, packed folder",
    engine: "embervec",
    install: ({ origin }) => `${origin}/embervec.tgz`,
    model: ({ origin }) => `${origin}/packed/`,
  },
  {
    name: "embervec q8, hub id",
    engine: "embervec",
    install: ({ origin }) => `${origin}/embervec.tgz`,
    model: () => "all-MiniLM-L6-v2",
  },
  {
    name: "transformers.js q8",
    engine: "transformers.js",
    install: () => `@huggingface/transformers@${TRANSFORMERS}`,
    model: () => "onnx",
  },
];

/** Runs in the project that has installed one of them. */
const SCRIPT = `
  const { engine, model, origin, threads, texts } = JSON.parse(process.argv[2]);
  const start = performance.now();
  const since = () => performance.now() - start;
  let embed;
  if (engine === "embervec") {
    const { Embedder } = await import("embervec");
    const embedder = await Embedder.load(model, { hub: origin, dtype: "q8", workers: threads });
    embed = (texts) => embedder.encode(texts);
  } else {
    const { env, pipeline } = await import("@huggingface/transformers");
    env.remoteHost = origin;
    const session_options = { intraOpNumThreads: threads };
    const extract = await pipeline("feature-extraction", model, { dtype: "q8", session_options });
    embed = (texts) => extract(texts, { pooling: "mean", normalize: true });
  }
  await embed(["a text"]);
  const first = since();
  const speeds = {};
  for (const [name, list] of Object.entries(texts)) {
    await embed(list);
    const rounds = [];
    for (let i = 0; i < 5; i++) {
      const begun = performance.now();
      await embed(list);
      rounds.push(performance.now() - begun);
    }
    speeds[name] = (1000 * list.length) / rounds.sort((a, b) => a - b)[2];
  }
  console.log(JSON.stringify({ first, speeds, rss: process.resourceUsage().maxRSS * 1024 }));
  process.exit();
`;

interface Measured {
  /** Milliseconds from the start of the script's own code. */
  first: number;
  /** Texts a second. */
  speeds: Record<string, number>;
  /** Peak, bytes. */
  rss: number;
}

/** A registry, a hub and a web server at the end of one line. */
class Line {
  private constructor(
    readonly origin: string,
    readonly close: () => void,
    private readonly state: { isSlow: boolean; bytes: number },
  ) {}

  /** @param tarball embervec's */
  static async open(tarball: string): Promise<Line> {
    const registry = (await run("npm", ["config", "get", "registry"])).stdout.trim().replace(/\/$/, "");
    const state = { isSlow: true, bytes: 0 };
    const server = createServer((request, response) => {
      answer(decodeURI(request.url ?? "/"), request.headers, response).catch((error: unknown) => {
        log(`${request.url}: ${String(error)}`);
        response.destroy();
      });
    });
    let free = 0;
    /** All responses share the line. */
    const send = async (response: ServerResponse, body: AsyncIterable<Uint8Array>) => {
      for await (const bytes of body) {
        // Nobody waits for the rest any more.
        if (response.destroyed) return;
        if (response.req.url?.endsWith(".tgz")) state.bytes += bytes.byteLength;
        free = Math.max(free, performance.now()) + bytes.byteLength / BYTES_PER_MS;
        const wait = free - performance.now();
        if (state.isSlow && wait > 1) await new Promise((resolve) => setTimeout(resolve, wait));
        response.write(bytes);
      }
      response.end();
    };
    /** As hubs do: with an ETag, and in parts. */
    const sendFile = async (response: ServerResponse, path: string, range = "") => {
      const { size } = await stat(path).catch(() => ({ size: -1 }));
      if (size < 0) return void response.writeHead(404).end();
      const [isPart, from = 0, to = ""] = /^bytes=(\d+)-(\d*)$/.exec(range) ?? [];
      const [start, end] = [Number(from), to === "" ? size - 1 : Math.min(Number(to), size - 1)];
      if (isPart && start >= size) return void response.writeHead(416, { "content-range": `bytes */${size}` }).end();
      response.writeHead(isPart ? 206 : 200, {
        "content-length": end - start + 1,
        "accept-ranges": "bytes",
        etag: `"${size}"`,
        ...(isPart && { "content-range": `bytes ${start}-${end}/${size}` }),
      });
      return send(response, createReadStream(path, { start, end }) as AsyncIterable<Uint8Array>);
    };
    const folders: [prefix: string, folder: string][] = [
      ["/packed/", join(root, "www/dist/models/all-MiniLM-L6-v2/")],
      ["/all-MiniLM-L6-v2/resolve/main/", join(root, "www/models/all-MiniLM-L6-v2/")],
      ["/onnx/resolve/main/", join(onnx, "all-MiniLM-L6-v2/")],
    ];
    const answer = async (url: string, headers: IncomingHttpHeaders, response: ServerResponse): Promise<void> => {
      if (url === "/embervec.tgz") return sendFile(response, tarball);
      const [prefix, folder] = folders.find(([prefix]) => url.startsWith(prefix)) ?? [];
      if (prefix && folder) return sendFile(response, join(folder, url.slice(prefix.length)), headers.range);
      const address = registry + url.replaceAll(" ", "%20").replace(/^\/@([^/]+)\/(?!.*\/-\/)/, "/@$1%2f");
      const { accept = "*/*", "accept-encoding": encoding = "identity" } = headers;
      // As compressed as the registry sends it, which `fetch` would undo.
      const upstream = await new Promise<IncomingMessage>((resolve, reject) => {
        const get = address.startsWith("https:") ? secure : plain;
        get(address, { headers: { accept, "accept-encoding": encoding } }, resolve).on("error", reject);
      });
      const passed = ["content-type", "content-encoding", "location"] as const;
      const kept = passed.flatMap((name) => (upstream.headers[name] ? [[name, upstream.headers[name]] as const] : []));
      response.writeHead(upstream.statusCode ?? 502, Object.fromEntries(kept));
      return send(response, upstream);
    };
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return new Line(origin, () => server.close(), state);
  }

  /** Bytes of packages that come over it during an action: what is said of packages not every registry compresses. */
  async counts(action: () => Promise<void>): Promise<number> {
    const before = this.state.bytes;
    await action();
    return this.state.bytes - before;
  }
}

async function sizeOf(path: string): Promise<number> {
  const entries = await readdir(path, { withFileTypes: true, recursive: true });
  const sizes = entries.filter((entry) => entry.isFile()).map((entry) => stat(join(entry.parentPath, entry.name)));
  return (await Promise.all(sizes)).reduce((sum, { size }) => sum + size, 0);
}

/** Of one installation: bytes, and milliseconds. */
interface Cell {
  installed: number;
  transferred: number;
  install: number;
  cold: number;
  warm: number;
}

/** Makes a project that has a peer installed. */
async function install(
  project: string,
  peer: Peer,
  line: Line,
): Promise<Pick<Cell, "installed" | "transferred" | "install">> {
  await mkdir(project);
  await writeFile(join(project, "package.json"), '{ "name": "app", "private": true, "type": "module" }');
  await writeFile(join(project, "first.mjs"), SCRIPT);
  const npm = ["install", peer.install(line), "--ignore-scripts", "--no-audit", "--no-fund", "--registry", line.origin];
  npm.push("--replace-registry-host", "always", "--cache", join(project, ".npm"));
  const begun = performance.now();
  const transferred = await line.counts(async () => void (await run("npm", npm, { cwd: project })));
  const spent = performance.now() - begun;
  return { transferred, install: spent, installed: await sizeOf(join(project, "node_modules")) };
}

/** Runs the script in a process of its own. */
async function firstVector(
  project: string,
  { engine, model }: Peer,
  line: Line,
  threads: number,
  texts: Record<string, string[]>,
): Promise<Measured> {
  const given = { engine, model: model(line), origin: line.origin, threads, texts };
  return JSON.parse((await output(project, JSON.stringify(given))).stdout) as Measured;
}

/** @param quick one round each */
export async function measureNode(quick: boolean): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "embervec-bench-node-"));
  const packed = await run("npm", ["pack", "--json", "--pack-destination", folder], { cwd: join(root, "pkg") });
  const [{ filename }] = JSON.parse(packed.stdout) as [{ filename: string }];
  const line = await Line.open(join(folder, filename));
  const texts = {
    "64 of 12 words": times(64, (i) => textOfWords(12, i)),
    "32 of 5 to 200 words": mixedTexts(32),
  };
  const threads = [1, 2].filter((count) => count <= availableParallelism());
  const measured = PEERS.map((peer) => ({
    peer,
    cells: [] as Cell[],
    speeds: new Map<number, Measured[]>(threads.map((count) => [count, []])),
  }));
  try {
    for (let round = 0; round < (quick ? 1 : 3); round++) {
      // They take turns: what else the machine does hits all of them.
      for (const { peer, cells, speeds } of measured) {
        log(`Node ${round + 1}: ${peer.name}`);
        const project = join(folder, String(cells.length + 10 * PEERS.indexOf(peer)));
        const installed = await install(project, peer, line);
        const first = (count: number, isTimed: boolean) =>
          firstVector(project, peer, line, count, isTimed ? texts : {});
        const cold = await first(1, false);
        const warm = await first(1, false);
        cells.push({ ...installed, cold: cold.first, warm: warm.first });
        for (const count of threads) speeds.get(count)!.push(await first(count, true));
        await rm(project, { recursive: true, force: true });
      }
    }
  } finally {
    line.close();
    await rm(folder, { recursive: true, force: true });
  }
  const columns = measured.map(({ cells, speeds }): Row => {
    const of = (key: keyof Cell) => median(cells.map((cell) => cell[key]));
    const speed = (count: number, list: string) =>
      median(speeds.get(count)!.map(({ speeds }) => speeds[list]!)).toFixed(0);
    return [
      mb(of("transferred")),
      mb(of("installed")),
      ...(["install", "cold", "warm"] as const).map((key) => (of(key) / 1000).toFixed(2)),
      ...threads.flatMap((count) => Object.keys(texts).map((list) => speed(count, list))),
      ...threads.map((count) => mb(median(speeds.get(count)!.map(({ rss }) => rss)))),
    ];
  });
  const rows = [
    "`npm install`, MB of packages",
    "`npm install`, MB on disk",
    "`npm install`, s",
    "first vector, model not cached, s",
    "first vector, model cached, s",
    ...threads.flatMap((count) => Object.keys(texts).map((list) => `${list}, ${count} thread(s), texts/s`)),
    ...threads.map((count) => `peak memory, ${count} thread(s), MB`),
  ].map((what, i): Row => [what, ...columns.map((column) => column[i]!)]);
  const title = `In Node ${process.versions.node}, on a line of 50 Mbit/s`;
  report("node", title, ["", ...PEERS.map(({ name }) => name)], rows);
}

/** What the script prints; what it says on the way is passed on. */
function output(project: string, argument: string): Promise<{ stdout: string }> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, EMBERVEC_CACHE: join(project, ".models") };
    const child = spawn(process.execPath, ["first.mjs", argument], {
      cwd: project,
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve({ stdout }) : reject(new Error(`first.mjs ended with ${code}`))));
  });
}
