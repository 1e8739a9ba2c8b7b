// Runs first in the page and in each worker, and makes one call of the platform fail: `STUBS` (see platform-calls.ts) says how, and a
// fault `{ id, kind, isOn, isFast, isFull }` which, in which way, and from when on. A worker has it in its address, and is told when it begins.

let fault = JSON.parse(new URLSearchParams(location.search).get("fault") ?? "null");

const hits = new BroadcastChannel("hits");

/** Whether this call is to fail now. The page hears of it, and where the fault is called `*` of every call. */
function failsNow(name) {
  if (!fault?.isOn || (fault.id !== name && fault.id !== "*")) return false;
  hits.postMessage(name);
  // A channel does not hear itself.
  globalThis.onHit?.(name);
  return fault.id === name;
}

/** How the stub that is being installed is called. */
let id;

const injected = () => new DOMException("injected", "UnknownError");

/** A method whose promise never settles, or rejects; or which throws. */
function promise(object, method, applies = () => true) {
  const real = object?.[method];
  const name = id;
  if (real === undefined) return;
  object[method] = function (...args) {
    if (!applies(...args) || !failsNow(name)) return real.apply(this, args);
    if (fault.kind === "throws") throw new TypeError("injected");
    return fault.kind === "hangs" ? new Promise(() => {}) : Promise.reject(injected());
  };
}

function fetching(applies) {
  promise(globalThis, "fetch", applies);
}

/** A method whose IndexedDB request never fires an event, or an error. */
function request(prototype, object, method) {
  const real = object[method];
  const name = id;
  object[method] = function (...args) {
    if (!failsNow(name)) return real.apply(this, args);
    if (fault.kind === "throws") throw injected();
    const events = new EventTarget();
    const listen = (...args) => events.addEventListener(...args);
    const own = {
      addEventListener: listen,
      removeEventListener() {},
      error: injected(),
      result: undefined,
      readyState: "pending",
      source: null,
    };
    const handlers = { onsuccess: null, onerror: null, onblocked: null, onupgradeneeded: null };
    const fake = Object.create(prototype, Object.getOwnPropertyDescriptors({ ...own, ...handlers }));
    if (fault.kind === "rejects") {
      realSetTimeout(() => {
        const event = new Event("error", { cancelable: true });
        Object.defineProperty(event, "target", { value: fake });
        events.dispatchEvent(event);
        fake.onerror?.(event);
      });
    }
    return fake;
  };
}

/** A transaction that never ends, or is aborted. */
function transaction() {
  const real = IDBDatabase.prototype.transaction;
  const name = id;
  IDBDatabase.prototype.transaction = function (...args) {
    if (!failsNow(name)) return real.apply(this, args);
    if (fault.kind === "throws") throw injected();
    const result = real.apply(this, args);
    if (fault.kind === "rejects") realSetTimeout(() => result.abort());
    if (fault.kind === "hangs") {
      for (const type of ["complete", "error", "abort"]) {
        result.addEventListener(type, (event) => event.stopImmediatePropagation());
      }
    }
    return result;
  };
}

/** Messages that never arrive, are answered by what cannot be read, or cannot be sent. */
function post(object, applies = () => true) {
  const real = object.postMessage;
  const name = id;
  object.postMessage = function (...args) {
    if (!applies(...args) || !failsNow(name)) return real.apply(this, args);
    if (fault.kind === "throws") throw new DOMException("injected", "DataCloneError");
    if (fault.kind === "rejects") realSetTimeout(() => this.dispatchEvent(new MessageEvent("messageerror")));
  };
}

/** A worker whose script never comes, does not load, or is forbidden. */
let workerStub;
function worker() {
  workerStub = id;
}

const realSetTimeout = setTimeout.bind(globalThis);
/** So that a wait of seconds is over soon; those below a second are no time-outs. */
globalThis.setTimeout = (action, ms = 0, ...args) =>
  realSetTimeout(action, fault?.isFast && ms >= 1000 ? ms / 20 : ms, ...args);

const children = new Set();
const RealWorker = globalThis.Worker;
globalThis.Worker = class Worker extends RealWorker {
  constructor(address, options = {}) {
    // As a browser asks, by which the package knows it.
    const { type } = options;
    if (type === "module" && failsNow(workerStub)) {
      if (fault.kind === "throws") throw new DOMException("injected", "SecurityError");
      const inert = {
        postMessage() {},
        terminate() {},
        addEventListener() {},
        removeEventListener() {},
        onerror: null,
      };
      if (fault.kind === "rejects") realSetTimeout(() => inert.onerror?.(new Event("error", { cancelable: true })));
      return inert;
    }
    const url = new URL(address, location.href);
    url.searchParams.set("fault", JSON.stringify(fault));
    super(url, options);
    children.add(this);
  }
};

/** Begins and ends a fault, here and in the workers that are there: `everywhere`, or only in those that are still to come. */
function setFault(next, everywhere = true) {
  fault = next;
  if (!everywhere) return;
  for (const child of children) RealWorker.prototype.postMessage.call(child, { fault });
}

const isPage = typeof document !== "undefined";
if (!isPage) {
  const roll = new BroadcastChannel("roll");
  roll.onmessage = ({ data }) => data === "who is there?" && roll.postMessage(location.pathname);
  addEventListener("message", (event) => {
    if (event.data?.fault === undefined) return;
    event.stopImmediatePropagation();
    setFault(event.data.fault);
  });
}

/** A caller's own cache. */
class TestCache {
  entries = new Map();
  async get(key) {
    return this.entries.get(key);
  }
  async put(key, bytes) {
    this.entries.set(key, bytes);
  }
  async delete(prefix) {
    for (const key of await this.keys(prefix)) this.entries.delete(key);
  }
  async keys(prefix) {
    return [...this.entries.keys()].filter((key) => key.startsWith(prefix));
  }
  async room() {
    return Infinity;
  }
}

/** A caller's own way to the network. */
class TestFetch {
  fetch(...args) {
    return fetch(...args);
  }
}

/** A caller's own source of texts. */
class TestTexts {
  #left = ["a quick brown fox"];
  [Symbol.asyncIterator]() {
    return this;
  }
  async next() {
    const value = this.#left.pop();
    return { value, done: value === undefined };
  }
}

/** A disk without room, for as long as the fault says so. */
if (globalThis.StorageManager) {
  const { estimate } = StorageManager.prototype;
  StorageManager.prototype.estimate = async function () {
    return fault?.isOn && fault.isFull ? { quota: 1, usage: 0 } : estimate.call(this);
  };
}

if (isPage) Object.assign(globalThis, { setFault, TestCache, TestFetch, TestTexts, realSetTimeout });
for (const [name, install] of Object.entries(STUBS)) {
  id = name;
  install();
}
