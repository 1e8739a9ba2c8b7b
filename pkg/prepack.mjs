// Runs before `npm pack` and `npm publish`, which would send whatever lies in `dist`.

import { readdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";

const pkg = import.meta.dirname;
const root = join(pkg, "..");

/** Every file below these places, with the time of its last change. What is not there has none. */
async function filesOf(...places) {
  const files = [];
  for (const place of places) {
    const info = await stat(place).catch(() => undefined);
    if (!info) continue;
    if (info.isDirectory()) files.push(...(await filesOf(...(await readdir(place)).map((name) => join(place, name)))));
    else files.push({ path: relative(root, place), time: info.mtimeMs });
  }
  return files;
}

const oldest = (files) => files.reduce((a, b) => (b.time < a.time ? b : a));
const newest = (files) => files.reduce((a, b) => (b.time > a.time ? b : a));

function refuse(why) {
  console.error(
    `embervec is not packed: ${why}. Run \`cargo xtask pkg\` first, or \`cargo xtask package\`, which does both.`,
  );
  process.exit(1);
}

function checkAge(made, sources) {
  const [last, first] = [newest(sources), oldest(made)];
  if (last.time > first.time) refuse(`${last.path} is newer than ${first.path}`);
}

const dist = await filesOf(join(pkg, "dist"));
if (!dist.length) refuse("there is no pkg/dist");
const modules = await filesOf(join(pkg, "wasm"));
const isStamp = ({ path }) => path.endsWith(".stamp");
if (!modules.length) refuse("there is no pkg/wasm");

checkAge(dist, [
  ...modules.filter((file) => !isStamp(file)),
  ...(await filesOf(...["src", "package.json", "build.mjs", "notices.mjs"].map((name) => join(pkg, name)))),
]);

// The modules' stamps: of what is in them, xtask says so whenever it has compared them with the sources. Crates of no
// module do not count.
const crates = (await readdir(join(root, "crate"))).filter((name) => name !== "xtask" && name !== "fuzz");
checkAge(
  modules.filter(isStamp),
  await filesOf(join(root, "Cargo.lock"), ...crates.map((name) => join(root, "crate", name, "src"))),
);
