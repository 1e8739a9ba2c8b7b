// Finds where the package waits for the platform: by types, so that a new call cannot go by a name that nobody thought of.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import {
  type CallExpression,
  type ForOfStatement,
  type NewExpression,
  type Node,
  type PropertyAccessExpression,
  type SourceFile,
  SyntaxKind,
} from "typescript/unstable/ast";
import { API, type Checker, type Program } from "typescript/unstable/sync";

const PACKAGE = fileURLToPath(new URL("../../pkg/", import.meta.url));
const SOURCES = `${PACKAGE}src/`;

/** Of IndexedDB, whose requests fire events, and what messages go through. */
const EVENT_TYPES = /^(IDB\w*Request|IDBTransaction|Worker|SharedWorker|MessageChannel|BroadcastChannel)\b/;

/**
 * Every call in `pkg/src` that gives a promise, or something that fires events, and whose code is not in `pkg/src`: as
 * `model/fetch.ts fetch`, each once. So too promises that are there without a call (`GPUDevice.lost`), and what is iterated over as it comes
 * (`for await texts`).
 */
export function platformCalls(): Set<string> {
  const api = new API({ cwd: PACKAGE });
  try {
    const [project] = api.updateSnapshot({ openProjects: [`${PACKAGE}tsconfig.json`] }).getProjects();
    const { program, checker } = project!;
    const found = new Set<string>();
    for (const path of program.getSourceFileNames().filter((path) => path.startsWith(SOURCES))) {
      for (const name of callsOf(program.getSourceFile(path)!, program, checker))
        found.add(`${path.slice(SOURCES.length)} ${name}`);
    }
    return found;
  } finally {
    api.close();
  }
}

function callsOf(file: SourceFile, program: Program, checker: Checker): string[] {
  const names: string[] = [];
  const visit = (node: Node): void => {
    if (node.kind === SyntaxKind.CallExpression || node.kind === SyntaxKind.NewExpression) {
      const name = nameOf(node as CallExpression | NewExpression, file, program, checker);
      if (name !== undefined) names.push(name);
    } else if (
      node.kind === SyntaxKind.PropertyAccessExpression &&
      (node.parent as { expression?: Node }).expression !== node
    ) {
      const { name } = node as PropertyAccessExpression;
      const declared = isPromise(node, checker) && checker.getSymbolAtLocation(name)?.valueDeclaration?.resolve();
      if (declared && !isOurs(declared)) names.push(`${ownerOf(declared)}.${name.getText(file)}`);
    } else if (node.kind === SyntaxKind.ForOfStatement && (node as ForOfStatement).awaitModifier) {
      const { expression } = node as ForOfStatement;
      if (expression.kind === SyntaxKind.Identifier) names.push(`for await ${expression.getText(file)}`);
    }
    node.forEachChild(visit);
  };
  visit(file);
  return names;
}

/** `undefined` for a call that nobody waits for, or whose code is searched itself. */
function nameOf(
  call: CallExpression | NewExpression,
  file: SourceFile,
  program: Program,
  checker: Checker,
): string | undefined {
  const callee = call.expression.getText(file).replace(/^.*[.?!]/s, "");
  const isPost = callee === "postMessage";
  if (!isPost && !isWaitedFor(call, checker)) return undefined;
  const handle = checker.getResolvedSignature(call)?.declaration;
  const declaration = handle?.resolve() as (Node & { name?: Node; body?: Node }) | undefined;
  if (!handle || !declaration) return callee;
  // A function that is passed in is written somewhere in these sources; a caller's functions and the methods of its objects are not.
  const isCallersFunction = declaration.getSourceFile().fileName === `${SOURCES}types.ts`;
  const isPassedIn = declaration.kind === SyntaxKind.FunctionType && !isCallersFunction;
  if (isOurs(declaration) && (declaration.body || isPassedIn)) return undefined;
  if (call.kind === SyntaxKind.NewExpression) return callee === "Map" ? undefined : `new ${callee}`;
  if (callee === "next") return "AsyncIterator.next";
  // The language is not the platform.
  const declared = declaration.getSourceFile();
  if (program.isSourceFileDefaultLibrary(declared) && /lib\.es[^/]*$/.test(declared.fileName)) {
    return callee === "call" ? call.expression.getText(file) : undefined;
  }
  const owner = ownerOf(declaration);
  return owner === undefined ? callee : `${owner}.${callee}`;
}

function isWaitedFor(call: CallExpression | NewExpression, checker: Checker): boolean {
  return (
    call.parent.kind === SyntaxKind.AwaitExpression ||
    isPromise(call, checker) ||
    EVENT_TYPES.test(typeOf(call, checker) ?? "")
  );
}

function isPromise(node: Node, checker: Checker): boolean {
  const type = checker.getTypeAtLocation(node);
  // One of several types may be a promise.
  const types = type?.isUnionType() ? type.getTypes() : [type];
  return types.some((type) => type && checker.getPropertyOfType(type, "then") !== undefined);
}

function typeOf(node: Node, checker: Checker): string | undefined {
  const type = checker.getTypeAtLocation(node);
  return type && checker.typeToString(checker.getNonNullableType(type) ?? type);
}

function isOurs(declaration: Node): boolean {
  return declaration.getSourceFile().fileName.startsWith(SOURCES);
}

/** The interface or class of a member. */
function ownerOf(declaration: Node): string | undefined {
  return (declaration.parent as { name?: Node }).name?.getText(declaration.getSourceFile());
}

/** The methods of WebGPU that give promises: <https://gpuweb.github.io/gpuweb/#idl-index>. */
const GPU_METHODS = [
  "requestAdapter",
  "requestDevice",
  "mapAsync",
  "onSubmittedWorkDone",
  "popErrorScope",
  "createComputePipelineAsync",
  "createRenderPipelineAsync",
  "getCompilationInfo",
];

/** Those that the GPU's wasm module calls, by its JavaScript. */
export async function gpuCalls(): Promise<string[]> {
  const glue = await readFile(`${PACKAGE}wasm/webgpu/embervec.js`, "utf8");
  return GPU_METHODS.filter((method) => glue.includes(`.${method}(`));
}
