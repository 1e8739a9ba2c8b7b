/** The passages of a document, as it is shown. */

import { cut } from "../../src/split";

export interface Passage {
  readonly text: string;
  /** Where it is, one range per text node. */
  ranges(): Range[];
}

/** What is not part of what a page says. */
const SKIPPED =
  "script, style, noscript, template, nav, svg, canvas, iframe, object, audio, video, button, select, textarea, input, datalist, " +
  "[role=navigation], [role=menu], [role=menubar], [role=search], [role=toolbar], [aria-hidden=true]";

/** Less is a label. In UTF-8, because a character of a script without spaces says as much as three letters. */
const MIN_BYTES = 20;

export function passagesOf(root: Element): Passage[] {
  const passages: Passage[] = [];
  const encoder = new TextEncoder();
  let block = new Block();
  const flush = () => {
    for (const passage of block.passages()) {
      if (encoder.encode(passage.text).length >= MIN_BYTES) passages.push(passage);
    }
    block = new Block();
  };
  const walk = (node: Node) => {
    if (node instanceof Text) block.add(node);
    if (!(node instanceof Element) || node.matches(SKIPPED)) return;
    if (node.tagName === "BR") {
      // Two in a row stand for a paragraph's end.
      if (block.endsWithBreak) flush();
      else block.break();
      return;
    }
    const { display, visibility, contentVisibility } = getComputedStyle(node);
    if (display === "none" || visibility !== "visible" || contentVisibility === "hidden") return;
    const isInline = /^(inline$|contents|ruby)/.test(display);
    const isWithinLine = /^(inline-|table-cell)/.test(display);
    if (isWithinLine) block.space();
    else if (!isInline) flush();
    for (const child of childrenOf(node)) walk(child);
    if (isWithinLine) block.space();
    else if (!isInline) flush();
  };
  walk(root);
  flush();
  return passages;
}

/** In the tree that is shown: a component's own content, and what its slots take in. */
function childrenOf(node: Element): Iterable<Node> {
  if (node instanceof HTMLDetailsElement && !node.open) return node.querySelectorAll(":scope > summary");
  if (node instanceof HTMLSlotElement) {
    const assigned = node.assignedNodes();
    if (assigned.length > 0) return assigned;
  }
  return (node.shadowRoot ?? node).childNodes;
}

/** The text of one paragraph, and the nodes that it is in. */
class Block {
  #raw = "";
  readonly #nodes: { node: Text; start: number }[] = [];

  add(node: Text): void {
    this.#nodes.push({ node, start: this.#raw.length });
    this.#raw += node.data;
  }

  space(): void {
    this.#raw += " ";
  }

  break(): void {
    this.#raw += "\u2028";
  }

  get endsWithBreak(): boolean {
    return /\u2028[ \t\r\n]*$/.test(this.#raw);
  }

  *passages(): Generator<Passage> {
    const text = this.#raw.replace(/\s+/g, " ").trim();
    let from = 0;
    for (const piece of cut(text)) {
      const begin = text.indexOf(piece, from);
      from = begin + piece.length;
      const end = from;
      yield { text: piece, ranges: () => this.#ranges(begin, end) };
    }
  }

  /** @param begin position in the text whose white space has been collapsed, as `end` */
  #ranges(begin: number, end: number): Range[] {
    const [rawBegin, rawEnd] = this.#rawPositions(begin, end);
    const ranges: Range[] = [];
    for (const { node, start } of this.#nodes) {
      const from = Math.max(rawBegin, start);
      const to = Math.min(rawEnd, start + node.length);
      if (from >= to) continue;
      const range = document.createRange();
      range.setStart(node, from - start);
      range.setEnd(node, to - start);
      ranges.push(range);
    }
    return ranges;
  }

  #rawPositions(begin: number, end: number): [begin: number, end: number] {
    const positions: number[] = [];
    for (const { 0: word, index } of this.#raw.matchAll(/\S+/g)) {
      if (positions.length > 0) positions.push(index - 1); // the space before it
      for (let i = 0; i < word.length; i++) positions.push(index + i);
    }
    return [positions[begin] ?? 0, (positions[end - 1] ?? 0) + 1];
  }
}
