// Every call settles, whatever a call of the platform does: each row of tests/support/platform-calls.ts never settles, rejects and throws, in
// each phase of a life cycle that makes the call, with and without abort.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { Embedder } from "../../pkg/src/index.ts";
import type { LoadOptions } from "../../pkg/src/types.ts";
import { openPage, type TestPage, withPrelude } from "../support/browser.ts";
import { faultyPrelude, type Kind, KINDS, PLATFORM_CALLS, type PlatformCall } from "../support/platform-calls.ts";

const MODEL = "/tests/fixtures/models/tiny-cls/";
const OTHER_MODEL = "/tests/fixtures/models/tiny-max/";

/** `again`: with a model that is stored; `grow`: a bulk job, whose further workers fail; `manage`: the functions for stored models. */
const PHASES = ["load", "again", "encode", "grow", "dispose", "manage"] as const;

interface Cell {
  id: string;
  by: PlatformCall["by"];
  phase: (typeof PHASES)[number];
  kind: Kind;
  aborts: boolean;
}

/** What has become of a promise; `undefined`: nothing in time. */
type Outcome =
  | { value: unknown; ms: number }
  | { error: { isReason: boolean; code?: string; text: string }; ms: number }
  | undefined;

interface Result {
  /** Which of the platform's calls were made. */
  hits: string[];
  /** Of the package's call. */
  outcome: Outcome;
  /** After its embedder was disposed of. */
  disposal: Outcome;
  /** Largest difference to the right vectors. */
  difference: number | undefined;
}

/**
 * Milliseconds. All time-outs in a row of what the package waits for are over by then: those of a second or more are 20 times shorter here,
 * and the longest is that of a dead connection, 30 s, five times.
 */
const BOUND = 12_000;

/** What the README promises of an abort, and what is done at once. */
const AT_ONCE = 1_000;

/** Chromium ends a worker that is in the middle of a computation by force, after 2 s. */
const ENDED = 4_000;

/** In the page; see platform-prelude.js. */
interface Page {
  setFault(
    fault: { id: string; kind: string; isOn: boolean; isFast: boolean; isFull: boolean } | null,
    everywhere?: boolean,
  ): void;
  onHit(id: string): void;
  TestCache: new () => LoadOptions["cache"];
  TestFetch: new () => { fetch: typeof fetch };
  TestTexts: new () => AsyncIterable<string>;
  realSetTimeout(action: () => void, ms: number): void;
}

/** What the page cannot see of these constants. */
interface Given {
  model: string;
  other: string;
  bound: number;
  atOnce: number;
}

