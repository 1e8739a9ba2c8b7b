// Indexes as a whole: listed, deleted, copied from a file.

import { bytesOf } from "../bytes.js";
import type { CacheChoice, Entries } from "../cache/cache.js";
import { Locks } from "../cache/locks.js";
import { OwnCache } from "../cache/own.js";
import { sha256Of } from "../cache/sha256.js";
import { EmbervecError, messageOf } from "../errors.js";
import { MAX_PART_BYTES } from "../limits.js";
import { openCache } from "../platform/web-parts.js";
import { type TarFile, bytesOfPart, readTar, writeTar } from "../tar.js";
import { BLOCK_ROWS, type IndexRecord, damaged, encodeRecord, newId, parseRecord, parseRows } from "./parts.js";
import { MemoryEntries, type PartKind, PartStore, RECORDS, nameOfRecord } from "./storage.js";
import type { StoredIndex } from "./types.js";

const HINT = "use one from the method `export` of a SearchIndex";

/** The first file of an exported index. */
const RECORD_JSON = "index.json";

const MAX_RECORD_BYTES = 64 << 20;

export interface Opened {
  entries: Entries;
  locks: Locks;
  /** Why nothing is kept. */
  absent: string | undefined;
}

/** Opens a cache; memory in its place where the browser's storage is blocked. */
export async function openEntries(cache: CacheChoice): Promise<Opened> {
  const locks = new Locks(typeof cache !== "string");
  if (cache === "memory")
    return { entries: new MemoryEntries(), locks: new Locks(true), absent: "as the option `cache` says" };
  const entries = typeof cache === "string" ? openCache(locks) : new OwnCache(cache, locks);
  try {
    await entries.keys(RECORDS);
    return { entries, locks, absent: undefined };
  } catch (error) {
    return { entries: new MemoryEntries(), locks, absent: `because ${messageOf(error)}` };
  }
}

export async function listIndexes(cache: CacheChoice): Promise<StoredIndex[]> {
  const { entries } = await openEntries(cache);
  try {
    const list: StoredIndex[] = [];
    for (const key of await entries.keys(RECORDS)) {
      const name = nameOfRecord(key);
      const bytes = bytesOf(await entries.get(key), MAX_RECORD_BYTES);
      if (name === undefined || !bytes) continue;
      // One that is damaged, or of a newer version, is still there to be deleted.
      const record = await parseRecord(bytes, name).catch(() => undefined);
      list.push({
        name,
        documents: record?.documents ?? 0,
        passages: record?.passages ?? 0,
        storedBytes: record?.segments.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0,
        model: record?.space?.model,
        embeddingSpace: record?.space,
        changedAt: new Date(record?.changedAt ?? 0),
      });
    }
    return list;
  } finally {
    entries.close();
  }
}

export async function deleteIndex(cache: CacheChoice, name: string): Promise<void> {
  const { entries, locks, absent } = await openEntries(cache);
  if (absent !== undefined) throw new EmbervecError("storage", `there is nothing to delete: ${absent}`);
  try {
    const store = new PartStore(entries, locks, name);
    await store.change(() => store.delete());
  } finally {
    entries.close();
  }
}

interface Part {
  kind: PartKind;
  number: number;
  block: number;
  bytes: Uint8Array<ArrayBuffer>;
}

type ReadPart = (kind: PartKind, number: number, block: number, digest: string) => Promise<Part["bytes"]>;

/** The parts that a record names. */
async function* partsOf({ segments, removed }: IndexRecord, read: ReadPart): AsyncGenerator<Part> {
  const part = async (kind: PartKind, number: number, digest: string, block = 0): Promise<Part> => {
    return { kind, number, block, bytes: await read(kind, number, block, digest) };
  };
  for (const { number, rows, scan, rowsPart, terms } of segments) {
    yield await part("scan", number, scan);
    yield await part("terms", number, terms);
    const list = await part("rows", number, rowsPart);
    yield list;
    const { blocks } = parseRows(list.bytes, rows, Math.ceil(rows / BLOCK_ROWS));
    for (const [block, digest] of blocks.entries()) yield await part("block", number, digest, block);
  }
  if (removed) yield await part("removed", removed.number, removed.digest);
}

const pathOf = (kind: PartKind, number: number, block: number) => `${kind}-${number}-${block}`;

/** One file with all parts of an index, which nobody changes meanwhile. */
export async function exportIndex(store: PartStore, record: IndexRecord): Promise<Blob> {
  const json = await encodeRecord(record);
  const files: TarFile[] = [{ path: RECORD_JSON, size: json.byteLength, parts: [json] }];
  const read: ReadPart = (kind, number, block, digest) =>
    store.read(store.key(record.generation, kind, number, block), digest);
  for await (const { kind, number, block, bytes } of partsOf(record, read))
    files.push({ path: pathOf(kind, number, block), size: bytes.byteLength, parts: [new Blob([bytes])] });
  return writeTar(files);
}

/**
 * Stores an exported index under a name that no other has.
 *
 * @param store of which nothing is there
 */
export async function importIndex(store: PartStore, file: Blob): Promise<void> {
  const archive = await readTar(file, HINT);
  const first = archive.get(RECORD_JSON);
  if (!first || first.size > MAX_RECORD_BYTES) throw new EmbervecError("integrity", `the archive is no index; ${HINT}`);
  const record = await parseRecord(await bytesOfPart(first), store.name);
  await write(store, record, async (kind, number, block, digest) => {
    const part = archive.get(pathOf(kind, number, block));
    const bytes = part && part.size <= MAX_PART_BYTES && (await bytesOfPart(part));
    if (!bytes || (await sha256Of(bytes)) !== digest) throw damaged("the file was cut off or changed");
    return bytes;
  });
}

/** Copies an index, which nobody changes meanwhile, to a name that no other has. */
export async function copyIndex(source: PartStore, record: IndexRecord, target: PartStore): Promise<void> {
  await write(target, record, (kind, number, block, digest) =>
    source.read(source.key(record.generation, kind, number, block), digest),
  );
}

async function write(store: PartStore, source: IndexRecord, read: ReadPart): Promise<void> {
  const record = { ...source, name: store.name, id: newId() };
  await store.change(async () => {
    if (await store.record())
      throw new EmbervecError(
        "invalid_input",
        `there is an index "${store.name}" already; delete it, or choose another name`,
      );
    const keys = new Set<string>();
    try {
      for await (const { kind, number, block, bytes } of partsOf(record, read)) {
        const key = store.key(record.generation, kind, number, block);
        keys.add(key);
        await store.write([[key, bytes]]);
      }
      if (!(await store.commit(await encodeRecord(record), keys, true)))
        throw new EmbervecError("storage", "the storage was cleared while the index was being stored; do it again");
    } catch (error) {
      await store.delete().catch(() => {});
      throw Object(error).name === "QuotaExceededError"
        ? new EmbervecError("quota", "there is no room for the index; free some space", { cause: error })
        : error;
    }
  });
}
