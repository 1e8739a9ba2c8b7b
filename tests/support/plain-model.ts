// A model folder, its host and what takes its files, without a browser and without wasm: the package's own modules load
// it in Node.

import { sha256Of } from "../../pkg/src/cache/sha256.ts";
import type { ModelCache } from "../../pkg/src/cache/cache.ts";
import { ModelStore } from "../../pkg/src/cache/store.ts";
import type { FolderFile } from "../../pkg/src/model/folder.ts";
import type { Host } from "../../pkg/src/model/host.ts";
import { type LoadedModel, type ModelSink, loadModel } from "../../pkg/src/model/load.ts";
import { CHUNK_BYTES } from "../../pkg/src/limits.ts";
import type { Dtype, ProgressEvent } from "../../pkg/src/types.ts";

export const BASE = "https://host.test/model/";
const WEIGHTS = "model.safetensors";
const ADAPTER = "adapter_config.json";

/** The files that a model took, by path. */
export type Taken = Map<string, Uint8Array>;

/**
 * Takes `modules.json` where it is there, `config.json` and the weights, and makes nothing of them.
 *
 * @param pack what weights become for "q8"
 */
export function plainSink(
  pack: (bytes: Uint8Array) => Uint8Array = () => new Uint8Array(0),
  weights = [WEIGHTS],
): ModelSink<Taken> {
  const taken: Taken = new Map();
  const absent = new Set<string>();
  const found = new Set<string>();
  const file = (path: string, kind: FolderFile["kind"]): FolderFile =>
    kind === "weights" ? { path, kind, packed: path.replace(".safetensors", ".q8.safetensors") } : { path, kind };
  const weightFiles = weights.map((path) => file(path, "weights"));
  const isOpen = ({ path }: FolderFile) => !taken.has(path) && !absent.has(path) && !found.has(path);
  let pieces: Uint8Array[] = [];
  let path = "";
  return {
    plan: {
      wanted() {
        const first = [file("modules.json", "small")].filter(isOpen);
        if (first.length > 0) return first;
        const next = [file("config.json", "small"), file(ADAPTER, "probe"), ...weightFiles].filter(isOpen);
        if (found.has(ADAPTER))
          throw Object.assign(new Error(`${ADAPTER} is not supported`), { code: "unsupported_model" });
        for (const needed of ["config.json", ...weights]) {
          if (absent.has(needed))
            throw Object.assign(new Error(`${needed} is missing from the model folder`), { code: "model_not_found" });
        }
        return next;
      },
      put: (path, bytes) => void taken.set(path, bytes),
      found: (path) => void found.add(path),
      absent: (path) => void absent.add(path),
      weights: () => weightFiles,
    },
    begin: () => {
      // As what is read of a model before its weights.
      if (new TextDecoder().decode(taken.get("config.json")) === "refused") {
        throw Object.assign(new Error("config.json: this model is not supported"), { code: "unsupported_model" });
      }
      return weightFiles;
    },
    beginWeights: (begun) => {
      path = begun;
      pieces = [];
    },
    pushWeights: (bytes) => {
      pieces.push(bytes.slice());
      const size = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
      // As the wasm module, which knows from the header how many there are to be.
      if (size > 4 * CHUNK_BYTES)
        throw Object.assign(new Error(`${path} has bytes behind its last tensor`), { code: "integrity" });
    },
    takeConverted: () => (weights.includes(path) ? new Uint8Array(pack(pieces.at(-1)!)) : new Uint8Array(0)),
    endWeights: () => void taken.set(path, Buffer.concat(pieces)),
    finish: () => taken,
  };
}

export interface PlainLoad extends Pick<Host, "credentials" | "fetch" | "integrity"> {
  /** The folder's address. */
  base?: string;
  headers?: Record<string, string>;
  dtype?: Dtype;
  localFilesOnly?: boolean;
  signal?: AbortSignal;
  /** As of a hub. */
  pointers?: string;
  progress?: (event: ProgressEvent) => void;
}

export async function loadPlain(cache: ModelCache, options: PlainLoad = {}): Promise<LoadedModel<Taken>> {
  const {
    dtype = "fp32",
    localFilesOnly = false,
    signal = new AbortController().signal,
    pointers,
    progress = () => {},
    base = BASE,
    headers = {},
    ...others
  } = options;
  const host = { base, pointers, headers, signal, ...others };
  return loadModel(ModelStore.over(cache), () => plainSink(), {
    name: base,
    revision: undefined,
    host,
    dtype,
    localFilesOnly,
    progress,
  });
}

/** What a host answers for a file; nothing is 404. */
export type Answer = Response | ((signal: AbortSignal) => Response | Promise<Response>) | undefined;

/** Takes the place of `fetch` until it is restored. */
export function hostOf(answers: Record<string, Answer>): { asked: string[]; restore: () => void } {
  const { fetch } = globalThis;
  const asked: string[] = [];
  globalThis.fetch = async (url, { signal } = {}) => {
    const path = decodeURIComponent(String(url).slice(BASE.length));
    asked.push(path);
    const answer = Object.hasOwn(answers, path) ? answers[path] : undefined;
    signal!.throwIfAborted();
    if (answer === undefined) return new Response(null, { status: 404 });
    return typeof answer === "function" ? answer(signal!) : answer.clone();
  };
  return { asked, restore: () => void (globalThis.fetch = fetch) };
}

/** A body that gives `piece` again and again, every `ms`, and never ends by itself. */
export function endless(
  piece: Uint8Array,
  ms = 0,
  headers: Record<string, string> = {},
): (signal: AbortSignal) => Response {
  return (signal) => {
    const stream = new ReadableStream({
      start: (controller) => signal.addEventListener("abort", () => controller.error(signal.reason)),
      pull: async (controller) => {
        await new Promise((resolve) => setTimeout(resolve, ms));
        if (!signal.aborted) controller.enqueue(piece.slice());
      },
    });
    return new Response(stream, { headers });
  };
}

/** The digests of a file's chunks. */
export async function digestsOf(bytes: Uint8Array<ArrayBuffer>): Promise<string[]> {
  const chunks: string[] = [];
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) chunks.push(await sha256Of(bytes.slice(at, at + CHUNK_BYTES)));
  return chunks;
}

/** A Git LFS pointer. */
export function pointerText(sha256: string, size: number | string): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${size}\n`;
}
