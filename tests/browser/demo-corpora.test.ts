// The demo's ready collections: indexes that were made beforehand.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { best, type Demo, modelReady, openDemo, openOnMap } from "../support/demo.ts";

let demo: Demo;

before(async () => {
  demo = await openDemo({ corpora: true });
});
after(() => demo.close());

test("the first visit can search at once, by meaning as soon as the model is there", async () => {
  const { page } = demo;
  await demo.open();
  await modelReady(page);
  assert.match(await best(page, "I can't fall asleep"), /lie awake/);
});

test("a ready collection opens, and reads texts only as they are shown", async () => {
  const { page } = demo;
  await demo.open();
  await modelReady(page);
  const card = page
    .locator(".ready, article, li, div", { hasText: "Moby-Dick" })
    .locator("button", { hasText: "Open" });
  const begun = demo.urls.length;
  await card.last().click();
  await page.locator(".collection", { hasText: "Moby-Dick" }).waitFor();
  assert.match(await best(page, "the captain lost his leg to the whale"), /leg|whale/i);
  const asked = demo.urls.slice(begun).filter((url) => url.includes("/corpora/moby-dick/"));
  assert.ok(
    asked.some((url) => url.endsWith("scan.bin")),
    asked.join("\n"),
  );
  assert.deepEqual(demo.complaints, []);
});

test("the map shows ready collections, and asks for no passage's vector to make it", async () => {
  const { page } = demo;
  await demo.open();
  await modelReady(page);
  const begun = demo.urls.length;
  const frame = page.locator("#map-frame");
  await frame.scrollIntoViewIfNeeded();
  await page.waitForFunction(() =>
    document.getElementById("map-frame")!.getAttribute("aria-label")!.startsWith("Map of 1,500 passages"),
  );
  const asked = demo.urls.slice(begun).filter((url) => url.endsWith("vectors.f32"));
  assert.deepEqual(asked, []);
  await openOnMap(page);
  assert.match(page.url(), /in-collection=/);
  assert.deepEqual(demo.complaints, []);
});