/** Runs in the page. */
async function lifeCycle({ id, by, phase, kind, aborts, model, other, bound, atOnce }: Cell & Given): Promise<Result> {
  const { setFault, TestCache, TestFetch, TestTexts, realSetTimeout } = globalThis as unknown as Page;
  const embervec = (await import("/pkg/dist/index.js" as string)) as typeof import("../../pkg/src/index.ts");
  const sleep = (ms: number) => new Promise<undefined>((resolve) => realSetTimeout(() => resolve(undefined), ms));
  const settled = async (call: Promise<unknown>, ms: number): Promise<Outcome> => {
    const start = performance.now();
    const elapsed = () => Math.round(performance.now() - start);
    const failed = (error: unknown) => {
      const { code, name, message } = Object(error) as { code?: unknown; name?: string; message?: string };
      const isOurs = error instanceof embervec.EmbervecError;
      return {
        error: { isReason: error === reason, text: `${name}: ${message}`, ...(isOurs ? { code: String(code) } : {}) },
        ms: elapsed(),
      };
    };
    return Promise.race([call.then((value) => ({ value, ms: elapsed() }), failed), sleep(ms)]);
  };

  const hits = new Set<string>();
  let noteHit = () => {};
  const hit = new Promise<void>((resolve) => (noteHit = resolve));
  const channel = new BroadcastChannel("hits");
  (globalThis as unknown as Page).onHit = (name) => {
    hits.add(name);
    if (name === id) noteHit();
  };
  channel.onmessage = ({ data }) => (globalThis as unknown as Page).onHit(data as string);
  const begin = (everywhere = true) =>
    setFault({ id, kind, isOn: true, isFast: !aborts, isFull: by === "eviction" }, everywhere);

  const reason = new Error("enough");
  const controller = new AbortController();
  const { signal } = controller;
  const cache = by === "cache" ? new TestCache() : "indexeddb";
  const options: LoadOptions = { dtype: "fp32", device: "cpu", workers: 1, cache: cache! };
  if (by === "fetch") options.fetch = (...args) => new TestFetch().fetch(...args);
  if (by === "gpu")
    Object.assign(options, phase === "grow" || phase === "dispose" ? { device: "auto" } : { device: "webgpu" });
  const TEXT = "a quick brown fox";
  // Slices enough for several workers, and for a trial of a GPU.
  const BULK = Array.from({ length: 120 }, (_, i) => `${i} ${"the quick brown fox ".repeat(20)}`);
  const load = (more: LoadOptions = {}) => embervec.Embedder.load(model, { ...options, ...more });
  const stored = { cache: cache! };

  let embedder: Embedder | undefined;
  /** A job that is under way while its embedder is disposed of. */
  let job: Promise<unknown> | undefined;
  const phases: Record<Cell["phase"], () => Promise<unknown>> = {
    load: async () => {
      embedder = await load({ signal });
      return [await embedder.encode(TEXT, { signal })];
    },
    again: () => phases.load(),
    encode: async () => {
      if (by !== "texts") return [await embedder!.encode(TEXT, { signal })];
      const vectors = [];
      for await (const { embedding } of embedder!.encodeStream(new TestTexts(), { signal })) vectors.push(embedding);
      return vectors;
    },
    grow: async () => {
      const vectors = await embedder!.encode(BULK, { signal });
      // The further workers may have come too late for that job.
      await Promise.race([hit, sleep(by === "gpu" ? 6_000 : 1_500)]);
      await embedder!.encode(BULK, { signal });
      return vectors;
    },
    dispose: async () => {
      job = embedder!.encode(BULK);
      job.catch(() => {});
      await Promise.race([hit, sleep(by === "gpu" ? 6_000 : 500)]);
      await embedder!.dispose();
      return undefined;
    },
    manage: async () => {
      const archive = await embervec.exportModel(model, stored);
      begin();
      const calls = [
        () => embervec.listModels(stored),
        () => embervec.isCached(model, stored),
        () => embervec.cacheSize(stored),
        () => embervec.exportModel(model, stored),
        () => embervec.importModel(model, archive, stored),
        () => embervec.deleteModel(model, stored),
        () => embervec.clearCache(stored),
      ];
      let failure: unknown;
      for (const call of calls) await call().catch((error: unknown) => (failure = error));
      if (failure) throw failure;
      return undefined;
    },
  };

  // What comes before the fault.
  const emptied = (await indexedDB.databases()).map(
    ({ name }) => new Promise((resolve) => (indexedDB.deleteDatabase(name!).onsuccess = resolve)),
  );
  await Promise.all(emptied);
  if (by === "eviction") await (await embervec.Embedder.load(other, options)).dispose();
  if (phase === "again" || phase === "manage") await (await load()).dispose();
  else if (phase !== "load") embedder = await load(phase === "grow" || phase === "dispose" ? { workers: 2 } : {});
  if (phase !== "manage") begin(phase !== "grow" || by === "gpu");
  let call = settled(phases[phase](), bound);
  if (aborts) {
    await Promise.race([hit.then(() => sleep(50)), call]);
    controller.abort(reason);
    call = Promise.race([call, sleep(atOnce)]);
  }
  const outcome = await call;
  // A worker's news of it may be on its way.
  await Promise.race([hit, sleep(100)]);
  const disposal = embedder
    ? await settled(Promise.all([embedder.dispose(), job?.catch(() => {})]), atOnce)
    : { value: undefined, ms: 0 };
  setFault(null);
  channel.close();

  let difference: number | undefined;
  if (outcome && "value" in outcome && Array.isArray(outcome.value)) {
    const expected = (globalThis as unknown as { expected: Record<"one" | "many", Float32Array[]> }).expected;
    const right = phase === "grow" ? expected.many : expected.one;
    const vectors = outcome.value as Float32Array[];
    // NaN, as of a component that is missing, stays NaN.
    difference = vectors.length === right.length ? 0 : NaN;
    right.forEach((row, i) =>
      row.forEach((x, j) => (difference = Math.max(difference!, Math.abs(x - vectors[i]![j]!)))),
    );
    outcome.value = undefined;
  }
  return { hits: [...hits], outcome, disposal, difference };
}

