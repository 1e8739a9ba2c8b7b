// WebKit: WebKitGTK's MiniBrowser, by WebDriver.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

import { callText, type Engine, findProgram, resultOf } from "./engine.ts";

const program = findProgram("WEBKIT_DRIVER", "WebKitWebDriver");

/**
 * Starts the program with a display of its own, both in one group of processes. The group ends with the shell's input,
 * and so with this process, whatever ends that.
 */
const START = `
  Xvfb -displayfd 1 -nolisten tcp | { read -r display; DISPLAY=":$display" exec "$@"; } &
  read -r _
  kill -KILL 0
`;

const ENVIRONMENT = {
  GDK_BACKEND: "x11",
  // Its sandbox needs rights that a container does not give; only our own pages run in it.
  WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1",
  // Else each run would start a bus, and services on it that outlive it.
  DBUS_SESSION_BUS_ADDRESS: "disabled:",
  NO_AT_BRIDGE: "1",
  GSETTINGS_BACKEND: "memory",
};

/** WebKitGTK has no setting that blocks them as Safari's does, but it can be told to have none. */
const BLOCKED = "--features=-IndexedDBAPI,-WebLocksAPI,-LocalStorage";

/** More than any test may take. */
const SCRIPT_MS = 600_000;

const START_MS = 20_000;

export const WEBKIT: Engine = {
  name: "WebKit",
  program,
  async start({ blocksStorage = false } = {}) {
    const port = await freePort();
    const group = spawn("sh", ["-c", START, "sh", program!, `--port=${port}`], {
      detached: true,
      env: { ...process.env, ...ENVIRONMENT },
      stdio: ["pipe", "ignore", "pipe"],
    });
    const driver = new Driver(`http://127.0.0.1:${port}`, group);
    try {
      await driver.ready();
      const browserOptions = { args: ["--automation", ...(blocksStorage ? [BLOCKED] : [])] };
      const capabilities = { alwaysMatch: { "webkitgtk:browserOptions": browserOptions } };
      const { sessionId } = await driver.ask<{ sessionId: string }>("/session", { capabilities });
      const session = `/session/${sessionId}`;
      await driver.ask(`${session}/timeouts`, { script: SCRIPT_MS });
      return {
        open: (url) => driver.ask(`${session}/url`, { url }),
        evaluate: async (action, argument) => {
          const call = callText(action, argument);
          const script = `const [done] = arguments; ${call}.then((json) => done({ json }), (error) => done({ error: String(error) }));`;
          const { json, error } = await driver.ask<{ json?: string; error?: string }>(`${session}/execute/async`, {
            script,
            args: [],
          });
          if (error !== undefined) throw new Error(error);
          return resultOf(json);
        },
        close: async () => {
          // Its own way first: it deletes what it has put into temporary folders.
          await driver.ask(session).catch(() => {});
          await driver.end();
        },
      };
    } catch (error) {
      await driver.end();
      throw error;
    }
  },
};

class Driver {
  /** What the processes have said last, which is where a reason stands. */
  #said = "";

  constructor(
    private readonly address: string,
    private readonly group: ChildProcess,
  ) {
    group.stderr!.setEncoding("utf8").on("data", (text: string) => (this.#said = (this.#said + text).slice(-2000)));
  }

  async ready(): Promise<void> {
    for (const end = Date.now() + START_MS; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
      const response = await fetch(`${this.address}/status`).catch(() => undefined);
      if (response?.ok) return;
      if (Date.now() > end) throw new Error(`${program} has not started: ${this.#said}`);
    }
  }

  /** Without a body it asks to delete. */
  async ask<Value = void>(path: string, body?: object): Promise<Value> {
    const response = await fetch(
      this.address + path,
      body ? { method: "POST", body: JSON.stringify(body) } : { method: "DELETE" },
    );
    const { value } = (await response.json()) as { value: Value };
    if (!response.ok) {
      const { error, message } = value as { error: string; message: string };
      throw new Error(`WebKit: ${error}: ${message} ${this.#said}`);
    }
    return value;
  }

  async end(): Promise<void> {
    this.group.stdin!.end();
    if (this.group.exitCode === null && this.group.signalCode === null) await once(this.group, "exit");
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
