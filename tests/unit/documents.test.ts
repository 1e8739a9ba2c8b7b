// What the demo's readers make of documents. PDF needs a browser: tests/browser/documents.test.ts.

import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { strToU8, zipSync } from "fflate";

import { readDocument } from "../../www/src/documents/read.ts";
import { placeText } from "../../www/src/documents/reader.ts";
import { cutAt } from "../../www/src/documents/sections.ts";
import type { DocumentInfo, ProblemReason, Readable, Section } from "../../www/src/documents/types.ts";
import { docx, paragraph } from "../support/documents.ts";

interface Result {
  document: DocumentInfo;
  sections: Section[];
  texts: string[];
  notes: string[];
  problem?: string;
  reason?: ProblemReason;
  /** The sections of each event. */
  batches: number[];
}

async function read(source: Readable, signal = new AbortController().signal): Promise<Result> {
  const result: Partial<Result> & Pick<Result, "sections" | "notes" | "batches"> = {
    sections: [],
    notes: [],
    batches: [],
  };
  let isOver = false;
  await readDocument(source, {
    index: 0,
    signal,
    progress: () => {},
    send: async (event) => {
      assert.ok(!isOver, "an event after the last one");
      result.document = event.document;
      if (event.kind === "problem") {
        Object.assign(result, { problem: event.problem, reason: event.reason });
        isOver = true;
      } else {
        assert.equal(event.isFirst, result.batches.length === 0);
        isOver = event.isLast;
        result.sections.push(...event.sections);
        result.notes.push(...event.notes);
        result.batches.push(event.sections.length);
      }
    },
  });
  assert.ok(isOver, "no last event");
  return { ...(result as Result), texts: result.sections.map(({ text }) => text) };
}

type Content = string | Uint8Array<ArrayBuffer>;

const readFile = (name: string, ...content: Content[]) =>
  read({ file: new File(content, name), path: `folder/${name}` });

