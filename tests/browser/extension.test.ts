// The extension as it is built: the page is searched, saved, and found again without a network.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import type { BrowserContext, Page } from "playwright-core";

import {
  barriers,
  best,
  copyOfExtension,
  DIST,
  openExtension,
  type OpenExtension,
  servePages,
  type Site,
  watchStrangers,
} from "../support/extension.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** As far as the tests use it, inside of the extension's pages. */
declare const chrome: {
  offscreen: { closeDocument(): Promise<void> };
  runtime: { getContexts(filter: object): Promise<{ contextType: string }[]> };
};

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
const LONG_COUNT = 201;
const LONG = `<!doctype html><title>Long</title>${Array.from({ length: LONG_COUNT - 1 }, (_, i) => `<p>Paragraph number ${i} says that ${PARAGRAPHS[i % 6]} And again: ${PARAGRAPHS[(i + 1) % 6]}</p>`).join("")}
  <p>The ferry to the island leaves at noon.</p>`;

let site: Site;
let origin: string;
let elsewhere: Awaited<ReturnType<typeof watchStrangers>>;
let extension: string;
let profile: string;
let opened: OpenExtension;
let context: BrowserContext;
let id: string;
const complaints: string[] = [];

before(async () => {
  site = await servePages({ "/bread": { body: BREAD }, "/sleep": { body: SLEEP }, "/long": { body: LONG } });
  ({ origin } = site);
  elsewhere = await watchStrangers();
  extension = await copyOfExtension();
  profile = await temporaryFolder();
  await open(extension);
});
after(async () => {
  await context.close();
  site.close();
  elsewhere.close();
});

async function open(extension: string): Promise<void> {
  opened = await openExtension(extension, { profile, proxy: elsewhere.address });
  ({ context, id } = opened);
}

const openSite = (path: string) => opened.openSite(origin, path);

async function openPanel(front: Page, name?: string): Promise<Page> {
  const panel = await opened.openPanel(front, name);
  complaints.push(...opened.complaints.splice(0));
  return panel;
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
  assert.deepEqual(manifest.permissions, [
    "activeTab",
    "offscreen",
    "scripting",
    "sidePanel",
    "storage",
    "unlimitedStorage",
  ]);
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
    // The PDF library names XML namespaces, and tries what the browser makes of addresses; nothing is loaded from these.
    if (/^(?:worker-)?pdf-libraries\./.test(name)) continue;
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
  const texts = await panel.locator(".ranking .hit-text").allInnerTexts();
  assert.deepEqual(
    texts.filter((text) => /script|nobody|links|short/.test(text)),
    [],
  );
  assert.ok(texts.includes("Fat makes the crumb tender and keeps it fresh for longer."), texts.join("\n"));
  assert.equal(texts.length, 8);
  // The menu says it in the same words, but is not what the page is about.
  assert.deepEqual(await panel.locator(".ranking-aside .hit-text").allInnerTexts(), [
    "My bread does not rise: a list of links about that",
  ]);
  assert.equal(await panel.locator(".topic").first().innerText(), "Bread");
  assert.match(await panel.locator(".score").first().innerText(), /^0\.\d\d$/);
  assert.match(await panel.locator("#results-note").innerText(), /^9 passages of this page ranked in [\d.]+ m?s\.$/);
  assert.match(await panel.locator("#model").innerText(), /^all-MiniLM-L6-v2, part of this extension · CPU, q8$/);
  assert.equal(await panel.evaluate(() => crossOriginIsolated), true);
  assert.deepEqual(await barriers(panel), []);

  // By keyboard alone.
  await panel.focus("#query");
  await panel.keyboard.press("ArrowDown");
  await panel.keyboard.press("Enter");
  await waitForMark(bread, FLAT_DOUGH);
  assert.equal(
    await panel.locator(".hit-target[aria-current]").innerText(),
    await panel.locator(".hit-target").first().innerText(),
  );
  assert.equal(
    await bread.evaluate(() => getComputedStyle(document.querySelector("b")!, "::highlight(embervec)").backgroundColor),
    "rgb(255, 207, 158)",
  );

  // The page goes on living: what is gone from it is not pretended to be there.
  await bread.evaluate(() => document.querySelector("b")?.parentElement?.remove());
  await panel.locator(".hit-target").first().click();
  await panel.getByText("no longer on the page").first().waitFor();
  assert.notEqual(await best(panel, "the loaf did not rise"), FLAT_DOUGH);
  await panel.close();
  await bread.close();
});

