// Downloads that are interrupted, altered or slow: what has come is kept, nothing wrong is used, and the model loads in the end.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import type { Page } from "playwright-core";

import { openPage, type TestPage } from "../support/browser.ts";
import { deleteStored, load, storedKeys } from "../support/load.ts";
import { CHUNK_BYTES, writeManifest } from "../support/manifest.ts";
import {
  type Answer,
  brotlis,
  gzips,
  hosts,
  inTurn,
  type ModelServer,
  sends,
  serveModels,
  stalls,
  status,
} from "../support/model-server.ts";
import { randomModels } from "../support/random-model.ts";

const WEIGHTS = "model.safetensors";
/** Of a response that is broken off the bytes on their way are lost, at most what the connection's buffers hold. */
const BUFFERS = 1 << 20;
/** 13 MB/s. At the speed of this machine's own network buffers hold half of the file. */
const speed = 128 << 10;

let server: ModelServer;
let browser: TestPage;
let size: number;
let goodVector: number[];

/** What the page knows of the weights before they come, by the folder's address. */
const FOLDERS: Record<string, string> = {
  "a manifest": "/big/",
  "a hub's pointer": "/owner/name/resolve/main/",
  "an ETag": "/plain/",
};

before(async () => {
  const models = join(
    await randomModels({ big: { hidden_size: 384, num_attention_heads: 12, intermediate_size: 1536 } }),
    "models",
  );
  ({ size } = await stat(join(models, "big", WEIGHTS)));
  assert.ok(size > 20 * CHUNK_BYTES, `${size} bytes`);
  await writeManifest(join(models, "big"));
  server = await serveModels(models, "big");
  browser = await openPage({ connectTo: server.origin });
  const { vector, error } = await load(browser.page, `${server.origin}/big/`);
  assert.ok(vector, error?.message);
  goodVector = vector;
  server.requests.length = 0;
  await deleteStored(browser.page);
});
afterEach(async () => {
  server.answers.clear();
  server.requests.length = 0;
  await deleteStored(browser.page);
});
after(async () => {
  await browser.close();
  await server.close();
});

const loadFrom = (page: Page, folder: string, options: object = {}) =>
  folder.startsWith("/owner/")
    ? load(page, "owner/name", { hub: server.origin, ...options })
    : load(page, server.origin + folder, options);

async function assertLoads(folder: string, page = browser.page): Promise<void> {
  const { vector, error } = await loadFrom(page, folder);
  assert.deepEqual(vector, goodVector, error?.message);
}

/** Bytes of the weights that the server has sent. */
function sent(): number {
  const ofWeights = server.requests.filter(({ path }) => path.endsWith(WEIGHTS) && !path.includes("/raw/"));
  return ofWeights.reduce((sum, { sent }) => sum + sent, 0);
}

const answerWeights = (folder: string, answer: Answer) => server.answers.set(folder + WEIGHTS, answer);

/** In another tab, as after a reload: nothing is in memory. */
async function inNewTab(action: (page: Page) => Promise<void>): Promise<void> {
  const page = await browser.openTab();
  await action(page);
  await page.close();
}

