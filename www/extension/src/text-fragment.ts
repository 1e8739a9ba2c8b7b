/** Links to a passage: <https://wicg.github.io/scroll-to-text-fragment/>. */

/** A passage with more words is named by so many at its beginning and its end. */
const WORDS = 6;

export function linkToPassage(url: string, text: string): string {
  const words = text.split(" ");
  const parts = words.length <= 2 * WORDS ? [text] : [words.slice(0, WORDS).join(" "), words.slice(-WORDS).join(" ")];
  return `${url}${url.includes("#") ? "" : "#"}:~:text=${parts.map(encode).join(",")}`;
}

/** A dash would mark the text before or after. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll("-", "%2D");
}
