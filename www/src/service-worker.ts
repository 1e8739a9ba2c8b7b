/** Keeps the demo's own files, so that it opens without a network. The model is not its business: the package keeps that in IndexedDB. */

export {};

declare const self: ServiceWorkerGlobalScope;

/** The build's files with their hashes; `webpack.config.js` writes them at the end of this script, so they are there once it has run. */
declare const BUILD: { readonly revision: string; readonly files: Readonly<Record<string, string>> };

/** What not every device needs, and large: kept when it is first asked for, not before. The index is needed by all. */
const ON_DEMAND = /^(?!embervec-search\.).*\.wasm$|-gpu\.|-pdf|\.bcmap$/;
const HASH = /\.[0-9a-f]{8}(?=\.)/;

/** A server that has not answered by then is as good as none. */
const PATIENCE_MS = 3000;

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate") event.waitUntil(dropOldBuilds());
  const name = nameOf(event.request);
  if (name !== undefined) event.respondWith(HASH.test(name) ? once(event, name) : fresh(event, urlOf(name)));
});

/** A build is kept whole or not at all. One that follows another also brings the successors of what that one kept on demand. */
async function install(): Promise<void> {
  const kept = new Set<string>();
  for (const name of await ownCaches()) {
    for (const { url } of await (await caches.open(name)).keys()) kept.add(url.replace(HASH, ""));
  }
  const cache = await openCache();
  await Promise.all(
    Object.entries(BUILD.files).map(async ([name, integrity]) => {
      const url = urlOf(name);
      if (ON_DEMAND.test(name) && !kept.has(url.replace(HASH, ""))) return;
      const same = HASH.test(name) ? await caches.match(url) : undefined;
      await cache.put(url, same ?? (await download(url, integrity)));
    }),
  );
  // Open pages do not mind: what was kept of their build stays until they are closed.
  await self.skipWaiting();
}

/** While a host replaces a build, it has files of both: `integrity` keeps such a mixture out. */
async function download(url: string, integrity: string): Promise<Response> {
  const response = await fetch(url, { cache: "no-cache", integrity });
  if (!response.ok) throw new Error(`${url}: status ${response.status}`);
  // A host may redirect index.html to the folder, and a page cannot be opened with a response that was redirected.
  return response.redirected ? new Response(response.body, { headers: response.headers }) : response;
}

async function activate(): Promise<void> {
  await self.clients.claim();
  void dropOldBuilds();
}

/**
 * A page that was opened before a deploy goes on with its own build, also with the parts that it has not asked for
 * yet. It holds a lock with the address of its script (`offline.ts`), so an older build goes when no page of it is open.
 */
async function dropOldBuilds(): Promise<void> {
  try {
    const current = cacheName();
    const { held = [] } = await navigator.locks.query();
    const scripts = new Set(held.map(({ name }) => name));
    for (const name of await ownCaches()) {
      if (name === current) continue;
      const files = await (await caches.open(name)).keys();
      if (!files.some(({ url }) => scripts.has(url))) await caches.delete(name);
    }
  } catch {
    // Tried again when the next page is opened.
  }
}

/** A name with a hash always means the same bytes, whichever build it is of. */
async function once(event: FetchEvent, name: string): Promise<Response> {
  const url = urlOf(name);
  const kept = await caches.match(url).catch(() => undefined);
  if (kept !== undefined) return kept;
  const response = await fetch(event.request);
  if (!response.ok || !isOfBuild(name)) return response;
  // Without room for it the page still has the file, but does not say that it works offline.
  const copy = response.clone();
  const keep = async () => (await openCache()).put(url, copy);
  event.waitUntil(keep().catch(() => {}));
  return response;
}

/** Any other comes from the server, so that a new build shows at once; the cache has what was kept with the whole build. */
async function fresh(event: FetchEvent, url: string): Promise<Response> {
  const answer = navigator.onLine ? fetch(event.request) : Promise.reject(new Error("offline"));
  try {
    return await Promise.race([answer, tooLate()]);
  } catch {
    const cache = await openCache().catch(() => undefined);
    return (await cache?.match(url)) ?? answer;
  }
}

function tooLate(): Promise<never> {
  return new Promise((_, reject) => setTimeout(reject, PATIENCE_MS));
}

/** The file of this build, or of one before, that a request is for: no model, and nothing of another origin. */
function nameOf({ method, url }: Request): string | undefined {
  const { scope } = self.registration;
  if (method !== "GET" || !url.startsWith(scope)) return undefined;
  const name = url.slice(scope.length).replace(/[?#].*/s, "") || "index.html";
  return isOfBuild(name) || (HASH.test(name) && !name.includes("/")) ? name : undefined;
}

function isOfBuild(name: string): boolean {
  return Object.hasOwn(BUILD.files, name);
}

function urlOf(name: string): string {
  return self.registration.scope + name;
}

/** An origin may have other pages, even this demo in another folder. */
function cachePrefix(): string {
  return `embervec demo ${self.registration.scope} `;
}

function cacheName(): string {
  return cachePrefix() + BUILD.revision;
}

function openCache(): Promise<Cache> {
  return caches.open(cacheName());
}

async function ownCaches(): Promise<string[]> {
  return (await caches.keys()).filter((name) => name.startsWith(cachePrefix()));
}
