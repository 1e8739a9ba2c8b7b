// What callers pass, checked before anything is done with it.

import { check, type Check, describe, oneOf, type Rule } from "./check.js";
import { EmbervecError, shown } from "./errors.js";
import type { ModelOptions } from "./manage.js";
import { isPlainPath } from "./model/manifest.js";
import { CACHE, CACHE_RULE } from "./platform/web.js";
import type { EncodeOptions, LoadOptions, Precision, StreamOptions } from "./types.js";
import type { EncodeRequestOptions } from "./worker/protocol.js";

const isString: Check = (value) => typeof value === "string";
const isBoolean: Check = (value) => typeof value === "boolean";
const isFunction: Check = (value) => typeof value === "function";
const isAddress: Check = (value) => isString(value) || value instanceof URL;
const isPlainObject = (value: unknown): value is object => Object.prototype.toString.call(value) === "[object Object]";
const isSignal: Check = (value) => value instanceof AbortSignal;

const isCache: Check = (value) =>
  typeof value === "object" &&
  value !== null &&
  ["get", "put", "delete", "keys", "room"].every((name) => isFunction((value as Record<string, unknown>)[name]));

const LOAD_OPTIONS: Record<keyof LoadOptions, Rule> = {
  device: oneOf("auto", "cpu", "webgpu"),
  dtype: oneOf("auto", "fp32", "fp16", "q8"),
  progress: [isFunction, "a function"],
  signal: [isSignal, "an AbortSignal"],
  hub: [isString, "an address"],
  revision: [isString, "a string"],
  localFilesOnly: [isBoolean, "true or false"],
  headers: [
    // Not a `Headers`, which could not be sent to the worker.
    (value) => isPlainObject(value) && Object.values(value).every(isString),
    "a plain object of strings",
    "secret",
  ],
  cache: [(value) => value === CACHE || value === "memory" || isCache(value), CACHE_RULE],
  workers: [
    (value) => value === "auto" || (Number.isInteger(value) && (value as number) > 0),
    '"auto" or a positive integer',
  ],
  fetch: [isFunction, "a function as the platform's fetch"],
  credentials: oneOf("omit", "same-origin", "include"),
  integrity: [
    (value) =>
      isPlainObject(value) &&
      Object.entries(value).every(([path, pin]) => isPlainPath(path) && parsePin(pin) !== undefined),
    'a plain object of a file\'s path and its SHA-256, as "sha256-<base64>" or 64 hexadecimal digits',
  ],
  persist: [isBoolean, "true or false"],
  workerUrl: [isAddress, "an address"],
  createWorker: [isFunction, "a function that returns a Worker"],
  wasmUrl: [isAddress, "an address"],
};

