// Hosts as they are: Node's own fetch against a real server, which answers as static hosts, proxies, CDNs and hubs do.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";

import { gitBlobOf, sha256Of } from "../../pkg/src/cache/sha256.ts";
import { ModelStore, keepFile } from "../../pkg/src/cache/store.ts";
import { codeOf } from "../../pkg/src/errors.ts";
import { CHUNK_BYTES } from "../../pkg/src/limits.ts";
import { exportModel, importModel, listModels } from "../../pkg/src/manage.ts";
import { FetchServer, type HostFetch, portFetch } from "../../pkg/src/model/fetch.ts";
import { writeManifest } from "../../pkg/src/model/manifest.ts";
import { MemoryCache } from "../support/memory-cache.ts";
import {
  type Answer,
  type ModelServer,
  type Sent,
  breaksOff,
  gzips,
  hosts,
  inTurn,
  never,
  pointerTo,
  redirects,
  sends,
  serveModels,
  status,
} from "../support/model-server.ts";
import { type PlainLoad, digestsOf, loadPlain } from "../support/plain-model.ts";
import { temporaryFolder } from "../support/temporary.ts";

const WEIGHTS = "model.safetensors";
/** Two whole chunks: nothing tells that no third one follows. */
const SIZE = 2 * CHUNK_BYTES;
const weights = Buffer.from(Uint8Array.from({ length: SIZE }, (_, i) => i ^ (i >> 8) ^ (i >> 16)));
const config = Buffer.from("{}");
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const PACKED = "model.q8.safetensors";
const packed = Buffer.alloc(1000, 8);

let folder: string;
let manifest: Buffer;

before(async () => {
  folder = await temporaryFolder();
  for (const name of ["m", "listed", "both"]) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, "config.json"), config);
    await writeFile(join(folder, name, "modules.json"), "[]");
    await writeFile(join(folder, name, WEIGHTS), weights);
  }
  const entry = async (bytes: Buffer) => ({
    size: bytes.length,
    sha256: sha256(bytes),
    chunks: await digestsOf(new Uint8Array(bytes)),
  });
  const listed: [string, Awaited<ReturnType<typeof entry>>][] = [
    ["config.json", await entry(config)],
    [WEIGHTS, await entry(weights)],
  ];
  manifest = Buffer.from(writeManifest(listed));
  await writeFile(join(folder, "listed/manifest.json"), manifest);
  await writeFile(join(folder, "both", PACKED), packed);
  await writeFile(join(folder, "both/manifest.json"), writeManifest([...listed, [PACKED, await entry(packed)]]));
});

interface Run {
  server: ModelServer;
  cache: MemoryCache;
  load: (options?: PlainLoad) => Promise<Error | undefined>;
  /** Requests for the weights. */
  asked: () => (string | undefined)[];
}

const HUB = "/owner/name/resolve/main/";

/** A server of its own for each case, so that all of them can wait at the same time. */
async function run(base: string, answers: Record<string, Answer>, action: (run: Run) => Promise<void>): Promise<void> {
  const server = await serveModels(folder, "m");
  for (const [path, answer] of Object.entries(answers)) server.answers.set(path, answer);
  const cache = new MemoryCache();
  const load = async (options: PlainLoad = {}) => {
    const pointers = base === HUB ? `${server.origin}/owner/name/raw/main/` : undefined;
    try {
      const { model } = await loadPlain(cache, {
        base: server.origin + base,
        ...(pointers && { pointers }),
        ...options,
      });
      assert.ok(weights.equals(model.get(WEIGHTS)!), "other bytes than the host's");
      return undefined;
    } catch (error) {
      assert.ok(error instanceof Error && codeOf(error), String(error));
      return error;
    }
  };
  const asked = () => server.requests.filter(({ path }) => path === base + WEIGHTS).map(({ headers }) => headers.range);
  try {
    await action({ server, cache, load, asked });
  } finally {
    await server.close();
  }
}

const html = sends("<!doctype html>", "text/html; charset=utf-8");
const partly: Answer = (response, body) => {
  response.writeHead(206, { "content-range": `bytes 0-0/${body.length + 2}` }).end(Buffer.from("x"));
};

/** How a load ends if a host answers so for one file: an optional one, config.json, weights, manifest, hub's pointer. */
const TABLE: [
  what: string,
  answer: Answer,
  optional: string,
  required: string,
  weights: string,
  manifest: string,
  raw: string,
][] = [
  ["404", status(404), "loads", "model_not_found", "model_not_found", "loads", "loads"],
  ["410", status(410), "loads", "model_not_found", "model_not_found", "loads", "loads"],
  ["204", status(204), "loads", "model_not_found", "model_not_found", "loads", "loads"],
  ["400", status(400), "network", "network", "network", "loads", "loads"],
  ["401", status(401), "unauthorized", "unauthorized", "unauthorized", "loads", "loads"],
  ["403", status(403), "loads", "model_not_found", "model_not_found", "loads", "loads"],
  [
    "403 of a host that is asked too often",
    status(403, { "retry-after": "0" }),
    "network",
    "network",
    "network",
    "loads",
    "loads",
  ],
  ["304", status(304), "network", "network", "network", "loads", "loads"],
  ["429", status(429), "network", "network", "network", "loads", "loads"],
  ["429 for an hour", status(429, { "retry-after": "3600" }), "network", "network", "network", "loads", "loads"],
  ["500", status(500), "network", "network", "network", "loads", "loads"],
  ["a web page", html, "loads", "integrity", "integrity", "loads", "loads"],
  ["a part that nobody asked for", partly, "network", "network", "network", "loads", "loads"],
  ["it breaks off", breaksOff, "network", "network", "network", "loads", "loads"],
  ["it is compressed", gzips, "loads", "loads", "loads", "loads", "loads"],
  ["a redirect to nowhere", redirects("/nowhere"), "loads", "model_not_found", "model_not_found", "loads", "loads"],
];

