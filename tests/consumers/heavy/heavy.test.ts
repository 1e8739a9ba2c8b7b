// The package from its tarball in Parcel and Next.js, which are larger than all other bundlers together.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { assertEmbeds, assertTellsNoPath, project, serve, type Served, setUp, visit } from "../consumer.ts";

const run = promisify(execFile);
const HERE = fileURLToPath(new URL(".", import.meta.url));
const program = (path: string) => join(HERE, "node_modules", path);

const shared = setUp();

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
  await assertTellsNoPath(join(root, "dist"), root);
  await visit(shared.browser, await serve(join(root, "dist")), (page) =>
    assertEmbeds(page, shared.model, shared.expected),
  );
});

for (const bundler of ["turbopack", "webpack"]) {
  test(`next 16, app router, ${bundler}`, async () => {
    const root = await here("heavy/next", `next-${bundler}`);
    const env = { ...process.env, NEXT_TELEMETRY_DISABLED: "1", NODE_OPTIONS: "" };
    await run(process.execPath, [program("next/dist/bin/next"), "build", `--${bundler}`], { cwd: root, env });
    await assertTellsNoPath(join(root, ".next/static"), root);
    await visit(shared.browser, await startNext(root, env), (page) =>
      assertEmbeds(page, shared.model, shared.expected),
    );
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
