// Documents are read in the worker of the built demo page, under the page's Content-Security-Policy.

import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import type { Page } from "playwright-core";

import type { DocumentReader } from "../../www/src/documents/reader.ts";
import type { ReaderEvent } from "../../www/src/documents/types.ts";
import { openPage, type TestPage } from "../support/browser.ts";
import { docx, paragraph, pdf } from "../support/documents.ts";
import { temporaryFolder } from "../support/temporary.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The page's half of the readers, which the demo's own script keeps to itself. */
interface Half {
  DocumentReader: typeof DocumentReader;
}

declare global {
  interface Window {
    half: Half;
    reader: DocumentReader;
  }
}

let browser: TestPage;
let page: Page;
const complaints: string[] = [];

before(async () => {
  const overlay = await temporaryFolder();
  await mkdir(join(overlay, "half"), { recursive: true });
  await build({
    entryPoints: [join(ROOT, "www/src/documents/reader.ts")],
    outfile: join(overlay, "half/reader.js"),
    bundle: true,
    format: "esm",
  });
  await writeFile(join(overlay, "half/silent.js"), "");
  const worker = (await readdir(join(ROOT, "www/dist"))).find((name) => /^reader\.[0-9a-f]{8}\.js$/.test(name));
  assert.ok(worker, "www/dist has no worker that reads documents");
  browser = await openPage({ overlay });
  ({ page } = browser);
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.location().url.endsWith("/favicon.ico")) complaints.push(message.text());
  });
  await page.evaluate(async (worker) => {
    const path = "/half/reader.js";
    window.half = (await import(path)) as Half;
    window.reader = new window.half.DocumentReader(() => new Worker(`/www/dist/${worker}`, { type: "module" }));
  }, worker);
});
after(async () => {
  await browser.close();
  assert.deepEqual(complaints, []);
});

/** The events of files, or of text that is made in the page: `repeat` times. */
function read(files: { name: string; bytes: Uint8Array; repeat?: number }[]): Promise<ReaderEvent[]> {
  return page.evaluate(
    async (files) => {
      const sources = files.map(({ name, bytes, repeat }) => {
        const content = new Uint8Array(bytes);
        return {
          file: new File(
            Array.from({ length: repeat }, () => content),
            name,
          ),
          path: `folder/${name}`,
        };
      });
      const events: ReaderEvent[] = [];
      for await (const event of window.reader.read(sources)) events.push(event);
      return events;
    },
    files.map(({ name, bytes, repeat = 1 }) => ({ name, bytes: [...bytes], repeat })),
  );
}

const utf8 = (text: string) => new TextEncoder().encode(text);

/** What an event says, in short. */
function shown(event: ReaderEvent): unknown {
  const { name, type } = event.document;
  return event.kind === "problem"
    ? [name, type, event.reason, event.problem]
    : [name, type, event.sections.map(({ text, headings = [], page }) => [text, headings.join("/"), page])];
}

test("every kind of document, each by a part of the page that comes when it is needed", async () => {
  const before = browser.requests.length;
  const files: [string, Uint8Array][] = [
    ["a.txt", utf8("Water the plants.")],
    ["a.html", utf8("<h1>Bread</h1><script>no()</script><p>Water the plants.")],
    ["a.md", utf8("# Bread\n\nWater the *plants*.")],
    ["a.csv", utf8("name,born\nAda,1815\n")],
    ["a.json", utf8('{"task": "Water the plants."}')],
    ["a.docx", docx(paragraph("Bread", '<w:pStyle w:val="berschrift1"/>') + paragraph("Water the plants."))],
    ["latin.txt", Uint8Array.from("Die Bäckerei öffnet früh.", (character) => character.charCodeAt(0))],
  ];
  const events = await read(files.map(([name, bytes]) => ({ name, bytes })));
  assert.deepEqual(events.map(shown), [
    ["a.txt", "txt", [["Water the plants.", "", undefined]]],
    ["a.html", "html", [["Water the plants.", "Bread", undefined]]],
    ["a.md", "md", [["Water the plants.", "Bread", undefined]]],
    ["a.csv", "csv", [["name: Ada\nborn: 1815", "", undefined]]],
    ["a.json", "json", [["task: Water the plants.", "", undefined]]],
    ["a.docx", "docx", [["Water the plants.", "Bread", undefined]]],
    ["latin.txt", "txt", [["Die Bäckerei öffnet früh.", "", undefined]]],
  ]);
  const requests = browser.requests.slice(before);
  for (const part of ["html", "markdown", "csv", "json", "docx", "encodings"]) {
    assert.equal(
      requests.filter((path) => new RegExp(`^/www/dist/reader-${part}[-.]`).test(path)).length > 0,
      true,
      part,
    );
  }
  assert.deepEqual(
    requests.filter((path) => path.includes("-pdf")),
    [],
  );
});

