// Loads, deletions, imports and evictions at the same time, in the browser's own IndexedDB: no record without all of
// its bytes, and no connection that stays open. tests/unit/store-interleaving.test.ts has many more of them.
//
// EMBERVEC_INTERLEAVINGS: how many. EMBERVEC_FUZZ_SEED: where the random numbers begin.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import fc from "fast-check";

import { openPage, type TestPage, withPrelude } from "../support/browser.ts";
import { type ModelServer, serveModels } from "../support/model-server.ts";

const RUNS = Number(process.env["EMBERVEC_INTERLEAVINGS"] ?? 100);
const SEED = Number(process.env["EMBERVEC_FUZZ_SEED"] ?? 15);
const FOLDERS = ["tiny-cls", "tiny-dense"];

/** In the page. */
declare const embervec: typeof import("../../pkg/src/index.ts");
declare const archives: Record<string, Blob>;
declare const connections: Set<IDBDatabase>;

/** Now and then there is hardly any room, so that a load has to make some. */
const TIGHT =
  "StorageManager.prototype.estimate = async () => ({ quota: 1e6, usage: Math.random() < 0.3 ? 1e6 - 1000 : 0 });";

let server: ModelServer;
let browser: TestPage;

before(async () => {
  server = await serveModels();
  browser = await openPage({ connectTo: server.origin, overlay: await withPrelude({ "worker.js": TIGHT }) });
  await browser.page.evaluate(
    async (models) => {
      const connections = new Set<IDBDatabase>();
      const { open } = IDBFactory.prototype;
      IDBFactory.prototype.open = function (...args) {
        const request = open.apply(this, args);
        request.addEventListener("success", () => connections.add(request.result));
        return request;
      };
      const { close } = IDBDatabase.prototype;
      IDBDatabase.prototype.close = function () {
        connections.delete(this);
        close.call(this);
      };
      const address = "/pkg/dist/index.js";
      const archives: Record<string, Blob> = {};
      Object.assign(globalThis, { embervec: await import(address), archives, connections });
      const entries = new Map<string, Uint8Array<ArrayBuffer>>();
      const matching = (prefix: string) => [...entries.keys()].filter((key) => key.startsWith(prefix));
      const cache = {
        get: async (key: string) => entries.get(key),
        put: async (key: string, bytes: Uint8Array<ArrayBuffer>) => void entries.set(key, bytes),
        delete: async (prefix: string) => matching(prefix).forEach((key) => entries.delete(key)),
        keys: async (prefix: string) => matching(prefix),
        room: async () => Infinity,
      };
      for (const model of models) {
        for (const dtype of ["fp32", "q8"] as const) {
          await (await embervec.Embedder.load(model, { dtype, cache })).dispose();
          archives[`${model} ${dtype}`] = await embervec.exportModel(model, { cache });
          entries.clear();
        }
      }
    },
    FOLDERS.map((folder) => `${server.origin}/${folder}/`),
  );
});
after(async () => {
  await browser.close();
  await server.close();
});

interface Action {
  kind: "load" | "delete" | "clear" | "import" | "export" | "isCached" | "list";
  folder: string;
  dtype: "fp32" | "q8";
  /** Milliseconds before it begins. */
  begins: number;
  /** Milliseconds before a load is aborted. */
  aborts: number | undefined;
}

const action = fc.record<Action>({
  kind: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom("delete" as const, "clear" as const, "import" as const) },
    { weight: 2, arbitrary: fc.constantFrom("load" as const, "export" as const, "isCached" as const, "list" as const) },
  ),
  folder: fc.constantFrom(...FOLDERS),
  dtype: fc.constantFrom("fp32", "q8"),
  begins: fc.nat(400),
  aborts: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat(400) }),
});
/** Nothing happens without a load. */
const actions = fc
  .tuple(
    fc.array(
      action.map((action) => ({ ...action, kind: "load" as const })),
      { minLength: 1, maxLength: 2 },
    ),
    fc.array(action, { minLength: 1, maxLength: 4 }),
  )
  .map(([loads, others]) => [...loads, ...others] as Action[]);

