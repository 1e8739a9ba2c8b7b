// Model folders as people have them: weights in several files, vocab.txt, what git or a web server left in place of
// files.

import assert from "node:assert/strict";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { openPage, type TestPage } from "../support/browser.ts";
import { expectedOf, read } from "../support/golden.ts";
import { deleteStored, load, storedKeys } from "../support/load.ts";
import { writeManifest } from "../support/manifest.ts";
import { type ModelServer, pointerTo, sends, serveModels } from "../support/model-server.ts";
import * as safetensors from "../support/safetensors.ts";
import { temporaryFolder } from "../support/temporary.ts";

const FIXTURES = fileURLToPath(new URL("../fixtures/models/", import.meta.url));
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";
/** As the files of a model of many gigabytes are called. */
const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
/** fp32 in another order of summation. */
const TOLERANCE = 1e-5;

let models: string;
let server: ModelServer;
let browser: TestPage;
let goodVector: number[];
let goodPackedVector: number[];

before(async () => {
  models = await temporaryFolder();
  server = await serveModels(models, "sharded");
  browser = await openPage({ connectTo: server.origin });
  await folderOf("whole", () => {});
  goodVector = await vectorOf("whole");
  goodPackedVector = await vectorOf("whole", { dtype: "q8" });
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

/** A folder of the server with a copy of `tiny-cls` that `edit` changes. */
async function folderOf(name: string, edit: (folder: string) => unknown): Promise<void> {
  const folder = join(models, name);
  await cp(join(FIXTURES, "tiny-cls"), folder, { recursive: true });
  await edit(folder);
}

const address = (name: string) => `${server.origin}/${name}/`;

async function vectorOf(name: string, options: object = {}): Promise<number[]> {
  const { vector, error } = await load(browser.page, address(name), options);
  assert.ok(vector, error?.message);
  return vector;
}

/** Loads from the host, and again from the cache. */
async function assertLoads(name: string): Promise<void> {
  for (const [dtype, wanted] of [
    ["fp32", goodVector],
    ["q8", goodPackedVector],
  ] as const) {
    for (const cached of [false, true]) {
      const outcome = await load(browser.page, address(name), { dtype });
      assert.deepEqual(outcome.vector, wanted, outcome.error?.message ?? dtype);
      assert.equal(outcome.cached, cached);
      // The chunks of fp32 would do for q8, too.
      if (cached) await deleteStored(browser.page);
    }
  }
}

async function assertRefused(name: string, code: string, ...words: string[]): Promise<void> {
  const { error } = await load(browser.page, address(name));
  assert.equal(error?.code, code, error?.message ?? "it loads");
  for (const word of words) assert.ok(error.message.includes(word), `"${word}" is not in: ${error.message}`);
  assert.deepEqual((await storedKeys(browser.page)).models, []);
}

/** Spreads the weights over {@link SHARDS}, tensor after tensor in turn. */
async function shard(folder: string): Promise<void> {
  const { header, data } = safetensors.split(await readFile(join(folder, WEIGHTS)));
  const names = Object.keys(header);
  const map: Record<string, string> = {};
  for (const [index, file] of SHARDS.entries()) {
    const part: safetensors.Header = {};
    const tensors: Buffer[] = [];
    let end = 0;
    for (const name of names.filter((_, i) => i % SHARDS.length === index)) {
      const { data_offsets, ...entry } = header[name]!;
      const bytes = data.subarray(...data_offsets);
      part[name] = { ...entry, data_offsets: [end, (end += bytes.length)] };
      tensors.push(bytes);
      map[name] = file;
    }
    await writeFile(join(folder, file), safetensors.join(part, Buffer.concat(tensors)));
  }
  await writeFile(join(folder, INDEX), JSON.stringify({ metadata: { total_size: data.length }, weight_map: map }));
  await rm(join(folder, WEIGHTS));
}

describe("weights in several files", () => {
  before(async () => {
    await folderOf("sharded", shard);
    await folderOf("sharded-packed", async (folder) => {
      await shard(folder);
      await writeManifest(folder);
    });
    await folderOf("half", async (folder) => {
      await shard(folder);
      await rm(join(folder, SHARDS[1]!));
    });
  });

  test("give the vectors of the same weights in one", () => assertLoads("sharded"));

  test("with a manifest, too", () => assertLoads("sharded-packed"));

  test("as a hub id, whose pointers tell their sizes", async () => {
    const options = { hub: server.origin, revision: "main" };
    const { vector, error } = await load(browser.page, "owner/name", options);
    assert.deepEqual(vector, goodVector, error?.message);
    const pointers = server.requests.map(({ path }) => path).filter((path) => path.includes("/raw/"));
    for (const file of SHARDS) assert.ok(pointers.includes(`/owner/name/raw/main/${file}`), String(pointers));
  });

  test("progress goes up to a total", async () => {
    const events = await browser.page.evaluate(async (model) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const events: { loaded: number; total: number }[] = [];
      const progress = ({ loaded, total }: { loaded: number; total: number }) => events.push({ loaded, total });
      await (await Embedder.load(model, { dtype: "fp32", progress })).dispose();
      return events;
    }, address("sharded"));
    assert.ok(events.length > 0);
    assert.deepEqual(
      events,
      events.toSorted((a, b) => a.loaded - b.loaded),
    );
    for (const { loaded, total } of events) assert.ok(loaded <= total, `${loaded} of ${total}`);
    const { loaded, total } = events.at(-1)!;
    assert.equal(loaded, total);
  });

  test("can be carried to another browser as an archive", async () => {
    for (const dtype of ["fp32", "q8"]) {
      const vector = await browser.page.evaluate(
        async ({ model, dtype }) => {
          const address = "/pkg/dist/index.js";
          const { Embedder, exportModel, clearCache, importModel } = await import(address);
          await (await Embedder.load(model, { dtype })).dispose();
          const archive = await exportModel(model);
          await clearCache();
          await importModel(model, archive);
          const embedder = await Embedder.load(model, { dtype, localFilesOnly: true });
          const vector: Float32Array = await embedder.encode("a quick brown fox");
          await embedder.dispose();
          return [...vector];
        },
        { model: address("sharded"), dtype },
      );
      assert.deepEqual(vector, dtype === "q8" ? goodPackedVector : goodVector, dtype);
      await deleteStored(browser.page);
    }
  });

  test("of which one is missing are refused by its name", async () => {
    await assertRefused("half", "model_not_found", address("half") + SHARDS[1]!, INDEX);
  });
});

describe("a folder's other files", () => {
  test("vocab.txt takes the place of tokenizer.json", async () => {
    await folderOf("vocabulary", async (folder) => {
      const { model } = JSON.parse(await readFile(join(folder, "tokenizer.json"), "utf8"));
      const tokens = Object.entries(model.vocab as Record<string, number>).sort(([, a], [, b]) => a - b);
      await writeFile(join(folder, "vocab.txt"), tokens.map(([token]) => `${token}\n`).join(""));
      await rm(join(folder, "tokenizer.json"));
    });
    await assertLoads("vocabulary");
  });

  test("modules in folders of their own", async () => {
    await folderOf("deep", async (folder) => {
      await mkdir(join(folder, "0_Transformer"));
      for (const file of [
        "config.json",
        WEIGHTS,
        "tokenizer.json",
        "tokenizer_config.json",
        "sentence_bert_config.json",
      ]) {
        await cp(join(folder, file), join(folder, "0_Transformer", file));
        await rm(join(folder, file));
      }
      const modules = JSON.parse(await readFile(join(folder, "modules.json"), "utf8"));
      modules[0].path = "0_Transformer";
      await writeFile(join(folder, "modules.json"), JSON.stringify(modules));
    });
    await assertLoads("deep");
  });

  test("neither tokenizer.json nor vocab.txt", async () => {
    await folderOf("mute", (folder) => rm(join(folder, "tokenizer.json")));
    await assertRefused("mute", "model_not_found", address("mute"), "tokenizer.json");
  });

  test("tensors that no encoder has are left out", async () => {
    await folderOf("surplus", async (folder) => {
      const { header, data } = safetensors.split(await readFile(join(folder, WEIGHTS)));
      const data_offsets: [number, number] = [data.length, data.length + 64];
      const changed = { ...header, "classifier.weight": { dtype: "F32", shape: [2, 8], data_offsets } };
      await writeFile(join(folder, WEIGHTS), safetensors.join(changed, Buffer.concat([data, Buffer.alloc(64, 255)])));
    });
    await assertLoads("surplus");
  });

  test("and so are layers that config.json does not count", async () => {
    await folderOf("shallow", async (folder) => {
      const config = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
      await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, num_hidden_layers: 1 }));
    });
    const vector = await vectorOf("shallow");
    assert.ok(vector.every(Number.isFinite));
    assert.notDeepEqual(vector, goodVector);
  });
});

