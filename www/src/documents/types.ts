/** What is read, and what comes of it. */

export type DocumentType = "txt" | "log" | "md" | "html" | "csv" | "json" | "docx" | "pdf";

export type Readable =
  /** With its path within the folder that it came in. */
  | { readonly file: File; readonly path: string }
  /** Pasted. */
  | { readonly text: string; readonly name: string; readonly type?: DocumentType };

export type SourceFile = Readable | { readonly path: string; readonly problem: string };

export interface DocumentInfo {
  /** 0, 1, 2 … in the order of the sources. */
  readonly index: number;
  readonly name: string;
  readonly path: string;
  readonly type: DocumentType | "unknown";
  readonly bytes: number;
  readonly title?: string;
  /** ms since 1970. */
  readonly modified?: number;
}

/** Where in its document a text is. Every number counts from 1. */
export interface Place {
  /** Outermost first. */
  readonly headings?: readonly string[];
  /** Of a PDF. */
  readonly page?: number;
  /** Of a table; its header is a row, too. */
  readonly row?: number;
  readonly line?: number;
  /** Of JSON: `items[3].address`. */
  readonly key?: string;
}

/** One text for the index. */
export interface Section extends Place {
  /** Lines end with `\n`; paragraphs are an empty line apart. */
  readonly text: string;
  /** It stands for itself: a line, a row, an item of a list, an entry of JSON or of a log. */
  readonly isEntry?: true;
}

export type ProblemReason =
  /** Another kind of file: a picture, a spreadsheet … */
  | "unsupported"
  | "binary"
  | "empty"
  /** Scanned pages, for example. */
  | "no-text"
  | "encrypted"
  | "broken"
  | "too-large"
  /** The browser cannot open it: moved, changed, no permission. */
  | "unreadable"
  /** The part of this page that reads such files could not be fetched. */
  | "offline";

export type ReaderEvent =
  /** A small document is one event; a large one is several. */
  | {
      readonly kind: "sections";
      readonly document: DocumentInfo;
      readonly sections: readonly Section[];
      readonly isFirst: boolean;
      readonly isLast: boolean;
      /** Sentences for the person: which encoding was taken, what was left out. */
      readonly notes: readonly string[];
    }
  /** The document's last event. After `sections`, the sentence says how far it was read. */
  | {
      readonly kind: "problem";
      readonly document: DocumentInfo;
      readonly reason: ProblemReason;
      readonly problem: string;
    };

export interface ReadProgress {
  /** Of the current file. */
  readonly index: number;
  readonly path: string;
  /** Bytes of the current file. */
  readonly loaded: number;
  readonly total: number;
  /** Files that are finished. */
  readonly done: number;
}

/** Why a document, or the rest of it, is not read. */
export class Problem extends Error {
  readonly reason: ProblemReason;

  constructor(reason: ProblemReason, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "Problem";
    this.reason = reason;
  }
}
