// Model hosts that misbehave, without a browser: every load settles, in little memory, and leaves no rejection behind.

import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { MemoryCache } from "../support/memory-cache.ts";
import { type ModelRecord, chunkKey, encodeRecord } from "../../pkg/src/cache/entries.ts";
import { ModelStore } from "../../pkg/src/cache/store.ts";
import { type EmbervecErrorCode, codeOf } from "../../pkg/src/errors.ts";
import { CHUNK_BYTES } from "../../pkg/src/limits.ts";
import { isCached, listModels } from "../../pkg/src/manage.ts";
import { type FolderFile, openFolder } from "../../pkg/src/model/folder.ts";
import type { HostResponse } from "../../pkg/src/model/fetch.ts";
import { Body } from "../../pkg/src/model/host.ts";
import { writeManifest } from "../../pkg/src/model/manifest.ts";
import type { ProgressEvent } from "../../pkg/src/types.ts";
import { type Answer, BASE, digestsOf, endless, hostOf, loadPlain, pointerText } from "../support/plain-model.ts";

/** Of a load from a host that answers at once, whatever that answers. */
const MAX_SECONDS = 20;

const encode = (text: string) => new TextEncoder().encode(text);
const DIGEST = "0".repeat(64);
const CONFIG = encode("{}");
const WEIGHTS = new Uint8Array(CHUNK_BYTES + 5).fill(7);
const ok = (bytes: Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) => new Response(bytes, { headers });
const FOLDER: Record<string, Answer> = { "config.json": ok(CONFIG), "model.safetensors": ok(WEIGHTS) };

let restore = () => {};
/** Whatever nobody has handled ends up here. */
const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));

async function host<T>(answers: Record<string, Answer>, action: (asked: string[]) => Promise<T>): Promise<T> {
  const served = hostOf(answers);
  restore = served.restore;
  const started = performance.now();
  try {
    return await action(served.asked);
  } finally {
    restore();
    assert.ok(performance.now() - started < MAX_SECONDS * 1000, "it takes too long");
  }
}

afterEach(async () => {
  restore();
  mock.timers.reset();
  // A rejection is unhandled once the microtasks are done.
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(unhandled, []);
});

const fails =
  (code: EmbervecErrorCode, ...words: string[]) =>
  (error: unknown) => {
    assert.ok(error instanceof Error, String(error));
    assert.equal(codeOf(error), code, error.message);
    for (const word of words) assert.ok(error.message.includes(word), error.message);
    return true;
  };

test("the weights have the same hash from a host, its manifest, the cache and other pieces, and another one for another bit", async () => {
  const manifest = async (weights: Uint8Array<ArrayBuffer>) => {
    const files = new Map([
      ["config.json", CONFIG],
      ["model.safetensors", weights],
    ]);
    const entries: [string, { size: number; chunks: string[]; sha256: string }][] = [];
    for (const [path, bytes] of files)
      entries.push([path, { size: bytes.byteLength, chunks: await digestsOf(bytes), sha256: DIGEST }]);
    return ok(encode(writeManifest(entries)));
  };
  const cache = new MemoryCache();
  const plain = await host(FOLDER, () => loadPlain(cache));
  assert.match(plain.weights, /^[0-9a-f]{64}$/);
  assert.equal((await loadPlain(cache)).weights, plain.weights);
  const listed = await host({ ...FOLDER, "manifest.json": await manifest(WEIGHTS) }, () =>
    loadPlain(new MemoryCache()),
  );
  assert.equal(listed.weights, plain.weights);
  const other = WEIGHTS.slice();
  other[CHUNK_BYTES + 4]! ^= 1;
  const changed = await host({ ...FOLDER, "model.safetensors": ok(other) }, () => loadPlain(new MemoryCache()));
  assert.notEqual(changed.weights, plain.weights);
});

test("a folder is loaded, stored, and loaded again without a request", async () => {
  const cache = new MemoryCache();
  await host(FOLDER, async (asked) => {
    const { model, cached } = await loadPlain(cache);
    assert.deepEqual(model.get("model.safetensors"), Buffer.from(WEIGHTS));
    assert.equal(cached, false);
    assert.deepEqual([...asked].sort(), [
      "adapter_config.json",
      "config.json",
      "manifest.json",
      "model.safetensors",
      "modules.json",
    ]);
    assert.equal((await loadPlain(cache)).cached, true);
    assert.equal(asked.length, 5);
  });
});