/** A text's bytes in an encoding of one byte a character. */
function latin(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

const SENTENCES =
  "The baker rises at three. She feeds the sourdough, lights the oven and waits for the first customers, who come before " +
  "dawn and leave with warm loaves under their coats, as their parents did in the years when the mill still turned by the river. " +
  "By noon the shelves are empty.";

suite("plain text", () => {
  test("a to-do list's lines are entries of their own", async () => {
    const list = [
      "Call the plumber",
      "Buy oat milk",
      "Water the plants",
      "Renew the passport",
      "Oil the bicycle chain",
    ];
    const { sections, document } = await readFile("todo.txt", list.join("\n"));
    assert.deepEqual(
      sections,
      list.map((text, index) => ({ text, isEntry: true, line: index + 1 })),
    );
    assert.deepEqual(
      { ...document, modified: 0 },
      {
        index: 0,
        name: "todo.txt",
        path: "folder/todo.txt",
        type: "txt",
        bytes: list.join("\n").length,
        modified: 0,
      },
    );
  });

  test("items lose their bullets, keep what goes on, and what introduces them is no item", async () => {
    const { sections } = await readFile(
      "list.txt",
      "- [x] Oil the chain\n- Renew the passport\n  before July\n* Water the plants\n\n1. First the flour\n2. Then the salt",
    );
    assert.deepEqual(
      sections.map(({ text, line }) => [text, line]),
      [
        ["Oil the chain", 1],
        ["Renew the passport before July", 2],
        ["Water the plants", 4],
        ["1. First the flour", 6],
        ["2. Then the salt", 7],
      ],
    );
  });

  test("lines that an editor has broken are one paragraph again", async () => {
    const broken =
      "The baker rises at three. She feeds the sourdough, lights the oven\nand waits for the first customers, who come before dawn and leave\n" +
      "with warm loaves under their coats, as their parents did in the\nyears when the mill still turned by the river, and by noon the\nshelves are empty again.";
    const { texts } = await readFile("story.txt", broken);
    assert.deepEqual(texts, [broken.replaceAll("\n", " ")]);
  });

  test("short paragraphs are joined in a file, and stand for themselves when pasted", async () => {
    const text = "“Yes,” said the baker.\n\n“No,” said her son.\n\nIt was late in the year.";
    assert.deepEqual((await readFile("story.txt", text)).texts, [text]);
    const pasted = await read({ text, name: "Pasted text" });
    assert.deepEqual(pasted.texts, text.split("\n\n"));
    assert.equal(pasted.document.type, "txt");
  });

  test("each entry of a log is one, with its stack trace", async () => {
    const { texts, document } = await readFile(
      "server.log",
      "2024-05-01 10:00:00 INFO started\n2024-05-01 10:00:01 ERROR \x1b[31mno database\x1b[0m\njava.lang.Error: refused\n\tat Main.run\n\n" +
        "2024-05-01 10:00:02 INFO stopped\n",
    );
    assert.equal(document.type, "log");
    assert.deepEqual(texts, [
      "2024-05-01 10:00:00 INFO started",
      "2024-05-01 10:00:01 ERROR no database\njava.lang.Error: refused\nat Main.run",
      "2024-05-01 10:00:02 INFO stopped",
    ]);
    const lines = Array.from(
      { length: 3000 },
      (_, index) => `10:00:${String(index % 60).padStart(2, "0")} request ${index}`,
    );
    assert.deepEqual((await readFile("requests.txt", lines.join("\n"))).texts, lines);
  });

  test("underlined lines are headings; Windows' line ends are line ends", async () => {
    const { sections, document } = await readFile(
      "a.txt",
      `Bread\r\n=====\r\n\r\n${SENTENCES}\r\n\r\nRolls\r\n-----\r\nFor Sundays.`,
    );
    assert.deepEqual(
      sections.map(({ text, headings }) => [text, headings]),
      [
        [SENTENCES, ["Bread"]],
        ["For Sundays.", ["Bread", "Rolls"]],
      ],
    );
    assert.equal(document.title, "Bread");
  });

  test("a long paragraph is cut between sentences, an embedded picture is left out and said to be", async () => {
    const long = `${SENTENCES} `.repeat(60).trim();
    const { texts, notes } = await readFile("a.txt", `${long}\n\n${"iVBORw0KGgo".repeat(500)} and a word`);
    assert.ok(texts.length > 2 && texts.slice(0, -1).every((text) => text.length <= 8000 && text.endsWith(".")));
    assert.equal(texts.slice(0, 3).join(" ").slice(0, 8500), long.slice(0, 8500));
    assert.equal(texts.at(-1)!.endsWith("and a word"), true);
    assert.deepEqual(notes, [
      "A run of over 1000 characters without a blank, such as an embedded picture, was left out.",
    ]);
  });

  test("100 MB are read in slices, each handed on before the next is read", async () => {
    const block = `${SENTENCES}\n\n`.repeat(1000);
    const file = new File(
      Array.from({ length: Math.ceil(100e6 / block.length) }, () => block),
      "large.txt",
    );
    let sections = 0;
    let most = 0;
    const before = process.memoryUsage().rss;
    await readDocument(
      { file, path: file.name },
      {
        index: 0,
        signal: new AbortController().signal,
        progress: () => {},
        send: async (event) => {
          assert.equal(event.kind, "sections");
          if (event.kind === "sections") sections += event.sections.length;
          most = Math.max(most, process.memoryUsage().rss);
        },
      },
    );
    assert.equal(sections, 1000 * Math.ceil(100e6 / block.length));
    assert.ok(most - before < 200e6, `${(most - before) / 1e6} MB`);
  });
});

suite("encodings", () => {
  const text = "Die Bäckerei öffnet früh: Brötchen, Käsekuchen und süße Äpfel für alle Gäste.";

  test("UTF-16 and UTF-8 with marks, UTF-16 without", async () => {
    const wide = (mark: string, isBig: boolean) => {
      const bytes = new DataView(new ArrayBuffer(2 * (mark.length + text.length)));
      [...(mark + text)].forEach((character, index) => bytes.setUint16(index * 2, character.charCodeAt(0), !isBig));
      return new Uint8Array(bytes.buffer);
    };
    for (const bytes of [
      wide("\ufeff", false),
      wide("\ufeff", true),
      wide("", false),
      wide("", true),
      strToU8(`\ufeff${text}`),
    ]) {
      const { texts, notes } = await readFile("a.txt", bytes as Uint8Array<ArrayBuffer>);
      assert.deepEqual([texts, notes], [[text], []]);
    }
  });

  test("Latin-1, also in a few bytes", async () => {
    // The last one ends like a character of UTF-8 that is cut.
    for (const written of [text, "Bäcker", "Crème brûlée à la carte, s'il vous plaît.", "Ein Café"]) {
      const { texts, notes } = await readFile("a.txt", latin(written));
      assert.deepEqual(texts, [written]);
      assert.deepEqual(notes, ["It is not UTF-8; it was read as windows-1252."]);
    }
  });

  test("other encodings from before Unicode", async () => {
    const samples: [label: string, bytes: number[], text: string][] = [
      // "Привет, мир! " and "日本語のテキスト。"
      ["windows-1251", [0xcf, 0xf0, 0xe8, 0xe2, 0xe5, 0xf2, 0x2c, 0x20, 0xec, 0xe8, 0xf0, 0x21, 0x20], "Привет, мир!"],
      [
        "shift_jis",
        [0x93, 0xfa, 0x96, 0x7b, 0x8c, 0xea, 0x82, 0xcc, 0x83, 0x65, 0x83, 0x4c, 0x83, 0x58, 0x83, 0x67, 0x81, 0x42],
        "日本語のテキスト。",
      ],
    ];
    for (const [label, bytes, start] of samples) {
      const { texts, notes } = await readFile(
        "a.txt",
        Uint8Array.from({ length: bytes.length * 8 }, (_, at) => bytes[at % bytes.length]!),
      );
      assert.equal(texts[0]!.slice(0, start.length), start);
      assert.deepEqual(notes, [`It is not UTF-8; it was read as ${label}.`]);
    }
  });

  test("a page says its own encoding", async () => {
    const { texts } = await readFile("a.html", latin('<meta charset="iso-8859-2"><p>\xb1 \xea \xf3 s\xb1 litery</p>'));
    assert.deepEqual(texts, ["ą ę ó są litery"]);
  });

  test("an error at the end of UTF-8 does not make it another encoding", async () => {
    const { texts, notes } = await readFile(
      "a.txt",
      strToU8(`${text} `.repeat(40)) as Uint8Array<ArrayBuffer>,
      latin("\xff"),
    );
    assert.ok(texts[0]!.startsWith(text) && texts[0]!.endsWith("\ufffd"));
    assert.deepEqual(notes, ["Some bytes are not valid UTF-8; they are shown as \ufffd."]);
  });

  test("a character of UTF-8 that is cut at the end does not make it another encoding", async () => {
    const { texts } = await readFile("a.txt", strToU8(`${text} ä`).subarray(0, -1) as Uint8Array<ArrayBuffer>);
    assert.deepEqual(texts, [`${text} \ufffd`]);
  });

  test("binary data is refused, whatever its name and its first bytes", async () => {
    let state = 1;
    const random = Uint8Array.from({ length: 300_000 }, () => (state = (state * 48271) % 2147483647) & 0xff);
    const withoutZeros = random.map((byte) => byte || 1);
    for (const bytes of [random, withoutZeros, withoutZeros.subarray(0, 500)]) {
      const { sections, reason } = await readFile("notes.txt", bytes);
      assert.deepEqual([sections, reason], [[], "binary"]);
      for (const mark of ["\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"]) {
        const marked = await readFile("notes.txt", latin(mark), bytes);
        assert.deepEqual([marked.sections, marked.reason], [[], "binary"]);
      }
    }
  });
});

suite("Markdown", () => {
  test("headings, items, tables, code and links", async () => {
    const { sections, document } = await readFile(
      "recipes.md",
      `---\ntitle: "My recipes"\n---\n\n# Bread\n\n${SENTENCES.replace("sourdough", "[**sourdough**](https://example.org)")}\n\n## Rolls\n\n` +
        "- [ ] Knead *well*\n- Rest\n  - cold\n\n| Flour | Water |\n|---|---|\n| 500 g | 320 g |\n| 1 kg | `640 g` |\n\n```sh\nbake --hot\n```\n\n" +
        "<details><summary>More</summary>\n\nSee ![the oven](oven.png).\n\n</details>\n",
    );
    assert.deepEqual(
      sections.map(({ text, headings = [], line, row, isEntry }) => [text, headings.join("/"), line, row, isEntry]),
      [
        ['title: "My recipes"', "", 2, undefined, undefined],
        [SENTENCES, "Bread", 7, undefined, undefined],
        ["Knead well", "Bread/Rolls", 11, undefined, true],
        ["Rest", "Bread/Rolls", 12, undefined, true],
        ["cold", "Bread/Rolls", 13, undefined, true],
        ["Flour: 500 g\nWater: 320 g", "Bread/Rolls", 17, 2, true],
        ["Flour: 1 kg\nWater: 640 g", "Bread/Rolls", 18, 3, true],
        ["bake --hot\n\nMore\n\nSee the oven.", "Bread/Rolls", 20, undefined, undefined],
      ],
    );
    assert.equal(document.title, "My recipes");
  });

  test("a heading without a text is a text", async () => {
    const { sections } = await readFile("a.md", "# Bread\n## Sourdough rye\n## Rolls\nFor Sundays.\n");
    assert.deepEqual(sections, [
      { text: "Sourdough rye", isEntry: true, headings: ["Bread"], line: 2 },
      { text: "For Sundays.", headings: ["Bread", "Rolls"], line: 4 },
    ]);
  });
});

suite("HTML", () => {
  test("without tags, scripts, styles and navigation; with headings, items and tables", async () => {
    const { sections, document } = await readFile(
      "page.html",
      `<!doctype html><html><head><title>The  bakery</title><style>p { color: red }</style><script>var a = "<p>no</p>";</script></head>
      <body><nav><ul><li><a href=/>Home</a></ul></nav><div hidden>Secret</div><svg><title>icon</title></svg>
      <h1>Bread &amp; rolls</h1><p>${SENTENCES.replace("oven", "<b>ov</b>en")}<p>For <i>Sundays</i>.
      <ul><li>Knead well<li>Rest<ul><li>cold</ul></ul>
      <table><tr><th>Flour<th>Water<tr><td>500 g<td>320 g</table>
      <p>Water the plants<br>Oil the chain<br>Renew the passport</p><noscript>Switch it on</noscript></body>`,
    );
    assert.equal(document.title, "The bakery");
    assert.deepEqual(
      sections.map(({ text, headings = [], row, isEntry }) => [text, headings.join("/"), row, isEntry]),
      [
        [SENTENCES, "Bread & rolls", undefined, undefined],
        ["For Sundays.", "Bread & rolls", undefined, undefined],
        ["Knead well", "Bread & rolls", undefined, true],
        ["Rest", "Bread & rolls", undefined, true],
        ["cold", "Bread & rolls", undefined, true],
        ["Flour: 500 g\nWater: 320 g", "Bread & rolls", 2, true],
        ["Water the plants", "Bread & rolls", undefined, true],
        ["Oil the chain", "Bread & rolls", undefined, true],
        ["Renew the passport", "Bread & rolls", undefined, true],
      ],
    );
  });

  test("tables for the layout are text", async () => {
    const { sections } = await readFile("old.html", `<table><tr><td><h2>Bread</h2><p>${SENTENCES}</table>`);
    assert.deepEqual(sections, [{ text: SENTENCES, headings: ["Bread"] }]);
  });

  test("XML is its texts", async () => {
    const { texts } = await readFile(
      "feed.xml",
      `<?xml version="1.0"?><rss><item><title>${SENTENCES}</title><link/><d><![CDATA[a <b> c ${SENTENCES}]]></d></item></rss>`,
    );
    assert.deepEqual(texts, [SENTENCES, `a <b> c ${SENTENCES}`]);
  });
});

suite("CSV", () => {
  test("rows have the names of their columns", async () => {
    const { sections } = await readFile(
      "people.csv",
      'name;born;note\nAda;1815;"wrote; the ""first""\nprogram"\n\nGrace;1906;\n',
    );
    assert.deepEqual(sections, [
      { text: 'name: Ada\nborn: 1815\nnote: wrote; the "first" program', isEntry: true, row: 2 },
      { text: "name: Grace\nborn: 1906", isEntry: true, row: 4 },
    ]);
    assert.deepEqual((await readFile("numbers.tsv", "Ada\t1815\nGrace\t1906\n")).texts, ["Ada, 1815", "Grace, 1906"]);
  });

  test("a record over the border of two slices, and a quotation mark too many", async () => {
    const rows = Array.from({ length: 40_000 }, (_, index) => `"row ${index}, ""quoted""",${index}`);
    const { texts } = await readFile("large.csv", ["text,number", ...rows].join("\n"));
    assert.equal(texts.length, rows.length);
    assert.equal(texts.at(-1), 'text: row 39999, "quoted"\nnumber: 39999');

    const stray = await readFile("stray.csv", 'text,number\n"never closed,1\nflour,2\nwater,3\n');
    assert.deepEqual(stray.texts, [
      'text: "never closed\nnumber: 1',
      "text: flour\nnumber: 2",
      "text: water\nnumber: 3",
    ]);
    assert.equal(stray.notes.length, 1);
  });
});

suite("JSON", () => {
  test("the objects of a list are entries, and so are those of an object", async () => {
    const value = {
      title: "My notes",
      items: [
        { text: "Call the plumber", tags: ["home", "soon"], by: { name: "Ada" } },
        { text: "Buy milk", done: false, none: null },
      ],
      words: ["flour and water", "salt and time"],
      places: { oven: { heat: 250 }, cellar: { heat: 8 } },
    };
    const { sections } = await readFile("notes.json", JSON.stringify(value, null, 2));
    assert.deepEqual(sections, [
      { text: "title: My notes", isEntry: true },
      { text: "text: Call the plumber\ntags: home\ntags: soon\nby.name: Ada", isEntry: true, key: "items[0]" },
      { text: "text: Buy milk\ndone: false", isEntry: true, key: "items[1]" },
      { text: "flour and water", isEntry: true, key: "words[0]" },
      { text: "salt and time", isEntry: true, key: "words[1]" },
      { text: "heat: 250", isEntry: true, key: "places.oven" },
      { text: "heat: 8", isEntry: true, key: "places.cellar" },
    ]);
  });

  test("JSON Lines", async () => {
    const { sections } = await readFile("notes.jsonl", '{"a": "flour", "b": {"c": "water"}}\n{"a": "salt"}\n');
    assert.deepEqual(sections, [
      { text: "a: flour\nb.c: water", isEntry: true, row: 1 },
      { text: "a: salt", isEntry: true, row: 2 },
    ]);
  });

  test("what is no JSON is text", async () => {
    for (const text of ['{"a": "flour",}', '{"a" "flour"}', "[1, 2", '{"a": "flour"]']) {
      const { notes, document, problem, texts } = await readFile("a.json", text);
      assert.deepEqual(
        [notes, document.type, problem],
        [["It is not valid JSON (line 1). It was read as plain text."], "txt", undefined],
      );
      assert.deepEqual(texts, [text]);
    }
    const items = Array.from({ length: 5000 }, (_, index) => ({ text: `Item ${index}` }));
    const late = await readFile("late.json", `${JSON.stringify(items).slice(0, -1)}, oops`);
    assert.equal(late.reason, "broken");
    assert.match(late.problem!, /^It is not valid JSON \(line 1\)\. What comes before that was read\.$/);
    assert.equal(late.sections.length, items.length);
  });
});

suite("Word", () => {
  const heading = (style: string) => `<w:pStyle w:val="${style}"/>`;

  test("headings, lists, tables, breaks, text boxes and footnotes", async () => {
    const cell = (text: string) => `<w:tc>${paragraph(text)}</w:tc>`;
    const body =
      paragraph("Bread", heading("berschrift1")) +
      paragraph(SENTENCES) +
      paragraph("Rolls", heading("Eigene")) +
      paragraph(
        "Knead well",
        '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr><w:tabs><w:tab w:val="left"/></w:tabs>',
      ) +
      `<w:tbl><w:tr>${cell("Flour")}${cell("Water")}</w:tr><w:tr>${cell("500 g")}${cell("320 g")}</w:tr></w:tbl>` +
      "<w:p><w:r><w:t>Kept</w:t><w:delText>Deleted</w:delText><w:tab/><w:t>apart</w:t></w:r><w:moveFrom><w:r><w:t>Moved</w:t></w:r></w:moveFrom></w:p>";
    const note =
      '<w:footnotes xmlns:w="x"><w:footnote><w:p><w:r><w:t>See the mill.</w:t></w:r></w:p></w:footnote></w:footnotes>';
    const { sections, document } = await readFile(
      "bread.docx",
      docx(body, {
        "word/footnotes.xml": strToU8(note),
        "docProps/core.xml": strToU8(
          '<c:coreProperties xmlns:c="c" xmlns:dc="d"><dc:title>The bakery</dc:title></c:coreProperties>',
        ),
      }),
    );
    assert.deepEqual([document.type, document.title], ["docx", "The bakery"]);
    assert.deepEqual(sections, [
      { text: SENTENCES, headings: ["Bread"] },
      { text: "Knead well", isEntry: true, headings: ["Bread", "Rolls"] },
      { text: "Flour: 500 g\nWater: 320 g", isEntry: true, headings: ["Bread", "Rolls"], row: 2 },
      { text: "Kept apart", headings: ["Bread", "Rolls"] },
      { text: "See the mill.", headings: ["Footnotes"] },
    ]);
  });

  test("a bomb is refused, whether it says its size or not", async () => {
    const bomb = docx("", { "word/document.xml": [new Uint8Array(200 * 1024 * 1024), { level: 1 }] });
    const message = "It unpacks to more than 128 MB, which no ordinary document does.";
    const honest = await readFile("bomb.docx", bomb);
    assert.deepEqual([honest.reason, honest.problem], ["too-large", message]);
    // The size is a field of each entry of the directory at the end.
    const name = strToU8("word/document.xml");
    const view = new DataView(bomb.buffer);
    for (let at = bomb.length - 22; at >= 0; at--) {
      const isEntry = view.getUint32(at, true) === 0x02014b50 && bomb[at + 46] === name[0];
      if (isEntry && view.getUint32(at + 24, true) > 1e6) view.setUint32(at + 24, 1000, true);
    }
    const lying = await readFile("bomb.docx", bomb);
    assert.equal(lying.problem, "The file is damaged: a file in it is larger than it says.");
  });

  test("what is damaged, encrypted or no document says so", async () => {
    const whole = docx(paragraph(SENTENCES));
    const name = latin(Array.from("EncryptedPackage", (letter) => `${letter}\0`).join(""));
    const encrypted = Uint8Array.from([...latin("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), ...name]);
    const cases: [string, Uint8Array<ArrayBuffer>, ProblemReason, RegExp][] = [
      ["short.docx", whole.subarray(0, whole.length - 100), "broken", /damaged/],
      ["empty.docx", new Uint8Array(), "empty", /empty/],
      ["text.docx", latin("just text"), "broken", /no Word document/],
      ["xml.docx", docx("<w:p>"), "broken", /not valid XML/],
      ["deep.docx", docx("<w:p>".repeat(1001)), "broken", /too many open elements/],
      ["old.docx", encrypted, "encrypted", /password/],
      ["other.docx", zipSync({ "a.txt": strToU8("a") }), "unsupported", /no Word document/],
      ["sheet.xlsx", zipSync({ "a.txt": strToU8("a") }), "unsupported", /\.csv/],
    ];
    for (const [name, bytes, reason, problem] of cases) {
      const result = await readFile(name, bytes);
      assert.equal(result.reason, reason, name);
      assert.match(result.problem!, problem);
    }
  });
});

suite("hostile input", () => {
  const seconds = 1000;
  const many = (text: string, count: number) => text.repeat(count);
  const cases: [name: string, content: string][] = [
    ["blanks.md", `# a${many(" ", 80_000)}\nb`],
    ["brackets.md", many("[", 80_000)],
    ["brackets-lines.md", many(`${many("[", 8000)}\n\n`, 40)],
    ["stars.md", many("*a_ ", 30_000)],
    ["quotes.md", `${many("> ", 20_000)}a`],
    ["lists.md", Array.from({ length: 3000 }, (_, depth) => `${many(" ", Math.min(depth, 400))}- item`).join("\n")],
    ["fences.md", many("```\n~~~\n", 20_000)],
    ["deep.html", `${many("<div>", 200_000)}deep down${many("</div>", 200_000)}`],
    ["open.html", many("<p><b><i>text ", 100_000)],
    ["tables.html", many("<table><tr><td>cell ", 50_000)],
    ["ends.html", many("</div></p></b>", 200_000)],
    ["breaks.html", many("line<br>", 100_000)],
    ["attributes.html", `<p ${many("a=1 b ", 50_000)}>text here`],
    ["entities.html", many("&amp&lt&", 100_000)],
    ["deep.json", `${many("[", 200_000)}"deep"${many("]", 200_000)}`],
    ["deep-objects.json", `${many('{"a":1,"b":', 50_000)}"deep"${many("}", 50_000)}`],
    ["quotes.csv", many('"', 500_001)],
    ["stray.csv", many('a,"b\n', 100_000)],
    ["blanks.txt", many(" ", 3_000_000)],
    ["newlines.txt", many("\n", 3_000_000)],
    ["words.txt", many("word ", 1_000_000)],
    ["hyphens.txt", many("- ", 500_000)],
    ["lines.txt", many("a\n", 500_000)],
  ];
  for (const [name, content] of cases) {
    test(`${name} takes no time`, { timeout: 30 * seconds }, async () => {
      const start = performance.now();
      await readFile(name, content);
      const took = performance.now() - start;
      assert.ok(took < 5 * seconds, `${took.toFixed(0)} ms`);
    });
  }

  test("a long text without the end of a sentence is cut in a time that grows with its length", () => {
    const text = many("word ", 4_000_000);
    const start = performance.now();
    const pieces = cutAt(text, 8000);
    const took = performance.now() - start;
    assert.ok(took < 2 * seconds, `${took.toFixed(0)} ms`);
    assert.equal(pieces.join(" "), text.trim());
  });

  test("a deep document keeps its text", async () => {
    assert.deepEqual((await readFile("deep.html", many("<div>", 100_000), "deep down")).texts, ["deep down"]);
    assert.deepEqual((await readFile("deep.json", many("[", 100_000), '"deep"', many("]", 100_000))).texts, ["deep"]);
  });
});

suite("what cannot be read", () => {
  test("says why", async () => {
    const cases: [string, Content, ProblemReason][] = [
      ["empty.txt", "", "empty"],
      ["blank.txt", " \n\n ", "no-text"],
      ["photo.jpg", "\xff\xd8", "unsupported"],
      ["photo.txt", latin("\x89PNG\r\n\x1a\n"), "unsupported"],
      ["old.rtf", "{\\rtf1 text}", "unsupported"],
      ["none.pdf", "just text", "broken"],
      ["wide.txt", latin("\xff\xfe\0\0a\0\0\0"), "unsupported"],
    ];
    for (const [name, content, reason] of cases) assert.equal((await readFile(name, content)).reason, reason, name);
  });

  test("a file that is gone", async () => {
    const file = new File(["text"], "gone.txt");
    file.slice = () => Object.assign(new Blob(), { arrayBuffer: () => Promise.reject(new Error("NotFoundError")) });
    assert.equal((await read({ file, path: file.name })).reason, "unreadable");
  });

  test("an abort ends it between two slices", async () => {
    const file = new File([many("word and another\n\n", 300_000)], "large.txt");
    const controller = new AbortController();
    const reason = new Error("enough");
    let events = 0;
    const reading = readDocument(
      { file, path: file.name },
      {
        index: 0,
        signal: controller.signal,
        progress: () => {},
        send: async () => {
          events += 1;
          controller.abort(reason);
        },
      },
    );
    await assert.rejects(reading, reason);
    assert.equal(events, 1);
  });
});

const many = (text: string, count: number) => text.repeat(count);

test("places in words", () => {
  assert.equal(placeText({ page: 3, headings: ["Bread", "Rolls"] }), "page 3, Bread › Rolls");
  assert.equal(placeText({ headings: ["Bread"], line: 4 }), "Bread");
  assert.equal(placeText({ row: 12, key: "a" }), "row 12, a");
  assert.equal(placeText({ line: 40 }), "line 40");
  assert.equal(placeText({}), "");
});
