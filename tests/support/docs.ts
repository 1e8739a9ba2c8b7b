// The code blocks, links and paths of the documentation. CONTRIBUTING.md has the conventions.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A fenced block with the comments before it. */
export interface Block {
  /** The document, from the repository's root. */
  document: string;
  /** Of the first line of code. */
  line: number;
  language: string;
  code: string;
  /** It goes on with the program of the block before it. */
  continues: boolean;
  /** Code that comes before it and is not shown. */
  given: string;
  /** It is this file, which the other blocks of the document find beside them. */
  file: string | undefined;
  /** It is run by this test instead. */
  testedBy: string | undefined;
  /** It runs in Node, not in a page. */
  inNode: boolean;
}

/** What a comment before a block may say. */
const DIRECTIVE = /^<!-- (continues|in node|given: .+|file: [\w./-]+|tested by: [\w./-]+) -->$/;
const FENCE = /^```(\w*)$/;
/** Any other fence, which would hide its block from the tests: indented, quoted, with a title, with other marks. */
const OTHER_FENCE = /^[\s>*+\d.-]*(```|~~~)/;

/** Every document that people read, from the repository's root: all but the template of pull requests. */
export function documents(): string[] {
  const inFolder = (folder: string) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith(".md"))
      .sort()
      .map((name) => join(folder, name));
  return [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "pkg/README.md",
    "tests/fixtures/README.md",
    "www/extension/README.md",
    ...inFolder("docs"),
    ...inFolder("docs/guides"),
  ];
}

export const textOf = (document: string): string => readFileSync(join(ROOT, document), "utf8");

export function blocksOf(document: string): Block[] {
  const blocks: Block[] = [];
  let directives: string[] = [];
  let open: Block | undefined;
  for (const [index, line] of textOf(document).split("\n").entries()) {
    const [fence, language] = FENCE.exec(line) ?? [];
    if (OTHER_FENCE.test(line) && (fence === undefined || (open && language !== ""))) {
      throw new Error(`${document}:${index + 1}: not a plain fence: ${line}`);
    }
    if (open) {
      if (fence === undefined) open.code += `${line}\n`;
      else open = void blocks.push(open);
    } else if (fence !== undefined) {
      const valueOf = (name: string) =>
        directives.find((directive) => directive.startsWith(`${name}: `))?.slice(name.length + 2);
      open = {
        document,
        line: index + 2,
        language: language!,
        code: "",
        continues: directives.includes("continues"),
        given: valueOf("given") ?? "",
        file: valueOf("file"),
        testedBy: valueOf("tested by"),
        inNode: directives.includes("in node"),
      };
      directives = [];
    } else if (line.startsWith("<!-- ")) {
      const [, directive] = DIRECTIVE.exec(line) ?? [];
      if (directive === undefined) throw new Error(`${document}:${index + 1}: there is no such comment: ${line}`);
      directives.push(directive);
    } else if (directives.length > 0) {
      throw new Error(`${document}:${index + 1}: a comment stands directly before its block`);
    }
  }
  if (open) throw new Error(`${document}:${open.line}: the block has no end`);
  return blocks;
}

/** Blocks that run as one module. */
export interface Program {
  /** The document and the line of its first block. */
  name: string;
  blocks: [Block, ...Block[]];
  isTyped: boolean;
  code: string;
  /** What it must print, in this order: what follows `// →`. */
  expected: string[];
}

export function programsOf(blocks: readonly Block[]): Program[] {
  const groups: [Block, ...Block[]][] = [];
  for (const block of blocks) {
    if (block.continues) {
      const last = groups.at(-1);
      if (!last) throw new Error(`${block.document}:${block.line} continues nothing`);
      last.push(block);
    } else if (isCode(block)) groups.push([block]);
  }
  return groups.map((group) => {
    const code = group.map(({ given, code }) => (given ? `${given}\n${code}` : code)).join("");
    const [{ document, line, language }] = group;
    return { name: `${document}:${line}`, blocks: group, isTyped: language === "ts", code, expected: expectedOf(code) };
  });
}

export const isCode = ({ language }: Block): boolean => language === "js" || language === "ts";

export const expectedOf = (code: string): string[] =>
  Array.from(code.matchAll(/\/\/ → (.+)$/gm), ([, text]) => text!.trim());

/** Links within the repository that lead nowhere. */
export function deadLinks(document: string): string[] {
  const text = textOf(document).replace(/^```.*?^```$/gms, "");
  return Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, target]) => target!).filter((target) => {
    if (/^[a-z]+:/.test(target)) return false;
    const [path = "", anchor] = target.split("#");
    const file = path === "" ? document : join(dirname(document), path);
    if (!existsSync(join(ROOT, file))) return true;
    return anchor !== undefined && !anchorsOf(file).has(anchor);
  });
}

/** As GitHub makes them. */
function anchorsOf(document: string): Set<string> {
  const headings = Array.from(textOf(document).matchAll(/^#+ (.+)$/gm), ([, heading]) => heading!);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replace(/ /g, "-"),
    ),
  );
}

/** What is made, not kept in the repository. */
const MADE =
  /(^|\/)(dist|wasm|node_modules|\.build|target)(\/|$)|^www\/models\/|^www\/extension\/dist|^pkg\/(LICENSE|README)/;

/** Paths of the repository, in code and in prose, that are not there. */
export function deadPaths(document: string): string[] {
  const paths = textOf(document).matchAll(
    /(?<=^|[\s`"'(=])((?:crate|pkg|www|tests|docs|\.ci)\/[\w./-]*[\w/])(?=$|[\s`"'),:;.])/gm,
  );
  return Array.from(paths, ([, path]) => path!).filter((path) => !MADE.test(path) && !existsSync(join(ROOT, path)));
}

/** Verbs of `cargo xtask` that do not exist. */
export function deadVerbs(document: string): string[] {
  const help = /const HELP: &str = "(.*?)";/s.exec(textOf("crate/xtask/src/main.rs"))![1]!;
  const lines = Array.from(help.matchAll(/^ {2}([a-z][\w |[\]-]*)/gm), ([, words]) => words!);
  const verbs = new Set(lines.flatMap((words) => words.split("|").map((word) => word.trim().split(" ")[0])));
  return Array.from(textOf(document).matchAll(/cargo xtask ([a-z]+)/g), ([, verb]) => verb!).filter(
    (verb) => !verbs.has(verb),
  );
}
