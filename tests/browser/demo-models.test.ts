// The models that the demo offers: the languages that they read are said, and one that lies beside the page's own can be
// switched to.

import assert from "node:assert/strict";
import { test } from "node:test";

import { addFiles, best, checkAccessibility, modelReady, openDemo, search, textFile } from "../support/demo.ts";

const NOTES = textFile("tips.txt", "Old or overheated yeast is the usual culprit when dough stays flat.");

test("a multilingual model beside the page's own is offered with its languages, and switched to", async (context) => {
  // Its vectors mean nothing; what counts is where the page finds it and what it says.
  const demo = await openDemo({ models: { "multilingual-e5-small": "tiny-no-modules" } });
  context.after(() => demo.close());
  const { page } = demo;
  await demo.open();
  await modelReady(page);
  await addFiles(page, [NOTES]);
  assert.match(await page.innerText("#pill-text"), /^English · /);
  await page.click("#panel-open");
  assert.equal(await page.innerText("#fact-language"), "Reads English.");
  const other = page.getByRole("button", { name: "Switch to multilingual-e5-small, which reads about 100 languages" });
  await other.waitFor();
  await checkAccessibility(page, "the panel with another model");
  assert.equal(demo.urls.filter((url) => url.includes("multilingual")).length, 0, "it is fetched when it is chosen");
  await other.click();
  await page.locator("#pill-text", { hasText: /^about 100 languages · / }).waitFor();

  // The vectors of the other model are not taken for its own.
  const problem = page.locator(".collection-problem");
  await page.locator(".collection summary").click();
  await problem.getByText("Searched by words only").waitFor();
  await problem.getByRole("button", { name: "Encode it with this model" }).click();
  await problem.getByRole("button").first().waitFor({ state: "detached" });
  await search(page, "yeast");

  await page.click("#panel-open");
  assert.equal(await page.innerText("#fact-language"), "Reads about 100 languages.");
  await page.getByRole("button", { name: "Switch to all-MiniLM-L6-v2, which reads English" }).click();
  await page.locator("#pill-text", { hasText: /^English · / }).waitFor();
  await demo.open();
  await page.locator("#pill-text", { hasText: /^English · / }).waitFor();
  const origins = new Set(demo.urls.map((url) => new URL(url).origin));
  assert.deepEqual([...origins], [demo.browser.origin]);
});

test("while another model is loading, the panel says nothing of the one before", async (context) => {
  const demo = await openDemo({ models: { "multilingual-e5-small": "tiny-no-modules" } });
  context.after(() => demo.close());
  const { page } = demo;
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  // What a service worker may answer cannot be held.
  await demo.context.addInitScript("delete Navigator.prototype.serviceWorker;");
  await demo.context.route(/\/multilingual-e5-small\/.*config\.json$/, async (route) => {
    await held;
    await route.continue();
  });
  await demo.open();
  await modelReady(page);
  await page.click("#panel-open");
  assert.match(await page.innerText("#fact-dtype"), /^q8/);
  await page.getByRole("button", { name: /^Switch to multilingual-e5-small/ }).click();
  await page.locator('#panel-open[data-state="loading"]').click();
  const facts = ["device", "reason", "dtype", "kernels", "load", "load-source", "kept"];
  const said = await Promise.all(facts.map((name) => page.innerText(`#fact-${name}`)));
  assert.deepEqual(said, ["starting", "", "unknown yet", "", "not loaded yet", "", ""]);
  release();
  await page.locator("#fact-dtype", { hasText: /bits per number/ }).waitFor();
});

test("without one nothing is offered, asked for or complained of", async (context) => {
  const demo = await openDemo();
  context.after(() => demo.close());
  const { page } = demo;
  await demo.open();
  await modelReady(page);
  await addFiles(page, [NOTES]);
  assert.match(await best(page, "my bread does not rise"), /dough stays flat/);
  await page.click("#panel-open");
  await page.waitForFunction(() => document.querySelectorAll("#model-choice option").length > 0);
  assert.deepEqual(await page.locator("#model-choice option").allInnerTexts(), [
    "all-MiniLM-L6-v2 (English)",
    "Another one …",
  ]);
  assert.equal(await page.locator("#other-models button").count(), 0);
  assert.deepEqual(
    demo.urls.filter((url) => url.includes("multilingual") || new URL(url).origin !== demo.browser.origin),
    [],
  );
  assert.deepEqual(demo.complaints, []);
});
