// The documentation's code: every block is compiled against the built package and runs with the real model.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { build, type Plugin, transform } from "esbuild";
import { chromium, type ConsoleMessage, type Page } from "playwright-core";

import { FLAGS, openPage, type TestPage } from "../support/browser.ts";
import {
  type Block,
  blocksOf,
  deadLinks,
  deadPaths,
  deadVerbs,
  documents,
  expectedOf,
  isCode,
  programsOf,
  ROOT,
} from "../support/docs.ts";
import { type ModelServer, serveModels } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";

const LANGUAGES = ["js", "ts", "json", "html", "sh", "text", "toml", "diff", "http", "dockerfile"];
const MODEL = "all-MiniLM-L6-v2";
/** Where the hub's ids lead. */
const HUB = "https://huggingface.co";

const DOCUMENTS = documents();
const BLOCKS = DOCUMENTS.flatMap(blocksOf);
const OURS = BLOCKS.filter(({ testedBy }) => testedBy === undefined);
const FILES = OURS.filter(({ file }) => file !== undefined);
const PROGRAMS = programsOf(OURS.filter(({ file }) => file === undefined));
const IN_PAGES = PROGRAMS.filter(({ blocks: [{ inNode, document }] }) => !inNode && document !== "docs/NODE.md");
const IN_NODE = PROGRAMS.filter((program) => !IN_PAGES.includes(program));

/** Files of an extension's folder. */
const EXTENSION = "docs/guides/extensions.md";

const run = promisify(execFile);

/** Where a file of the hub is: of `www/models`, without pointers to weights. */
const placeOf = (url: string, hub: ModelServer) => {
  const [, model, path] = /\/sentence-transformers\/([\w-]+)\/resolve\/main\/(.*)$/.exec(url) ?? [];
  return `${hub.origin}/${model ?? "none"}/${path ?? ""}`;
};

/** Adapters are bundled with the framework that they are for; of the package itself there is one. */
const published: Plugin = {
  name: "published",
  setup({ onResolve }) {
    const index = { path: "/pkg/dist/index.js", external: true };
    onResolve({ filter: /^embervec$/ }, () => index);
    // It has a worker beside it.
    onResolve({ filter: /^embervec\/search$/ }, () => ({ path: "/pkg/dist/search.js", external: true }));
    onResolve({ filter: /^\.\/index\.js$/ }, ({ resolveDir }) =>
      resolveDir === join(ROOT, "pkg/dist") ? index : undefined,
    );
  },
};

test("blocks say how they are checked", () => {
  for (const { document, line, language, code, testedBy } of BLOCKS) {
    const place = `${document}:${line}`;
    assert.ok(LANGUAGES.includes(language), `${place}: \`${language}\``);
    assert.ok(testedBy === undefined || existsSync(join(ROOT, testedBy)), `${place}: there is no ${testedBy}`);
    if (language === "json") assert.doesNotThrow(() => JSON.parse(code), place);
  }
});

for (const [what, find] of Object.entries({
  links: deadLinks,
  paths: deadPaths,
  "verbs of the build tool": deadVerbs,
})) {
  test(`${what} lead somewhere`, () => {
    const dead = DOCUMENTS.flatMap((document) => find(document).map((target) => `${document}: ${target}`));
    assert.deepEqual(dead, []);
  });
}

