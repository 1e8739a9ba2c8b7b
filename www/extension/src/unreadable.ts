/** Why a page cannot be read, in a person's words. */

export interface Unreadable {
  /** Of the tab, where the browser tells it. */
  readonly url: string;
  /** What the browser says. */
  readonly problem: string;
}

export interface Explanation {
  readonly title: string;
  readonly advice: string;
}

export interface Circumstances {
  /** A popup comes only with the right to read its page. */
  readonly isPopup: boolean;
  /** Whether the browser's setting "Allow access to file URLs" is on. */
  readonly mayReadFiles: boolean;
}

/** The page has not answered yet. */
export const NO_ANSWER = "The page gives no answer.";

const STORES =
  /^https:\/\/(?:chromewebstore\.google\.com|chrome\.google\.com\/webstore|microsoftedge\.microsoft\.com\/addons)(?:[/?#]|$)/;

/** By the tab's address, and where the browser does not tell that, by its own words. */
const KINDS: readonly (Explanation & { readonly url?: RegExp; readonly problem?: RegExp })[] = [
  {
    url: /^view-source:/,
    title: "The source of a page cannot be read",
    advice: "Browsers do not let extensions read what “View page source” shows. Open the page itself to search it.",
  },
  {
    url: STORES,
    problem: /extensions gallery/,
    title: "The extension store cannot be read",
    advice: "Browsers let no extension read the pages of the store.",
  },
  {
    url: /^(?:chrome|chrome-search|chrome-untrusted|edge|brave|opera|vivaldi|about|devtools):/,
    problem: /^Cannot access a (?!chrome-extension)[\w-]+:\/\/ URL/,
    title: "The browser's own pages cannot be read",
    advice: "Browsers let no extension read their settings, their new tab and their other pages.",
  },
  {
    url: /^(?:chrome|moz)-extension:/,
    problem: /^Cannot access a chrome-extension:\/\/ URL/,
    title: "Pages of extensions cannot be read",
    advice: "Browsers do not let one extension read the pages of another.",
  },
  {
    problem: /showing error page/,
    title: "This page did not load",
    advice: "The browser shows an error in its place. Load the page again, then open embervec.",
  },
  {
    problem: /ExtensionsSettings policy|blocked by (?:the|your) administrator/,
    title: "This page is closed to extensions",
    advice: "A policy of the person or company that manages this browser forbids it.",
  },
  {
    url: /^(?:data|blob|filesystem|javascript):/,
    title: "This page has no web address",
    advice:
      "Its content is part of its address, or was made by another page. Browsers do not let extensions read such pages.",
  },
];

export function explain({ url, problem }: Unreadable, { isPopup, mayReadFiles }: Circumstances): Explanation {
  if (url.startsWith("file:") && !mayReadFiles)
    return {
      title: "This file cannot be read yet",
      advice:
        "It is on this device. Turn on “Allow access to file URLs” for embervec on the browser's extensions page, then load the file again.",
    };
  const kind = KINDS.find((kind) => kind.url?.test(url) === true || kind.problem?.test(problem) === true);
  if (kind) return { title: kind.title, advice: kind.advice };
  if (problem === NO_ANSWER)
    return {
      title: "This page does not answer yet",
      advice: "It is still loading, or busy. It is read when it answers.",
    };
  if (isPopup || url !== "")
    return { title: "This page cannot be read", advice: `The browser does not let extensions read it. (${problem})` };
  return {
    title: "This page has not been read",
    advice:
      "Press the embervec button in the toolbar, or its key, to let it read this page; then come back here. Files on this device and the browser's own pages may stay closed.",
  };
}
