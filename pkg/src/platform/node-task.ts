// As `web-task.ts`, for Node.

export function nextTask(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** What the other sources import is here, too. */
export type Same = Check<typeof import("./node-task.js")>;
type Check<T extends typeof import("./web-task.js")> = T;
