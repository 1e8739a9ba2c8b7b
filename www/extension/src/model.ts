/** Which model it is, and its loading. */

import { deleteModel, Embedder, EmbervecError, isCached } from "embervec";
import { ABSENT, type ModelSource, type ModelState } from "./protocol";

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

  constructor(onState: (state: ModelState) => void) {
    this.#onState = onState;
  }

  get state(): ModelState {
    return this.#state;
  }

  /**
   * @param mayDownload whether the user has consented to that
   * @throws {AbsentError} where the model would have to be downloaded and may not
   */
  async embedder(mayDownload = false): Promise<Embedder> {
    this.#choice ??= choose().catch((error: unknown) => {
      this.#choice = undefined; // it may have been put right
      throw error;
    });
    const choice = await this.#choice;
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

  async #load(choice: Choice): Promise<Embedder> {
    const embedder = await this.#start(choice).catch(async (error: unknown) => {
      // What a load has left that was interrupted is no use here: Chromium gives parts of an extension's file with status 200,
      // as if they were the whole, so it cannot go on where it was.
      if (choice.source !== "bundled" || !(error instanceof EmbervecError) || !["network", "integrity"].includes(error.code)) throw error;
      await deleteModel(choice.model);
      return this.#start(choice);
    });
    const { device, dtype, stored, storedReason } = embedder.info;
    this.#show({ stage: "ready", source: choice.source, device, dtype, stored, storedReason });
    return embedder;
  }

  #start({ source, model }: Choice): Promise<Embedder> {
    this.#show({ stage: "loading", source, isDownload: false, loaded: 0, total: 0 });
    let reported = 0;
    return Embedder.load(model, {
      progress: ({ stage, loaded, total }) => {
        const now = performance.now();
        if (now - reported < REPORT_MS && loaded < total) return;
        reported = now;
        this.#show({ stage: "loading", source, isDownload: stage === "download" && source === "hub", loaded, total });
      },
    });
  }

  #show(state: ModelState): void {
    this.#state = state;
    this.#onState(state);
  }
}

async function choose(): Promise<Choice> {
  if (!(await isInExtension("config.json"))) return { source: "hub", model: HUB_ID };
  // Of a file that an extension does not have no more can be learnt than of a host without a network. With the list of the folder's
  // files the package asks for none that is not there.
  if (!(await isInExtension("manifest.json"))) {
    throw new EmbervecError("model_not_found", `${BUNDLED} has no manifest.json; put a folder there that \`cargo xtask pack\` has made`);
  }
  return { source: "bundled", model: BUNDLED };
}

/** What a storage that does not work has kept is as good as absent. */
function isHere({ model }: Choice): Promise<boolean> {
  return isCached(model).catch(() => false);
}

function isInExtension(path: string): Promise<boolean> {
  return fetch(BUNDLED + path).then(
    ({ ok }) => ok,
    () => false,
  );
}
