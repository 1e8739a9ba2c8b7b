// A model host on its own origin, which answers single files wrongly when told to.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

/** Answers instead of the server; `body` is what the file holds, empty where there is none. */
export type Answer = (response: ServerResponse, body: Buffer, request: IncomingMessage) => void;

export interface ModelRequest {
  path: string;
  headers: IncomingHttpHeaders;
  /** Bytes of the body that have been handed to the connection. */
  sent: number;
}

export interface ModelServer {
  origin: string;
  /** Every request but CORS preflights, in order. */
  requests: ModelRequest[];
  /** Wrong answers by path. */
  answers: Map<string, Answer>;
  /** Resolves as soon as the path is asked for. */
  requested(path: string): Promise<void>;
  /** Nobody listens any more, until the same server is started again. */
  stop(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

const MODELS = fileURLToPath(new URL("../fixtures/models", import.meta.url));

/** The model `owner/name` of this hub, and the same model without its manifest. */
const ALIAS = /^\/(?:owner\/name\/(resolve|raw)\/main|api\/(resolve)-cache\/owner\/name|plain)\//;

/**
 * Serves folders of models, those of `tests/fixtures/models` where no others are named. One of them is also `owner/name` of a hub, its
 * files with their git hashes as ETags, behind a redirect, and pointers in place of its weights, and `plain`; both without its
 * manifest.
 */
export async function serveModels(folder = MODELS, alias = "tiny-cls"): Promise<ModelServer> {
  const requests: ModelServer["requests"] = [];
  const answers: ModelServer["answers"] = new Map();
  const waiting = new Map<string, () => void>();
  const server = createServer(async (request, response) => {
    const path = request.url ?? "";
    response.setHeader("access-control-allow-origin", "*");
    if (request.method === "OPTIONS") {
      const headers = request.headers["access-control-request-headers"] ?? "";
      response.writeHead(204, { "access-control-allow-headers": headers }).end();
      return;
    }
    const entry: ModelRequest = { path, headers: request.headers, sent: 0 };
    requests.push(entry);
    count(response, entry);
    waiting.get(path)?.();
    const [isAlias, hubView, cacheView] = ALIAS.exec(path) ?? [];
    const view = hubView ?? cacheView;
    const isThere = !isAlias || !path.endsWith("/manifest.json");
    const body = isThere
      ? await readFile(join(folder, path.replace(ALIAS, `/${alias}/`))).catch(() => undefined)
      : undefined;
    const isInGit = hubView === "resolve" && !path.endsWith(".safetensors");
    const ofHub = isInGit ? redirects(path.replace(ALIAS, "/api/resolve-cache/owner/name/")) : hubSends;
    const good = view === undefined ? sends() : view === "resolve" ? ofHub : sendsPointer;
    const answer = answers.get(path) ?? (body ? good : status(404));
    answer(response, body ?? Buffer.alloc(0), request);
  });
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const stop = () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    return closed;
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    requests,
    answers,
    requested: (path) => new Promise((resolve) => waiting.set(path, resolve)),
    stop,
    start: () => listen(port),
    close: stop,
  };
}

function count(response: ServerResponse, entry: ModelRequest): void {
  const write = response.write.bind(response) as (...args: unknown[]) => boolean;
  const end = response.end.bind(response) as (...args: unknown[]) => ServerResponse;
  const counted = (args: unknown[]) => {
    if (args[0] instanceof Buffer) entry.sent += args[0].byteLength;
    return args;
  };
  response.write = (...args: unknown[]) => write(...counted(args));
  // It would give its bytes to `write`, and count them again.
  response.end = ((...args: unknown[]) => {
    response.write = write as typeof response.write;
    return end(...counted(args));
  }) as typeof response.end;
}

/** The file as it is, or something else in its place. */
export function sends(
  content?: Buffer | string | ((body: Buffer) => Buffer),
  type = "application/octet-stream",
): Answer {
  return (response, body) => {
    const sent = typeof content === "function" ? content(body) : Buffer.from(content ?? body);
    response.writeHead(200, { "content-type": type, "content-length": sent.length }).end(sent);
  };
}

/** What a host is about to answer. */
export interface Sent {
  status: number;
  headers: Record<string, string | number>;
  bytes: Buffer;
}

export interface HostOptions {
  /** What tells the page which version of the file it is; a machine of a host may have another than its neighbour. */
  etag?: string | (() => string);
  /** What becomes of the answer to a range, and of that to a request without one. */
  part?: (sent: Sent, body: Buffer) => Sent;
  whole?: (sent: Sent, body: Buffer) => Sent;
  /** Whether it gives parts of files. */
  ranges?: boolean;
  /** The connection is dropped after so many bytes of a body. */
  dropsAfter?: number;
  /** Bytes per 10 ms. */
  speed?: number;
  /** What it makes of a body's bytes, given where they begin in the file. */
  alters?: (bytes: Buffer, from: number) => Buffer;
}

/** As most static hosts and CDNs: with parts of files, and headers that other origins may see. */
export function hosts({
  etag,
  ranges = true,
  dropsAfter = Infinity,
  speed = Infinity,
  alters = (bytes) => bytes,
  part = (sent) => sent,
  whole = (sent) => sent,
}: HostOptions = {}): Answer {
  return (response, body, request) => {
    const tag = typeof etag === "function" ? etag() : (etag ?? `"${createHash("md5").update(body).digest("hex")}"`);
    const condition = request.headers["if-range"];
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    const isPart = ranges && from !== undefined && (condition === undefined || condition === tag);
    const start = isPart ? Number(from) : 0;
    const end = isPart && to ? Number(to) + 1 : body.length;
    if (start >= body.length && isPart) {
      const none = { status: 416, headers: { "content-range": `bytes */${body.length}` }, bytes: Buffer.alloc(0) };
      const { status, headers, bytes } = part(none, body);
      return void response.writeHead(status, headers).end(bytes);
    }
    const headers = {
      etag: tag,
      "content-length": end - start,
      "access-control-expose-headers": "ETag, Content-Range, Accept-Ranges",
      ...(ranges ? { "accept-ranges": "bytes" } : {}),
      ...(isPart ? { "content-range": `bytes ${start}-${end - 1}/${body.length}` } : {}),
    };
    const bytes = alters(Buffer.from(body.subarray(start, end)), start);
    const sent = isPart ? part({ status: 206, headers, bytes }, body) : whole({ status: 200, headers, bytes }, body);
    response.writeHead(sent.status, sent.headers);
    void sendSlowly(response, sent.bytes, Math.min(dropsAfter, sent.bytes.length), speed);
  };
}

async function sendSlowly(response: ServerResponse, bytes: Buffer, limit: number, speed: number): Promise<void> {
  const step = Math.min(speed, 64 << 10);
  let isClosed = false;
  let goOn = () => {};
  response.on("drain", () => goOn());
  response.on("close", () => {
    isClosed = true;
    goOn();
  });
  for (let at = 0; at < limit && !isClosed; at += step) {
    const isFree = response.write(bytes.subarray(at, Math.min(at + step, limit)));
    // So that what is counted as sent has mostly arrived.
    if (!isFree && !isClosed) await new Promise<void>((resolve) => (goOn = resolve));
    if (speed < Infinity) await sleep(10);
  }
  if (limit === bytes.length) return void response.end();
  // A reset takes with it what the other side has not read; on a slower line than this machine's own that is little.
  await sleep(500);
  response.destroy();
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** As Hugging Face's hub: the ETag of a file in git is its hash there. */
export const hubSends: Answer = (response, body, request) => {
  const blob = createHash("sha1").update(`blob ${body.length}\0`).update(body).digest("hex");
  hosts({ etag: `"${blob}"` })(response, body, request);
};

/** Of a large file git has only a pointer. */
const sendsPointer: Answer = (response, body, request) => {
  const isLarge = request.url?.endsWith(".safetensors");
  response.end(isLarge ? pointerTo(body) : body);
};

export function pointerTo(body: Buffer): Buffer {
  return Buffer.from(
    `version https://git-lfs.github.com/spec/v1\noid sha256:${createHash("sha256").update(body).digest("hex")}\nsize ${body.length}\n`,
  );
}

/** One answer after the other; the last one from then on. */
export function inTurn(...answers: [Answer, ...Answer[]]): Answer {
  let turn = 0;
  return (...args) => answers[Math.min(turn++, answers.length - 1)]!(...args);
}

export function status(code: number, headers: Record<string, string> = {}): Answer {
  return (response) => void response.writeHead(code, headers).end();
}

export const withoutCors: Answer = (response, body, request) => {
  response.removeHeader("access-control-allow-origin");
  sends()(response, body, request);
};

export const never: Answer = () => {};

/** Half the file, and then silence. */
export const stalls: Answer = (response, body) => {
  response.writeHead(200, { "content-length": body.length });
  response.write(body.subarray(0, body.length / 2));
};

/** The file, and then blanks without end. */
export function endless(): Answer {
  const blanks = Buffer.alloc(64 << 10, " ");
  return (response, body) => {
    const more = () => {
      while (!response.destroyed && response.write(blanks));
    };
    response.writeHead(200).on("drain", more).write(body);
    more();
  };
}

/** Half the file, and then no connection any more. */
export const breaksOff: Answer = (response, body) => {
  response.writeHead(200, { "content-length": body.length });
  response.write(body.subarray(0, body.length / 2), () => response.socket?.destroy());
};

/** Half the file without its length, and a clean end: nothing in HTTP tells that bytes are missing. */
export const endsEarly: Answer = (response, body) => {
  response.writeHead(200, { "transfer-encoding": "chunked" }).end(body.subarray(0, body.length / 2));
};

/** The whole file under a wrong length. */
export function announces(length: (size: number) => number): Answer {
  return (response, body) => {
    response.strictContentLength = false;
    response.writeHead(200, { "content-length": length(body.length), connection: "close" });
    response.write(body, () => response.socket?.end());
  };
}

/** As static hosts do, with the length of the compressed bytes. */
export const gzips: Answer = (response, body) => {
  const sent = gzipSync(body);
  response.writeHead(200, { "content-encoding": "gzip", "content-length": sent.length }).end(sent);
};

export const brotlis: Answer = (response, body) => {
  const sent = brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } });
  response.writeHead(200, { "content-encoding": "br", "content-length": sent.length }).end(sent);
};

export function redirects(path: string): Answer {
  return (response) => void response.writeHead(302, { location: path }).end();
}
