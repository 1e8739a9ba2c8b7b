/** The models that the page offers, and which one a visitor has chosen. */

import { remember, remembered } from "./remembered";

export interface KnownModel {
  readonly address: string;
  readonly name: string;
  /** What it reads: somebody whose documents are in another language must learn that before they search. */
  readonly language: string;
}

export const KNOWN_MODELS: readonly KnownModel[] = [
  { address: "./models/all-MiniLM-L6-v2/", name: "all-MiniLM-L6-v2", language: "English" },
  { address: "./models/multilingual-e5-small/", name: "multilingual-e5-small", language: "about 100 languages" },
];

export interface ModelChoice {
  /** A hub id, or the address of a folder. */
  readonly model: string;
  readonly dtype: "auto" | "q8" | "fp16" | "fp32";
  readonly device: "auto" | "cpu" | "webgpu";
}

export const DEFAULT_CHOICE: ModelChoice = { model: KNOWN_MODELS[0]!.address, dtype: "auto", device: "auto" };
const DTYPES = ["q8", "fp16", "fp32"] as const;
const DEVICES = ["cpu", "webgpu"] as const;

function isChoice(value: unknown): value is ModelChoice {
  return (
    typeof value === "object" &&
    value !== null &&
    "model" in value &&
    typeof value.model === "string" &&
    "dtype" in value &&
    "device" in value
  );
}

/** The address names it; otherwise it is the one of the last visit. */
export function chosenModel(): ModelChoice {
  const parameters = new URLSearchParams(location.search);
  const { model, dtype, device } = remembered("model", isChoice) ?? DEFAULT_CHOICE;
  const one = <T extends string>(name: string, allowed: readonly T[], otherwise: unknown) => {
    const value = parameters.get(name) ?? otherwise;
    return allowed.find((option) => option === value) ?? "auto";
  };
  return {
    model: parameters.get("model")?.trim() || model,
    dtype: one("dtype", DTYPES, dtype),
    device: one("device", DEVICES, device),
  };
}

/** For this visit and the next; the address no longer names one. */
export function chooseModel(choice: ModelChoice): void {
  remember("model", choice);
  const url = new URL(location.href);
  for (const name of ["model", "dtype", "device"]) url.searchParams.delete(name);
  history.replaceState(history.state, "", url);
}

/** As `Embedder.load` takes it: a folder's address is that of the page, wherever its script lies. */
export function resolved(model: string): string {
  return /^\.{0,2}\//.test(model) ? new URL(model, document.baseURI).href : model;
}

export function modelName(model: string): string {
  return /^[a-z]+:|^\.{0,2}\//i.test(model)
    ? (model.split(/[?#]/)[0]?.split("/").filter(Boolean).at(-1) ?? model)
    : model;
}

export function languageOf(model: string): string | undefined {
  return KNOWN_MODELS.find(({ address }) => resolved(address) === resolved(model))?.language;
}

/** Those whose folder is beside the page, by `models/index.json`, which the build writes. */
export async function availableModels(): Promise<readonly KnownModel[]> {
  try {
    const folders: unknown = await (await fetch("./models/index.json")).json();
    return KNOWN_MODELS.filter(({ name }) => Array.isArray(folders) && folders.includes(name));
  } catch {
    return KNOWN_MODELS.slice(0, 1); // offline: at least the usual one may be stored
  }
}
