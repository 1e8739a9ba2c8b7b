// The names of a cache's entries as files: of letters that every file system takes, whatever it makes of upper and lower case, and from
// which the key can be read again.

/** Parts of a key that are folders of their own: what kind of entry it is, and the model. */
const FOLDERS = 2;

/** Characters of a name at most. Some file systems that encrypt names take 143. */
const MAX_NAME = 120;

/** Names of devices on Windows, with any extension. */
const DEVICE = /^(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)/;

/** At the end of what is a file, so that no file has the name of a folder. */
const FILE = "=";

/** A longer name goes on in a folder. */
const CUT = "~";

/** The path of a key's file: `chunk https://host/M/ a.bin - 0` is at `chunk/https%3a%2f%2fhost%2f!m%2f/a.bin+-+0=`. */
export function nameOf(key: string): string {
  const parts = key.split(" ");
  const folders = parts.slice(0, FOLDERS).map(folderOf);
  const rest = parts.slice(FOLDERS).map(partOf).join("+");
  const path = parts.length > FOLDERS ? [...folders, rest] : folders;
  return path.map(cut).join("/") + FILE;
}

/** The folder of all keys that begin so. */
export function scopeOf(prefix: string): string[] {
  const whole = prefix.split(" ").slice(0, -1).slice(0, FOLDERS);
  return whole.flatMap((part) => cut(folderOf(part)).split("/"));
}

/** The key of a file; `undefined` for one that is not of this cache. */
export function keyOf(name: readonly string[]): string | undefined {
  const path = name.join("/");
  if (!path.endsWith(FILE)) return undefined;
  const encoded = path
    .slice(0, -FILE.length)
    .replaceAll(`${CUT}/${CUT}`, "")
    .replaceAll(/[/+]/g, " ")
    .replaceAll(/!([a-z]?)/g, (_, letter: string) => letter.toUpperCase());
  try {
    const key = decodeURIComponent(encoded);
    // Only what is written as this cache writes it.
    return nameOf(key) === path ? key : undefined;
  } catch {
    return undefined;
  }
}

function folderOf(part: string): string {
  return part === "" ? "!" : partOf(part);
}

function partOf(part: string): string {
  const escaped = (character: string) =>
    encodeURIComponent(character)
      .replace(/^[^%]$/, hexOf)
      .toLowerCase();
  return part
    .replace(/[^A-Za-z0-9._-]/gu, escaped)
    .replace(/[A-Z]/g, (letter) => `!${letter.toLowerCase()}`)
    .replace(/^\.|\.$/g, "%2e")
    .replace(DEVICE, (device) => hexOf(device[0]!) + device.slice(1));
}

function hexOf(character: string): string {
  return `%${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

function cut(name: string): string {
  const pieces = name.match(new RegExp(`.{1,${MAX_NAME}}`, "g")) ?? [""];
  return pieces.join(`${CUT}/${CUT}`);
}
