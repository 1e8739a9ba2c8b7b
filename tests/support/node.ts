// Processes of Node's that use the published package.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export interface ProcessOptions {
  env?: Record<string, string>;
  /** Another user's, so that the permissions of files count, which they do not for root. */
  uid?: number;
  /** Where its paths begin. */
  cwd?: string;
}

export interface Ended {
  /** What it printed, line by line, each as JSON. */
  printed: unknown[];
  errors: string;
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Running {
  ended: Promise<Ended>;
  /** Resolves with the next line that it prints. */
  line(): Promise<unknown>;
  kill(): void;
}

/** How long a process may take: one that does not end by itself is killed, and the test fails. */
const END_MS = 60_000;

/** Runs a module; nothing of the tests' own loaders is in it. */
export function start(script: string, { env = {}, uid, cwd = ROOT }: ProcessOptions = {}): Running {
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    cwd,
    env: { PATH, HOME, ...env },
    timeout: END_MS,
    killSignal: "SIGKILL",
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const lines: unknown[] = [];
  let next = 0;
  let errors = "";
  let rest = "";
  let heard = () => {};
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    lines.push(...parts.map((line) => JSON.parse(line)));
    heard();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const ended = once(child, "close").then(([code, signal]) => {
    heard();
    return { printed: lines, errors, code, signal };
  });
  return {
    ended,
    async line() {
      while (next === lines.length && child.exitCode === null && child.signalCode === null)
        await new Promise<void>((resolve) => (heard = resolve));
      if (next === lines.length) throw new Error(`the process has printed no more: ${errors}`);
      return lines[next++];
    },
    kill: () => child.kill("SIGKILL"),
  };
}

/** Runs a module to its end, which must come by itself and without an error, and gives what it has printed. */
export async function run(script: string, options?: ProcessOptions): Promise<unknown[]> {
  const { printed, errors, code, signal } = await start(script, options).ended;
  if (code !== 0) throw new Error(`the process ended with ${signal ?? code}: ${errors}`);
  if (errors !== "") throw new Error(`the process complained: ${errors}`);
  return printed;
}
