// Words, as `Intl.Segmenter` cuts them.

/** Longer ones are cut off: nobody searches for them, and each is a term of the index. */
const MAX_WORD = 64;

/**
 * So much text is given to a segmenter at once. It looks back over all that it has, and a passage is shorter; only a query can be as
 * long as somebody likes.
 */
const MAX_TEXT = 20_000;

let segmenter: Intl.Segmenter | undefined;

/** The words of a text in their order, in lower case. */
export function wordsOf(text: string): string[] {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: "word" });
  const words: string[] = [];
  for (let at = 0; at < text.length; at += MAX_TEXT) {
    for (const { segment, isWordLike } of segmenter.segment(text.slice(at, at + MAX_TEXT))) {
      if (isWordLike) words.push(segment.toLowerCase().slice(0, MAX_WORD));
    }
  }
  return words;
}
