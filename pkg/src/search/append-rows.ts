// Rows for the wasm module, each with the metadata of its document.

import type { SearchEngine } from "../../wasm/search/embervec.js";

import { joined } from "../bytes.js";
import { type DocumentRows, damaged } from "./parts.js";

/** Characters of JSON at once. The longest string of a browser has 2^29, and a long document with long metadata would need more. */
const MAX_JSON = 16 << 20;

/** Of a scan part (crate/search/src/vectors.rs): four letters, version, dimension and rows. */
const HEAD_BYTES = 16;
/** Then scale, error and length of each row, as f32, before the values. */
const FACTORS = 3;

/**
 * Appends the rows of a scan part.
 *
 * @param documents whose passages the rows are
 */
export function appendRows(
  engine: Pick<SearchEngine, "append">,
  scan: Uint8Array,
  dimension: number,
  documents: readonly Pick<DocumentRows, "metadata" | "spans">[],
): void {
  const metadata = documents.flatMap(({ metadata = {}, spans }) => {
    const json = JSON.stringify(metadata);
    return spans.map(() => json);
  });
  for (let from = 0; from < metadata.length; ) {
    let to = from;
    for (let size = 0; to < metadata.length && (to === from || size + metadata[to]!.length <= MAX_JSON); to++)
      size += metadata[to]!.length;
    const isAll = from === 0 && to === metadata.length;
    const part = isAll ? scan : piece(scan, dimension, { from, to, rows: metadata.length });
    engine.append(part, `[${metadata.slice(from, to).join(",")}]`);
    from = to;
  }
}

/** Some rows of a scan part, as a part. */
export function piece(
  scan: Uint8Array,
  dimension: number,
  { from, to, rows }: { from: number; to: number; rows: number },
): Uint8Array {
  const valuesAt = HEAD_BYTES + FACTORS * 4 * rows;
  if (scan.byteLength !== valuesAt + rows * dimension) throw damaged("its vectors are not as many as its passages");
  const factors = Array.from({ length: FACTORS }, (_, i) => {
    const at = HEAD_BYTES + i * 4 * rows;
    return scan.subarray(at + 4 * from, at + 4 * to);
  });
  const head = scan.slice(0, HEAD_BYTES);
  new DataView(head.buffer).setUint32(HEAD_BYTES - 4, to - from, true);
  const values = scan.subarray(valuesAt + from * dimension, valuesAt + to * dimension);
  return joined([head, ...factors, values]);
}