test("PDF: pages, headings, divided words, pages without text, and fonts that need a character map", async () => {
  const lines = (...texts: string[]) => texts.map((text, index) => ({ text, y: 760 - index * 14 }));
  const story = pdf(
    [
      [
        { text: "Bread", size: 24, y: 800 },
        ...lines("The baker rises at three. She feeds the sour-", "dough and lights the oven."),
      ],
      [],
      lines("By noon the shelves (all of them) are empty."),
    ],
    { title: "The bakery" },
  );
  // "日本語のテキスト。" in Shift_JIS
  const japanese = pdf([[{ text: "93fa967b8cea82cc8365834c83588367 8142".replace(" ", ""), y: 800 }]], {
    isJapanese: true,
  });
  const events = await read([
    { name: "story.pdf", bytes: story },
    { name: "japanese.pdf", bytes: japanese },
    { name: "wrongly-named.txt", bytes: story },
  ]);
  const sections = [
    ["The baker rises at three. She feeds the sourdough and lights the oven.", "Bread", 1],
    ["By noon the shelves (all of them) are empty.", "Bread", 3],
  ];
  assert.deepEqual(events.map(shown), [
    ["story.pdf", "pdf", sections],
    ["japanese.pdf", "pdf", [["日本語のテキスト。", "", 1]]],
    ["wrongly-named.txt", "pdf", sections],
  ]);
  const [first] = events;
  assert.ok(first?.kind === "sections");
  assert.deepEqual([first.document.title, first.notes], ["The bakery", ["Page 2 has no text."]]);
  assert.equal(browser.requests.filter((path) => /\/90ms-RKSJ-H\.[0-9a-f]{8}\.bcmap$/.test(path)).length, 1);
});

test("a PDF whose worker never runs is read by another one", async () => {
  const started = page.waitForEvent("worker");
  await page.evaluate(async () => {
    const [script] = performance.getEntriesByType("resource").filter(({ name }) => /\/reader\.\w+\.js$/.test(name));
    const reader = new window.half.DocumentReader(() => new Worker(script!.name, { type: "module" }));
    Object.assign(window, { other: reader });
    for await (const _ of reader.read([{ text: "It runs.", name: "a.txt" }]));
  });
  await (await started).evaluate(() => {
    const Native = Worker;
    let count = 0;
    globalThis.Worker = class extends Native {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(count++ === 0 ? "/half/silent.js" : url, options);
      }
    };
  });
  const bytes = [...pdf([[{ text: "Water the plants.", y: 800 }]])];
  const [event] = await page.evaluate(async (bytes) => {
    const { other } = window as unknown as { other: DocumentReader };
    const events: ReaderEvent[] = [];
    const file = new File([new Uint8Array(bytes)], "plants.pdf");
    for await (const event of other.read([{ file, path: "plants.pdf" }])) events.push(event);
    other.close();
    return events;
  }, bytes);
  assert.deepEqual(shown(event!), ["plants.pdf", "pdf", [["Water the plants.", "", 1]]]);
  assert.ok(browser.requests.includes("/half/silent.js"), "one was lost");
});

test("what cannot be read says why, and the next document is read", async () => {
  const page = [{ text: "Water the plants.", y: 800 }];
  const whole = pdf([page]);
  const events = await read([
    { name: "secret.pdf", bytes: pdf([page], { isEncrypted: true }) },
    { name: "short.pdf", bytes: whole.subarray(0, 300) },
    { name: "scan.pdf", bytes: pdf([[], []]) },
    { name: "bomb.docx", bytes: docx("", { "word/document.xml": [new Uint8Array(140 * 1024 * 1024), { level: 1 }] }) },
    { name: "random.txt", bytes: Uint8Array.from({ length: 5000 }, (_, index) => (index * index * 31) & 0xff) },
    { name: "whole.pdf", bytes: whole },
  ]);
  assert.deepEqual(events.map(shown), [
    ["secret.pdf", "pdf", "encrypted", "It is protected by a password."],
    ["short.pdf", "pdf", "broken", "It is damaged, or no PDF."],
    ["scan.pdf", "pdf", "no-text", "It has no text: its pages are pictures, such as scans."],
    ["bomb.docx", "docx", "too-large", "It unpacks to more than 128 MB, which no ordinary document does."],
    ["random.txt", "txt", "binary", "It is no text, but binary data."],
    ["whole.pdf", "pdf", [["Water the plants.", "", 1]]],
  ]);
});