describe("what a host answers for one file", { concurrency: true }, () => {
  for (const [what, answer, ...outcomes] of TABLE) {
    const paths = [
      "/plain/modules.json",
      "/plain/config.json",
      `/plain/${WEIGHTS}`,
      "/listed/manifest.json",
      `/owner/name/raw/main/${WEIGHTS}`,
    ];
    paths.forEach((path, i) => {
      const base = path.includes("/raw/") ? HUB : path.replace(/[^/]*$/, "");
      test(`${what}: ${path}`, () =>
        run(base, { [path]: answer }, async ({ server, cache, load }) => {
          const error = await load();
          assert.equal(error ? codeOf(error) : "loads", outcomes[i], error?.message);
          if (error) assert.ok(error.message.includes(server.origin + path), error.message);
          // What a load can do without is not asked for again and again.
          const times = server.requests.filter((request) => request.path === path).length;
          assert.ok(i < 3 || times === 1 || (i === 3 && times <= 5), `${times} times`);
          assert.equal((await listModels({ cache })).filter(({ complete }) => complete).length, error ? 0 : 1);
        }));
    });
  }

  for (const code of [401, 403]) {
    test(`${code} for all of a folder`, () => {
      const paths = ["modules.json", "config.json", "adapter_config.json", WEIGHTS, "manifest.json"];
      return run(
        "/plain/",
        Object.fromEntries(paths.map((path) => [`/plain/${path}`, status(code)])),
        async ({ load }) => {
          const error = await load({ headers: { authorization: "Bearer secret-token" } });
          assert.equal(error && codeOf(error), "unauthorized");
          for (const word of [String(code), "log in", "does not exist", "`headers`"])
            assert.ok(error!.message.includes(word), error!.message);
          assert.ok(!error!.message.includes("secret"), error!.message);
        },
      );
    });
  }

  test("a private bucket: 403 for all that is not there", () =>
    run("/listed/", {}, async ({ server, load }) => {
      for (const path of ["modules.json", "adapter_config.json", "manifest.json"])
        server.answers.set(`/listed/${path}`, status(403));
      assert.equal(await load(), undefined);
    }));

  for (const code of [401, 403]) {
    test(`${code} of a hub for one file of many: a login that has run out`, () =>
      run(HUB, { [`${HUB}modules.json`]: status(code) }, async ({ cache, load }) => {
        const error = await load();
        assert.equal(error && codeOf(error), "unauthorized");
        assert.deepEqual(
          (await listModels({ cache })).filter(({ complete }) => complete),
          [],
        );
      }));
  }

  test("404 for a file that the manifest lists", () =>
    run("/listed/", { "/listed/config.json": status(404) }, async ({ load }) => {
      const error = await load();
      assert.ok(
        error && codeOf(error) === "model_not_found" && error.message.includes("manifest.json lists it"),
        error?.message,
      );
    }));

  test("404 once for a file that the manifest lists, as while a folder is deployed", () =>
    run("/listed/", { "/listed/config.json": inTurn(status(404), sends()) }, async ({ load }) => {
      assert.equal(await load(), undefined);
    }));

  test("a small file of a hub that is altered behind its redirect", () =>
    run(
      HUB,
      {
        "/api/resolve-cache/owner/name/config.json": (...args) =>
          hosts({ etag: `"${gitBlobOf(new Uint8Array(config))}"`, alters: () => Buffer.from("[]") })(...args),
      },
      async ({ server, load }) => {
        const error = await load();
        assert.ok(error && codeOf(error) === "integrity" && error.message.includes("config.json"), error?.message);
        assert.deepEqual(
          server.requests.filter(({ path }) => path.startsWith("/owner/name/raw/") && !path.endsWith(WEIGHTS)),
          [],
        );
      },
    ));

  test("a manifest that is none, in plain words", () =>
    run("/plain/", { "/plain/manifest.json": sends("404: Not Found", "text/plain") }, async ({ load }) => {
      assert.equal(await load(), undefined);
    }));

  test("a manifest that never answers, in a folder whose weights only it names", () =>
    run("/listed/", { [`/listed/${WEIGHTS}`]: status(404), "/listed/manifest.json": never }, async ({ load }) => {
      const error = await load();
      assert.equal(error && codeOf(error), "network");
      for (const word of [WEIGHTS, "manifest.json", "not answered in time"])
        assert.ok(error!.message.includes(word), error!.message);
    }));

  test("a manifest that stays away, in a folder whose weights only it names", () =>
    run(
      "/listed/",
      { [`/listed/${WEIGHTS}`]: status(404), "/listed/manifest.json": status(503) },
      async ({ server, load }) => {
        const error = await load();
        assert.equal(error && codeOf(error), "network");
        for (const word of [WEIGHTS, "manifest.json", "503"]) assert.ok(error!.message.includes(word), error!.message);
        // One that comes only after the first load has done without it is used.
        const before = inTurn(...(Array(5).fill(status(503)) as [Answer]), sends());
        server.answers.set("/listed/manifest.json", before);
        server.answers.set(`/listed/${WEIGHTS}`, inTurn(status(404), sends()));
        assert.equal(await load(), undefined);
      },
    ));
});

