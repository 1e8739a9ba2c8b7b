/** Tells the encodings of texts apart, and texts from what is none. */

import type { Input } from "./input";
import { Problem } from "./types";

export interface Encoding {
  /** A label that `TextDecoder` knows. */
  label: string;
  /** What a person should know about it. */
  note?: string;
}

const HEAD_BYTES = 65_536;
/** Control characters among a text's bytes; random bytes have ten percent. */
const MAX_CONTROLS = 0.005;
/** A log with one broken character in a hundred is still UTF-8. */
const MAX_BROKEN = 0.01;

const BINARY = "It is no text, but binary data.";

/** Throws a `Problem` if it is binary. `declared` is what the document itself says. */
export async function encodingOf(input: Input, declared?: (head: string) => string | undefined): Promise<Encoding> {
  const head = await input.bytes(0, HEAD_BYTES);
  const [a, b, c, d] = head;
  const isUtf32 = (a === 0xff && b === 0xfe && c === 0 && d === 0) || (a === 0 && b === 0 && c === 0xfe && d === 0xff);
  if (isUtf32) throw new Problem("unsupported", "It is text in UTF-32, which browsers cannot read. Save it as UTF-8.");
  const marked = a === 0xff && b === 0xfe ? "utf-16le" : a === 0xfe && b === 0xff ? "utf-16be" : undefined;
  if (marked !== undefined) {
    // Anything may begin with these two bytes.
    if (!isText(new TextDecoder(marked).decode(head))) throw new Problem("binary", BINARY);
    return { label: marked };
  }
  const wide = wideEncoding(head);
  if (wide !== undefined) return { label: wide };
  if (head.includes(0) || shareOfControls(head) > MAX_CONTROLS) throw new Problem("binary", BINARY);

  const { isValid, broken } = await validateUtf8(input);
  if (isValid) return { label: "utf-8" };
  const ascii = new TextDecoder("windows-1252").decode(head);
  const label = labelOf(declared?.(ascii));
  if (label !== undefined && label !== "utf-8") return { label };
  // The bytes around the first one that is not ASCII tell most.
  const sample = await input.bytes(Math.max(0, broken - 1024), broken + HEAD_BYTES);
  if (isMostlyUtf8(sample)) {
    return { label: "utf-8", note: "Some bytes are not valid UTF-8; they are shown as \ufffd." };
  }
  const legacy = await legacyEncoding(sample);
  if (!isText(new TextDecoder(legacy).decode(sample))) throw new Problem("binary", BINARY);
  return { label: legacy, note: `It is not UTF-8; it was read as ${legacy}.` };
}

/** Not so where many characters are controls, or were no characters at all. */
function isText(decoded: string): boolean {
  const others = decoded.match(/[\0-\x07\x0e-\x1a\x1c-\x1f\x80-\x9f\ufffd]/g)?.length ?? 0;
  return others <= decoded.length * MAX_CONTROLS;
}

/** UTF-16 without a mark: in text of Latin letters every other byte is 0. */
function wideEncoding(head: Uint8Array): string | undefined {
  const pairs = head.length >> 1;
  if (pairs < 2) return undefined;
  let even = 0;
  let odd = 0;
  for (let at = 0; at < pairs * 2; at += 2) {
    if (head[at] === 0) even += 1;
    if (head[at + 1] === 0) odd += 1;
  }
  const label = odd > pairs * 0.6 && even === 0 ? "utf-16le" : even > pairs * 0.6 && odd === 0 ? "utf-16be" : undefined;
  if (label === undefined) return undefined;
  const text = new TextDecoder(label).decode(head.subarray(0, pairs * 2));
  return (text.match(/[\0-\x08\x0e-\x1f\ufffd]/g)?.length ?? 0) <= 1 ? label : undefined;
}

function shareOfControls(bytes: Uint8Array): number {
  // Tabs, newlines, form feeds and escapes (colours in logs) are in texts.
  let controls = 0;
  for (const byte of bytes) if (byte < 0x20 && (byte < 0x08 || byte > 0x0d) && byte !== 0x1b) controls += 1;
  return controls / Math.max(bytes.length, 1);
}

/** Whether the whole file is UTF-8; else about where the first error is. */
async function validateUtf8(input: Input): Promise<{ isValid: boolean; broken: number }> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let at = 0;
  let isAscii = true;
  for await (const slice of input.slices()) {
    try {
      isAscii = !/[^\0-\x7f]/.test(decoder.decode(slice, { stream: true })) && isAscii;
    } catch {
      const inSlice = slice.findIndex((byte) => byte >= 0x80);
      return { isValid: false, broken: at + Math.max(inSlice, 0) };
    }
    at += slice.length;
  }
  // A character that is cut at the limit, or at the end, is no reason to take it for another encoding, unless it is the
  // only one that is not ASCII: "Café" in Latin-1 ends like a character that is cut.
  try {
    if (isAscii && at === input.size) decoder.decode();
  } catch {
    return { isValid: false, broken: at - 1 };
  }
  return { isValid: true, broken: at };
}

function isMostlyUtf8(sample: Uint8Array): boolean {
  const text = new TextDecoder().decode(sample);
  const broken = text.match(/\ufffd/g)?.length ?? 0;
  const good = text.match(/[^\0-\x7f\ufffd]/g)?.length ?? 0;
  return broken <= good * MAX_BROKEN;
}

function labelOf(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  try {
    return new TextDecoder(name).encoding;
  } catch {
    return undefined;
  }
}

/** Of the encodings before Unicode, the library's guess where there is enough to guess from, else the most common one. */
async function legacyEncoding(sample: Uint8Array): Promise<string> {
  const { analyse } = await import(/* webpackChunkName: "reader-encodings" */ "chardet");
  const high = sample.reduce((count, byte) => count + (byte >= 0x80 ? 1 : 0), 0);
  for (const { name, confidence } of analyse(sample)) {
    const label = labelOf(name === "ISO-8859-1" ? "windows-1252" : name);
    if (label === undefined || label === "utf-8" || label.startsWith("utf-16") || label === "iso-2022-jp") continue;
    // A few bytes look like anything.
    if (label !== "windows-1252" && (high < 12 || confidence < 30)) continue;
    if (isStrict(label, sample)) return label;
  }
  return "windows-1252";
}

/** Whether all of a sample, but a character that it cuts, is valid in an encoding. */
function isStrict(label: string, sample: Uint8Array): boolean {
  try {
    new TextDecoder(label, { fatal: true }).decode(sample, { stream: true });
    return true;
  } catch {
    return false;
  }
}
