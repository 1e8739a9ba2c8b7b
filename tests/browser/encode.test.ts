// Every option of encode, through the npm package in a browser, against what sentence-transformers gives.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import type { EncodeOptions, Embedder, Pooling, StreamItem } from "embervec";
import type { JSHandle } from "playwright-core";

import { quantizeEmbeddings, similarity } from "../../pkg/src/index.ts";
import { openPage, type TestPage } from "../support/browser.ts";
import { wasmBytes } from "../support/memory.ts";
import { difference } from "../support/vectors.ts";

interface Case {
  name: string;
  text: string;
  utf16?: number[];
  prompt_name?: string | null;
  input_ids: number[];
  truncated: boolean;
  embedding: string;
  token_embeddings?: string;
}

/** fp32 in another order of summation. */
const TOLERANCE = 1e-5;

const MINI_LM = "/www/models/all-MiniLM-L6-v2/";
const tiny = (name: string) => `/tests/fixtures/models/${name}/`;

let browser: TestPage;
const loaded = new Map<string, Promise<JSHandle<Embedder>>>();

before(async () => {
  browser = await openPage();
});
after(() => browser.close());

/** The model in the page, loaded once for all tests. */
function embedderOf(model: string): Promise<JSHandle<Embedder>> {
  let embedder = loaded.get(model);
  if (!embedder) loaded.set(model, (embedder = load(model)));
  return embedder;
}

function load(model: string): Promise<JSHandle<Embedder>> {
  return browser.page.evaluateHandle(async (model): Promise<Embedder> => {
    const address = "/pkg/dist/index.js";
    const { Embedder } = await import(address);
    return Embedder.load(model, { dtype: "fp32" });
  }, model);
}

async function encode(model: string, texts: string[], options: EncodeOptions = {}): Promise<number[][]> {
  const embedder = await embedderOf(model);
  return embedder.evaluate(
    async (embedder, { texts, options }) =>
      (await embedder.encode(texts, options)).map((vector) => [...(vector as Float32Array)]),
    { texts, options },
  );
}

/** `code: message` of the error, or "no error". */
async function refusal(model: string, options: object, call: "encode" | "encodeStream" = "encode"): Promise<string> {
  const embedder = await embedderOf(model);
  return embedder.evaluate(
    async (embedder, { options, call }) => {
      try {
        if (call === "encode") await embedder.encode("the fox", options);
        else await embedder.encodeStream(["the fox"], options).next();
        return "no error";
      } catch (error) {
        const { code, message } = error as { code: string; message: string };
        return `${code}: ${message}`;
      }
    },
    { options, call },
  );
}

function fixture(path: string): { dimension: number; cases: Case[] } {
  return JSON.parse(readFileSync(new URL(`../fixtures/${path}`, import.meta.url), "utf8"));
}

const expected = (name: string) => fixture(`models/${name}/expected.json`);

const textOf = ({ text, utf16 }: Case) => (utf16 ? String.fromCharCode(...utf16) : text);

function floats(base64: string): number[] {
  const bytes = Buffer.from(base64, "base64");
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}

/** The vector of every token, as sentence-transformers gives it. */
function tokenVectors({ input_ids, token_embeddings }: Case): number[][] {
  const all = floats(token_embeddings!);
  const size = all.length / input_ids.length;
  return input_ids.map((_, i) => all.slice(i * size, (i + 1) * size));
}

const withTokens = (name: string) => expected(name).cases.filter((each) => each.token_embeddings);

/** sentence-transformers' definitions; `sum` is its mean without the division. */
function pool(tokens: number[][], mode: Pooling): number[] {
  const weighted = (weight: (i: number) => number, divisor: number) =>
    tokens[0]!.map((_, column) => tokens.reduce((sum, row, i) => sum + weight(i) * row[column]!, 0) / divisor);
  const count = tokens.length;
  switch (mode) {
    case "cls":
      return tokens[0]!;
    case "last_token":
      return tokens.at(-1)!;
    case "max":
      return tokens[0]!.map((_, column) => Math.max(...tokens.map((row) => row[column]!)));
    case "sum":
      return weighted(() => 1, 1);
    case "mean":
      return weighted(() => 1, count);
    case "mean_sqrt_len":
      return weighted(() => 1, Math.sqrt(count));
    case "weighted_mean":
      return weighted((i) => i + 1, (count * (count + 1)) / 2);
  }
}

