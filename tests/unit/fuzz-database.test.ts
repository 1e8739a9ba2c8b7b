// Random databases: what anybody may have put into a cache, and caches that fail.

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import type { ModelCache } from "../../pkg/src/cache/cache.ts";
import { sha256Of } from "../../pkg/src/cache/sha256.ts";
import { CHUNK_BYTES } from "../../pkg/src/limits.ts";
import { cacheSize, clearCache, deleteModel, exportModel, isCached, listModels } from "../../pkg/src/manage.ts";
import {
  assertSize,
  checkedProgress,
  damaged,
  encode,
  filePath,
  fuzz,
  mostly,
  oddJson,
  oddText,
  oddValue,
  outcome,
} from "../support/fuzz.ts";
import { type Answer, BASE, hostOf, loadPlain } from "../support/plain-model.ts";

/** What a cache may do other than keep what it is given. */
interface Manners {
  room: unknown;
  /** Every so many calls fail. */
  failsEvery: number;
  isFull: boolean;
  keys: unknown;
}

class OddCache implements ModelCache {
  readonly entries = new Map<string, unknown>();
  #calls = 0;

  constructor(private readonly manners: Manners) {}

  async get(key: string): Promise<Uint8Array<ArrayBuffer>> {
    this.#mayFail();
    return this.entries.get(key) as Uint8Array<ArrayBuffer>;
  }

  async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#mayFail();
    if (this.manners.isFull) throw new DOMException("full", "QuotaExceededError");
    this.entries.set(key, bytes);
  }

  async delete(prefix: string): Promise<void> {
    this.#mayFail();
    for (const key of [...this.entries.keys()]) if (key.startsWith(prefix)) this.entries.delete(key);
  }

  async keys(prefix: string): Promise<string[]> {
    this.#mayFail();
    const keys = [...this.entries.keys()].filter((key) => key.startsWith(prefix));
    return this.manners.keys === undefined ? keys : (this.manners.keys as string[]);
  }

  async room(): Promise<number> {
    return this.manners.room as number;
  }

  #mayFail(): void {
    this.#calls += 1;
    if (this.#calls % this.manners.failsEvery === 0) throw this.#calls % 2 === 0 ? null : new Error("it fails");
  }
}

const CONFIG = encode("{}");
const SMALL_WEIGHTS = encode("weights");
const LARGE_WEIGHTS = new Uint8Array(CHUNK_BYTES + 5).fill(7);
const FIRST = await sha256Of(LARGE_WEIGHTS.slice(0, CHUNK_BYTES));
const CONTENTS = [CONFIG, SMALL_WEIGHTS, LARGE_WEIGHTS.slice(0, CHUNK_BYTES), LARGE_WEIGHTS.slice(CHUNK_BYTES)];
const DIGESTS = [
  await sha256Of(CONFIG),
  await sha256Of(SMALL_WEIGHTS),
  FIRST,
  await sha256Of(LARGE_WEIGHTS.slice(CHUNK_BYTES)),
];

interface DatabaseInput {
  entries: [key: string, value: unknown][];
  manners: Manners;
  dtype: "fp32" | "q8";
}

