// The demo page keeps its place: nothing jumps while it opens, nothing is covered, and what is chosen can be read.

import assert from "node:assert/strict";
import { test } from "node:test";

import { addFiles, modelReady, openDemo, search, textFile } from "../support/demo.ts";

const SIZES = [
  { width: 360, height: 740 },
  { width: 768, height: 1024 },
  { width: 1440, height: 900 },
];

/** Up to 0.1 counts as good. On a tablet, the list of collections comes into sight at the bottom, which is 0.04. */
const MOST_SHIFT = 0.05;

test("nothing jumps while the page opens for the first time", async () => {
  for (const size of SIZES) {
    const demo = await openDemo({ corpora: true });
    try {
      const { page } = demo;
      await page.setViewportSize(size);
      await page.addInitScript(() => {
        const shifts: { value: number; of: string }[] = [];
        Object.assign(globalThis, { shifts });
        const observer = new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) {
            const { value, sources } = entry as unknown as { value: number; sources: { node?: Element }[] };
            shifts.push({ value, of: sources.map(({ node }) => node?.id || node?.className || "?").join(" ") });
          }
        });
        observer.observe({ type: "layout-shift", buffered: true });
      });
      await demo.open();
      await modelReady(page);
      await page.locator("#examples button").first().waitFor();
      await page.waitForTimeout(1000);
      const shifts = await page.evaluate(
        () => (globalThis as unknown as { shifts: { value: number; of: string }[] }).shifts,
      );
      const sum = shifts.reduce((sum, { value }) => sum + value, 0);
      assert.ok(sum < MOST_SHIFT, `${sum} at ${size.width} px: ${JSON.stringify(shifts)}`);
    } finally {
      await demo.close();
    }
  }
});

test("on a phone, all choices can be read, and the best hit is below the box", async (context) => {
  const demo = await openDemo();
  context.after(() => demo.close());
  const { page } = demo;
  await page.setViewportSize(SIZES[0]!);
  await demo.open();
  await modelReady(page);
  const lines = Array.from({ length: 30 }, (_, n) => `- Item ${(n * 7919) % 1009} of shelf ${n} is in room ${n % 11}.`);
  await addFiles(page, [textFile("stock.md", lines.join("\n"))]);
  await addFiles(page, [textFile("yeast.txt", "Old yeast is why dough stays flat.")], "Kitchen");
  await page.locator("#type").waitFor();
  const cut = await page.evaluate(() =>
    [...document.querySelectorAll<HTMLSelectElement>(".toolbar .select")].flatMap((select) => {
      const { width } = select.getBoundingClientRect();
      const copy = select.cloneNode(true) as HTMLSelectElement;
      copy.style.cssText = "position: fixed; width: auto";
      select.after(copy);
      const wanted = copy.getBoundingClientRect().width;
      copy.remove();
      return width < wanted ? [`${select.id}: ${width} of ${wanted} px`] : [];
    }),
  );
  assert.deepEqual(cut, []);

  const placeOfBest = () =>
    page.evaluate(() => {
      const { bottom } = document.getElementById("search-form")!.getBoundingClientRect();
      return document.querySelector(".hit")!.getBoundingClientRect().top - bottom;
    });
  for (const distance of [100, 400]) {
    await page.fill("#query", "");
    await page.locator(".ranking").waitFor({ state: "detached" });
    await page.evaluate((distance) => scrollTo(0, distance), distance);
    await search(page, "which shelf");
    await page.waitForTimeout(300);
    assert.ok((await placeOfBest()) >= 0, `${await placeOfBest()} px after ${distance}`);
  }

  // Who reads is not moved by what is added, but for what keeps the text in its place when the lines above it change.
  await page.evaluate(() => scrollTo(0, 500));
  await addFiles(page, [textFile("sleep.txt", "If you lie awake, get up and read something dull.")], "Sleep");
  await page.waitForTimeout(1000);
  const moved = Math.abs((await page.evaluate(() => scrollY)) - 500);
  assert.ok(moved < 50, `${moved} px`);
});
