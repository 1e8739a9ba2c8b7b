#!/usr/bin/env node
// `npx embervec`: packs models for a web server, and looks after the cache.

import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { constants, createBrotliCompress } from "node:zlib";

import { initSync } from "../../wasm/simd128/embervec.js";
import { ModelStore } from "../cache/store.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import { Embedder, deleteModel, listModels } from "../index.js";
import type { ProgressEvent } from "../types.js";
import { type Command, HELP, type ModelArguments, UsageError, parseCommand } from "./args.js";
import { fetchModel } from "./fetch-model.js";
import { type PackedFolder, filesOnDisk, packFolder } from "./pack.js";
import { ProgressLine, megabytes } from "./progress-line.js";

declare const EMBERVEC_VERSION: string;

const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 };

/** As embervec-pack has it. Compressing MiniLM's weights takes a second; quality 10 takes a minute for 0.3 %. */
const BROTLI_QUALITY = 5;

type CommandOf<Verb extends Command["verb"]> = Extract<Command, { verb: Verb }>;

async function run(command: Command, signal: AbortSignal): Promise<void> {
  switch (command.verb) {
    case "help":
      return print(HELP.trimEnd());
    case "version":
      return print(EMBERVEC_VERSION);
    case "pack":
      return pack(command, signal);
    case "list":
      return list();
    case "fetch":
      return fetchIntoCache(command, signal);
    case "remove":
      return remove(command);
  }
}