function normalized(vector: number[]): number[] {
  const length = Math.hypot(...vector);
  return vector.map((x) => x / length);
}

function assertClose(actual: number[][], wanted: number[][], name: string, tolerance = TOLERANCE): void {
  assert.equal(actual.length, wanted.length, name);
  assert.ok(wanted.length > 0, name);
  actual.forEach((row, i) => {
    const worst = difference(row, wanted[i]!, `${name}, text ${i}`);
    assert.ok(worst < tolerance, `${name}, text ${i}: ${worst}`);
  });
}

test("normalize: as the folder says, always, or never", async () => {
  // Its folder has a Normalize module.
  const unit = withTokens("tiny-bf16");
  const texts = unit.map((each) => each.text);
  const fromFolder = unit.map((each) => floats(each.embedding));
  assertClose(await encode(tiny("tiny-bf16"), texts), fromFolder, "default");
  assertClose(await encode(tiny("tiny-bf16"), texts, { normalize: true }), fromFolder, "true");
  const raw = unit.map((each) => pool(tokenVectors(each), "mean"));
  assertClose(await encode(tiny("tiny-bf16"), texts, { normalize: false }), raw, "false");

  // Its folder has none.
  const { cases } = expected("tiny-cls");
  const all = cases.map(textOf);
  const plain = cases.map((each) => floats(each.embedding));
  assertClose(await encode(tiny("tiny-cls"), all, { normalize: false }), plain, "false without a module");
  assertClose(await encode(tiny("tiny-cls"), all, { normalize: true }), plain.map(normalized), "true without a module");
});

test("pooling: every mode, and lists of them", async () => {
  // First that the definitions above are sentence-transformers'.
  const folders = {
    cls: "tiny-cls",
    max: "tiny-max",
    mean: "tiny-bert-prefix",
    mean_sqrt_len: "tiny-mean-sqrt-len",
    weighted_mean: "tiny-weightedmean",
    last_token: "tiny-lasttoken",
  } as const;
  for (const [mode, name] of Object.entries(folders) as [Pooling, string][]) {
    const cases = withTokens(name);
    assertClose(
      cases.map((each) => pool(tokenVectors(each), mode)),
      cases.map((each) => floats(each.embedding)),
      name,
    );
  }

  const cases = withTokens("tiny-cls");
  const texts = cases.map((each) => each.text);
  const pooled = (...modes: Pooling[]) => cases.map((each) => modes.flatMap((mode) => pool(tokenVectors(each), mode)));
  for (const mode of [...Object.keys(folders), "sum"] as Pooling[]) {
    // A sum of fifteen tokens has the rounding of fifteen.
    assertClose(
      await encode(tiny("tiny-cls"), texts, { pooling: mode }),
      pooled(mode),
      mode,
      mode === "sum" ? 1e-4 : TOLERANCE,
    );
  }
  const lists: Pooling[][] = [["mean"], ["max", "cls"], ["last_token", "mean", "weighted_mean"]];
  for (const modes of lists) {
    assertClose(await encode(tiny("tiny-cls"), texts, { pooling: modes }), pooled(...modes), modes.join());
  }
});

test("pooling: what follows it still applies, and must fit", async () => {
  const concat = withTokens("tiny-concat");
  const means = concat.map((each) => normalized(pool(tokenVectors(each), "mean")));
  assertClose(
    await encode(
      tiny("tiny-concat"),
      concat.map((each) => each.text),
      { pooling: "mean" },
    ),
    means,
    "Normalize",
  );
  // Its Dense takes 32 and gives 16.
  const [dense] = await encode(tiny("tiny-dense"), ["fox"], { pooling: "cls" });
  assert.equal(dense!.length, 16);
  const doubled = await refusal(tiny("tiny-dense"), { pooling: ["cls", "mean"] });
  assert.match(doubled, /^invalid_input: .*64.*next module expects 32/);
});

