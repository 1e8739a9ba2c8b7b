// As `web.ts`: how a worker lets messages in.

import { settled } from "../settle.js";

/** What this worker sends to itself. Made when it is needed: it would keep a Node that imports this file alive. */
let tasks: MessageChannel | undefined;
let next = () => {};

/** Once a message to itself has not come, a timer is used. */
let hasFailed = false;
const TASK_MS = 250;

/** Lets the messages in that have come to this worker; not twice at once. A timer may take 4 ms. */
export async function nextTask(): Promise<void> {
  if (!hasFailed) {
    try {
      return await settled("a message of the worker to itself", sendToItself, { ms: TASK_MS });
    } catch {
      hasFailed = true;
    }
  }
  await new Promise((resolve) => setTimeout(resolve));
}

function sendToItself(): Promise<void> {
  if (!tasks) {
    tasks = new MessageChannel();
    tasks.port1.onmessage = () => next();
  }
  tasks.port2.postMessage(undefined);
  return new Promise((resolve) => (next = resolve));
}
