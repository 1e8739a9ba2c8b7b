/** What the popup and the side panel say to the offscreen document, over a port, and what it answers. */

import type { PassageText } from "./page-messages";

/** Sent to the service worker, the only one that may create the offscreen document. */
export const ENSURE_ENCODER = "ensure encoder";

/** A page that a tab shows. */
export interface ShownPage {
  /** Of this reading of it. */
  readonly key: string;
  readonly url: string;
  readonly title: string;
}

/** Passages of a page, as they are found. */
export interface PagePart extends ShownPage {
  /** Position of the first one. */
  readonly from: number;
  readonly passages: readonly PassageText[];
  /** Whether these are the last ones. */
  readonly isEnd: boolean;
}

export interface SavedPage {
  readonly url: string;
  readonly title: string;
  /** Of the address and the text. */
  readonly hash: string;
  /** Milliseconds since 1970. */
  readonly savedAt: number;
  readonly passageCount: number;
}

export interface Hit {
  readonly text: string;
  /** Position among the page's passages. */
  readonly index: number;
  /** The heading above it, if there is one. */
  readonly heading: string;
  /** Whether it is in a banner, a menu or the like. */
  readonly isAside: boolean;
  readonly score: number;
  readonly url: string;
  readonly title: string;
}

export interface Ranking {
  /** What is beside the page's main text comes last. */
  readonly hits: readonly Hit[];
  /** Of how many passages these are the best. */
  readonly passageCount: number;
  readonly milliseconds: number;
}

/** Every call may be made twice, because an answer is lost when the offscreen document ends. */
export interface Calls {
  /** Loads the model; `download` is the user's consent to fetch it. */
  load: { request: { download: boolean }; result: null };
  /**
   * The panel shows this page, whose passages are encoded as far as the budget goes, as long as a panel shows it. The result is
   * how many passages are known: with fewer than `from`, they have to be sent again.
   */
  showPage: { request: PagePart & { budget: number }; result: number };
  /** The panel shows no page. */
  leavePage: { request: null; result: null };
  /** Encodes on where it stopped, with a new budget. */
  encodePage: { request: { key: string }; result: null };
  stopPage: { request: { key: string }; result: null };
  /** `null`: the page is not known, and has to be sent again. */
  searchPage: { request: { key: string; query: string }; result: Ranking | null };
  searchSaved: { request: { query: string }; result: Ranking };
  /** `null`: as above. Encodes all of the page, also when no panel is open any more. */
  savePage: { request: { key: string }; result: SavedPage | null };
  removePage: { request: { url: string }; result: null };
  modelInfo: { request: null; result: ModelInfo };
  deleteModel: { request: null; result: null };
}

export interface ModelInfo {
  readonly source: ModelSource;
  /** What it takes of the browser's storage. */
  readonly bytes: number;
}

export interface Failure {
  /** An `EmbervecErrorCode`, or {@link ABSENT}. */
  readonly code: string;
  readonly message: string;
}

/** The model would have to be downloaded, which nobody has consented to. */
export const ABSENT = "absent";

export type ModelSource = "bundled" | "hub";

export type ModelState =
  | { readonly stage: "idle" }
  | { readonly stage: "absent" }
  | {
      readonly stage: "loading";
      readonly source: ModelSource;
      readonly isDownload: boolean;
      readonly loaded: number;
      readonly total: number;
    }
  | {
      readonly stage: "ready";
      readonly source: ModelSource;
      readonly device: string;
      readonly dtype: string;
      readonly stored: boolean;
      readonly storedReason: string;
    };

/** How much of a page has been encoded. */
export interface Progress {
  readonly key: string;
  readonly encoded: number;
  /** Of so many that have been found so far. */
  readonly total: number;
  /** `paused`: the budget is spent; `waiting`: there has been no query yet. */
  readonly state: "encoding" | "paused" | "stopped" | "waiting" | "done" | "failed";
  /** Whether it is being saved, which goes on to the end. */
  readonly isSaving: boolean;
  readonly failure?: Failure;
}

export type Request = {
  [Name in keyof Calls]: { id: number; name: Name; request: Calls[Name]["request"] };
}[keyof Calls];

/** Answers by their request's id; the others go to every panel, the model and the list of saved pages also to one that has just come. */
export type Message =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: Failure }
  | { readonly model: ModelState }
  | { readonly progress: Progress }
  | { readonly saved: readonly SavedPage[] };
