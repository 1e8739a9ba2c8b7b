// The core of the demo page in every engine: one's own document is found by meaning, and again after a reload.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { CHROMIUM } from "../support/chromium.ts";
import { demoOverlay } from "../support/demo.ts";
import type { Engine, EnginePage } from "../support/engine.ts";
import { FIREFOX } from "../support/firefox.ts";
import { serveSite, type Site } from "../support/site.ts";
import { WEBKIT } from "../support/webkit.ts";

/** As for `core.test.ts`. */
const TIMEOUT_MS = 300_000;

for (const engine of [CHROMIUM, FIREFOX, WEBKIT]) {
  const skip = engine.program === undefined && `there is no ${engine.name} here`;
  describe(engine.name, { skip, timeout: TIMEOUT_MS }, () => demoIn(engine));
}

/** Runs in the page: until the model is ready. */
async function modelReady(): Promise<void> {
  while (document.querySelector('#panel-open[data-state="ready"]') === null) {
    const failure = document.getElementById("failure");
    if (failure && !failure.hidden) throw new Error(failure.innerText);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Runs in the page: adds a text as a person pastes it. */
async function paste(text: string): Promise<void> {
  document.getElementById("add-open")!.click();
  const field = document.getElementById("add-text") as HTMLTextAreaElement;
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  document.getElementById("add-submit")!.click();
  while (document.querySelector('.report[data-state="done"]') === null) {
    const failed = document.querySelector<HTMLElement>('.report[data-state="failed"]');
    if (failed) throw new Error(failed.innerText);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

interface Found {
  hit: string;
  marked: string;
  note: string;
  loadedFrom: string;
  /** Origins of what the page has fetched. */
  origins: string[];
}

/** Runs in the page: types a query, and gives the best hit once its sentence is marked. */
async function ask(query: string): Promise<Found> {
  const box = document.getElementById("query") as HTMLInputElement;
  box.value = query;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  while (document.querySelector(".hit mark") === null) await new Promise((resolve) => setTimeout(resolve, 100));
  const textOf = (selector: string) => document.querySelector(selector)?.textContent ?? "";
  const urls = performance.getEntriesByType("resource").map(({ name }) => new URL(name));
  return {
    hit: textOf(".hit-text"),
    marked: textOf(".hit mark"),
    note: textOf("#results-note"),
    loadedFrom: textOf("#fact-load-source"),
    origins: [...new Set(urls.map(({ origin }) => origin))],
  };
}

function demoIn(engine: Engine): void {
  let site: Site;
  let page: EnginePage;

  before(async () => {
    site = await serveSite({ overlay: await demoOverlay() });
    page = await engine.start();
  });
  after(async () => {
    await page?.close();
    site?.close();
  });

  test("a text is added, found by meaning, and found again after a reload", async () => {
    const url = `${site.origin}/www/dist/`;
    const check = ({ hit, marked, note, origins }: Found) => {
      assert.match(hit, /dough stays flat/);
      assert.match(marked, /dough stays flat/);
      assert.match(note, /^2 passages searched by meaning in/);
      assert.deepEqual(origins, [site.origin]);
    };
    await page.open(url);
    await page.evaluate(modelReady);
    await page.evaluate(
      paste,
      "Old or overheated yeast is the usual culprit when dough stays flat.\n\nIf you lie awake, get up.",
    );
    const first = await page.evaluate(ask, "my bread does not rise");
    check(first);
    assert.equal(first.loadedFrom, "downloaded");

    await page.open("about:blank");
    const before = site.requests.length;
    await page.open(url);
    await page.evaluate(modelReady);
    const again = await page.evaluate(ask, "my bread does not rise");
    check(again);
    assert.equal(again.loadedFrom, "from this browser's storage");
    const fetched = site.requests.slice(before).filter((path) => /\/models\/[^/]+\/./.test(path));
    assert.deepEqual(fetched, []);
  });
}
