/** Which model it is, and its loading. */

import { deleteModel, Embedder, isCached, listModels } from "embervec";
import { ABSENT, type ModelInfo, type ModelSource, type ModelState } from "./protocol";

const HUB_ID = "sentence-transformers/all-MiniLM-L6-v2";
/** In the extension's own folder, where somebody has put it there. */
const BUNDLED = chrome.runtime.getURL("models/all-MiniLM-L6-v2/");
/** A popup need not hear of every chunk. */
const REPORT_MS = 50;

interface Choice {
  readonly source: ModelSource;
  readonly model: string;
}

/** The model would have to be downloaded first. */
export class AbsentError extends Error {
  readonly code = ABSENT;
}

/** Loads the model when it is first needed, and tells how far it is. */
export class Model {
  readonly #onState: (state: ModelState) => void;
  #state: ModelState = { stage: "idle" };
  #choice: Promise<Choice> | undefined;
  #embedder: Promise<Embedder> | undefined;
  #loaded: Embedder | undefined;

  constructor(onState: (state: ModelState) => void) {
    this.#onState = onState;
  }

  get state(): ModelState {
    return this.#state;
  }

  /** `undefined` as long as it is not loaded. */
  get loaded(): Embedder | undefined {
    return this.#loaded;
  }

  /**
   * @param mayDownload whether the user has consented to that
   * @throws {AbsentError} where the model would have to be downloaded and may not
   */
  async embedder(mayDownload = false): Promise<Embedder> {
    const choice = await this.#chosen();
    if (this.#embedder === undefined && choice.source === "hub" && !mayDownload && !(await isHere(choice))) {
      this.#show({ stage: "absent" });
      throw new AbsentError("the model has to be downloaded first");
    }
    this.#embedder ??= this.#load(choice).catch((error: unknown) => {
      this.#embedder = undefined; // the next one tries again
      this.#show({ stage: "idle" });
      throw error;
    });
    return this.#embedder;
  }

  async info(): Promise<ModelInfo> {
    const { source, model } = await this.#chosen();
    // A storage that does not work has kept nothing.
    const stored = await listModels().catch(() => []);
    const own = stored.filter((other) => other.model === model);
    return { source, bytes: own.reduce((sum, { size }) => sum + size, 0) };
  }

  /** Of the download; a bundled one stays. */
  async delete(): Promise<void> {
    const { source, model } = await this.#chosen();
    if (source === "bundled") return;
    const embedder = await this.#embedder?.catch(() => undefined);
    this.#embedder = this.#loaded = undefined;
    await embedder?.dispose();
    await deleteModel(model);
    this.#show({ stage: "absent" });
  }

  #chosen(): Promise<Choice> {
    this.#choice ??= choose();
    return this.#choice;
  }

  async #load(choice: Choice): Promise<Embedder> {
    const { source, model } = choice;
    this.#show({ stage: "loading", source, isDownload: false, loaded: 0, total: 0 });
    let reported = 0;
    const embedder = await Embedder.load(model, {
      progress: ({ stage, loaded, total }) => {
        const now = performance.now();
        if (now - reported < REPORT_MS && loaded < total) return;
        reported = now;
        this.#show({ stage: "loading", source, isDownload: stage === "download" && source === "hub", loaded, total });
      },
    });
    const { device, dtype, stored, storedReason } = embedder.info;
    this.#loaded = embedder;
    this.#show({ stage: "ready", source, device, dtype, stored, storedReason });
    return embedder;
  }

  #show(state: ModelState): void {
    this.#state = state;
    this.#onState(state);
  }
}

async function choose(): Promise<Choice> {
  return (await isBundled()) ? { source: "bundled", model: BUNDLED } : { source: "hub", model: HUB_ID };
}

/** What a storage that does not work has kept is as good as absent. */
function isHere({ model }: Choice): Promise<boolean> {
  return isCached(model).catch(() => false);
}

function isBundled(): Promise<boolean> {
  return fetch(`${BUNDLED}config.json`).then(
    ({ ok }) => ok,
    () => false,
  );
}
