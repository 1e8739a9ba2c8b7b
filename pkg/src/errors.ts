/**
 * What kind of failure it was.
 *
 * | code | meaning |
 * |---|---|
 * | `model_not_found` | the model, or a file that it must have, is not where it was looked for |
 * | `unauthorized` | the model host requires a login; many hosts, such as Hugging Face's hub, answer the same for models that do not exist |
 * | `network` | the model host could not be reached, refused the request, or the connection broke |
 * | `integrity` | files arrived damaged, or not as the manifest or the option `integrity` says |
 * | `unsupported_model` | the model's folder asks for something that embervec does not compute or that sentence-transformers refuses, too; or its weights give a vector that is not finite |
 * | `unsupported_device` | the requested device or dtype is not available, or this browser lacks what every model needs |
 * | `invalid_input` | an argument or option is wrong |
 * | `quota` | the browser has no room left for the model or the index |
 * | `storage` | the browser's storage does not work |
 * | `index_not_found` | there is no index at the address |
 * | `model_mismatch` | an index has vectors of another model than the embedder |
 * | `disposed` | the embedder was disposed of, or the index closed |
 * | `device_lost` | the GPU was lost |
 * | `internal` | a fault of embervec itself; please report it |
 */
export type EmbervecErrorCode =
  | "model_not_found"
  | "unauthorized"
  | "network"
  | "integrity"
  | "unsupported_model"
  | "unsupported_device"
  | "invalid_input"
  | "quota"
  | "storage"
  | "index_not_found"
  | "model_mismatch"
  | "disposed"
  | "device_lost"
  | "internal";

/** Every failure of this package, except aborts: those reject with the signal's own reason. */
export class EmbervecError extends Error {
  /** Always `"EmbervecError"`. */
  override readonly name = "EmbervecError";

  /** You need this only to make errors of your own, for example in tests. */
  constructor(
    /** What kind of failure it was. */
    readonly code: EmbervecErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The message of whatever was thrown, as a part of a sentence: the only one of a browser's message has no full stop. */
export function messageOf(cause: unknown): string {
  const { message = cause } = Object(cause) as { message?: unknown };
  return typeof message === "string" ? message.replace(/^([^.]+)\.$/, "$1") : shown(message);
}

const CODES: Record<EmbervecErrorCode, true> = {
  model_not_found: true,
  unauthorized: true,
  network: true,
  integrity: true,
  unsupported_model: true,
  unsupported_device: true,
  invalid_input: true,
  quota: true,
  storage: true,
  index_not_found: true,
  model_mismatch: true,
  disposed: true,
  device_lost: true,
  internal: true,
};

/** The code of whatever was thrown: an {@link EmbervecError}, or what a wasm module throws. */
export function codeOf(error: unknown): EmbervecErrorCode | undefined {
  const { code } = Object(error) as { code?: unknown };
  return typeof code === "string" && Object.hasOwn(CODES, code) ? (code as EmbervecErrorCode) : undefined;
}

/** How much of a value a message shows. */
const SHOWN_CHARACTERS = 60;

/** A value for a message, whatever it is. */
export function shown(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // It refers to itself, or is too deep.
  }
  text ??= typeof value;
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}
