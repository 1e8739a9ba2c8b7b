// How the extension reads a page: what a passage is, what comes first, and that no page is too large or too deep to go on reacting.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { type Browser, chromium, type Page } from "playwright-core";

import { FLAGS } from "../support/browser.ts";

/** What the page has of `reading.ts`. */
declare const embervec: {
  Reading: new () => {
    passages: { text: string; isAside: boolean; heading: string; ranges(): Range[] }[];
    isDone: boolean;
    isStale: boolean;
    isCut: boolean;
    unreadable: string[];
    listen(listener: () => void): void;
    unlisten(listener: () => void): void;
  };
};

let browser: Browser;
let page: Page;
let script: string;

before(async () => {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("../../www/extension/src/reading.ts", import.meta.url))],
    bundle: true,
    write: false,
    format: "iife",
    globalName: "embervec",
    target: "es2022",
  });
  script = `${outputFiles[0]!.text}; globalThis.embervec = embervec;`;
  browser = await chromium.launch({ executablePath: process.env["CHROME"] ?? "chromium", args: FLAGS });
  const context = await browser.newContext();
  await context.addInitScript({ content: "globalThis.__name = (target) => target;" });
  page = await context.newPage();
});
after(() => browser.close());

interface Read {
  main: string[];
  aside: string[];
  headings: string[];
  /** Passages whose ranges do not hold their text. */
  misplaced: number;
  unreadable: string[];
  isCut: boolean;
  /** The longest times that the page's thread was taken, in milliseconds. */
  longest: number[];
}

async function read(html: string, change: () => void = () => {}): Promise<Read> {
  if (html.startsWith("data:")) await page.goto(html);
  else await page.setContent(`<!doctype html>${html}`);
  await page.evaluate(change);
  // Until the page itself is at rest.
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 50))));
  await page.evaluate(script);
  return page.evaluate(async () => {
    const gaps: number[] = [];
    let last = performance.now();
    let isOn = true;
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      const now = performance.now();
      gaps.push(now - last);
      last = now;
      if (isOn) port2.postMessage(0);
    };
    port2.postMessage(0);
    const reading = new embervec.Reading();
    await new Promise<void>((resolve) => {
      const listener = () => {
        if (!reading.isDone) return;
        reading.unlisten(listener);
        resolve();
      };
      reading.listen(listener);
    });
    isOn = false;
    const { passages, unreadable, isCut } = reading;
    const textsOf = (isAside: boolean) => passages.filter((p) => p.isAside === isAside).map(({ text }) => text);
    const misplaced = passages.filter((passage) => passage.ranges().length === 0).length;
    const headings = passages.map(({ heading }) => heading);
    const longest = gaps.sort((a, b) => b - a).slice(0, 5);
    return { main: textsOf(false), aside: textsOf(true), headings, misplaced, unreadable, isCut, longest };
  });
}

test("what the page is about comes before what is beside it", async () => {
  const { main, aside, misplaced } = await read(`
    <div id="cookie-banner"><p>We value your privacy and use cookies on this page.</p></div>
    <div style="position: fixed"><p>Subscribe now and get a week for free, without any strings.</p></div>
    <header><a href="#">The Daily Loaf, news about bread since 1901</a></header>
    <nav><ul><li><a href="#">Recipes from all over the world</a></li></ul></nav>
    <div class="page with-sidebar"><h1>Rye</h1><p>Rye flour takes up more water than wheat does.</p></div>
    <aside><p>An advertisement for a machine that kneads.</p></aside>
    <div class="most-read"><p>Ten reasons to buy a better oven</p></div>
    <section><h2>Related articles</h2><p>Why our grandmothers baked at night</p></section>
    <footer><p>Copyright of the Daily Loaf, all rights reserved</p></footer>`);
  assert.deepEqual(main, ["Rye flour takes up more water than wheat does."]);
  assert.deepEqual(aside, [
    "Why our grandmothers baked at night",
    "We value your privacy and use cookies on this page.",
    "Subscribe now and get a week for free, without any strings.",
    "The Daily Loaf, news about bread since 1901",
    "Recipes from all over the world",
    "An advertisement for a machine that kneads.",
    "Ten reasons to buy a better oven",
    "Copyright of the Daily Loaf, all rights reserved",
  ]);
  assert.equal(misplaced, 0);
});

