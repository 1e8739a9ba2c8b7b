/** JSON and JSON Lines: each object of a list is an entry, and so is each object of an object. */

import { Tokenizer, TokenType } from "@streamparser/json";

import { type Input, textOf } from "./input";
import type { SectionWriter } from "./sections";
import { Problem } from "./types";

/** An entry that is longer goes on in another section of the same place. */
const MAX_ENTRY = 4000;
/** Keys that a place names: of a deeper one, the outermost and the innermost. */
const MAX_KEYS = 6;
const MAX_KEY = 80;

export async function readJson(input: Input, encoding: string, out: SectionWriter, isLines: boolean): Promise<void> {
  const reader = new JsonText(out, isLines);
  for await (const text of textOf(input, encoding)) {
    reader.write(text);
    await out.drain();
  }
  reader.end();
}

/** An object or a list that has begun. */
interface Level {
  isList: boolean;
  /** The name of the value that comes next. */
  key: string | number;
}

class JsonText {
  readonly #out: SectionWriter;
  /** Whether each line is a value of its own. */
  readonly #isLines: boolean;
  readonly #tokenizer = new Tokenizer({ separator: "" });
  /** For the line of an error. */
  #lines = 1;
  #written = "";
  #levels: Level[] = [];
  #expects: "value" | "value or end" | "key" | "key or end" | "colon" | "comma or end" = "value";
  /** How many values there were at the top. */
  #documents = 0;
  /** How many levels the entry is deep that is being read; what is deeper belongs to it. */
  #entryDepth: number | undefined;
  #texts: string[] = [];
  #length = 0;

  constructor(out: SectionWriter, isLines: boolean) {
    this.#out = out;
    this.#isLines = isLines;
    this.#tokenizer.onToken = ({ token, value }) => this.#token(token, value);
    this.#tokenizer.onError = (error) => {
      throw error;
    };
  }

  write(text: string): void {
    this.#written = text;
    try {
      this.#tokenizer.write(text);
    } catch (cause) {
      throw this.#broken(cause);
    }
    this.#lines += text.split("\n").length - 1;
  }

  end(): void {
    try {
      this.#tokenizer.end();
      if (this.#levels.length > 0) throw new Error("it ends before its end");
    } catch (cause) {
      throw this.#broken(cause);
    }
    this.#flush();
  }

  #broken(cause: unknown): Problem {
    this.#flush();
    const most = this.#lines + this.#written.split("\n").length - 1;
    const where = most === this.#lines ? `line ${most}` : `lines ${this.#lines} to ${most}`;
    return new Problem("broken", `It is not valid JSON (${where}).`, cause);
  }

  #token(token: TokenType, value: unknown): void {
    const level = this.#levels.at(-1);
    const expects = this.#expects;
    switch (token) {
      case TokenType.LEFT_BRACE:
      case TokenType.LEFT_BRACKET:
        if (expects !== "value" && expects !== "value or end") throw new Error("a value is not expected here");
        this.#begin(token === TokenType.LEFT_BRACKET);
        break;
      case TokenType.RIGHT_BRACE:
      case TokenType.RIGHT_BRACKET: {
        const isList = token === TokenType.RIGHT_BRACKET;
        const mayEnd = expects === "comma or end" || expects === (isList ? "value or end" : "key or end");
        if (!mayEnd || level?.isList !== isList) throw new Error("an end is not expected here");
        this.#endLevel();
        break;
      }
      case TokenType.COLON:
        if (expects !== "colon") throw new Error("a colon is not expected here");
        this.#expects = "value";
        break;
      case TokenType.COMMA:
        if (expects !== "comma or end" || level === undefined) throw new Error("a comma is not expected here");
        if (level.isList) (level.key as number)++;
        this.#expects = level.isList ? "value" : "key";
        break;
      case TokenType.SEPARATOR:
        break;
      default:
        if (expects === "key" || expects === "key or end") {
          if (token !== TokenType.STRING) throw new Error("a key is not expected here");
          level!.key = value as string;
          this.#expects = "colon";
        } else if (expects === "value" || expects === "value or end") {
          this.#scalar(value);
          this.#afterValue();
        } else {
          throw new Error("a value is not expected here");
        }
    }
  }

  #begin(isList: boolean): void {
    const parent = this.#levels.at(-1);
    if (this.#entryDepth === undefined) {
      this.#flush();
      // The objects in a list are what a list of data consists of; so are lists in a list.
      if (parent?.isList || (this.#isLines && parent === undefined)) this.#entryDepth = this.#levels.length;
    }
    this.#levels.push({ isList, key: isList ? 0 : "" });
    this.#expects = isList ? "value or end" : "key or end";
  }

  #endLevel(): void {
    if (this.#entryDepth === undefined || this.#entryDepth === this.#levels.length - 1) this.#flush();
    this.#levels.pop();
    if (this.#entryDepth === this.#levels.length) this.#entryDepth = undefined;
    this.#afterValue();
  }

  #afterValue(): void {
    this.#expects = this.#levels.length > 0 ? "comma or end" : "value";
    if (this.#levels.length > 0) return;
    this.#flush();
    this.#documents += 1;
  }

  #scalar(value: unknown): void {
    if (value === null || value === "") return;
    const text = String(value as string | number | boolean);
    const level = this.#levels.at(-1);
    // A list of texts outside of an entry: each is one.
    const isEntry =
      this.#entryDepth === undefined && typeof value === "string" && (level === undefined || level.isList);
    if (isEntry) this.#flush();
    const label = isEntry ? "" : this.#label();
    this.#texts.push(label === "" ? text : `${label}: ${text}`);
    this.#length += text.length + label.length;
    if (isEntry) this.#flush(this.#levels.length);
    else if (this.#length > MAX_ENTRY) this.#flush();
  }

  /** What a value is called within its entry. */
  #label(): string {
    let to = this.#levels.length;
    const from = Math.max(this.#entryDepth ?? to - 1, to - 3);
    // Which of several values it is says little.
    while (to > from && this.#levels[to - 1]!.isList) to -= 1;
    return nameOf(this.#levels, from, to);
  }

  /** Writes what has been collected: of the value that these outermost levels lead to. */
  #flush(depth = this.#entryDepth ?? this.#levels.length - 1): void {
    if (this.#texts.length === 0) return;
    const key = nameOf(this.#levels, 0, depth);
    this.#out.entry(this.#texts.join("\n"), {
      ...(this.#isLines && { row: this.#documents + 1 }),
      ...(key !== "" && { key }),
    });
    this.#texts = [];
    this.#length = 0;
  }
}

/** `items[3].address` */
function nameOf(levels: readonly Level[], from: number, to: number): string {
  let name = "";
  for (let at = from; at < to; at++) {
    if (to - from > MAX_KEYS && at === from + MAX_KEYS / 2) {
      name += "…";
      at = to - MAX_KEYS / 2;
    }
    const { isList, key } = levels[at]!;
    if (isList) name += `[${key}]`;
    else name += (name === "" ? "" : ".") + String(key).slice(0, MAX_KEY);
  }
  return name;
}
