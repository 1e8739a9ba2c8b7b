// Projects that use the package as npm has it, and a browser for their pages.

import assert from "node:assert/strict";
import { constants } from "node:fs";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";

import { type Browser, chromium, type Page } from "playwright-core";
import sirv from "sirv";

import { FLAGS, GPU_FLAGS } from "../support/browser.ts";
import { type ModelServer, serveModels } from "../support/model-server.ts";
import { installed, pack } from "../support/tarball.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { cosine } from "../support/vectors.ts";

const SOURCES = fileURLToPath(new URL(".", import.meta.url));

let base: Promise<string> | undefined;

interface ProjectOptions {
  /** Where below its folder the sources are: in a workspace, whose packages are all installed at its root. */
  under?: string;
  /** Its folder, which may lie where it finds the packages of a folder above. Default: a temporary one. */
  folder?: string;
}

/** A project of its own with the package installed and the files of `tests/consumers/<sources>`. */
export async function project(sources: string, options: ProjectOptions = {}): Promise<string> {
  const { under = ".", folder = await temporaryFolder() } = options;
  await rm(folder, { recursive: true, force: true });
  base ??= pack().then(installed);
  await cp(await base, folder, { recursive: true, mode: constants.COPYFILE_FICLONE });
  const app = join(folder, under);
  await mkdir(app, { recursive: true });
  if (under !== ".") {
    await cp(join(folder, "package.json"), join(app, "package.json"));
    await writeFile(join(folder, "package.json"), JSON.stringify({ private: true, workspaces: [under] }));
  }
  await cp(join(SOURCES, sources), app, { recursive: true });
  return app;
}

/** What `docs/BUNDLERS.md` says to copy. */
export async function copyFiles(project: string, to: string): Promise<void> {
  const dist = join(project, "node_modules/embervec/dist");
  const names = (await readdir(dist)).filter((name) => /^(worker\.js|gpu\.js|.*\.wasm)$/.test(name));
  await mkdir(to, { recursive: true });
  for (const name of names) await cp(join(dist, name), join(to, name));
}

/** Checks that a bundle says nothing of the machine on which it was made. */
export async function assertTellsNoPath(bundle: string, root: string): Promise<void> {
  const files = await readdir(bundle, { recursive: true, withFileTypes: true });
  const scripts = files.filter((file) => file.isFile() && /\.m?js$/.test(file.name));
  assert.notEqual(scripts.length, 0);
  for (const { parentPath, name } of scripts) {
    const text = await readFile(join(parentPath, name), "utf8");
    const at = text.indexOf(root);
    assert.equal(at, -1, `${name}: ${text.slice(Math.max(0, at - 80), at + 200)}`);
  }
}

export interface Served {
  origin: string;
  close(): void | Promise<void>;
}

/** Serves a folder, with these headers on every file. */
export async function serve(folder: string, headers: Record<string, string> = {}): Promise<Served> {
  const files = sirv(folder, { dev: true });
  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    files(request, response, () => void response.writeHead(404).end());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: process.env["CHROME"] ?? "chromium", args: [...FLAGS, ...GPU_FLAGS] });
}

/** Opens a page in a profile of its own. */
export async function visit(browser: Browser, site: Served, look: (page: Page) => Promise<void>): Promise<void> {
  const context = await browser.newContext();
  // tsx wraps functions in a helper, which the pages that they are sent to do not have.
  await context.addInitScript({ content: "globalThis.__name = (target) => target;" });
  try {
    const page = await context.newPage();
    await page.goto(site.origin);
    await look(page);
  } finally {
    await context.close();
    await site.close();
  }
}

export interface Outcome {
  /** Of the text "a quick brown fox". */
  vector?: number[];
  device?: string;
  deviceReason?: string;
  error?: { name: string; code: string; message: string };
}

declare const load: (
  model: string,
  options: object,
) => Promise<{
  info: { device: string; deviceReason: string };
  encode(text: string): Promise<Float32Array>;
  dispose(): Promise<void>;
}>;

/** Loads a model with the page's own `load`, and encodes a text. */
export async function embed(page: Pick<Page, "evaluate" | "waitForFunction">, model: string, options: object = {}) {
  await page.waitForFunction(() => "load" in globalThis);
  return page.evaluate(
    async ({ model, options }): Promise<Outcome> => {
      try {
        const embedder = await load(model, options);
        const vector = [...(await embedder.encode("a quick brown fox"))];
        const { device, deviceReason } = embedder.info;
        await embedder.dispose();
        return { vector, device, deviceReason };
      } catch (error) {
        const { name, code, message } = error as { name: string; code: string; message: string };
        return { error: { name, code, message } };
      }
    },
    { model, options },
  );
}

/** Loads with what is documented, on the CPU and on the GPU, whose vectors agree; or fails with the error that names the way. */
export async function assertEmbeds(page: Page, model: string, expected: readonly number[]): Promise<void> {
  const cpu = await embed(page, model);
  assert.deepEqual(cpu.vector, expected, cpu.error?.message);
  const gpu = await embed(page, model, { device: "webgpu" });
  assert.equal(gpu.device, "webgpu", gpu.error?.message);
  const agreement = cosine(gpu.vector!, expected);
  assert.ok(agreement > 0.999, `the GPU's vector has the cosine ${agreement} to the CPU's`);
}

/** A browser, a host of models, and what the files of the package give as they are. Called once, at the top of a test file. */
export function setUp(): { browser: Browser; models: ModelServer; model: string; expected: number[] } {
  const shared = {} as ReturnType<typeof setUp>;
  before(async () => {
    [shared.browser, shared.models] = await Promise.all([launch(), serveModels()]);
    shared.model = `${shared.models.origin}/tiny-cls/`;
    const folder = await project("bundled");
    await cp(join(SOURCES, "no-bundler"), folder, { recursive: true });
    await visit(shared.browser, await serve(folder), async (page) => {
      const { vector, error } = await embed(page, shared.model);
      assert.ok(vector && vector.length > 0 && vector.every(Number.isFinite), error?.message);
      shared.expected = vector;
    });
  });
  after(async () => {
    await shared.browser?.close();
    await shared.models?.close();
  });
  return shared;
}
