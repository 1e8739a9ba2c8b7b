// The licences of what the package contains of others: the crates that are linked into the wasm modules, and the npm
// packages that are bundled into the JavaScript.

import { execFileSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

const root = join(import.meta.dirname, "..");

/**
 * The licences that we may ship, by SPDX id, each with words that only its text has. Where a package offers several,
 * the first of these is taken. MPL-2.0 demands that users can get the source, so the notices name its address.
 */
const ALLOWED = {
  MIT: /Permission is hereby granted, free of charge, to any person obtaining a copy\s+of this software and/,
  ISC: /Permission to use, copy, modify, and(\/or)? distribute this software [^.,]* is hereby granted, provided that/,
  "0BSD": /Permission to use, copy, modify, and(\/or)? distribute this software [^.,]* is hereby granted\./,
  "BSD-2-Clause": /Redistribution and use in source and binary forms(?![^]*Neither the name)/,
  "BSD-3-Clause": /Redistribution and use in source and binary forms[^]*Neither the name/,
  Zlib: /This software is provided 'as-is', without any express or implied warranty/,
  "BSL-1.0": /Boost Software License - Version 1\.0/,
  "Unicode-3.0": /UNICODE LICENSE V3/,
  "Apache-2.0": /TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION(?![^]*LLVM Exceptions)/,
  "Apache-2.0 WITH LLVM-exception": /TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION[^]*LLVM Exceptions/,
  Unlicense: /This is free and unencumbered software released into the public domain/,
  "MPL-2.0": /Mozilla Public License Version 2\.0/,
};
const IDS = Object.keys(ALLOWED);

/**
 * The text of `THIRD-PARTY-NOTICES.txt`.
 *
 * @param bundled the files that esbuild has bundled, from its metafile
 */
export async function notices(bundled) {
  return textFor([...STANDARD_LIBRARY, ...(await crates()), ...(await npmPackages(bundled))], INTRODUCTION);
}

/** The same for a web page, without what it has of embervec. */
export async function pageNotices(bundled) {
  const packages = await npmPackages(bundled);
  // Files of another author, with a licence of their own.
  const pdf = packages.find(({ name }) => name === "pdfjs-dist");
  if (pdf) {
    const folder = join(pdf.folder, "cmaps");
    packages.push({ ...pdf, name: "pdfjs-dist/cmaps", license: "BSD-3-Clause", authors: "Adobe", folder });
  }
  return textFor(packages, PAGE_INTRODUCTION);
}

async function textFor(packages, introduction) {
  for (const one of packages) Object.assign(one, await textsIn(one.folder));
  const groups = new Map();
  for (const one of packages) {
    const ids = choose(one);
    for (const id of ids) {
      const { body, copyright } = split(id, one.texts.get(id) ?? standardText(id, packages, one));
      const key = `${id} ${body.replace(/[^a-z0-9]+/gi, " ").toLowerCase()}`;
      if (!groups.has(key)) groups.set(key, { id, body, packages: [] });
      groups.get(key).packages.push({ ...one, copyright });
    }
  }
  const sections = [...groups.values()].sort((a, b) => IDS.indexOf(a.id) - IDS.indexOf(b.id));
  return [introduction, ...sections.map(section)].join(`\n${"=".repeat(80)}\n\n`);
}

const INTRODUCTION = `\
embervec contains code of other projects, under the licences below. "crate" stands for Rust code in the .wasm files,
"npm" for JavaScript in the .js files. embervec itself is licensed under MIT or Apache-2.0: see LICENSE-MIT and
LICENSE-APACHE.
`;

const PAGE_INTRODUCTION = `\
This page contains code of other projects, under the licences below. What is in embervec itself follows behind them.
`;

function section({ id, body, packages }) {
  const list = packages.map(({ kind, name, version, source, copyright, notice }) => {
    const lines = [...copyright];
    if (id === "MPL-2.0") lines.push(`Source: ${source}`);
    if (id.startsWith("Apache-2.0") && notice) lines.push(...notice.trim().split(/\s*\n/));
    return [`${kind} ${name} ${version}`, ...lines.map((line) => `    ${line}`)].join("\n");
  });
  return `${id}, for:\n\n${list.join("\n")}\n\n${body}\n`;
}

// --- packages ------------------------------------------------------------------------------------------------------

/** Linked into every module, but no package of cargo's. */
const STANDARD_LIBRARY = [
  { kind: "crate", name: "std", version: "(all of it)", license: "MIT", authors: "the Rust Project contributors" },
  { kind: "crate", name: "std", version: "(tables of characters)", license: "Unicode-3.0", authors: "Unicode, Inc." },
];

/** The crates of all modules: every feature's, none that only runs while others compile, and none of our own. */
async function crates() {
  const scope = ["--locked", "--manifest-path", join(root, "Cargo.toml")];
  const tree = cargo(["tree", ...scope, "--package", "embervec-wasm", "--all-features", "--target", TARGET, ...TREE]);
  const linked = new Set(
    tree
      .trim()
      .split("\n")
      .map((line) => line.split(" ").slice(0, 2).join(" ")),
  );
  const metadata = JSON.parse(cargo(["metadata", ...scope, "--format-version", "1", "--filter-platform", TARGET]));
  const found = metadata.packages.filter(({ name, version }) => linked.has(`${name} v${version}`));
  if (found.length !== linked.size)
    throw new Error(`${linked.size} crates are linked, but cargo knows ${found.length}`);
  const others = found.filter(({ source }) => source !== null);
  return others.map(({ name, version, license, authors, manifest_path }) => ({
    kind: "crate",
    name,
    version,
    license,
    authors: authors.map((author) => author.replace(/ *<.*/, "")).join(", ") || `the authors of ${name}`,
    folder: dirname(manifest_path),
    source: `https://crates.io/crates/${name}/${version}`,
  }));
}

const TARGET = "wasm32-unknown-unknown";
const TREE = ["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"];

function cargo(args) {
  const options = { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 };
  return execFileSync(process.env.CARGO ?? "cargo", args, options);
}

async function npmPackages(bundled) {
  const folders = new Set(bundled.map((file) => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(file)?.[0]));
  folders.delete(undefined);
  return Promise.all(
    [...folders].map(async (path) => {
      const folder = resolve(import.meta.dirname, path);
      const { name, version, license, author } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
      const authors = (author?.name ?? author ?? `the authors of ${name}`).replace(/ *[<(].*/, "");
      return { kind: "npm", name, version, license, authors, folder, source: `https://www.npmjs.com/package/${name}` };
    }),
  );
}

/** The licence texts in a package's folder by id, and its notice, which Apache-2.0 wants to be kept. */
async function textsIn(folder) {
  const texts = new Map();
  let notice;
  const entries = folder ? await readdir(folder, { withFileTypes: true }) : [];
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  for (const name of names.filter((name) => /^(un)?licen[cs]e|^copying|^notice/i.test(name)).sort()) {
    const text = (await readFile(join(folder, name), "utf8")).replace(/^%%Copyright: ?/gm, "");
    if (/^notice/i.test(name)) notice = text;
    for (const id of IDS) if (!texts.has(id) && ALLOWED[id].test(collapsed(text))) texts.set(id, text);
  }
  return { texts, notice };
}

const collapsed = (text) => text.replace(/\s+/g, " ").replace(/[‘’`]/g, "'");

// --- licences ------------------------------------------------------------------------------------------------------

/** The ids of the licences under which we take a package. */
export function choose({ kind, name, version, license, texts }) {
  const fail = (why) => {
    throw new Error(`${kind} ${name} ${version}: ${why}: see ALLOWED in pkg/notices.mjs`);
  };
  if (!license) fail("it names no licence");
  const choices = alternatives(license).filter((ids) => ids.every((id) => IDS.includes(id)));
  if (!choices.length) fail(`its licence, ${license}, is none that embervec may ship`);
  // One whose own text is there says whom it is from.
  const rank = (ids) =>
    (ids.every((id) => texts.has(id)) ? 0 : IDS.length) + Math.max(...ids.map((id) => IDS.indexOf(id)));
  return choices.reduce((a, b) => (rank(b) < rank(a) ? b : a));
}

/** An SPDX expression as lists of ids: each is a way to satisfy it. */
function alternatives(expression) {
  const words = expression.replaceAll("/", " OR ").match(/[()]|[^\s()]+/g);
  const or = () => {
    const found = and();
    while (words[0] === "OR") {
      words.shift();
      found.push(...and());
    }
    return found;
  };
  const and = () => {
    let found = one();
    while (words[0] === "AND") {
      words.shift();
      const others = one();
      found = found.flatMap((ids) => others.map((more) => [...ids, ...more]));
    }
    return found;
  };
  const one = () => {
    const word = words.shift();
    if (word === "(") {
      const found = or();
      words.shift();
      return found;
    }
    return [[words[0] === "WITH" ? `${word} ${words.splice(0, 2).join(" ")}` : word]];
  };
  return or();
}

/** For a package without the text of its licence: another one's, which says the same but for the names of authors. */
function standardText(id, packages, { kind, name, version, authors }) {
  const text = packages.find(({ texts }) => texts.has(id))?.texts.get(id) ?? TEXTS[id];
  if (!text)
    throw new Error(`${kind} ${name} ${version}: it comes without the text of ${id}, and no other package has it`);
  return `Copyright (c) ${authors}\n\n${split(id, text).body}`;
}

/** Of a short licence, for a package that comes without its text. */
const TEXTS = {
  ISC: `\
Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED
WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR
CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF
CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.`,
};

const PLACEHOLDER = /[[{<](yyyy|year|name|fullname|copyright)/i;

/** What is the same in all texts of a licence, and the lines that say whose the package is. */
function split(id, text) {
  const lines = text.replaceAll("\r", "").trim().split("\n");
  const isCopyright = (line) =>
    /^\W*(Copyright|©)\s+(?!License|Holder|notice|law)/.test(line) && !PLACEHOLDER.test(line);
  const copyright = lines.filter(isCopyright).map((line) => line.trim().replace(/^[^\w©]+/, ""));
  let body = lines.filter((line) => !isCopyright(line)).join("\n");
  // Titles differ, and what stands below a licence's end is an appendix that tells how to use it.
  if (id === "MIT") body = body.slice(body.indexOf("Permission is hereby granted"));
  if (id === "Apache-2.0") body = body.replace(/(END OF TERMS AND CONDITIONS)[^]*/, "$1");
  return { body: body.trim(), copyright };
}