test("databases", async (t) => {
  const model = mostly(fc.constantFrom(BASE, `${BASE}#q8`, "https://host.test/other/"), oddText);
  const version = mostly(fc.constantFrom("-", "%22etag%22"), oddText);
  const content = fc.nat(CONTENTS.length - 1);
  const file = fc.oneof(
    content.map((i) => ({ size: CONTENTS[i]!.length, version: "-", chunks: [DIGESTS[i]] })),
    fc.constant({ size: LARGE_WEIGHTS.length, version: "-", chunks: [FIRST, DIGESTS[3]] }),
    fc.record({
      size: oddJson,
      version: mostly(version, oddJson),
      chunks: mostly(fc.array(mostly(fc.constantFrom(...DIGESTS), oddJson), { maxLength: 3 }), oddJson),
    }),
  );
  const record = fc.record(
    {
      name: mostly(fc.constant(BASE), oddJson),
      revision: mostly(fc.constantFrom(undefined, "main"), oddJson),
      files: mostly(
        fc.array(fc.tuple(filePath, mostly(file, oddJson)), { maxLength: 4 }).map((files) => Object.fromEntries(files)),
        oddJson,
      ),
      absent: mostly(
        fc.constantFrom("others", ["modules.json"], ["modules.json", "adapter_config.json", "model.safetensors"]),
        oddJson,
      ),
      storedAt: mostly(fc.nat(), oddJson),
      usedAt: mostly(fc.nat(), oddJson),
    },
    { requiredKeys: ["name", "files", "absent", "storedAt"] },
  );
  const recordEntry = fc.tuple(
    mostly(
      model.map((model) => `model ${model} `),
      oddText.map((text) => `model ${text}`),
    ),
    mostly(
      fc.oneof(
        record.map((value) => encode(JSON.stringify(value))),
        damaged(record.map((value) => JSON.stringify(value))).map(encode),
      ),
      oddValue,
    ),
  );
  const chunkEntry = content.chain((i) =>
    fc.tuple(
      damaged(
        fc
          .tuple(model, filePath, version, fc.constantFrom(0, 1, 2, 999_999))
          .map(([model, path, version, index]) => `chunk ${model} ${path} ${version} ${index} ${DIGESTS[i]}`),
      ),
      mostly(fc.constant(CONTENTS[i]), fc.oneof(oddValue, fc.uint8Array({ maxLength: 10 }))),
    ),
  );
  // Entries that belong together are rare by chance alone.
  const stored: [string, unknown][] = [
    [
      `model ${BASE} `,
      encode(
        JSON.stringify({
          name: BASE,
          files: {
            "config.json": { size: 2, version: "-", chunks: [DIGESTS[0]] },
            "model.safetensors": { size: 7, version: "-", chunks: [DIGESTS[1]] },
          },
          absent: "others",
          storedAt: 1,
          usedAt: 1,
        }),
      ),
    ],
    [`chunk ${BASE} config.json - 0 ${DIGESTS[0]}`, CONFIG],
    [`chunk ${BASE} model.safetensors - 0 ${DIGESTS[1]}`, SMALL_WEIGHTS],
  ];
  const entry = fc.oneof(
    { weight: 2, arbitrary: recordEntry },
    { weight: 4, arbitrary: chunkEntry },
    { weight: 1, arbitrary: fc.tuple(oddText, oddValue) },
  );
  const entries = fc
    .tuple(fc.subarray(stored), fc.array(entry as fc.Arbitrary<[string, unknown]>, { maxLength: 8 }))
    .map(([some, more]) => [...some, ...more]);
  const good: Manners = { room: Infinity, failsEvery: Infinity, isFull: false, keys: undefined };
  const manners = mostly(
    fc.constant(good),
    fc.record({
      room: mostly(fc.constant(Infinity), oddValue),
      failsEvery: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 40 })),
      isFull: fc.boolean(),
      keys: mostly(fc.constant(undefined), oddValue),
    }),
  );
  const inputs: fc.Arbitrary<DatabaseInput> = fc.record({ entries, manners, dtype: fc.constantFrom("fp32", "q8") });
  const large = { size: 4 * 2 ** 30, version: "-", chunks: Array(8192).fill(FIRST) };
  const recordOf = (change: object) =>
    encode(JSON.stringify({ name: BASE, files: {}, absent: "others", storedAt: 1, usedAt: 1, ...change }));
  const plain = { manners: good, dtype: "fp32" } as const;
  const examples: DatabaseInput[] = [
    { ...plain, manners: { ...good, room: Symbol("odd") }, entries: [] },
    { ...plain, entries: [[`model ${BASE} `, recordOf({ files: { "config.json": large } })]] },
    { ...plain, entries: [[`chunk ${BASE} %zz - 0 ${FIRST}`, CONFIG]] },
    { ...plain, entries: [[`chunk ${BASE} config.json - -1 ${FIRST}`, CONFIG]] },
    { ...plain, entries: [...stored.slice(0, 2), [stored[2]![0], new Uint8Array(new SharedArrayBuffer(7))]] },
    { ...plain, entries: [...stored.slice(0, 2), [stored[2]![0], "weights"]] },
    {
      ...plain,
      entries: [
        [
          `model ${BASE} `,
          recordOf({
            name: { toString: null },
            storedAt: "x",
            files: { "config.json": { size: 0, version: "-", chunks: [] } },
          }),
        ],
      ],
    },
    {
      ...plain,
      entries: [[`model ${BASE} `, recordOf({ files: { "\ud800": { size: 0, version: "\ud800", chunks: [] } } })]],
    },
  ];
  const folder: Record<string, Answer> = {
    "config.json": new Response(CONFIG),
    "model.safetensors": new Response(LARGE_WEIGHTS),
  };
  await fuzz(t, inputs, examples, async ({ entries, manners, dtype }) => {
    const cache = new OddCache(manners);
    let bytes = 0;
    for (const [key, value] of entries) {
      cache.entries.set(key, value);
      bytes += ArrayBuffer.isView(value) ? value.byteLength : 0;
    }
    const served = hostOf(folder);
    try {
      for (const model of (await outcome(() => listModels({ cache }))) ?? []) {
        assert.equal(typeof model.model, "string");
        assert.match(typeof model.revision, /^(string|undefined)$/);
        assertSize(model.size);
        for (const date of [model.storedAt, model.usedAt]) {
          const isSound = date === undefined ? !model.complete : !Number.isNaN(date.getTime());
          assert.ok(isSound, `a date is ${String(date)}`);
        }
      }
      const size = await outcome(() => cacheSize({ cache }));
      if (size !== undefined) assertSize(size);
      await outcome(() => isCached(BASE, { cache }));
      await outcome(() => exportModel(BASE, { cache }));
      await outcome(() => loadPlain(cache, { localFilesOnly: true, dtype, progress: checkedProgress() }));
      // With a sound host there is always a model, from there or from here.
      const { model, cached } = await loadPlain(cache, { progress: checkedProgress() });
      if (!cached) {
        assert.deepEqual(model.get("config.json"), CONFIG);
        assert.deepEqual(model.get("model.safetensors"), Buffer.from(LARGE_WEIGHTS));
      }
      await outcome(() => deleteModel(BASE, { cache }));
      await outcome(() => clearCache({ cache }));
      if (manners === good) assert.equal(cache.entries.size, 0);
    } finally {
      served.restore();
    }
    return bytes;
  });
});
