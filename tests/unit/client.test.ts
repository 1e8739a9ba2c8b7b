// The page's side of a worker, with something else in the worker's place.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { EmbervecError } from "../../pkg/src/errors.ts";
import { WorkerClient } from "../../pkg/src/worker/client.ts";
import type { Calls } from "../../pkg/src/worker/protocol.ts";

class FakeWorker {
  onmessage: (event: { data: unknown }) => void = () => {};
  onmessageerror: () => void = () => {};
  onerror: (event: object) => void = () => {};
  sent: { id: number; type: string }[] = [];
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
  return { worker, client: new WorkerClient<Calls>(() => worker as unknown as Worker, "worker.js") };
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

test("an answer that cannot be read ends the worker, and every call with it", async () => {
  const { worker, client } = start();
  const answers = [client.request("tokenize", { text: "a" }), client.request("tokenize", { text: "b" })];
  worker.onmessageerror();
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
});
