// Who may import whom. Cycles are the linter's to find (`import/no-cycle`).

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join, posix } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "../..");
const SOURCES = "pkg/src/";

/** A file, a folder (ends with `/`) or a kind of module (`node:`). */
type Place = string;

interface Rule {
  why: string;
  from: Place[];
  never: Place[];
  /** Files to which the rule does not apply. */
  exceptFrom?: Place[];
  /** What may be imported all the same. */
  except?: Place[];
  /** Types may be imported: nothing of them is in a bundle. */
  butTypes?: true;
}

interface Import {
  from: string;
  /** A file, from the repository's root, or what is written, if that is no relative path. */
  to: string;
  isType: boolean;
}

const sources = (...names: string[]): Place[] => names.map((name) => SOURCES + name);

/** What runs on the page. */
const PAGE = sources("index.ts", "embedder.ts", "manage.ts", "options.ts", "worker/pool.ts");
/** The first modules of the workers' scripts. */
const WORKERS = sources("worker/host.ts", "gpu/host.ts", "search/worker.ts");
/** What of `embervec/search` is on the page. */
const SEARCH_PAGE = sources("search/index.ts", "search/search-index.ts", "search/service.ts", "search/options.ts");

const RULES: Rule[] = [
  {
    why: "the cache does not know who loads a model, and of a model's files it knows only the manifest",
    from: sources("cache/"),
    never: [...sources("model/", "worker/", "gpu/"), ...PAGE],
    except: sources("model/manifest.ts"),
    butTypes: true,
  },
  {
    why: "a download does not know who asked for it, or who uses it",
    from: sources("model/"),
    never: [...sources("worker/", "gpu/"), ...PAGE],
    butTypes: true,
  },
  {
    why: "a worker's script is started, never imported, except by the one for Node",
    from: sources(""),
    exceptFrom: sources("node/"),
    never: WORKERS,
  },
  {
    why: "an import of wasm puts its bindings into the bundle; only workers and Node's programs need them",
    from: sources(""),
    exceptFrom: [
      ...WORKERS,
      ...sources("node/", "search/state.ts", "search/stored-index.ts", "search/folder-index.ts"),
      ...sources("search/adding.ts", "search/groups.ts", "search/verify.ts"),
    ],
    never: ["pkg/wasm/"],
    butTypes: true,
  },
  {
    why: "index.ts is for users of the package; importing it inside would make a cycle",
    from: sources(""),
    exceptFrom: sources("adapters/", "node/", "search/", "errors-of-index.ts"),
    never: sources("index.ts"),
    butTypes: true,
  },
  {
    why: "index.js is on the page; the index's worker is another realm, and the page has no wasm",
    from: sources("search/"),
    exceptFrom: SEARCH_PAGE,
    never: [...PAGE, ...SEARCH_PAGE],
    butTypes: true,
  },
  {
    why: "the index's page half leaves the work to its worker",
    from: SEARCH_PAGE,
    never: sources("search/worker.ts", "search/index-host.ts", "search/state.ts", "search/stored-index.ts"),
    butTypes: true,
  },
  {
    why: "an adapter is a bundle of its own that imports index.js, so that there is one class Embedder",
    from: sources("adapters/"),
    never: ["pkg/"],
    except: sources("index.ts", "adapters/"),
  },
  {
    why: "browsers have no modules of Node",
    from: sources(""),
    exceptFrom: sources("node/", "platform/"),
    never: ["node:"],
  },
  {
    why: "the package is built without its demo and its tests",
    from: ["pkg/"],
    never: ["www/", "tests/"],
  },
  {
    why: "the demo is a user of the package, and imports `embervec` by name",
    from: ["www/"],
    never: ["pkg/", "/pkg/", "tests/"],
  },
  {
    why: "these test the package as its users see it, through index.ts",
    from: ["tests/browser/", "tests/engines/", "tests/bench/"],
    never: ["pkg/"],
    except: sources("index.ts", "types.ts", "search/index.ts"),
  },
];

const imports = await allImports();