/** So many pieces, with a pause of 300 ms after each. */
const trickles =
  (pieces: number): Answer =>
  async (response, body) => {
    response.writeHead(200, { "content-length": body.length });
    const step = Math.ceil(body.length / pieces);
    for (let at = 0; at < body.length; at += step) {
      response.write(body.subarray(at, at + step));
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    response.end();
  };

describe("a manifest that comes late is still used", { concurrency: true }, () => {
  for (const [what, answer] of [
    ["503 once", inTurn(status(503), sends())],
    ["over 3.6 s", trickles(12)],
  ] as [string, Answer][]) {
    test(what, () =>
      run("/both/", { "/both/manifest.json": answer }, async ({ server, cache }) => {
        const { model } = await loadPlain(cache, { base: `${server.origin}/both/`, dtype: "q8" });
        assert.ok(model.has(PACKED), [...model.keys()].join());
      }),
    );
  }
});

describe("what only verifies never holds a load up for more than two seconds", () => {
  test("all pointers of a hub together", () => {
    const silent = (path: string): [string, Answer][] => [
      [`/owner/name/raw/main/${path}`, never],
      [`${HUB}${path}`, redirects(`/m/${path}`)],
    ];
    return run(HUB, Object.fromEntries(["modules.json", "config.json", WEIGHTS].flatMap(silent)), async ({ load }) => {
      const started = performance.now();
      assert.equal(await load(), undefined);
      const seconds = (performance.now() - started) / 1000;
      assert.ok(seconds > 1.9 && seconds < 3.5, `${seconds} s`);
    });
  });

  for (const path of ["/listed/manifest.json", `/owner/name/raw/main/${WEIGHTS}`]) {
    test(path, () =>
      run(path.includes("/raw/") ? HUB : "/listed/", { [path]: never }, async ({ load }) => {
        const started = performance.now();
        assert.equal(await load(), undefined);
        const seconds = (performance.now() - started) / 1000;
        assert.ok(seconds > 1.9 && seconds < 4, `${seconds} s`);
      }),
    );
  }
});

/** Stores the first chunks of the weights as a download does that was interrupted. */
async function store(cache: MemoryCache, model: string, version: string, count: number): Promise<void> {
  const chunks = ModelStore.over(cache).file(model, WEIGHTS, version);
  for (let i = 0; i < count; i++) {
    const bytes = new Uint8Array(weights.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES));
    await chunks.write(i, await sha256Of(bytes), bytes);
  }
}

const without =
  (...names: string[]) =>
  ({ headers, ...sent }: Sent): Sent => ({
    ...sent,
    headers: Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name))),
  });
/** The bytes of another place, with or without a word of it. */
const elsewhere =
  (...hidden: string[]) =>
  (sent: Sent, body: Buffer): Sent => {
    const bytes = body.subarray(0, sent.bytes.length);
    const headers = { ...sent.headers, "content-range": `bytes 0-${bytes.length - 1}/${body.length}` };
    return without(...hidden)({ ...sent, headers, bytes });
  };
const compressed = ({ headers, bytes, ...sent }: Sent): Sent => {
  const zipped = gzipSync(bytes);
  return {
    ...sent,
    headers: { ...headers, "content-encoding": "gzip", "content-length": zipped.length },
    bytes: zipped,
  };
};
/** A part of the compressed file, which nobody can read. */
const partOfCompressed = ({ headers, ...sent }: Sent, body: Buffer): Sent => {
  const zipped = gzipSync(body).subarray(1000);
  return {
    ...sent,
    headers: { ...headers, "content-encoding": "gzip", "content-length": zipped.length },
    bytes: zipped,
  };
};
const multipart = ({ headers, bytes, ...sent }: Sent): Sent => {
  const body = Buffer.concat([Buffer.from("--x\r\n\r\n"), bytes]);
  return {
    ...sent,
    headers: {
      "content-type": "multipart/byteranges; boundary=x",
      etag: headers["etag"]!,
      "content-length": body.length,
    },
    bytes: body,
  };
};
const dated =
  (etag: string) =>
  (sent: Sent): Sent => ({
    ...sent,
    headers: { ...sent.headers, etag, "last-modified": "Thu, 26 Nov 2026 00:00:00 GMT" },
  });
