// Metadata for the wasm module: those of a long document are in each of its rows.

import assert from "node:assert/strict";
import { test } from "node:test";

import { appendRows } from "../../pkg/src/search/append-rows.ts";

const DIMENSION = 3;

/** A scan part whose numbers are the row's. */
function scanOf(rows: number): Uint8Array {
  const bytes = new Uint8Array(16 + rows * (12 + DIMENSION));
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("EVSC"));
  [1, DIMENSION, rows].forEach((value, i) => view.setUint32(4 + 4 * i, value, true));
  for (let row = 0; row < rows; row++) {
    for (let factor = 0; factor < 3; factor++) view.setFloat32(16 + 4 * (factor * rows + row), 10 * row + factor, true);
    bytes.fill(row % 100, 16 + 12 * rows + row * DIMENSION, 16 + 12 * rows + (row + 1) * DIMENSION);
  }
  return bytes;
}

/** Takes a part apart, in place of the wasm module. */
function engine() {
  const rows: { factors: number[]; values: number[]; length: number }[] = [];
  const append = (scan: Uint8Array, metadata: string) => {
    const view = new DataView(scan.buffer, scan.byteOffset, scan.byteLength);
    const count = view.getUint32(12, true);
    assert.equal(scan.byteLength, 16 + count * (12 + DIMENSION));
    assert.ok(metadata.length < 20e6, `${metadata.length} characters at once`);
    // Without reading them: they are long, and have no comma in them.
    const items = metadata.slice(1, -1).split(",");
    assert.equal(items.length, count);
    for (let row = 0; row < count; row++) {
      const factors = [0, 1, 2].map((factor) => view.getFloat32(16 + 4 * (factor * count + row), true));
      const at = 16 + 12 * count + row * DIMENSION;
      rows.push({ factors, values: [...scan.subarray(at, at + DIMENSION)], length: items[row]!.length });
    }
    return rows.length - count;
  };
  return { rows, append };
}

test("metadata that are longer than any string come piece by piece, with their rows", () => {
  const spans = (count: number) => Array.from({ length: count }, (): [number, number, number] => [0, 1, 1]);
  const html = "x".repeat(600_000);
  const { rows, append } = engine();
  appendRows({ append }, scanOf(1024), DIMENSION, [
    { spans: spans(4) },
    { metadata: { html }, spans: spans(1000) },
    { metadata: { html: "short" }, spans: spans(20) },
  ]);
  assert.equal(rows.length, 1024);
  for (const [row, { factors, values, length }] of rows.entries()) {
    assert.deepEqual(factors, [10 * row, 10 * row + 1, 10 * row + 2]);
    assert.deepEqual(values, Array(DIMENSION).fill(row % 100));
    assert.equal(length, row < 4 ? 2 : row < 1004 ? 600_011 : 16);
  }
});

test("few metadata come at once, and vectors that are cut off are damage", () => {
  const { rows, append } = engine();
  const long = { metadata: { html: "x".repeat(10e6) }, spans: [[0, 1, 1]] as [number, number, number][] };
  appendRows({ append }, scanOf(1), DIMENSION, [long]);
  assert.equal(rows.length, 1);
  assert.throws(
    () => appendRows({ append }, scanOf(2).slice(0, -1), DIMENSION, [long, long]),
    (error: { code?: unknown }) => error.code === "integrity",
  );
});
