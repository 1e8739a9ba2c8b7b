/** The vectors of the pages that tabs show, as long as the offscreen document lives. */

import type { PageText } from "./protocol";

/** The ones that were used last; a long article's vectors are about 0.3 MB. */
const KEPT = 20;

export interface EncodedPage {
  readonly page: PageText;
  readonly vectors: readonly Float32Array[];
}

export class PageVectors {
  readonly #pages = new Map<string, Promise<EncodedPage>>();

  /** Also of a page that is being encoded. */
  get(key: string): Promise<EncodedPage> | undefined {
    const page = this.#pages.get(key);
    if (page) {
      this.#pages.delete(key);
      this.#pages.set(key, page);
    }
    return page;
  }

  ensure(page: PageText, encode: (page: PageText) => Promise<readonly Float32Array[]>): Promise<EncodedPage> {
    const known = this.get(page.key);
    if (known) return known;
    const encoded = encode(page).then((vectors) => ({ page, vectors }));
    this.#pages.set(page.key, encoded);
    encoded.catch(() => this.#pages.get(page.key) === encoded && this.#pages.delete(page.key));
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= KEPT) break;
      this.#pages.delete(oldest);
    }
    return encoded;
  }
}
