/** The passages of a document, as it is shown. */

import { bytesOf, collapse, LINE_END, type Span, spansOf } from "./lines";
import {
  attributeOf,
  bodyOf,
  classNameOf,
  documentOf,
  firstChildOf,
  idOf,
  nextSiblingOf,
  nodeTypeOf,
  openShadowOf,
  parentElementOf,
  rootOf,
  tagNameOf,
  viewOf,
} from "./own";
import { boundedText, columnNames, isDataTable } from "./tables";

export interface Passage {
  readonly text: string;
  /** Of a banner, a menu, a footer and the like, not of what the page is about. */
  readonly isAside: boolean;
  /** The heading above it, if there is one. */
  readonly heading: string;
  /** Where it is, one range per text node; none if the text is no longer there. */
  ranges(): Range[];
}

/** What is not part of what a page, or a drawing in it, says. */
const SKIPPED = new Set(
  "SCRIPT STYLE NOSCRIPT TEMPLATE HEAD CANVAS AUDIO VIDEO BUTTON SELECT TEXTAREA INPUT DATALIST PROGRESS METER MAP TITLE DESC METADATA DEFS SYMBOL CLIPPATH MASK PATTERN MARKER".split(
    " ",
  ),
);
const SKIPPED_ROLES = new Set(["menu", "menubar", "search", "toolbar", "tablist", "button"]);
/** Frames and plug-ins, whose documents are others. */
const EMBEDDED = new Set(["IFRAME", "FRAME", "OBJECT", "EMBED"]);

const ASIDES = new Set(["NAV", "ASIDE", "FOOTER", "DIALOG"]);
const ASIDE_ROLES = new Set([
  "navigation",
  "complementary",
  "contentinfo",
  "banner",
  "dialog",
  "alertdialog",
  "alert",
  "status",
]);
/** What pages call the rest, as a word of an id or a class. */
const ASIDE_NAMES =
  /(?<!(?:has|with|no|without|for)[-_])\b(?:cookie[-_]?(?:banner|consent|notice|bar|policy|popup|modal|dialog|overlay|wall|message|info)|consent|gdpr|onetrust|didomi|newsletter|related|recommended|most[-_]?(?:read|viewed|popular|shared)|popular|trending|sidebar|breadcrumbs?|skip-link|advert|adverts|advertisement|sponsored|promo)(?:$|[\s_-])/i;
const ASIDE_HEADINGS =
  /^(?:most (?:read|viewed|popular|shared)|popular(?: now)?|trending(?: now)?|related(?: (?:articles|stories|posts|content|links|topics))?|recommended(?: for you)?|you (?:may|might) also like|more (?:stories|from .+)|read (?:more|next)|share this.*|meistgelesen|mehr zum thema|das könnte sie auch interessieren)\W*$/i;
const HEADING = /^H[1-6]$/;

/** Less is a label. In UTF-8, because a character of a script without spaces says as much as three letters. */
const MIN_BYTES = 20;
/** In a list, a word may be an entry. */
const MIN_ITEM_BYTES = 2;
/** A page whose main part says less has it in the wrong place. */
const MIN_MAIN_CHARACTERS = 400;
const MAX_HEADING = 80;
/** A page with more main parts than this has no main part. */
const MAX_MAINS = 10;
/** A block is cut here at the latest, so that no step takes long. */
const MAX_BLOCK = 16_384;
/** Nobody reads a page with more passages or nodes to its end, and memory has one. */
const MAX_PASSAGES = 20_000;
const MAX_NODES = 3_000_000;

/** Only the first short text in a list's entry is the entry; the others are labels. */
interface Item {
  isTaken: boolean;
}

interface Table {
  readonly columns: readonly string[];
  /** For each column the cell that reaches down to further rows. */
  readonly reaching: { rows: number; text: string }[];
}

interface Row {
  readonly table: Table;
  column: number;
}

/** An element that is being read. */
interface Frame {
  readonly element: Element;
  /** What comes next in it, or the rest of what a slot takes in. */
  next: Node | null | undefined;
  readonly slotted: readonly Node[] | undefined;
  position: number;
  readonly isVisible: boolean;
  readonly isCode: boolean;
  /** In an article or a section, whose header is not the page's. */
  readonly isContent: boolean;
  readonly item: Item | undefined;
  readonly table: Table | undefined;
  readonly row: Row | undefined;
  readonly end: "block" | "space" | "term" | "cell" | "none";
  isAside: boolean;
  /** Where a cell begins in its row. */
  readonly begin: Checkpoint | undefined;
  /** `undefined`: not known yet. */
  keepsLines: boolean | undefined;
}

