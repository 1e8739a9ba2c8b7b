// A text becomes passages: whole sentences, as many as have room in the tokens that a passage may have.

import { breathe } from "./breathe.js";

/** From one place to another in a text, in UTF-16 code units. */
export interface Span {
  start: number;
  end: number;
}

/** Number of tokens of each text. */
export type TokenCounts = (texts: string[]) => Promise<ArrayLike<number>>;

/** A segmenter is given so much text at a time, up to a space: it takes what it has as a whole. */
const WINDOW = 16_384;

/** Texts are counted in groups of so many characters, so that nobody waits long for one. */
const COUNT_CHARACTERS = 65_536;

/** A sentence with more tokens than a passage may have is cut into parts, which are counted and cut again. */
const MAX_ROUNDS = 32;

/**
 * Splits a text at the borders of its sentences. The passages cover all of the text, in its order, but for blanks at its ends.
 *
 * @param maxTokens of a passage
 * @param overlap tokens of whole sentences that a passage repeats of the one before; less than `maxTokens`
 */
export async function passagesOf(
  text: string,
  { maxTokens, overlap }: { maxTokens: number; overlap: number },
  tokenCounts: TokenCounts,
): Promise<Span[]> {
  const sentences = await counted(text, await sentencesOf(text), maxTokens, tokenCounts);
  const passages: Span[] = [];
  let first = 0;
  let next = 0;
  while (next < sentences.length) {
    await breathe();
    let tokens = 0;
    for (let i = first; i < next; i++) tokens += sentences[i]!.tokens;
    // At least one new sentence, or there would be no end.
    do tokens += sentences[next++]!.tokens;
    while (next < sentences.length && tokens + sentences[next]!.tokens <= maxTokens);
    passages.push({ start: sentences[first]!.start, end: sentences[next - 1]!.end });
    let repeated = 0;
    const begin = first;
    for (first = next; first - 1 > begin && next < sentences.length; first--) {
      repeated += sentences[first - 1]!.tokens;
      if (repeated > overlap || repeated + sentences[next]!.tokens > maxTokens) break;
    }
  }
  return passages;
}

let segmenter: Intl.Segmenter | undefined;

/** The sentences, each with the blanks that follow it. */
export async function sentencesOf(text: string): Promise<Span[]> {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: "sentence" });
  const spans: Span[] = [];
  for (let at = 0; at < text.length; ) {
    await breathe();
    const end = windowEnd(text, at);
    let segments = 0;
    for (const { index, segment } of segmenter.segment(unwrapped(text.slice(at, end)))) {
      if (/\S/.test(segment)) spans.push({ start: at + index, end: at + index + segment.length });
      else if (spans.length > 0) spans[spans.length - 1]!.end = at + index + segment.length;
      // Lines of a figure each: 8,192 of them take 0.1 s.
      if (++segments % 256 === 0) await breathe();
    }
    at = end;
  }
  return spans;
}

function windowEnd(text: string, at: number): number {
  if (text.length - at <= WINDOW) return text.length;
  // Rather at a paragraph's end than within a line.
  const half = at + WINDOW / 2;
  const line = lastBetween(text, "\n", half, at + WINDOW);
  if (line !== undefined) return line + 1;
  const space = lastBetween(text, " ", half, at + WINDOW);
  return space !== undefined ? space + 1 : characterEnd(text, at + WINDOW);
}

/** `lastIndexOf` would look through all that comes before, so a text without any would take a quadratic time. */
function lastBetween(text: string, character: string, after: number, before: number): number | undefined {
  const from = Math.floor(after) + 1;
  const at = text.slice(from, before).lastIndexOf(character);
  return at < 0 ? undefined : from + at;
}

/** Before the second half of a character. */
function characterEnd(text: string, at: number): number {
  return /[\uDC00-\uDFFF]/.test(text.charAt(at)) ? at - 1 : at;
}

/**
 * The text for the segmenter, of the same length. A line break within a sentence is no border: books and mails are wrapped at 70 characters.
 * Of many empty lines one is enough; a segmenter takes 46 s for a million.
 */
function unwrapped(text: string): string {
  return text
    .replace(/\n\s*\n\s+/g, (blanks) => "\n\n".padEnd(blanks.length))
    .replace(/(?<=[\p{L}\p{N},;\-–])\r?\n(?=\p{Ll})/gu, (found) => " ".repeat(found.length));
}

interface Counted extends Span {
  tokens: number;
}

/** The tokens of each span; what has more than `maxTokens` is cut. */
async function counted(text: string, spans: Span[], maxTokens: number, tokenCounts: TokenCounts): Promise<Counted[]> {
  const done: Counted[] = [];
  let open: Span[] = spans;
  for (let round = 0; open.length > 0; round++) {
    const counts = await countAll(text, open, tokenCounts);
    const next: Span[] = [];
    open.forEach((span, i) => {
      const tokens = counts[i]!;
      if (tokens <= maxTokens || span.end - span.start < 2 || round === MAX_ROUNDS) done.push({ ...span, tokens });
      else for (const part of cut(text, span, Math.ceil((1.2 * tokens) / maxTokens))) next.push(part);
    });
    open = next;
  }
  return done.sort((a, b) => a.start - b.start);
}

async function countAll(text: string, spans: Span[], tokenCounts: TokenCounts): Promise<number[]> {
  const counts: number[] = [];
  for (let from = 0; from < spans.length; ) {
    const texts: string[] = [];
    for (let characters = 0; from < spans.length && characters < COUNT_CHARACTERS; from++) {
      const { start, end } = spans[from]!;
      texts.push(text.slice(start, end));
      characters += end - start;
    }
    // One by one: a call does not take an argument for each of very many.
    for (const count of Array.from(await tokenCounts(texts))) counts.push(count);
  }
  return counts;
}

/** Cuts a span into about so many parts, at spaces as far as there are any. */
function cut(text: string, { start, end }: Span, parts: number): Span[] {
  const spans: Span[] = [];
  const step = Math.max(1, Math.floor((end - start) / parts));
  for (let at = start; at < end; ) {
    let to = Math.min(end, at + step);
    if (to < end) {
      const space = lastBetween(text, " ", at + step / 2, to + 1);
      to = space !== undefined ? space + 1 : Math.max(at + 1, characterEnd(text, to));
    }
    spans.push({ start: at, end: to });
    at = to;
  }
  return spans;
}