for (const [knowledge, folder] of Object.entries(FOLDERS)) {
  describe(`with ${knowledge}`, () => {
    for (let tenths = 1; tenths < 10; tenths++) {
      test(`a connection that drops after ${10 * tenths} % goes on where it was`, async () => {
        const dropsAfter = Math.floor((size * tenths) / 10);
        answerWeights(folder, inTurn(hosts({ dropsAfter, speed }), hosts({ speed })));
        await assertLoads(folder);
        assert.ok(sent() < size + BUFFERS, `${sent()} of ${size} bytes`);
        assert.ok(server.requests.some(({ headers }) => headers.range !== undefined));
      });
    }

    test("a host that goes away at the half: a new page fetches the other half", async () => {
      answerWeights(folder, inTurn(hosts({ dropsAfter: size >> 1, speed }), status(503)));
      const { error } = await loadFrom(browser.page, folder);
      assert.equal(error?.code, "network", error?.message);
      assert.ok(error.message.includes("503") && error.message.includes(WEIGHTS), error.message);
      assert.deepEqual((await storedKeys(browser.page)).models, []);
      server.requests.length = 0;
      answerWeights(folder, hosts());
      await inNewTab((page) => assertLoads(folder, page));
      assert.ok(sent() < size / 2 + BUFFERS, `${(100 * sent()) / size} %`);
    });

    test("a host without ranges", async () => {
      answerWeights(
        folder,
        inTurn(hosts({ dropsAfter: size >> 1, ranges: false, speed }), hosts({ ranges: false, speed })),
      );
      await assertLoads(folder);
      assert.ok(sent() < 1.5 * size + BUFFERS, `${sent()} bytes`);
    });

    test("a host without ranges, from a page to the next", async () => {
      answerWeights(folder, inTurn(hosts({ dropsAfter: size >> 1, ranges: false }), status(404)));
      await loadFrom(browser.page, folder);
      answerWeights(folder, hosts({ ranges: false }));
      await inNewTab((page) => assertLoads(folder, page));
    });

    test("429, then 503, then the file", async () => {
      answerWeights(folder, inTurn(status(429, { "retry-after": "1" }), status(503), hosts()));
      const started = performance.now();
      await assertLoads(folder);
      assert.ok(performance.now() - started > 1000, "the host asked for a second");
    });

    test("an abort keeps what has come", async () => {
      answerWeights(folder, inTurn(hosts({ dropsAfter: size >> 1, speed }), stalls));
      const rejects = browser.page.evaluate(
        async ({ model, options, half }) => {
          const address = "/pkg/dist/index.js";
          const { Embedder } = await import(address);
          const controller = new AbortController();
          const reason = new Error("enough");
          const progress = ({ loaded }: { loaded: number }) => {
            if (loaded > half) controller.abort(reason);
          };
          return Embedder.load(model, { dtype: "fp32", ...options, signal: controller.signal, progress }).then(
            () => "it loads",
            (error: unknown) => (error === reason ? "the signal's reason" : String(error)),
          );
        },
        {
          model: folder.startsWith("/owner/") ? "owner/name" : server.origin + folder,
          options: folder.startsWith("/owner/") ? { hub: server.origin } : {},
          half: size / 2 - CHUNK_BYTES,
        },
      );
      assert.equal(await rejects, "the signal's reason");
      server.requests.length = 0;
      answerWeights(folder, hosts());
      await assertLoads(folder);
      assert.ok(sent() < size / 2 + CHUNK_BYTES + BUFFERS, `${(100 * sent()) / size} %`);
    });

    test("a model in 8 bits is made while its weights come, and they go on, too", async () => {
      answerWeights(folder, inTurn(hosts({ dropsAfter: size >> 1, speed }), status(503)));
      assert.equal((await loadFrom(browser.page, folder, { dtype: "q8" })).error?.code, "network");
      server.requests.length = 0;
      answerWeights(folder, hosts());
      const { vector, error } = await loadFrom(browser.page, folder, { dtype: "q8" });
      assert.ok(vector, error?.message);
      assert.ok(sent() < size / 2 + BUFFERS, `${(100 * sent()) / size} %`);
      const { models, chunks } = await storedKeys(browser.page);
      assert.equal(models.length, 1);
      assert.deepEqual(
        chunks.filter((key) => !key.includes("#q8 ")),
        [],
      );
    });
  });
}