test("the main part is read first, if it says something", async () => {
  const paragraphs = Array.from(
    { length: 10 },
    (_, i) => `Paragraph ${i} of the main part says what the page is about.`,
  );
  const outside = "This text stands outside of the main part.";
  const full = await read(
    `<div><p>${outside}</p></div><main>${paragraphs.map((text) => `<p>${text}</p>`).join("")}</main>`,
  );
  assert.deepEqual(full.main, paragraphs);
  assert.deepEqual(full.aside, [outside]);
  const almostEmpty = await read(`<div><p>${outside}</p></div><main><p>Nothing but a form to search with.</p></main>`);
  assert.deepEqual(almostEmpty.main, ["Nothing but a form to search with.", outside]);
  // An application in a fixed shell is no banner.
  const shell = await read(
    `<div style="position: fixed; inset: 0"><nav>The menu of an application</nav><p>${outside}</p></div>`,
  );
  assert.ok(shell.main.includes(outside));
});

test("tables have their columns' names, lists and definitions their entries", async () => {
  const { main, misplaced } = await read(`
    <table>
      <thead><tr><th rowspan="2">Flour</th><th colspan="2">Water</th></tr><tr><th>summer</th><th>winter</th></tr></thead>
      <tr><td rowspan="2">Rye</td><td>80 %</td><td><p>85 %</p><p>or more</p></td></tr>
      <tr><td>90 %</td><td style="display: none">secret</td></tr>
      <tr><td>Wheat</td><td></td><td>65 %</td></tr>
    </table>
    <table><tr><th>Name</th><th>Year</th></tr><tr><td>Baguette</td><td>1920</td></tr></table>
    <table><tr><td>The left half of a page that is laid out by a table</td><td>and the right one</td></tr></table>
    <ul><li>Salt</li><li>Flour<ul><li>Rye</li></ul></li></ul>
    <dl><dt>Poolish</dt><dd>A wet dough with little yeast.</dd></dl>
    <p>Reply</p>`);
  assert.deepEqual(main, [
    "Flour: Rye; Water summer: 80 %; Water winter: 85 % or more",
    "Flour: Rye; Water summer: 90 %",
    "Flour: Wheat; Water winter: 65 %",
    "Name: Baguette; Year: 1920",
    "The left half of a page that is laid out by a table and the right one",
    "Salt",
    "Flour",
    "Rye",
    "Poolish: A wet dough with little yeast.",
  ]);
  assert.equal(misplaced, 0);
});

test("lines are passages of their own where they say something of their own", async () => {
  const { main, misplaced } = await read(`<pre>2026-01-01 12:00:00 INFO  the server has been started
2026-01-01 12:00:01 ERROR the file could not be opened
    at open (file.js:1:1)
2026-01-01 12:00:02 INFO  the server has been stopped</pre><pre>It is a truth universally acknowledged, that a single man in
possession of a good fortune, must be in want of a wife.

However little known the feelings of such a man may be on his
first entering a neighbourhood, this truth is well fixed.</pre><pre><code>function knead() {
  return dough;
}

knead();</code></pre><div>The first line of an address<br>The second line of an address<br><br>A paragraph of its own</div>
<div style="white-space: pre-wrap">Somebody wrote this message
and this is the second line of it</div>`);
  assert.deepEqual(main, [
    "2026-01-01 12:00:00 INFO the server has been started",
    "2026-01-01 12:00:01 ERROR the file could not be opened at open (file.js:1:1)",
    "2026-01-01 12:00:02 INFO the server has been stopped",
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
    "However little known the feelings of such a man may be on his first entering a neighbourhood, this truth is well fixed.",
    "function knead() { return dough; } knead();",
    "The first line of an address",
    "The second line of an address",
    "A paragraph of its own",
    "Somebody wrote this message",
    "and this is the second line of it",
  ]);
  assert.equal(misplaced, 0);
});

test("long paragraphs are cut between sentences, and nothing is lost", async () => {
  const sentences = Array.from({ length: 300 }, (_, i) => `Sentence number ${i} is about the rising of dough.`);
  const { main } = await read(`<p>${sentences.join(" ")}</p>`);
  assert.ok(main.length > 10);
  assert.ok(main.every((text) => text.length <= 900));
  assert.equal(main.join(" "), sentences.join(" "));
  const chinese = "今天我们烤面包。".repeat(200);
  const cut = await read(`<p>${chinese}</p>`);
  assert.ok(
    cut.main.every((text) => text.length <= 225),
    "a Chinese character is a token",
  );
  assert.equal(cut.main.join(""), chinese);
});

test("what is shown is read: components and frames of the same site, but nothing hidden", async () => {
  const { main, unreadable } = await read(
    `<div id="host"><p>This paragraph is slotted into the component.</p></div>
    <iframe srcdoc="<p>This text is in a frame of the same site.</p>"></iframe>
    <iframe sandbox srcdoc="<p>This text is in a frame that nobody may look into.</p>"></iframe>
    <details><summary>A summary of what is hidden below</summary><p>This is not shown until somebody opens it.</p></details>
    <p style="visibility: hidden">Hidden, <b style="visibility: visible">but this part is visible</b></p>
    <p style="opacity: 0">This is about to be faded in by a script.</p>`,
    () => {
      const root = document.querySelector("#host")!.attachShadow({ mode: "open" });
      root.innerHTML = "<p>This paragraph is the component's own.</p><slot></slot>";
    },
  );
  assert.deepEqual(main, [
    "This paragraph is the component's own.",
    "This paragraph is slotted into the component.",
    "This text is in a frame of the same site.",
    "A summary of what is hidden below",
    "but this part is visible",
    "This is about to be faded in by a script.",
  ]);
  assert.deepEqual(unreadable, [""]);
});

