// How a text becomes passages.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import fc from "fast-check";

import { passagesOf, sentencesOf, type Span } from "../../pkg/src/search/passages.ts";
import { wordsOf } from "../../pkg/src/search/words.ts";

// The browser's way to let messages in keeps Node alive.
after(() => void setTimeout(() => process.exit(), 100).unref());

/** A token for each word. */
const counts = async (texts: string[]) => texts.map((text) => text.match(/\S+/g)?.length ?? 0);

const split = (text: string, maxTokens: number, overlap = 0) => passagesOf(text, { maxTokens, overlap }, counts);
const shown = (text: string, spans: Span[]) => spans.map(({ start, end }) => text.slice(start, end));

test("whole sentences, as many as there is room for", async () => {
  const text = "One two three. Four five. Six seven eight nine. Ten.";
  assert.deepEqual(shown(text, await split(text, 5)), ["One two three. Four five. ", "Six seven eight nine. Ten."]);
  assert.deepEqual(shown(text, await split(text, 100)), [text]);
  assert.deepEqual(await split(" \n ", 5), []);
  assert.deepEqual(await split("", 5), []);
});

test("sentences are repeated as far as the overlap allows", async () => {
  const text = "A b. C d. E f. G h. I j.";
  assert.deepEqual(shown(text, await split(text, 4, 2)), ["A b. C d. ", "C d. E f. ", "E f. G h. ", "G h. I j."]);
  // One that is too long to be repeated.
  const long = "A b c d. E f. G h i.";
  assert.deepEqual(shown(long, await split(long, 5, 3)), ["A b c d. ", "E f. G h i."]);
});

test("a line that is wrapped within a sentence is no border", async () => {
  const text = "It was the best\nof times, it was the worst,\r\nof times. It was spring.\n\nNew paragraph";
  assert.deepEqual(shown(text, await sentencesOf(text)), [
    "It was the best\nof times, it was the worst,\r\nof times. ",
    "It was spring.\n\n",
    "New paragraph",
  ]);
});

test("sentences of other scripts", async () => {
  const text = "吾輩は猫である。名前はまだ無い。どこで生れたか。";
  assert.equal((await sentencesOf(text)).length, 3);
});

test("a sentence that is too long is cut at spaces, and within a word only where there is none", async () => {
  const words = Array.from({ length: 100 }, (_, i) => `w${i}`).join(" ");
  const spans = await split(words, 10);
  assert.ok(spans.length >= 10 && spans.length < 30);
  assert.ok(shown(words, spans).every((passage) => /^w\d+( w\d+)* ?$/.test(passage)));
  const perCharacter = async (texts: string[]) => texts.map(({ length }) => length);
  const faces = "😀".repeat(50);
  const cut = await passagesOf(faces, { maxTokens: 9, overlap: 0 }, perCharacter);
  assert.ok(cut.length > 10);
  assert.ok(shown(faces, cut).every((passage) => !/^[\uDC00-\uDFFF]|[\uD800-\uDBFF]$/.test(passage)));
});

test("passages cover the text, in order, within their tokens", async () => {
  const word = fc.constantFrom("a", "bc", "déf", "漢字", "😀", "x.y", "1,5", "“q”");
  const end = fc.constantFrom(" ", ". ", "! ", "\n", "\n\n", ", ", "。");
  const texts = fc.array(fc.tuple(word, end), { maxLength: 200 }).map((parts) => parts.flat().join(""));
  await fc.assert(
    fc.asyncProperty(
      texts,
      fc.integer({ min: 8, max: 40 }),
      fc.integer({ min: 0, max: 7 }),
      async (text, max, overlap) => {
        const spans = await split(text, max, overlap);
        let covered = 0;
        for (const [i, { start, end }] of spans.entries()) {
          assert.ok(start <= covered || /^\s*$/.test(text.slice(covered, start)), "nothing is left out");
          assert.ok(end > covered && (i === 0 || start > spans[i - 1]!.start));
          covered = end;
        }
        assert.ok(/^\s*$/.test(text.slice(covered)));
        const tokens = await counts(shown(text, spans));
        // What is joined without a blank between has no more tokens than its parts.
        assert.ok(tokens.every((count) => count <= max));
      },
    ),
    { numRuns: 300 },
  );
});

test("megabytes take seconds, and no longer for any text", async () => {
  const million = 1_000_000;
  for (const text of [
    "a".repeat(million),
    "a ".repeat(million / 2),
    "\n".repeat(million),
    "a. ".repeat(million / 3),
    "[".repeat(million),
    "é,\n".repeat(million / 3),
  ]) {
    const begun = performance.now();
    await split(text, 128);
    const took = performance.now() - begun;
    assert.ok(took < 5000, `${text.slice(0, 5)}…: ${took} ms`);
  }
});

test("a text may have very many sentences, and one of them very many parts", async () => {
  const lines = "1\n".repeat(130_000);
  assert.equal((await split(lines, 100)).length, 1300);
  const perCharacter = async (texts: string[]) => texts.map(({ length }) => length);
  const blanks = `a${"\n".repeat(2_000_000)}`;
  const parts = await passagesOf(blanks, { maxTokens: 8, overlap: 0 }, perCharacter);
  assert.ok(parts.length >= 2_000_001 / 8, `${parts.length} passages`);
  assert.equal(parts.at(-1)!.end, blanks.length);
});

test("a long text without spaces is cut in a time that grows with its length", async () => {
  const begun = performance.now();
  const passages = await passagesOf("あ".repeat(2_000_000), { maxTokens: 128, overlap: 0 }, async (texts) =>
    texts.map((text) => text.length),
  );
  const took = performance.now() - begun;
  assert.ok(passages.length > 2_000_000 / 128, `${passages.length} passages`);
  assert.ok(took < 5000, `${took} ms`);
});

test("words are cut as people would", () => {
  assert.deepEqual(wordsOf("Don't e-mail 3.5 GB to Zürich!"), ["don't", "e", "mail", "3.5", "gb", "to", "zürich"]);
  assert.deepEqual(
    wordsOf("東京都に住む"),
    wordsOf("東京都に住む").filter((word) => word !== ""),
  );
  assert.ok(wordsOf("東京都に住む").length > 1);
  assert.equal(wordsOf("x".repeat(100_000))[0]!.length, 64);
  assert.deepEqual(wordsOf(" .,;\n"), []);
  const many = Array.from({ length: 30_000 }, (_, i) => `word${i}`);
  const begun = performance.now();
  assert.deepEqual(wordsOf(many.join(" ")), many);
  const took = performance.now() - begun;
  assert.ok(took < 1500, `${took} ms`);
});
