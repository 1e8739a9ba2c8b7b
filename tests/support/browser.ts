// A real Chromium on a page that has nothing but a strict Content-Security-Policy.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { type BrowserContext, chromium, type Page } from "playwright-core";
import sirv from "sirv";

import { temporaryFolder } from "./temporary.ts";

export const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** WebGPU in software: slow, but real. */
const GPU_FLAGS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

export interface TestPage {
  page: Page;
  /** The page's own origin. */
  origin: string;
  /** The path of every request so far. */
  requests: string[];
  context: BrowserContext;
  /** Another tab with the same page. */
  openTab(): Promise<Page>;
  close(): Promise<void>;
}

export interface OpenPageOptions {
  /** Another origin that the page's Content-Security-Policy allows requests to. */
  connectTo?: string;
  /** A folder whose files take the place of the repository's. */
  overlay?: string;
  /** Whether there is a GPU. */
  gpu?: boolean;
  /** A folder in which the browser keeps what outlives it. */
  profile?: string;
  /** Where to listen: the origin is part of what a profile keeps. Default: anywhere. */
  port?: number;
}

/** Serves the repository and opens a blank page of it. */
export async function openPage({ connectTo = "", overlay, gpu = false, profile, port = 0 }: OpenPageOptions = {}): Promise<TestPage> {
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
  const options = { executablePath: process.env["CHROME"] ?? "chromium", args: gpu ? [...FLAGS, ...GPU_FLAGS] : FLAGS };
  const context = profile === undefined ? await (await chromium.launch(options)).newContext() : await chromium.launchPersistentContext(profile, options);
  // tsx wraps functions in a helper, which the pages that they are sent to do not have.
  await context.addInitScript({ content: "globalThis.__name = (target) => target;" });
  const openTab = async () => {
    const page = await context.newPage();
    await page.goto(`${origin}/blank.html`);
    return page;
  };
  return {
    page: await openTab(),
    origin,
    requests,
    context,
    openTab,
    close: async () => {
      await (context.browser() ?? context).close();
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