test("a pointer to 10^20 bytes", async () => {
  const pointer = pointerText(DIGEST, "99999999999999999999");
  const pointers = `${BASE}raw/`;
  const load = host({ ...FOLDER, "raw/model.safetensors": ok(encode(pointer)) }, () =>
    loadPlain(new MemoryCache(), { pointers }),
  );
  await assert.rejects(load, fails("integrity", "raw/model.safetensors", "99999999999999999999"));
});

test("a pointer to less than there is", async () => {
  const pointer = pointerText(DIGEST, 3);
  const load = host({ ...FOLDER, "raw/model.safetensors": ok(encode(pointer)) }, () =>
    loadPlain(new MemoryCache(), { pointers: `${BASE}raw/` }),
  );
  await assert.rejects(load, fails("integrity", "SHA-256"));
});

const endlessly = endless(new Uint8Array(64 << 10).fill(32));
const cases: [what: string, answers: Record<string, Answer>, code: EmbervecErrorCode, ...words: string[]][] = [
  ["a small file that does not end", { "config.json": endlessly }, "integrity", `${BASE}config.json`, "more than"],
  [
    "a small file that announces too much",
    { "config.json": endless(CONFIG, 0, { "content-length": "999999999" }) },
    "integrity",
    "more than",
  ],
  ["a manifest that does not end", { "manifest.json": endlessly }, "integrity", `${BASE}manifest.json`, "more than"],
  ["weights that do not end", { "model.safetensors": endlessly }, "integrity", "behind its last tensor"],
  [
    "weights that are a web page",
    { "model.safetensors": ok(CONFIG, { "content-type": "text/html" }) },
    "integrity",
    "web page",
  ],
  ["no weights", { "model.safetensors": undefined }, "model_not_found", `${BASE}model.safetensors`],
  ["no config.json", { "config.json": undefined }, "model_not_found", `${BASE}config.json`],
  ["small files that are refused", { "config.json": new Response(null, { status: 403 }) }, "model_not_found", "403"],
  ["weights that are refused", { "model.safetensors": new Response(null, { status: 403 }) }, "model_not_found", "403"],
  [
    "everything is refused",
    Object.fromEntries(
      ["manifest.json", "modules.json", "config.json", "adapter_config.json", "model.safetensors"].map((path) => [
        path,
        new Response(null, { status: 403 }),
      ]),
    ),
    "unauthorized",
    `${BASE}config.json`,
    "403",
    "headers",
  ],
];
for (const [what, answers, code, ...words] of cases) {
  test(what, async () => {
    const cache = new MemoryCache();
    await assert.rejects(
      host({ ...FOLDER, ...answers }, () => loadPlain(cache)),
      fails(code, ...words),
    );
    assert.deepEqual(
      (await listModels({ cache })).filter(({ complete }) => complete),
      [],
    );
  });
}

test("requests whose answers nobody wants are ended", async () => {
  const ended: string[] = [];
  const watched =
    (path: string): Answer =>
    (signal) => {
      signal.addEventListener("abort", () => ended.push(path));
      return endless(CONFIG, 1)(signal);
    };
  const refused = { "modules.json": watched("modules.json"), "manifest.json": ok(encode("{")) };
  await assert.rejects(
    host({ ...FOLDER, ...refused }, () => loadPlain(new MemoryCache())),
    fails("integrity", "manifest.json"),
  );
  // The manifest does not list it.
  const digests = await digestsOf(CONFIG);
  const manifest = writeManifest([["config.json", { size: 2, chunks: digests, sha256: DIGEST }]]);
  const unlisted = { "modules.json": watched("modules.json"), "manifest.json": ok(encode(manifest)) };
  await assert.rejects(
    host({ ...FOLDER, ...unlisted }, () => loadPlain(new MemoryCache())),
    fails("model_not_found", "manifest.json"),
  );
  // Its weights would go on coming.
  const unsupported = { "config.json": ok(encode("refused")), "model.safetensors": watched("model.safetensors") };
  const load = host({ ...FOLDER, ...unsupported }, () => loadPlain(new MemoryCache()));
  await assert.rejects(load, fails("unsupported_model", "not supported"));
  assert.deepEqual(ended, ["modules.json", "modules.json", "model.safetensors"]);
});

