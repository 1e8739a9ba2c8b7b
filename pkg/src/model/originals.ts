// Ids of conversions to ONNX, which people have in code for transformers.js, lead to the repositories they were made of: those
// hold the weights and the files that say how a model is used.
//
// Source: scripts/supported_models.py of transformers.js 2 (the models that Xenova converted, by their original ids), and the
// model cards of Xenova and onnx-community, each of which names its original. Only models that texts are embedded with, and
// only names that one repository has.

import { EmbervecError } from "../errors.js";

const CONVERTED = /^(?:xenova|onnx-community)\/(.+?)(?:-onnx)?$/i;

/** Names by their owner. */
const ORIGINALS = {
  "sentence-transformers":
    "all-MiniLM-L6-v2 all-MiniLM-L12-v2 all-mpnet-base-v2 all-distilroberta-v1 all-roberta-large-v1 " +
    "paraphrase-MiniLM-L3-v2 paraphrase-MiniLM-L6-v2 paraphrase-mpnet-base-v2 paraphrase-albert-small-v2 " +
    "paraphrase-albert-base-v2 paraphrase-multilingual-MiniLM-L12-v2 paraphrase-multilingual-mpnet-base-v2 " +
    "multi-qa-MiniLM-L6-cos-v1 multi-qa-distilbert-cos-v1 multi-qa-mpnet-base-cos-v1 multi-qa-mpnet-base-dot-v1 " +
    "msmarco-distilbert-base-v4 nli-mpnet-base-v2 bert-base-nli-mean-tokens distilbert-base-nli-mean-tokens " +
    "distilbert-base-nli-stsb-mean-tokens distiluse-base-multilingual-cased-v1 distiluse-base-multilingual-cased-v2 " +
    "xlm-r-100langs-bert-base-nli-stsb-mean-tokens LaBSE",
  BAAI:
    "bge-small-en bge-base-en bge-large-en bge-small-en-v1.5 bge-base-en-v1.5 bge-large-en-v1.5 " +
    "bge-small-zh bge-base-zh bge-large-zh bge-large-zh-noinstruct bge-base-zh-v1.5 bge-m3",
  intfloat:
    "e5-small e5-base e5-large e5-small-v2 e5-base-v2 e5-large-v2 " +
    "multilingual-e5-small multilingual-e5-base multilingual-e5-large",
  thenlper: "gte-small gte-base gte-large",
  jinaai: "jina-embeddings-v2-small-en jina-embeddings-v2-base-en",
  "Alibaba-NLP": "gte-multilingual-base",
  avsolatorio: "NoInstruct-small-Embedding-v0",
  cambridgeltl: "SapBERT-from-PubMedBERT-fulltext",
  dangvantuan: "sentence-camembert-large",
  shibing624: "text2vec-base-chinese-sentence",
};

/** The id of the repository that this one was converted from; `undefined` for all ids that are not known conversions. */
export function originalOf(model: string): string | undefined {
  const [, converted] = CONVERTED.exec(model) ?? [];
  for (const [owner, names] of Object.entries(ORIGINALS)) {
    // The hub takes them in any case.
    const name = names.split(" ").find((name) => name.toLowerCase() === converted?.toLowerCase());
    if (name !== undefined) return `${owner}/${name}`;
  }
  return undefined;
}

/** What to do about a model that was not found, if its id is that of a conversion that has no entry here. */
export function explainConversion(model: string, error: unknown): unknown {
  if (!(error instanceof EmbervecError) || !["model_not_found", "unauthorized"].includes(error.code)) return error;
  if (!CONVERTED.test(model) || originalOf(model)) return error;
  const hint = `"${model}" is a conversion to ONNX for transformers.js; use the id of the original repository instead, which its model card names`;
  return new EmbervecError(error.code, `${error.message}. ${hint}`, { cause: error });
}
