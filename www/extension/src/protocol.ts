/** What the popup and the side panel say to the offscreen document, over a port, and what it answers. */

/** Sent to the service worker, the only one that may create the offscreen document. */
export const ENSURE_ENCODER = "ensure encoder";

/** The text of a page that a tab shows. */
export interface PageText {
  /** Of this text in this tab: under it its vectors are kept. */
  readonly key: string;
  /** Of the address and the text. */
  readonly hash: string;
  readonly url: string;
  readonly title: string;
  readonly passages: readonly string[];
}

export interface SavedPage {
  readonly url: string;
  readonly title: string;
  readonly hash: string;
  /** Milliseconds since 1970. */
  readonly savedAt: number;
  readonly passageCount: number;
}

export interface Hit {
  readonly text: string;
  /** Position among the page's passages. */
  readonly index: number;
  readonly score: number;
  readonly url: string;
  readonly title: string;
}

export interface Ranking {
  readonly hits: readonly Hit[];
  /** Of how many passages these are the best. */
  readonly passageCount: number;
  readonly milliseconds: number;
}

/** Every call may be made twice, because an answer is lost when the offscreen document ends. */
export interface Calls {
  /** Loads the model; `download` is the user's consent to fetch it. */
  load: { request: { download: boolean }; result: null };
  /** Has the page's vectors made, if they are not there. */
  encodePage: { request: PageText; result: null };
  /** `null`: the page has to be encoded first. */
  searchPage: { request: { key: string; query: string }; result: Ranking | null };
  searchSaved: { request: { query: string }; result: Ranking };
  savePage: { request: PageText; result: null };
  removePage: { request: { url: string }; result: null };
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
export interface Reading {
  readonly key: string;
  readonly loaded: number;
  readonly total: number;
}

export type Request = {
  [Name in keyof Calls]: { id: number; name: Name; request: Calls[Name]["request"] };
}[keyof Calls];

/** Answers by their request's id; the others go to every panel, the model and the list of saved pages also to one that has just come. */
export type Message =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: Failure }
  | { readonly model: ModelState }
  | { readonly reading: Reading }
  | { readonly saved: readonly SavedPage[] };