test("truncateDim keeps the first dimensions, then normalises", async () => {
  const { cases } = expected("tiny-bf16");
  const texts = cases.map(textOf);
  const first = cases.map((each) => floats(each.embedding).slice(0, 8));
  assertClose(await encode(tiny("tiny-bf16"), texts, { truncateDim: 8 }), first, "not normalised again");
  assertClose(
    await encode(tiny("tiny-bf16"), texts, { truncateDim: 8, normalize: true }),
    first.map(normalized),
    "normalised",
  );
  assert.equal((await encode(tiny("tiny-bf16"), ["fox"], { truncateDim: 32 }))[0]!.length, 32);
  for (const truncateDim of [33, 2 ** 40]) {
    assert.match(await refusal(tiny("tiny-bf16"), { truncateDim }), /^invalid_input: .*truncateDim/);
  }
  assert.match(await refusal(tiny("tiny-bf16"), { truncateDim: 33 }), /between 1 and 32/);
});

test("precision: types, lengths and values", async () => {
  const { cases } = expected("tiny-cls");
  const texts = cases.map(textOf);
  const vectors = cases.map((each) => floats(each.embedding));
  const embedder = await embedderOf(tiny("tiny-cls"));
  const types = {
    float32: "Float32Array",
    int8: "Int8Array",
    uint8: "Uint8Array",
    binary: "Int8Array",
    ubinary: "Uint8Array",
  } as const;
  for (const precision of Object.keys(types) as (keyof typeof types)[]) {
    const rows = await embedder.evaluate(
      async (embedder, { texts, precision }) =>
        (await embedder.encode(texts, { precision })).map((row) => ({ type: row.constructor.name, values: [...row] })),
      { texts, precision },
    );
    const wanted = quantizeEmbeddings(vectors, precision);
    assert.equal(rows.length, texts.length);
    rows.forEach(({ type, values }, i) => {
      assert.equal(type, types[precision]);
      assert.equal(values.length, precision.endsWith("binary") ? 4 : 32);
      // A value at the border of two steps may fall on either side.
      const tolerance = precision.endsWith("int8") ? 1 : precision === "float32" ? TOLERANCE : 0;
      assert.ok(difference(values, wanted[i]!) <= tolerance, `${precision}, text ${i}`);
    });
  }
  const [one] = quantizeEmbeddings(vectors.slice(0, 1), "ubinary");
  const alone = await embedder.evaluate(
    async (embedder, text) => [...(await embedder.encode(text, { precision: "ubinary" }))],
    texts[0]!,
  );
  assert.deepEqual(alone, [...one!]);
  assert.match(await refusal(tiny("tiny-cls"), { precision: "int8" }), /^invalid_input: .*at least two/);
});

test("similarity by the model's own function", async () => {
  for (const [name, own] of [
    ["tiny-prompts", "dot"],
    ["tiny-max", "cosine"],
  ] as const) {
    const embedder = await embedderOf(tiny(name));
    const { vectors, matrix } = await embedder.evaluate(async (embedder) => {
      const vectors = await embedder.encode(["the fox", "a dog", "the quick fox"], { normalize: false });
      return {
        vectors: vectors.map((row) => [...row]),
        matrix: embedder.similarity(vectors[0]!, vectors).map((row) => [...row]),
      };
    });
    assert.deepEqual(
      matrix,
      similarity(vectors[0]!, vectors, own).map((row) => [...row]),
    );
    assert.notDeepEqual(
      matrix,
      similarity(vectors[0]!, vectors, own === "dot" ? "cosine" : "dot").map((row) => [...row]),
    );
  }
});