test("progress is in numbers, whatever lengths a host announces", async () => {
  for (const length of ["abc", "-5", "1e400", "Infinity", "1, 2", "", "0x10", "99999999999999999999"]) {
    const events: ProgressEvent[] = [];
    const headers = { "content-length": length };
    const answers = {
      "config.json": ok(CONFIG, headers),
      "model.safetensors": ok(WEIGHTS, headers),
      "manifest.json": undefined,
    };
    await host(answers, () => loadPlain(new MemoryCache(), { progress: (event) => events.push(event) }));
    assert.ok(events.length > 0);
    let before = 0;
    for (const { loaded, total } of events) {
      assert.ok(
        Number.isInteger(loaded) && Number.isInteger(total) && loaded >= before && loaded <= total,
        `${length}: ${loaded} of ${total}`,
      );
      before = loaded;
    }
    assert.equal(events.at(-1)!.loaded, CONFIG.length + WEIGHTS.length);
  }
});

test("the reason that an error has in its cause is told, without what is secret", async () => {
  for (const [cause, expected] of [
    [new Error("Bearer hf_1 is no header"), "fetch failed: … is no header"],
    [Object.assign(new AggregateError([], ""), { code: "ECONNREFUSED" }), "fetch failed: ECONNREFUSED"],
    [undefined, "fetch failed"],
  ] as const) {
    const fetch = async () => {
      throw new TypeError("fetch failed", cause && { cause });
    };
    const body = new Body("https://host.test/a", new AbortController().signal, fetch);
    await assert.rejects(body.open({ Authorization: "Bearer hf_1" }), (error: Error) => {
      assert.ok(error.message.endsWith(`by the option \`fetch\`: ${expected}`), error.message);
      return true;
    });
  }
});

test("an ETag or a date that is empty tells nothing", async () => {
  const cache = new MemoryCache();
  const headers = { etag: "", "last-modified": "" };
  await host({ ...FOLDER, "model.safetensors": ok(WEIGHTS, headers) }, () => loadPlain(cache));
  assert.equal((await listModels({ cache }))[0]?.size, CONFIG.length + WEIGHTS.length);
  await host({}, async () => assert.equal((await loadPlain(cache, { localFilesOnly: true })).cached, true));
});

