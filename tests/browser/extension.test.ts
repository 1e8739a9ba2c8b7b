// The extension as it is built, in a browser with a profile of its own: the page is searched, saved, and found again without a network.

import assert from "node:assert/strict";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { type BrowserContext, chromium, type Page } from "playwright-core";

import { FLAGS } from "../support/browser.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** As far as the tests use it, inside of the extension's pages. */
declare const chrome: {
  offscreen: { closeDocument(): Promise<void> };
  runtime: { getContexts(filter: object): Promise<{ contextType: string }[]> };
};

const fromRoot = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const DIST = fromRoot("www/extension/dist");
const MODEL = fromRoot("www/models/all-MiniLM-L6-v2");

const PARAGRAPHS = [
  "Feed the starter with flour and water twice a day, and keep it in a warm corner of the kitchen.",
  "When the <b>dough stays flat</b>, the yeast was too old\n or the water too hot: wake it in lukewarm water with a little sugar first.",
  "A heavy iron pot keeps the steam of the loaf inside, which makes the crust crisp.",
  "Rye flour takes up more water than wheat, so the same recipe gives a stickier crumb.",
  "Let the loaf cool on a rack for an hour before the first slice, or the crumb turns gummy.",
  "Old bread becomes dumplings, croutons, or the bottom of an onion soup.",
];
const FLAT_DOUGH =
  "When the dough stays flat, the yeast was too old or the water too hot: wake it in lukewarm water with a little sugar first.";
/** A page with much that is not to be searched. */
const BREAD = `<!doctype html><title>Notes on bread</title>
  <style>p { margin-bottom: 120vh }</style><script>const secret = "the yeast in this script does not rise";</script>
  <nav><p>My bread does not rise: a list of links about that</p></nav>
  <p hidden>My bread does not rise, which nobody is shown here</p>
  <h1>Bread</h1>${PARAGRAPHS.map((text) => `<p>${text}</p>`).join("\n")}
  <p>Too short</p><div>Salt slows the yeast down.<br><br>Fat makes the crumb <i>tender</i> and keeps it fresh for longer.</div>`;
const SLEEP = `<!doctype html><title>Notes on sleep</title>
  <p>Those who lie awake at night should leave the bed and read something dull until they are tired.</p>
  <p>Coffee after lunch is still in the blood at midnight.</p>`;
/** So much that reading it takes a while. */
const LONG = `<!doctype html><title>Long</title>${Array.from({ length: 200 }, (_, i) => `<p>Paragraph number ${i} says that ${PARAGRAPHS[i % 6]} And again: ${PARAGRAPHS[(i + 1) % 6]}</p>`).join("")}
  <p>The ferry to the island leaves at noon.</p>`;

let site: Server;
let origin: string;
let elsewhere: Server;
/** What has been asked of any other host. */
const strangers: string[] = [];
/** The browser's own business, which no flag ends. */
const BROWSERS_OWN = /^(https?:\/\/)?[\w.-]+\.(google|googleapis|gvt1)\.com[:/]/;
let extension: string;
let profile: string;
let context: BrowserContext;
let id: string;
/** What the extension's pages should never say. */
const complaints: string[] = [];

