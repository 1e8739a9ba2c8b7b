/**
 * What kind of failure it was.
 *
 * | code | meaning |
 * |---|---|
 * | `model_not_found` | the model, or a file that it must have, is not where it was looked for |
 * | `network` | the model host could not be reached, refused, or broke off |
 * | `integrity` | bytes arrived that are not what they should be |
 * | `unsupported_model` | the model is sound, but of a kind that embervec does not compute |
 * | `unsupported_device` | the device or dtype that was demanded cannot be had |
 * | `invalid_input` | an argument or option is wrong |
 * | `quota` | the browser has no room left for the model |
 * | `storage` | the browser's storage refuses to work |
 * | `disposed` | the embedder was disposed of |
 * | `device_lost` | the GPU went away |
 * | `internal` | a fault of embervec itself; please report it |
 */
export type EmbervecErrorCode =
  | "model_not_found"
  | "network"
  | "integrity"
  | "unsupported_model"
  | "unsupported_device"
  | "invalid_input"
  | "quota"
  | "storage"
  | "disposed"
  | "device_lost"
  | "internal";

/** Every failure of this package, aborts apart: these reject with the signal's own reason. */
export class EmbervecError extends Error {
  override readonly name = "EmbervecError";

  constructor(
    readonly code: EmbervecErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The message of whatever was thrown. */
export function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