const onlyDated = (sent: Sent): Sent => without("etag")(dated("")(sent));
const short = ({ headers, ...sent }: Sent, body: Buffer): Sent => {
  const [, from = ""] = /^bytes (\d+)-/.exec(String(headers["content-range"]))!;
  const bytes = sent.bytes.subarray(0, 1000);
  const end = Number(from) + bytes.length;
  return {
    ...sent,
    headers: { ...headers, "content-length": bytes.length, "content-range": `bytes ${from}-${end - 1}/${body.length}` },
    bytes,
  };
};

const V = { etag: '"v"' };
/** How a host answers the rest of a file after its connection has dropped in the middle. */
const RANGES: [what: string, first: Answer, then: Answer][] = [
  ["a range", hosts({ ...V, dropsAfter: SIZE / 2 + 99 }), hosts(V)],
  ["200 for a range", hosts({ ...V, dropsAfter: SIZE / 2 + 99 }), hosts({ ...V, ranges: false })],
  ["another range", hosts({ ...V, dropsAfter: SIZE / 2 + 99 }), hosts({ ...V, part: elsewhere() })],
  [
    "another range of hidden place",
    hosts({ ...V, dropsAfter: SIZE / 2 + 99 }),
    hosts({ ...V, part: elsewhere("content-range") }),
  ],
  [
    "a range of hidden place",
    hosts({ ...V, dropsAfter: SIZE / 2 + 99 }),
    hosts({ ...V, part: without("content-range") }),
  ],
  ["a compressed part", hosts({ ...V, dropsAfter: SIZE / 2 + 99 }), hosts({ ...V, part: compressed })],
  ["a part of what is compressed", hosts({ ...V, dropsAfter: SIZE / 2 + 99 }), hosts({ ...V, part: partOfCompressed })],
  ["several parts", hosts({ ...V, dropsAfter: SIZE / 2 + 99 }), hosts({ ...V, part: multipart })],
  ["shorter parts than asked for", hosts({ ...V, dropsAfter: SIZE - 2500 }), hosts({ ...V, part: short })],
  [
    "416 for all ranges",
    hosts({ ...V, dropsAfter: SIZE / 2 + 99 }),
    hosts({ ...V, part: (sent) => ({ ...sent, status: 416 }) }),
  ],
  [
    "an ETag that tells how it is compressed",
    hosts({ dropsAfter: SIZE / 2 + 99, etag: '"v-gzip"' }),
    hosts({ etag: '"v"' }),
  ],
  [
    "an ETag that compressing has weakened",
    hosts({ dropsAfter: SIZE / 2 + 99, whole: dated('W/"v"') }),
    hosts({ part: dated('"v"') }),
  ],
  ["a strong ETag, then a weak one", hosts({ dropsAfter: SIZE / 2 + 99, etag: '"v"' }), hosts({ etag: 'W/"v"' })],
  ["a date and nothing else", hosts({ dropsAfter: SIZE / 2 + 99, whole: onlyDated }), hosts({ part: onlyDated })],
  [
    "a file that has changed",
    hosts({ dropsAfter: SIZE / 2 + 99, etag: '"old"', alters: (bytes) => bytes.fill(1) }),
    hosts(V),
  ],
  ["a redirect", inTurn(hosts({ ...V, dropsAfter: SIZE / 2 + 99 }), redirects(`/m/${WEIGHTS}`)), hosts(V)],
];