test("fields, forms and pictures whose names are those of properties take nothing's place", async () => {
  const names =
    "id className tagName nodeType firstChild nextSibling parentElement ownerDocument shadowRoot getAttribute";
  const { main, misplaced } = await read(`
    <form>${names
      .split(" ")
      .map((name) => `<input type="hidden" name="${name}">`)
      .join("")}<p>Send us your best recipe for a bread.</p></form>
    <img name="body"><img name="title"><img name="documentElement"><form name="defaultView"></form><form name="createRange"></form>
    <p>This paragraph stands behind the form.</p>`);
  assert.deepEqual(main, ["Send us your best recipe for a bread.", "This paragraph stands behind the form."]);
  assert.equal(misplaced, 0);
});

test("components in components, and frames in them", async () => {
  const { main, misplaced, unreadable } = await read(`<div id="declared"></div><div id="made"></div>`, () => {
    document.querySelector("#declared")!.setHTMLUnsafe(`<div><template shadowrootmode="open">
        <p>This is in a declared component.</p><slot></slot></template><p>This is slotted into the declared one.</p></div>`);
    const root = document.querySelector("#made")!.attachShadow({ mode: "open" });
    root.innerHTML = "<section><div></div></section>";
    const inner = root.querySelector("div")!.attachShadow({ mode: "open" });
    inner.innerHTML = `<p>This is two components deep.</p>
        <iframe srcdoc="<p>This is in a frame of a component.</p>"></iframe>
        <iframe sandbox srcdoc="<p>This is in a closed frame of a component.</p>"></iframe>`;
  });
  assert.deepEqual(main, [
    "This is in a declared component.",
    "This is slotted into the declared one.",
    "This is two components deep.",
    "This is in a frame of a component.",
  ]);
  assert.equal(misplaced, 0);
  assert.deepEqual(unreadable, [""]);
});

test("what is edited, written from the right, drawn or kept for later", async () => {
  const arabic = "يرتفع العجين ببطء في مكان بارد، لكن طعمه يصبح أفضل.";
  const { main, misplaced } = await read(`
    <div contenteditable><p>Somebody is writing this text just now.</p></div>
    <textarea>A form's text belongs to whoever writes it.</textarea>
    <template><p>This is kept for later, and not shown.</p></template>
    <p dir="rtl">${arabic}</p>
    <svg viewBox="0 0 100 100"><title>A title that is shown by nothing</title><style>text { fill: red }</style>
      <defs><text>A definition that nobody has used yet</text></defs>
      <text>The arrow leads from the oven <tspan>to the cooling rack.</tspan></text>
      <foreignObject width="90" height="20"><p>A paragraph within a drawing.</p></foreignObject></svg>
    <p>E = mc² <math><mi>E</mi><mo>=</mo><mi>m</mi></math> is known to everybody.</p>`);
  assert.deepEqual(main, [
    "Somebody is writing this text just now.",
    arabic,
    "The arrow leads from the oven to the cooling rack.",
    "A paragraph within a drawing.",
    "E = mc² E=m is known to everybody.",
  ]);
  assert.equal(misplaced, 0);
});

test("XHTML is read as HTML is", async () => {
  const { main, headings } = await read(
    `data:application/xhtml+xml,${encodeURIComponent(`<html xmlns="http://www.w3.org/1999/xhtml"><head><title>X</title></head>
      <body><h1>Rye</h1><script>let secret = "not to be read by anybody";</script>
      <p>Rye flour takes up more water.</p><table><tr><th>Flour</th><th>Water</th></tr><tr><td>Rye</td><td>80 percent</td></tr></table>
      <ul><li>Salt</li></ul></body></html>`)}`,
  );
  assert.deepEqual(main, ["Rye flour takes up more water.", "Flour: Rye; Water: 80 percent", "Salt"]);
  assert.deepEqual(headings, ["Rye", "Rye", "Rye"]);
  await page.goto("about:blank"); // only an HTML document can be given another content
});