before(async () => {
  site = createServer((request, response) => {
    const page = { "/bread": BREAD, "/sleep": SLEEP, "/long": LONG }[request.url ?? ""];
    response
      .writeHead(page ? 200 : 404, {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
      })
      .end(page);
  });
  origin = await listen(site);
  // The proxy for everything that is not local: whatever comes here has left the machine.
  const note = ({ url = "" }: IncomingMessage) => void (BROWSERS_OWN.test(url) || strangers.push(url));
  elsewhere = createServer((request, response) => {
    note(request);
    response.writeHead(502).end();
  });
  elsewhere.on("connect", (request, socket) => {
    note(request);
    socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  await listen(elsewhere);
  extension = await copyOfExtension();
  const folder = join(extension, "models/all-MiniLM-L6-v2");
  await cp(MODEL, folder, { recursive: true });
  profile = await temporaryFolder();
  await open(extension);
});
after(async () => {
  await context.close();
  for (const server of [site, elsewhere]) {
    server.close();
    server.closeAllConnections();
  }
});

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Nobody can press the toolbar's button here, which is what lets the extension into a page: the copy may read the test's own. */
async function copyOfExtension(): Promise<string> {
  const folder = await temporaryFolder();
  await cp(DIST, folder, {
    recursive: true,
    filter: (path) => path !== join(DIST, "models") && !path.endsWith(".map"),
  });
  const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8")) as object;
  await writeFile(
    join(folder, "manifest.json"),
    JSON.stringify({ ...manifest, host_permissions: ["http://127.0.0.1/*"] }),
  );
  return folder;
}

/** Starts the browser with an extension. */
async function open(extension: string): Promise<void> {
  const { port } = elsewhere.address() as AddressInfo;
  context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env["CHROME"] ?? "chromium",
    headless: false,
    args: [
      ...FLAGS,
      `--load-extension=${extension}`,
      `--disable-extensions-except=${extension}`,
      `--proxy-server=http://127.0.0.1:${port}`,
    ],
  });
  const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent("serviceworker"));
  id = new URL(worker.url()).host;
  // tsx wraps functions in a helper, which the pages that they are sent to do not have.
  await context.addInitScript({ content: "globalThis.__name = (target) => target;" });
}

async function openSite(path: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(origin + path);
  return page;
}

/** The popup or the side panel, as a tab behind the one that it is about. */
async function openPanel(front: Page, name = "popup.html"): Promise<Page> {
  const panel = await context.newPage();
  panel.on("pageerror", (error) => complaints.push(error.message));
  panel.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  await panel.goto(`chrome-extension://${id}/${name}`);
  await front.bringToFront();
  await panel.reload();
  return panel;
}

/** The best passage for a query. */
async function best(panel: Page, query: string): Promise<string> {
  const before = await panel.$(".ranking");
  await panel.fill("#query", query);
  await panel.waitForFunction((before) => ![null, before].includes(document.querySelector(".ranking")), before, {
    timeout: 60_000,
  });
  return panel.locator(".hit-text").first().innerText();
}

const chooseSaved = (panel: Page) => panel.getByRole("radio", { name: /^Saved pages/ }).check({ force: true });

async function stopServiceWorker(panel: Page): Promise<void> {
  const session = await context.newCDPSession(panel);
  await session.send("ServiceWorker.enable");
  await session.send("ServiceWorker.stopAllWorkers");
  await panel.waitForFunction(
    async () => (await chrome.runtime.getContexts({ contextTypes: ["BACKGROUND"] })).length === 0,
  );
  await session.detach();
}

