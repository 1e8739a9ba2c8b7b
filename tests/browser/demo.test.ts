// The demo page as it is published, under its own Content-Security-Policy: one's own documents, found by meaning.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";

import {
  addFiles,
  added,
  best,
  type Demo,
  modelReady,
  openDemo,
  openOnMap,
  search,
  textFile,
} from "../support/demo.ts";

const TIPS = `# Kitchen

Old or overheated yeast is the usual culprit when dough stays flat and dense. Stir a spoonful into warm sugared water.

Onions sting because cutting them releases a gas that turns acidic in your tears.

# Sleep

If you lie awake, get up after twenty minutes and read something dull in dim light.

# Music

Trembling hands before a recital are adrenaline doing its job. Breathe out for longer than you breathe in.

# Travel

Choose a seat over the wing if turbulence troubles you. Like the middle of a seesaw, that part moves least.

# Money

Put a fixed share of each wage aside for retirement before you can spend it.
`;

/** Queries that share no telling word with the passage that should come first. */
const EXPECTED: [query: string, best: RegExp][] = [
  ["my bread does not rise", /dough stays flat/],
  ["I can't fall asleep", /lie awake/],
  ["nervous in front of an audience", /Trembling hands before a recital/],
  ["saving for old age", /aside for retirement/],
  ["scared of flying", /if turbulence troubles you/],
];

let demo: Demo;
before(async () => {
  demo = await openDemo();
});
after(() => demo.close());

const text = (selector: string) => demo.page.locator(selector).first().innerText();
const focused = () =>
  demo.page.evaluate(() => document.activeElement?.closest("label, button, a")?.textContent?.trim() ?? "");

test("text that is pasted is found by meaning, by keyboard alone", async () => {
  const { page } = demo;
  await demo.open();
  await page.focus("#add-open");
  await page.keyboard.press("Enter");
  await page.keyboard.insertText("Lunch is at noon on Thursday.\n\nAnna will order new chairs before Friday.");
  for (const name of ["", "Cancel", "Add"]) {
    await page.keyboard.press("Tab");
    assert.equal(await focused(), name);
  }
  await page.keyboard.press("Enter");
  await added(page, "My documents");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "query");
  await page.keyboard.type("who buys furniture");
  await page.getByText("searched by meaning in").waitFor();
  assert.match(await text(".hit-text"), /Anna will order new chairs before Friday\./);
});

