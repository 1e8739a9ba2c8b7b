/** Tables whose rows say something only together with their columns' names. */

import { documentOf, nodeTypeOf, tagNameOf } from "./own";

const MAX_COLUMNS = 100;
const MAX_HEADER_ROWS = 3;
const MAX_NAME = 60;

/** A table that has names for its columns or rows; others only put things side by side. */
export function isDataTable(table: HTMLTableElement): boolean {
  if (/^(none|presentation)$/.test(table.getAttribute("role") ?? "")) return false;
  return table.tHead !== null || table.caption !== null || isHeader(table.rows[0]?.cells[0]);
}

const isHeader = (cell: Element | undefined) => cell !== undefined && tagNameOf(cell) === "TH";

/** One name for each column, of all rows of the header; none if no row is one. */
export function columnNames(table: HTMLTableElement): string[] {
  const rows = headerRows(table);
  const grid: string[][] = [];
  const reaching: { rows: number; name: string }[] = [];
  for (const row of rows) {
    const names: string[] = [];
    let column = 0;
    const takeReaching = () => {
      for (let above = reaching[column]; above && above.rows > 0; above = reaching[++column]) {
        names[column] = above.name;
        above.rows -= 1;
      }
    };
    for (const cell of row.cells) {
      takeReaching();
      const name = boundedText(cell, MAX_NAME).replace(/\s+/g, " ").trim();
      for (let i = 0; i < cell.colSpan && column < MAX_COLUMNS; i++, column++) {
        names[column] = name;
        if (cell.rowSpan > 1) reaching[column] = { rows: cell.rowSpan - 1, name };
      }
      if (column >= MAX_COLUMNS) break;
    }
    takeReaching();
    grid.push(names);
  }
  const width = Math.max(0, ...grid.map(({ length }) => length));
  return Array.from({ length: width }, (_, column) =>
    [...new Set(grid.map((names) => names[column] ?? "").filter((name) => name !== ""))].join(" "),
  );
}

function headerRows(table: HTMLTableElement): HTMLTableRowElement[] {
  if (table.tHead) return [...table.tHead.rows].slice(-MAX_HEADER_ROWS);
  const first = table.rows[0];
  if (!first || first.cells.length < 2) return [];
  for (let i = 0; i < Math.min(first.cells.length, MAX_COLUMNS); i++) {
    if (!isHeader(first.cells[i])) return [];
  }
  return [first];
}

/** The beginning of an element's text, without looking at more than a little of it. */
export function boundedText(element: Element, characters: number): string {
  const what = NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT;
  const walker = Document.prototype.createTreeWalker.call(documentOf(element), element, what);
  let text = "";
  for (let visited = 0; visited < 50 && text.length < characters && walker.nextNode(); visited++) {
    const { currentNode } = walker;
    if (nodeTypeOf(currentNode) === Node.TEXT_NODE) text += (currentNode as Text).data.slice(0, characters);
    else text += " ";
  }
  return text.slice(0, characters);
}
