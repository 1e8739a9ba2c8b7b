/** Keeps the demo's own files, so that it opens without a network. The model is not its business: the package keeps that in IndexedDB. */

export {};

declare const self: ServiceWorkerGlobalScope;

/** The build's files with their hashes; `webpack.config.js` writes them at the end of this script, so they are there once it has run. */
declare const BUILD: { readonly revision: string; readonly files: Readonly<Record<string, string>> };

/** What not every device needs, and large: kept when it is first asked for, not before. */
const ON_DEMAND = /\.wasm$|-gpu\.|-pdf|\.bcmap$/;
const HASH = /\.[0-9a-f]{8}(?=\.)/;

/** A server that has not answered by then is as good as none. */
const PATIENCE_MS = 3000;

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const name = nameOf(event.request);
  if (name !== undefined) event.respondWith(HASH.test(name) ? once(event, urlOf(name)) : fresh(event, urlOf(name)));
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
  // Open pages do not mind: what they still need of an older build comes from the server, as without a service worker.
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
  const current = cacheName();
  await Promise.all((await ownCaches()).filter((name) => name !== current).map((name) => caches.delete(name)));
  await self.clients.claim();
}

/** A name with a hash always means the same bytes. */
async function once(event: FetchEvent, url: string): Promise<Response> {
  const cache = await openCache().catch(() => undefined);
  const kept = await cache?.match(url);
  if (kept !== undefined) return kept;
  const response = await fetch(event.request);
  // Without room for it the page still has the file, but does not say that it works offline.
  if (cache !== undefined && response.ok) event.waitUntil(cache.put(url, response.clone()).catch(() => {}));
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

/** The file of the build that a request is for: not the models beside it, and nothing of another origin. */
function nameOf({ method, url }: Request): string | undefined {
  const { scope } = self.registration;
  if (method !== "GET" || !url.startsWith(scope)) return undefined;
  const name = url.slice(scope.length).replace(/[?#].*/s, "") || "index.html";
  return Object.hasOwn(BUILD.files, name) ? name : undefined;
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
