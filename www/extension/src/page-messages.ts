/** What a panel and the script in the page say to each other, over a port. */

/** The port's name. */
export const PAGE_PORT = "embervec";

/** A passage, whether it is of a banner, a menu or the like, and the heading above it. */
export type PassageText = readonly [text: string, isAside: boolean, heading: string];

export interface PageEnd {
  /** Whether the page has more passages than are read. */
  readonly isCut: boolean;
  /** The hosts of frames that cannot be read; empty for one without. */
  readonly unreadable: readonly string[];
}

/** What the browser shows in a viewer of its own, which no script can look into. */
export const VIEWER_TYPE = "application/pdf";
/** A larger file is not read. */
export const MAX_FILE_BYTES = 100_000_000;

export type ToPage =
  /** The passages come from the first on; they are read once, unless the page has changed since. */
  | { readonly type: "read" }
  | {
      readonly type: "show";
      readonly key: string;
      readonly query: string;
      /** Positions of all hits, best first; the ones before and after can be reached from the page. */
      readonly hits: readonly number[];
      /** Which of the hits. */
      readonly at: number;
    }
  | { readonly type: "clear" };

export type FromPage =
  | {
      readonly type: "reading";
      readonly key: string;
      readonly url: string;
      readonly title: string;
      readonly contentType: string;
    }
  | { readonly type: "passages"; readonly key: string; readonly passages: readonly PassageText[] }
  | ({ readonly type: "end"; readonly key: string } & PageEnd)
  /** In place of passages and their end: a part of the file that the browser shows in its viewer, in base64. */
  | { readonly type: "file"; readonly key: string; readonly base64: string; readonly isEnd: boolean }
  /** The file cannot be had. */
  | { readonly type: "no-file"; readonly key: string; readonly problem: string }
  /** What has been read is no longer what is there. */
  | { readonly type: "stale"; readonly key: string }
  /** What is marked now; without an index nothing is. */
  | { readonly type: "marked"; readonly key: string; readonly query: string; readonly index: number | undefined }
  | { readonly type: "gone"; readonly key: string; readonly index: number };

/** From the service worker: the next hit (1) or the one before (-1), as a key of the keyboard asks. */
export interface StepMessage {
  readonly step: 1 | -1;
}
