/** Where a block's text is cut into passages. Every function takes time in proportion to its text. */

/** A place in a text: `text.slice(begin, end)`. */
export type Span = readonly [begin: number, end: number];

/** What stands for a line's end. In HTML a line feed is only a space. */
export const LINE_END = "\u2028";

/** About 220 tokens of English: what a model that reads 256 takes in. */
const MAX_WEIGHT = 900;
/** Code says little line by line. */
const CODE_CHARACTERS = 500;
/** Shorter lines are joined with their neighbours. In UTF-8, because a character of a script without spaces says as much as three letters. */
const MIN_LINE_BYTES = 20;
const MAX_JOINED = 200;

const segmenter = new Intl.Segmenter(undefined, { granularity: "sentence" });
const utf8 = new TextEncoder();

export const bytesOf = (text: string) => (text.length >= 20 ? text.length : utf8.encode(text).length);

/** Without the white space that HTML does not show. */
export function collapse(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/** The passages of a block: its paragraphs, its lines where each says something of its own, or pieces of code. */
export function* spansOf(text: string, isCode: boolean): Generator<Span> {
  if (isCode) {
    const lines = [...paragraphsOf(text)].flat();
    return yield* grouped(text, lines, ([begin], [, end]) => end - begin <= CODE_CHARACTERS);
  }
  for (const paragraph of paragraphsOf(text)) {
    const [first] = paragraph;
    const last = paragraph.at(-1);
    if (!first || !last) continue;
    if (paragraph.length === 1 || isWrapped(text, paragraph)) yield* cut(text, [first[0], last[1]]);
    else yield* records(text, paragraph);
  }
}

/** Lines, with an empty one between any two paragraphs. */
function* paragraphsOf(text: string): Generator<Span[]> {
  let lines: Span[] = [];
  for (let begin = 0; begin <= text.length; ) {
    const found = text.indexOf(LINE_END, begin);
    const end = found === -1 ? text.length : found;
    if (/\S/.test(text.slice(begin, end))) lines.push([begin, end]);
    else if (lines.length > 0) {
      yield lines;
      lines = [];
    }
    begin = end + 1;
  }
  if (lines.length > 0) yield lines;
}

/**
 * Whether the lines are one paragraph that was broken to a width: no line had room for the next one's first word, and many go on
 * with a small letter. Lines that begin alike, as a log's or a list's do, are not.
 */
function isWrapped(text: string, lines: readonly Span[]): boolean {
  const width = lines.reduce((width, [begin, end]) => Math.max(width, end - begin), 0);
  if (width < 40 || width > 120) return false;
  const firstWord = ([begin, end]: Span) => /\S+/.exec(text.slice(begin, end))?.[0] ?? "";
  const breaks = lines.length - 1;
  let full = 0;
  let small = 0;
  let alike = 0;
  let before = firstWord(lines[0]!);
  for (let i = 1; i <= breaks; i++) {
    const word = firstWord(lines[i]!);
    const [begin, end] = lines[i - 1]!;
    if (end - begin + 1 + word.length > width) full += 1;
    if (/^\p{Ll}/u.test(word)) small += 1;
    if (word === before) alike += 1;
    before = word;
  }
  return full >= breaks * 0.8 && small >= breaks * 0.25 && alike <= breaks * 0.5;
}

/** Line by line. An indented line belongs to the one before it, as in a stack trace; short lines are joined. */
function* records(text: string, lines: readonly Span[]): Generator<Span> {
  const isIndented = ([begin]: Span) => /[ \t]/.test(text.charAt(begin));
  const isShort = ([begin, end]: Span) => bytesOf(text.slice(begin, end).trim()) < MIN_LINE_BYTES;
  const hasIndent = lines.some((line) => !isIndented(line));
  yield* grouped(text, lines, ([begin], line, before) => {
    const length = line[1] - begin;
    if (hasIndent && isIndented(line)) return length <= MAX_WEIGHT;
    return isShort(line) && isShort(before) && length <= MAX_JOINED;
  });
}

/** @param joins whether a line is added to the group of the lines before it */
function* grouped(
  text: string,
  lines: readonly Span[],
  joins: (group: Span, line: Span, before: Span) => boolean,
): Generator<Span> {
  let group: Span | undefined;
  let before: Span | undefined;
  for (const line of lines) {
    if (group && before && joins(group, line, before)) group = [group[0], line[1]];
    else {
      if (group) yield* cut(text, group);
      group = line;
    }
    before = line;
  }
  if (group) yield* cut(text, group);
}

/** A long paragraph between sentences, and a sentence without end between words. */
export function* cut(text: string, [begin, end]: Span): Generator<Span> {
  if (weightOf(text, begin, end) <= MAX_WEIGHT) {
    yield [begin, end];
    return;
  }
  let from = begin;
  let to = begin;
  let weight = 0;
  // A line's end would end a sentence, too.
  const plain = text.slice(begin, end).replace(/\s/g, " ");
  for (const { segment, index } of segmenter.segment(plain)) {
    for (const part of words(text, [begin + index, begin + index + segment.length])) {
      const more = weightOf(text, ...part);
      if (to > from && weight + more > MAX_WEIGHT) {
        yield [from, to];
        from = to;
        weight = 0;
      }
      weight += more;
      to = part[1];
    }
  }
  if (to > from) yield [from, to];
}

/** A sentence, in parts that are not too long. */
function* words(text: string, [begin, end]: Span): Generator<Span> {
  let from = begin;
  while (weightOf(text, from, end) > MAX_WEIGHT) {
    let to = from;
    for (let weight = 0; weight < MAX_WEIGHT; to++) weight += weightAt(text, to);
    // Not `lastIndexOf` in all of the text, which takes a time that is quadratic in its length where there is no space.
    const half = Math.floor(from + (to - from) / 2) + 1;
    const space = text.slice(half, to + 1).lastIndexOf(" ");
    if (space >= 0) to = half + space + 1;
    else if (/[\uD800-\uDBFF]/.test(text.charAt(to - 1))) to -= 1; // not between the halves of one character
    yield [from, to];
    from = to;
  }
  yield [from, end];
}

/** Counted up to a little more than {@link MAX_WEIGHT}. */
function weightOf(text: string, begin: number, end: number): number {
  let weight = 0;
  for (let i = begin; i < end && weight <= MAX_WEIGHT; i++) weight += weightAt(text, i);
  return weight;
}

/** About four times the number of tokens: a Latin letter is a quarter of one, a Chinese character one. */
function weightAt(text: string, index: number): number {
  const code = text.charCodeAt(index);
  return code < 0x250 ? 1 : code < 0x2e80 ? 2 : 4;
}
