// The extension as it is built, in a browser with a profile of its own.

import { createHash } from "node:crypto";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import axe from "axe-core";
import { type BrowserContext, chromium, type Page, type Worker } from "playwright-core";

import { FLAGS } from "./browser.ts";
import { temporaryFolder } from "./temporary.ts";

const fromRoot = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
export const DIST = fromRoot("www/extension/dist");
const MODEL = fromRoot("www/models/all-MiniLM-L6-v2");

/** The browser's own business, which no flag ends. */
const BROWSERS_OWN = /^(https?:\/\/)?[\w.-]+\.(google|googleapis|gvt1)\.com[:/]/;

/** A page, with what is done to it once it is there; or the bytes of another file. */
export interface SitePage {
  body: string | Buffer;
  type?: string;
  script?: string;
  /** A second request is answered with 404. */
  isOnce?: boolean;
}

export interface Site {
  origin: string;
  close(): void;
}

/** Pages by their path, with the strictest policy. */
export async function servePages(pages: Record<string, SitePage>): Promise<Site> {
  const gone = new Set<string>();
  const server = createServer((request, response) => {
    const { url = "" } = request;
    const page = gone.has(url) ? undefined : pages[url];
    if (page?.isOnce) gone.add(url);
    response
      .writeHead(page ? 200 : 404, {
        "content-type": page?.type ?? "text/html; charset=utf-8",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-src *; object-src *",
        ...(page?.isOnce && { "cache-control": "no-store" }),
      })
      .end(page?.body);
  });
  return { origin: await listen(server), close: () => end(server) };
}

