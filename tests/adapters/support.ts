// The small models and what sentence-transformers says of them, for adapters that run in Node.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { readFile } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { Embedder, EmbervecError, type LoadOptions } from "embervec";

import { type Case, expectedOf, read, textOf } from "../support/golden.ts";
import { difference } from "../support/vectors.ts";

const models = new URL("../fixtures/models/", import.meta.url);

/** As sentence-transformers computes, and without a trace on this machine. */
export const EXACT: LoadOptions = { dtype: "fp32", cache: "memory" };

/** The path of a small model. */
export const tiny = (name: string): string => fileURLToPath(new URL(`${name}/`, models));

export const miniLm = fileURLToPath(new URL("../../www/models/all-MiniLM-L6-v2/", import.meta.url));

export interface Golden {
  text: string;
  promptName: string | null;
  tokens: number;
  truncated: boolean;
  vector: Float32Array;
}

export const casesOf = (path: string): Golden[] => read(path).cases.map(goldenOf);

export const goldens = (name: string): Golden[] => casesOf(`models/${name}/expected.json`);

const goldenOf = (each: Case): Golden => ({
  text: textOf(each),
  promptName: each.prompt_name ?? null,
  tokens: each.input_ids.length,
  truncated: each.truncated,
  vector: expectedOf(each),
});

/** Those that a model was given with this prompt. */
export function withPrompt(name: string, promptName: string | null): Golden[] {
  const cases = goldens(name).filter((each) => each.promptName === promptName);
  assert.ok(cases.length > 0, `${name} has no case with the prompt ${promptName}`);
  return cases;
}

/** Vectors of the first two cases' tokens, before any pooling. */
export async function tokenGoldens(name: string): Promise<{ text: string; tokens: Float32Array[] }[]> {
  const { cases, dimension } = JSON.parse(await readFile(new URL(`${name}/expected.json`, models), "utf8"));
  return cases
    .filter((each: { token_embeddings?: string }) => each.token_embeddings)
    .map((each: Case & { token_embeddings: string }) => {
      const all = expectedOf({ ...each, embedding: each.token_embeddings });
      const width = all.length / each.input_ids.length;
      assert.ok(Number.isInteger(width) && dimension > 0);
      return {
        text: textOf(each),
        tokens: each.input_ids.map((_, i) => all.subarray(i * width, (i + 1) * width)),
      };
    });
}

export const norm = (vector: ArrayLike<number>): number => Math.hypot(...Array.from(vector));

/** The first dimensions, scaled to length 1. */
export function shortened(vector: ArrayLike<number>, dimensions: number): number[] {
  const part = Array.from(vector).slice(0, dimensions);
  const length = norm(part);
  return part.map((x) => x / length);
}

export function assertNear(actual: ArrayLike<number>, expected: ArrayLike<number>, name: string): void {
  const distance = difference(actual, expected, name);
  assert.ok(distance < 1e-5, `${name} differs by ${distance}`);
}

export const isError =
  (code: EmbervecError["code"], pattern: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof EmbervecError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, pattern);
    return true;
  };

/** Counts the loads of a test. */
export function countLoads(): { count: number; restore(): void } {
  const { load } = Embedder;
  const counter = {
    count: 0,
    restore: () => void (Embedder.load = load),
  };
  Embedder.load = (...args) => {
    counter.count += 1;
    return load.apply(Embedder, args);
  };
  return counter;
}

export const listenersOf = (signal: AbortSignal): number => getEventListeners(signal, "abort").length;

/** The process's warnings during a test. */
export function countWarnings(): { end(): Promise<string[]> } {
  const seen: string[] = [];
  const listener = ({ name, message }: Error) => void seen.push(`${name}: ${message}`);
  process.on("warning", listener);
  return {
    async end() {
      // Node tells them later.
      await setImmediate();
      process.off("warning", listener);
      return seen;
    },
  };
}

/** A `fetch` that answers for a hub with folders of this machine, by id. It records what it was asked for. */
export function hubOf(folders: Record<string, string>): { fetch: typeof fetch; asked: string[] } {
  const asked: string[] = [];
  const answer = async (input: string | URL | Request): Promise<Response> => {
    const { href, pathname } = new URL(input instanceof Request ? input.url : input);
    asked.push(href);
    const [, id = "", file = ""] = /^\/(.+?)\/(?:resolve|raw)\/[^/]+\/(.+)$/.exec(pathname) ?? [];
    const folder = pathname.includes("/raw/") ? undefined : folders[id];
    const bytes = folder && (await readFile(`${folder}/${file}`).catch(() => undefined));
    return bytes
      ? new Response(new Uint8Array(bytes), { headers: { "content-length": String(bytes.length) } })
      : new Response(null, { status: 404 });
  };
  return { fetch: answer as typeof fetch, asked };
}
