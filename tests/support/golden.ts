// The vectors that sentence-transformers gives, and those of the package.

import { readFileSync, readdirSync } from "node:fs";

import type { LoadOptions } from "embervec";
import type { Page } from "playwright-core";

export interface Case {
  name: string;
  text: string;
  /** UTF-16 code units of a text with lone surrogates, which `text` cannot hold. */
  utf16?: number[];
  prompt_name?: string | null;
  input_ids: number[];
  truncated: boolean;
  embedding: string;
}

export interface Expected {
  dimension: number;
  /** `null`: no limit. */
  max_seq_length: number | null;
  cases: Case[];
}

export interface Actual {
  embedding: number[];
  inputIds: number[];
  truncated: boolean;
}

export const MINI_LM = "/www/models/all-MiniLM-L6-v2/";

const fixtures = new URL("../fixtures/", import.meta.url);
export function read(path: string): Expected {
  const expected: Expected = JSON.parse(readFileSync(new URL(path, fixtures), "utf8"));
  // A test that has nothing to compare would pass.
  if (!(expected.cases.length > 0)) throw new Error(`${path} has no cases`);
  return expected;
}

export function textOf({ text, utf16 }: Case): string {
  return utf16 ? String.fromCharCode(...utf16) : text;
}

export interface EncodedAll {
  info: { dimension: number; simd: string; dtype: string; kernels: string; device: string; deviceReason: string };
  actual: Actual[];
}

interface Encoding {
  model: string;
  input: { text: string; prompt: string | undefined }[];
  options: LoadOptions;
}

/** Loads a model and encodes each text in a call of its own; in the page. */
export async function encodeInPage({ model, input, options }: Encoding): Promise<EncodedAll> {
  const address = "/pkg/dist/index.js";
  const { Embedder } = await import(address);
  const embedder = await Embedder.load(model, options);
  const actual = [];
  for (const { text, prompt } of input) {
    const { inputIds, truncated } = await embedder.tokenize(text);
    const embedding = await embedder.encode(text, prompt === undefined ? {} : { promptName: prompt });
    actual.push({ embedding: [...embedding], inputIds, truncated });
  }
  const { info } = embedder;
  await embedder.dispose();
  return { info, actual };
}

/** The argument of {@link encodeInPage}. */
export function encodingOf(model: string, cases: Case[], options: LoadOptions): Encoding {
  return {
    model,
    input: cases.map((each) => ({ text: textOf(each), prompt: each.prompt_name ?? undefined })),
    options,
  };
}

/** Loads a model and encodes each text in a call of its own. */
export function encodeAll(page: Page, model: string, cases: Case[], options: LoadOptions): Promise<EncodedAll> {
  return page.evaluate(encodeInPage, encodingOf(model, cases, options));
}

export function expectedOf({ embedding }: Case): Float32Array {
  const bytes = Buffer.from(embedding, "base64");
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/** The names of the small models in `tests/fixtures/models`. */
export const TINY_MODELS = readdirSync(new URL("models/", fixtures)).filter((name) => name.startsWith("tiny-"));