describe("the rest of a file", { concurrency: true }, () => {
  for (const base of ["/plain/", "/listed/", HUB]) {
    for (const [what, first, then] of RANGES) {
      test(`${what}: ${base}`, () =>
        run(base, { [base + WEIGHTS]: inTurn(first, then), [`/m/${WEIGHTS}`]: hosts(V) }, async ({ load }) => {
          assert.equal((await load())?.message, undefined);
        }));
    }
  }

  test("on a line that drops two parts in a row: ranges are tried again", () => {
    const dies: Answer = (response, body, request) => {
      const [, from = "0"] = /bytes=(\d+)-/.exec(request.headers.range ?? "") ?? [];
      response.writeHead(206, {
        etag: '"v"',
        "content-range": `bytes ${from}-${body.length - 1}/${body.length}`,
        "content-length": body.length - Number(from),
      });
      response.flushHeaders();
      setTimeout(() => response.destroy(), 50);
    };
    const drops = (dropsAfter: number) => hosts({ ...V, dropsAfter });
    const answers = {
      [`/plain/${WEIGHTS}`]: inTurn(drops(SIZE / 2 + 99), dies, dies, drops(SIZE / 2 + 9999), hosts(V)),
    };
    return run("/plain/", answers, async ({ load, asked }) => {
      assert.equal(await load(), undefined);
      assert.equal(asked().length, 5);
      assert.equal(asked()[3], undefined);
      assert.ok(asked()[4], `${asked()}`);
    });
  });

  test("goes on after a login that has run out in the middle", () => {
    const first = hosts({ ...V, dropsAfter: SIZE / 2 + 99 });
    return run("/plain/", { [`/plain/${WEIGHTS}`]: inTurn(first, status(401), hosts(V)) }, async ({ load, asked }) => {
      const error = await load();
      assert.equal(error && codeOf(error), "unauthorized");
      assert.equal(await load(), undefined);
      assert.ok(asked()[2], `${asked()}`);
    });
  });

  test("goes on where a hub's pointer does not come any more", () =>
    run(
      HUB,
      { [`/owner/name/raw/main/${WEIGHTS}`]: status(429), [HUB + WEIGHTS]: hosts(V) },
      async ({ server, cache, load, asked }) => {
        await store(cache, `${server.origin}${HUB}`, sha256(weights), 1);
        assert.equal(await load(), undefined);
        assert.deepEqual(asked(), [`bytes=${CHUNK_BYTES}-`]);
      },
    ));

  test("of a host whose machines disagree: anew once, as a whole", () => {
    let machine = 0;
    const disagree = hosts({ etag: () => `"machine ${(machine += 1)}"` });
    const answers = {
      [`/plain/${WEIGHTS}`]: inTurn(hosts({ etag: '"machine 0"', dropsAfter: SIZE / 2 + 99 }), disagree),
    };
    return run("/plain/", answers, async ({ load, asked }) => {
      assert.equal(await load(), undefined);
      assert.equal(asked().length, 3);
      assert.equal(asked()[2], undefined);
    });
  });

  test("of a file that changes each time: no more than once anew", () => {
    let version = 0;
    const answer = hosts({ etag: () => `"${(version += 1)}"`, dropsAfter: SIZE / 2 + 99 });
    return run("/plain/", { [`/plain/${WEIGHTS}`]: answer }, async ({ load, asked }) => {
      const error = await load();
      assert.equal(error && codeOf(error), "network");
      assert.ok(error!.message.includes("changed"), error!.message);
      assert.equal(asked().length, 4);
    });
  });

  test("progress never goes back, though the load begins anew", () => {
    let version = 0;
    const changes = inTurn(
      hosts({ etag: '"old"', dropsAfter: SIZE / 2 + 99 }),
      hosts({ etag: () => `"${Math.max(1, version++)}"` }),
    );
    return run("/plain/", { [`/plain/${WEIGHTS}`]: changes }, async ({ load }) => {
      const told: { loaded: number; total: number }[] = [];
      assert.equal(await load({ progress: ({ loaded, total }) => told.push({ loaded, total }) }), undefined);
      assert.deepEqual(
        told,
        [...told].sort((a, b) => a.loaded - b.loaded || a.total - b.total),
      );
      assert.equal(told.at(-1)!.loaded, told.at(-1)!.total);
    });
  });
});

describe("a file of which all is stored, and nobody knows", { concurrency: true }, () => {
  const ends: [what: string, answer: Answer][] = [
    ["a range, or 416 with the size", hosts(V)],
    ["a range, or 416 without a word", hosts({ ...V, part: without("content-range") })],
    [
      "416 without a word for every range",
      hosts({ ...V, part: () => ({ status: 416, headers: {}, bytes: Buffer.alloc(0) }) }),
    ],
    [
      "416, and compressed",
      hosts({ ...V, whole: compressed, part: () => ({ status: 416, headers: {}, bytes: Buffer.alloc(0) }) }),
    ],
    ["an empty part", hosts({ ...V, part: (sent) => ({ ...sent, status: 206, headers: { etag: '"v"' } }) })],
    ["200 for a range", hosts({ ...V, ranges: false })],
  ];
  for (const [what, answer] of ends) {
    test(what, () =>
      run("/plain/", { [`/plain/${WEIGHTS}`]: answer }, async ({ server, cache, load, asked }) => {
        await store(cache, `${server.origin}/plain/`, '"v"', 2);
        assert.equal((await load())?.message, undefined);
        assert.ok(asked().length <= 4, `${asked()}`);
      }),
    );
  }

  test("an older version of it", () =>
    run("/plain/", { [`/plain/${WEIGHTS}`]: hosts(V) }, async ({ server, cache, load }) => {
      const bytes = new Uint8Array(CHUNK_BYTES).fill(1);
      await ModelStore.over(cache)
        .file(`${server.origin}/plain/`, WEIGHTS, '"old"')
        .write(0, await sha256Of(bytes), bytes);
      assert.equal(await load(), undefined);
    }));
});