test("prompts: by name, by text, and by task", async () => {
  const { cases } = expected("tiny-prompts");
  const of = (prompt: string | null) => cases.filter((each) => each.prompt_name === prompt);
  const texts = of(null).map(textOf);
  const model = tiny("tiny-prompts");
  const embedder = await embedderOf(model);
  const byTask = (call: "encodeQuery" | "encodeDocument", options: EncodeOptions = {}) =>
    embedder.evaluate(
      async (embedder, { texts, call, options }) =>
        (await embedder[call](texts, options)).map((row) => [...(row as Float32Array)]),
      { texts, call, options },
    );
  const vectors = (prompt: string | null) => of(prompt).map((each) => floats(each.embedding));

  assertClose(await encode(model, texts), vectors(null), "no prompt");
  assertClose(await encode(model, texts, { promptName: "query" }), vectors("query"), "promptName");
  assertClose(await encode(model, texts, { prompt: "passage: " }), vectors("document"), "prompt");
  assertClose(
    await encode(model, texts, { prompt: "passage: ", promptName: "query" }),
    vectors("document"),
    "prompt beats promptName",
  );
  assertClose(await encode(model, texts, { prompt: "" }), vectors(null), "empty prompt");
  assertClose(await byTask("encodeQuery"), vectors("query"), "encodeQuery");
  assertClose(await byTask("encodeDocument"), vectors("document"), "encodeDocument");
  assertClose(
    await byTask("encodeQuery", { promptName: "document" }),
    vectors("document"),
    "promptName beats the task",
  );

  const tokenCounts = await embedder.evaluate(async (embedder, texts) => {
    const counts = [];
    for await (const { tokenCount } of embedder.encodeStream(texts, { promptName: "query" })) counts.push(tokenCount);
    return counts;
  }, texts);
  assert.deepEqual(
    tokenCounts,
    of("query").map((each) => each.input_ids.length),
  );

  for (const name of ["tiny-prompts", "tiny-cls"]) {
    const unknown = await refusal(tiny(name), { promptName: "passage" });
    assert.match(unknown, /^invalid_input: .*"passage".*query, document/, name);
  }
  // These two are always there, if only empty.
  const [{ text, embedding }] = expected("tiny-cls").cases as [Case];
  for (const promptName of ["query", "document"]) {
    assertClose(await encode(tiny("tiny-cls"), [text], { promptName }), [floats(embedding)], promptName);
  }
});

test("a model without prompts takes queries and documents as they are", async () => {
  const embedder = await embedderOf(tiny("tiny-cls"));
  const [text] = expected("tiny-cls").cases;
  const vectors = await embedder.evaluate(async (embedder, text) => {
    return [[...(await embedder.encodeQuery(text))], [...(await embedder.encodeDocument(text))]];
  }, text!.text);
  assertClose(vectors, [floats(text!.embedding), floats(text!.embedding)], "both");
});

test("output token: the encoder's vector of every token", async () => {
  for (const name of ["tiny-cls", "tiny-dense", "tiny-prompts"]) {
    const cases = withTokens(name);
    const embedder = await embedderOf(tiny(name));
    const { many, one } = await embedder.evaluate(
      async (embedder, texts) => {
        const many = await embedder.encode(texts, { output: "token" });
        const one = await embedder.encode(texts[0]!, { output: "token" });
        return { many: many.map((rows) => rows.map((row) => [...row])), one: one.map((row) => [...row]) };
      },
      cases.map((each) => each.text),
    );
    assert.equal(many.length, cases.length);
    many.forEach((rows, i) => assertClose(rows, tokenVectors(cases[i]!), name));
    assertClose(one, tokenVectors(cases[0]!), name);
  }
  for (const option of [{ normalize: true }, { pooling: "cls" }, { truncateDim: 8 }, { precision: "int8" }]) {
    assert.match(await refusal(tiny("tiny-cls"), { output: "token", ...option }), /^invalid_input: .*"token"/);
  }
});

test("a wrong option is refused by name, and the embedder stays usable", async () => {
  const bad: [object, RegExp][] = [
    [{ pooling: "median" }, /"median".*weighted_mean/],
    [{ pooling: [] }, /"pooling"/],
    [{ normalize: 1 }, /"normalize" must be true or false, not 1/],
    [{ truncateDim: 0 }, /"truncateDim"/],
    [{ precision: "int4" }, /"precision".*"ubinary"/],
    [{ output: "tokens" }, /"output".*"token"/],
    [{ prompt: 7 }, /"prompt"/],
    [{ promptName: null }, /"promptName"/],
    [{ signal: 1 }, /"signal"/],
    [{ batchSize: 8 }, /no option "batchSize"/],
  ];
  for (const [options, message] of bad) {
    const text = await refusal(tiny("tiny-cls"), options);
    assert.match(text, /^invalid_input: /);
    assert.match(text, message);
  }
  // They would give other numbers of rows or other types than a stream's items have.
  assert.match(await refusal(tiny("tiny-cls"), { output: "token" }, "encodeStream"), /^invalid_input: .*"output"/);
  assert.match(await refusal(tiny("tiny-cls"), { precision: "int8" }, "encodeStream"), /^invalid_input: .*"precision"/);
  assert.equal((await encode(tiny("tiny-cls"), ["still usable"]))[0]!.length, 32);
});

