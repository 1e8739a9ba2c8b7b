// Hosts as a page sees them: CORS, cookies, a caller's `fetch`. What else they answer is in tests/unit/hosts.test.ts.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { openPage, type TestPage } from "../support/browser.ts";
import { deleteStored, load, type Outcome, storedKeys } from "../support/load.ts";
import {
  type Answer,
  type ModelServer,
  hosts,
  never,
  sends,
  serveModels,
  status,
  withoutCors,
} from "../support/model-server.ts";

const WEIGHTS = "model.safetensors";
const HUB = "/owner/name/resolve/main/";
const RAW = "/owner/name/raw/main/";
/** All that is asked for of a folder, whether it has it or not. */
const FILES = [
  "manifest.json",
  "modules.json",
  "config_sentence_transformers.json",
  "config.json",
  "adapter_config.json",
  "chat_template.jinja",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "tokenizer.json",
  "vocab.txt",
  "model.safetensors",
  "model.safetensors.index.json",
  "pytorch_model.bin",
];

let server: ModelServer;
let browser: TestPage;
let goodVector: number[] | undefined;

before(async () => {
  server = await serveModels();
  browser = await openPage({ connectTo: server.origin });
  goodVector = (await load(browser.page, `${server.origin}/tiny-cls/`)).vector;
  assert.equal(goodVector?.length, 32);
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

async function assertLoads(model: string, options: object = {}): Promise<void> {
  const { vector, error } = await load(browser.page, model, options);
  assert.deepEqual(vector, goodVector, error?.message);
}

const refused = status(403);
const hidesHeaders: Answer = (response, body, request) => {
  // As a host whose CORS rules name no header of a response.
  const { writeHead } = response;
  response.writeHead = ((code: number, headers: Record<string, string>) => {
    const { "access-control-expose-headers": _, ...seen } = headers ?? {};
    return writeHead.call(response, code, seen);
  }) as typeof writeHead;
  hosts()(response, body, request);
};

describe("what only verifies", () => {
  const cases: [what: string, answer: Answer][] = [
    ["is refused", refused],
    ["comes without CORS", withoutCors],
    ["fails", status(503)],
    ["is asked for too often", status(429, { "retry-after": "30" })],
    ["is no answer", never],
  ];
  for (const [what, answer] of cases) {
    test(`${what}: manifest.json`, async () => {
      server.answers.set("/plain/manifest.json", answer);
      await assertLoads(`${server.origin}/plain/`);
    });
    test(`${what}: /raw/`, async () => {
      server.answers.set(RAW + WEIGHTS, answer);
      await assertLoads("owner/name", { hub: server.origin });
    });
  }
});

test("a private bucket: 403 for all that is not there", async () => {
  for (const path of [
    "manifest.json",
    "adapter_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
  ]) {
    server.answers.set(`/plain/${path}`, refused);
  }
  await assertLoads(`${server.origin}/plain/`);
  // And the same from the cache.
  server.requests.length = 0;
  await assertLoads(`${server.origin}/plain/`, { localFilesOnly: true });
  assert.deepEqual(server.requests, []);
});

test("files of a model's modules that are refused, or web pages", async () => {
  for (const [answer, code, word] of [
    [refused, "model_not_found", "403"],
    [status(401), "unauthorized", "401"],
    [sends("<!doctype html>", "text/html"), "integrity", "web page"],
  ] as const) {
    server.answers.set("/plain/1_Pooling/config.json", answer);
    const { error } = await load(browser.page, `${server.origin}/plain/`);
    assert.equal(error?.code, code, error?.message);
    assert.ok(
      error.message.includes(`${server.origin}/plain/1_Pooling/config.json`) && error.message.includes(word),
      error.message,
    );
  }
});

test("a host that refuses all of a model wants to know who asks", async () => {
  for (const path of FILES) server.answers.set(HUB + path, status(401));
  const { error } = await load(browser.page, "owner/name", {
    hub: server.origin,
    headers: { Authorization: "Bearer s3cret" },
  });
  assert.equal(error?.code, "unauthorized", error?.message);
  for (const word of ["401", `${HUB}config.json`, "does not exist", "log in", "`headers`"])
    assert.ok(error.message.includes(word), error.message);
  assert.ok(!error.message.includes("s3cret"), error.message);
  assert.deepEqual((await storedKeys(browser.page)).models, []);
});

test("a host that shows the page no header, and loses the connection", async () => {
  let turn = 0;
  server.answers.set(`/plain/${WEIGHTS}`, (response, body, request) => {
    if (turn++ > 0) return hidesHeaders(response, body, request);
    hosts({ dropsAfter: body.length / 2 })(response, body, request);
  });
  const { error } = await load(browser.page, `${server.origin}/plain/`);
  // Nothing tells that it is still the same file: it comes anew.
  assert.equal(error, undefined, error?.message);
});

test("what cannot be sent is refused at once", async () => {
  const started = performance.now();
  for (const [model, options] of [
    ["/m/", { headers: { "x-token": "s3cret…" } }],
    ["https://user:s3cret@host.test/m", {}],
    ["https://host.test/m?token=s3cret", {}],
    ["o/n", { hub: "https://user:s3cret@host.test" }],
    ["/m/", { wasmUrl: "https://user:s3cret@host.test" }],
    ["/m/", { workerUrl: "https://user:s3cret@host.test/worker.js" }],
  ] as const) {
    const { error } = await load(browser.page, model, options);
    assert.equal(error?.code, "invalid_input", error?.message);
    assert.ok(!error.message.includes("s3cret"), error.message);
  }
  assert.ok(performance.now() - started < 2000);
  assert.deepEqual(server.requests, []);
});

test("a page that was opened with a name and a password", async () => {
  const tab = await browser.openTab();
  await tab.goto(`${browser.origin.replace("://", "://user:s3cret@")}/blank.html`);
  const { vector, error } = await load(tab, "/tests/fixtures/models/tiny-cls/");
  assert.deepEqual(vector, goodVector, error?.message);
  const missing = await load(tab, "../models/none");
  assert.equal(missing.error?.code, "model_not_found", missing.error?.message);
  assert.ok(!missing.error.message.includes("s3cret"), missing.error.message);
  await tab.close();
});

test("workerUrl and persist", async () => {
  const model = `${server.origin}/plain/`;
  await assertLoads(model, { workerUrl: "../pkg/dist/worker.js?v=2", cache: "memory" });
  assert.ok(browser.requests.includes("/pkg/dist/worker.js?v=2"));
  const { error } = await load(browser.page, model, { workerUrl: "/none/worker.js" });
  assert.ok(error?.isEmbervecError && error.message.includes("worker"), error?.message);
  const asked = (options: object) =>
    browser.page.evaluate(
      async ({ model, options }) => {
        let asked = 0;
        navigator.storage.persist = async () => (asked += 1) > 0;
        const address = "/pkg/dist/index.js";
        const { Embedder } = await import(address);
        await (await Embedder.load(model, options)).dispose();
        return asked;
      },
      { model, options },
    );
  assert.equal(await asked({ persist: false }), 0);
  assert.equal(await asked({}), 1);
});

test("credentials: cookies go where they are asked for", async () => {
  const cookies: Answer = (response, body, request) => {
    response.setHeader("access-control-allow-origin", browser.origin);
    response.setHeader("access-control-allow-credentials", "true");
    (body.length > 0 ? sends() : status(404))(response, body, request);
  };
  const folder = ["1_Pooling/config.json", "sentence_bert_config.json", ...FILES];
  for (const path of folder) server.answers.set(`/plain/${path}`, cookies);
  await browser.context.addCookies([{ name: "session", value: "1", url: server.origin }]);
  const seen = async (credentials: string) => {
    server.requests.length = 0;
    await assertLoads(`${server.origin}/plain/`, { credentials, cache: "memory" });
    return new Set(server.requests.map(({ headers }) => headers.cookie));
  };
  assert.deepEqual(await seen("include"), new Set(["session=1"]));
  assert.deepEqual(await seen("same-origin"), new Set([undefined]));
  await browser.context.clearCookies();
});

/** Loads with a `fetch` whose body is given as text, on the page. */
function loadWith(
  body: string,
  model: string,
  options: object = {},
): Promise<Outcome & { calls: number; seconds: number }> {
  return browser.page.evaluate(
    async ({ body, model, options }) => {
      const address = "/pkg/dist/index.js";
      const { Embedder, EmbervecError } = await import(address);
      const bodies: Record<string, typeof fetch> = {
        platform: (url, init) => fetch(url, init),
        signed: (url, init) => fetch(url, { ...init, headers: { ...(init!.headers as object), "x-signed": "yes" } }),
        never: () => new Promise(() => {}),
        silent: async () => new Response(new ReadableStream({})),
        throws: () => {
          throw new Error("no key for Bearer s3cret");
        },
        nothing: async () => undefined as never,
      };
      let calls = 0;
      const own: typeof fetch = (url, init) => {
        calls += 1;
        return bodies[body]!(url, init);
      };
      const controller = new AbortController();
      const isEndless = body === "never" || body === "silent";
      let aborted = 0;
      if (isEndless)
        setTimeout(() => {
          aborted = performance.now();
          controller.abort(new Error("enough"));
        }, 1000);
      try {
        const embedder = await Embedder.load(model, {
          dtype: "fp32",
          signal: controller.signal,
          ...options,
          fetch: own,
        });
        const vector: Float32Array = await embedder.encode("a quick brown fox");
        await embedder.dispose();
        return { vector: [...vector], cached: embedder.info.cached, calls, seconds: 0 };
      } catch (error) {
        const { code, message } = error as { code: string; message: string };
        return {
          error: { isEmbervecError: error instanceof EmbervecError, code, message },
          calls,
          seconds: (performance.now() - aborted) / 1000,
        };
      }
    },
    { body, model, options },
  );
}

describe("a caller's fetch", () => {
  test("is called for every file of the model, on the page, and for nothing else", async () => {
    const signed = await loadWith("signed", `${server.origin}/plain/`);
    assert.deepEqual(signed.vector, goodVector, signed.error?.message);
    assert.equal(signed.calls, server.requests.length);
    assert.ok(server.requests.length > 4 && server.requests.every(({ headers }) => headers["x-signed"] === "yes"));
    const cached = await loadWith("signed", `${server.origin}/plain/`);
    assert.equal(cached.cached, true);
    assert.equal(cached.calls, 0);
  });

  test("that is the platform's changes nothing", async () => {
    const { vector, error } = await loadWith("platform", "owner/name", { hub: server.origin, cache: "memory" });
    assert.deepEqual(vector, goodVector, error?.message);
  });

  for (const body of ["never", "silent"]) {
    test(`that ignores its signal (${body}): an abort is answered within a second`, async () => {
      const { error, seconds } = await loadWith(body, `${server.origin}/plain/`);
      assert.equal(error?.message, "enough");
      assert.ok(seconds < 1, `${seconds} s`);
    });
  }

  test("that throws is an error without the token", async () => {
    const { error } = await loadWith("throws", `${server.origin}/plain/`, {
      headers: { Authorization: "Bearer s3cret" },
    });
    assert.equal(error?.code, "network", error?.message);
    assert.ok(error.message.includes("no key") && !error.message.includes("s3cret"), error.message);
  });

  test("that gives no Response", async () => {
    const { error } = await loadWith("nothing", `${server.origin}/plain/`);
    assert.equal(error?.code, "invalid_input", error?.message);
  });
});

test("pins hold from the host and from the cache, in 8 bits, too", async () => {
  const sha256 = async (path: string) => {
    const bytes = await (await fetch(`${server.origin}/plain/${path}`)).arrayBuffer();
    return `sha256-${Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("base64")}`;
  };
  const integrity = { "config.json": await sha256("config.json"), [WEIGHTS]: await sha256(WEIGHTS) };
  const model = `${server.origin}/plain/`;
  for (const dtype of ["fp32", "q8"]) {
    for (const cached of [false, true]) {
      const outcome = await load(browser.page, model, { dtype, integrity });
      assert.ok(outcome.vector, outcome.error?.message);
      assert.equal(outcome.cached, cached);
    }
    const wrong = await load(browser.page, model, {
      dtype,
      integrity: { [WEIGHTS]: integrity["config.json"] },
      localFilesOnly: true,
    });
    assert.equal(wrong.error?.code, "integrity", wrong.error?.message);
    await deleteStored(browser.page);
  }
});