test("a page that is taken apart while it is read ends, and is known to have changed", async () => {
  await page.setContent("<!doctype html><div></div>");
  await page.evaluate(script);
  const seen = await page.evaluate(async () => {
    const place = document.querySelector("div")!;
    for (let i = 0; i < 20_000; i++)
      place.append(Object.assign(document.createElement("p"), { textContent: `Paragraph number ${i} of many` }));
    const reading = new embervec.Reading();
    const listener = () => {
      if (reading.passages.length > 100) place.replaceChildren();
    };
    reading.listen(listener);
    for (let i = 0; i < 500 && !(reading.isDone && reading.isStale); i++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    return [reading.isDone, reading.isStale, reading.passages.length < 20_000, reading.passages[0]!.ranges().length];
  });
  assert.deepEqual(seen, [true, true, true, 0]);
});

const HEAVY: [name: string, passages: number, html: string, change?: () => void][] = [
  [
    "12,000 nested elements",
    120,
    "<body></body>",
    () => {
      let at: Element = document.body;
      for (let i = 0; i < 12_000; i++) {
        const child = document.createElement("div");
        child.style.display = "contents"; // as boxes, or 20,000 of them, the browser itself does not survive them
        if (i % 100 === 0) {
          const text = document.createElement("p");
          text.textContent = `A paragraph at depth number ${i}`;
          child.append(text);
        }
        at.append(child);
        at = child;
      }
    },
  ],
  [
    "12,000 sections",
    12_000,
    Array.from(
      { length: 12_000 },
      (_, i) => `<section><h2>${i}</h2><p>Section number ${i} says <b>this</b>.</p></section>`,
    ).join(""),
  ],
  ["100,000 line breaks", 1, `<div>${"<br>\n".repeat(100_000)}And then there is a text.</div>`],
  [
    "20,000 lines",
    20_000,
    `<div>${Array.from({ length: 25_000 }, (_, i) => `Line ${i} of the log has its own length ${"x".repeat(i % 40)}`).join("<br>\n")}</div>`,
  ],
  [
    "a table of 20,000 rows, with cells that reach over all columns and rows",
    20_000,
    `<table><tr><th>Name</th><th colspan="1000">Value</th></tr><tr><td rowspan="65534">Everything</td><td>1</td></tr>${Array.from({ length: 20_000 }, (_, i) => `<tr><td>The value ${i}</td><td colspan="1000">and more</td></tr>`).join("")}</table>`,
  ],
  [
    "2,000 components in each other",
    20,
    "<main></main>",
    () => {
      let at: Element | ShadowRoot = document.querySelector("main")!;
      for (let i = 0; i < 2000; i++) {
        const host = document.createElement("div");
        host.style.display = "contents";
        if (i % 100 === 0)
          at.append(Object.assign(document.createElement("p"), { textContent: `A paragraph in component ${i}` }));
        at.append(host);
        at = host.attachShadow({ mode: "open" });
      }
    },
  ],
  [
    "200,000 empty elements",
    1,
    "<p>A page of nearly nothing, but of much of it.</p>",
    () => {
      document.body.insertAdjacentHTML("beforeend", "<i></i>".repeat(200_000));
    },
  ],
  [
    "10 MB of text without a space",
    3000,
    "<p></p>",
    () => void (document.querySelector("p")!.textContent = "a".repeat(10_000_000)),
  ],
];

for (const [name, passages, html, change] of HEAVY) {
  test(`${name} do not stop the page`, async () => {
    const { main, longest } = await read(html, change);
    assert.ok(main.length >= passages, `${main.length} passages`);
    // A slice takes 7 ms. The rest is the browser's own work, and that of a machine that has others. Some pages have few slices.
    assert.ok(
      (longest[4] ?? 0) < 60 && longest[0]! < 250,
      `the page stood still for ${longest.map(Math.round).join(", ")} ms`,
    );
  });
}

test("a page with more passages than are kept says so", async () => {
  const { main, isCut } = await read("<pre></pre>", () => {
    const lines = Array.from({ length: 30_000 }, (_, i) => `Line number ${i} of a log that never ends`);
    document.querySelector("pre")!.textContent = lines.join("\n");
  });
  assert.equal(main.length, 20_000);
  assert.equal(isCut, true);
});

test("a page that changes is known to be another one", async () => {
  await read("<p>This is the first version of a text.</p>");
  const seen = await page.evaluate(async () => {
    const reading = new embervec.Reading();
    const listener = () => {};
    reading.listen(listener);
    while (!reading.isDone) await new Promise((resolve) => setTimeout(resolve, 10));
    const before = [reading.isStale, reading.passages[0]!.ranges().length];
    document.querySelector("p")!.firstChild!.textContent = "This is the second version of a text.";
    await Promise.resolve();
    reading.unlisten(listener);
    return [...before, reading.isStale, reading.passages[0]!.ranges().length];
  });
  assert.deepEqual(seen, [false, 1, true, 0]);
});