test("it asks for nothing that it does not need, and holds no code from elsewhere", async () => {
  const manifest = JSON.parse(await readFile(join(DIST, "manifest.json"), "utf8"));
  assert.deepEqual(manifest.permissions, ["activeTab", "offscreen", "scripting", "sidePanel", "unlimitedStorage"]);
  for (const key of [
    "host_permissions",
    "optional_permissions",
    "optional_host_permissions",
    "content_scripts",
    "web_accessible_resources",
    "externally_connectable",
  ]) {
    assert.ok(!(key in manifest), key);
  }
  const csp = manifest.content_security_policy.extension_pages as string;
  assert.match(csp, /script-src 'self' 'wasm-unsafe-eval';/);
  assert.match(csp, /object-src 'self';/);
  assert.match(csp, /connect-src 'self' https:\/\/huggingface\.co https:\/\/\*\.huggingface\.co https:\/\/\*\.hf\.co;/);
  assert.doesNotMatch(csp, /'unsafe-|blob:|data:|http:/);
  for (const name of await readdir(DIST)) {
    if (!/\.(js|html|css)$/.test(name)) continue;
    const text = await readFile(join(DIST, name), "utf8");
    // The package makes a `blob:` worker only where its own came from one, which the policy above forbids here.
    assert.doesNotMatch(text, /\beval\(|new Function\b|importScripts/, name);
    const addresses = text.match(/\b(https?|wss?):\/\/[^\s"'`)]+/g) ?? [];
    assert.deepEqual(
      addresses.filter((url) => url !== "https://huggingface.co"),
      [],
      name,
    );
  }
});

test("the page is searched by meaning, and what is found is shown in it", async () => {
  const bread = await openSite("/bread");
  const panel = await openPanel(bread);
  assert.equal(await best(panel, "my bread does not rise"), FLAT_DOUGH);
  const texts = await panel.locator(".hit-text").allInnerTexts();
  assert.deepEqual(
    texts.filter((text) => /script|nobody|links|short/.test(text)),
    [],
  );
  assert.ok(texts.includes("Fat makes the crumb tender and keeps it fresh for longer."), texts.join("\n"));
  assert.equal(texts.length, 8);
  assert.equal(await panel.locator(".topic").first().innerText(), "Notes on bread");
  assert.match(await panel.locator(".score").first().innerText(), /^0\.\d\d$/);
  assert.match(await panel.locator("#results-note").innerText(), /^8 passages of this page ranked in [\d.]+ m?s\.$/);
  assert.match(await panel.locator("#model").innerText(), /^all-MiniLM-L6-v2, part of this extension · CPU, q8$/);

  // By keyboard alone.
  await panel.focus("#query");
  await panel.keyboard.press("ArrowDown");
  await panel.keyboard.press("Enter");
  const shown = () =>
    bread.evaluate(() => {
      const ranges = [...(CSS.highlights.get("embervec") ?? [])];
      const { top = -1 } = document.querySelector("b")?.getBoundingClientRect() ?? {};
      const colour = getComputedStyle(document.querySelector("b")!, "::highlight(embervec)").backgroundColor;
      return { text: ranges.map(String).join("").replace(/\s+/g, " "), inSight: top > 0 && top < innerHeight, colour };
    });
  for (let waited = 0; waited < 50 && !(await shown()).inSight; waited++) await bread.waitForTimeout(100);
  assert.deepEqual(await shown(), { text: FLAT_DOUGH, inSight: true, colour: "rgb(255, 207, 158)" });

  // The page goes on living: what is gone from it is not pretended to be there.
  await bread.evaluate(() => document.querySelector("b")?.parentElement?.remove());
  await panel.locator(".hit-target").first().click();
  await panel.getByText("no longer on the page").waitFor();
  assert.notEqual(await best(panel, "the loaf did not rise"), FLAT_DOUGH);
  await panel.close();
  await bread.close();
});

test("a saved page is opened at the passage", async () => {
  for (const path of ["/bread", "/sleep"]) {
    const page = await openSite(path);
    const panel = await openPanel(page);
    await panel.getByRole("button", { name: "Save this page" }).click();
    await panel.getByRole("button", { name: "Saved", exact: true }).waitFor();
    await panel.close();
    await page.close();
  }
  const page = await openSite("/sleep");
  const panel = await openPanel(page, "side-panel.html");
  await chooseSaved(panel);
  await panel.getByText("Notes on bread").waitFor();
  assert.equal(await panel.locator("#scope-saved").innerText(), "Saved pages (2)");
  assert.equal(await best(panel, "my bread does not rise"), FLAT_DOUGH);
  const [opened] = await Promise.all([context.waitForEvent("page"), panel.locator(".hit-target").first().click()]);
  await opened.waitForFunction(() => scrollY > 0);
  assert.equal(new URL(opened.url()).pathname, "/bread");
  await opened.close();
  await panel.close();
  await page.close();
});

test("stopping the service worker, or the encoder, does not end a search", async () => {
  const sleep = await openSite("/sleep");
  const panel = await openPanel(sleep);
  assert.match(await best(panel, "I have insomnia"), /lie awake/);
  await stopServiceWorker(panel);
  assert.match(await best(panel, "caffeine in the evening"), /Coffee after lunch/);

  const long = await openSite("/long");
  const side = await openPanel(long, "side-panel.html");
  await side.getByText(/^\d+ of 201 passages$/).waitFor();
  await stopServiceWorker(side);
  assert.equal(await best(side, "when does the boat sail"), "The ferry to the island leaves at noon.");

  // A panel that comes anew, while there is no service worker.
  await stopServiceWorker(side);
  await long.bringToFront();
  await side.reload();
  assert.equal(await best(side, "when does the ship depart"), "The ferry to the island leaves at noon.");

  // Both panels need the encoder again, and only one is made.
  await side.evaluate(() => chrome.offscreen.closeDocument());
  const [one, other] = await Promise.all([best(panel, "sleepless"), best(side, "by sea")]);
  assert.match(one, /lie awake/);
  assert.equal(other, "The ferry to the island leaves at noon.");
  const encoders = await side.evaluate(() => chrome.runtime.getContexts({ contextTypes: ["OFFSCREEN_DOCUMENT"] }));
  assert.equal(encoders.length, 1);
  await context.close();
});

test("without a bundled model it asks before it fetches one, and says what to do when that fails", async () => {
  const before = profile;
  profile = await temporaryFolder();
  await open(await copyOfExtension());
  strangers.length = 0;
  const page = await openSite("/sleep");
  const panel = await openPanel(page);
  const download = panel.getByRole("button", { name: "Download the model" });
  await download.waitFor();
  await panel.fill("#query", "sleepless");
  await panel.waitForTimeout(500);
  assert.deepEqual(strangers, []);

  await download.click();
  await panel.getByText("Downloading the model").or(panel.getByText("Starting the model")).first().waitFor();
  const alert = panel.getByRole("alert");
  await alert.getByText("The model could not be fetched").waitFor();
  assert.match(
    await alert.innerText(),
    /Check the connection and try again\. .*network Could not fetch https:\/\/huggingface\.co\/\S+\./s,
  );
  assert.ok(strangers.length > 0);
  assert.deepEqual(
    strangers.filter((host) => host !== "huggingface.co:443"),
    [],
  );
  await context.close();
  profile = before;
});

test("after a restart, without a network, saved pages are found", async () => {
  site.close();
  site.closeAllConnections();
  strangers.length = 0;
  await open(extension);
  await context.setOffline(true);
  const urls: string[] = [];
  context.on("request", (request) => urls.push(request.url()));
  const panel = await openPanel(context.pages()[0]!);
  await panel.getByText("This page cannot be read").waitFor();
  await chooseSaved(panel);
  assert.equal(await best(panel, "my bread does not rise"), FLAT_DOUGH);
  assert.equal(await panel.locator(".topic").first().innerText(), "Notes on bread");
  assert.match(await best(panel, "I have insomnia"), /lie awake/);
  const link = await panel.locator(".hit-target").first().getAttribute("href");
  assert.equal(
    link,
    `${origin}/sleep#:~:text=Those%20who%20lie%20awake%20at%20night,something%20dull%20until%20they%20are%20tired.`,
  );

  await panel.fill("#query", "");
  await panel.getByRole("button", { name: "Remove Notes on sleep" }).click();
  await panel.getByText("Notes on sleep", { exact: true }).waitFor({ state: "detached" });
  assert.equal(await panel.locator("#scope-saved").innerText(), "Saved pages (1)");
  assert.ok(urls.length > 0);
  assert.deepEqual(
    urls.filter((url) => !url.startsWith(`chrome-extension://${id}/`)),
    [],
  );
  assert.deepEqual(strangers, []);
  assert.deepEqual(complaints, []);
  await context.close();
});
