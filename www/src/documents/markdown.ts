/** Markdown, as CommonMark has it, with tables. */

import MarkdownIt, { type Env, type Token } from "markdown-it";

import { HtmlText } from "./html";
import { type Input, LineSplitter, textOf } from "./input";
import type { SectionWriter } from "./sections";
import { Table } from "./table";
import { writeLines } from "./text";

/** Parsed at once: up to an empty line outside of code once there is so much … */
const SLICE = 65_536;
/** … and at any line from here on. */
const MAX_SLICE = 4 * SLICE;
/** Longer running text is taken as it is: the parser looks for the other half of each mark. */
const MAX_INLINE = 8192;
const MAX_FRONT_MATTER = 200;

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const TASK = /^\[[ xX]\]\s{1,8}/;

export async function readMarkdown(input: Input, encoding: string, out: SectionWriter): Promise<void> {
  const reader = new MarkdownText(out);
  const splitter = new LineSplitter();
  for await (const text of textOf(input, encoding)) {
    for (const line of splitter.push(text)) reader.line(line);
    await out.drain();
  }
  for (const line of splitter.end()) reader.line(line);
  reader.end();
}

class MarkdownText {
  readonly #out: SectionWriter;
  readonly #parser = new MarkdownIt("default", { html: true, linkify: false, typographer: false, maxNesting: 50 });
  #lines: string[] = [];
  #length = 0;
  #line = 1;
  #fence = "";
  #frontMatter: "possible" | "inside" | "over" = "possible";

  constructor(out: SectionWriter) {
    this.#out = out;
  }

  line(line: string): void {
    if (this.#frontMatter !== "over") this.#lookForFrontMatter(line);
    this.#lines.push(line);
    this.#length += line.length + 1;
    const mark = FENCE.exec(line)?.[1];
    if (mark !== undefined) {
      if (this.#fence === "") this.#fence = mark;
      else if (mark.startsWith(this.#fence)) this.#fence = "";
    }
    const isBetween = line === "" && this.#fence === "" && this.#frontMatter === "over";
    if ((isBetween && this.#length >= SLICE) || this.#length >= MAX_SLICE) this.#write();
  }

  end(): void {
    this.#write();
  }

  #lookForFrontMatter(line: string): void {
    if (this.#frontMatter === "possible") {
      this.#frontMatter = line === "---" ? "inside" : "over";
    } else if (line === "---" || line === "...") {
      const title = this.#lines.find((text) => text.startsWith("title:"));
      if (title !== undefined)
        this.#out.title ??= title
          .slice(6)
          .trim()
          .replace(/^["']|["']$/g, "");
      this.#out.paragraph(this.#lines.slice(1).join("\n"), { line: 2 });
      this.#line += this.#lines.length + 1;
      this.#lines = [];
      this.#length = 0;
      this.#frontMatter = "over";
      // The line itself is a rule, which says nothing.
      this.#line -= 1;
    } else if (this.#lines.length > MAX_FRONT_MATTER) {
      this.#frontMatter = "over";
    }
  }

  #write(): void {
    if (this.#lines.length === 0) return;
    const tokens: Token[] = [];
    const { block } = this.#parser;
    const environment: Env = {};
    // Without the inline rules, which come below, for texts of a bounded length.
    block.parse(this.#lines.join("\n"), this.#parser, environment, tokens);
    new TokenWriter(this.#out, this.#line, (text) => this.#inlineText(text, environment)).write(tokens);
    this.#line += this.#lines.length;
    this.#lines = [];
    this.#length = 0;
  }

  #inlineText(content: string, environment: Env): string {
    if (content.length > MAX_INLINE) return content;
    const tokens: Token[] = [];
    this.#parser.inline.parse(content, this.#parser, environment, tokens);
    return plainText(tokens);
  }
}

/** What inline tokens say. */
function plainText(tokens: readonly Token[]): string {
  const parts: string[] = [];
  for (const { type, content, children } of tokens) {
    if (type === "softbreak" || type === "hardbreak") parts.push("\n");
    else if (type === "image") parts.push(...(children ?? []).map((child) => child.content));
    else if (type === "html_inline") parts.push(/^<br\b/i.test(content) ? "\n" : "");
    else parts.push(content);
  }
  return parts.join("");
}

class TokenWriter {
  readonly #out: SectionWriter;
  readonly #firstLine: number;
  readonly #inlineText: (content: string) => string;
  #items = 0;
  /** Of the item that is being read, up to a list within it. */
  #item: { texts: string[]; line: number } | undefined;
  #heading: number | undefined;
  #table: Table | undefined;
  #isHeader = false;
  #cells: string[] | undefined;

  constructor(out: SectionWriter, firstLine: number, inlineText: (content: string) => string) {
    this.#out = out;
    this.#firstLine = firstLine;
    this.#inlineText = inlineText;
  }

  write(tokens: readonly Token[]): void {
    let line = this.#firstLine;
    for (const token of tokens) {
      if (token.map) line = this.#firstLine + token.map[0];
      this.#take(token, line);
    }
  }

  #take(token: Token, line: number): void {
    switch (token.type) {
      case "heading_open":
        this.#heading = Number(token.tag[1]);
        break;
      case "heading_close":
        this.#heading = undefined;
        break;
      case "list_item_open":
        this.#finishItem();
        this.#items += 1;
        this.#item = { texts: [], line };
        break;
      case "list_item_close":
        this.#finishItem();
        this.#items -= 1;
        break;
      case "table_open":
        this.#finishItem();
        this.#table = new Table(this.#out);
        break;
      case "table_close":
        this.#table = undefined;
        break;
      case "thead_open":
      case "thead_close":
        this.#isHeader = token.type === "thead_open";
        break;
      case "tr_open":
        this.#cells = [];
        break;
      case "tr_close":
        this.#table?.row(this.#cells ?? [], { line }, this.#isHeader);
        this.#cells = undefined;
        break;
      case "inline":
        this.#text(this.#inlineText(token.content), line);
        break;
      case "fence":
      case "code_block":
        this.#text(token.content, line);
        break;
      case "html_block": {
        const html = new HtmlText(this.#out);
        html.write(token.content);
        html.end();
        break;
      }
      default: // the beginnings and ends of what has no text of its own
    }
  }

  #text(text: string, line: number): void {
    if (this.#heading !== undefined) this.#out.heading(this.#heading, text, { line });
    else if (this.#cells !== undefined) this.#cells.push(text);
    else if (this.#item !== undefined) this.#item.texts.push(text);
    else if (this.#items > 0) this.#out.entry(text, { line });
    else if (text.includes("\n")) writeLines(text, this.#out, line);
    else this.#out.paragraph(text, { line });
  }

  #finishItem(): void {
    if (this.#item === undefined) return;
    const { texts, line } = this.#item;
    this.#item = undefined;
    this.#out.entry(texts.join("\n").replace(TASK, ""), { line });
  }
}
