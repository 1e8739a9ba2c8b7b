// Checks of what callers pass: an option is wrong by its name or by its value, and the error says what it must be.

import { EmbervecError } from "./errors.js";

export type Check = (value: unknown) => boolean;

/** What a value must be; `secret` for one that no message shows. */
export type Rule = [isValid: Check, expected: string, secret?: "secret"];

export const oneOf = (...values: string[]): [Check, string] => [
  (value) => values.includes(value as string),
  values.map((value) => `"${value}"`).join(", "),
];

/** An option that is `undefined` is one that was left out. */
export function check(call: string, options: unknown, checks: Record<string, Rule>): void {
  if (typeof options !== "object" || options === null) {
    throw new EmbervecError("invalid_input", `${call}: options must be an object, not ${describe(options)}`);
  }
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(checks, name)) {
      throw new EmbervecError(
        "invalid_input",
        `${call} has no option "${name}"; there are: ${Object.keys(checks).join(", ")}`,
      );
    }
    if (value !== undefined) checkValue(`${call}: option "${name}"`, value, checks[name]!);
  }
}

export function checkValue(what: string, value: unknown, [isValid, expected, secret]: Rule): void {
  if (isValid(value)) return;
  throw new EmbervecError(
    "invalid_input",
    `${what} must be ${expected}, not ${secret ? `a ${typeof value}` : describe(value)}`,
  );
}

export function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value === "object") {
    const name: unknown = value?.constructor?.name;
    return `an object (${typeof name === "string" ? name : "Object"})`;
  }
  return typeof value === "undefined" ? "undefined" : `a ${typeof value}`;
}
