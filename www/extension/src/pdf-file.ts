/** A PDF file that a tab shows. The script in the tab sends its bytes; its text is read here, by the library of the demo. */

import type { Section } from "../../src/documents/types";
import { cut } from "./lines";
import type { PassageText } from "./page-messages";

/** As of a page. */
const MAX_PASSAGES = 20_000;

export interface PdfPassage {
  readonly passage: PassageText;
  /** Its page, from 1 on. */
  readonly page: number;
}

export class PdfFile {
  readonly #parts: BlobPart[] = [];
  readonly #controller = new AbortController();

  add(base64: string): void {
    this.#parts.push(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
  }

  /** Nobody waits for it any more. */
  close(): void {
    this.#controller.abort();
  }

  /**
   * @param onPassages is given the passages as they are found
   * @returns sentences about what could not be read, and whether there is more than is read
   * @throws {Error} which says in a sentence why it cannot be read
   */
  async read(onPassages: (found: PdfPassage[]) => void): Promise<{ notes: readonly string[]; isCut: boolean }> {
    const { signal } = this.#controller;
    const [{ readPdf }, { HOST }, { Input }, { SectionWriter }] = await Promise.all([
      import(/* webpackChunkName: "pdf" */ "../../src/documents/pdf"),
      import(/* webpackChunkName: "pdf" */ "../../src/documents/pdf-host"),
      import(/* webpackChunkName: "pdf" */ "../../src/documents/input"),
      import(/* webpackChunkName: "pdf" */ "../../src/documents/sections"),
    ]);
    let count = 0;
    const full = new Full();
    const out = new SectionWriter(async (sections) => {
      signal.throwIfAborted();
      const found = sections.flatMap(passagesOf).slice(0, MAX_PASSAGES - count);
      count += found.length;
      onPassages(found);
      if (count === MAX_PASSAGES) throw full;
    });
    try {
      await readPdf(new Input(new Blob(this.#parts), signal, () => {}), out, HOST);
      await out.end();
    } catch (error) {
      if (error !== full) throw error;
    }
    return { notes: out.notes, isCut: count === MAX_PASSAGES };
  }
}

/** Ends the reading of what has more passages than are read. */
class Full extends Error {}

function passagesOf({ text, headings, page = 1 }: Section): PdfPassage[] {
  const heading = headings?.at(-1);
  const name = heading === undefined ? `Page ${page}` : `${heading} (page ${page})`;
  const plain = text.replace(/\s+/g, " ");
  return [...cut(plain, [0, plain.length])].map(([begin, end]) => ({
    passage: [plain.slice(begin, end).trim(), false, name],
    page,
  }));
}
