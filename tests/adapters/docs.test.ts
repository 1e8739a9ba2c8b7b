// Every example of the documentation of the adapters runs as it is, in a Node of its own.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { miniLm } from "./support.ts";

const run = promisify(execFile);
const here = import.meta.dirname;
const MODEL = "/sentence-transformers/all-MiniLM-L6-v2/resolve/main/";

/** A hub with one model. */
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url!, "http://localhost");
  const file = pathname.startsWith(MODEL) ? join(miniLm, pathname.slice(MODEL.length)) : undefined;
  (file ? readFile(file) : Promise.reject(new Error(pathname))).then(
    (bytes) => response.writeHead(200, { "content-length": bytes.length }).end(bytes),
    () => response.writeHead(404).end(),
  );
});
let cache = "";

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cache = await mkdtemp(join(tmpdir(), "embervec-docs-"));
});
after(async () => {
  server.close();
  await rm(cache, { recursive: true, force: true });
});

async function examplesOf(name: string): Promise<string[]> {
  const text = await readFile(join(here, "../../docs", name), "utf8");
  const examples = [...text.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code!);
  assert.ok(examples.length > 0, name);
  return examples;
}

/** What an example prints. */
async function output(code: string): Promise<string> {
  // Beside this file, where the libraries are found.
  const file = join(here, `example-${process.pid}.mjs`);
  await writeFile(file, code);
  try {
    const { port } = server.address() as AddressInfo;
    const env = { ...process.env, HF_ENDPOINT: `http://127.0.0.1:${port}`, EMBERVEC_CACHE: cache };
    const { stdout } = await run(process.execPath, [file], { env, timeout: 120_000 });
    return stdout;
  } finally {
    await rm(file);
  }
}

test("ADAPTERS.md", async () => {
  const [ai, langchain, transformers, semantic, orama, ...others] = await examplesOf("ADAPTERS.md");
  assert.equal(others.length, 0);
  const [, fox, bank, tokens] = /\[\s*([\d.]+),\s*(-?[\d.]+)\s*\]\s*(\d+)/.exec(await output(ai!)) ?? [];
  assert.ok(Number(fox) > Number(bank) && Number(tokens) === 16, `${fox} ${bank} ${tokens}`);
  assert.match(await output(langchain!), /^2 384$/m);
  const [, similarity] = /^\[ 2, 384 \] (0\.\d+)$/m.exec(await output(transformers!)) ?? [];
  assert.ok(Number(similarity) > 0.7, similarity);
  assert.match(await output(semantic!), /^0\.\d+ \{ tokenCount: \d+, truncated: false \}$/m);
  assert.match(await output(orama!), /^Foxes$/m);
});

test("MIGRATING.md", async () => {
  for (const example of await examplesOf("MIGRATING.md")) assert.match(await output(example), /Float32Array\(2\)/);
});