async function pack(
  { model: given, output, tableBits, ...where }: CommandOf<"pack">,
  signal: AbortSignal,
): Promise<void> {
  const model = pathOf(given);
  // Of a web address a folder would be made that has its name.
  if (output !== undefined && /^[a-z][a-z0-9+.-]+:\/\//i.test(output) && !/^file:/i.test(output))
    throw new UsageError(`--output must be a folder of this machine, not ${output}`);
  const isFolder = await isOnDisk(model);
  if (isFolder && (where.hub ?? where.revision) !== undefined)
    throw new UsageError(`--hub and --revision need a model id, but ${model} is a folder`);
  const target = output === undefined ? (isFolder ? model : undefined) : pathOf(output);
  if (target === undefined) throw new UsageError(`\`pack ${model}\` needs -o DIR, the folder to write`);
  const module = new URL("../embervec-simd128.wasm", import.meta.url);
  initSync({ module: await readFile(module) });
  const packed = await withProgress(async (show) => {
    const progress = ({ stage, loaded, total }: ProgressEvent) =>
      show(stage === "download" ? "downloading" : "reading the cache:", loaded, total);
    const fetched = async () => {
      const store = ModelStore.over("folder", signal);
      return fetchModel(store, model, { ...where, progress, signal });
    };
    try {
      const files = isFolder ? filesOnDisk(model) : await fetched();
      const options = { output: target, tableBits, signal, progress: show.bind(undefined, "packing") };
      return await packFolder(files, options, isFolder ? model : undefined);
    } catch (cause) {
      signal.throwIfAborted();
      throw new EmbervecError(codeOf(cause) ?? "internal", `cannot pack ${model}: ${messageOf(cause)}`, { cause });
    }
  });
  await report(packed, target, signal);
}

async function report({ weights, files }: PackedFolder, folder: string, signal: AbortSignal): Promise<void> {
  const line = (bytes: number, text: string) => print(`${String(bytes).padStart(11)}  ${text}`);
  for (const [path, { size }] of files) line(size, path);
  const total = [...files.values()].reduce((sum, { size }) => sum + size, 0);
  line(total, `${files.size} files and manifest.json in ${folder}`);
  let compressed = 0;
  const params = { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY };
  const count = async (pieces: AsyncIterable<Uint8Array>) => {
    for await (const piece of pieces) compressed += piece.byteLength;
  };
  await pipeline(createReadStream(join(folder, weights)), createBrotliCompress({ params }), count, { signal });
  line(compressed, `${weights} with Content-Encoding: br (brotli, quality ${BROTLI_QUALITY})`);
}

async function list(): Promise<void> {
  const models = await listModels();
  if (models.length === 0) return print("No models are cached.");
  const rows = models.map(({ model, revision, weights, size, complete, usedAt }) => [
    model,
    revision ?? "-",
    weights,
    `${megabytes(size)} MB`,
    complete && usedAt ? usedAt.toISOString().slice(0, 10) : "incomplete",
  ]);
  printTable([["MODEL", "REVISION", "WEIGHTS", "SIZE", "LAST USED"], ...rows]);
}

function printTable(rows: string[][]): void {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    print(
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd(),
    );
}

async function fetchIntoCache({ model, dtype, ...where }: CommandOf<"fetch">, signal: AbortSignal): Promise<void> {
  if (await isOnDisk(pathOf(model)))
    throw new UsageError(`fetch needs a model id, but ${model} is a folder; load it by its path`);
  const info = await withProgress(async (show) => {
    const embedder = await Embedder.load(model, {
      ...addressOptions(where),
      dtype,
      signal,
      workers: 1,
      progress: ({ stage, loaded, total }) => show(stage === "download" ? "downloading" : "loading", loaded, total),
    });
    await embedder.dispose();
    return embedder.info;
  });
  if (!info.stored) throw new EmbervecError("storage", `${model} was downloaded, but not cached: ${info.storedReason}`);
  print(info.cached ? `${model} is already cached` : `cached ${model}`);
}

/** What is known by its id or address; of one that is there in several revisions and forms, all that fit. */
async function remove({ model, revision }: CommandOf<"remove">): Promise<void> {
  const fits = (await listModels()).filter(
    (stored) =>
      (stored.model === model || stored.url === model) && (revision === undefined || stored.revision === revision),
  );
  if (fits.length === 0) {
    const which = revision === undefined ? model : `${model} at revision ${revision}`;
    throw new EmbervecError("model_not_found", `${which} is not cached; \`embervec models\` lists the cached models`);
  }
  for (const url of new Set(fits.map((stored) => stored.url))) await deleteModel(url);
  const bytes = fits.reduce((sum, { size }) => sum + size, 0);
  print(`removed ${model} from the cache: ${megabytes(bytes)} MB`);
}

/** What a `file:` address names, or a path in the home folder, as in `--output=~/x`; anything else stays as it is. */
function pathOf(given: string): string {
  if (/^~([\\/]|$)/.test(given)) return join(homedir(), given.slice(1));
  if (!/^file:/i.test(given)) return given;
  try {
    return fileURLToPath(given);
  } catch (cause) {
    throw new UsageError(`${given} names no folder of this machine: ${messageOf(cause)}`, { cause });
  }
}

/** Whether a model is a folder of this machine. One of that name is meant rather than a model of a hub. */
async function isOnDisk(model: string): Promise<boolean> {
  const found = await stat(model).catch(() => undefined);
  if (found?.isDirectory()) return true;
  if (found) throw new EmbervecError("invalid_input", `${model} is a file; give the model's folder`);
  // What cannot be an id or a web address.
  if (/^(\.{0,2}[\\/]|[a-z]:[\\/])/i.test(model))
    throw new EmbervecError("model_not_found", `there is no folder ${model}`);
  return false;
}

function addressOptions({ hub, revision }: Pick<ModelArguments, "hub" | "revision">) {
  return { ...(hub !== undefined && { hub }), ...(revision !== undefined && { revision }) };
}

type Show = (what: string, loaded: number, total: number) => void;

async function withProgress<T>(action: (show: Show) => Promise<T>): Promise<T> {
  const line = new ProgressLine(process.stderr);
  try {
    return await action((what, loaded, total) => line.update(what, loaded, total));
  } finally {
    line.end();
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** @returns the exit status */
async function main(args: string[]): Promise<number> {
  const abort = new AbortController();
  // Whoever read the output has closed it, such as `head`.
  process.stdout.on("error", () => process.exit());
  try {
    const command = parseCommand(args);
    const heeds = command.verb === "pack" || command.verb === "fetch";
    const interrupt = () => (heeds ? abort.abort() : process.exit(EXIT.interrupted));
    // Another one ends the process at once.
    for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, interrupt);
    await run(command, abort.signal);
    abort.signal.throwIfAborted();
    return EXIT.done;
  } catch (error) {
    if (abort.signal.aborted) {
      process.stderr.write("interrupted; run the same command again to resume\n");
      return EXIT.interrupted;
    }
    const isUsage = error instanceof UsageError;
    process.stderr.write(`error: ${messageOf(error)}\n${isUsage ? "see `embervec --help`\n" : ""}`);
    return isUsage ? EXIT.usage : EXIT.failed;
  }
}

process.exitCode = await main(process.argv.slice(2));
