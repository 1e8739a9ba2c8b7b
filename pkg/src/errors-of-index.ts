// What entries beside the index have in place of `errors.ts`: the index's class, of which there is one, or `instanceof` would fail.

export { EmbervecError, type EmbervecErrorCode } from "./index.js";
export { codeOf, messageOf, shown } from "./errors.js";
