// The progress line of `npx embervec`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ProgressLine, progressText } from "../../pkg/src/node/progress-line.ts";

/** What is written while 100 MB come at 1 MB per 100 ms. */
function written(isTTY: boolean): string[] {
  const texts: string[] = [];
  let now = 0;
  const line = new ProgressLine({ isTTY, write: (text) => texts.push(text) }, () => now);
  for (let megabytes = 0; megabytes <= 100; megabytes++) {
    // Ten times as often as it is worth a line.
    for (let i = 0; i < 10; i++, now += 10) line.update("downloading", 50e6 + megabytes * 1e6, 150e6);
  }
  line.end();
  return texts;
}

test("a terminal's line is written again ten times a second, and deleted at the end", () => {
  const texts = written(true);
  assert.ok(texts.length > 90 && texts.length < 110, String(texts.length));
  assert.equal(texts[0], "\r\x1b[Kdownloading 51.0 of 150.0 MB, 34 %");
  assert.match(texts[50]!, /^\r\x1b\[Kdownloading 101\.0 of 150\.0 MB, 67 %, 10\.0 MB\/s, 5 s left$/);
  assert.equal(texts.at(-1), "\r\x1b[K");
});

test("a log has a line every ten seconds", () => {
  assert.deepEqual(written(false), ["downloading 150.0 of 150.0 MB, 100 %, 10.0 MB/s\n"]);
});

test("what is not known is not said", () => {
  assert.equal(progressText("downloading", 1_000_000, 0, 0), "downloading 1.0 MB");
  assert.equal(progressText("packing", 0, 9e9, 0), "packing 0.0 of 9000.0 MB, 0 %");
  const left = (ms: number) => progressText("x", 0, 1e6, 1e6 / ms).replace(/.*, /, "");
  assert.deepEqual([58_500, 60_500, 3_700_000].map(left), ["59 s left", "1 min 1 s left", "1 h 1 min left"]);
});
