// A real Chromium on a page of the repository.

import { type BrowserContext, chromium, type Page } from "playwright-core";

import { serveSite, type SiteOptions } from "./site.ts";

export { withoutRelaxedSimd, withPrelude } from "./site.ts";

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
export const GPU_FLAGS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

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

export interface OpenPageOptions extends SiteOptions {
  /** Whether there is a GPU. */
  gpu?: boolean;
  /** A folder in which the browser keeps what outlives it. */
  profile?: string;
}

/** Serves the repository and opens a blank page of it. */
export async function openPage({ gpu = false, profile, ...siteOptions }: OpenPageOptions = {}): Promise<TestPage> {
  const site = await serveSite(siteOptions);
  const options = { executablePath: process.env["CHROME"] ?? "chromium", args: gpu ? [...FLAGS, ...GPU_FLAGS] : FLAGS };
  const context =
    profile === undefined
      ? await (await chromium.launch(options)).newContext()
      : await chromium.launchPersistentContext(profile, options);
  // tsx wraps functions in a helper, which the pages that they are sent to do not have.
  await context.addInitScript({ content: "globalThis.__name = (target) => target;" });
  const openTab = async () => {
    const page = await context.newPage();
    await page.goto(site.page);
    return page;
  };
  return {
    page: await openTab(),
    origin: site.origin,
    requests: site.requests,
    context,
    openTab,
    close: async () => {
      await (context.browser() ?? context).close();
      site.close();
    },
  };
}