test("no texts give no vectors, and the rows are views of one buffer", async () => {
  const embedder = await embedderOf(tiny("tiny-cls"));
  const seen = await embedder.evaluate(async (embedder) => {
    const none = [
      await embedder.encode([]),
      await embedder.encode([], { precision: "int8" }),
      await embedder.encode([], { output: "token" }),
    ];
    const streamed = [];
    for await (const item of embedder.encodeStream([])) streamed.push(item);
    const texts = Array.from({ length: 200 }, (_, i) => `fox ${i}`);
    const rows = await embedder.encode(texts);
    // Whoever keeps the array may change it while it is encoded.
    const changing = embedder.encode(texts);
    texts.push("one more");
    texts[0] = "another";
    const unchanged = await changing;
    return {
      none: [...none.map((rows) => rows.length), streamed.length],
      buffers: new Set(rows.map((row) => row.buffer)).size,
      bytes: rows[0]!.buffer.byteLength,
      inOrder: rows.every((row, i) => row.byteOffset === i * 32 * 4 && row.length === 32),
      same: unchanged.length === 200 && unchanged[0]!.every((x, i) => x === rows[0]![i]),
    };
  });
  assert.deepEqual(seen, { none: [0, 0, 0, 0], buffers: 1, bytes: 200 * 32 * 4, inOrder: true, same: true });
});

test("a query overtakes a bulk job, whose progress counts its texts", async () => {
  const embedder = await embedderOf(tiny("tiny-cls"));
  const { events, begun, done, vector } = await embedder.evaluate(async (embedder) => {
    const texts = Array.from({ length: 5000 }, (_, i) => `text number ${i}`);
    const events: { stage: string; loaded: number; total: number }[] = [];
    let first = () => {};
    const started = new Promise<void>((resolve) => (first = resolve));
    const bulk = embedder.encode(texts, {
      progress: (event) => {
        events.push({ ...event });
        first();
      },
    });
    await started;
    const begun = events.at(-1)!.loaded;
    const vector = [...(await embedder.encode("fox"))];
    const done = events.at(-1)!.loaded;
    await bulk;
    return { events, begun, done, vector };
  });
  // At most two slices of 64 are ahead of it in the worker, and one more comes while it is answered.
  assert.ok(done - begun <= 3 * 64, `${done - begun} texts were encoded before the query`);
  assert.ok(events.every(({ stage, total }) => stage === "encode" && total === 5000));
  assert.ok(events.every(({ loaded }, i) => loaded > (events[i - 1]?.loaded ?? 0)));
  assert.equal(events.at(-1)!.loaded, 5000);
  const { embedding } = expected("tiny-cls").cases.find((each) => each.text === "fox")!;
  assertClose([vector], [floats(embedding)], "query");
});

