// The package's types in other people's programs: with every TypeScript from 5.0 on, and each way to find and to check them.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { installed, pack } from "../support/tarball.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const project = await installed(await pack());

const embervec = join(project, "node_modules/embervec");
const { exports, peerDependencies = {} } = JSON.parse(await readFile(join(embervec, "package.json"), "utf8"));

/** The names of all entries with types, and whether these need those of another package. */
const entries = await Promise.all(
  Object.entries(exports as Record<string, { types?: string }>)
    .filter(([, { types }]) => types)
    .map(async ([name, { types }]) => {
      const imports = (await readFile(join(embervec, types!), "utf8")).matchAll(/ from ['"]([^'"]+)['"]/g);
      return {
        name: `embervec${name.slice(1)}`,
        isAlone: [...imports].every(([, address]) => address!.startsWith(".")),
      };
    }),
);
assert.ok(entries.filter(({ isAlone }) => isAlone).length >= 3);

const importOf = ({ name }: { name: string }, i: number): string => `export * as entry${i} from "${name}";\n`;

interface Version {
  name: string;
  /** How modules are found; the oldest way went with TypeScript 7. */
  resolutions: readonly ("bundler" | "node16" | "node10")[];
  /** The package with Node's types that are as old. */
  node: string;
}

const ALL = ["bundler", "node16", "node10"] as const;
const VERSIONS: readonly Version[] = [
  { name: "5.0", resolutions: ALL, node: "node-types-2023" },
  { name: "5.9", resolutions: ALL, node: "@types/node" },
  { name: "6.0", resolutions: ALL, node: "@types/node" },
  { name: "7.0", resolutions: ["bundler", "node16"], node: "@types/node" },
];

/** What a program may know of the platform: a browser's things, or Node's without `dom`. */
const LIBRARIES = {
  dom: { lib: ["es2022", "dom"], types: [] },
  node: { lib: ["es2022"], types: ["node"] },
};

/** The strictest way, the laxest, and Node's. */
const CHECKS = [
  { library: "dom", skipLibCheck: false, exactOptionalPropertyTypes: true },
  { library: "dom", skipLibCheck: true, exactOptionalPropertyTypes: false },
  { library: "node", skipLibCheck: false, exactOptionalPropertyTypes: true },
] as const;

const MODULES = { bundler: "esnext", node16: "node16", node10: "esnext" };

/** Compiles a program in a folder of its own, with the package found in the project around it. */
async function compile(
  version: Version,
  resolution: Version["resolutions"][number],
  { library, ...checks }: (typeof CHECKS)[number],
): Promise<void> {
  const { name, node } = version;
  const folder = join(project, `${name}-${resolution}-${library}-${checks.skipLibCheck}`);
  await mkdir(join(folder, "node_modules/@types"), { recursive: true });
  await symlink(join(here, "node_modules", node), join(folder, "node_modules/@types/node"), "junction");
  await cp(join(here, "consumer.ts"), join(folder, "consumer.ts"));
  await writeFile(
    join(folder, "entries.ts"),
    entries
      .filter(({ isAlone }) => isAlone)
      .map(importOf)
      .join(""),
  );
  await writeFile(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  const compilerOptions = {
    ...LIBRARIES[library],
    ...checks,
    target: "es2022",
    module: MODULES[resolution],
    moduleResolution: resolution,
    strict: true,
    noUncheckedIndexedAccess: true,
    noEmit: true,
    // The compiler's own libraries are not for us to check.
    skipDefaultLibCheck: true,
    // It says so of node10.
    ...(name === "6.0" && { ignoreDeprecations: "6.0" }),
  };
  await writeFile(
    join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions, files: ["consumer.ts", "entries.ts"] }),
  );
  assert.equal(await tsc(name, folder), "");
}

/** @returns what the compiler says */
async function tsc(version: string, folder: string): Promise<string> {
  const script = join(here, "node_modules", `typescript-${version}`, "bin/tsc");
  const options = { cwd: folder, env: { ...process.env, NODE_OPTIONS: "" }, maxBuffer: 1 << 28 };
  return promisify(execFile)(process.execPath, [script, "--project", folder], options).then(
    ({ stdout }) => stdout,
    ({ stdout, stderr }) => stdout + stderr,
  );
}

describe("the types compile", { concurrency: 2 }, () => {
  for (const version of VERSIONS) {
    for (const resolution of version.resolutions) {
      // How the package is found does not change what is known of Node.
      for (const checks of CHECKS.filter(({ library }) => library === "dom" || resolution === "node16")) {
        const { library, skipLibCheck, exactOptionalPropertyTypes } = checks;
        const flags = [skipLibCheck && "skipLibCheck", exactOptionalPropertyTypes && "exactOptionalPropertyTypes"];
        test([`TypeScript ${version.name}`, resolution, library, ...flags.filter(Boolean)].join(", "), () =>
          compile(version, resolution, checks),
        );
      }
    }
  }
});

// The other packages' own types have faults, which fill pages.
for (const version of ["5.9", "7.0"]) {
  test(`with the packages that they are for, the adapters' types have no fault, TypeScript ${version}`, async () => {
    const folder = join(project, `adapters-${version}`);
    await mkdir(folder);
    const modules = join(folder, "node_modules");
    for (const name of Object.keys(peerDependencies)) {
      await mkdir(join(modules, name, ".."), { recursive: true });
      await symlink(join(here, "../../node_modules", name), join(modules, name), "junction");
    }
    // Here the package must find them, too, and not through a link.
    await cp(embervec, join(modules, "embervec"), { recursive: true });
    await writeFile(join(folder, "entries.ts"), entries.map(importOf).join(""));
    const compilerOptions = {
      ...LIBRARIES.dom,
      target: "es2022",
      module: "esnext",
      moduleResolution: "bundler",
      strict: true,
      noEmit: true,
      skipDefaultLibCheck: true,
    };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["entries.ts"] }));
    const faults = (await tsc(version, folder)).split("\n").filter((line) => /^(entries|.*embervec\/dist)/.test(line));
    assert.deepEqual(faults, []);
  });
}
