// The package as npm publishes it, and a project that has it installed.

import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { temporaryFolder } from "./temporary.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export interface Tarball {
  file: string;
  /** Bytes of each file in it, by path. */
  files: ReadonlyMap<string, number>;
}

interface Packed {
  filename: string;
  files: { path: string; size: number }[];
}

/** Runs npm and gives what it prints. */
export async function npm(folder: string, ...args: string[]): Promise<string> {
  const options = { cwd: folder, shell: process.platform === "win32" };
  return (await promisify(execFile)("npm", args, options)).stdout;
}

/** Packs `pkg`, which has to be built. */
export async function pack(): Promise<Tarball> {
  const folder = await temporaryFolder();
  const [packed] = JSON.parse(await npm(join(ROOT, "pkg"), "pack", "--json", "--pack-destination", folder)) as [Packed];
  return {
    file: join(folder, packed.filename),
    files: new Map(packed.files.map(({ path, size }) => [path, size])),
  };
}

/** A project of its own in a new folder, with the tarball installed as a user would. */
export async function installed({ file }: Tarball): Promise<string> {
  const folder = join(await temporaryFolder(), "project");
  await mkdir(folder);
  await writeFile(join(folder, "package.json"), JSON.stringify({ name: "project", private: true, type: "module" }));
  await npm(folder, "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", file);
  return folder;
}
