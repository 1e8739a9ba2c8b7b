// Where a model's files are.

import { DEFAULT_HUB } from "../addresses.js";
import { EmbervecError } from "../errors.js";
import { addressOf, environmentHub } from "../platform/web.js";
import type { Dtype } from "../types.js";
import { originalOf } from "./originals.js";

const DEFAULT_REVISION = "main";

/** Where an address begins: a path, or a scheme. */
const ADDRESS = /^(\/|\.\.?\/|[a-z][a-z0-9+.-]*:)/i;

/** A model folder's address. */
export interface ModelSource {
  /** Absolute, with `/` at the end; names the model in the cache, too. */
  base: string;
  /** `undefined` for a folder that is not on a hub. */
  revision: string | undefined;
  /** The folder's address that gives, for a file that the hub keeps outside of git, the pointer to it: its size and SHA-256. */
  pointers: string | undefined;
}

/**
 * A hub id is `{hub}/{id}/resolve/{revision}/`, of a conversion to ONNX that of its original; what starts with `/`, `./`, `../` or a scheme is the
 * address of a folder, relative to the page.
 */
export function resolveModel(
  model: string,
  { hub, revision = DEFAULT_REVISION }: { hub?: string; revision?: string },
  page: string,
): ModelSource {
  if (typeof model !== "string" || model === "") {
    throw new EmbervecError(
      "invalid_input",
      'load needs a hub id such as "sentence-transformers/all-MiniLM-L6-v2" or a folder\'s address',
    );
  }
  const address = addressOf(model);
  if (ADDRESS.test(address)) {
    return { base: parse(withSlash(address), page, model), revision: undefined, pointers: undefined };
  }
  if (!/^[\w.-]+(\/[\w.-]+)?$/.test(model) || model.split("/").some((part) => /^\.+$/.test(part))) {
    throw new EmbervecError(
      "invalid_input",
      `${shownAddress(model)} is neither a hub id ("owner/name") nor a folder's address (which starts with "/", "./", "../" or a scheme)`,
    );
  }
  // A URL has no way to name these: "." and ".." would be resolved, a lone surrogate replaced.
  if (/^\.{0,2}$|\p{Surrogate}/u.test(revision)) {
    throw new EmbervecError("invalid_input", `revision "${revision}" is not a branch, tag or commit`);
  }
  const original = originalOf(model);
  if (original && revision !== DEFAULT_REVISION) {
    throw new EmbervecError(
      "invalid_input",
      `revision "${revision}" is one of ${model}, a conversion to ONNX; load "${original}", which it was made of, with a revision of its own`,
    );
  }
  const host = hubUrl(hub ?? environmentHub() ?? DEFAULT_HUB, page);
  const viewOf = (view: string) => `${host}${original ?? model}/${view}/${encodeURIComponent(revision)}/`;
  return { base: viewOf("resolve"), revision, pointers: viewOf("raw") };
}

function hubUrl(hub: string, page: string): string {
  // A host's name alone would be a folder beside the page.
  if (ADDRESS.test(addressOf(hub))) return parse(withSlash(addressOf(hub)), page, hub);
  const problem = `the hub ${shownAddress(hub)} is not an address, such as ${DEFAULT_HUB}`;
  throw new EmbervecError("invalid_input", problem);
}

function withSlash(address: string): string {
  return address.endsWith("/") ? address : `${address}/`;
}

function parse(address: string, page: string, given: string): string {
  const url = urlOf(address, page, given);
  // A file's path could not be appended to it.
  if (/[?#]/.test(url.href)) {
    throw new EmbervecError(
      "invalid_input",
      `${shownAddress(given)} is not the address of a folder: it holds "?" or "#", in a name written %3F and %23`,
    );
  }
  // Only in an address without a host; in a key of the cache it would end the address.
  return url.href.replaceAll(" ", "%20");
}

/** An absolute address without a name and a password, which `fetch` refuses and a message would show. */
function urlOf(address: string, page: string, given: string): URL {
  let url: URL;
  try {
    url = new URL(addressOf(address), page);
  } catch {
    throw new EmbervecError("invalid_input", `${shownAddress(given)} is not a valid address`);
  }
  if (url.username !== "" || url.password !== "" || /^[^/]*@/.test(url.href)) {
    const instead = "a token in the option `headers`, or the option `credentials`";
    throw new EmbervecError(
      "invalid_input",
      `${shownAddress(given)} holds a user name or a password, which browsers refuse in addresses; use ${instead}`,
    );
  }
  return url;
}

/** An address for a message: without what may be a password or a token. */
function shownAddress(given: string): string {
  return `"${given.replace(/^.*@/s, "…@").replace(/[?#].*/s, (query) => `${query[0]}…`)}"`;
}

/** The absolute address of a script, given relative to the page. */
export function scriptUrl(address: string | URL, page: string): string {
  return urlOf(String(address), page, String(address)).href;
}

/** An absolute folder address, given relative to the page. */
export function folderUrl(address: string | URL, page: string): string {
  const given = String(address);
  const folder = parse(withSlash(given), page, given);
  try {
    // Throws for "c:\\folder" where that is no path: nothing can lie in it.
    if (given !== "" && new URL("file", folder)) return folder;
  } catch {
    // As if it were empty.
  }
  throw new EmbervecError("invalid_input", `${shownAddress(given)} is not the address of a folder`);
}

export function dtypeOf({ dtype = "auto" }: { dtype?: "auto" | Dtype }): Dtype {
  return dtype === "auto" ? "q8" : dtype;
}

/** As which a folder is stored: a form of its own for weights in 8 bits. */
export function modelKey(base: string, dtype: Dtype): string {
  return dtype === "q8" ? `${base}#q8` : base;
}

/** The address of one of its files. */
export function fileUrl(base: string, path: string): string {
  return base + path.split("/").map(encodeURIComponent).join("/");
}
