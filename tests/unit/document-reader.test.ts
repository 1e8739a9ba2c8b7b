// The page's half of reading documents, with workers that the test plays.

import assert from "node:assert/strict";
import { test } from "node:test";

import type { FromWorker, ToWorker } from "../../www/src/documents/protocol.ts";
import { DocumentReader, filesFromInput } from "../../www/src/documents/reader.ts";
import type { DocumentInfo, ReaderEvent } from "../../www/src/documents/types.ts";

class PlayedWorker extends EventTarget {
  readonly received: ToWorker[] = [];
  isTerminated = false;

  postMessage(message: ToWorker): void {
    this.received.push(message);
  }

  terminate(): void {
    this.isTerminated = true;
  }

  say(data: FromWorker): void {
    this.dispatchEvent(new MessageEvent("message", { data }));
  }
}

function newReader(runs = true): { reader: DocumentReader; workers: PlayedWorker[] } {
  const workers: PlayedWorker[] = [];
  const reader = new DocumentReader(() => {
    const worker = new PlayedWorker();
    workers.push(worker);
    if (runs) queueMicrotask(() => worker.say({ type: "started" }));
    return worker as unknown as Worker;
  });
  return { reader, workers };
}

const source = (name: string) => ({ text: "Water the plants.", name });

function sections(index: number, isLast: boolean): ReaderEvent {
  const document: DocumentInfo = { index, name: "a", path: "a", type: "txt", bytes: 17 };
  return { kind: "sections", document, sections: [], isFirst: true, isLast, notes: [] };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("the worker goes on only when the next event is asked for, and the next source waits", async () => {
  const { reader, workers } = newReader();
  const taken: string[] = [];
  function* sources() {
    for (const name of ["a", "b"]) {
      taken.push(name);
      yield source(name);
    }
  }
  const progress: unknown[] = [];
  const events = reader.read(sources(), { onProgress: (one) => progress.push(one) });
  assert.equal(workers.length, 0);
  const first = events.next();
  await turn();
  const [worker] = workers as [PlayedWorker];
  assert.deepEqual(worker.received, [{ type: "read", id: 1, index: 0, source: source("a") }]);
  worker.say({ type: "progress", id: 1, path: "a", loaded: 5, total: 17 });
  worker.say({ type: "event", id: 1, event: sections(0, false) });
  assert.deepEqual((await first).value, sections(0, false));
  assert.deepEqual(progress, [{ index: 0, path: "a", loaded: 5, total: 17, done: 0 }]);
  assert.deepEqual([worker.received.length, taken], [1, ["a"]]);

  const second = events.next();
  await turn();
  assert.deepEqual(worker.received.at(-1), { type: "more", id: 1 });
  worker.say({ type: "event", id: 1, event: sections(0, true) });
  worker.say({ type: "end", id: 1 });
  assert.deepEqual((await second).value, sections(0, true));
  assert.deepEqual(worker.received.at(-1), { type: "more", id: 1 });
  const third = events.next();
  await turn();
  assert.deepEqual(worker.received.at(-1), { type: "read", id: 2, index: 1, source: source("b") });
  worker.say({ type: "end", id: 2 });
  assert.equal((await third).done, true);
  assert.equal(workers.length, 1);
});

test("who leaves the loop, or aborts, stops the worker's work", async () => {
  const { reader, workers } = newReader();
  const left = (async () => {
    for await (const _ of reader.read([source("a")])) break;
  })();
  await turn();
  const [worker] = workers as [PlayedWorker];
  worker.say({ type: "event", id: 1, event: sections(0, false) });
  await left;
  assert.deepEqual(worker.received.at(-1), { type: "abort", id: 1 });
  worker.say({ type: "end", id: 1 });

  const controller = new AbortController();
  const reason = new Error("removed");
  const aborted = reader.read([source("b")], { signal: controller.signal }).next();
  await turn();
  controller.abort(reason);
  await assert.rejects(aborted, reason);
  assert.deepEqual(worker.received.at(-1), { type: "abort", id: 2 });
  worker.say({ type: "end", id: 2 });
  await new Promise((resolve) => setTimeout(resolve, 1100));
  assert.equal(worker.isTerminated, false);
});

test("a worker that does not run is started again, and given up after half a minute", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { reader, workers } = newReader(false);
  const event = reader.read([source("a"), source("b")]).next();
  await turn();
  t.mock.timers.tick(5000);
  await turn();
  assert.equal(workers[0]!.isTerminated, true);
  assert.equal(workers.length, 2);
  workers[1]!.say({ type: "started" });
  await turn();
  assert.deepEqual(workers[1]!.received, [{ type: "read", id: 1, index: 0, source: source("a") }]);
  t.mock.timers.tick(60_000);
  workers[1]!.say({ type: "event", id: 1, event: sections(0, true) });
  assert.deepEqual((await event).value, sections(0, true));

  const { reader: hopeless, workers: silent } = newReader(false);
  const events = (async () => {
    const all: ReaderEvent[] = [];
    for await (const event of hopeless.read([source("a"), source("b")])) all.push(event);
    return all;
  })();
  await turn();
  t.mock.timers.tick(5000);
  await turn();
  t.mock.timers.tick(25_000);
  await turn();
  // The next one is not given as long.
  t.mock.timers.tick(5000);
  await turn();
  assert.deepEqual(
    silent.map(({ isTerminated }) => isTerminated),
    [true, true, true],
  );
  const problems = (await events).map((event) => (event.kind === "problem" ? event.problem : ""));
  assert.equal(problems.length, 2);
  assert.match(problems[0]!, /could not be started/);
});

test("a worker that hangs is ended; what it has not begun is read by the next, the rest is said to be lost", async () => {
  const { reader, workers } = newReader();
  const controller = new AbortController();
  const hanging = reader.read([source("hangs")], { signal: controller.signal }).next();
  const begun = reader.read([source("begun")]);
  const first = begun.next();
  const waiting = reader.read([source("waits")]).next();
  await turn();
  const [worker] = workers as [PlayedWorker];
  worker.say({ type: "event", id: 2, event: sections(0, false) });
  assert.equal((await first).value?.kind, "sections");
  const rest = begun.next();
  controller.abort();
  await assert.rejects(hanging);

  const lost = (await rest).value;
  assert.ok(lost?.kind === "problem");
  assert.equal(lost.problem, "Another document made the reader hang. Add this one again.");
  assert.equal((await begun.next()).done, true);
  assert.ok(worker.isTerminated);
  const [, next] = workers as [PlayedWorker, PlayedWorker];
  assert.deepEqual(next.received, [{ type: "read", id: 3, index: 0, source: source("waits") }]);
  next.say({ type: "event", id: 3, event: sections(0, true) });
  assert.deepEqual((await waiting).value, sections(0, true));
});

test("files of an input, without what is hidden in a folder", () => {
  const file = (path: string) => {
    const one = new File([], path.split("/").at(-1)!);
    return Object.defineProperty(one, "webkitRelativePath", { value: path.includes("/") ? path : "" });
  };
  const files = [".env", "notes/a.txt", "notes/.git/config", "notes/.DS_Store"].map(file);
  const paths = [...filesFromInput(files)].map((one) => ("path" in one ? one.path : ""));
  assert.deepEqual(paths, [".env", "notes/a.txt"]);
});
