// How workers are started: beside this file, or where the page says.

/** What TypeScript's library does not have of Trusted Types. */
interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): Policy;
}

interface Policy {
  createScriptURL(url: string): string;
}

declare const __webpack_require__: unknown;

/**
 * This file's address; absent in scripts of other formats than ESM. webpack puts in its place where the file was on the machine that
 * built the bundle, unless it drops it: it knows the answer of this `typeof`, and does not read what is then never used.
 */
const META: string | undefined = typeof __webpack_require__ === "function" ? undefined : import.meta.url;

/** In a bundle of webpack's, or of one that does the same, the page's. */
export const HERE: string | undefined =
  isOfBuild(META) || typeof __webpack_require__ === "function" ? globalThis.location?.href : META;

/** A page of a disk has such an address, too. */
function isOfBuild(url: string | undefined): boolean {
  const { protocol } = (globalThis.location ?? {}) as Partial<Location>;
  return url !== undefined && url.startsWith("file:") && protocol !== undefined && protocol !== "file:";
}

/** What Vite's dev server makes of this file's address: it bundles `index.js` away from the package's other files. */
const MOVED = /^(.*\/node_modules\/)\.vite\/deps\/.*$/;

export const isMoved = HERE !== undefined && MOVED.test(HERE);

let policy: Policy | undefined;

/**
 * The address of a file that lies beside this one. Bundlers do not see it, and may have put the file elsewhere.
 *
 * @param base used where nothing lies beside this file
 */
export function besides(file: string, base?: string): URL {
  const here = HERE === undefined || HERE.startsWith("blob:") ? base : HERE.replace(MOVED, "$1embervec/dist/");
  if (here === undefined)
    throw new Error(`${file} has no address, because the script that starts it has none: \`import.meta.url\` is empty`);
  return new URL(file, here);
}

/** Starts a worker by its address. */
export function startAt(url: string | URL, name: string): Worker {
  return new Worker(trusted(String(url)), { type: "module", name });
}

/**
 * Starts a worker that lies beside this file.
 *
 * @param plain starts it by `new Worker(new URL(…, import.meta.url))`, which is written out at the caller's, because bundlers look for
 *   exactly this
 */
export function startBeside(file: string, name: string, plain: () => Worker): Worker {
  const url = besides(file);
  if (isMoved) return startAt(url, name);
  try {
    return plain();
  } catch (error) {
    // Nothing but an attempt tells whether a page demands Trusted Types.
    if (!(error instanceof TypeError && "trustedTypes" in globalThis)) throw error;
    return startAt(url, name);
  }
}

/** Starts a worker of another origin: by a script of this origin that imports it. For where the page has done the same. */
export function startByBlob(url: URL, name: string): Worker {
  const script = new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" });
  return startAt(URL.createObjectURL(script), name);
}

/** The address as a page wants it that demands Trusted Types. */
function trusted(url: string): string {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  try {
    policy ??= trustedTypes?.createPolicy("embervec", { createScriptURL: (url) => url });
  } catch {
    // The page allows other policies only. Unless it also demands one, the address is good as it is.
  }
  return policy?.createScriptURL(url) ?? url;
}
