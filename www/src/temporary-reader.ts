/** Stands in for the document readers until they are there: paragraphs of text files. */

export type SourceFile = { file: File; path: string } | { text: string; name: string };
export interface DocumentInfo {
  index: number;
  name: string;
  path: string;
  type: string;
  size: number;
  title?: string;
}
export interface Section {
  text: string;
  line?: number;
}
export type ReaderEvent =
  | { kind: "sections"; document: DocumentInfo; sections: Section[]; isFirst: boolean; isLast: boolean; notes: string[] }
  | { kind: "problem"; document: DocumentInfo; reason: string; problem: string };

export const ACCEPT = ".txt,.md";

export class DocumentReader {
  async *read(
    source: Iterable<SourceFile> | AsyncIterable<SourceFile>,
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncGenerator<ReaderEvent> {
    let index = 0;
    for await (const item of source) {
      signal?.throwIfAborted();
      const path = "file" in item ? item.path : item.name;
      const name = path.split("/").at(-1) ?? path;
      const type = "file" in item ? (/\.(md|txt)$/i.exec(name)?.[1]?.toLowerCase() ?? "unknown") : "txt";
      const document = { index: index++, name, path, type, size: 0 };
      if (type === "unknown") {
        yield { kind: "problem", document, reason: "unsupported", problem: "This kind of file cannot be read." };
        continue;
      }
      const text = "file" in item ? await item.file.text() : item.text;
      const sections = text
        .split("\n\n")
        .filter((part) => part.trim() !== "")
        .map((part, line) => ({ text: part.trim(), line: line + 1 }));
      yield { kind: "sections", document, sections, isFirst: true, isLast: true, notes: [] };
    }
  }
}

export function* filesFromInput(files: FileList): Generator<SourceFile> {
  for (const file of files) yield { file, path: file.webkitRelativePath || file.name };
}

export async function* filesFromDrop(transfer: DataTransfer): AsyncGenerator<SourceFile> {
  yield* filesFromInput(transfer.files);
}

export function placeText(section: Section): string {
  return section.line === undefined ? "" : `line ${section.line}`;
}
