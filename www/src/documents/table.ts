/** Writes the rows of a table, each with the names of its columns. */

import { type SectionWriter, tidy } from "./sections";
import type { Place } from "./types";

const MAX_NAME = 80;
/** A cell that holds more is no datum: the table is there for the layout. */
const MAX_CELL = 1000;

export class Table {
  readonly #out: SectionWriter;
  #row = 0;
  /** The first row, until the second tells whether it has names. */
  #first: { cells: string[]; place: Place } | undefined;
  #header: string[] | undefined;

  constructor(out: SectionWriter) {
    this.#out = out;
  }

  /** `isHeader` says whether it is a row of names, where the document says so. */
  row(cells: readonly string[], place: Place = {}, isHeader?: boolean): void {
    this.#row += 1;
    const texts = cells.map((cell) => tidy(cell).replace(/\n/g, " "));
    if (texts.every((text) => text === "")) return;
    const here = { row: this.#row, ...place };
    if (this.#first !== undefined) {
      if (isHeaderOf(this.#first.cells, texts)) this.#header = this.#first.cells;
      else this.#write(this.#first.cells, this.#first.place);
      this.#first = undefined;
    } else if (this.#row === 1 && isHeader !== false) {
      if (isHeader) this.#header = texts;
      else this.#first = { cells: texts, place: here };
      return;
    }
    this.#write(texts, here);
  }

  end(): void {
    if (this.#first !== undefined) this.#write(this.#first.cells, this.#first.place);
    this.#first = undefined;
  }

  #write(cells: readonly string[], place: Place): void {
    if (cells.some((cell) => cell.length > MAX_CELL)) {
      for (const cell of cells) this.#out.paragraph(cell, place);
    } else {
      this.#out.entry(rowText(this.#header, cells), place);
    }
  }
}

function rowText(header: readonly string[] | undefined, cells: readonly string[]): string {
  const texts = cells.map((cell, index) => {
    const name = header?.[index] ?? "";
    return cell === "" || name === "" ? cell : `${name}: ${cell}`;
  });
  return texts.filter((text) => text !== "").join(header === undefined ? ", " : "\n");
}

/** Names are short, differ, and are no numbers; and there is one for each cell. */
function isHeaderOf(names: readonly string[], cells: readonly string[]): boolean {
  const given = names.filter((name) => name !== "");
  return (
    given.length > names.length / 2 &&
    names.length >= cells.length &&
    new Set(given).size === given.length &&
    given.every((name) => name.length <= MAX_NAME && /^\D/.test(name) && /\p{L}/u.test(name))
  );
}