/** Runs in the page; a worker that was ended while its own worker started may stay in Playwright's list. */
async function callRoll(): Promise<string[]> {
  const problems: string[] = [];
  const roll = new BroadcastChannel("roll");
  roll.onmessage = ({ data }) => problems.push(`${data} is left`);
  roll.postMessage("who is there?");
  await new Promise((resolve) => setTimeout(resolve, 500));
  roll.close();
  return problems;
}

/** What is wrong with what has become of a call. */
function problemsOf({ id, by, phase, kind, aborts }: Cell, { outcome, disposal, difference }: Result): string[] {
  const { costs = [], mayLast = false } = PLATFORM_CALLS[id] ?? {};
  const problems: string[] = [];
  if (!outcome) {
    if (aborts) problems.push("the abort is not answered");
    else if (!mayLast || kind !== "hangs") problems.push("never settles");
  } else if ("error" in outcome) {
    const { isReason, code, text } = outcome.error;
    // A GPU that was not demanded costs nothing; a list of models that cannot be read serves nobody.
    const isOptional = by === "gpu" && (phase === "grow" || phase === "dispose");
    const mayFail: string[] = isOptional
      ? []
      : [...costs, ...(phase === "manage" ? ["storage", "quota", "model_not_found"] : [])];
    const isPassedOn = by === "texts" && text.includes("injected");
    if (!isPassedOn && !(aborts && isReason) && !(code !== undefined && mayFail.includes(code))) {
      problems.push(`fails with ${code ?? "no code"}: ${text}`);
    }
  } else if (difference !== undefined && !(difference <= (by === "gpu" ? 1e-4 : 0))) {
    problems.push(`other vectors: ${difference}`);
  }
  if (!disposal) problems.push("dispose never settles, or leaves a job open");
  return problems;
}