describe("types", () => {
  const folder = join(ROOT, "tests/.build/docs");
  const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");

  /** A service worker has another global object than a page. */
  const isServiceWorker = ({ file }: Block) => /^(sw|service-worker)\.js$/.test(file ?? "");
  const nameOf = (document: string, line: number, language: string) =>
    `${document.replace(/\W/g, "-")}-${line}.${language === "ts" ? "ts" : "js"}`;

  async function check(name: string, lib: string[], types: string[], sources: [file: string, code: string][]) {
    // Chrome's types need a page's.
    const skipLibCheck = !lib.includes("dom");
    const place = join(folder, name);
    await rm(place, { recursive: true, force: true });
    await mkdir(place, { recursive: true });
    for (const [file, code] of sources) {
      await writeFile(
        join(place, file),
        `${code.replace(/["'][./\w]*embervec\/(dist\/)?index\.js["']/g, '"embervec"')}\nexport {};\n`,
      );
    }
    const compilerOptions = {
      ...{ target: "es2022", module: "esnext", moduleResolution: "bundler", lib, types, strict: true, noEmit: true },
      // Examples in JavaScript have no types of parameters.
      ...{ allowJs: true, checkJs: true, noImplicitAny: false, strictNullChecks: false, skipLibCheck },
    };
    await writeFile(join(place, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["."] }));
    await run(process.execPath, [tsc, "--project", place]).catch(({ stdout }) => assert.fail(stdout));
  }

  test("programs of pages", async () => {
    const programs = [...IN_PAGES, ...IN_NODE].map(
      ({ blocks: [{ document, line, language }], code }): [string, string] => [nameOf(document, line, language), code],
    );
    const files = FILES.filter((block) => isCode(block) && !isServiceWorker(block));
    const named = files.map(({ document, line, language, code }): [string, string] => [
      nameOf(document, line, language),
      code,
    ]);
    await check(
      "pages",
      ["es2023", "dom", "dom.iterable", "dom.asynciterable"],
      ["chrome", "node"],
      [...programs, ...named],
    );
  });

  test("service workers", async () => {
    const self = "const self = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (globalThis));\n";
    const sources = FILES.filter((block) => isCode(block) && isServiceWorker(block)).map(
      ({ document, line, language, code }): [string, string] => [nameOf(document, line, language), self + code],
    );
    await check("service-workers", ["es2023", "webworker"], ["chrome"], sources);
  });
});

/** What a page prints, and what it should never say. */
class Listener {
  readonly printed: string[] = [];
  readonly complaints: string[] = [];

  constructor(page: Page) {
    page.on("pageerror", (error) => this.complaints.push(error.message));
    page.on("console", (message: ConsoleMessage) => {
      this.printed.push(message.text());
      // A file that is not there is what some blocks are about.
      const isExpected = message.text().startsWith("Failed to load resource");
      if (message.type() === "error" && !isExpected) this.complaints.push(message.text());
    });
  }

  /** What has been printed contains these, in this order. */
  assertPrinted(expected: readonly string[]): void {
    let from = 0;
    for (const text of expected) {
      const index = this.printed.indexOf(text, from);
      assert.ok(index >= 0, `should print ${text}, but has printed:\n${this.printed.join("\n")}`);
      from = index + 1;
    }
    assert.deepEqual(this.complaints, []);
  }
}

describe("in Chromium", () => {
  let hub: ModelServer;
  let browser: TestPage;
  let overlay: string;

  before(async () => {
    hub = await serveModels(join(ROOT, "www/models"));
    overlay = await temporaryFolder();
    await mkdir(join(overlay, "run"));
    await symlink(join(ROOT, "www/models"), join(overlay, "models"));
    // Where documents have the package's files copied to.
    await symlink(join(ROOT, "pkg/dist"), join(overlay, "embervec"));
    browser = await openPage({ overlay, connectTo: `${HUB} ${hub.origin}` });
    // The hub redirects to where its files are, too.
    await browser.context.route(`${HUB}/**`, (route) => {
      const location = placeOf(route.request().url(), hub);
      return route.fulfill({ status: 302, headers: { location, "access-control-allow-origin": "*" } });
    });
  });
  after(async () => {
    await browser.close();
    await hub.close();
  });

  /** The blocks of a document that are files lie at the site's root. */
  async function place(document: string): Promise<void> {
    for (const { file, code } of FILES.filter((block) => block.document === document)) {
      await writeFile(join(overlay, file!), code);
    }
  }

  for (const [index, { name, code, isTyped, expected, blocks }] of IN_PAGES.entries()) {
    test(name, { timeout: 60_000 }, async () => {
      await place(blocks[0].document);
      const path = `run/${index}.js`;
      await build({
        stdin: { contents: code, loader: isTyped ? "ts" : "js", resolveDir: ROOT },
        outfile: join(overlay, path),
        bundle: true,
        format: "esm",
        target: "es2022",
        plugins: [published],
        logLevel: "silent",
      });
      const page = await browser.openTab();
      const listener = new Listener(page);
      try {
        await page.evaluate((path) => import(path), `/${path}`);
        listener.assertPrinted(expected);
      } finally {
        // What one document's service worker keeps is not for the next.
        await page.evaluate(async () => {
          for (const registration of await navigator.serviceWorker.getRegistrations()) await registration.unregister();
          for (const name of await caches.keys()) await caches.delete(name);
        });
        await page.close();
      }
    });
  }

  const PAGES = FILES.filter(({ file, document }) => file === "index.html" && document !== EXTENSION);
  for (const { document, line } of PAGES) {
    test(`${document}:${line}`, { timeout: 60_000 }, async () => {
      await place(document);
      const page = await browser.context.newPage();
      const listener = new Listener(page);
      const expected = expectedOf(
        FILES.filter((block) => block.document === document)
          .map(({ code }) => code)
          .join(""),
      );
      assert.ok(expected.length > 0, "a page says when it is done: `// →`");
      await page.goto(`${browser.origin}/index.html`);
      while (listener.complaints.length === 0 && !listener.printed.includes(expected.at(-1)!)) {
        await page.waitForTimeout(50);
      }
      listener.assertPrinted(expected);
      await page.close();
    });
  }
});