describe("pins", { concurrency: true }, () => {
  const good = new Map([
    ["config.json", sha256(config)],
    [WEIGHTS, sha256(weights)],
  ]);
  for (const base of ["/plain/", "/listed/", HUB]) {
    test(`that match: ${base}`, () =>
      run(base, {}, async ({ server, load }) => {
        assert.equal(await load({ integrity: good }), undefined);
        server.requests.length = 0;
        assert.equal(await load({ integrity: good, localFilesOnly: true }), undefined);
        assert.deepEqual(server.requests, []);
      }));
    for (const path of ["config.json", WEIGHTS]) {
      test(`another ${path}: ${base}`, () =>
        run(base, {}, async ({ server, cache, load }) => {
          const integrity = new Map([...good, [path, "0".repeat(64)]]);
          const error = await load({ integrity });
          assert.equal(error && codeOf(error), "integrity");
          assert.ok(
            error!.message.includes(server.origin + base + path) && error!.message.includes("`integrity`"),
            error!.message,
          );
          assert.deepEqual(
            (await listModels({ cache })).filter(({ complete }) => complete),
            [],
          );
          // What is stored is measured by the pins, too.
          assert.equal(await load(), undefined);
          const stored = await load({ integrity, localFilesOnly: true });
          assert.equal(stored && codeOf(stored), "integrity");
          assert.equal(await load({ integrity: good, localFilesOnly: true }), undefined);
          const fetched = await load({ integrity });
          assert.equal(fetched && codeOf(fetched), "integrity");
          // What others have stored is still there for them.
          assert.equal(await load({ localFilesOnly: true }), undefined);
        }));
    }
    test(`a file that is not there: ${base}`, () =>
      run(base, {}, async ({ load }) => {
        for (const path of ["adapter_config.json", "no.such"]) {
          const error = await load({ integrity: new Map([[path, "0".repeat(64)]]) });
          assert.equal(error && codeOf(error), "integrity");
          assert.ok(error!.message.includes(path) && error!.message.includes("does not have it"), error!.message);
        }
      }));
  }

  test("a manifest", () =>
    run("/listed/", {}, async ({ server, cache, load }) => {
      const response = await fetch(`${server.origin}/listed/manifest.json`);
      const integrity = new Map([["manifest.json", sha256(new Uint8Array(await response.arrayBuffer()))]]);
      assert.equal(await load({ integrity }), undefined);
      assert.equal(await load({ integrity, localFilesOnly: true }), undefined);
      await cache.delete("");
      server.answers.set(
        "/listed/manifest.json",
        sends((body) => Buffer.concat([body, Buffer.from("\n")])),
      );
      const other = await load({ integrity });
      assert.equal(other && codeOf(other), "integrity");
      server.answers.set("/listed/manifest.json", status(404));
      const gone = await load({ integrity });
      assert.ok(gone && codeOf(gone) === "integrity" && gone.message.includes("does not have it"), gone?.message);
    }));

  const altered = hosts({ ...V, alters: (bytes) => bytes.fill(1) });
  const stepsAround: [what: string, answer: Answer, error: string | undefined][] = [
    ["503 once", inTurn(status(503), sends()), "integrity"],
    ["404 once", inTurn(status(404), sends()), "integrity"],
    ["403 once", inTurn(status(403), sends()), "unauthorized"],
    ["plain words", sends("404: Not Found", "text/plain"), "integrity"],
    ["a web page", html, "integrity"],
  ];
  for (const [what, answer, code] of stepsAround) {
    test(`a pinned manifest is not done without: ${what}`, () =>
      run("/listed/", { "/listed/manifest.json": answer, [`/listed/${WEIGHTS}`]: altered }, async ({ cache, load }) => {
        const error = await load({ integrity: new Map([["manifest.json", sha256(manifest)]]) });
        assert.equal(error && codeOf(error), code);
        assert.deepEqual(
          (await listModels({ cache })).filter(({ complete }) => complete),
          [],
        );
      }));
  }

  test("a manifest that needs a second attempt", () =>
    run("/listed/", { "/listed/manifest.json": inTurn(status(503), sends()) }, async ({ load }) => {
      assert.equal(await load({ integrity: new Map([["manifest.json", sha256(manifest)]]) }), undefined);
    }));

  test("weights in 8 bits do not step around a pin of the weights that they are made of", () =>
    run("/both/", {}, async ({ server, load }) => {
      const zeros = "0".repeat(64);
      const pinned = async (integrity: [string, string][]) => {
        const loaded = await loadPlain(new MemoryCache(), {
          base: `${server.origin}/both/`,
          dtype: "q8",
          integrity: new Map(integrity),
        }).catch((error: unknown) => codeOf(error));
        return typeof loaded === "string" || loaded === undefined
          ? loaded
          : [...loaded.model.keys()].filter((path) => path.endsWith(".safetensors")).join();
      };
      assert.equal(await pinned([[WEIGHTS, zeros]]), "integrity");
      assert.equal(
        await pinned([
          [WEIGHTS, zeros],
          [PACKED, sha256(packed)],
        ]),
        "integrity",
      );
      assert.equal(
        await pinned([
          [WEIGHTS, sha256(weights)],
          [PACKED, sha256(packed)],
        ]),
        PACKED,
      );
      assert.equal(await pinned([[PACKED, sha256(packed)]]), PACKED);
      assert.equal((await load({ integrity: new Map([[PACKED, zeros]]) }))?.message.includes(PACKED), true);
    }));

  test("files that the load does not use are compared, too", () =>
    run(
      "/plain/",
      { "/plain/README.md": sends("read me"), "/plain/adapter_config.json": status(404) },
      async ({ load }) => {
        for (const localFilesOnly of [false, true]) {
          assert.equal(
            await load({ integrity: new Map([["README.md", sha256(Buffer.from("read me"))]]), localFilesOnly }),
            undefined,
          );
        }
        const error = await load({ integrity: new Map([["README.md", "0".repeat(64)]]) });
        assert.equal(error && codeOf(error), "integrity");
      },
    ));

  test("a wrong pin of a small file is known after two answers, or one that the manifest knows", async () => {
    for (const [base, times] of [
      ["/plain/", 2],
      ["/listed/", 1],
    ] as const) {
      await run(base, {}, async ({ server, load }) => {
        const error = await load({ integrity: new Map([["config.json", "0".repeat(64)]]) });
        assert.equal(error && codeOf(error), "integrity");
        assert.equal(server.requests.filter(({ path }) => path === `${base}config.json`).length, times);
      });
    }
  });

  test("that have been compared with what is stored need not be again", () =>
    run("/plain/", {}, async ({ cache, load }) => {
      assert.equal(await load(), undefined);
      assert.equal(await load({ integrity: good, localFilesOnly: true }), undefined);
      const [key = ""] = await cache.keys("model ");
      const { integrity } = JSON.parse(new TextDecoder().decode(await cache.get(key)));
      assert.deepEqual(new Map(integrity), good);
    }));

  test("that cannot be compared without the network leave the stored model as it is", () =>
    run("/plain/", {}, async ({ server, cache }) => {
      const base = `${server.origin}/plain/`;
      const store = ModelStore.over(cache);
      const record = { name: base, revision: undefined, absent: "others" as const, storedAt: 1, usedAt: 1 };
      const files = new Map([
        ["config.json", await keepFile(store, `${base}#q8`, "config.json", config)],
        [PACKED, await keepFile(store, `${base}#q8`, PACKED, packed)],
      ]);
      await store.commit(`${base}#q8`, { ...record, files });
      await server.stop();
      await assert.rejects(
        loadPlain(cache, { base, dtype: "q8", integrity: good }),
        (error) => codeOf(error) === "network",
      );
      assert.equal((await loadPlain(cache, { base, dtype: "q8" })).cached, true);
      await server.start();
    }));

  test("a wrong one, while another tab reads the stored model", () =>
    run("/listed/", {}, async ({ server, cache, load }) => {
      const base = `${server.origin}/listed/`;
      assert.equal(await load(), undefined);
      let read = () => {};
      const reading = new Promise<void>((resolve) => (read = resolve));
      let goOn = () => {};
      const gone = new Promise<void>((resolve) => (goOn = resolve));
      const slow = new MemoryCache();
      for (const method of ["keys", "put", "delete"] as const)
        slow[method] = (cache[method] as (...args: unknown[]) => never).bind(cache);
      slow.get = async (key) => {
        if (key.includes(WEIGHTS)) {
          read();
          await gone;
        }
        return cache.get(key);
      };
      const other = loadPlain(slow, { base });
      await reading;
      // The other one notes its use of the model when this one has begun to fetch it.
      server.answers.set("/listed/manifest.json", (response, body) => {
        goOn();
        void other.then(() => response.end(body));
      });
      const error = await load({ integrity: new Map([[WEIGHTS, "0".repeat(64)]]) });
      assert.equal(error && codeOf(error), "integrity");
      assert.equal(await load({ localFilesOnly: true }), undefined);
    }));

  test("of the manifest of an archive", () =>
    run("/listed/", {}, async ({ server, cache, load }) => {
      assert.equal(await load(), undefined);
      const base = `${server.origin}/listed/`;
      const archive = await exportModel(base, { cache });
      const size = Number.parseInt(await archive.slice(124, 135).text(), 8);
      const list = new Uint8Array(await archive.slice(512, 512 + size).arrayBuffer());
      await cache.delete("");
      await importModel(base, archive, { cache });
      assert.equal(
        await load({ integrity: new Map([["manifest.json", sha256(list)]]), localFilesOnly: true }),
        undefined,
      );
      const error = await load({ integrity: new Map([["manifest.json", "0".repeat(64)]]), localFilesOnly: true });
      assert.equal(error && codeOf(error), "integrity");
    }));

  test("a pointer to something else is refused before the file comes", () =>
    run(HUB, { [`/owner/name/raw/main/${WEIGHTS}`]: sends(pointerTo(config)) }, async ({ load }) => {
      const error = await load({ integrity: good });
      assert.equal(error && codeOf(error), "integrity");
    }));
});