test("MiniLM: a query has its answer before the next slice of a bulk job, and an abort ends what is under way", async () => {
  const embedder = await embedderOf(MINI_LM);
  const job = () =>
    embedder.evaluate(async (embedder) => {
      // Some 900 tokens, which are four batches.
      const slice = Array.from({ length: 64 }, (_, i) => `this is the text number ${i} of many that are alike`);
      const texts = [...slice, ...slice, ...slice, ...slice, ...slice];
      const abort = new AbortController();
      let loaded = 0;
      let first = () => {};
      const started = new Promise<void>((resolve) => (first = resolve));
      const progress = (event: { loaded: number }) => {
        loaded = event.loaded;
        first();
      };
      const bulk = embedder.encode(texts, { progress, signal: abort.signal }).catch((error: unknown) => error);
      await started;
      const begun = loaded;
      const [, tokens] = await Promise.all([embedder.encode("fox"), embedder.tokenize("fox")]);
      const done = loaded - begun;
      if (tokens.inputIds.length !== 3) throw new Error("no tokens");
      const timed = async () => {
        const started = performance.now();
        await embedder.encode(slice);
        return performance.now() - started;
      };
      abort.abort("enough");
      const afterAbort = await timed();
      if ((await bulk) !== "enough") throw new Error("it was not aborted");
      return { done, afterAbort, alone: await timed() };
    });
  // Two slices were under way; with them it would take three times as long. Other programs may take the time of one attempt.
  let share = Infinity;
  for (let attempt = 0; attempt < 3 && share >= 2; attempt++) {
    const { done, afterAbort, alone } = await job();
    assert.equal(done, 0);
    share = Math.min(share, afterAbort / alone);
  }
  assert.ok(share < 2, `${share} times as long after an abort`);
});

test("MiniLM: tokens are counted whatever their number, in bounded memory, while queries are answered", async () => {
  const embedder = await embedderOf(MINI_LM);
  await embedder.evaluate((embedder) => embedder.encode("x ".repeat(300)));
  const before = await wasmBytes(browser.page);
  const { special, limit, counts, encoded, long, queries } = await embedder.evaluate(async (embedder) => {
    const texts = ["", "fox", "an unbelievable élan", "lone \ud800 surrogate", "[SEP] is special"];
    const counts = [...(await embedder.tokenCounts(texts))];
    const encoded = [];
    for (const text of texts) encoded.push((await embedder.tokenize(text)).inputIds.length);
    // Characters of two units, so that parts could be cut within one.
    const line = "Größe 🙂🙂, 東京の天気 und погода.\n";
    const [once = 0] = await embedder.tokenCounts([line]);
    let isOver = false;
    const counting = embedder.tokenCounts([line.repeat(40_000)]).finally(() => (isOver = true));
    let queries = 0;
    for (; !isOver; queries++) await embedder.encode("fox");
    const long = [(await counting)[0]!, 40_000 * once];
    const { specialTokens, maxSeqLength } = embedder.info;
    return { special: specialTokens, limit: maxSeqLength, counts, encoded, long, queries };
  });
  assert.deepEqual([special, limit], [2, 256]);
  assert.deepEqual(
    counts.map((count) => count + special),
    encoded,
  );
  assert.equal(counts[0], 0);
  assert.equal(long[0], long[1]);
  // The text is counted in some 80 pieces, with a query between each two of them where the page is fast enough.
  assert.ok(queries > 20, `${queries} queries`);
  const grown = (await wasmBytes(browser.page)) - before;
  assert.ok(grown < 8 << 20, `${grown} bytes`);
  const refused = await embedder.evaluate((embedder) =>
    embedder.tokenCounts(["a".repeat(3_000_000)]).catch((error: { code: string; message: string }) => {
      return { code: error.code, message: error.message };
    }),
  );
  const { code, message } = refused as { code: string; message: string };
  assert.deepEqual([code, /aaaa.*split it/.test(message)], ["invalid_input", true], message);
});

test("many calls at once give each its own result", async () => {
  const { cases } = expected("tiny-prompts");
  const embedder = await embedderOf(tiny("tiny-prompts"));
  const other = await embedderOf(tiny("tiny-dense"));
  const input = Array.from({ length: 6 }, () => cases)
    .flat()
    .map((each) => ({ text: textOf(each), prompt: each.prompt_name ?? null }));
  const { vectors, others } = await browser.page.evaluate(
    async ({ embedder, other, input }) => {
      const calls = input.map(({ text, prompt }) =>
        embedder.encode(text, prompt === null ? {} : { promptName: prompt }),
      );
      const others = input.map(({ text }) => other.encode(text));
      return {
        vectors: (await Promise.all(calls)).map((row) => [...row]),
        others: (await Promise.all(others)).map((row) => [...row]),
      };
    },
    { embedder, other, input },
  );
  assert.equal(input.length, 6 * cases.length);
  assertClose(
    vectors,
    input.map((_, i) => floats(cases[i % cases.length]!.embedding)),
    "tiny-prompts",
  );
  const dense = new Map(expected("tiny-dense").cases.map((each) => [textOf(each), floats(each.embedding)]));
  assertClose(
    others,
    input.map(({ text }) => dense.get(text)!),
    "tiny-dense",
  );
});

