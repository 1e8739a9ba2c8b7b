// What callers pass, checked before anything is done with it.

import { check, type Check, checkValue, describe, oneOf, type Rule } from "../check.js";
import { EmbervecError } from "../errors.js";
import { CACHE, CACHE_RULE } from "../platform/web.js";
import { DEFAULT_TOKENS, MAX_DIMENSION, MAX_TEXT, isPlain } from "./parts.js";
import type {
  AddOptions,
  FetchOptions,
  Filter,
  MinScores,
  OpenOptions,
  PassageOptions,
  SearchDocument,
  SearchOptions,
} from "./types.js";

const isString: Check = (value) => typeof value === "string";
const isFunction: Check = (value) => typeof value === "function";
const isAddress: Check = (value) => isString(value) || value instanceof URL;
const isWhole =
  (least: number, most: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
const isIds: Check = (value) => Array.isArray(value) && value.every(isString);

const CACHES: Rule = [
  (value) =>
    value === CACHE ||
    value === "memory" ||
    ["get", "put", "delete", "keys", "room"].every((name) => isFunction(Object(value)[name])),
  CACHE_RULE,
];
const EMBEDDER: Rule = [
  (value) => ["encodeQuery", "encodeDocument", "tokenCounts"].every((name) => isFunction(Object(value)[name])),
  "an Embedder",
];
const SIGNAL: Rule = [(value) => value instanceof AbortSignal, "an AbortSignal"];
const SCRIPTS: Record<"workerUrl" | "createWorker" | "wasmUrl", Rule> = {
  workerUrl: [isAddress, "an address"],
  createWorker: [isFunction, "a function that returns a Worker"],
  wasmUrl: [isAddress, "an address"],
};

/** Half of the longest passage that a model of 8,192 tokens takes; more is no passage. */
const MAX_TOKENS = 8192;

const PASSAGES: Record<keyof PassageOptions, Rule> = {
  maxTokens: [isWhole(8, MAX_TOKENS), `a whole number from 8 to ${MAX_TOKENS}`],
  overlap: [isWhole(0, MAX_TOKENS), `a whole number from 0 to ${MAX_TOKENS}`],
};

const OPEN: Record<keyof OpenOptions, Rule> = {
  embedder: EMBEDDER,
  cache: CACHES,
  passages: [isPlain, "an object with maxTokens or overlap"],
  truncateDim: [isWhole(1, MAX_DIMENSION), "a positive integer, at most the vector's length"],
  similarity: oneOf("cosine", "dot", "euclidean"),
  signal: SIGNAL,
  ...SCRIPTS,
};

const FETCH: Record<keyof FetchOptions, Rule> = {
  embedder: EMBEDDER,
  headers: [(value) => isPlain(value) && Object.values(value).every(isString), "a plain object of strings", "secret"],
  credentials: oneOf("omit", "same-origin", "include"),
  cache: CACHES,
  signal: SIGNAL,
  ...SCRIPTS,
};

const ADD: Record<keyof AddOptions, Rule> = { signal: SIGNAL, progress: [isFunction, "a function"] };

const MAX_HITS = 1000;
const MAX_PAIRS = 1_000_000;

const FILTER: Rule = [isPlain, "an object of conditions"];
const FINITE: Rule = [Number.isFinite, "a finite number"];
const COSINE: Rule = [(value) => Number.isFinite(value) && Math.abs(value as number) <= 1, "a number from -1 to 1"];
const COUNT: Rule = [isWhole(1, Infinity), "a positive integer"];

const MIN_SCORES: Record<keyof MinScores, Rule> = { semantic: FINITE, keyword: FINITE };

const SEARCH: Record<keyof SearchOptions, Rule> = {
  topK: [isWhole(1, MAX_HITS), `a whole number from 1 to ${MAX_HITS}`],
  mode: oneOf("hybrid", "semantic", "keyword"),
  filter: FILTER,
  minScore: [(value) => Number.isFinite(value) || isPlain(value), "a number, or an object of numbers"],
  rerank: [(value) => isFunction(Object(value).rank), "an object with the method rank, such as a CrossEncoder"],
  rerankTop: [isWhole(1, MAX_HITS), `a whole number from 1 to ${MAX_HITS}`],
  groupBy: oneOf("document"),
  context: [isWhole(0, 100), "a whole number from 0 to 100"],
  liked: [isIds, "an array of ids"],
  disliked: [isIds, "an array of ids"],
  promptName: [isString, "a string"],
  signal: SIGNAL,
};

export function checkOpenOptions(call: string, options: OpenOptions): void {
  check(call, options, OPEN);
  check(`${call}: option "passages"`, options.passages ?? {}, PASSAGES);
  const { maxTokens = DEFAULT_TOKENS, overlap = 0 } = options.passages ?? {};
  if (overlap >= maxTokens)
    throw new EmbervecError(
      "invalid_input",
      `${call}: option "passages": overlap must be less than maxTokens, which is ${maxTokens}`,
    );
}

export function checkFetchOptions(options: FetchOptions): void {
  check("SearchIndex.fetch", options, FETCH);
}

export function checkManageOptions(call: string, options: object): void {
  check(call, options, { cache: CACHES, ...SCRIPTS });
}

export function checkAddOptions(options: AddOptions): void {
  check("add", options, ADD);
}

export function checkSearchOptions(options: SearchOptions): void {
  check("search", options, SEARCH);
  if (isPlain(options.minScore)) check('search: option "minScore"', options.minScore, MIN_SCORES);
}

export function checkDuplicates(threshold: unknown, options: object): void {
  checkValue("duplicates: the threshold", threshold, COSINE);
  check("duplicates", options, {
    topK: [isWhole(1, MAX_PAIRS), `a whole number from 1 to ${MAX_PAIRS}`],
    signal: SIGNAL,
  });
}

export function checkClusterOptions(options: object): void {
  check("clusters", options, { threshold: COSINE, minSize: COUNT, signal: SIGNAL });
}

export function checkVectorsOptions(options: object): void {
  check("vectors", options, { limit: COUNT });
}

export function checkFilterOptions(call: string, options: object): void {
  check(call, options, { filter: FILTER });
}

/** Keys of a cache are made of it. */
const MAX_NAME = 200;

export function checkName(call: string, name: unknown): void {
  const isName = (name: unknown) =>
    typeof name === "string" && name !== "" && name.length <= MAX_NAME && !/\p{Surrogate}/u.test(name);
  checkValue(`${call}: the name`, name, [isName, `a string of 1 to ${MAX_NAME} characters`]);
}

/** @returns the document without what else is in it */
export function checkDocument(document: unknown, position: number): SearchDocument {
  const what = `add: documents[${position}]`;
  if (!isPlain(document))
    throw new EmbervecError("invalid_input", `${what} must be an object, not ${describe(document)}`);
  const { id, text, metadata, vector } = document as Record<string, unknown>;
  checkValue(`${what}.id`, id, [isString, "a string"]);
  checkValue(`${what}.text`, text, [isString, "a string"]);
  if ((text as string).length > MAX_TEXT)
    throw new EmbervecError("invalid_input", `${what}.text is longer than ${MAX_TEXT} characters; split it`);
  if (metadata !== undefined) checkValue(`${what}.metadata`, metadata, [isPlain, "an object"]);
  const values = metadata && plainJson(`${what}.metadata`, metadata);
  if (hasLongKey(values))
    throw new EmbervecError(
      "invalid_input",
      `${what}.metadata: a key has more than ${MAX_KEY_PARTS} parts separated by dots`,
    );
  const isVector = (value: unknown) =>
    (value instanceof Float32Array || Array.isArray(value)) && value.length > 0 && value.every(Number.isFinite);
  if (vector !== undefined) checkValue(`${what}.vector`, vector, [isVector, "finite numbers"]);
  return {
    id: id as string,
    text: text as string,
    ...(metadata !== undefined && { metadata: values }),
    ...(vector !== undefined && { vector: Float32Array.from(vector as number[]) }),
  } as SearchDocument;
}

/** As the wasm module has it: each part is a place that filters may name. */
const MAX_KEY_PARTS = 32;

function hasLongKey(value: unknown): boolean {
  const left = [value];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    if (typeof next !== "object" || next === null) continue;
    for (const [key, inner] of Object.entries(next)) {
      if (key.split(".").length > MAX_KEY_PARTS) return true;
      left.push(inner);
    }
  }
  return false;
}

export function checkFilter(call: string, filter: unknown): string {
  checkValue(`${call}: the filter`, filter, [isPlain, "an object of conditions"]);
  return JSON.stringify(plainJson(`${call}: the filter`, filter) as Filter);
}

/** As JSON has it: what it does not have would be another thing after the next start. Halves of characters are none, as in UTF-8. */
function plainJson(what: string, value: unknown): unknown {
  const whole = (_: string, value: unknown) =>
    typeof value === "string" ? value.replace(/\p{Surrogate}/gu, "\uFFFD") : value;
  try {
    return JSON.parse(JSON.stringify(value), whole);
  } catch (cause) {
    throw new EmbervecError("invalid_input", `${what} is not JSON`, { cause });
  }
}