test("a mark stays when the popup is closed, and leads on to the other hits", async () => {
  const bread = await openSite("/bread");
  const panel = await openPanel(bread);
  await best(panel, "my bread does not rise");
  const texts = await panel.locator(".hit-text").allInnerTexts();
  await panel.locator(".hit-target").first().click();
  await waitForMark(bread, FLAT_DOUGH);
  await panel.close();
  await bread.bringToFront();
  await bread.mouse.click(200, 200);
  await waitForMark(bread, FLAT_DOUGH);

  // By mouse, then by keyboard: the bar has three buttons, and is the page's last element.
  const { x, y, width, height } = (await bread.locator("embervec-hits").boundingBox())!;
  const press = (fromRight: number) => bread.mouse.click(x + width - 22 - 36 * fromRight, y + height / 2);
  await press(1);
  await waitForMark(bread, texts[1]!);
  await press(2);
  await waitForMark(bread, FLAT_DOUGH);
  await press(2); // before the first comes the last
  await waitForMark(bread, texts.at(-1)!);
  await bread.keyboard.press("Tab");
  await bread.keyboard.press("Enter");
  await waitForMark(bread, FLAT_DOUGH);

  // The popup comes back with its query, and knows the mark.
  const again = await openPanel(bread);
  await again.locator(".hit-target[aria-current]").waitFor();
  assert.equal(await again.inputValue("#query"), "my bread does not rise");
  assert.equal(await again.evaluate(() => getSelection()?.toString()), "my bread does not rise");
  await waitForMark(bread, FLAT_DOUGH);

  // A new search takes it away, and so do the two buttons.
  await best(again, "rye bread");
  await waitForMark(bread, "");
  await again.locator(".hit-target").first().click();
  await again.getByRole("button", { name: "Clear the mark" }).click();
  await waitForMark(bread, "");
  assert.equal(await bread.locator("embervec-hits").count(), 0);
  await again.locator(".hit-target").first().click();
  await bread.locator("embervec-hits").waitFor();
  await bread.bringToFront();
  await press(0);
  await waitForMark(bread, "");
  await again.close();
  await bread.close();
});

/** Until this text is marked, and in sight. */
async function waitForMark(page: Page, text: string): Promise<void> {
  const marked = () =>
    page.evaluate(() => {
      const ranges = [...(CSS.highlights.get("embervec") ?? [])] as Range[];
      const { top = -1 } = ranges[0]?.getBoundingClientRect() ?? {};
      return { text: ranges.map(String).join("").replace(/\s+/g, " "), inSight: top > 0 && top < innerHeight };
    });
  const wanted = { text, inSight: text !== "" };
  for (let waited = 0; waited < 50; waited++) {
    const { text, inSight } = await marked();
    if (text === wanted.text && inSight === wanted.inSight) return;
    await page.waitForTimeout(100);
  }
  assert.deepEqual(await marked(), wanted);
}

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
  const [reader] = await Promise.all([context.waitForEvent("page"), panel.locator(".hit-target").first().click()]);
  assert.equal(await reader.locator("mark").innerText(), FLAT_DOUGH);
  await reader.getByRole("link", { name: "Open the page itself" }).click();
  await reader.waitForURL(/\/bread/);
  await reader.waitForFunction(() => scrollY > 0);
  await reader.close();
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
  await stopServiceWorker(side);
  assert.equal(await best(side, "when does the boat sail", LONG_COUNT), "The ferry to the island leaves at noon.");

  // A panel that comes anew, while there is no service worker.
  await stopServiceWorker(side);
  await long.bringToFront();
  await side.reload();
  assert.equal(await best(side, "when does the ship depart", LONG_COUNT), "The ferry to the island leaves at noon.");

  // Both panels need the encoder again, and only one is made.
  await side.evaluate(() => chrome.offscreen.closeDocument());
  const [one, other] = await Promise.all([best(panel, "sleepless"), best(side, "by sea", LONG_COUNT)]);
  assert.match(one, /lie awake/);
  assert.equal(other, "The ferry to the island leaves at noon.");
  const encoders = await side.evaluate(() => chrome.runtime.getContexts({ contextTypes: ["OFFSCREEN_DOCUMENT"] }));
  assert.equal(encoders.length, 1);
  await context.close();
});

test("without a bundled model it asks before it fetches one, and says what to do when that fails", async () => {
  const before = profile;
  profile = await temporaryFolder();
  await open(await copyOfExtension({ withModel: false }));
  elsewhere.strangers.length = 0;
  const page = await openSite("/sleep");
  const panel = await openPanel(page);
  const download = panel.getByRole("button", { name: "Download the model" });
  await download.waitFor();
  await panel.fill("#query", "sleepless");
  await panel.waitForTimeout(500);
  assert.deepEqual(elsewhere.strangers, []);

  await download.click();
  await panel.getByText("Downloading the model").or(panel.getByText("Starting the model")).first().waitFor();
  const alert = panel.getByRole("alert");
  await alert.getByText("The model could not be fetched").waitFor();
  assert.match(
    await alert.innerText(),
    /Check the connection and try again\. .*network Could not fetch https:\/\/huggingface\.co\/\S+\./s,
  );
  assert.ok(elsewhere.strangers.length > 0);
  assert.deepEqual(
    elsewhere.strangers.filter((host) => host !== "huggingface.co:443"),
    [],
  );
  await context.close();
  profile = before;
});

test("after a restart, without a network, saved pages are found", async () => {
  site.close();
  elsewhere.strangers.length = 0;
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
  const [reader] = await Promise.all([context.waitForEvent("page"), panel.locator(".hit-target").first().click()]);
  assert.equal(
    await reader.getByRole("link", { name: "Open the page itself" }).getAttribute("href"),
    `${origin}/sleep#:~:text=Those%20who%20lie%20awake%20at%20night,something%20dull%20until%20they%20are%20tired.`,
  );
  await reader.close();

  await panel.fill("#query", "");
  await panel.getByRole("button", { name: "Remove Notes on sleep" }).click();
  await panel.getByText("Notes on sleep", { exact: true }).waitFor({ state: "detached" });
  assert.equal(await panel.locator("#scope-saved").innerText(), "Saved pages (1)");
  assert.ok(urls.length > 0);
  assert.deepEqual(
    urls.filter((url) => !url.startsWith(`chrome-extension://${id}/`)),
    [],
  );
  assert.deepEqual(elsewhere.strangers, []);
  assert.deepEqual([...complaints, ...opened.complaints], []);
  await context.close();
});
