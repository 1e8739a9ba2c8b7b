// How much memory the package's workers hold.

import type { Page } from "playwright-core";

interface Reply {
  id?: number;
  error?: { message: string };
  result: { result: { objectId: string; value: number[] }; objects: { objectId: string } };
}

/** The size of all WebAssembly memories in the page's workers, which only ever grow. */
export async function wasmBytes(page: Page): Promise<number> {
  const cdp = await page.context().newCDPSession(page);
  const workers: string[] = [];
  cdp.on("Target.attachedToTarget", ({ sessionId }) => workers.push(sessionId));
  // Not flat: messages go through this session, the only one that there is.
  await cdp.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
  let id = 0;
  const ask = async (sessionId: string, method: string, params: object): Promise<Reply["result"]> => {
    const request = { id: ++id, method, params };
    const reply = new Promise<Reply>((resolve) =>
      cdp.on("Target.receivedMessageFromTarget", ({ message }) => {
        const reply: Reply = JSON.parse(message);
        if (reply.id === request.id) resolve(reply);
      }),
    );
    await cdp.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify(request) });
    const { result, error } = await reply;
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  };
  let bytes = 0;
  for (const worker of workers) {
    const { result: prototype } = await ask(worker, "Runtime.evaluate", { expression: "WebAssembly.Memory.prototype" });
    const { objects } = await ask(worker, "Runtime.queryObjects", { prototypeObjectId: prototype.objectId });
    const { result } = await ask(worker, "Runtime.callFunctionOn", {
      objectId: objects.objectId,
      functionDeclaration: "function () { return this.map((memory) => memory.buffer.byteLength); }",
      returnByValue: true,
    });
    bytes += result.value.reduce((sum, size) => sum + size, 0);
  }
  await cdp.detach();
  if (bytes === 0) throw new Error("the page has no worker with a WebAssembly memory");
  return bytes;
}