test("dispose may be called twice, and ends what is under way", async () => {
  const embedder = await load(tiny("tiny-cls"));
  const codes = await embedder.evaluate(async (embedder) => {
    const codeOf = (error: { code: string }) => error.code;
    const underWay = embedder.encode(Array.from({ length: 5000 }, () => "fox")).then(() => "no error", codeOf);
    const stream = embedder.encodeStream(Array.from({ length: 5000 }, () => "fox"));
    await stream.next();
    await Promise.all([embedder.dispose(), embedder.dispose()]);
    await embedder.dispose();
    const rest = (async () => {
      for await (const _ of stream);
      return "no error";
    })().catch(codeOf);
    const calls = [
      underWay,
      rest,
      embedder.encode("x").catch(codeOf),
      embedder.encode(["x"]).catch(codeOf),
      embedder.tokenize("x").catch(codeOf),
    ];
    return Promise.all(calls);
  });
  assert.deepEqual(codes, Array(5).fill("disposed"));
});

test("a stream takes any iterable, waits for its consumer, and ends its source", async () => {
  const embedder = await embedderOf(tiny("tiny-cls"));
  const seen = await embedder.evaluate(async (embedder) => {
    const source = { pulled: 0, ended: false };
    async function* texts() {
      try {
        for (;;) yield `text number ${source.pulled++}`;
      } finally {
        source.ended = true;
      }
    }
    let ahead = 0;
    const items: StreamItem[] = [];
    for await (const item of embedder.encodeStream(texts())) {
      items.push(item);
      ahead = Math.max(ahead, source.pulled - item.index);
      if (item.index === 300) break;
      if (item.index % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const { pulled, ended } = source;
    await new Promise((resolve) => setTimeout(resolve, 50));
    const fromSet = [];
    for await (const { index } of embedder.encodeStream(new Set(["a", "b", "c"]))) fromSet.push(index);
    const later = [...(await embedder.encode("text number 300"))];
    return {
      indices: items.map(({ index }) => index),
      last: [...items.at(-1)!.embedding],
      ahead,
      ended,
      pulledLater: source.pulled - pulled,
      fromSet,
      later,
    };
  });
  assert.deepEqual(
    seen.indices,
    Array.from({ length: 301 }, (_, i) => i),
  );
  assertClose([seen.last], [seen.later], "the last vector", 1e-6);
  // One slice of 64 that is consumed, and two under way.
  assert.ok(seen.ahead <= 3 * 64, `${seen.ahead} texts were read ahead`);
  assert.equal(seen.ended, true);
  assert.equal(seen.pulledLater, 0);
  assert.deepEqual(seen.fromSet, [0, 1, 2]);
});

test("a stream passes on what its source throws, and refuses what is not a text", async () => {
  const embedder = await embedderOf(tiny("tiny-cls"));
  const seen = await embedder.evaluate(async (embedder) => {
    const fault = new Error("the source's own");
    async function* failing() {
      yield "a";
      throw fault;
    }
    const outcome = async (texts: unknown) => {
      try {
        for await (const _ of embedder.encodeStream(texts as string[]));
        return "no error";
      } catch (error) {
        const { code, message } = error as { code: string; message: string };
        return error === fault ? "the fault" : `${code}: ${message}`;
      }
    };
    return [await outcome(failing()), await outcome(["a", "b", 7]), await outcome("a text"), await outcome(null)];
  });
  assert.equal(seen[0], "the fault");
  assert.match(seen[1]!, /^invalid_input: texts\[2\] must be a string, not 7/);
  assert.match(seen[2]!, /^invalid_input: encodeStream takes/);
  assert.match(seen[3]!, /^invalid_input: encodeStream takes/);
});

test("MiniLM: a text's vector does not depend on its neighbours", async () => {
  const cases = fixture("all-MiniLM-L6-v2.json").cases.slice(0, 64);
  assert.equal(cases.length, 64);
  // 37 and 64 have no common factor: a fixed shuffle.
  const order = cases.map((_, i) => (i * 37 + 11) % 64);
  const embedder = await embedderOf(MINI_LM);
  const seen = await embedder.evaluate(
    async (embedder, { texts, order }) => {
      const shuffled = await embedder.encode(order.map((i) => texts[i]!));
      const batch: number[][] = [];
      order.forEach((i, at) => (batch[i] = [...shuffled[at]!]));
      const stream = [];
      for await (const { embedding } of embedder.encodeStream(texts)) stream.push([...embedding]);
      const alone = [];
      for (const text of texts) alone.push([...(await embedder.encode(text))]);
      return { alone, batch, stream };
    },
    { texts: cases.map(textOf), order },
  );
  assertClose(
    seen.alone,
    cases.map((each) => floats(each.embedding)),
    "alone",
  );
  assertClose(seen.batch, seen.alone, "in a batch", 1e-6);
  assertClose(seen.stream, seen.alone, "in a stream", 1e-6);
});

test("MiniLM: characters that the tokenizer removes change nothing", async () => {
  const pairs = [
    ["a quick \0fox\0", "a quick fox"],
    ["a \ud800quick fox\udc00", "a \ufffdquick fox\ufffd"],
    ["\udc00\ud800", "\ufffd\ufffd"],
    ["\0".repeat(1 << 20), ""],
  ] as const;
  for (const [odd, plain] of pairs) {
    const [a, b] = await encode(MINI_LM, [odd, plain]);
    assert.equal(difference(a!, b!), 0, JSON.stringify(plain));
  }
});

test("MiniLM: a megabyte of text takes bounded time and memory, and is reported as truncated", async () => {
  // The limit of 256 tokens and the two special ones are reached in each text's first kilobyte.
  const texts = {
    spaces: "lorem ipsum ".repeat(87_382),
    "form feeds": "lorem ipsum\n\f".repeat(80_660),
    "no space": "lorem,ipsum.".repeat(87_382),
    ideographs: "你好".repeat(174_763),
  };
  const embedder = await embedderOf(MINI_LM);
  await embedder.evaluate((embedder) => embedder.encode("x ".repeat(300)));
  const before = await wasmBytes(browser.page);
  for (const [name, text] of Object.entries(texts)) {
    assert.ok(Buffer.byteLength(text) > 1_000_000);
    const { items, beginning, seconds } = await embedder.evaluate(
      async (embedder, { text }) => {
        const start = performance.now();
        const items = [];
        for await (const { embedding, ...item } of embedder.encodeStream([text]))
          items.push({ ...item, embedding: [...embedding] });
        const seconds = (performance.now() - start) / 1000;
        return { items, beginning: [...(await embedder.encode(text.slice(0, 2000)))], seconds };
      },
      { text },
    );
    const [{ embedding, ...item }] = items as [(typeof items)[number]];
    assert.deepEqual(item, { index: 0, tokenCount: 256, truncated: true }, name);
    assert.ok(difference(embedding, beginning) < 1e-6, name);
    assert.ok(seconds < 10, `${name}: ${seconds} s`);
    // The text itself, and what is made of the part that counts; memory of wasm never shrinks.
    const grown = (await wasmBytes(browser.page)) - before;
    assert.ok(grown < 16 << 20, `${name}: ${grown} bytes`);
  }
});

test("MiniLM: a word of a megabyte is one unknown token", async () => {
  const embedder = await load(MINI_LM);
  const before = await wasmBytes(browser.page);
  const item = await embedder.evaluate(async (embedder) => {
    for await (const { tokenCount, truncated } of embedder.encodeStream(["a".repeat(1 << 20)]))
      return { tokenCount, truncated };
    return undefined;
  });
  assert.deepEqual(item, { tokenCount: 3, truncated: false });
  // A word is normalised as a whole: some 40 bytes for each of it.
  const grown = (await wasmBytes(browser.page)) - before;
  assert.ok(grown < 64 << 20, `${grown} bytes`);
  await embedder.evaluate((embedder) => embedder.dispose());
});
