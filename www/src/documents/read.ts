/** Reads one document: finds out what it is, and lets the reader for that read it. */

import { encodingOf } from "./encoding";
import { Input, MAX_TEXT_BYTES } from "./input";
import { type SectionOptions, SectionWriter } from "./sections";
import { readText } from "./text";
import { type DocumentInfo, type DocumentType, Problem, type Readable, type ReaderEvent } from "./types";

const TYPES: ReadonlyMap<string, DocumentType> = new Map(
  Object.entries({
    md: "md markdown mdown mkd mdx qmd rmd",
    html: "html htm xhtml xht xml rss atom opml",
    csv: "csv tsv tab",
    json: "json jsonl ndjson geojson",
    docx: "docx docm dotx",
    pdf: "pdf",
    log: "log",
  }).flatMap(([type, extensions]) =>
    extensions.split(" ").map((extension) => [extension, type as DocumentType] as const),
  ),
);
const XML = /^(?:xhtml|xht|xml|rss|atom|opml)$/;

/** What is often tried, and what to do instead. */
const UNSUPPORTED: readonly (readonly [extensions: RegExp, sentence: string])[] = [
  [/^(?:doc|dot|rtf|odt|wps|pages)$/, "This kind of text document cannot be read. Save it as .docx or PDF."],
  [/^(?:xlsx?|xlsm|xlsb|ods|numbers)$/, "Spreadsheets cannot be read. Save the sheet as .csv."],
  [/^(?:pptx?|pps|odp|key)$/, "Presentations cannot be read. Save it as PDF."],
  [/^(?:epub|mobi|azw3?|fb2)$/, "E-books cannot be read. Convert it to HTML or PDF."],
  [/^(?:zip|gz|bz2|xz|zst|7z|rar|tar|tgz|jar)$/, "It is an archive. Unpack it first."],
  [/^(?:png|jpe?g|gif|webp|avif|heic|bmp|tiff?|ico|psd|raw|svg)$/, "It is a picture: there is no text to read."],
  [/^(?:mp[34]|m4[av]|wav|ogg|opus|flac|aac|mov|avi|mkv|webm)$/, "It is sound or video: there is no text to read."],
  [
    /^(?:exe|dll|so|dylib|bin|dat|wasm|class|o|a|pyc|db|sqlite3?|ttf|otf|woff2?)$/,
    "It is for programs, not for readers.",
  ],
];
/** The first bytes of what has another name than it should. */
const SIGNATURES: readonly (readonly [bytes: string, sentence: string])[] = [
  ["{\\rtf", "This kind of text document cannot be read. Save it as .docx or PDF."],
  ["\x89PNG", "It is a picture: there is no text to read."],
  ["\xff\xd8\xff", "It is a picture: there is no text to read."],
  ["GIF8", "It is a picture: there is no text to read."],
  ["\x1f\x8b", "It is an archive. Unpack it first."],
  ["7z\xbc\xaf", "It is an archive. Unpack it first."],
  ["\x7fELF", "It is a program."],
  ["MZ\x90", "It is a program."],
];
const PDF = "%PDF-";
const ZIP = "PK\x03\x04";
/** Microsoft's container before ZIP: old documents, and new ones with a password. */
const COMPOUND = "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

/** Sections that are read again as text, if what follows cannot be read. */
const FEW = 20;

export interface ReadOptions {
  index: number;
  signal: AbortSignal;
  /** Settles when the page wants more. */
  send: (event: ReaderEvent) => Promise<void>;
  progress: (loaded: number, total: number) => void;
}

/** Sends the events of one document. Rejects only when it is aborted, or for a fault of the readers' own. */
export async function readDocument(source: Readable, { index, signal, send, progress }: ReadOptions): Promise<void> {
  const isFile = "file" in source;
  const blob = isFile ? source.file : new Blob([source.text]);
  const path = isFile ? source.path : source.name;
  const name = isFile ? source.file.name : source.name;
  const input = new Input(blob, signal, (loaded) => progress(loaded, blob.size));
  let type: DocumentType | "unknown" = isFile ? "unknown" : (source.type ?? typeOfText(source.text));

  const document = (): DocumentInfo => ({
    index,
    name,
    path,
    type,
    bytes: blob.size,
    ...(out.title !== undefined && { title: out.title }),
    ...(isFile && { modified: source.file.lastModified }),
  });
  let isFirst = true;
  const newWriter = (options: SectionOptions = {}) =>
    new SectionWriter(async (sections, isLast) => {
      const notes = out.notes;
      out.notes = [];
      await send({ kind: "sections", document: document(), sections, isFirst, isLast, notes });
      isFirst = false;
    }, options);
  // Who pastes paragraphs means each by itself.
  let out = newWriter({ joins: isFile });

  try {
    if (blob.size === 0) throw new Problem("empty", "It is empty.");
    const extension = isFile ? extensionOf(name) : "";
    if (isFile) type = await typeOfFile(input, extension);
    try {
      await readAs(type, extension, input, out);
    } catch (error) {
      // Text that is no JSON is still text, unless most of it was read.
      const isOfJson = type === "json" && error instanceof Problem && error.reason === "broken";
      if (!isOfJson || !isFirst || out.count > FEW) throw error;
      out = newWriter();
      out.note(`${error.message} It was read as plain text.`);
      type = "txt";
      await readAs(type, extension, input, out);
    }
    if (blob.size > MAX_TEXT_BYTES && type !== "pdf" && type !== "docx") {
      out.note(`Only the first ${megabytes(MAX_TEXT_BYTES)} of ${megabytes(blob.size)} were read.`);
    }
    await out.end();
    if (out.count === 0) throw new Problem("no-text", "There is no text in it.");
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Problem)) throw error;
    await out.end(false);
    const { reason, message } = error;
    const problem = out.count === 0 ? message : `${message} What comes before that was read.`;
    await send({ kind: "problem", document: document(), reason, problem });
  }
}

