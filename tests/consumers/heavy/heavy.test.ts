// The package from its tarball in Parcel and Next.js, which are larger than all other bundlers together.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { cp } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import type { Browser } from "playwright-core";

import { type ModelServer, serveModels } from "../../support/model-server.ts";
import { assertEmbeds, embed, launch, project, serve, type Served, visit } from "../consumer.ts";

const run = promisify(execFile);
const HERE = fileURLToPath(new URL(".", import.meta.url));
const program = (path: string) => join(HERE, "node_modules", path);

let browser: Browser;
let models: ModelServer;
let model: string;
/** What the files of the package give as they are. */
let expected: number[];

before(async () => {
  [browser, models] = await Promise.all([launch(), serveModels()]);
  model = `${models.origin}/tiny-cls/`;
  const folder = await project("bundled");
  await cp(new URL("../no-bundler/", import.meta.url), folder, { recursive: true });
  await visit(browser, await serve(folder), async (page) => {
    const { vector, error } = await embed(page, model);
    assert.ok(vector && vector.length > 0 && vector.every(Number.isFinite), error?.message);
    expected = vector;
  });
});

after(async () => {
  await browser?.close();
  await models?.close();
});

/** A project that finds the packages of this folder. */
const here = (sources: string, name: string) => project(sources, { folder: join(HERE, ".build", name) });

test("parcel 2", async () => {
  const root = await here("bundled", "parcel");
  const flags = [
    "--dist-dir",
    "dist",
    "--cache-dir",
    ".parcel-cache",
    "--no-cache",
    "--no-autoinstall",
    "--no-source-maps",
  ];
  await run(process.execPath, [program("parcel/lib/bin.js"), "build", "index.html", ...flags], { cwd: root });
  await visit(browser, await serve(join(root, "dist")), (page) => assertEmbeds(page, model, expected));
});

for (const bundler of ["turbopack", "webpack"]) {
  test(`next 16, app router, ${bundler}`, async () => {
    const root = await here("heavy/next", `next-${bundler}`);
    const env = { ...process.env, NEXT_TELEMETRY_DISABLED: "1", NODE_OPTIONS: "" };
    await run(process.execPath, [program("next/dist/bin/next"), "build", `--${bundler}`], { cwd: root, env });
    await visit(browser, await startNext(root, env), (page) => assertEmbeds(page, model, expected));
  });
}

async function startNext(root: string, env: NodeJS.ProcessEnv): Promise<Served> {
  const port = await freePort();
  const args = [program("next/dist/bin/next"), "start", "--port", String(port), "--hostname", "127.0.0.1"];
  const server = spawn(process.execPath, args, { cwd: root, env, stdio: "ignore" });
  const ended = new Promise<void>((resolve) => server.once("exit", () => resolve()));
  const close = () => {
    server.kill();
    return ended;
  };
  const origin = `http://127.0.0.1:${port}`;
  for (let attempt = 0; ; attempt++) {
    const answer = await fetch(origin).catch(() => undefined);
    if (answer?.ok) {
      // Rendered on the server, where the package was imported.
      assert.match(await answer.text(), /<p>function<\/p>/);
      return { origin, close };
    }
    if (attempt === 200 || server.exitCode !== null) {
      await close();
      throw new Error("`next start` does not answer");
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
