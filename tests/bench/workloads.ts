// Texts to encode, what they cost, and the statistics of STS-B.

/** Each is one token of BERT's uncased vocabulary. */
const WORDS =
  "time year people way day man thing woman life child world school state family student group country problem hand part place case week company system program question work government number night point home water room mother area money story fact month lot right study book eye job word business issue side kind head house service friend father power hour game line end member law car city community name president team minute idea body information back parent face others level office door health person art war history party result change morning reason research girl guy moment air teacher force education".split(
    " ",
  );

/** A generator of numbers in [0, 1), the same in every run. */
function random(seed: number): () => number {
  let state = seed + 1;
  return () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  };
}

export function textOfWords(count: number, seed: number): string {
  const next = random(seed);
  return Array.from({ length: count }, () => WORDS[Math.floor(next() * WORDS.length)]).join(" ");
}

/** `[CLS]` and `[SEP]` count. */
export function textOfTokens(count: number, seed: number): string {
  return textOfWords(count - 2, seed);
}

/** Lengths spread evenly from 5 to 200 words, in no order. */
export function mixedTexts(count: number): string[] {
  const next = random(count);
  const lengths = Array.from({ length: count }, (_, i) => ({
    words: 5 + Math.round((195 * i) / (count - 1)),
    key: next(),
  }));
  return lengths.sort((a, b) => a.key - b.key).map(({ words }, i) => textOfWords(words, i));
}

/** Of an encoder. */
export interface Shape {
  layers: number;
  hidden: number;
  intermediate: number;
}

const MINILM: Shape = { layers: 6, hidden: 384, intermediate: 1536 };

/**
 * Additions and multiplications of an encoder for texts of these numbers of tokens, without padding: two per
 * weight and token, and two products of a token's vector with all tokens of its text per layer for attention.
 */
export function flops(tokens: number[], { layers, hidden, intermediate }: Shape = MINILM): number {
  const weights = layers * (4 * hidden * hidden + 2 * hidden * intermediate);
  const attention = (length: number): number => layers * 4 * length * hidden;
  return tokens.reduce((sum, length) => sum + length * (2 * weights + attention(length)), 0);
}

/** Lines of `sentence1,sentence2,score`, where a field may be in quotes. */
export function stsPairs(csv: string): { left: string; right: string; score: number }[] {
  return csv
    .trim()
    .split(/\r?\n/)
    .map((line) => {
      const fields = [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))/g)];
      const [left, right, score] = fields.map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? "");
      if (fields.length !== 3 || !left || !right || !score || !Number.isFinite(Number(score))) {
        throw new Error(`not a pair of sentences and a score: ${line}`);
      }
      return { left, right, score: Number(score) };
    });
}

/** Spearman's rank correlation; equal values share their mean rank. */
export function spearman(a: number[], b: number[]): number {
  const [x, y] = [ranks(a), ranks(b)];
  const middle = (a.length - 1) / 2;
  const covariance = (u: number[], v: number[]): number =>
    u.reduce((sum, rank, i) => sum + (rank - middle) * (v[i]! - middle), 0);
  return covariance(x, y) / Math.sqrt(covariance(x, x) * covariance(y, y));
}

function ranks(values: number[]): number[] {
  const order = values.map((_, i) => i).sort((i, j) => values[i]! - values[j]!);
  const result = new Array<number>(values.length);
  for (let begin = 0, end; begin < order.length; begin = end) {
    for (end = begin; end < order.length && values[order[end]!] === values[order[begin]!]; ) end++;
    for (let i = begin; i < end; i++) result[order[i]!] = (begin + end - 1) / 2;
  }
  return result;
}