describe("bytes that were altered", () => {
  const flipped = (at: number) =>
    hosts({
      speed,
      alters: (bytes, from) => {
        if (at >= from && at < from + bytes.length) bytes[at - from]! ^= 1;
        return bytes;
      },
    });

  test("once, on their way: the chunk is fetched again", async () => {
    answerWeights("/big/", inTurn(flipped(size >> 2), hosts({ speed })));
    await assertLoads("/big/");
    assert.ok(sent() < size + BUFFERS + CHUNK_BYTES, `${sent()} bytes`);
  });

  test("always: an error names the place, and nothing else is lost", async () => {
    answerWeights("/big/", flipped(size - 5));
    const { error } = await loadFrom(browser.page, "/big/");
    assert.equal(error?.code, "integrity", error?.message);
    const start = Math.floor((size - 5) / CHUNK_BYTES) * CHUNK_BYTES;
    for (const word of [`${server.origin}/big/${WEIGHTS}`, `${start}`, "SHA-256"])
      assert.ok(error.message.includes(word), error.message);
    server.requests.length = 0;
    answerWeights("/big/", hosts());
    await assertLoads("/big/");
    assert.ok(sent() < 3 * CHUNK_BYTES, `${sent()} bytes`);
  });

  test("of a hub's file: an error, and the next load is right", async () => {
    answerWeights("/owner/name/resolve/main/", flipped(size >> 2));
    const { error } = await loadFrom(browser.page, "/owner/name/");
    assert.equal(error?.code, "integrity", error?.message);
    assert.ok(error.message.includes("SHA-256"), error.message);
    server.answers.clear();
    await assertLoads("/owner/name/");
  });

  test("of a small file", async () => {
    // The hub gives the hash of the file as it should be.
    const altered: Answer = (response, body, request) => {
      const blob = createHash("sha1").update(`blob ${body.length}\0`).update(body).digest("hex");
      hosts({ etag: `"${blob}"`, alters: (bytes) => Buffer.from(bytes.toString().replace("176", "177")) })(
        response,
        body,
        request,
      );
    };
    for (const folder of ["/big/", "/owner/name/resolve/main/"]) {
      server.answers.set(`${folder}config.json`, altered);
      const { error } = await loadFrom(browser.page, folder);
      assert.equal(error?.code, "integrity", error?.message);
      assert.ok(error.message.includes(`${folder}config.json`), error.message);
      server.answers.clear();
      await assertLoads(folder);
      await deleteStored(browser.page);
    }
  });

  test("a file that has changed between two pages is fetched from its beginning", async () => {
    answerWeights(
      "/plain/",
      inTurn(hosts({ dropsAfter: size >> 1, etag: '"old"', alters: (bytes) => bytes.fill(1) }), status(404)),
    );
    await loadFrom(browser.page, "/plain/");
    answerWeights("/plain/", hosts({ etag: '"new"' }));
    await assertLoads("/plain/");
  });

  test("a file that changes while it is downloaded comes anew, once", async () => {
    const old = hosts({ dropsAfter: size >> 1, etag: '"old"', alters: (bytes) => bytes.fill(1, bytes.length >> 2) });
    answerWeights("/plain/", inTurn(old, hosts({ etag: '"new"' })));
    await assertLoads("/plain/");
    await deleteStored(browser.page);
    let version = 0;
    answerWeights("/plain/", hosts({ dropsAfter: size >> 1, etag: () => `"${(version += 1)}"` }));
    const { error } = await loadFrom(browser.page, "/plain/");
    assert.equal(error?.code, "network");
    assert.ok(error.message.includes("changed"), error.message);
    answerWeights("/plain/", hosts());
    await assertLoads("/plain/");
  });
});

