// `manifest.json` of a folder, as `cargo xtask pack` writes it.

import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

export const CHUNK_BYTES = 512 << 10;

export async function writeManifest(folder: string): Promise<void> {
  const files: Record<string, object> = {};
  for (const path of await readdir(folder, { recursive: true })) {
    const bytes = await readFile(join(folder, path)).catch(() => undefined);
    if (!bytes || path === "manifest.json" || path === "expected.json") continue;
    const chunks = [];
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) chunks.push(sha256(bytes.subarray(at, at + CHUNK_BYTES)));
    files[path] = { size: bytes.length, sha256: sha256(bytes), chunks };
  }
  await writeFile(
    join(folder, "manifest.json"),
    JSON.stringify({ format: "embervec-manifest-1", chunk_bytes: CHUNK_BYTES, files }),
  );
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