export class Walker {
  /** The hosts of frames that cannot be read; empty for one without. */
  readonly unreadable: string[] = [];
  /** Whether there was more than is read. */
  isCut = false;

  readonly #root: Element;
  readonly #mains: readonly Element[];
  /** What holds a main part is not beside it, whatever it is called. */
  readonly #aroundMain = new Set<Element>();
  #deferred: { element: Element; frame: Frame | undefined }[] | undefined = [];
  #block = new Block();
  #heading = "";
  #mainCharacters = 0;
  #nodes = 0;

  constructor(root: Element) {
    this.#root = root;
    this.#mains = mainsOf(root);
    for (const main of this.#mains) {
      for (let around: Element | null = main; around; around = parentElementOf(around)) this.#aroundMain.add(around);
    }
  }

  /** What the page is about comes first. `undefined` says that a piece of work has been done, so that there can be a pause. */
  *passages(): Generator<Passage | undefined> {
    let count = 0;
    for (const passage of this.#walkAll()) {
      if (count === MAX_PASSAGES || this.#nodes > MAX_NODES) {
        this.isCut = true;
        return;
      }
      if (passage) count += 1;
      yield passage;
    }
  }

  *#walkAll(): Generator<Passage | undefined> {
    for (const main of this.#mains) yield* this.#walk(main, undefined, false);
    const isRestAside = this.#mains.length > 0 && this.#mainCharacters >= MIN_MAIN_CHARACTERS;
    yield* this.#walk(this.#root, undefined, isRestAside);
    const isAside = this.#mainCharacters > 0;
    const deferred = this.#deferred ?? [];
    this.#deferred = undefined;
    for (const { element, frame } of deferred) yield* this.#walk(element, frame, isAside);
  }