test(`the extension of ${EXTENSION}`, { timeout: 120_000 }, async () => {
  const folder = await temporaryFolder();
  for (const { file, code } of FILES.filter(({ document }) => document === EXTENSION)) {
    await writeFile(join(folder, file!), code);
  }
  await cp(join(ROOT, "pkg/dist"), join(folder, "embervec"), { recursive: true });
  await cp(join(ROOT, "www/models", MODEL), join(folder, "models", MODEL), { recursive: true, dereference: true });
  const context = await chromium.launchPersistentContext(await temporaryFolder(), {
    executablePath: process.env["CHROME"] ?? "chromium",
    headless: false,
    args: [...FLAGS, `--load-extension=${folder}`, `--disable-extensions-except=${folder}`],
  });
  try {
    const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent("serviceworker"));
    const page = await context.newPage();
    const listener = new Listener(page);
    await page.goto(new URL("popup.html", worker.url()).href);
    await page.fill("input", "Do I need an umbrella?");
    await page.press("input", "Enter");
    await page.waitForFunction(() => document.querySelector("output")!.textContent !== "", undefined, {
      timeout: 60_000,
    });
    assert.equal(await page.textContent("output"), "Rain is expected tomorrow.");
    listener.assertPrinted([]);
  } finally {
    await context.close();
  }
});

describe("in Node", () => {
  let models: ModelServer;
  let hub: Server;
  let environment: NodeJS.ProcessEnv;

  before(async () => {
    models = await serveModels(join(ROOT, "www/models"));
    hub = createServer(({ url = "" }, response) => {
      response.writeHead(302, { location: placeOf(url, models) }).end();
    });
    await new Promise<void>((resolve) => hub.listen(0, "127.0.0.1", resolve));
    const { port } = hub.address() as AddressInfo;
    const cache = await temporaryFolder();
    environment = { ...process.env, EMBERVEC_CACHE: cache, HF_ENDPOINT: `http://127.0.0.1:${port}` };
  });
  after(async () => {
    hub.close();
    hub.closeAllConnections();
    await models.close();
  });

  for (const { name, code, isTyped, expected } of IN_NODE) {
    test(name, { timeout: 60_000 }, async () => {
      // In the repository, so that it finds the package by its name.
      const folder = join(ROOT, "tests/.build/docs/node");
      await mkdir(folder, { recursive: true });
      const script = join(folder, `${name.replace(/\W/g, "-")}.mjs`);
      await writeFile(script, isTyped ? (await transform(code, { loader: "ts", target: "es2022" })).code : code);
      const { stdout } = await run(process.execPath, [script], { cwd: folder, env: environment });
      for (const text of expected)
        assert.ok(stdout.split("\n").includes(text), `should print ${text}, but:\n${stdout}`);
    });
  }
});
