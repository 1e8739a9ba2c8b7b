// The page's side of a worker, with something else in the worker's place.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { EmbervecError } from "../../pkg/src/errors.ts";
import { WorkerClient } from "../../pkg/src/worker/client.ts";
import type { Calls } from "../../pkg/src/worker/protocol.ts";

class FakeWorker extends EventTarget {
  onmessage: (event: { data: unknown }) => void = () => {};
  onerror: (event: object) => void = () => {};
  sent: { id: number; type: string; request?: unknown }[] = [];
  isTerminated = false;

  postMessage(message: { id: number; type: string }): void {
    this.sent.push(message);
  }

  terminate(): void {
    this.isTerminated = true;
  }
}

const { Worker } = globalThis;
before(() => void Object.assign(globalThis, { Worker: FakeWorker }));
after(() => void Object.assign(globalThis, { Worker }));

function start(): { worker: FakeWorker; client: WorkerClient<Calls> } {
  const worker = new FakeWorker();
  const client = new WorkerClient<Calls>(() => worker as unknown as Worker, "worker.js");
  worker.onmessage({ data: { type: "started" } });
  return { worker, client };
}

/** Workers that say nothing by themselves. */
function silent(): { workers: FakeWorker[]; client: WorkerClient<Calls> } {
  const workers: FakeWorker[] = [];
  const start = () => {
    const worker = new FakeWorker();
    workers.push(worker);
    return worker as unknown as Worker;
  };
  return { workers, client: new WorkerClient<Calls>(start, "worker.js") };
}

test("messages of nobody, which tools for developers and extensions send, change nothing", async () => {
  const { worker, client } = start();
  const answer = client.request("tokenize", { text: "a" });
  for (const data of [
    null,
    undefined,
    0,
    7,
    "",
    "text",
    true,
    [],
    {},
    { type: "result" },
    { type: "oops", id: 0 },
    { id: 0 },
  ])
    worker.onmessage({ data });
  const tokens = { inputIds: [], tokenTypeIds: [], tokens: [], offsets: [], truncated: false };
  worker.onmessage({ data: { type: "result", id: worker.sent[0]!.id, result: tokens } });
  assert.equal(await answer, tokens);
  assert.equal(client.alive, true);
});

test("a progress function that throws fails its own call, which the worker gives up, and nothing else", async () => {
  for (const thrown of [new Error("mine"), new EmbervecError("quota", "mine"), "a text", undefined, 0]) {
    const { worker, client } = start();
    const progress = () => {
      throw thrown;
    };
    const call = client.request("tokenize", { text: "a" }, { progress });
    const other = client.request("tokenize", { text: "b" });
    const [first, second] = worker.sent;
    const event = { stage: "load", loaded: 1, total: 2 };
    worker.onmessage({ data: { type: "progress", id: first!.id, event } });
    worker.onmessage({ data: { type: "progress", id: first!.id, event } });
    assert.deepEqual(await call.catch((error: unknown) => ({ error })), { error: thrown });
    assert.deepEqual(worker.sent.slice(2), [{ type: "abort", id: first!.id }]);
    const tokens = { inputIds: [], tokenTypeIds: [], tokens: [], offsets: [], truncated: false };
    worker.onmessage({ data: { type: "result", id: second!.id, result: tokens } });
    assert.equal(await other, tokens);
    assert.equal(client.alive, true);
  }
});

test("an answer that cannot be read ends the worker, and every call with it", async () => {
  const { worker, client } = start();
  const answers = [client.request("tokenize", { text: "a" }), client.request("tokenize", { text: "b" })];
  worker.dispatchEvent(new Event("messageerror"));
  for (const answer of answers)
    await assert.rejects(answer, (error) => error instanceof EmbervecError && error.code === "internal");
  assert.equal(worker.isTerminated, true);
  await assert.rejects(
    client.request("tokenize", { text: "c" }),
    (error) => error instanceof EmbervecError && error.code === "internal",
  );
});

test("a message that cannot be sent is an error of that call, and nothing waits for its answer", async () => {
  const { worker, client } = start();
  worker.postMessage = () => {
    throw new DOMException("it cannot be cloned", "DataCloneError");
  };
  await assert.rejects(
    client.request("tokenize", { text: "a" }),
    (error) => error instanceof EmbervecError && error.code === "internal",
  );
  assert.equal(client.alive, true);

  // The same of what was asked before the worker ran.
  const { workers, client: starting } = silent();
  const early = starting.request("tokenize", { text: "a" });
  workers[0]!.postMessage = worker.postMessage;
  workers[0]!.onmessage({ data: { type: "started" } });
  await assert.rejects(early, (error) => error instanceof EmbervecError && error.code === "internal");
  assert.equal(starting.alive, true);
});

