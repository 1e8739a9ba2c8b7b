/** The query and what is open, in the page's address: it can be reloaded, kept and sent to somebody with the same documents. */

import type { SearchMode } from "embervec/search";

export interface Place {
  readonly collection: string;
  readonly id: string;
  /** Where the passage begins in the document's text. */
  readonly start: number;
}

export interface Address {
  readonly query: string;
  readonly mode: SearchMode;
  /** A collection's name; empty for all. */
  readonly scope: string;
  readonly type: string;
  readonly open: Place | undefined;
}

/** Browsers refuse more than about three changes a second. */
const QUIET_MS = 400;

export function readAddress(): Address {
  const parameters = new URLSearchParams(location.search);
  const mode = parameters.get("mode");
  const [collection, id, start] = [parameters.get("in-collection"), parameters.get("document"), parameters.get("at")];
  return {
    query: (parameters.get("q") ?? "").slice(0, 2000),
    mode: mode === "hybrid" || mode === "keyword" ? mode : "semantic",
    scope: parameters.get("in") ?? "",
    type: parameters.get("type") ?? "",
    open:
      collection === null || id === null
        ? undefined
        : { collection, id, start: Number.parseInt(start ?? "0", 10) || 0 },
  };
}

/** Every other parameter, such as the model's, stays. */
export function addressOf({ query, mode, scope, type, open }: Address): string {
  const url = new URL(location.href);
  const set = (name: string, value: string | undefined) => {
    if (value === undefined || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  };
  set("q", query);
  set("mode", mode === "semantic" ? "" : mode);
  set("in", scope);
  set("type", type);
  set("in-collection", open?.collection);
  set("document", open?.id);
  set("at", open && String(open.start));
  url.hash = "";
  return url.href;
}

let timer: ReturnType<typeof setTimeout> | undefined;

/** While somebody types, the address follows at a pause. */
export function replaceAddress(address: Address): void {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (addressOf(address) !== location.href) history.replaceState(history.state, "", addressOf(address));
  }, QUIET_MS);
}

/** Back leads out of what was opened, to what was asked last. */
export function pushAddress(address: Address): void {
  clearTimeout(timer);
  history.replaceState(history.state, "", addressOf({ ...address, open: undefined }));
  history.pushState({ isOpen: true }, "", addressOf(address));
}
