// What the worker computes next.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Turns } from "../../pkg/src/worker/turns.ts";

const nextTask = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Runs a job of so many pieces, each of which writes the job's name down. */
async function job(turns: Turns, ran: string[], name: string, text: string, pieces: number): Promise<void> {
  const due = turns.due(text.length);
  for (let i = 0; i < pieces; i++) await turns.take(due, () => void ran.push(name));
}

test("one job after another, and a short one before the next piece of a long one", async () => {
  const turns = new Turns(nextTask);
  const ran: string[] = [];
  const slice = "x".repeat(2048);
  const jobs = [job(turns, ran, "a", slice, 3), job(turns, ran, "b", slice, 3)];
  assert.deepEqual(ran, ["a"], "where nothing runs, the first piece does not wait");
  await nextTask();
  jobs.push(job(turns, ran, "query", "fox", 1), job(turns, ran, "c", slice, 1));
  await Promise.all(jobs);
  assert.equal(ran.indexOf("query") <= 2, true, ran.join(" "));
  assert.deepEqual(
    ran.filter((name) => name !== "query"),
    ["a", "a", "a", "b", "b", "b", "c"],
  );
});

test("a message that comes while a piece runs has its turn after this piece", async () => {
  const { port1, port2 } = new MessageChannel();
  const turns = new Turns(nextTask);
  const ran: string[] = [];
  const answered = new Promise<void>((resolve) => {
    port2.onmessage = () => void job(turns, ran, "query", "fox", 1).then(resolve);
  });
  let pieces = 0;
  const bulk = async () => {
    const due = turns.due(2048);
    for (; pieces < 50; pieces++) {
      await turns.take(due, () => {
        if (pieces === 3) port1.postMessage("fox");
        const until = performance.now() + 2;
        while (performance.now() < until);
        ran.push("bulk");
      });
    }
  };
  await Promise.all([bulk(), answered]);
  port1.close();
  const before = ran.indexOf("query");
  assert.ok(before >= 4 && before <= 5, `${before} pieces ran before the query`);
});

test("a flood of short jobs delays a long one, and does not stop it", async () => {
  const turns = new Turns(nextTask);
  const ran: string[] = [];
  let isOver = false;
  const flood = async () => {
    while (!isOver) await job(turns, ran, "query", "a short query", 1);
  };
  const floods = [flood(), flood(), flood()];
  await job(turns, ran, "bulk", "x".repeat(5_000_000), 3);
  isOver = true;
  await Promise.all(floods);
  const [first, last] = [ran.indexOf("bulk"), ran.lastIndexOf("bulk")];
  assert.ok(first > 100 && last < 300, `${first} and ${last}`);
});

test("a piece that fails fails its job, and nothing else", async () => {
  const turns = new Turns(nextTask);
  const due = turns.due(3);
  const failing = turns.take(due, () => {
    throw new Error("not finite");
  });
  const fine = turns.take(due, () => "fine");
  await assert.rejects(failing, /not finite/);
  assert.equal(await fine, "fine");
});