test("a worker that cannot be started, does not load, or never runs is a failure of the network that says where it must be", async (t) => {
  const isOfNetwork = (problem: RegExp) => (error: unknown) =>
    error instanceof EmbervecError &&
    error.code === "network" &&
    problem.test(error.message) &&
    error.message.includes("workerUrl");
  const refused = () => {
    throw new DOMException("another origin", "SecurityError");
  };
  assert.throws(
    () => new WorkerClient<Calls>(refused, "worker.js"),
    isOfNetwork(/cannot be started \(another origin\)/),
  );

  for (const [problem, happens] of [
    [/did not load/, (worker: FakeWorker) => worker.onerror({ preventDefault() {} })],
    [/does not run after 30 s/, () => t.mock.timers.tick(30_000)],
  ] as const) {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const { workers, client } = silent();
    const answer = client.request("tokenize", { text: "a" });
    happens(workers[0]!);
    await assert.rejects(answer, isOfNetwork(problem));
    assert.ok(workers.every(({ isTerminated }) => isTerminated));
    t.mock.timers.reset();
  }
});

test("beside a worker that is silent a second one is started, and the first that runs gets all that was asked", async (t) => {
  for (const winner of [0, 1]) {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const { workers, client } = silent();
    const texts = ["a"];
    const answer = client.request("tokenCounts", { texts });
    texts.push("added too late");
    const port = new MessageChannel().port1;
    const other = client.request("tokenize", { port } as never, { transfer: [port] });
    other.catch(() => {});
    t.mock.timers.tick(4999);
    assert.equal(workers.length, 1);
    t.mock.timers.tick(1);
    assert.equal(workers.length, 2);
    const worker = workers[winner]!;
    worker.onmessage({ data: { type: "started" } });
    workers[1 - winner]!.onmessage({ data: { type: "started" } });
    assert.equal(workers[1 - winner]!.isTerminated, true);
    assert.deepEqual(workers[1 - winner]!.sent, []);
    assert.deepEqual(
      worker.sent.map(({ type, request }) => [type, Object.keys(request as object)]),
      [
        ["tokenCounts", ["texts"]],
        ["tokenize", ["port"]],
      ],
    );
    assert.deepEqual(worker.sent[0]!.request, { texts: ["a"] });
    worker.onmessage({ data: { type: "result", id: worker.sent[0]!.id, result: Uint32Array.of(1) } });
    assert.deepEqual(await answer, Uint32Array.of(1));
    t.mock.timers.tick(60_000);
    assert.equal(workers.length, 2);
    assert.equal(client.alive, true);
    t.mock.timers.reset();
  }
});

test("of two that start one may fail; what cannot be started a second time leaves the first", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { workers, client } = silent();
  const answer = client.request("tokenize", { text: "a" });
  t.mock.timers.tick(5000);
  workers[0]!.onerror({ preventDefault() {} });
  assert.equal(workers[0]!.isTerminated, true);
  assert.equal(client.alive, true);
  workers[1]!.onmessage({ data: { type: "started" } });
  assert.equal(workers[1]!.sent.length, 1);
  client.terminate(new EmbervecError("disposed", "it is over"));
  await assert.rejects(answer, /it is over/);

  let count = 0;
  const worker = new FakeWorker();
  const once = () => {
    if (count++ > 0) throw new Error("no more");
    return worker as unknown as Worker;
  };
  const other = new WorkerClient<Calls>(once, "worker.js");
  t.mock.timers.tick(5000);
  assert.equal(count, 2);
  assert.equal(other.alive, true);
  worker.onmessage({ data: { type: "started" } });
  t.mock.timers.tick(60_000);
  assert.equal(other.alive, true);
  t.mock.timers.reset();
});

test("a worker that runs may take its time; where patience is limited, silence ends it and progress does not", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { worker, client } = start();
  const patient = client.request("tokenize", { text: "a" });
  patient.catch(() => {});
  t.mock.timers.tick(3_600_000);
  assert.equal(client.alive, true);
  const limited = client.request("useGpu", { demanded: true }, { patience: 1000 });
  for (let i = 0; i < 10; i++) {
    t.mock.timers.tick(900);
    worker.onmessage({
      data: { type: "progress", id: worker.sent[1]!.id, event: { stage: "gpu", loaded: i, total: 10 } },
    });
  }
  assert.equal(client.alive, true);
  t.mock.timers.tick(1000);
  await assert.rejects(limited, /has not answered for 1\.0 s/);
  await assert.rejects(patient);
  assert.equal(worker.isTerminated, true);
});

test("the cause of an error comes with it", async () => {
  const { worker, client } = start();
  const answer = client.request("tokenize", { text: "a" });
  const cause = { name: "QuotaExceededError", message: "full" };
  worker.onmessage({
    data: { type: "error", id: worker.sent[0]!.id, code: "quota", message: "no room", cause, fatal: false },
  });
  const error = await answer.catch((error: unknown) => error);
  assert.ok(error instanceof EmbervecError && error.cause instanceof Error);
  assert.deepEqual([error.code, error.cause.name, error.cause.message], ["quota", "QuotaExceededError", "full"]);
});
