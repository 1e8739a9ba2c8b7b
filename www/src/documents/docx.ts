/** Word documents: their text with headings, lists, tables and notes. */

import { SaxesParser } from "saxes";

import type { Input } from "./input";
import { type SectionWriter, tidy } from "./sections";
import { Table } from "./table";
import { writeLines } from "./text";
import { Problem } from "./types";
import { Zip } from "./zip";

/** "War and Peace" has 15 MB of XML. */
const MAX_XML = 128 * 1024 * 1024;
const MAX_STYLES = 16 * 1024 * 1024;
/** Word itself writes some tens. Without a limit each open element takes memory. */
const MAX_DEPTH = 1000;
/** Paragraphs are written at the latest when they are this long. */
const MAX_PARAGRAPH = 65_536;

export async function readDocx(input: Input, out: SectionWriter): Promise<void> {
  const zip = await Zip.open(input);
  const main = "word/document.xml";
  if (!zip.has(main)) throw new Problem("unsupported", "It is an archive, but no Word document.");

  const title = new TitleReader();
  await parse(zip, "docProps/core.xml", MAX_STYLES, title, out);
  if (title.text !== "") out.title = title.text;
  const styles = new StyleReader();
  await parse(zip, "word/styles.xml", MAX_STYLES, styles, out);
  await parse(zip, main, MAX_XML, new BodyReader(out, styles), out);
  for (const [part, name] of [
    ["word/footnotes.xml", "Footnotes"],
    ["word/endnotes.xml", "Endnotes"],
  ] as const) {
    if (!zip.has(part)) continue;
    out.heading(1, name);
    await parse(zip, part, MAX_XML, new BodyReader(out, styles), out);
  }
}

type Attributes = Readonly<Record<string, string>>;

interface XmlReader {
  /** `name` is without a namespace's prefix. */
  open(name: string, attributes: Attributes): void;
  characters(text: string): void;
  close(name: string): void;
}

async function parse(zip: Zip, part: string, most: number, reader: XmlReader, out: SectionWriter): Promise<void> {
  const parser = new SaxesParser();
  parser.on("error", (cause) => {
    throw new Problem("broken", `The file is damaged: ${part} is not valid XML.`, cause);
  });
  let depth = 0;
  parser.on("opentag", ({ name, attributes }) => {
    depth += 1;
    if (depth > MAX_DEPTH) throw new Problem("broken", `The file is damaged: ${part} has too many open elements.`);
    reader.open(localName(name), attributes as Attributes);
  });
  parser.on("text", (text) => reader.characters(text));
  parser.on("closetag", ({ name }) => {
    depth -= 1;
    reader.close(localName(name));
  });
  const decoder = new TextDecoder();
  for await (const piece of zip.read(part, most)) {
    parser.write(decoder.decode(piece, { stream: true }));
    await out.drain();
  }
  if (zip.has(part)) parser.close();
}

const localName = (name: string) => name.slice(name.indexOf(":") + 1);

/** `w:val`, whatever the prefix. */
function valueOf(attributes: Attributes, name: string): string | undefined {
  for (const [key, value] of Object.entries(attributes)) if (localName(key) === name) return value;
  return undefined;
}

class TitleReader implements XmlReader {
  #parts: string[] = [];
  #isTitle = false;