describe("what stands in place of files", () => {
  const POINTED = [WEIGHTS, "tokenizer.json", "config.json"];

  for (const file of POINTED) {
    test(`a Git LFS pointer in place of ${file}`, async () => {
      const name = `pointer-${file}`;
      await folderOf(name, async (folder) => {
        const path = join(folder, file);
        await writeFile(path, pointerTo(await readFile(path)));
      });
      await assertRefused(name, "integrity", address(name) + file, "git lfs pull");
    });
  }

  for (const others of [["pytorch_model.bin"], ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"]]) {
    test(`${others[0]} only`, async () => {
      const name = others[0]!;
      await folderOf(name, async (folder) => {
        for (const file of others) await writeFile(join(folder, file), "");
        await rm(join(folder, WEIGHTS));
      });
      await assertRefused(name, "model_not_found", address(name) + WEIGHTS, others[0]!, "save_pretrained");
      // A pickle may be large, and nothing but its being there is of interest.
      for (const { path, sent } of server.requests) if (path.endsWith(".bin")) assert.equal(sent, 0);
    });
  }

  test("an ONNX file only, as in folders for transformers.js", async () => {
    await folderOf("onnx", async (folder) => {
      await mkdir(join(folder, "onnx"));
      await writeFile(join(folder, "onnx/model.onnx"), Buffer.alloc(1 << 20));
      await rm(join(folder, WEIGHTS));
    });
    await assertRefused(
      "onnx",
      "model_not_found",
      address("onnx") + WEIGHTS,
      "onnx/model.onnx",
      "the ONNX file was exported from",
    );
  });

  test("a PEFT adapter", async () => {
    await folderOf("adapter", (folder) => writeFile(join(folder, "adapter_config.json"), "{}"));
    await assertRefused("adapter", "unsupported_model", `${address("adapter")}adapter_config.json`, "merge_and_unload");
  });

  test("a start page in place of whatever is not there, as servers of single-page apps give it", async () => {
    const page = sends("<!doctype html><title>Welcome</title>", "text/html; charset=utf-8");
    for (const name of ["tiny-cls", "tiny-no-modules"]) {
      await cp(join(FIXTURES, name), join(models, `app-${name}`), { recursive: true });
      const started = server.requests.length;
      await load(browser.page, address(`app-${name}`));
      await deleteStored(browser.page);
      // Which these are has just been seen.
      for (const { path } of server.requests.slice(started)) {
        const isThere = await readFile(join(models, path)).then(
          () => true,
          () => false,
        );
        if (!isThere) server.answers.set(path, page);
      }
      assert.ok(
        server.answers.has(`/app-${name}/manifest.json`) && server.answers.has(`/app-${name}/adapter_config.json`),
      );
      const vector = await vectorOf(`app-${name}`);
      assert.equal(vector.length, 32);
      if (name === "tiny-cls") assert.deepEqual(vector, goodVector);
      else {
        // A text that the fixtures have a vector of.
        const [each] = read(`models/${name}/expected.json`).cases;
        const { vector } = await browser.page.evaluate(
          async ({ model, text }) => {
            const address = "/pkg/dist/index.js";
            const { Embedder } = await import(address);
            const embedder = await Embedder.load(model, { dtype: "fp32" });
            const vector: Float32Array = await embedder.encode(text);
            await embedder.dispose();
            return { vector: [...vector] };
          },
          { model: address(`app-${name}`), text: each!.text },
        );
        expectedOf(each!).forEach((x, i) =>
          assert.ok(Math.abs(x - vector[i]!) < TOLERANCE, `${i}: ${vector[i]} instead of ${x}`),
        );
      }
    }
  });

  test("a start page in place of the whole folder", async () => {
    const page = sends("<!doctype html><title>Welcome</title>", "text/html; charset=utf-8");
    for (const file of ["manifest.json", "modules.json", "config_sentence_transformers.json", "config.json"]) {
      server.answers.set(`/nowhere/${file}`, page);
    }
    await assertRefused("nowhere", "integrity", `${address("nowhere")}config.json`, "web page");
  });
});