  *#walk(root: Element, around: Frame | undefined, isAside: boolean): Generator<Passage | undefined> {
    const stack: Frame[] = [];
    this.#heading = "";
    yield* this.#enter(root, around, isAside, stack);
    for (let frame = stack.at(-1); frame; frame = stack.at(-1)) {
      const node = nextOf(frame);
      this.#nodes += 1;
      if (!node) {
        stack.pop();
        yield* this.#leave(frame);
      } else if (nodeTypeOf(node) === Node.TEXT_NODE) {
        if (frame.isVisible) yield* this.#addText(node as Text, frame);
      } else if (nodeTypeOf(node) === Node.ELEMENT_NODE) {
        yield* this.#enter(node as Element, frame, frame.isAside, stack);
      }
      yield undefined;
    }
    yield* this.#flush(undefined);
  }

  *#enter(
    element: Element,
    parent: Frame | undefined,
    isAside: boolean,
    stack: Frame[],
  ): Generator<Passage | undefined> {
    const tagName = tagNameOf(element);
    if (tagName === "BR") return this.#block.lineEnd();
    const row = parent?.row;
    const isCell =
      row !== undefined && (tagName === "TD" || tagName === "TH") && isRowElement(parentElementOf(element));
    // Also one that is hidden takes up its column.
    const label = isCell ? labelOf(element as HTMLTableCellElement, row, this.#block) : "";
    if (SKIPPED.has(tagName) && !(tagName === "BUTTON" && HEADING.test(parent ? tagNameOf(parent.element) : "")))
      return;
    const role = attributeOf(element, "role") ?? "";
    if (SKIPPED_ROLES.has(role) || attributeOf(element, "aria-hidden") === "true") return;
    if (this.#mains.includes(element) && stack.length > 0) return; // it has been read
    const style = viewOf(element).getComputedStyle(element);
    const { display } = style;
    if (display === "none" || style.contentVisibility === "hidden") return;
    // A formula's parts are blocks only among themselves.
    const isInFormula = display === "block math" && tagName !== "MATH";
    const isInline = isInFormula || /^(inline$|math|contents|ruby)/.test(display);

    if (HEADING.test(tagName)) {
      yield* this.#flush(parent);
      this.#readHeading(element, parent);
    }
    const isBeside = !isInline && this.#isBeside(element, role, style, parent);
    if (isBeside && this.#deferred && stack.length > 0) {
      this.#deferred.push({
        element,
        frame: parent && { ...parent, item: undefined, table: undefined, row: undefined },
      });
      yield* this.#flush(parent);
      return;
    }
    if (EMBEDDED.has(tagName)) return yield* this.#enterFrame(element, parent, isAside, stack);

    const isTable = tagName === "TABLE";
    const table = isTable ? tableOf(element as HTMLTableElement) : parent?.table;
    const isRow = table !== undefined && tagName === "TR";
    if (isRow && isHeaderRow(element as HTMLTableRowElement)) return;
    // A row of a table is one passage, whatever is in its cells; but a table within is a table of its own.
    const isWithin = (row !== undefined && !isTable) || /^(inline-|table-cell)/.test(display);
    const end = isCell ? "cell" : isInline ? "none" : isWithin ? "space" : tagName === "DT" ? "term" : "block";
    if (end === "block" || end === "term") {
      if (tagName !== "DD" || !this.#block.isTerm) yield* this.#flush(parent);
    } else if (end !== "none") this.#block.add(" ");
    const begin = isCell ? this.#block.checkpoint() : undefined;
    if (label !== "") this.#block.add(label);

    const first = childrenOf(element);
    stack.push({
      element,
      next: Array.isArray(first) ? undefined : first,
      slotted: Array.isArray(first) ? first : undefined,
      position: 0,
      isVisible: style.visibility === "visible",
      isCode: (parent?.isCode ?? false) || tagName === "CODE" || tagName === "SAMP",
      isContent: (parent?.isContent ?? false) || /^(ARTICLE|SECTION|MAIN|HEADER)$/.test(tagName) || role === "main",
      item: tagName === "LI" ? { isTaken: false } : isTable ? undefined : parent?.item,
      table,
      row: isRow ? { table, column: 0 } : isTable ? undefined : row,
      end,
      isAside: isAside || (isBeside && this.#mainCharacters > 0),
      begin,
      keepsLines: undefined,
    });
  }

  *#leave(frame: Frame): Generator<Passage | undefined> {
    const { end, row } = frame;
    if (end === "cell") this.#block.endCell(frame.begin);
    else if (end === "space") this.#block.add(" ");
    else if (end === "term") this.#block.endTerm();
    else if (end === "block") {
      if (row && isRowElement(frame.element)) takeReaching(row, this.#block);
      yield* this.#flush(frame);
    }
  }

  /** A document in a document, where the browser lets this one look in. */
  *#enterFrame(
    element: Element,
    parent: Frame | undefined,
    isAside: boolean,
    stack: Frame[],
  ): Generator<Passage | undefined> {
    const within = documentIn(element);
    const root = within && (bodyOf(within) ?? rootOf(within));
    if (root) {
      yield* this.#flush(parent);
      yield* this.#enter(root, undefined, isAside, stack);
      yield* this.#flush(parent);
    } else if (element.clientWidth > 40 && element.clientHeight > 40) {
      const address = element.getAttribute(element.tagName === "OBJECT" ? "data" : "src") ?? "";
      this.unreadable.push(hostOf(address, element.baseURI));
    }
  }

  *#addText(node: Text, frame: Frame): Generator<Passage | undefined> {
    const { data } = node;
    if (data === "") return;
    if (frame.keepsLines === undefined && data.includes("\n")) {
      const { whiteSpace } = viewOf(frame.element).getComputedStyle(frame.element);
      frame.keepsLines = /^(pre|break-spaces)/.test(whiteSpace);
    }
    const keepsLines = frame.keepsLines ?? false;
    this.#block.isCode ||= frame.isCode && keepsLines;
    for (let from = 0; from < data.length; ) {
      const to = endOfPart(data, from, keepsLines ? "\n" : " ", MAX_BLOCK - this.#block.length);
      this.#block.addText(node, from, to, data.slice(from, to), keepsLines);
      if (this.#block.length >= MAX_BLOCK) {
        yield* this.#flush(frame);
        this.#block.isCode = frame.isCode && keepsLines;
      }
      from = to;
    }
  }

  *#flush(frame: Frame | undefined): Generator<Passage | undefined> {
    const block = this.#block;
    this.#block = new Block();
    if (block.isEmpty) return;
    for (const passage of block.passages(frame?.isAside ?? false, frame?.item, this.#heading)) {
      if (!passage.isAside) this.#mainCharacters += passage.text.length;
      yield passage;
    }
  }

  /** What comes after a heading such as "Most read", in the element that it is in, is not the page's own. */
  #readHeading(element: Element, parent: Frame | undefined): void {
    this.#heading = collapse(boundedText(element, MAX_HEADING));
    if (!parent || parent.element === this.#root || this.#aroundMain.has(parent.element)) return;
    if (ASIDE_HEADINGS.test(this.#heading)) parent.isAside = this.#mainCharacters > 0;
  }

  #isBeside(element: Element, role: string, { position }: CSSStyleDeclaration, parent: Frame | undefined): boolean {
    const tagName = tagNameOf(element);
    if (tagName === "BODY" || tagName === "HTML" || this.#aroundMain.has(element)) return false;
    if (ASIDES.has(tagName) || ASIDE_ROLES.has(role) || position === "fixed") return true;
    if (tagName === "HEADER" && !parent?.isContent) return element.querySelector("h1") === null;
    const className: unknown = classNameOf(element);
    const names = `${idOf(element).slice(0, 100)} ${typeof className === "string" ? className.slice(0, 200) : ""}`;
    return names.length > 1 && ASIDE_NAMES.test(names);
  }
}

/** The main parts, outermost first; none if the page has it all over. */
function mainsOf(root: Element): Element[] {
  const find = (selector: string) => {
    const found: Element[] = [];
    for (const element of root.querySelectorAll(selector)) {
      if (found.some((other) => other.contains(element))) continue;
      if (!element.checkVisibility()) continue;
      if (found.push(element) > MAX_MAINS) return [];
    }
    return found;
  };
  const mains = find("main, [role=main]");
  if (mains.length > 0) return mains;
  const articles = find("article, [role=article]").filter((article) => !article.closest("nav, aside, footer, dialog"));
  return articles.length === 1 ? articles : [];
}

function nextOf(frame: Frame): Node | null | undefined {
  if (frame.slotted) return frame.slotted[frame.position++];
  const node = frame.next;
  frame.next = node && nextSiblingOf(node);
  return node;
}

/** In the tree that is shown: a component's own content, and what its slots take in. */
function childrenOf(element: Element): Node | null | Node[] {
  const tagName = tagNameOf(element);
  if (tagName === "DETAILS" && !(element as HTMLDetailsElement).open) {
    return [...element.children].filter((child) => child.tagName === "SUMMARY").slice(0, 1);
  }
  if (tagName === "SLOT") {
    const assigned = (element as HTMLSlotElement).assignedNodes();
    if (assigned.length > 0) return assigned;
  }
  return firstChildOf(shadowOf(element) ?? element);
}

/** Also a closed one, where the browser shows it to extensions. */
function shadowOf(element: Element): ShadowRoot | null {
  const open = openShadowOf(element);
  if (open || !tagNameOf(element).includes("-")) return open;
  return globalThis.chrome?.dom?.openOrClosedShadowRoot?.(element as HTMLElement) ?? null;
}

const isRowElement = (element: Element | null) => element !== null && tagNameOf(element) === "TR";

function documentIn(element: Element): Document | null {
  try {
    return (element as HTMLIFrameElement).contentDocument;
  } catch {
    return null;
  }
}

function hostOf(address: string, base: string): string {
  try {
    return address === "" ? "" : new URL(address, base).host;
  } catch {
    return "";
  }
}

function tableOf(element: HTMLTableElement): Table | undefined {
  return isDataTable(element) ? { columns: columnNames(element), reaching: [] } : undefined;
}

/** Its names stand before the cells of every other row. */
function isHeaderRow(row: HTMLTableRowElement): boolean {
  if (row.parentElement?.tagName === "THEAD") return true;
  const table = row.closest("table");
  if (!table || table.tHead || table.rows[0] !== row || table.rows.length < 2) return false;
  return columnNames(table).length > 0;
}

/** What stands before a cell: the name of its column. */
function labelOf(cell: HTMLTableCellElement, row: Row, block: Block): string {
  const { columns, reaching } = row.table;
  takeReaching(row, block);
  const label = columns[row.column] ? `${columns[row.column]}: ` : "";
  if (cell.rowSpan > 1) reaching[row.column] = { rows: cell.rowSpan - 1, text: collapse(boundedText(cell, 80)) };
  row.column += cell.colSpan;
  return label;
}

/** The cells that reach down to this place from rows above. */
function takeReaching(row: Row, block: Block): void {
  const { columns, reaching } = row.table;
  for (let above = reaching[row.column]; above && above.rows > 0; above = reaching[row.column]) {
    block.add(columns[row.column] ? `${columns[row.column]}: ${above.text}; ` : `${above.text}; `);
    above.rows -= 1;
    row.column += 1;
  }
}

/** At a space if there is one, so that no word is cut. */
function endOfPart(data: string, from: number, space: string, room: number): number {
  const most = from + Math.max(room, 256);
  if (most >= data.length) return data.length;
  const at = data.slice(from, most).lastIndexOf(space);
  return at > 0 ? from + at + 1 : most;
}

/** A part of a text node, or what stands between two. */
type Piece = { readonly node: Text; readonly from: number; readonly to: number; readonly keepsLines: boolean } | string;

/** How much of a block there was. */
interface Checkpoint {
  readonly block: Block;
  readonly pieces: number;
  readonly length: number;
}

/** The text of one paragraph, and the nodes that it is in. */
class Block {
  isCode = false;
  /** Whether what was added last is a term, whose definition belongs to it. */
  isTerm = false;
  readonly #pieces: Piece[] = [];
  #text = "";
  /** Where what the page itself says ends. */
  #textEnd = 0;
  #lineEnds = 0;
  #hasCells = false;

  get length(): number {
    return this.#text.length;
  }

  get isEmpty(): boolean {
    return this.#textEnd === 0;
  }

  add(text: string): void {
    this.#pieces.push(text);
    this.#text += text;
  }

  addText(node: Text, from: number, to: number, data: string, keepsLines: boolean): void {
    this.#pieces.push({ node, from, to, keepsLines });
    this.#text += asRead(data, keepsLines);
    if (!/\S/.test(data)) return;
    this.#textEnd = this.#text.length;
    this.#lineEnds = 0;
    this.isTerm = false;
  }

  /** Two in a row stand for a paragraph's end; of a thousand, they say all. */
  lineEnd(): void {
    if (this.isEmpty || this.#lineEnds === 2) return;
    this.#lineEnds += 1;
    this.add(LINE_END);
  }

  endTerm(): void {
    if (this.isEmpty) return;
    this.add(": ");
    this.isTerm = true;
  }

  checkpoint(): Checkpoint {
    return { block: this, pieces: this.#pieces.length, length: this.#text.length };
  }

  /** An empty cell needs no name. */
  endCell(begin: Checkpoint | undefined): void {
    this.#hasCells = true;
    if (begin?.block === this && this.#textEnd <= begin.length) {
      this.#pieces.length = begin.pieces;
      this.#text = this.#text.slice(0, begin.length);
    } else this.add("; ");
  }

  *passages(isAside: boolean, item: Item | undefined, heading: string): Generator<Passage> {
    const text = this.#text;
    const pieces = this.#pieces;
    for (const span of spansOf(text, this.isCode)) {
      const passage = trimmed(text, span, this.#hasCells ? /[\s;]/ : /\s/);
      const shown = collapse(text.slice(...passage));
      const isEntry = item !== undefined && !item.isTaken && !isAside;
      if (bytesOf(shown) < (isEntry ? MIN_ITEM_BYTES : MIN_BYTES) || !/[\p{L}\p{N}]/u.test(shown)) continue;
      if (item) item.isTaken = true;
      yield { text: shown, isAside, heading, ranges: () => rangesOf(pieces, passage, shown) };
    }
  }
}

const asRead = (data: string, keepsLines: boolean) => (keepsLines ? data.replaceAll("\n", LINE_END) : data);

function trimmed(text: string, [begin, end]: Span, space: RegExp): Span {
  let from = begin;
  let to = end;
  while (from < to && space.test(text.charAt(from))) from += 1;
  while (from < to && space.test(text.charAt(to - 1))) to -= 1;
  return [from, to];
}

function rangesOf(pieces: readonly Piece[], [begin, end]: Span, text: string): Range[] {
  const ranges: Range[] = [];
  let found = "";
  let start = 0;
  for (const piece of pieces) {
    const length = typeof piece === "string" ? piece.length : piece.to - piece.from;
    const from = Math.max(begin, start) - start;
    const to = Math.min(end, start + length) - start;
    start += length;
    if (from >= to) continue;
    if (typeof piece === "string") {
      found += piece.slice(from, to);
      continue;
    }
    const { node } = piece;
    if (!node.isConnected || node.length < piece.from + to) return [];
    found += asRead(node.data.slice(piece.from + from, piece.from + to), piece.keepsLines);
    const range = Document.prototype.createRange.call(documentOf(node));
    range.setStart(node, piece.from + from);
    range.setEnd(node, piece.from + to);
    ranges.push(range);
  }
  return collapse(found) === text ? ranges : [];
}
