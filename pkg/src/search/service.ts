// What the index's worker asks of the page: an embedder's work.

import { EmbervecError, codeOf, messageOf } from "../errors.js";
import type { Embedder } from "../index.js";
import type { Methods } from "../port.js";
import type { SentEmbedder } from "./protocol.js";
import type { IndexInfo } from "./types.js";

export interface ServiceOptions {
  /** All that an index has been given, by their numbers: one that is not its own, or not yet, is compared with its probes, too. */
  embedders: readonly Embedder[];
  onChange: (info: IndexInfo) => void;
  signal: AbortSignal;
}

/** An error is an answer, too, so that its code comes along. */
type Answer = { value: unknown } | { error: { code: string; message: string } };

export function serviceOf({ embedders, onChange, signal }: ServiceOptions): Methods {
  const answer = async (number: number, action: (embedder: Embedder) => Promise<unknown>): Promise<Answer> => {
    try {
      return { value: await action(embedders[number]!) };
    } catch (error) {
      return { error: { code: codeOf(error) ?? "internal", message: messageOf(error) } };
    }
  };
  return {
    tokenCounts: (number: number, texts: string[]) => answer(number, async (own) => own.tokenCounts(texts)),
    encode: (number: number, texts: string[], truncateDim: number | undefined) =>
      answer(number, async (own) => {
        const vectors = await own.encodeDocument(texts, { signal, ...(truncateDim !== undefined && { truncateDim }) });
        const dimension = vectors[0]?.length ?? 0;
        const joined = new Float32Array(vectors.length * dimension);
        vectors.forEach((vector, i) => joined.set(vector, i * dimension));
        return joined;
      }),
    changed: (info: IndexInfo) => onChange(info),
  };
}

/** What the worker has to know of an embedder, which gets a number where it has none. */
export async function sentEmbedder(embedder: Embedder, embedders: Embedder[]): Promise<SentEmbedder> {
  if (!embedders.includes(embedder)) embedders.push(embedder);
  const { embeddingSpace, maxSeqLength, specialTokens, similarity, prompts } = embedder.info;
  const [promptTokens = 0] = prompts["document"] ? await embedder.tokenCounts([prompts["document"]]) : [];
  return {
    number: embedders.indexOf(embedder),
    space: { ...embeddingSpace },
    similarity: similarityOf(similarity),
    maxTokens: Math.max(1, Math.min(maxSeqLength, 1 << 20) - specialTokens - promptTokens),
  };
}

function similarityOf(similarity: Embedder["info"]["similarity"]): SentEmbedder["similarity"] {
  if (similarity !== "manhattan") return similarity;
  throw new EmbervecError(
    "unsupported_model",
    'a SearchIndex computes cosine, dot and euclidean similarity, and this model was trained for "manhattan"; use semanticSearch',
  );
}
