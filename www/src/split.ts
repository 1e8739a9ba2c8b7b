/** Turns the user's text into passages short enough for a sentence model. */

import type { Passage } from "./passages";

/** About 220 WordPiece tokens of English: what fits a model that reads 256. */
const MAX_CHARACTERS = 900;

/** Paragraphs are separated by empty lines; a Markdown heading names the paragraphs below it. */
export function splitText(text: string, name: string): Passage[] {
  const passages: Passage[] = [];
  let topic = name;
  const withoutFrontMatter = text
    .replace(/\r\n?/g, "\n")
    .replace(/^\uFEFF/, "")
    .replace(/^---\n[\s\S]*?\n---\n/, "");
  for (const block of withoutFrontMatter.split(/\n[ \t]*\n+/)) {
    let body = block.trim();
    const heading = /^#{1,6}[ \t]+(.+?)[ \t]*#*(?:\n|$)/.exec(body);
    if (heading) {
      topic = plain(heading[1] ?? "") || name;
      body = body.slice(heading[0].length);
    }
    for (const piece of cut(plain(body))) {
      if (/[\p{L}\p{N}].*[\p{L}\p{N}]/su.test(piece)) passages.push({ topic, text: piece });
    }
  }
  return passages;
}

/** Drops the Markdown marks that are not part of what the text says. */
function plain(text: string): string {
  return text
    .replace(/^```.*$/gm, "")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^[ \t]*(?:>|[-*+]|\d+\.)[ \t]+/gm, "")
    .replace(/(\*\*|__|`)(.+?)\1/g, "$2")
    .replace(/\s+/g, " ")
    .trim();
}

/** Cuts a long paragraph between sentences, and a sentence without end between words. */
export function cut(text: string): string[] {
  if (text.length <= MAX_CHARACTERS) return text === "" ? [] : [text];
  const pieces: string[] = [];
  let piece = "";
  for (const part of sentences(text).flatMap(breakLong)) {
    if (piece !== "" && piece.length + part.length > MAX_CHARACTERS) {
      pieces.push(piece.trim());
      piece = "";
    }
    piece += part;
  }
  if (piece.trim() !== "") pieces.push(piece.trim());
  return pieces;
}

function sentences(text: string): string[] {
  if (typeof Intl.Segmenter === "function") {
    return [...new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(text)].map(({ segment }) => segment);
  }
  return text.match(/[^.!?]+[.!?]*\s*/g) ?? [text];
}

function breakLong(sentence: string): string[] {
  const parts: string[] = [];
  let rest = sentence;
  while (rest.length > MAX_CHARACTERS) {
    const space = rest.lastIndexOf(" ", MAX_CHARACTERS);
    let end = space > MAX_CHARACTERS / 2 ? space + 1 : MAX_CHARACTERS;
    if (/[\uD800-\uDBFF]/.test(rest.charAt(end - 1))) end -= 1; // not between the halves of one character
    parts.push(rest.slice(0, end));
    rest = rest.slice(end);
  }
  parts.push(rest);
  return parts;
}
