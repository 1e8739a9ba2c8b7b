// Words, as `Intl.Segmenter` cuts them.

import { breathe } from "./breathe.js";

/** Longer ones are cut off: nobody searches for them, and each is a term of the index. */
const MAX_WORD = 64;

/**
 * So much text is given to a segmenter at once: for each word it looks back over all that it has. A word has no space, so the text is
 * cut at one; where there is none for long, anywhere.
 */
const PIECE = 1000;
const MAX_PIECE = 20_000;

let segmenter: Intl.Segmenter | undefined;

/** The words of a text in their order, in lower case. */
export function wordsOf(text: string): string[] {
  const words: string[] = [];
  for (let at = 0; at < text.length; ) at = takeWords(text, at, words);
  return words;
}

/** The same; messages come in between. */
export async function wordsOfLong(text: string): Promise<string[]> {
  const words: string[] = [];
  for (let at = 0; at < text.length; ) {
    await breathe();
    at = takeWords(text, at, words);
  }
  return words;
}

/** @returns the end of the piece that was taken */
function takeWords(text: string, at: number, words: string[]): number {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: "word" });
  const piece = text.slice(at, pieceEnd(text, at));
  for (const { segment, isWordLike } of segmenter.segment(piece)) {
    if (isWordLike) words.push(segment.toLowerCase().slice(0, MAX_WORD));
  }
  return at + piece.length;
}

function pieceEnd(text: string, at: number): number {
  if (text.length - at <= PIECE) return text.length;
  const space = text.slice(at, at + MAX_PIECE).indexOf(" ", PIECE);
  return space >= 0 ? at + space : at + MAX_PIECE;
}
