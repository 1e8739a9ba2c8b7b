// How large things from outside may be. What is larger is damaged or hostile: nothing is reserved for it, or counted.

/**
 * Files are fetched, verified and stored in pieces of so many bytes; the last may be shorter. A connection that breaks
 * off costs at most one per request under way, a fiftieth of MiniLM in 8 bits; reading one takes IndexedDB 0.3 ms.
 */
export const CHUNK_BYTES = 512 << 10;

/** Bytes of any file: 16 GiB. Memory of a wasm module has 4, which is what so much takes in 8 bits. */
export const MAX_FILE_BYTES = 2 ** 34;

/** Bytes of a file that is read whole, as in crate/weights/src/limits.rs. XLM-RoBERTa's tokenizer.json has 17 MB. */
export const MAX_SMALL_FILE_BYTES = 128 << 20;

/** Bytes of a list of files with their digests: a manifest, or a record of the cache. For 16 GiB it has 2.3 MB. */
export const MAX_LIST_BYTES = 16 << 20;

/** Bytes of a part of a search index, which is read whole. */
export const MAX_PART_BYTES = 512 << 20;

/** Files of a folder, each of which is a request. Weights may come in 1,024, as crate/weights/src/limits.rs has it. */
export const MAX_FILES = 2048;
