/** The page's side of `service-worker.ts`. Where there are no service workers, nothing happens. */

/** A first visit waits this long for the worker, which fetches about 200 kB before it is ready. */
const PATIENCE_MS = 10_000;

/**
 * Resolves when the service worker answers this page's requests: who loads a model waits for that. Then the worker sees, and
 * keeps, the one `.wasm` file that the package chooses; the page itself could not tell which one its workers fetched. Without
 * a service worker, or when it takes too long, the page goes on and only does not work offline yet.
 */
export const underServiceWorker: Promise<void> = Promise.race([
  start().catch(() => {}),
  new Promise<void>((resolve) => setTimeout(resolve, PATIENCE_MS)),
]);

async function start(): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  holdBuild();
  const container = navigator.serviceWorker;
  const controlled = new Promise<void>((resolve) =>
    container.addEventListener("controllerchange", () => resolve(), { once: true }),
  );
  if (container.controller !== null) return; // the browser itself looks for a newer one
  const registration = await container.register("service-worker.js");
  // An active worker that is not in control: the visitor has forced a reload past it.
  if (registration.active?.state !== "activated") await Promise.race([controlled, failed(registration.installing)]);
}

/** As long as the page is open: a service worker of a newer build keeps what it has of this one until then. */
function holdBuild(): void {
  const [script] = document.scripts;
  if (script === undefined) return;
  navigator.locks?.request(script.src, { mode: "shared" }, () => new Promise<never>(() => {})).catch(() => {});
}

function failed(worker: ServiceWorker | null): Promise<void> {
  return new Promise((resolve) =>
    worker?.addEventListener("statechange", () => worker.state === "redundant" && resolve()),
  );
}

/** Whether the next visit finds the page and these artefacts, such as `embervec-relaxed`, without a network. */
export async function isKept(artefacts: readonly string[]): Promise<boolean> {
  try {
    const registration = await navigator.serviceWorker.getRegistration();
    if (!registration?.active) return false; // an active worker has kept the page's own files
    const kept = await Promise.all((await caches.keys()).map(async (name) => (await caches.open(name)).keys()));
    const files = kept.flat().filter(({ url }) => url.startsWith(registration.scope));
    return artefacts.every((artefact) => files.some(({ url }) => url.includes(`/${artefact}.`)));
  } catch {
    return false;
  }
}
