// A browser as the tests for all engines need it: the least that is the same in each.

import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

export interface EnginePage {
  /** Leaves the page that is shown, and everything that runs in it, for another one. */
  open(url: string): Promise<void>;
  /** Runs a function in the page. It takes nothing but its argument from here; that and its result go as JSON. */
  evaluate<Result, Argument = undefined>(
    action: (argument: Argument) => Promise<Result>,
    argument?: Argument,
  ): Promise<Result>;
  /** Ends the browser with all of its processes. */
  close(): Promise<void>;
}

export interface EngineOptions {
  /** Whether the browser refuses to keep anything, as its user may tell it. */
  blocksStorage?: boolean;
}

export interface Engine {
  name: string;
  /** The browser's program, or its driver's; `undefined` where there is none. */
  program: string | undefined;
  /** Starts the browser, with nothing kept from before. */
  start(options?: EngineOptions): Promise<EnginePage>;
}

/**
 * The program that a variable of the environment names, none where it is empty; without the variable, the first of these
 * that is on the PATH.
 */
export function findProgram(variable: string, ...names: string[]): string | undefined {
  const set = process.env[variable];
  if (set !== undefined) return set || undefined;
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
}

/** The call of a function in a page, as text: an expression whose value is a promise of JSON. */
export function callText<Argument>(
  action: (argument: Argument) => Promise<unknown>,
  argument: Argument | undefined,
): string {
  // tsx wraps functions in a helper, which the page does not have.
  const setUp = "globalThis.__name ??= (target) => target;";
  return `(async () => { ${setUp} return JSON.stringify(await (${action})(${JSON.stringify(argument)})); })()`;
}

/** What the JSON says; that of `undefined` is none. */
export function resultOf<Result>(json: unknown): Result {
  return (typeof json === "string" ? JSON.parse(json) : undefined) as Result;
}

// Whoever stops the tests asks with this. Without a listener node would end without its `exit` event, at which the
// browsers are ended.
process.once("SIGTERM", () => process.exit(143));
