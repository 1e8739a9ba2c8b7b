// The repository on a server of its own, with a page that has nothing but a strict Content-Security-Policy.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import sirv from "sirv";

import { temporaryFolder } from "./temporary.ts";

export interface SiteOptions {
  /** Another origin that the page's Content-Security-Policy allows requests to. */
  connectTo?: string;
  /** A folder whose files take the place of the repository's. */
  overlay?: string;
  /** Where to listen: the origin is part of what a browser's profile keeps. Default: anywhere. */
  port?: number;
}

export interface Site {
  origin: string;
  /** The blank page. */
  page: string;
  /** The path of every request so far. */
  requests: string[];
  close(): void;
}

export async function serveSite({ connectTo = "", overlay, port = 0 }: SiteOptions = {}): Promise<Site> {
  const csp = `default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' ${connectTo}`;
  const requests: string[] = [];
  const repository = sirv(fileURLToPath(new URL("../..", import.meta.url)), { dev: true });
  const files = overlay === undefined ? undefined : sirv(overlay, { dev: true });
  const server = createServer((request, response) => {
    requests.push(request.url ?? "");
    if (request.url === "/blank.html") {
      response.writeHead(200, { "content-type": "text/html", "content-security-policy": csp });
      response.end("<!doctype html><title>embervec</title>");
      return;
    }
    const fromRepository = () => repository(request, response, () => void response.writeHead(404).end());
    if (files) files(request, response, fromRepository);
    else fromRepository();
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    origin,
    page: `${origin}/blank.html`,
    requests,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** An overlay whose worker takes its browser for one without relaxed SIMD. */
export function withoutRelaxedSimd(): Promise<string> {
  return withPrelude({ "worker.js": "WebAssembly.validate = () => false;" });
}

/** An overlay in which these files of the package run some code first. */
export async function withPrelude(preludes: Record<string, string>): Promise<string> {
  const overlay = await temporaryFolder();
  await mkdir(join(overlay, "pkg/dist"), { recursive: true });
  for (const [file, prelude] of Object.entries(preludes)) {
    const script = await readFile(new URL(`../../pkg/dist/${file}`, import.meta.url), "utf8");
    await writeFile(join(overlay, "pkg/dist", file), prelude + script);
  }
  return overlay;
}