/** The SHA-256 in hexadecimal digits, or as Subresource Integrity has it. */
function parsePin(value: unknown): string | undefined {
  if (typeof value !== "string") return undefined;
  if (/^[0-9a-f]{64}$/i.test(value)) return value.toLowerCase();
  const [, base64] = /^sha256-([A-Za-z0-9+/]{43}=)$/.exec(value) ?? [];
  return base64 && Array.from(atob(base64), (byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

/** The SHA-256 that files must have, by path. */
export function pinsOf(integrity: LoadOptions["integrity"] = {}): ReadonlyMap<string, string> {
  return new Map(Object.entries(integrity).map(([path, value]) => [path, parsePin(value)!]));
}

/** Refuses what `fetch` would, and never shows a value: it may be a token. */
function checkHeaders(headers: Record<string, string>): void {
  for (const [name, value] of Object.entries(headers)) {
    const problem = !/^[\w!#$%&'*+\-.^`|~]+$/.test(name)
      ? "the name has characters that no header's may have"
      : /[^\x01-\xff]|[\r\n]/.test(value.replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, ""))
        ? "the value has a line break or characters outside of Latin-1"
        : undefined;
    if (problem)
      throw new EmbervecError("invalid_input", `load: option "headers": ${shown(name)} cannot be sent: ${problem}`);
  }
}

const ENCODE_OPTIONS: Record<keyof EncodeOptions, Rule> = {
  promptName: [isString, "a string"],
  prompt: [isString, "a string"],
  normalize: [isBoolean, "true or false"],
  // The model's own limit is checked where it is known; the wasm module takes 32 bits.
  truncateDim: [
    (value) => Number.isInteger(value) && (value as number) > 0 && (value as number) < 2 ** 32,
    "a positive integer, at most the vector's length",
  ],
  precision: oneOf("float32", "int8", "uint8", "binary", "ubinary"),
  output: oneOf("sentence", "token"),
  pooling: [
    (value) => isString(value) || (Array.isArray(value) && value.length > 0 && value.every(isString)),
    "a pooling's name or a list of names",
  ],
  onTruncated: [isFunction, "a function"],
  signal: [isSignal, "an AbortSignal"],
  progress: [isFunction, "a function"],
};

/** A stream gives one float32 vector per text, and says of each whether it was cut. */
const { precision, output, onTruncated, ...SENTENCE_OPTIONS } = ENCODE_OPTIONS;
const STREAM_OPTIONS: Record<keyof StreamOptions, Rule> = { ...SENTENCE_OPTIONS, task: oneOf("query", "document") };

const { hub, revision, cache } = LOAD_OPTIONS;
const MODEL_OPTIONS = { hub, revision, cache };

export function checkLoadOptions(options: LoadOptions): void {
  check("load", options, LOAD_OPTIONS);
  checkHeaders(options.headers ?? {});
  if (options.device === "webgpu" && options.cache === "memory") {
    throw new EmbervecError(
      "invalid_input",
      'device "webgpu" needs a cache that keeps the model, because the GPU\'s worker loads it from there; leave out `device` or `cache`',
    );
  }
  if (options.device === "webgpu" && typeof options.workers === "number" && options.workers > 1) {
    throw new EmbervecError(
      "invalid_input",
      'several workers are for the CPU, but device "webgpu" uses the GPU for everything; leave out `workers` or `device`',
    );
  }
  if (options.cache === "memory" && typeof options.workers === "number" && options.workers > 1) {
    throw new EmbervecError(
      "invalid_input",
      "several workers need a cache that keeps the model, because each loads it from there; leave out `workers` or `cache`",
    );
  }
}

/** Of the functions for stored models. */
export function checkModelOptions(call: string, options: ModelOptions): void {
  check(call, options, MODEL_OPTIONS);
}

/** Of {@link isCached}. */
export function checkCachedOptions(call: string, options: ModelOptions & Pick<LoadOptions, "dtype">): void {
  check(call, options, { ...MODEL_OPTIONS, dtype: LOAD_OPTIONS.dtype });
}

/** The worker's options for a call's. */
export function checkEncodeOptions(options: EncodeOptions, task?: "query" | "document"): EncodeRequestOptions {
  check("encode", options, ENCODE_OPTIONS);
  return requestOptions(options, task);
}

/** The worker's options for a stream's. */
export function checkStreamOptions(options: StreamOptions): EncodeRequestOptions {
  check("encodeStream", options, STREAM_OPTIONS);
  return requestOptions(options, options.task);
}

function requestOptions(options: EncodeOptions, task?: "query" | "document"): EncodeRequestOptions {
  const { promptName, prompt, normalize, truncateDim, pooling, output, precision } = options;
  const tokens = output === "token";
  if (tokens && precision !== undefined && precision !== "float32") {
    throw new EmbervecError(
      "invalid_input",
      `precision "${precision}" is for sentence vectors; leave it out with output "token"`,
    );
  }
  return {
    task,
    promptName,
    prompt,
    normalize,
    truncateDim,
    tokens,
    pooling: typeof pooling === "string" ? [pooling] : pooling,
  };
}

/** `int8` and `uint8` take their ranges from the texts, so one text says nothing. */
export function checkPrecision(precision: Precision | undefined, count: number): void {
  if ((precision === "int8" || precision === "uint8") && count === 1) {
    throw new EmbervecError(
      "invalid_input",
      `precision "${precision}" takes its ranges from the texts and needs at least two; for one text use quantizeEmbeddings with ranges of your corpus`,
    );
  }
}

export function checkText(text: unknown, name: string): string {
  if (typeof text === "string") return text;
  throw new EmbervecError("invalid_input", `${name} must be a string, not ${describe(text)}`);
}

/**
 * The texts as they are now: the caller may change the array while they are encoded.
 *
 * @param takes what the call takes beside an array
 */
export function checkTexts(texts: unknown, takes: string): string[] {
  if (!Array.isArray(texts)) {
    throw new EmbervecError("invalid_input", `${takes} an array of strings, not ${describe(texts)}`);
  }
  // Not forEach: that skips holes.
  for (let i = 0; i < texts.length; i++) {
    if (!(i in texts)) throw new EmbervecError("invalid_input", `texts[${i}] is a hole in the array`);
    checkText(texts[i], `texts[${i}]`);
  }
  return [...texts];
}
