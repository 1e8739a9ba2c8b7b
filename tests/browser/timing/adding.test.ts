// A person types while 20,000 texts are added. Times are those of this page alone, so no other test runs beside these.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { addFiles, type Demo, modelReady, openDemo, textFile } from "../../support/demo.ts";
import { openPage, type TestPage } from "../../support/browser.ts";

declare global {
  interface Window {
    longTasks: [startTime: number, duration: number][];
    announced: string[];
  }
}

/** Milliseconds of a task in which a page does not answer: a long task of https://www.w3.org/TR/longtasks-1/. */
const LONG_TASK_MS = 50;
/** Milliseconds until a keystroke has its answer. */
const KEYSTROKE_MS = 100;
const TEXTS = 20_000;

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;

test("on the demo page no task is long, a keystroke is answered, and what is newer goes first", async (context) => {
  const demo: Demo = await openDemo();
  context.after(() => demo.close());
  const { page } = demo;
  await page.addInitScript(() => {
    window.longTasks = [];
    new PerformanceObserver((list) => {
      for (const { startTime, duration } of list.getEntries()) window.longTasks.push([startTime, duration]);
    }).observe({ type: "longtask" });
    window.announced = [];
    addEventListener("DOMContentLoaded", () => {
      const live = document.querySelectorAll("[aria-live], [role=status], [role=alert], output");
      const observer = new MutationObserver((changes) => window.announced.push(changes[0]!.target.textContent ?? ""));
      for (const region of live) observer.observe(region, { childList: true, characterData: true, subtree: true });
    });
  });
  await demo.open();
  await modelReady(page);
  await addFiles(page, [
    textFile("garden.md", "# Garden\n\nWater your beds of tomatoes in the morning.", "text/markdown"),
  ]);
  const lines = Array.from(
    { length: TEXTS },
    (_, n) => `- Entry ${n}: item ${(n * 7919) % 1009} of shelf ${n % 37} is kept in room ${n % 11}.`,
  );
  await page.click("#add-open");
  await page.setInputFiles("#add-files", [textFile("stock.md", lines.join("\n"), "text/markdown")]);
  await page.click("#add-submit");
  await page.locator(".report", { hasText: "passages" }).waitFor();
  await page.evaluate(() => {
    window.longTasks = [];
    window.announced = [];
  });
  const delays: number[] = [];
  for (const letter of "who waters the beds of tomatoes") {
    const started = performance.now();
    await page.keyboard.type(letter);
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
    delays.push(performance.now() - started);
    await page.waitForTimeout(60);
  }
  await page.waitForFunction(() => /tomato|beds/.test(document.querySelector(".hit-text")?.textContent ?? ""));
  const longTasks = await page.evaluate(() => window.longTasks);
  const announced = await page.evaluate(() => window.announced);
  // Thousands of entries wait.
  await addFiles(page, [textFile("today.txt", "The plumber comes at eight.")]);
  const state = await page.locator(".report").last().getAttribute("data-state");
  assert.equal(state, "running", "the long list was done before the short text");
  await page.locator('.report[data-state="running"]').getByRole("button", { name: "Stop" }).click();
  await page.locator('.report[data-state="stopped"]').waitFor({ timeout: 2000 });
  assert.ok(announced.length < 10, announced.join("\n"));
  assert.deepEqual(
    longTasks.filter(([, duration]) => duration > LONG_TASK_MS),
    [],
  );
  assert.ok(median(delays) < KEYSTROKE_MS, `${delays}`);
});

/** What the second test puts into its page. */
declare const index: import("../../../pkg/src/search/index.ts").SearchIndex;

let browser: TestPage;
before(async () => {
  browser = await openPage();
});
after(() => browser.close());

test("a query does not wait for what is added, and the page stays free", async () => {
  const { page } = browser;
  const result = await page.evaluate(async (texts) => {
    const [main, search] = ["/pkg/dist/index.js", "/pkg/dist/search.js"];
    const { Embedder } = await import(main);
    const { SearchIndex } = await import(search);
    const embedder = await Embedder.load("/tests/fixtures/models/tiny-no-modules/", { dtype: "fp32" });
    Object.assign(globalThis, { index: await SearchIndex.open("adding", { embedder, cache: "memory" }) });
    await index.add([{ id: "needle", text: "the needle in the haystack" }]);
    const long: number[] = [];
    new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => long.push(duration))).observe({
      type: "longtask",
    });
    function* many() {
      for (let i = 0; i < texts; i++) yield { id: `d${i}`, text: `document ${i} has some words, and ends here` };
    }
    const controller = new AbortController();
    const adding = index.add(many(), { signal: controller.signal }).catch(() => {});
    const times: number[] = [];
    let found = 0;
    for (let i = 0; i < 40; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const begun = performance.now();
      const { hits } = await index.search("needle haystack");
      times.push(performance.now() - begun);
      if (hits[0]?.id === "needle") found += 1;
    }
    const { size } = index;
    controller.abort();
    await adding;
    return { times, long, found, size };
  }, TEXTS);
  assert.equal(result.found, 40);
  assert.ok(result.size > 100, `${result.size} documents have been added meanwhile`);
  assert.ok(median(result.times) < KEYSTROKE_MS, `${result.times}`);
  assert.deepEqual(
    result.long.filter((duration) => duration > LONG_TASK_MS),
    [],
  );
});
