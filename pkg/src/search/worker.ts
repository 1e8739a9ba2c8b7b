// The index's side: everything heavy happens here. Built as `search-worker.js`.

import init from "../../wasm/search/embervec.js";

import { type SentCache, receiveCache } from "../cache/port.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import { receive, send, wasmSource, fail } from "../platform/web.js";
import { searchWasmAddress } from "../platform/web-search.js";
import { PortClient } from "../port.js";
import { settled } from "../settle.js";
import type { FromWorker, ToWorker } from "../worker/protocol.js";
import { Index } from "./index-host.js";
import { deleteIndex, listIndexes } from "./manage.js";
import { deleteFolder } from "./read-folder.js";
import type { FetchRequest, OpenRequest, SearchCalls } from "./protocol.js";

/** Milliseconds for the wasm module to come and be compiled: 0.1 MB at 16 kbit/s. */
const WASM_MS = 60_000;

let index: Index | undefined;
const aborts = new Map<number, AbortController>();

type Asked = Exclude<ToWorker<SearchCalls>, { type: "abort" }>;

receive((message: ToWorker<SearchCalls>) => {
  if (message.type === "abort") return aborts.get(message.id)?.abort();
  answer(message).catch(fail);
});

async function answer(message: Asked): Promise<void> {
  const { id } = message;
  const abort = new AbortController();
  aborts.set(id, abort);
  const reply = (message: FromWorker<SearchCalls>, transfer: Transferable[] = []) => send(message, transfer);
  try {
    const result = await run(message, abort.signal);
    const transfer = message.type === "vectors" ? [(result as { vectors: Float32Array }).vectors.buffer] : [];
    reply({ type: "result", id, result }, transfer as Transferable[]);
  } catch (error) {
    const { fatal } = Object(error) as { fatal?: unknown };
    const code = codeOf(error) ?? "internal";
    // A trap, such as memory that could not grow: nothing is certain any more.
    const isTrap = error instanceof WebAssembly.RuntimeError || fatal === true;
    reply({ type: "error", id, code, message: messageOf(error), fatal: isTrap });
  } finally {
    aborts.delete(id);
  }
}

async function run(
  { type, id, request }: Asked,
  signal: AbortSignal,
): Promise<SearchCalls[keyof SearchCalls]["result"]> {
  switch (type) {
    case "open":
      return open(request, signal);
    case "list":
      return listIndexes(receiveCache(request.cache));
    case "delete":
      if ("url" in request) await deleteFolder(receiveCache(request.cache), request.url);
      else await deleteIndex(receiveCache(request.cache), request.name);
      return null;
    default:
      if (!index) throw new EmbervecError("internal", "no index is open");
      return index.run({ type, id, request } as Asked, signal);
  }
}

async function open(request: OpenRequest | FetchRequest, signal: AbortSignal): Promise<SearchCalls["open"]["result"]> {
  await startWasm(request.wasmUrl, signal);
  const service = new PortClient(request.service);
  const cache = receiveCache(request.cache satisfies SentCache);
  index = await Index.open(request, cache, service, signal);
  return index.info();
}

async function startWasm(wasmUrl: string | undefined, signal: AbortSignal): Promise<void> {
  const address = wasmUrl ? new URL("embervec-search.wasm", wasmUrl) : searchWasmAddress();
  try {
    await settled("the network", () => init({ module_or_path: wasmSource(address) }), { ms: WASM_MS, signal });
  } catch (cause) {
    signal.throwIfAborted();
    throw new EmbervecError(
      "network",
      `${String(address)} could not be started (${messageOf(cause)}). Copy it from node_modules/embervec/dist to a folder of this site and pass the folder's address as \`wasmUrl\`, unless it is there.`,
      { cause },
    );
  }
}

send({ type: "started" }, []);