/** A caller's function behind a port, as the worker has it. */
async function through(fetch: typeof globalThis.fetch, action: (fetch: HostFetch) => Promise<void>): Promise<void> {
  const served = new FetchServer(fetch);
  try {
    await action(portFetch(served.port));
  } finally {
    served.close();
    served.port.close();
  }
}

describe("a caller's fetch", { concurrency: true }, () => {
  test("is asked for every file, with headers and credentials", () =>
    run(HUB, {}, async ({ server, load }) => {
      const calls: RequestInit[] = [];
      const own: typeof globalThis.fetch = (url, init = {}) => {
        calls.push(init);
        return globalThis.fetch(url, init);
      };
      await through(own, async (fetch) =>
        assert.equal(await load({ fetch, headers: { "x-a": "b" }, credentials: "include" }), undefined),
      );
      // A redirect is followed by the platform.
      const asked = server.requests.filter(({ path }) => !path.startsWith("/api/"));
      assert.equal(calls.length, asked.length);
      for (const { credentials } of calls) assert.equal(credentials, "include");
      for (const { headers } of server.requests) assert.equal(headers["x-a"], "b");
    }));

  test("gives bytes of its own", () =>
    run("/plain/", {}, async ({ server, load }) => {
      const own = async (url: unknown) => {
        if (String(url).endsWith(WEIGHTS)) return new Response(new Uint8Array(weights));
        return String(url).endsWith("/config.json") ? new Response("{}") : new Response(null, { status: 404 });
      };
      await through(own as typeof globalThis.fetch, async (fetch) => assert.equal(await load({ fetch }), undefined));
      assert.deepEqual(server.requests, []);
    }));

  const failures: [what: string, fetch: unknown, code: string, word: string][] = [
    [
      "throws",
      () => {
        throw new Error("no key: Bearer secret");
      },
      "network",
      "no key",
    ],
    ["rejects", () => Promise.reject(new Error("no key: Bearer secret")), "network", "no key"],
    ["gives no Response", async () => ({ ok: true }), "invalid_input", "`fetch`"],
    ["gives nothing", async () => undefined, "invalid_input", "`fetch`"],
    [
      "gives text for bytes",
      async () => new Response(new ReadableStream({ start: (stream) => stream.enqueue("text") })),
      "invalid_input",
      "bytes",
    ],
    [
      "gives a body that fails",
      async () => new Response(new ReadableStream({ start: (stream) => stream.error(new Error("gone")) })),
      "network",
      "gone",
    ],
  ];
  for (const [what, own, code, word] of failures) {
    test(`that ${what}`, () =>
      through(own as typeof globalThis.fetch, (fetch) =>
        run("/plain/", {}, async ({ load }) => {
          const error = await load({ fetch, headers: { authorization: "Bearer secret" } });
          assert.equal(error && codeOf(error), code, error?.message);
          assert.ok(error!.message.includes(word), error!.message);
          // Nor in what goes to the page as its cause.
          for (let said: unknown = error; said instanceof Error; said = said.cause)
            assert.ok(!said.message.includes("secret"), said.message);
        }),
      ));
  }

  for (const what of ["an answer", "a body"]) {
    test(`that ignores the signal and never gives ${what}: an abort is answered at once`, () => {
      const own = async () =>
        what === "a body" ? new Response(new ReadableStream({})) : new Promise<Response>(() => {});
      return through(own, (fetch) =>
        run("/plain/", {}, async ({ server, cache }) => {
          const controller = new AbortController();
          const reason = new Error("enough");
          const loading = loadPlain(cache, { base: `${server.origin}/plain/`, fetch, signal: controller.signal });
          setTimeout(() => controller.abort(reason), 50);
          const started = performance.now();
          await assert.rejects(loading, (error) => error === reason);
          assert.ok(performance.now() - started < 500);
        }),
      );
    });
  }

  test("is told when its answer is not wanted any more", async () => {
    let isAborted = false;
    let isCancelled = false;
    const body = new ReadableStream({
      pull: (stream) => stream.enqueue(new Uint8Array(9)),
      cancel: () => void (isCancelled = true),
    });
    const own: typeof globalThis.fetch = async (_, init) => {
      init!.signal!.addEventListener("abort", () => (isAborted = true));
      return new Response(body);
    };
    await through(own, async (fetch) => {
      const controller = new AbortController();
      const response = await fetch("https://host.test/", { signal: controller.signal });
      assert.equal((await response.read())?.byteLength, 9);
      controller.abort();
      for (let i = 0; i < 50 && !isCancelled; i++) await new Promise((resolve) => setTimeout(resolve, 10));
      assert.ok(isAborted && isCancelled);
    });
  });

  test("gives a large piece, of which one after the other is sent", async () => {
    const large = new Uint8Array(3 << 20).fill(5);
    await through(
      async () => new Response(large),
      async (fetch) => {
        const response = await fetch("https://host.test/", {});
        let size = 0;
        for (let piece = await response.read(); piece; piece = await response.read()) {
          assert.ok(piece.byteLength <= 256 << 10 && piece.buffer.byteLength === piece.byteLength);
          size += piece.byteLength;
        }
        assert.equal(size, large.length);
      },
    );
  });
});

test("a drive of Windows is none of a page's addresses, and is not asked for", async () => {
  // A browser's `fetch` refuses its scheme as if the network had failed.
  const base = "c:/models/x/";
  await assert.rejects(loadPlain(new MemoryCache(), { base }), (error: Error) => {
    assert.equal(codeOf(error), "invalid_input");
    assert.match(error.message, /^c:\/models\/x\/\S+ cannot be fetched, because it begins with c:/);
    return true;
  });
});