describe("hosts", () => {
  test("several ranges are in flight, and hardly a byte comes twice", async () => {
    answerWeights("/big/", hosts({ speed }));
    await assertLoads("/big/");
    const ranges = server.requests.filter(({ headers }) => headers.range !== undefined);
    assert.ok(ranges.length >= 3, `${ranges.length} ranges`);
    assert.ok(sent() < size + BUFFERS, `${sent()} of ${size} bytes`);
  });

  test("what is stored does not come again, wherever there are holes", async () => {
    await assertLoads("/big/");
    const missing = await browser.page.evaluate(async () => {
      const database = await new Promise<IDBDatabase>((resolve) => {
        const request = indexedDB.open("embervec");
        request.onsuccess = () => resolve(request.result);
      });
      const transaction = database.transaction("entries", "readwrite");
      const entries = transaction.objectStore("entries");
      let missing = 0;
      entries.openCursor().onsuccess = ({ target }) => {
        const cursor = (target as IDBRequest<IDBCursorWithValue | null>).result;
        if (!cursor) return;
        const [kind, , path, , index] = String(cursor.key).split(" ");
        const isHole = path === "model.safetensors" && (Number(index) < 14 || Number(index) % 3 === 1);
        if (isHole) missing += cursor.value.length;
        if (isHole || kind === "model") cursor.delete();
        cursor.continue();
      };
      await new Promise((resolve) => (transaction.oncomplete = resolve));
      database.close();
      return missing;
    });
    assert.ok(missing > 14 * CHUNK_BYTES, `${missing} bytes`);
    server.requests.length = 0;
    answerWeights("/big/", hosts({ speed }));
    await inNewTab((page) => assertLoads("/big/", page));
    assert.ok(sent() < missing + BUFFERS, `${sent()} bytes for ${missing}`);
  });

  test("a compressed file comes in one stream", async () => {
    for (const answer of [gzips, brotlis]) {
      answerWeights("/big/", answer);
      await assertLoads("/big/");
      assert.deepEqual(
        server.requests.filter(({ headers }) => headers.range !== undefined),
        [],
      );
      await deleteStored(browser.page);
      server.requests.length = 0;
    }
  });

  test("one byte after the other, until it is enough", async () => {
    answerWeights("/big/", (response) => {
      response.writeHead(200, { "content-length": size });
      const timer = setInterval(() => response.write(Buffer.of(0)), 500);
      response.once("close", () => clearInterval(timer));
    });
    const outcome = await browser.page.evaluate(async (model) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const signal = AbortSignal.timeout(2000);
      return Embedder.load(model, { signal }).then(
        () => "it loads",
        (error: unknown) => (error === signal.reason ? "the signal's reason" : String(error)),
      );
    }, `${server.origin}/big/`);
    assert.equal(outcome, "the signal's reason");
    server.answers.clear();
    await assertLoads("/big/");
  });

  test("the start page of an app in place of a manifest is no manifest", async () => {
    server.answers.set("/plain/manifest.json", sends("<!doctype html>", "text/html"));
    await assertLoads("/plain/");
  });

  test("somebody else's manifest.json is no manifest", async () => {
    server.answers.set("/plain/manifest.json", sends('{"name": "An app"}', "application/json"));
    await assertLoads("/plain/");
  });

  test("a manifest that lies", async () => {
    // oxlint-disable-next-line typescript/no-explicit-any -- it is damaged in every way
    const cases: [manifest: string | ((json: any) => void), code: string, word: string][] = [
      ["{", "integrity", "not JSON"],
      [(json) => (json.format = "embervec-manifest-2"), "unsupported_model", "embervec-manifest-2"],
      [(json) => (json.chunk_bytes = 1), "unsupported_model", "chunks of 1 bytes"],
      [(json) => json.files[WEIGHTS].chunks.pop(), "integrity", WEIGHTS],
      [(json) => (json.files[WEIGHTS].size = 2 ** 53), "integrity", WEIGHTS],
      [(json) => (json.files[WEIGHTS].size = -1), "integrity", WEIGHTS],
      [(json) => (json.files["../x"] = json.files["config.json"]), "integrity", "../x"],
      [(json) => delete json.files["config.json"], "model_not_found", "config.json"],
      [(json) => delete json.files[WEIGHTS], "model_not_found", WEIGHTS],
      [(json) => (json.files["config.json"].size += 1), "integrity", "config.json"],
    ];
    for (const [change, code, word] of cases) {
      server.answers.set(
        "/big/manifest.json",
        sends((body) => {
          if (typeof change === "string") return Buffer.from(change);
          const json = JSON.parse(body.toString());
          change(json);
          return Buffer.from(JSON.stringify(json));
        }),
      );
      const { error } = await loadFrom(browser.page, "/big/");
      assert.equal(error?.code, code, `${change}: ${error?.message}`);
      assert.ok(error.message.includes(word), error.message);
    }
    server.answers.clear();
    await assertLoads("/big/");
  });
});