test("a connection over which almost nothing comes is given up", async () => {
  let clock = 0;
  const now = mock.method(performance, "now", () => clock);
  mock.timers.enable({ apis: ["setTimeout"] });
  const tick = async (ms: number) => {
    clock += ms;
    mock.timers.tick(ms);
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  /** A body that gives so many bytes every ten seconds, read for five minutes. */
  const read = async (bytes: number): Promise<string> => {
    const served = hostOf({ slow: endless(new Uint8Array(bytes), 10_000) });
    restore = served.restore;
    const body = new Body(`${BASE}slow`, new AbortController().signal);
    await body.open({});
    let end = "it goes on";
    const reading = body.bytes(1 << 20).catch((error: Error) => (end = error.message));
    for (let i = 0; i < 30 && end === "it goes on"; i++) await tick(10_000);
    const seen = end;
    body.cancel();
    await tick(10_000);
    await reading;
    return seen;
  };
  assert.match(await read(1), /broke off after \d bytes \(fewer than 1024 bytes came in 30 s\)/);
  assert.match(await read(300), /fewer than 1024 bytes/);
  assert.equal(await read(600), "it goes on");
  now.mock.restore();
});

test("a host, or a caller's fetch, that never answers or never goes on fails in bounded time", async () => {
  const silent = (): HostResponse => ({
    status: 200,
    headers: new Headers(),
    redirected: false,
    read: () => new Promise(() => {}),
  });
  for (const fetch of [() => new Promise<HostResponse>(() => {}), async () => silent()]) {
    let clock = 0;
    const now = mock.method(performance, "now", () => clock);
    mock.timers.enable({ apis: ["setTimeout"] });
    let end: unknown;
    loadPlain(new MemoryCache(), { fetch }).catch((error: unknown) => (end = error));
    while (end === undefined && clock < 1_000_000) {
      clock += 1000;
      mock.timers.tick(1000);
      for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(fails("network", "modules.json", "1024 bytes came in 30 s")(end));
    // Five attempts of 30 s, and four seconds between them.
    assert.ok(clock >= 150_000 && clock < 170_000, `${clock} ms`);
    now.mock.restore();
    mock.timers.reset();
  }
});

/** A model of which the cache says what it likes. */
async function cacheWith(record: Partial<ModelRecord>): Promise<MemoryCache> {
  const cache = new MemoryCache();
  const whole: ModelRecord = {
    name: BASE,
    revision: undefined,
    files: new Map(),
    absent: "others",
    storedAt: 1,
    usedAt: 1,
    ...record,
  };
  await cache.put(`model ${BASE} `, encodeRecord(whole));
  return cache;
}

test("a record that announces gigabytes reserves none of them", async () => {
  const gigabytes = 4 * 2 ** 30;
  const chunks: string[] = Array(gigabytes / CHUNK_BYTES).fill(DIGEST);
  const cache = await cacheWith({ files: new Map([["config.json", { size: gigabytes, version: "-", chunks }]]) });
  assert.ok((await cache.get(`model ${BASE} `))!.byteLength < 600_000, "the record is small");
  const before = process.memoryUsage();
  await assert.rejects(
    host({}, () => loadPlain(cache, { localFilesOnly: true })),
    fails("integrity", "config.json"),
  );
  const after = process.memoryUsage();
  for (const [kind, limit] of [
    ["arrayBuffers", 16 << 20],
    ["rss", 64 << 20],
  ] as const) {
    const grown = after[kind] - before[kind];
    assert.ok(grown < limit, `${kind}: ${grown} bytes`);
  }
  // With the network the model comes as if nothing had been there.
  await host(FOLDER, async () => assert.equal((await loadPlain(cache)).cached, false));
  await host({}, async () => assert.equal((await loadPlain(cache)).cached, true));
});

test("what an earlier version has not looked for is not taken for absent", async () => {
  const cache = new MemoryCache();
  await host(FOLDER, () => loadPlain(cache));
  const key = `model ${BASE} `;
  const record = JSON.parse(new TextDecoder().decode(await cache.get(key)));
  assert.deepEqual(record.absent, ["modules.json", "adapter_config.json"]);
  record.absent = ["modules.json"];
  const old = encode(JSON.stringify(record));
  await cache.put(key, old);
  await assert.rejects(
    host({}, () => loadPlain(cache, { localFilesOnly: true })),
    fails("model_not_found", "adapter_config.json", "earlier version"),
  );
  assert.equal(await isCached(BASE, { cache }), true);
  await host(FOLDER, async (asked) => {
    assert.equal((await loadPlain(cache)).cached, false);
    assert.ok(asked.includes("adapter_config.json"));
    assert.equal((await loadPlain(cache)).cached, true);
  });
});

test("a stored model that is damaged in whatever way is fetched anew", async () => {
  const file = { size: 1, version: "-", chunks: [DIGEST] };
  const records: Partial<ModelRecord>[] = [
    { files: new Map([["config.json", file]]) },
    { files: new Map([["model.safetensors", file]]) },
    {
      files: new Map([
        ["config.json", { size: 0, version: "-", chunks: [] }],
        ["model.safetensors", file],
      ]),
    },
    { files: new Map([["adapter_config.json", file]]), absent: new Set<string>() },
  ];
  for (const record of records) {
    const cache = await cacheWith(record);
    for (const value of [new Uint8Array(1), "text", null]) {
      for (const path of ["config.json", "model.safetensors"])
        await cache.put(chunkKey(BASE, path, "-", 0, DIGEST), value as never);
    }
    await host(FOLDER, async () => assert.equal((await loadPlain(cache)).cached, false));
    await host({}, async () => assert.equal((await loadPlain(cache)).cached, true));
  }
});

test("a folder that wants thousands of files, or one for ever, is refused", async () => {
  const open = (wanted: () => FolderFile[]) => {
    const ignore = () => {};
    const plan = { wanted, put: ignore, found: ignore, absent: ignore, weights: () => [] };
    const from = { base: BASE, pointers: undefined, headers: {}, signal: new AbortController().signal };
    const options = { host: from, dtype: "fp32", progress: ignore } as const;
    return host({}, async (asked) => {
      const error = await openFolder(ModelStore.over(new MemoryCache()), BASE, plan, options).catch((error) => error);
      return { asked: asked.length, error };
    });
  };
  const many = await open(() => Array.from({ length: 3000 }, (_, i) => ({ path: `${i}/config.json`, kind: "small" })));
  assert.ok(fails("unsupported_model", "2048 files")(many.error));
  // No more than the manifest.
  assert.equal(many.asked, 1);
  const forEver = await open(() => [{ path: "config.json", kind: "small" }]);
  assert.ok(fails("internal", "asked for twice")(forEver.error));
});

test("an abort is answered while a host says nothing", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  const silent: Answer = (signal) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  for (const path of ["manifest.json", "config.json", "model.safetensors"]) {
    const loading = host({ ...FOLDER, [path]: silent }, () =>
      loadPlain(new MemoryCache(), { signal: controller.signal }),
    );
    setTimeout(() => controller.abort(reason), 20);
    await assert.rejects(loading, (error) => error === reason);
  }
});
