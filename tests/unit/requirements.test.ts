// What a browser must have: each thing is missed, and the versions are those that the README names.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, test } from "node:test";

import { EmbervecError } from "../../pkg/src/errors.ts";
import { checkRequirements } from "../../pkg/src/requirements.ts";

/** As browsers do it since they know module workers. */
class ModernWorker {
  constructor(_url: string, { type }: WorkerOptions) {
    assert.equal(type, "module");
  }
}

/** As they did it before. */
class OldWorker {
  static ended = 0;

  terminate(): void {
    OldWorker.ended += 1;
  }
}

const { Worker, WebAssembly } = globalThis;
const { throwIfAborted } = AbortSignal.prototype;
beforeEach(() => void Object.assign(globalThis, { Worker: ModernWorker }));
afterEach(() => {
  Object.assign(globalThis, { Worker, WebAssembly });
  AbortSignal.prototype.throwIfAborted = throwIfAborted;
});

function assertMissing(...words: string[]): void {
  assert.throws(checkRequirements, (error) => {
    assert.ok(error instanceof EmbervecError);
    assert.equal(error.code, "unsupported_device");
    for (const word of words) assert.ok(error.message.includes(word), error.message);
    return true;
  });
}

test("nothing is missing", checkRequirements);

test("no workers, as on a server", () => {
  Object.assign(globalThis, { Worker: undefined });
  assertMissing("Web Workers", "server");
});

test("no WebAssembly", () => {
  Object.assign(globalThis, { WebAssembly: undefined });
  assertMissing("needs WebAssembly (", "which this browser does not have", "Firefox 114");
});

test("no WebAssembly SIMD", () => {
  Object.assign(globalThis, { WebAssembly: { validate: () => false } });
  assertMissing("needs WebAssembly SIMD", "Safari 16.4");
});

test("no module workers, and what was started to find it out is ended", () => {
  Object.assign(globalThis, { Worker: OldWorker });
  assertMissing("needs module workers", "Firefox 114");
  assert.equal(OldWorker.ended, 1);
});

test("no AbortSignal.throwIfAborted, and no SIMD either", () => {
  Object.assign(globalThis, { WebAssembly: { validate: () => false } });
  Reflect.deleteProperty(AbortSignal.prototype, "throwIfAborted");
  assertMissing("WebAssembly SIMD and reference types and AbortSignal.throwIfAborted", "Chrome 100");
});

test("a worker's address that is refused says nothing of module workers", () => {
  Object.assign(globalThis, {
    Worker: class {
      constructor() {
        throw new DOMException("it is no trusted address", "SecurityError");
      }
    },
  });
  checkRequirements();
});

const file = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

test("the package's README names the same versions", () => {
  const [, chrome, firefox, safari] =
    /^\| \*\*all\*\* \| \*\*(\d+)\*\* \| \*\*(\d+)\*\* \| \*\*([\d.]+)\*\* \|$/m.exec(file("pkg/README.md")) ?? [];
  Object.assign(globalThis, { WebAssembly: undefined });
  assertMissing(`Chrome ${chrome}, Edge ${chrome}, Firefox ${firefox}, Safari ${safari},`);
});

test("the package calls nothing that these versions lack", () => {
  // The compiler knows the language's own (`lib` in pkg/tsconfig.json); these are the platform's.
  const newer = [
    "AbortSignal.any",
    "AbortSignal.timeout",
    "URL.canParse",
    "URL.parse",
    "ReadableStream.from",
    ".databases(",
    ".bytes()",
    ".createWritable(",
    "requestIdleCallback",
    "scheduler.",
  ];
  for (const path of ["pkg/dist/index.js", "pkg/dist/worker.js"]) {
    const script = file(path);
    assert.deepEqual(
      newer.filter((name) => script.includes(name)),
      [],
      path,
    );
    // Safari cannot take a stream's pieces so.
    assert.doesNotMatch(script, /for await\([^)]* of [\w.]*\.body\)/, path);
  }
});
