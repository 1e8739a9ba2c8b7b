// Changing safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.

export interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

export type Header = Record<string, Entry>;

const LENGTH_BYTES = 8;

export function split(file: Buffer): { header: Header; data: Buffer } {
  const headerEnd = LENGTH_BYTES + Number(file.readBigUInt64LE());
  const { __metadata__, ...header } = JSON.parse(file.subarray(LENGTH_BYTES, headerEnd).toString());
  return { header, data: file.subarray(headerEnd) };
}

/** A file with this header, which may be anything, and the header's length, which may be a lie. */
export function join(header: Header | string, data: Buffer, headerLength?: number | bigint): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(headerLength ?? json.length));
  return Buffer.concat([length, json, data]);
}
