// The demo page as it is published, and what tests do on it.

import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

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

/** @param corpora whether the ready collections are there; without them a visitor begins with nothing */
export async function openDemo({ corpora = false }: { corpora?: boolean } = {}): Promise<Demo> {
  const browser = await openPage(corpora ? {} : { overlay: await withoutCorpora() });
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

/** A folder whose list of ready collections is empty. */
async function withoutCorpora(): Promise<string> {
  const overlay = await temporaryFolder();
  const folder = join(overlay, "www/dist/corpora");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "index.json"), "[]");
  return overlay;
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