test("whatever is done at the same time, a record has all of its bytes", async (t) => {
  const outcomes = new Map<string, number>();
  const run = async (actions: Action[]) => {
    const { done, problems, open, deleted } = await browser.page.evaluate(
      async ({ actions, origin }) => {
        const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
        const embedders: import("../../pkg/src/index.ts").Embedder[] = [];
        const act = async ({ kind, folder, dtype, begins, aborts }: (typeof actions)[number]): Promise<unknown> => {
          await sleep(begins);
          const model = `${origin}/${folder}/`;
          switch (kind) {
            case "load": {
              const controller = new AbortController();
              if (aborts !== undefined) setTimeout(() => controller.abort(new Error("aborted")), aborts);
              const embedder = await embervec.Embedder.load(model, { dtype, signal: controller.signal });
              embedders.push(embedder);
              const vector = await embedder.encode("a quick brown fox");
              if (!vector.every(Number.isFinite)) throw new Error("the vector is not finite");
              return embedder.info.stored ? "stored" : embedder.info.storedReason;
            }
            case "delete":
              return embervec.deleteModel(model);
            case "clear":
              return embervec.clearCache();
            case "import":
              return embervec.importModel(model, archives[`${model} ${dtype}`]!);
            case "export":
              return embervec.exportModel(model);
            case "isCached":
              return embervec.isCached(model);
            case "list":
              return embervec.listModels();
          }
        };
        const done = await Promise.all(
          actions.map((action) =>
            act(action).then(
              (result) => `${action.kind}: ${typeof result === "string" ? result : "done"}`,
              (error) => `${action.kind}: ${error.code ?? error.message}`,
            ),
          ),
        );
        for (const embedder of embedders) await embedder.dispose();
        const finished = <T>(request: IDBRequest<T>) =>
          new Promise<T>((resolve, reject) =>
            Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }),
          );
        await sleep(0);
        const open = connections.size;

        const problems: string[] = [];
        if ((await indexedDB.databases()).some(({ name }) => name === "embervec")) {
          const database = await finished(indexedDB.open("embervec"));
          const store = () => database.transaction("entries").objectStore("entries");
          for (const key of (await finished(store().getAllKeys())).map(String)) {
            const [, model] = /^model (\S+) $/.exec(key) ?? [];
            if (model === undefined) continue;
            const { files } = JSON.parse(new TextDecoder().decode(await finished(store().get(key))));
            for (const [path, { size, version, chunks }] of Object.entries<{
              size: number;
              version: string;
              chunks: string[];
            }>(files)) {
              let length = 0;
              for (const [index, digest] of chunks.entries()) {
                const parts = [path, version].map(encodeURIComponent).join(" ");
                const bytes: Uint8Array<ArrayBuffer> | undefined = await finished(
                  store().get(`chunk ${model} ${parts} ${index} ${digest}`),
                );
                const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes ?? new Uint8Array(0)));
                if ([...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("") === digest)
                  length += bytes!.byteLength;
              }
              if (length !== size) problems.push(`${model}${path} has ${length} of ${size} bytes`);
            }
          }
          database.close();
        }
        // A worker that has been ended gives its connection back as soon as the browser comes to it.
        const deleted = await Promise.race([
          finished(indexedDB.deleteDatabase("embervec")).then(() => true),
          sleep(5000).then(() => false),
        ]);
        return { done, problems, open, deleted };
      },
      { actions, origin: server.origin },
    );
    assert.deepEqual({ problems, open, deleted }, { problems: [], open: 0, deleted: true });
    actions.forEach(({ kind, aborts }, i) => {
      const outcome = done[i]!;
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      const mayBe: Record<Action["kind"], RegExp> = {
        load:
          aborts === undefined
            ? /: (stored|The model is not kept, because (it was deleted|this browser has no room))/
            : /: (stored|The model is not kept|aborted)/,
        import: /: (done|quota|storage)$/,
        export: /: (done|model_not_found|integrity)$/,
        delete: /: done$/,
        clear: /: done$/,
        isCached: /: done$/,
        list: /: done$/,
      };
      assert.match(outcome, mayBe[kind]);
    });
  };
  await fc.assert(fc.asyncProperty(actions, run), {
    numRuns: RUNS,
    seed: SEED,
    includeErrorInReport: true,
    endOnFailure: true,
  });
  for (const [outcome, times] of [...outcomes].sort()) t.diagnostic(`${outcome}: ${times}`);
});
