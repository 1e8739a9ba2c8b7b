// Bytes from outside.

/** Bytes that nobody else can change meanwhile; `undefined` for what holds none, or more than `limit`. */
export function bytesOf(value: unknown, limit: number): Uint8Array<ArrayBuffer> | undefined {
  // Not `instanceof`: it may come from another window.
  if (!ArrayBuffer.isView(value) || Object.prototype.toString.call(value) !== "[object Uint8Array]") return undefined;
  const bytes = value as Uint8Array;
  if (bytes.byteLength > limit) return undefined;
  // Memory that is shared, or changes its size, is refused by most of the platform.
  const { buffer } = bytes as { buffer: ArrayBufferLike & { resizable?: boolean } };
  const isPlain = Object.prototype.toString.call(buffer) === "[object ArrayBuffer]" && buffer.resizable !== true;
  return isPlain ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}

/** All of them, one behind the other. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pieces.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes;
}