  get text(): string {
    return tidy(this.#parts.join(""));
  }

  open(name: string): void {
    this.#isTitle = name === "title";
  }

  characters(text: string): void {
    if (this.#isTitle) this.#parts.push(text);
  }

  close(): void {
    this.#isTitle = false;
  }
}

interface Style {
  level?: number;
  isList?: boolean;
  basedOn?: string;
}

/** A style's id is in the language of the program that wrote the document; its name is not. */
class StyleReader implements XmlReader {
  readonly #styles = new Map<string, Style>();
  #style: Style = {};

  open(name: string, attributes: Attributes): void {
    const value = valueOf(attributes, "val") ?? "";
    if (name === "style") this.#styles.set(valueOf(attributes, "styleId") ?? "", (this.#style = {}));
    else if (name === "name" && /^heading [1-9]$/i.test(value)) this.#style.level = Number(value.slice(-1));
    else if (name === "outlineLvl") this.#style.level ??= Number(value) + 1;
    else if (name === "numPr") this.#style.isList = true;
    else if (name === "basedOn") this.#style.basedOn = value;
  }

  characters(): void {}
  close(): void {}

  /** With what a style has from the one it is based on. */
  get(id: string): Style {
    const found: Style = {};
    let style = this.#styles.get(id);
    for (let depth = 0; style !== undefined && depth < 10; depth++) {
      if (style.level !== undefined) found.level ??= style.level;
      if (style.isList) found.isList = true;
      style = style.basedOn === undefined ? undefined : this.#styles.get(style.basedOn);
    }
    return found;
  }
}

interface Paragraph {
  texts: string[];
  length: number;
  level?: number | undefined;
  isList?: boolean | undefined;
}

class BodyReader implements XmlReader {
  readonly #out: SectionWriter;
  readonly #styles: StyleReader;
  /** A text box is within a paragraph, and has its own. */
  #paragraphs: Paragraph[] = [];
  #tables: { rows: Table; cells: string[]; cell: string[]; isHeader: boolean }[] = [];
  #runs = 0;
  #isText = false;
  /** Elements whose content is there twice, or no more. */
  #skipped = 0;

  constructor(out: SectionWriter, styles: StyleReader) {
    this.#out = out;
    this.#styles = styles;
  }

  open(name: string, attributes: Attributes): void {
    const paragraph = this.#paragraphs.at(-1);
    const value = valueOf(attributes, "val") ?? "";
    switch (name) {
      case "Fallback":
      case "moveFrom":
        this.#skipped += 1;
        break;
      case "p":
        this.#paragraphs.push({ texts: [], length: 0 });
        break;
      case "pStyle":
        if (paragraph !== undefined) Object.assign(paragraph, this.#styles.get(value));
        break;
      case "outlineLvl":
        if (paragraph !== undefined && /^[0-8]$/.test(value)) paragraph.level = Number(value) + 1;
        break;
      case "numId":
        if (paragraph !== undefined) paragraph.isList = value !== "0";
        break;
      case "r":
        this.#runs += 1;
        break;
      case "t":
        this.#isText = true;
        break;
      case "tab":
        if (this.#runs > 0) this.#add("\t"); // else it is where a tab stops
        break;
      case "br":
      case "cr":
        this.#add("\n");
        break;
      case "noBreakHyphen":
        this.#add("-");
        break;
      case "tbl":
        this.#tables.push({ rows: new Table(this.#out), cells: [], cell: [], isHeader: false });
        break;
      case "tblHeader":
        if (this.#tables.length > 0) this.#tables.at(-1)!.isHeader = true;
        break;
      default:
    }
  }

  characters(text: string): void {
    if (this.#isText) this.#add(text);
  }

  close(name: string): void {
    const table = this.#tables.at(-1);
    switch (name) {
      case "Fallback":
      case "moveFrom":
        this.#skipped -= 1;
        break;
      case "p":
        this.#write(this.#paragraphs.pop()!);
        break;
      case "r":
        this.#runs -= 1;
        break;
      case "t":
        this.#isText = false;
        break;
      case "tc":
        if (table === undefined) break;
        table.cells.push(table.cell.join("\n"));
        table.cell = [];
        break;
      case "tr":
        if (table === undefined) break;
        // A table within a cell is a part of the cell.
        if (this.#tables.length > 1) this.#tables.at(-2)!.cell.push(table.cells.join(", "));
        else table.rows.row(table.cells, {}, table.isHeader || undefined);
        table.cells = [];
        table.isHeader = false;
        break;
      case "tbl":
        this.#tables.pop()?.rows.end();
        break;
      default:
    }
  }

  #add(text: string): void {
    const paragraph = this.#paragraphs.at(-1);
    if (paragraph === undefined || this.#skipped > 0) return;
    paragraph.texts.push(text);
    paragraph.length += text.length;
    if (paragraph.length > MAX_PARAGRAPH) {
      this.#write(paragraph);
      paragraph.texts = [];
      paragraph.length = 0;
    }
  }

  #write({ texts, level, isList }: Paragraph): void {
    const text = texts.join("");
    const table = this.#tables.at(-1);
    if (text === "") return;
    if (table !== undefined) table.cell.push(text);
    else if (level !== undefined) this.#out.heading(level, text);
    else if (isList) this.#out.entry(text);
    else if (text.includes("\n")) writeLines(text, this.#out);
    else this.#out.paragraph(text);
  }
}