test("files are read by their kind, and what cannot be read says why", async () => {
  const { page } = demo;
  await modelReady(page);
  await addFiles(page, [
    textFile("tips.md", TIPS, "text/markdown"),
    textFile("people.csv", "name,city,job\nAnna,Oslo,baker\nBen,Rome,pilot\n", "text/csv"),
    { name: "cafe.txt", mimeType: "text/plain", buffer: Buffer.from("Die B\xe4cker backen fr\xfch.", "latin1") },
    { name: "photo.png", mimeType: "image/png", buffer: Buffer.from("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "latin1") },
  ]);
  assert.match(await text("#reports"), /photo\.png: .*picture/);
  for (const [query, passage] of EXPECTED) assert.match(await best(page, query), passage, query);
  assert.match(await best(page, "who lives in the capital of Italy"), /pilot/);
  assert.match(await text(".hit-place"), /row 3/);
  await page.selectOption("#mode", "hybrid");
  assert.match(await best(page, "Bäcker"), /Die Bäcker backen früh\./);
  await page.selectOption("#mode", "semantic");
});

test("the sentence that matched is marked, and the hit says why it is one", async () => {
  const { page } = demo;
  await search(page, "my bread does not rise");
  await page.locator(".hit mark").first().waitFor();
  assert.match(await text(".hit mark"), /^Old or overheated yeast .* dense\.$/);
  assert.match(await text(".hit-place"), /Kitchen/);
  const why = page.getByRole("button", { name: "Why?" }).first();
  await why.click();
  assert.equal(await why.getAttribute("aria-expanded"), "true");
  assert.match(await text(".why"), /0\.\d\d near to the query; its nearest sentences:/);
});

test("a hit opens in its document, which is in the address, and Back leads out of it", async () => {
  const { page } = demo;
  await search(page, "I can't fall asleep");
  await page.keyboard.press("ArrowDown");
  assert.equal(await page.evaluate(() => document.activeElement?.closest(".hit") !== null), true);
  await page.keyboard.press("Enter");
  await page.locator("#reader mark").first().waitFor();
  assert.match(await text("#reader mark"), /lie awake/);
  assert.match(await text("#reader-body"), /Onions sting[^]*aside for retirement/);
  const address = page.url();
  assert.match(address, /document=tips\.md/);
  await page.goBack();
  await page.locator("#reader").waitFor({ state: "hidden" });
  assert.equal(await page.inputValue("#query"), "I can't fall asleep");
  await page.goto(address);
  await modelReady(page);
  await page.locator("#reader mark").first().waitFor();
  assert.match(await text("#reader mark"), /lie awake/);
  await page.keyboard.press("Escape");
  await page.locator("#reader").waitFor({ state: "hidden" });
  assert.doesNotMatch(page.url(), /document=/);
});

test("more like this, and back to the query", async () => {
  const { page } = demo;
  await search(page, "saving for old age");
  await page.getByRole("button", { name: "More like this" }).first().click();
  await page.getByRole("heading", { name: "More like this" }).waitFor();
  assert.doesNotMatch(await text("#results"), /aside for retirement/);
  await page.getByRole("button", { name: "Back to the query" }).click();
  await page.getByRole("heading", { name: "Closest passages" }).waitFor();
  assert.match(await text(".hit-text"), /aside for retirement/);
});

test("words, meaning or both; one type or all", async () => {
  const { page } = demo;
  await search(page, "turbulence");
  await page.selectOption("#mode", "keyword");
  await page.getByText("searched by words in").waitFor();
  assert.equal(await page.locator(".hit").count(), 1);
  assert.equal(await text(".hit .word"), "turbulence");
  await page.fill("#query", "frightened");
  await page.getByText("Nothing found").waitFor();
  await page.selectOption("#mode", "semantic");
  await page.getByText("searched by meaning in").waitFor();
  await page.selectOption("#type", "csv");
  await page.waitForFunction(() =>
    [...document.querySelectorAll(".hit h3")].every((title) => title.textContent === "people.csv"),
  );
  await page.selectOption("#type", "");
  await page.selectOption("#mode", "hybrid");
  await page.getByText("searched by meaning and words in").waitFor();
  await page.waitForFunction(() => location.search.includes("mode=hybrid"));
  await page.selectOption("#mode", "semantic");
});

test("it is all there after a reload: the query, the documents, the model", async () => {
  const { page, urls } = demo;
  await search(page, "scared of flying");
  await page.waitForFunction(() => location.search.includes("q=scared"));
  const seen = urls.length;
  await page.reload();
  await page.getByText("searched by meaning in").waitFor();
  assert.match(await text(".hit-text"), /if turbulence troubles you/);
  await page.click("#panel-open");
  assert.equal(await text("#fact-load-source"), "from this browser's storage");
  assert.match(await text("#fact-device"), /^CPU(, up to \d+ workers)?$/);
  assert.match(await text("#fact-language"), /English/);
  assert.match(await text("#fact-storage"), /^[\d.]+ \wB of /);
  await page.keyboard.press("Escape");
  const fetched = urls.slice(seen).filter((url) => /\/models\/.*\//.test(url));
  assert.deepEqual(fetched, []);
});

test("a collection is named, exported, imported, renamed and deleted", async () => {
  const { page } = demo;
  await addFiles(page, [textFile("minutes.txt", "The board meets in Lisbon.\n\nParking is free.")], "Work");
  await page.selectOption("#scope", "Work");
  await page.fill("#query", "where do the directors gather");
  await page.waitForFunction(() => document.querySelector(".hit h3")?.textContent === "minutes.txt");
  const work = page.locator(".collection", { hasText: "Work" });
  await work.locator("summary").click();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    work.getByRole("button", { name: "Export" }).click(),
  ]);
  assert.equal(download.suggestedFilename(), "Work.embervec");
  await work.getByRole("button", { name: "Rename" }).click();
  await page.fill("#ask-input", "Office");
  await page.keyboard.press("Enter");
  await page.locator(".collection-name", { hasText: "Office" }).waitFor();
  const buffer = await readFile(await download.path());
  await page.setInputFiles("#library-import", { name: "Copy.embervec", mimeType: "application/octet-stream", buffer });
  await page.locator(".collection-name", { hasText: "Copy" }).waitFor();
  for (const name of ["Copy", "Office"]) {
    const row = page.locator(".collection", { hasText: name });
    if (!(await row.getAttribute("open")) && (await row.getAttribute("open")) !== "")
      await row.locator("summary").click();
    await row.getByRole("button", { name: "Delete" }).click();
    await page.click("#ask-ok");
    await page.locator(".collection-name", { hasText: name }).waitFor({ state: "detached" });
  }
  await page.setInputFiles("#library-import", textFile("broken.embervec", "no index"));
  await page.getByRole("alert").getByText("integrity").waitFor();
  // A search that succeeds meanwhile does not take it away.
  await page.fill("#query", "who lives in the capital of Italy");
  await page.locator(".hit-text").first().waitFor();
  await page.getByRole("alert").getByRole("button", { name: "Close" }).click();
});

test("a document that is removed is found no more", async () => {
  const { page } = demo;
  assert.match(await best(page, "who lives in the capital of Italy"), /pilot/);
  await page.locator(".collection summary").first().click();
  await page.getByRole("button", { name: "Remove people.csv" }).click();
  await page.waitForFunction(() => !document.getElementById("results")!.textContent!.includes("pilot"));
});

test("the map is seen, pointed at and opened, by mouse and by keyboard", async () => {
  const { page } = demo;
  const frame = page.locator("#map-frame");
  await frame.scrollIntoViewIfNeeded();
  // Without the document that was just removed.
  await page.waitForFunction(() => {
    const [passages] = /^\d+/.exec(document.querySelector(".collection small")!.textContent!) ?? [];
    return document.getElementById("map-frame")!.getAttribute("aria-label")!.startsWith(`Map of ${passages} `);
  });
  await openOnMap(page);
  await page.keyboard.press("Escape");
  await page.locator("#reader").waitFor({ state: "hidden" });
  const box = (await frame.boundingBox())!;
  for (let y = 10; y < box.height; y += 14) {
    for (let x = 10; x < box.width; x += 14) await page.mouse.move(box.x + x, box.y + y);
    if (!(await text("#map-caption")).startsWith("What lies near")) break;
  }
  // The last row that was pointed along holds a point.
  assert.doesNotMatch(await text("#map-caption"), /^$/);
});

test("no request went to another host, and nothing was refused", () => {
  assert.deepEqual(
    demo.urls.filter((url) => new URL(url).origin !== demo.browser.origin && !url.startsWith("blob:")),
    [],
  );
  assert.deepEqual(demo.complaints, []);
});

test("a failure says what to do", async () => {
  const { page } = demo;
  await demo.open("?model=./models/nothing/");
  await page.getByRole("alert").getByText("The model was not found").waitFor();
  assert.match(await text("#failure-message"), /\/www\/dist\/models\/nothing\/config\.json is missing/);
  await page.getByRole("button", { name: "Use the demo's model" }).click();
  await modelReady(page);

  await demo.open("?device=webgpu");
  await page.getByRole("alert").getByText("WebGPU is not available").waitFor();
  await page.getByRole("button", { name: "Use the automatic choices" }).click();
  await modelReady(page);
  assert.match(await best(page, "my bread does not rise"), /dough stays flat/);
});

test("another precision's vectors are not mixed with these; the collection can be encoded anew", async () => {
  const { page } = demo;
  await page.click("#panel-open");
  await page.selectOption("#model-dtype", "fp32");
  await page.getByRole("button", { name: "Switch" }).click();
  await page.locator(".collection", { hasText: "My documents" }).locator("summary").click();
  await page.getByRole("button", { name: "Encode it with this model" }).click();
  await page.getByRole("button", { name: "Encode it with this model" }).waitFor({ state: "detached" });
  assert.match(await best(page, "my bread does not rise"), /dough stays flat/);
  await page.getByText("searched by meaning in").waitFor();
});

test("everything can be deleted", async () => {
  const { page } = demo;
  await page.click("#panel-open");
  await page.click("#erase");
  await Promise.all([page.waitForNavigation(), page.click("#ask-ok")]);
  await modelReady(page);
  assert.equal(await page.locator(".collection").count(), 0);
  await page.click("#panel-open");
  await page.waitForFunction(() => document.getElementById("fact-load-source")!.textContent === "downloaded");
});
