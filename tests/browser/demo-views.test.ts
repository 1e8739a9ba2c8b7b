// The demo page as it is seen, heard and waited for. With DEMO_SCREENSHOTS=FOLDER it leaves pictures to look at.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";

import {
  addFiles,
  checkAccessibility,
  type Demo,
  DESKTOP,
  modelReady,
  openDemo,
  search,
  textFile,
} from "../support/demo.ts";

const NOTES = `# Garden

Slugs feed at night. Water your beds in the morning instead of the evening and they find a dry, unfriendly surface when they come out.

Yellow lower leaves on a tomato often mean too much water rather than too little. Let the top of the soil dry out before you pour again.

# House

A tap that drips all night usually needs nothing but a new washer. Close the stop valve, unscrew the headgear, and take the old rubber ring to the shop to match it.

Squeaky floorboards rub against their nails. Talcum powder brushed into the gap often silences them, and a screw into the joist does so for good.

# Health

If you lie awake, get up after twenty minutes and read something dull in dim light. A bed used only for rest teaches the mind what it is for.
`;

const QUERY = "my plants are eaten in the dark";
const WIDTHS = [360, 768, 1440];

let demo: Demo;
before(async () => {
  demo = await openDemo();
});
after(() => demo.close());

async function picture(name: string): Promise<void> {
  const folder = process.env["DEMO_SCREENSHOTS"];
  if (folder !== undefined) await demo.page.screenshot({ path: join(folder, `${name}.png`) });
}

/** Every state of the page, each with how to get there from the one before. */
const STATES: [name: string, go: () => Promise<void>][] = [
  ["home", async () => {}],
  ["adding", () => demo.page.click("#add-open")],
  [
    "added",
    async () => {
      await demo.page.keyboard.press("Escape");
      await addFiles(demo.page, [textFile("notes.md", NOTES), textFile("empty.txt", "")]);
    },
  ],
  ["collection", () => demo.page.locator(".collection summary").first().click()],
  [
    "hits",
    async () => {
      await search(demo.page, QUERY);
      await demo.page.locator(".hit mark").first().waitFor();
      await demo.page.getByRole("button", { name: "Why?" }).first().click();
    },
  ],
  [
    "reading",
    async () => {
      await demo.page.locator(".hit a").first().click();
      await demo.page.locator("#reader mark").first().waitFor();
    },
  ],
  [
    "panel",
    async () => {
      await demo.page.keyboard.press("Escape");
      await demo.page.click("#panel-open");
      await demo.page.waitForFunction(() => document.querySelectorAll("#stored li").length > 0);
    },
  ],
  [
    "nothing found",
    async () => {
      await demo.page.keyboard.press("Escape");
      await demo.page.selectOption("#mode", "keyword");
      await demo.page.fill("#query", "zzz");
      await demo.page.getByText("Nothing found").waitFor();
    },
  ],
  [
    "question",
    async () => {
      await demo.page.selectOption("#mode", "semantic");
      await demo.page.getByRole("button", { name: "Delete", exact: true }).click();
    },
  ],
  [
    "failure",
    async () => {
      await demo.page.keyboard.press("Escape");
      await demo.page.setInputFiles("#library-import", textFile("broken.embervec", "no index"));
      await demo.page.getByRole("alert").waitFor();
    },
  ],
];

for (const colorScheme of ["light", "dark"] as const) {
  test(`in ${colorScheme} colours axe-core finds nothing in any state, at any width`, async () => {
    const { page } = demo;
    await page.emulateMedia({ colorScheme });
    await demo.open();
    await modelReady(page);
    for (const [name, go] of STATES) {
      await go();
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 800 });
        // Nothing is checked in the middle of a transition.
        await page.waitForTimeout(200);
        await picture(`${name.replaceAll(" ", "-")}-${width}-${colorScheme}`);
        if (width !== 768) await checkAccessibility(page, `${name} at ${width} px, ${colorScheme}`);
      }
      await page.setViewportSize(DESKTOP);
    }
    await page.getByRole("alert").getByRole("button", { name: "Close" }).click();
  });
}

test("in forced colours it is all there", async () => {
  const { page } = demo;
  await page.emulateMedia({ colorScheme: "light", forcedColors: "active" });
  await search(page, QUERY);
  await page.locator(".hit mark").first().waitFor();
  await picture("forced-colours");
  await checkAccessibility(page, "forced colours");
  await page.emulateMedia({ forcedColors: "none" });
});

test("nothing needs scrolling sideways, down to 320 px", async () => {
  const { page } = demo;
  for (const width of [320, 360, 768]) {
    await page.setViewportSize({ width, height: 700 });
    for (const query of ["", "a".repeat(200), QUERY]) {
      await page.fill("#query", query);
      await page.waitForTimeout(300);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, `"${query}" at ${width} px`);
    }
  }
});

test("with a query a whole hit is in sight: a phone with its keyboard, a low laptop, a page at 200 %", async () => {
  const { page } = demo;
  const sizes = [
    { width: 360, height: 430 },
    { width: 1366, height: 650 },
    { width: 683, height: 325 },
  ];
  for (const size of sizes) {
    await page.setViewportSize(size);
    await search(page, QUERY);
    await page.locator(".hit mark").first().waitFor();
    await page.waitForTimeout(300);
    await picture(`whole-hit-${size.width}x${size.height}`);
    const place = await page.evaluate(() => {
      const { top, bottom } = document.querySelector(".hit")!.querySelector(".hit-text")!.getBoundingClientRect();
      return {
        box: document.getElementById("search-form")!.getBoundingClientRect().bottom,
        top,
        bottom,
        height: innerHeight,
      };
    });
    assert.ok(place.top >= place.box && place.bottom <= place.height, JSON.stringify({ size, place }));
    // The way to one's own documents is there as well.
    assert.ok((await page.locator("#add-open").boundingBox())!.y < size.height);
  }
  await page.setViewportSize(DESKTOP);
});

test("nothing moves when sentences are marked", async () => {
  const { page } = demo;
  await page.fill("#query", "");
  await page.fill("#query", "the water will not stop dripping");
  await page.locator(".ranking .hit").first().waitFor();
  const heights = () =>
    page.evaluate(() => [...document.querySelectorAll<HTMLElement>(".hit")].map(({ offsetTop }) => offsetTop));
  const before = await heights();
  await page.locator(".hit mark").first().waitFor();
  await page.waitForTimeout(200);
  assert.deepEqual(await heights(), before);
});

test("while the model is on its way, words are searched, and the page says so", async () => {
  const { page } = demo;
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.evaluate(() =>
    navigator.serviceWorker.getRegistrations().then((all) => Promise.all(all.map((one) => one.unregister()))),
  );
  await page.route(/\/models\/.*config\.json$/, async (route) => {
    await held;
    await route.continue();
  });
  // A folder that is not in the cache.
  await demo.open("?model=./models/../models/all-MiniLM-L6-v2/&dtype=fp32");
  await page.fill("#query", "washer");
  await page.getByText("searched by words only").waitFor();
  assert.match(await page.locator("#results-note").innerText(), /The model is still on its way\./);
  assert.match(await page.locator(".hit-text").first().innerText(), /washer/);
  release();
});
