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
  /** Of these, the ones that are searched. */
  readonly mainCount: number;
}

/** Name of the index in which the options page puts an imported file. */
export const IMPORTED = "imported pages";

/** What is known of the saved pages. */
export interface SavedList {
  /** The one that was saved last comes first. */
  readonly pages: readonly SavedPage[];
  /** What they take of the browser's storage, about. */
  readonly bytes: number;
  /** They were encoded with another model than the one that is there now: only words can be looked for. */
  readonly isOtherModel: boolean;
  /** Passages that are being encoded again. */
  readonly encoding?: { readonly done: number; readonly total: number };
}

/** A saved page, whole. */
export interface SavedText {
  readonly page: SavedPage;
  readonly passages: readonly Pick<Hit, "text" | "index" | "heading" | "isAside">[];
}

export interface Hit {
  readonly text: string;
  /** Position among the page's passages. */
  readonly index: number;
  /** The heading above it, if there is one. */
  readonly heading: string;
  /** Whether it is in a banner, a menu or the like. */
  readonly isAside: boolean;
  /** Cosine; none where only words could be looked for. */
  readonly score?: number;
  readonly url: string;
  readonly title: string;
  /** For a hit in a saved page: when that was. */
  readonly savedAt?: number;
}

export interface Ranking {
  /** What is beside the page's main text comes last. */
  readonly hits: readonly Hit[];
  /** Of how many passages these are the best. */
  readonly passageCount: number;
  /** How many of them are of saved pages, beside the one that is shown. */
  readonly savedCount?: number;
  /** Found by words alone, because the model is not there yet. */
  readonly isByWords?: boolean;
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
  /** The page together with the saved ones. `null`: as above. */
  searchBoth: { request: { key: string; query: string }; result: Ranking | null };
  /** `null`: as above. Encodes all of the page, also when no panel is open any more. */
  savePage: { request: { key: string }; result: SavedPage | null };
  removePage: { request: { url: string }; result: null };
  /** `null`: it is not saved. */
  readSaved: { request: { url: string }; result: SavedText | null };
  clearSaved: { request: null; result: null };
  /** The address of a file with all saved pages, as long as the offscreen document lives. */
  exportSaved: { request: null; result: string };
  /** Takes over what the options page has imported; the result is how many pages came. */
  mergeSaved: { request: null; result: number };
  /** With the model that is there now. `false`: it was stopped. */
  encodeSavedAgain: { request: null; result: boolean };
  stopEncodingSaved: { request: null; result: null };
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
  | { readonly saved: SavedList }
  /** The saved pages cannot be read. */
  | { readonly savedFailure: Failure };
