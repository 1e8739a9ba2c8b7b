/** Text with what is marked in it: the sentence that matched, and in it and around it the words of the query. */

import { element } from "./dom";

export interface Range {
  readonly start: number;
  readonly end: number;
}

const wordsOf = new Intl.Segmenter(undefined, { granularity: "word" });
const sentencesOf = new Intl.Segmenter(undefined, { granularity: "sentence" });

/** Sentences without the blanks around them. */
export function sentences(text: string): Range[] {
  const ranges: Range[] = [];
  for (const { segment, index } of sentencesOf.segment(text)) {
    const trimmed = segment.trim();
    if (trimmed === "") continue;
    const start = index + segment.indexOf(trimmed);
    ranges.push({ start, end: start + trimmed.length });
  }
  return ranges;
}

/** Where words stand in a text. */
export function placesOf(words: readonly string[], text: string): Range[] {
  const wanted = new Set(words.map((word) => word.toLowerCase()));
  if (wanted.size === 0) return [];
  const ranges: Range[] = [];
  for (const { segment, index, isWordLike } of wordsOf.segment(text)) {
    if (isWordLike && wanted.has(segment.toLowerCase())) ranges.push({ start: index, end: index + segment.length });
  }
  return ranges;
}

/** @param words in order, none overlapping */
export function marked(text: string, sentence: Range | undefined, words: readonly Range[]): Node[] {
  const plain = (start: number, end: number): Node[] => {
    const nodes: Node[] = [];
    let at = start;
    for (const word of words) {
      if (word.end <= start || word.start >= end) continue;
      const [from, to] = [Math.max(word.start, start), Math.min(word.end, end)];
      if (from > at) nodes.push(document.createTextNode(text.slice(at, from)));
      nodes.push(element("b", "word", text.slice(from, to)));
      at = to;
    }
    if (end > at) nodes.push(document.createTextNode(text.slice(at, end)));
    return nodes;
  };
  if (sentence === undefined || sentence.start < 0) return plain(0, text.length);
  return [
    ...plain(0, sentence.start),
    element("mark", "", ...plain(sentence.start, sentence.end)),
    ...plain(sentence.end, text.length),
  ];
}