for (const { why, from, exceptFrom = [], never, except = [], butTypes = false } of RULES) {
  test(`imports of ${from.join(", ")}: ${why}`, () => {
    const wrong = imports.filter(
      (found) =>
        isIn(found.from, from) &&
        !isIn(found.from, exceptFrom) &&
        isIn(found.to, never) &&
        !isIn(found.to, except) &&
        !(butTypes && found.isType),
    );
    assert.deepEqual(wrong.map(shown), []);
  });
}

test("nothing of the page's half is in a worker's script", () => {
  for (const worker of WORKERS) {
    const reached = new Set([worker]);
    // A set's loop comes to what is added while it runs.
    for (const file of reached) {
      for (const found of imports) if (found.from === file && !found.isType) reached.add(found.to);
    }
    assert.ok(reached.has(`${SOURCES}cache/locks.ts`), `${worker} imports no cache: is it read?`);
    assert.deepEqual(
      [...reached].filter((file) => isIn(file, [...PAGE, ...SEARCH_PAGE])),
      [],
      worker,
    );
  }
});

test("every import is seen", async () => {
  assert.deepEqual(
    importsOf(
      "pkg/src/model/x.ts",
      'import type { A } from "./a.js";\nimport {\n  type B,\n  type C,\n} from "../b.js";\nimport d, { type E } from "d";\n' +
        'import "../../wasm/f.js";\nexport * from "./g.ts";\nexport { h, type I } from "node:h";\nconst j = await import("./j.js");\n' +
        'declare const k: typeof import("./k.js");\nimport * as l from "./l";\n',
    ).map(({ to, isType }) => `${to}${isType ? " (type)" : ""}`),
    [
      "pkg/src/model/a.ts (type)",
      "pkg/src/b.ts (type)",
      "d",
      "pkg/wasm/f.js",
      "pkg/src/model/g.ts",
      "node:h",
      "pkg/src/model/l.ts",
      "pkg/src/model/j.ts",
      "pkg/src/model/k.ts (type)",
    ],
  );
  // No file of the package is imported by a name that this does not understand.
  const files = new Set(await typeScriptFiles("pkg/src"));
  const unknown = imports.filter(({ to }) => to.startsWith(SOURCES) && !files.has(to));
  assert.deepEqual(unknown.map(shown), []);
});

function isIn(path: string, places: readonly Place[]): boolean {
  return places.some((place) => (/[/:]$/.test(place) ? path.startsWith(place) : path === place));
}

function shown({ from, to }: Import): string {
  return `${from} imports ${to}`;
}

async function allImports(): Promise<Import[]> {
  const found: Import[] = [];
  for (const folder of ["pkg/src", "www", "tests"]) {
    for (const path of await typeScriptFiles(folder))
      found.push(...importsOf(path, await readFile(join(ROOT, path), "utf8")));
  }
  return found;
}

async function typeScriptFiles(folder: string): Promise<string[]> {
  const names = await readdir(join(ROOT, folder), { recursive: true });
  return names
    .map((name) => posix.join(folder, name.replaceAll("\\", "/")))
    .filter((path) => path.endsWith(".ts") && !/\/(node_modules|dist|fixtures)\//.test(path));
}

/** Biome's format makes them easy to find: from the beginning of a line, with double quotes. */
function importsOf(from: string, source: string): Import[] {
  const found: Import[] = [];
  const add = (written: string, isType: boolean) => found.push({ from, to: targetOf(from, written), isType });
  for (const [, type, names, written] of source.matchAll(
    /^(?:import|export) (type )?([\w$*\s,{}]*?)(?: from )?"(.+)"/gm,
  )) {
    const listed = /^\{([^}]*)\}$/.exec(names!)?.[1];
    const isType = listed?.split(",").every((name) => /^\s*(type |$)/.test(name)) ?? false;
    add(written!, type !== undefined || isType);
  }
  for (const [, typeOf, written] of source.matchAll(/(typeof |: )?\bimport\(\s*"([^"]+)"/g))
    add(written!, typeOf !== undefined);
  return found;
}

function targetOf(from: string, written: string): string {
  if (!written.startsWith(".")) return written;
  const path = posix.join(posix.dirname(from), written);
  if (path.startsWith("pkg/wasm/")) return path;
  return /\.\w+$/.test(path) ? path.replace(/\.js$/, ".ts") : `${path}.ts`;
}