async function readAs(type: DocumentType | "unknown", extension: string, input: Input, out: SectionWriter) {
  switch (type) {
    case "pdf": {
      const [{ readPdf }, { HOST }] = await fetched(() =>
        Promise.all([
          import(/* webpackChunkName: "reader-pdf" */ "./pdf"),
          import(/* webpackChunkName: "reader-pdf" */ "./pdf-host"),
        ]),
      );
      return readPdf(input, out, HOST);
    }
    case "docx": {
      const { readDocx } = await fetched(() => import(/* webpackChunkName: "reader-docx" */ "./docx"));
      return readDocx(input, out);
    }
    case "html": {
      const { declaredEncoding, readHtml } = await fetched(
        () => import(/* webpackChunkName: "reader-html" */ "./html"),
      );
      return readHtml(input, await encodingFor(input, out, declaredEncoding), out, XML.test(extension));
    }
    case "md": {
      const { readMarkdown } = await fetched(() => import(/* webpackChunkName: "reader-markdown" */ "./markdown"));
      return readMarkdown(input, await encodingFor(input, out), out);
    }
    case "csv": {
      const { readCsv } = await fetched(() => import(/* webpackChunkName: "reader-csv" */ "./csv"));
      return readCsv(input, await encodingFor(input, out), out);
    }
    case "json": {
      const { readJson } = await fetched(() => import(/* webpackChunkName: "reader-json" */ "./json"));
      return readJson(input, await encodingFor(input, out), out, /^(?:jsonl|ndjson)$/.test(extension));
    }
    case "txt":
    case "log":
    case "unknown":
      return readText(input, await encodingFor(input, out), out, type === "log");
  }
}

async function encodingFor(input: Input, out: SectionWriter, declared?: (head: string) => string | undefined) {
  const { label, note } = await encodingOf(input, declared);
  if (note !== undefined) out.note(note);
  return label;
}

/** A part of this page that comes when it is needed. */
async function fetched<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    throw new Problem(
      "offline",
      "The part of this page that reads such files could not be fetched. Check your connection, then reload the page.",
      cause,
    );
  }
}

/** By the first bytes, which do not lie, then by the name. */
async function typeOfFile(input: Input, extension: string): Promise<DocumentType> {
  const bytes = await input.bytes(0, 65_536);
  const head = new TextDecoder("windows-1252").decode(bytes.subarray(0, 1024));
  const type = TYPES.get(extension);
  if (head.includes(PDF)) return "pdf";
  const unsupported = UNSUPPORTED.find(([extensions]) => extensions.test(extension))?.[1];
  if (unsupported !== undefined) throw new Problem("unsupported", unsupported);
  if (startsWith(bytes, COMPOUND)) {
    // The name of the stream that holds what is encrypted, in UTF-16.
    const isEncrypted = new TextDecoder("utf-16le").decode(bytes).includes("EncryptedPackage");
    if (isEncrypted) throw new Problem("encrypted", "It is protected by a password.");
    throw new Problem("unsupported", "Old Office documents cannot be read. Save it as .docx or PDF.");
  }
  if (startsWith(bytes, ZIP)) return "docx"; // its reader says if it is none
  const signature = SIGNATURES.find(([start]) => startsWith(bytes, start));
  if (signature !== undefined) throw new Problem("unsupported", signature[1]);
  if (type === "pdf") throw new Problem("broken", "It is damaged, or no PDF: it does not begin like one.");
  if (type === "docx") throw new Problem("broken", "It is damaged, or no Word document: it does not begin like one.");
  return type ?? "txt";
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return [...text].every((character, index) => bytes[index] === character.charCodeAt(0));
}

/** Pasted text has no name. */
function typeOfText(text: string): DocumentType {
  const start = text.slice(0, 4096).trimStart();
  if (/^<(?:!doctype html|html)\b/i.test(start)) return "html";
  return /^#{1,6} \S/m.test(start) || /^```/m.test(start) ? "md" : "txt";
}

function extensionOf(name: string): string {
  const dot = name.lastIndexOf(".");
  return dot <= 0 ? "" : name.slice(dot + 1).toLowerCase();
}

function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 1024 / 1024)} MB`;
}
