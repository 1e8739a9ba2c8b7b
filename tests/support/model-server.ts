// A model host on its own origin, which answers single files wrongly when told to.

import { readFile } from "node:fs/promises";
import { type IncomingHttpHeaders, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** Answers instead of the server; `body` is what the file holds, empty where there is none. */
export type Answer = (response: ServerResponse, body: Buffer) => void;

export interface ModelServer {
  origin: string;
  /** Every request but CORS preflights, in order. */
  requests: { path: string; headers: IncomingHttpHeaders }[];
  /** Wrong answers by path. */
  answers: Map<string, Answer>;
  /** Resolves as soon as the path is asked for. */
  requested(path: string): Promise<void>;
  close(): Promise<void>;
}

const models = fileURLToPath(new URL("../fixtures/models", import.meta.url));

/** The model `owner/name` of this hub. */
const HUB_FOLDER = /^\/owner\/name\/resolve\/main\//;

/** Serves the folders of `tests/fixtures/models`, and tiny-cls as `owner/name` of a hub, too. */
export async function serveModels(): Promise<ModelServer> {
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
    requests.push({ path, headers: request.headers });
    waiting.get(path)?.();
    const body = await readFile(models + path.replace(HUB_FOLDER, "/tiny-cls/")).catch(() => undefined);
    const answer = answers.get(path) ?? (body ? sends() : status(404));
    answer(response, body ?? Buffer.alloc(0));
  });
  const port = await listen();
  return {
    origin: `http://127.0.0.1:${port}`,
    requests,
    answers,
    requested: (path) => new Promise((resolve) => waiting.set(path, resolve)),
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };

  async function listen(): Promise<number> {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  }
}

/** The file as it is, or something else in its place. */
export function sends(content?: Buffer | string | ((body: Buffer) => Buffer), type = "application/octet-stream"): Answer {
  return (response, body) => {
    const sent = typeof content === "function" ? content(body) : Buffer.from(content ?? body);
    response.writeHead(200, { "content-type": type, "content-length": sent.length }).end(sent);
  };
}

export function status(code: number): Answer {
  return (response) => void response.writeHead(code).end();
}

export const withoutCors: Answer = (response, body) => {
  response.removeHeader("access-control-allow-origin");
  sends()(response, body);
};

export const never: Answer = () => {};

/** These bytes of what is announced to be much more, and then silence. */
export function stalls(sent: Buffer): Answer {
  return (response) => {
    response.writeHead(200, { "content-length": 1e9 });
    response.write(sent);
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

export function redirects(path: string): Answer {
  return (response) => void response.writeHead(302, { location: path }).end();
}
