/** Tables in text: each row is an entry, with the names of its columns. */

import Papa from "papaparse";

import { type Input, textOf } from "./input";
import type { SectionWriter } from "./sections";
import { Table } from "./table";

/** Looked at for the delimiter. */
const HEAD = 65_536;
/** A record that is longer has a quote too many: it ends at its first line. */
const MAX_RECORD = 1024 * 1024;
/** With more than these, quotation marks mean nothing in this file. */
const MAX_STRAY_QUOTES = 3;

export async function readCsv(input: Input, encoding: string, out: SectionWriter): Promise<void> {
  const table = new CsvTable(out);
  for await (const text of textOf(input, encoding)) {
    table.push(text);
    await out.drain();
  }
  table.end();
}

class CsvTable {
  readonly #out: SectionWriter;
  readonly #table: Table;
  #delimiter: string | undefined;
  /** What follows the last whole record. */
  #rest = "";
  #strayQuotes = 0;

  constructor(out: SectionWriter) {
    this.#out = out;
    this.#table = new Table(out);
  }

  push(text: string): void {
    this.#rest += text;
    this.#delimiter ??= delimiterOf(this.#rest.slice(0, HEAD));
    this.#parse();
    while (this.#rest.length > MAX_RECORD) this.#skipQuote();
  }

  end(): void {
    this.#parse();
    while (this.#rest !== "") {
      const { data, errors } = this.#records(false);
      // The parser takes all that follows an open quote for one cell.
      if (errors.some(({ code }) => code === "MissingQuotes")) {
        this.#skipQuote();
      } else {
        for (const cells of data) this.#table.row(cells);
        this.#rest = "";
      }
    }
    this.#table.end();
    if (this.#strayQuotes > 0) {
      this.#out.note("A quotation mark has no other half; rows after it may be divided differently than meant.");
    }
  }

  /** Takes the whole records. */
  #parse(): void {
    const { data, meta } = this.#records(true);
    for (const cells of data) this.#table.row(cells);
    this.#rest = this.#rest.slice(meta.cursor);
  }

  #records(withoutLast: boolean): Papa.ParseResult<string[]> {
    const fastMode = this.#strayQuotes > MAX_STRAY_QUOTES ? { fastMode: true } : {};
    const parser = new Papa.Parser({ delimiter: this.#delimiter ?? ",", newline: "\n", ...fastMode });
    return parser.parse(this.#rest, 0, withoutLast) as Papa.ParseResult<string[]>;
  }

  /** Takes the first line without regard to quotes, and what is whole behind it. */
  #skipQuote(): void {
    this.#strayQuotes += 1;
    const newline = this.#rest.indexOf("\n");
    const end = newline < 0 ? this.#rest.length : newline;
    this.#table.row(this.#rest.slice(0, end).split(this.#delimiter ?? ","));
    this.#rest = this.#rest.slice(end + 1);
    this.#parse();
  }
}

function delimiterOf(head: string): string {
  // The last line may be cut.
  const whole = head.slice(0, head.lastIndexOf("\n") + 1) || head;
  return Papa.parse<string[]>(whole, { newline: "\n", preview: 50, skipEmptyLines: true }).meta.delimiter;
}
