/** HTML and XML without tags, scripts, styles and navigation. A tokenizer reads it; no tree is built, so nesting costs nothing. */

import { type Token, Tokenizer, TokenizerMode } from "parse5";

import { type Input, textOf } from "./input";
import { type SectionWriter, tidy } from "./sections";
import { Table } from "./table";
import { writeLines } from "./text";

const names = (list: string) => new Set(list.split(" "));

/** What their content says is for programs or for finding one's way. */
const SKIPPED = names(
  "audio button canvas datalist embed iframe map nav noembed noframes noscript object script select style svg template video",
);
/** Everything that begins a new line on the screen. */
const BLOCKS = names(
  "address article aside blockquote body center dd details dialog dir div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 " +
    "head header hgroup hr html legend li main menu ol optgroup option p pre search section summary table tbody td tfoot th thead title tr ul",
);
const VOID = names("area base br col embed hr img input link meta param source track wbr");
const RAW = names("iframe noembed noframes style xmp");
/** Inline text is written at the latest when there is this much. */
const MAX_INLINE = 65_536;
const MAX_TITLE = 200;

/** What the beginning of a page says its encoding is. */
export function declaredEncoding(head: string): string | undefined {
  const start = head.slice(0, 4096);
  return (
    /<meta[^>]{0,200}charset\s{0,4}=\s{0,4}["']?([\w-]{1,40})/i.exec(start)?.[1] ??
    /^\s{0,16}<\?xml[^>]{0,100}encoding=["']([\w-]{1,40})/.exec(start)?.[1]
  );
}

export async function readHtml(input: Input, encoding: string, out: SectionWriter, isXml: boolean): Promise<void> {
  const html = new HtmlText(out, { isXml });
  for await (const text of textOf(input, encoding)) {
    html.write(text);
    await out.drain();
  }
  html.end();
}

interface OpenTable {
  rows: Table;
  /** Of the current row. */
  cells: string[];
  /** Whether all of them are `<th>`. */
  isHeader: boolean;
  isCell: boolean;
  /** Whether it has headings or tables in its cells: then it is no table of data. */
  isLayout: boolean;
}

interface Open {
  name: string;
  isSkipped: boolean;
}

export class HtmlText {
  readonly #out: SectionWriter;
  readonly #isXml: boolean;
  readonly #tokenizer: Tokenizer;
  #inline: string[] = [];
  #length = 0;
  /** How much of the inline text is in links. */
  #linked = 0;
  #open: Open[] = [];
  /** How often each name is in `open`: an end tag without a start is found without a search. */
  #counts = new Map<string, number>();
  #skipped = 0;
  #links = 0;
  #items = 0;
  #tables: OpenTable[] = [];
  #term = "";

  constructor(out: SectionWriter, { isXml = false } = {}) {
    this.#out = out;
    this.#isXml = isXml;
    // A line break of the source is a blank, except in <pre>; <br> comes as a newline of its own.
    const text = ({ chars }: Token.CharacterToken) =>
      this.#text(this.#counts.get("pre") ? chars : chars.replace(/\s+/g, " "));
    this.#tokenizer = new Tokenizer(
      {},
      {
        onStartTag: (token) => this.#start(token),
        onEndTag: (token) => this.#end(token.tagName),
        onCharacter: text,
        onWhitespaceCharacter: text,
        onNullCharacter: () => {},
        onComment: () => {},
        onDoctype: () => {},
        onEof: () => {},
      },
    );
    this.#tokenizer.inForeignNode = isXml; // CDATA sections are text
  }

  write(text: string): void {
    this.#tokenizer.write(text, false);
  }

  end(): void {
    this.#tokenizer.write("", true);
    while (this.#open.length > 0) this.#end(this.#open.at(-1)!.name);
    this.#finish();
  }

  #text(text: string): void {
    if (this.#skipped > 0) return;
    this.#inline.push(text);
    this.#length += text.length;
    if (this.#links > 0) this.#linked += text.length;
    if (this.#length > MAX_INLINE) {
      const table = this.#tables.at(-1);
      if (table?.isCell) table.isLayout = true;
      this.#finish();
    }
  }

  #start(token: Token.TagToken): void {
    const { tagName: name } = token;
    const isOver = VOID.has(name) || (token.selfClosing && (this.#isXml || this.#skipped > 0 || name === "svg"));
    const isSkipped = !this.#isXml && (SKIPPED.has(name) || isHidden(token));
    if (name === "br") return this.#text("\n");
    if (this.#isXml || BLOCKS.has(name)) this.#startBlock(name, token);
    if (isOver) return;
    // Inside an image in SVG, tags are those of XML.
    if (!this.#isXml && !this.#counts.get("svg")) this.#switchMode(name);
    if (name === "a" && this.#open.at(-1)?.name === name) this.#end(name);
    if (name === "a") this.#links += 1;
    if (name === "li") this.#items += 1;
    if (isSkipped) this.#skipped += 1;
    this.#open.push({ name, isSkipped });
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  #switchMode(name: string): void {
    if (name === "script") this.#tokenizer.state = TokenizerMode.SCRIPT_DATA;
    else if (name === "title" || name === "textarea") this.#tokenizer.state = TokenizerMode.RCDATA;
    else if (RAW.has(name)) this.#tokenizer.state = TokenizerMode.RAWTEXT;
    else if (name === "plaintext") this.#tokenizer.state = TokenizerMode.PLAINTEXT;
  }

  #startBlock(name: string, { tagName }: Token.TagToken): void {
    const table = this.#tables.at(-1);
    if (table?.isCell && !table.isLayout && (tagName === "table" || /^h[1-6]$/.test(tagName))) table.isLayout = true;
    // Blocks within a cell are parts of the cell.
    if (table?.isCell && !table.isLayout && !/^(?:td|th|tr|tbody|thead|tfoot)$/.test(name)) return this.#text("\n");
    this.#finish();
    if (this.#isXml || this.#skipped > 0) return;
    if (name === "table") {
      this.#tables.push({ rows: new Table(this.#out), cells: [], isHeader: true, isCell: false, isLayout: false });
    } else if (table !== undefined && name === "tr") {
      this.#finishRow(table);
    } else if (table !== undefined && (name === "td" || name === "th")) {
      this.#finishCell(table);
      table.isCell = true;
      if (name === "td") table.isHeader = false;
    } else if (name === "li" || name === "p") {
      // Their end tags may be left out.
      if (this.#open.at(-1)?.name === name) this.#end(name);
    } else if (name === "dt" || name === "dd") {
      const last = this.#open.at(-1)?.name;
      if (last === "dt" || last === "dd") this.#end(last);
    }
  }

  #end(name: string): void {
    if (name === "p" && !this.#counts.get(name)) return this.#finish();
    // Those in it that were left open end with it.
    while (this.#counts.get(name)) {
      const open = this.#open.pop()!;
      this.#close(open.name);
      this.#counts.set(open.name, this.#counts.get(open.name)! - 1);
      if (open.isSkipped) this.#skipped -= 1;
      if (open.name === "a") this.#links -= 1;
      if (open.name === "li") this.#items -= 1;
      if (open.name === name) return;
    }
  }

  /** Before an element's end. */
  #close(name: string): void {
    if (this.#skipped > 0) return;
    if (this.#isXml) return this.#finish();
    const table = this.#tables.at(-1);
    if (name === "table" && table !== undefined) {
      this.#finishRow(table);
      table.rows.end();
      this.#tables.pop();
    } else if (table !== undefined && (name === "td" || name === "th")) {
      this.#finishCell(table);
    } else if (table !== undefined && name === "tr") {
      this.#finishRow(table);
    } else if (table?.isCell && !table.isLayout) {
      if (BLOCKS.has(name)) this.#text("\n");
    } else if (/^h[1-6]$/.test(name)) {
      this.#out.heading(Number(name[1]), this.#take().text);
    } else if (name === "title") {
      const title = tidy(this.#take().text).replace(/\n/g, " ").slice(0, MAX_TITLE);
      if (title !== "") this.#out.title ??= title;
    } else if (name === "dt") {
      this.#term = tidy(this.#take().text);
    } else if (BLOCKS.has(name)) {
      this.#finish();
    }
  }

  #take(): { text: string; isMenu: boolean } {
    const text = this.#inline.join("");
    const isMenu = this.#linked > text.length * 0.8;
    this.#inline = [];
    this.#length = 0;
    this.#linked = 0;
    return { text, isMenu };
  }

  /** Writes the inline text so far. */
  #finish(): void {
    if (this.#length === 0) return;
    const table = this.#tables.at(-1);
    if (table?.isCell && !table.isLayout) return;
    const { text, isMenu } = this.#take();
    if (text.trim() === "") return;
    const term = this.#term;
    this.#term = "";
    // A list of links is a menu: its items say too little one by one.
    if (term !== "") this.#out.entry(`${term}: ${text}`);
    else if (isMenu) this.#out.paragraph(text);
    else if (this.#items > 0) this.#out.entry(text);
    else if (text.trim().includes("\n")) writeLines(text, this.#out);
    else this.#out.paragraph(text);
  }

  #finishCell(table: OpenTable): void {
    if (!table.isCell) return;
    if (table.isLayout) this.#finish();
    else table.cells.push(this.#take().text);
    table.isCell = false;
  }

  #finishRow(table: OpenTable): void {
    this.#finishCell(table);
    const { cells, isHeader } = table;
    table.cells = [];
    table.isHeader = true;
    if (cells.length > 0) table.rows.row(cells, {}, isHeader);
  }
}

function isHidden({ attrs }: Token.TagToken): boolean {
  return attrs.some(
    ({ name, value }) =>
      name === "hidden" || (name === "aria-hidden" && value === "true") || (name === "role" && value === "navigation"),
  );
}
