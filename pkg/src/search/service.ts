// What the index's worker asks of the page: an embedder's work.

import { EmbervecError, codeOf, messageOf } from "../errors.js";
import type { Embedder } from "../index.js";
import type { Methods } from "../port.js";
import type { SentEmbedder } from "./protocol.js";
import type { IndexInfo } from "./types.js";

export interface ServiceOptions {
  embedder: () => Embedder | undefined;
  onChange: (info: IndexInfo) => void;
  signal: AbortSignal;
}

/** An error is an answer, too, so that its code comes along. */
type Answer = { value: unknown } | { error: { code: string; message: string } };

export function serviceOf({ embedder, onChange, signal }: ServiceOptions): Methods {
  const answer = async (action: (embedder: Embedder) => Promise<unknown>): Promise<Answer> => {
    try {
      const own = embedder();
      if (!own) throw new Error("the embedder is gone");
      return { value: await action(own) };
    } catch (error) {
      return { error: { code: codeOf(error) ?? "internal", message: messageOf(error) } };
    }
  };
  return {
    tokenCounts: (texts: string[]) => answer(async (own) => own.tokenCounts(texts)),
    encode: (texts: string[], truncateDim: number | undefined) =>
      answer(async (own) => {
        const vectors = await own.encodeDocument(texts, { signal, ...(truncateDim !== undefined && { truncateDim }) });
        const dimension = vectors[0]?.length ?? 0;
        const joined = new Float32Array(vectors.length * dimension);
        vectors.forEach((vector, i) => joined.set(vector, i * dimension));
        return joined;
      }),
    changed: (info: IndexInfo) => onChange(info),
  };
}

/** What the worker has to know of an embedder. */
export async function sentEmbedder(embedder: Embedder): Promise<SentEmbedder> {
  const { embeddingSpace, maxSeqLength, specialTokens, similarity, prompts } = embedder.info;
  const [promptTokens = 0] = prompts["document"] ? await embedder.tokenCounts([prompts["document"]]) : [];
  return {
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