test("what is added later is read while a large text is under way, and an abort ends that at once", async () => {
  const result = await page.evaluate(async () => {
    const block = "The baker rises at three and lights the oven.\n\n".repeat(20_000);
    const large = new File(
      Array.from({ length: 107 }, () => block),
      "large.txt",
    );
    const controller = new AbortController();
    const reason = new Error("removed");
    let progress = 0;
    let sections = 0;
    const reading = (async () => {
      const onProgress = ({ loaded }: { loaded: number }) => void (progress = loaded);
      for await (const event of window.reader.read([{ file: large, path: "large.txt" }], {
        signal: controller.signal,
        onProgress,
      })) {
        if (event.kind === "sections") sections += event.sections.length;
      }
    })();
    while (sections === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    const texts: string[] = [];
    for await (const event of window.reader.read([{ text: "Water the plants.", name: "Pasted text" }])) {
      if (event.kind === "sections") texts.push(...event.sections.map(({ text }) => text));
    }
    const soFar = { progress, size: large.size };
    const start = performance.now();
    controller.abort(reason);
    const failure = await reading.then(
      () => undefined,
      (error: unknown) => error,
    );
    return { texts, ...soFar, isReason: failure === reason, took: performance.now() - start };
  });
  assert.deepEqual(result.texts, ["Water the plants."]);
  assert.ok(result.size > 100e6 && result.progress > 0 && result.progress < result.size, `${result.progress}`);
  assert.ok(result.isReason);
  assert.ok(result.took < 1000, `${result.took} ms`);
});

test("100 MB of text and 50,000 files leave the page responsive, and nothing waits in memory", {
  timeout: 300_000,
}, async () => {
  const result = await page.evaluate(async () => {
    const block = "The baker rises at three and lights the oven.\n\n".repeat(20_000);
    const large = new File(
      Array.from({ length: 107 }, () => block),
      "large.txt",
    );
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }, 5);
    function* sources() {
      yield { file: large, path: "large.txt" };
      for (let index = 0; index < 50_000; index++) {
        yield { file: new File([`Note ${index}`], `${index}.txt`), path: `folder/${index}.txt` };
      }
    }
    let characters = 0;
    let documents = 0;
    for await (const event of window.reader.read(sources())) {
      if (event.kind === "problem") throw new Error(event.problem);
      if (event.isLast) documents += 1;
      for (const { text } of event.sections) characters += text.length;
    }
    clearInterval(timer);
    return { characters, documents, longest };
  });
  assert.equal(result.documents, 50_001);
  assert.ok(result.characters > 100e6, `${result.characters}`);
  assert.ok(result.longest < 500, `the page did not answer for ${result.longest.toFixed(0)} ms`);
});

test("a worker whose script is missing ends every document with a problem", async () => {
  const events = await page.evaluate(async () => {
    const reader = new window.half.DocumentReader(() => new Worker("/www/dist/reader.none.js", { type: "module" }));
    const events: ReaderEvent[] = [];
    for await (const event of reader.read([{ text: "Water the plants.", name: "Pasted text" }])) events.push(event);
    return events;
  });
  complaints.length = 0; // the missing script is one
  assert.deepEqual(events.map(shown), [
    [
      "Pasted text",
      "unknown",
      "unreadable",
      "The part of this page that reads documents could not be started. Check your connection, then reload the page.",
    ],
  ]);
});

test("a folder that is dropped is walked through, without what is hidden", async () => {
  const paths = await page.evaluate(async () => {
    const file = (path: string) => ({
      isFile: true,
      name: path.split("/").pop()!,
      fullPath: path,
      file: (done: (file: File) => void) => done(new File(["text"], path.split("/").pop()!)),
    });
    const folder = (path: string, entries: object[]) => ({
      isFile: false,
      name: path.split("/").pop()!,
      fullPath: path,
      // A browser gives some of the entries at a time.
      createReader: () => ({ readEntries: (done: (entries: object[]) => void) => done(entries.splice(0, 2)) }),
    });
    const unreadable = {
      isFile: true,
      name: "z",
      fullPath: "/notes/z",
      file: (_: unknown, fail: (error: Error) => void) => fail(new Error()),
    };
    const root = folder("/notes", [
      file("/notes/b.txt"),
      folder("/notes/.git", [file("/notes/.git/config")]),
      folder("/notes/a", [file("/notes/a/1.md"), file("/notes/a/.DS_Store"), file("/notes/a/2.md")]),
      unreadable,
    ]);
    const { filesFromDrop } = window.half as unknown as {
      filesFromDrop: (data: object) => AsyncIterable<{ path: string; problem?: string }>;
    };
    const paths: string[] = [];
    for await (const { path, problem } of filesFromDrop({
      items: [{ kind: "file", webkitGetAsEntry: () => root }, { kind: "string" }],
    })) {
      paths.push(problem === undefined ? path : `${path}: ${problem}`);
    }
    return paths;
  });
  assert.deepEqual(paths, ["notes/a/1.md", "notes/a/2.md", "notes/b.txt", "notes/z: The browser could not open it."]);
});
