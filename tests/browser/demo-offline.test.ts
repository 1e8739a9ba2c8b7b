// The demo page as an app: it opens without a network, keeps each build as a whole, and can be installed.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import type { BrowserContext, Page } from "playwright-core";
import sirv from "sirv";

import { openPage, type TestPage } from "../support/browser.ts";
import { addFiles, best, modelReady, textFile } from "../support/demo.ts";
import { temporaryFolder } from "../support/temporary.ts";

const DIST = fileURLToPath(new URL("../../www/dist", import.meta.url));
/** Of an unreachable model: the page fetches the package's artefact, then says that the model is not there. */
const NO_MODEL = "?model=./nothing/";

let browser: TestPage;
let context: BrowserContext;
const sites: Site[] = [];

before(async () => {
  // Nothing can be installed from a private window.
  browser = await openPage({ profile: await temporaryFolder() });
  ({ context } = browser);
});
after(async () => {
  await browser.close();
  for (const site of sites) await site.stop();
});

interface Site {
  origin: string;
  /** The path of every request so far. */
  requests: string[];
  stop(): Promise<void>;
}

async function serve(folder: string): Promise<Site> {
  const requests: string[] = [];
  const files = sirv(folder, { dev: true });
  const server = createServer((request, response) => {
    requests.push(request.url ?? "");
    files(request, response, () => void response.writeHead(404).end());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const site = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
  sites.push(site);
  return site;
}

/** A copy of the demo without its model. */
async function copyOfDemo(): Promise<string> {
  const folder = await temporaryFolder();
  await cp(DIST, folder, { recursive: true, filter: (path) => path !== join(DIST, "models") });
  return folder;
}

const nextOf = (hash: string) => `${hash[0] === "0" ? "1" : "0"}${hash.slice(1)}`;

/** Makes another build of a copy: another title, and another name for each file with a hash. */
async function rebuild(folder: string): Promise<void> {
  const worker = await readFile(join(folder, "service-worker.js"), "utf8");
  const [list = ""] = /\{"revision".*\}/.exec(worker) ?? [];
  const { files } = JSON.parse(list) as { files: Record<string, string> };
  const hashes = Object.keys(files).flatMap((name) => /(?<=\.)[0-9a-f]{8}(?=\.)/.exec(name) ?? []);
  const renamed = (text: string) => hashes.reduce((text, hash) => text.replaceAll(hash, nextOf(hash)), text);
  const built: [string, string][] = [];
  for (const name of Object.keys(files)) {
    const path = join(folder, renamed(name));
    await rename(join(folder, name), path);
    if (/\.(js|html)$/.test(name)) {
      const text = renamed(await readFile(path, "utf8"));
      await writeFile(path, text.replace(/<title>.*<\/title>/, "<title>the next build</title>"));
    }
    const hash = createHash("sha256")
      .update(await readFile(path))
      .digest("base64");
    built.push([renamed(name), `sha256-${hash}`]);
  }
  const next = JSON.stringify({ revision: "next", files: Object.fromEntries(built) });
  await writeFile(join(folder, "service-worker.js"), worker.replace(list, next));
}

const modelIsMissing = (page: Page) => page.getByRole("alert").getByText("The model was not found").waitFor();

/** Waits until a first visit's build has been kept: the page itself waits for 10 seconds only. */
const isKept = (page: Page) => page.evaluate(async () => void (await navigator.serviceWorker.ready));

/** The paths that the service worker has kept, by cache. */
const keptFiles = (page: Page) =>
  page.evaluate(async () => {
    const kept: Record<string, string[]> = {};
    for (const name of await caches.keys()) {
      kept[name] = (await (await caches.open(name)).keys()).map(({ url }) => new URL(url).pathname).sort();
    }
    return kept;
  });

/** Waits until the only cache is that of a build. */
const onlyHas = (page: Page, revision: string) =>
  page.evaluate(async (revision) => {
    const isDone = (names: string[]) => names.length === 1 && names[0]!.endsWith(` ${revision}`);
    while (!isDone(await caches.keys())) await new Promise((resolve) => setTimeout(resolve, 100));
  }, revision);

test("a new build shows at once, and takes the old one's place in the cache as a whole", async () => {
  const folder = await copyOfDemo();
  const site = await serve(folder);
  const page = await context.newPage();
  await page.goto(`${site.origin}/${NO_MODEL}`);
  await modelIsMissing(page);
  await isKept(page);

  await rebuild(folder);
  await page.reload();
  assert.equal(await page.title(), "the next build");
  await modelIsMissing(page);
  await onlyHas(page, "next");

  await site.stop();
  await page.reload();
  assert.equal(await page.title(), "the next build");
  await page.getByRole("alert").getByText("The model could not be fetched").waitFor();
  const artefacts = Object.values(await keptFiles(page))
    .flat()
    .filter((path) => /embervec-(relaxed|simd128)/.test(path));
  assert.equal(artefacts.length, 1);
  assert.ok(existsSync(join(folder, artefacts[0]!)), artefacts[0]);
  await page.close();
});

/** Checks that all files with hashes in their names that a page has asked for were of one build, and were there. */
function followBuilds(page: Page, folder: string): { isOf: (hashes: ReadonlySet<string>) => void } {
  const answers: { path: string; status: number }[] = [];
  page.on("response", (response) =>
    answers.push({ path: new URL(response.url()).pathname, status: response.status() }),
  );
  return {
    isOf: (hashes) => {
      const named = answers.flatMap(({ path, status }) => {
        const [hash] = /(?<=\.)[0-9a-f]{8}(?=\.)/.exec(path) ?? [];
        return hash === undefined ? [] : [{ path, status, hash }];
      });
      assert.ok(named.length > 3, `${folder}: ${named.length} files with hashes`);
      assert.deepEqual(
        named.filter(({ hash, status }) => !hashes.has(hash) || status !== 200),
        [],
      );
    },
  };
}

const hashesIn = async (folder: string) =>
  new Set((await readdir(folder)).flatMap((name) => /(?<=\.)[0-9a-f]{8}(?=\.)/.exec(name) ?? []));

test("a page that is open during a deploy goes on with its own build, and the next one has the new", async () => {
  const folder = await copyOfDemo();
  const site = await serve(folder);
  const old = await context.newPage();
  const ofOld = followBuilds(old, "the old page");
  const oldHashes = await hashesIn(folder);
  await old.goto(`${site.origin}/${NO_MODEL}`);
  await modelIsMissing(old);
  await isKept(old);

  await rebuild(folder);
  const next = await context.newPage();
  const ofNext = followBuilds(next, "the next page");
  const nextHashes = await hashesIn(folder);
  await next.goto(`${site.origin}/${NO_MODEL}`);
  assert.equal(await next.title(), "the next build");
  await modelIsMissing(next);
  await next.evaluate(async () => {
    const hasNext = async () => (await caches.keys()).some((name) => name.endsWith(" next"));
    while (!(await hasNext())) await new Promise((resolve) => setTimeout(resolve, 100));
    await navigator.serviceWorker.ready;
  });

  // Parts that the old page has not asked for yet, and that the server does not have any more.
  for (const [page, name] of [
    // Words that no other collection has: theirs could fill the list.
    [old, "Oldsbury"],
    [next, "Newsbury"],
  ] as const) {
    await page.bringToFront();
    await page.click("#add-open");
    await page.setInputFiles("#add-files", [
      textFile(`${name}.md`, `# Bread\n\nThe ${name} baker rises at three.`),
      textFile(`${name}.csv`, `name,job\n${name} Ada,baker\n`),
    ]);
    await page.click("#add-submit");
    await page.fill("#query", name);
    for (const text of [`The ${name} baker rises`, `${name} Ada`])
      await page.locator(".hit", { hasText: text }).first().waitFor();
  }
  assert.notEqual(await old.title(), "the next build");
  ofOld.isOf(oldHashes);
  ofNext.isOf(nextHashes);

  // With its last page the old build goes, at the next visit that finds the page's lock free.
  await old.close();
  let kept: string[] = [];
  for (let visit = 0; visit < 20 && kept.length !== 1; visit++) {
    await next.reload();
    await next.waitForTimeout(250);
    kept = await next.evaluate(() => caches.keys());
  }
  assert.deepEqual(
    kept.map((name) => name.split(" ").at(-1)),
    ["next"],
  );
  await next.close();
});

test("a mixture of two builds is not kept", async () => {
  const folder = await copyOfDemo();
  const style = (await readdir(folder)).find((name) => /^style\..*\.css$/.test(name))!;
  await writeFile(join(folder, style), "/* of another build */");
  const site = await serve(folder);
  const page = await context.newPage();
  await page.goto(`${site.origin}/${NO_MODEL}`);
  await modelIsMissing(page);
  assert.equal(
    await page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.active ?? null),
    null,
  );
  await page.close();
});

test("the page can be installed", async () => {
  const site = await serve(await copyOfDemo());
  const page = await context.newPage();
  await page.goto(`${site.origin}/${NO_MODEL}`);
  await modelIsMissing(page);
  const session = await context.newCDPSession(page);
  const { url, errors, data = "" } = await session.send("Page.getAppManifest");
  assert.equal(url, `${site.origin}/app.webmanifest`);
  assert.deepEqual(errors, []);
  for (const { src, sizes } of (JSON.parse(data) as { icons: { src: string; sizes: string }[] }).icons) {
    const size = await page.evaluate(async (src) => {
      const image = Object.assign(new Image(), { src });
      await image.decode();
      return `${image.naturalWidth}x${image.naturalHeight}`;
    }, src);
    if (sizes !== "any") assert.equal(size, sizes, src);
  }
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  assert.deepEqual(installabilityErrors, []);
  await page.close();
});

test("after one visit the page searches without a network", async () => {
  const site = await serve(DIST);
  const visit = async () => {
    const page = await context.newPage();
    await page.goto(`${site.origin}/`);
    await modelReady(page);
    await page.getByText("Works offline").waitFor();
    return page;
  };

  const first = await visit();
  await addFiles(first, [
    textFile(
      "tips.txt",
      "Old or overheated yeast is the usual culprit when dough stays flat.\n\nIf you lie awake, get up.",
    ),
  ]);
  assert.match(await best(first, "my bread does not rise"), /dough stays flat/);
  const [kept = [], ...others] = Object.values(await keptFiles(first));
  assert.deepEqual(others, []);
  for (const name of [
    "index.html",
    "bench.html",
    "main.js",
    "bench.js",
    "style.css",
    "demo.css",
    "favicon.svg",
    "app.webmanifest",
  ]) {
    const hasName = (path: string) => path.replace(/\.[0-9a-f]{8}(?=\.)/, "") === `/${name}`;
    assert.ok(kept.some(hasName), `${name} is not among ${kept.join(" ")}`);
  }
  assert.deepEqual(
    kept.filter((path) => /\.map$|^\/(models|corpora)\/|-gpu\.|service-worker/.test(path)),
    [],
  );
  // Each index has a worker, which asks for its module again.
  const artefacts = [...new Set(site.requests.filter((path) => path.endsWith(".wasm")))];
  assert.equal(artefacts.length, 2, "the encoder and the index");
  assert.deepEqual(kept.filter((path) => path.endsWith(".wasm")).sort(), [...artefacts].sort());
  await first.close();

  await context.setOffline(true);
  const before = site.requests.length;
  const second = await visit();
  assert.match(await best(second, "my bread does not rise"), /dough stays flat/);
  await second.close();
  // The browser itself looks for a newer worker; being offline for pages does not stop it.
  assert.deepEqual(
    site.requests.slice(before).filter((path) => path !== "/service-worker.js"),
    [],
  );

  await site.stop();
  await assert.rejects(fetch(site.origin));
  const third = await visit();
  assert.match(await best(third, "I can't fall asleep"), /lie awake/);
  assert.equal(await third.locator("#fact-load-source").textContent(), "from this browser's storage");
  await third.click("text=How fast is this device?");
  await third.getByRole("button", { name: "Measure" }).waitFor();
  await third.close();
});
