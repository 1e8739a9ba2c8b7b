// The demo page as it is published, and what tests do on it.

import assert from "node:assert/strict";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import type { BrowserContext, Page } from "playwright-core";

import { openPage, type TestPage } from "./browser.ts";
import { temporaryFolder } from "./temporary.ts";

export interface Demo {
  browser: TestPage;
  context: BrowserContext;
  page: Page;
  /** Of every request of the page and its workers. */
  urls: string[];
  /** What the page should never say: errors of scripts, refusals of the Content-Security-Policy. */
  complaints: string[];
  /** Opens the page with parameters such as `?q=bread`. */
  open(parameters?: string): Promise<void>;
  close(): Promise<void>;
}

export const DESKTOP = { width: 1280, height: 800 };

export interface DemoOptions {
  /** Whether the ready collections are there; without them a visitor begins with nothing. */
  corpora?: boolean;
  /** Folders of `tests/fixtures/models` that lie beside the page's own model, by their names there. */
  models?: Record<string, string>;
  /** A folder in which the browser keeps what outlives it. */
  profile?: string;
}

export async function openDemo({ profile, ...options }: DemoOptions = {}): Promise<Demo> {
  const overlay = await demoOverlay(options);
  const browser = await openPage({ overlay, ...(profile !== undefined && { profile }) });
  const { context } = browser;
  const page = await context.newPage();
  const [urls, complaints]: [string[], string[]] = [[], []];
  context.on("request", (request) => urls.push(request.url()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`${message.location().url}: ${message.text()}`);
  });
  await page.setViewportSize(DESKTOP);
  return {
    browser,
    context,
    page,
    urls,
    complaints,
    open: async (parameters = "") => void (await page.goto(`${browser.origin}/www/dist/${parameters}`)),
    close: () => browser.close(),
  };
}

/** A folder whose files take the place of the demo's. */
export async function demoOverlay({ corpora = false, models }: DemoOptions = {}): Promise<string> {
  const overlay = await temporaryFolder();
  // A list that is empty.
  if (!corpora) await writeInto(overlay, "corpora/index.json", "[]");
  if (models !== undefined) {
    await writeInto(overlay, "models/index.json", JSON.stringify(["all-MiniLM-L6-v2", ...Object.keys(models)]));
    for (const [name, fixture] of Object.entries(models)) {
      const folder = fileURLToPath(new URL(`../fixtures/models/${fixture}`, import.meta.url));
      await cp(folder, join(overlay, "www/dist/models", name), { recursive: true });
    }
  }
  return overlay;
}

async function writeInto(overlay: string, path: string, text: string): Promise<void> {
  const file = join(overlay, "www/dist", path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

export const modelReady = (page: Page) => page.locator('#panel-open[data-state="ready"]').waitFor();

export interface TestFile {
  name: string;
  mimeType: string;
  buffer: Buffer;
}

export const textFile = (name: string, text: string, mimeType = "text/plain"): TestFile => ({
  name,
  mimeType,
  buffer: Buffer.from(text),
});

/** Adds files through the dialog, and waits until they are in. */
export async function addFiles(page: Page, files: TestFile[], collection?: string): Promise<void> {
  await page.click("#add-open");
  await page.setInputFiles("#add-files", files);
  if (collection !== undefined) {
    await page.selectOption("#add-collection", { label: "A new collection …" });
    await page.fill("#add-name", collection);
  }
  await page.click("#add-submit");
  await added(page, collection ?? "My documents");
}

export async function added(page: Page, collection: string): Promise<void> {
  await page.locator('.report[data-state="done"] h2', { hasText: `Added to ${collection}` }).waitFor();
}

/** The best passage for a query that is typed, once it is searched by meaning. */
export async function best(page: Page, query: string): Promise<string> {
  await search(page, query);
  return page.locator(".hit-text").first().innerText();
}

/** Types a query and waits for its hits. */
export async function search(page: Page, query: string): Promise<void> {
  await page.fill("#query", "");
  await page.locator(".ranking").waitFor({ state: "detached" });
  await page.fill("#query", query);
  await page.locator(".ranking .hit").first().waitFor();
}

/** Goes to a point of the map by keyboard, once the map is there, and opens its passage. */
export async function openOnMap(page: Page): Promise<void> {
  await page.locator("#map-frame").focus();
  await page.waitForFunction(
    () => {
      const frame = document.getElementById("map-frame")!;
      frame.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
      return !document.getElementById("map-caption")!.textContent!.startsWith("What lies near");
    },
    undefined,
    { polling: 200 },
  );
  await page.keyboard.press("Enter");
  await page.locator("#reader mark").first().waitFor();
}

declare global {
  interface Window {
    axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> };
  }
}

/** axe-core finds nothing in the page as it is. */
export async function checkAccessibility(page: Page, state: string): Promise<void> {
  const script = await readFile(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
  // `evaluate` is not held by the page's Content-Security-Policy, a script element would be.
  await page.evaluate(script);
  const { violations } = await page.evaluate(() => window.axe.run());
  const found = violations.map(
    ({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map(({ html }) => html).join("\n")}`,
  );
  assert.deepEqual(found, [], state);
}
