// A worker of the benchmark: the storages of a browser that could keep a model, with its size and its pieces.

/** A model of 22 MB, in chunks as `pkg/src/model/manifest.ts` has them. */
const CHUNKS = 44;
const CHUNK_BYTES = 512 * 1024;

/** How chunks may be kept. */
export type StorageKind = "IndexedDB" | "OPFS, one file" | "OPFS, a file each";

/** ms for each step. */
export interface StorageTimes {
  open: number;
  all: number;
}

interface Storage {
  open(): Promise<void>;
  write(index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  read(index: number): Promise<Uint8Array>;
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** A value for each chunk, each put in a transaction of its own, as the package does. */
class IndexedDb implements Storage {
  #database!: IDBDatabase;

  async open(): Promise<void> {
    const request = indexedDB.open("storage");
    request.onupgradeneeded = () => request.result.createObjectStore("entries");
    this.#database = await settled(request);
  }

  async write(index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const transaction = this.#database.transaction("entries", "readwrite");
    transaction.objectStore("entries").put(bytes, index);
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
  }

  read(index: number): Promise<Uint8Array> {
    return settled(this.#database.transaction("entries").objectStore("entries").get(index));
  }
}

/** The part of a worker's file system that TypeScript's `dom` does not have. */
interface SyncAccessHandle {
  getSize(): number;
  close(): void;
  read(buffer: Uint8Array, options: { at: number }): number;
  write(buffer: Uint8Array, options: { at: number }): number;
  flush(): void;
}

/** One file with a synchronous handle, flushed after each chunk: what is verified must outlive a crash. */
class OneFile implements Storage {
  #handle!: SyncAccessHandle;

  async open(): Promise<void> {
    this.#handle = await openFile(await navigator.storage.getDirectory(), "storage");
  }

  async write(index: number, bytes: Uint8Array): Promise<void> {
    this.#handle.write(bytes, { at: index * CHUNK_BYTES });
    this.#handle.flush();
  }

  async read(index: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(CHUNK_BYTES);
    if (this.#handle.read(bytes, { at: index * CHUNK_BYTES }) !== CHUNK_BYTES)
      throw new Error(`chunk ${index} is short`);
    return bytes;
  }
}

async function openFile(folder: FileSystemDirectoryHandle, name: string): Promise<SyncAccessHandle> {
  const file = await folder.getFileHandle(name, { create: true });
  return (file as unknown as { createSyncAccessHandle(): Promise<SyncAccessHandle> }).createSyncAccessHandle();
}

/** What a cache of bytes by key would do. */
class FileEach implements Storage {
  #folder!: FileSystemDirectoryHandle;

  async open(): Promise<void> {
    this.#folder = await navigator.storage.getDirectory();
  }

  async write(index: number, bytes: Uint8Array): Promise<void> {
    const handle = await openFile(this.#folder, `chunk ${index}`);
    handle.write(bytes, { at: 0 });
    handle.flush();
    handle.close();
  }

  async read(index: number): Promise<Uint8Array> {
    const handle = await openFile(this.#folder, `chunk ${index}`);
    const bytes = new Uint8Array(handle.getSize());
    handle.read(bytes, { at: 0 });
    handle.close();
    return bytes;
  }
}

function chunk(index: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(CHUNK_BYTES);
  // Noise, as weights are.
  for (let at = 0; at < CHUNK_BYTES; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  bytes[0] = index;
  return bytes;
}

async function measure(kind: StorageKind, action: "write" | "read"): Promise<StorageTimes> {
  const Kind = { IndexedDB: IndexedDb, "OPFS, one file": OneFile, "OPFS, a file each": FileEach }[kind];
  const storage = new Kind();
  const chunks = action === "write" ? Array.from({ length: CHUNKS }, (_, index) => chunk(index)) : [];
  const begin = performance.now();
  await storage.open();
  const open = performance.now() - begin;
  for (let index = 0; index < CHUNKS; index++) {
    if (action === "write") await storage.write(index, chunks[index]!);
    else if ((await storage.read(index))[0] !== index) throw new Error(`${kind}: chunk ${index} is another`);
  }
  return { open, all: performance.now() - begin };
}

addEventListener("message", ({ data: [kind, action] }) => {
  measure(kind, action).then(postMessage, (error: unknown) => postMessage(String(error)));
});