describe("a call of the platform fails", { concurrency: 2 }, () => {
  const idle: Record<"cpu" | "gpu", TestPage[]> = { cpu: [], gpu: [] };
  let overlay: string;
  before(async () => {
    overlay = await withPrelude({
      "worker.js": await faultyPrelude("worker.js"),
      "gpu.js": await faultyPrelude("gpu.js"),
    });
  });
  after(() => Promise.all([...idle.cpu, ...idle.gpu].map((browser) => browser.close())));

  /** A new page, which knows the right vectors; the old one may still compute. */
  async function reset(browser: TestPage): Promise<void> {
    await browser.page.close();
    browser.page = await browser.openTab();
    await browser.page.evaluate(async (model) => {
      const { Embedder } = await import("/pkg/dist/index.js" as string);
      const embedder = await Embedder.load(model, { dtype: "fp32", device: "cpu", cache: "memory" });
      const bulk = Array.from({ length: 120 }, (_, i) => `${i} ${"the quick brown fox ".repeat(20)}`);
      const expected = { one: [await embedder.encode("a quick brown fox")], many: await embedder.encode(bulk) };
      Object.assign(globalThis, { expected });
      await embedder.dispose();
    }, MODEL);
  }

  async function open(gpu: boolean): Promise<TestPage> {
    const browser = await openPage({ overlay, gpu });
    await browser.context.addInitScript({ content: await faultyPrelude("page") });
    await reset(browser);
    return browser;
  }

  async function run(browser: TestPage, cell: Cell): Promise<{ problems: string[]; hits: string[] }> {
    const { page } = browser;
    const problems: string[] = [];
    const mayLast = cell.kind === "hangs" && !cell.aborts && PLATFORM_CALLS[cell.id]?.mayLast === true;
    const given: Given = { model: MODEL, other: OTHER_MODEL, bound: mayLast ? AT_ONCE : BOUND, atOnce: AT_ONCE };
    const note = (error: Error) => problems.push(`an error that nobody handles: ${error.message}`);
    page.on("pageerror", note);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("the page hangs")), 3 * BOUND);
    });
    try {
      const result = await Promise.race([page.evaluate(lifeCycle, { ...cell, ...given }), late]);
      problems.push(...problemsOf(cell, result));
      const { hits, outcome } = result;
      // Nobody can end a load that lasts, unless by an abort.
      if (!outcome && mayLast) {
        await reset(browser);
        return { hits, problems };
      }
      for (const end = Date.now() + ENDED; page.workers().length > 0 && Date.now() < end; )
        await new Promise((resolve) => setTimeout(resolve, 20));
      if (page.workers().length > 0) {
        problems.push(...(await page.evaluate(callRoll)));
        await reset(browser);
      }
      return { hits, problems };
    } catch (error) {
      return { hits: [], problems: [String(error)] };
    } finally {
      clearTimeout(timer);
      page.off("pageerror", note);
    }
  }

  /** In which phases the calls of a kind of row are made. */
  async function census(by: PlatformCall["by"]): Promise<Map<string, Cell["phase"][]>> {
    const made = new Map<string, Cell["phase"][]>();
    const browser = await take(by);
    const phases = {
      cache: PHASES,
      fetch: ["load"],
      texts: ["encode"],
      eviction: ["load"],
      gpu: ["load", "encode", "grow", "dispose"],
      none: PHASES,
    } as const;
    for (const phase of phases[by ?? "none"]) {
      const { problems, hits } = await run(browser, { id: "*", by, phase, kind: "hangs", aborts: false });
      assert.deepEqual(problems, [], `${phase}, without any fault`);
      for (const id of hits) made.set(id, [...(made.get(id) ?? []), phase]);
    }
    give(browser, by);
    return made;
  }

  const poolOf = (by: PlatformCall["by"]) => idle[by === "gpu" ? "gpu" : "cpu"];
  const take = async (by: PlatformCall["by"]) => poolOf(by).pop() ?? (await open(by === "gpu"));
  const give = (browser: TestPage, by: PlatformCall["by"]) => poolOf(by).push(browser);
  const censuses = new Map<PlatformCall["by"], Promise<Map<string, Cell["phase"][]>>>();

  for (const [id, { by, kinds = KINDS, isUnused = false }] of Object.entries(PLATFORM_CALLS)) {
    test(id, async () => {
      let counted = censuses.get(by);
      if (!counted) censuses.set(by, (counted = census(by)));
      const phases = (await counted).get(id);
      if (isUnused) return assert.equal(phases, undefined, "a phase makes this call");
      assert.ok(phases, "no phase makes this call: its stub in tests/support/platform-calls.ts replaces nothing");
      const browser = await take(by);
      /** By problem, where it was seen. */
      const failures: Record<string, string[]> = {};
      for (const phase of phases) {
        for (const kind of kinds) {
          for (const aborts of phase === "dispose" || phase === "manage" ? [false] : [false, true]) {
            const { problems } = await run(browser, { id, by, phase, kind, aborts });
            for (const problem of problems)
              (failures[problem] ??= []).push(`${phase} ${kind}${aborts ? ", aborted" : ""}`);
            // What a failure leaves behind is not the next cell's.
            if (problems.length > 0) await reset(browser);
          }
        }
      }
      give(browser, by);
      assert.deepEqual(failures, {});
    });
  }
});
