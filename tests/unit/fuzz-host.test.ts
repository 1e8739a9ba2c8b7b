// Random answers of model hosts.

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { MemoryCache } from "../support/memory-cache.ts";
import { sha256Of } from "../../pkg/src/cache/sha256.ts";
import { CHUNK_BYTES } from "../../pkg/src/limits.ts";
import { listModels } from "../../pkg/src/manage.ts";
import { writeManifest } from "../../pkg/src/model/manifest.ts";
import { checkedProgress, encode, fuzz, mostly, outcome } from "../support/fuzz.ts";
import { type Answer, BASE, hostOf, loadPlain, pointerText } from "../support/plain-model.ts";

const CONFIG = encode("{}");
const LARGE_WEIGHTS = new Uint8Array(CHUNK_BYTES + 5).fill(7);
const FIRST = await sha256Of(LARGE_WEIGHTS.slice(0, CHUNK_BYTES));
const SECOND = await sha256Of(LARGE_WEIGHTS.slice(CHUNK_BYTES));

interface HostAnswer {
  status: number;
  headers: Record<string, string>;
  /** The file itself, or something else. */
  body: "file" | "part" | "longer" | "other" | "none" | "fails";
}

test("hosts", async (t) => {
  const header = fc.oneof(
    fc.tuple(
      fc.constant("content-length"),
      fc.oneof(fc.nat().map(String), fc.constantFrom("abc", "-1", "1e999", "99999999999999999999")),
    ),
    fc.tuple(
      fc.constant("content-type"),
      fc.constantFrom("text/html", "text/html; charset=utf-8", "application/json", ""),
    ),
    fc.tuple(
      fc.constant("content-range"),
      fc.constantFrom("bytes 0-1/2", "bytes 524288-524292/524293", "bytes x", "bytes 99999999999999999999-1/1"),
    ),
    fc.tuple(
      fc.constantFrom("etag", "last-modified"),
      fc.constantFrom(
        '"a"',
        'W/"b"',
        "",
        "a b",
        "Thu, 26 Nov 2026 00:00:00 GMT",
        '"0123456789012345678901234567890123456789"',
      ),
    ),
    fc.tuple(fc.constant("retry-after"), fc.constantFrom("0", "1", "99999999999999999999", "-5", "tomorrow")),
    fc.tuple(fc.constant("accept-ranges"), fc.constantFrom("none", "bytes")),
  );
  const answer: fc.Arbitrary<HostAnswer> = fc.record({
    status: mostly(fc.constant(200), fc.constantFrom(206, 301, 400, 401, 403, 404, 410, 416, 429, 500, 503)),
    headers: fc.array(header, { maxLength: 3 }).map((headers) => Object.fromEntries(headers)),
    body: mostly(fc.constant("file"), fc.constantFrom("part", "longer", "other", "none", "fails")) as fc.Arbitrary<
      HostAnswer["body"]
    >,
  });
  const files = [
    "manifest.json",
    "modules.json",
    "config.json",
    "adapter_config.json",
    "model.safetensors",
    "raw/model.safetensors",
  ];
  const inputs = fc.record({
    answers: fc.dictionary(fc.constantFrom(...files), fc.array(answer, { minLength: 1, maxLength: 3 })),
    hasManifest: fc.boolean(),
    isHub: fc.boolean(),
    dtype: fc.constantFrom("fp32" as const, "q8" as const),
    loads: fc.integer({ min: 1, max: 2 }),
  });
  const whole: Record<string, Uint8Array<ArrayBuffer>> = { "config.json": CONFIG, "model.safetensors": LARGE_WEIGHTS };
  const manifest = writeManifest([
    ["config.json", { size: 2, sha256: "", chunks: [await sha256Of(CONFIG)] }],
    ["model.safetensors", { size: LARGE_WEIGHTS.length, sha256: "", chunks: [FIRST, SECOND] }],
  ]);
  const pointer = pointerText(await sha256Of(LARGE_WEIGHTS), LARGE_WEIGHTS.length);
  const odd = encode(pointerText("0".repeat(64), "99999999999999999999"));

  const respond = (file: Uint8Array<ArrayBuffer>, { status, headers, body }: HostAnswer): Response => {
    const sent = {
      file,
      part: file.subarray(0, file.length >> 1),
      longer: new Uint8Array([...file.subarray(0, 9), ...file]),
      other: odd,
      none: new Uint8Array(0),
      fails: file,
    }[body];
    const failing = () =>
      new ReadableStream({
        start(controller) {
          controller.enqueue(sent.slice(0, 3));
          controller.error(new TypeError("it broke off"));
        },
      });
    return new Response([204, 301, 304].includes(status) ? null : body === "fails" ? failing() : sent.slice(), {
      status,
      headers,
    });
  };
  // Nobody waits between attempts: their number is what counts.
  const { setTimeout: wait } = globalThis;
  const hurry = ((action: () => void, ms = 0) => wait(action, ms < 10_000 ? 0 : ms)) as typeof setTimeout;

  const examples = [
    {
      answers: { "raw/model.safetensors": [{ status: 200, headers: {}, body: "other" as const }] },
      hasManifest: false,
      isHub: true,
      dtype: "fp32" as const,
      loads: 1,
    },
    {
      answers: { "config.json": [{ status: 200, headers: { "content-length": "abc" }, body: "file" as const }] },
      hasManifest: false,
      isHub: false,
      dtype: "fp32" as const,
      loads: 1,
    },
  ];
  await fuzz(t, inputs, examples, async ({ answers, hasManifest, isHub, dtype, loads }) => {
    const good: Record<string, Uint8Array<ArrayBuffer>> = {
      ...whole,
      ...(hasManifest && { "manifest.json": encode(manifest) }),
      ...(isHub && { "raw/model.safetensors": encode(pointer) }),
    };
    const turns = new Map<string, number>();
    const served: Record<string, Answer> = {};
    for (const path of files) {
      served[path] = () => {
        const turn = turns.get(path) ?? 0;
        turns.set(path, turn + 1);
        const list = answers[path];
        const file = good[path];
        const each = list?.[Math.min(turn, list.length - 1)];
        if (each) return respond(file ?? new Uint8Array(0), each);
        return file ? new Response(file.slice()) : new Response(null, { status: 404 });
      };
    }
    const host = hostOf(served);
    globalThis.setTimeout = hurry;
    try {
      const cache = new MemoryCache();
      for (let i = 0; i < loads; i++) {
        const progress = checkedProgress();
        const outcomeOfLoad = await outcome(() =>
          loadPlain(cache, { dtype, progress, ...(isHub && { pointers: `${BASE}raw/` }) }),
        );
        const listed = (await listModels({ cache })).filter(({ complete }) => complete);
        assert.equal(listed.length > 0, outcomeOfLoad !== undefined || (i > 0 && listed.length > 0));
        // What digests speak for has come as it is.
        if (outcomeOfLoad && hasManifest && !answers["manifest.json"]) {
          assert.deepEqual(outcomeOfLoad.model.get("model.safetensors"), Buffer.from(LARGE_WEIGHTS));
        }
      }
    } finally {
      globalThis.setTimeout = wait;
      host.restore();
    }
    return 3 * LARGE_WEIGHTS.length;
  });
});