/** The proxy for everything that is not local: whatever comes here has left the machine. */
export async function watchStrangers(): Promise<{ address: string; strangers: string[]; close(): void }> {
  const strangers: string[] = [];
  const note = ({ url = "" }: IncomingMessage) => void (BROWSERS_OWN.test(url) || strangers.push(url));
  const server = createServer((request, response) => {
    note(request);
    response.writeHead(502).end();
  });
  server.on("connect", (request, socket) => {
    note(request);
    socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  return { address: await listen(server), strangers, close: () => end(server) };
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function end(server: Server): void {
  server.close();
  server.closeAllConnections();
}

/** Nobody can press the toolbar's button here, which is what lets the extension into a page: the copy may read the test's own. */
export async function copyOfExtension({ withModel = true } = {}): Promise<string> {
  const folder = await temporaryFolder();
  await cp(DIST, folder, {
    recursive: true,
    filter: (path) => path !== join(DIST, "models") && !path.endsWith(".map"),
  });
  if (withModel) await cp(MODEL, join(folder, "models/all-MiniLM-L6-v2"), { recursive: true });
  const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8")) as object;
  await writeFile(
    join(folder, "manifest.json"),
    JSON.stringify({ ...manifest, host_permissions: ["http://127.0.0.1/*"] }),
  );
  return folder;
}

export interface OpenExtension {
  context: BrowserContext;
  id: string;
  /** What the extension's pages should never say. */
  complaints: string[];
  openSite(origin: string, path: string): Promise<Page>;
  /** The popup or the side panel, as a tab behind the one that it is about. */
  openPanel(front: Page, name?: string): Promise<Page>;
  /** The same in a new private window, whose panels are tabs of it. */
  openPrivately(origin: string, path: string): Promise<{ front: Page; openPanel(): Promise<Page> }>;
}

export interface ExtensionOptions {
  profile: string;
  proxy?: string;
  /** Whether it may be used in private windows, as the browser's extensions page can allow it. */
  isAllowedPrivately?: boolean;
}

/** Of an extension that is loaded from a folder. */
function idOf(folder: string): string {
  const digest = createHash("sha256").update(folder).digest("hex").slice(0, 32);
  return digest.replace(/./g, (digit) => String.fromCharCode(97 + Number.parseInt(digit, 16)));
}

/** As far as these functions use it, in the extension's service worker. */
declare const chrome: {
  extension: { inIncognitoContext: boolean };
  windows: {
    create(options: object): Promise<unknown>;
    getLastFocused(): Promise<{ id: number }>;
  };
  tabs: { create(options: object): Promise<unknown> };
};

/** Starts the browser with an extension. */
export async function openExtension(
  extension: string,
  { profile, proxy, isAllowedPrivately = false }: ExtensionOptions,
): Promise<OpenExtension> {
  if (isAllowedPrivately) {
    const settings = { extensions: { settings: { [idOf(extension)]: { incognito: true } } } };
    await mkdir(join(profile, "Default"), { recursive: true });
    await writeFile(join(profile, "Default/Preferences"), JSON.stringify(settings));
  }
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env["CHROME"] ?? "chromium",
    headless: false,
    args: [
      ...FLAGS,
      `--load-extension=${extension}`,
      `--disable-extensions-except=${extension}`,
      ...(proxy === undefined ? [] : [`--proxy-server=${proxy}`]),
    ],
  });
  const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent("serviceworker"));
  const id = new URL(worker.url()).host;
  // tsx wraps functions in a helper, which the pages that they are sent to do not have.
  await context.addInitScript({ content: "globalThis.__name = (target) => target;" });
  const complaints: string[] = [];
  const watch = (panel: Page) => {
    panel.on("pageerror", (error) => complaints.push(error.message));
    panel.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
  };
  return {
    context,
    id,
    complaints,
    openSite: async (origin, path) => {
      const page = await context.newPage();
      await page.goto(origin + path);
      return page;
    },
    openPanel: async (front, name = "popup.html") => {
      const panel = await context.newPage();
      watch(panel);
      await panel.setViewportSize({ width: 360, height: 600 });
      await panel.goto(`chrome-extension://${id}/${name}`);
      await front.bringToFront();
      await panel.reload();
      return panel;
    },
    openPrivately: async (origin, path) => {
      const [front] = await Promise.all([
        context.waitForEvent("page"),
        worker.evaluate(async (url) => void (await chrome.windows.create({ incognito: true, url })), origin + path),
      ]);
      const privateWorker = await findPrivate(context);
      return {
        front,
        openPanel: async () => {
          await front.bringToFront();
          const [panel] = await Promise.all([
            context.waitForEvent("page"),
            privateWorker.evaluate(async (url) => {
              const { id } = await chrome.windows.getLastFocused();
              await chrome.tabs.create({ windowId: id, active: false, url });
            }, `chrome-extension://${id}/popup.html`),
          ]);
          watch(panel);
          return panel;
        },
      };
    },
  };
}

/** The service worker of the private windows. */
async function findPrivate(context: BrowserContext): Promise<Worker> {
  for (;;) {
    for (const worker of context.serviceWorkers()) {
      if (await worker.evaluate(() => chrome.extension.inIncognitoContext)) return worker;
    }
    await context.waitForEvent("serviceworker");
  }
}

/** The best passage for a query, once the whole page is encoded; of a page that takes a while, once so many are ranked. */
export async function best(panel: Page, query: string, passageCount?: number): Promise<string> {
  const before = await panel.$(".ranking");
  await panel.fill("#query", query);
  await panel.waitForFunction((before) => ![null, before].includes(document.querySelector(".ranking")), before, {
    timeout: 60_000,
  });
  const note = passageCount === undefined ? / ranked in / : new RegExp(`^${passageCount} passages .* ranked in `);
  await panel.locator("#work").waitFor({ state: "hidden", timeout: 60_000 });
  await panel.locator("#results-note", { hasText: note }).waitFor({ timeout: 60_000 });
  if (passageCount === undefined) await panel.waitForTimeout(500); // the last ranking
  return panel.locator(".hit-text").first().innerText();
}

/** What axe-core finds that is serious, in a sentence each. */
export async function barriers(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => (globalThis as unknown as { axe: typeof axe }).axe.run());
  return violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map(({ html }) => html).join(" ")}`);
}
