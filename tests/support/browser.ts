// A real Chromium on a page that has nothing but a strict Content-Security-Policy.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";

import { chromium, type Page } from "playwright-core";
import sirv from "sirv";

const CSP = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'";
const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export interface TestPage {
  page: Page;
  /** The path of every request so far. */
  requests: string[];
  close(): Promise<void>;
}

/** Serves the repository and opens a blank page of it. */
export async function openPage(): Promise<TestPage> {
  const requests: string[] = [];
  const files = sirv(fileURLToPath(new URL("../..", import.meta.url)), { dev: true });
  const server = createServer((request, response) => {
    requests.push(request.url ?? "");
    if (request.url !== "/blank.html") return files(request, response, () => void response.writeHead(404).end());
    response.writeHead(200, { "content-type": "text/html", "content-security-policy": CSP });
    response.end("<!doctype html><title>embervec</title>");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const browser = await chromium.launch({ executablePath: process.env["CHROME"] ?? "chromium", args: FLAGS });
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${port}/blank.html`);
  return {
    page,
    requests,
    close: async () => {
      await browser.close();
      server.close();
    },
  };
}
