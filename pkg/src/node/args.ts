// The command line: what it asks for.

import { parseArgs, type ParseArgsConfig } from "node:util";

import { messageOf } from "../errors.js";
import type { Dtype } from "../types.js";

export const HELP = `\
embervec pack MODEL -o DIR [--revision R] [--hub URL] [--table-bits N]
embervec models
embervec models fetch MODEL [--dtype D] [--revision R] [--hub URL]
embervec models remove MODEL [--revision R]

MODEL is the id of a model on a hub, such as sentence-transformers/all-MiniLM-L6-v2, or a folder. If there is a
folder of that name, it is the folder.

pack writes a folder for your web server: the model's small files, model.q8.safetensors (its weights in 8 bits,
a quarter of the size) and manifest.json (the SHA-256 of every 512 kB of every file). A model of a hub is
downloaded into the cache first; run the same command again to go on with a download that broke off.

models lists the models in the cache; fetch downloads one, remove deletes one.

  -o, --output DIR   where the packed folder is to be. It appears when everything in it is written. If you leave
                     it out, a folder is packed in place: it gets the two new files
  --revision R       branch, tag or commit on the hub (default: main; remove: all that are cached)
  --hub URL          address of the hub (default: https://huggingface.co)
  --table-bits N     4 to 8 (default: 7): bits of the values of embedding tables. The file stays as large, but
                     a server that compresses sends less: of all-MiniLM-L6-v2 20.1 MB with 8 bits, 18.6 MB with 7
                     and 17.1 MB with 6, where the mean cosine to fp32 falls below 0.998
  --dtype D          q8 (default), fp32 or fp16: q8 keeps the weights in 8 bits, the others as the hub has them
  -h, --help         this text
  --version          the version of embervec

Environment: EMBERVEC_CACHE is the folder of the cache. HF_TOKEN is a token for models that need a login.
Exit status: 0 done, 1 failed, 2 the command line is wrong, 130 interrupted.
`;

/** Of all-MiniLM-L6-v2 it saves 1.5 MB of a compressed download, for a mean cosine of 0.99819 in place of 0.99824. */
const TABLE_BITS = 7;

const DTYPES = ["q8", "fp32", "fp16"] as const satisfies Dtype[];

/** A model, and where on a hub it is. */
export interface ModelArguments {
  model: string;
  revision: string | undefined;
  hub: string | undefined;
}

export type Command =
  | { verb: "help" }
  | { verb: "version" }
  | ({ verb: "pack"; output: string | undefined; tableBits: number } & ModelArguments)
  | { verb: "list" }
  | ({ verb: "fetch"; dtype: Dtype } & ModelArguments)
  | ({ verb: "remove" } & Omit<ModelArguments, "hub">);

/** The command line is wrong. */
export class UsageError extends Error {}

const STRING = { type: "string" } as const;
const OPTIONS = {
  output: { type: "string", short: "o" },
  revision: STRING,
  hub: STRING,
  "table-bits": STRING,
  dtype: STRING,
  help: { type: "boolean", short: "h" },
  version: { type: "boolean" },
} as const satisfies ParseArgsConfig["options"];

type Option = keyof typeof OPTIONS;

/** @throws {UsageError} */
export function parseCommand(args: string[]): Command {
  const { values, positionals } = parse(args);
  if (values.help) return { verb: "help" };
  if (values.version) return { verb: "version" };
  const [verb, ...rest] = positionals;
  const { revision, hub } = values;
  const takes = (what: string, ...options: Option[]) => {
    const other = (Object.keys(values) as Option[]).find((option) => !options.includes(option));
    if (other) throw new UsageError(`\`${what}\` does not take --${other}`);
  };
  if (verb === "pack") {
    takes("pack", "output", "revision", "hub", "table-bits");
    const model = only("pack", rest);
    return { verb, model, output: values.output, revision, hub, tableBits: bitsOf(values["table-bits"]) };
  }
  if (verb !== "models") {
    throw new UsageError(verb === undefined ? "which command? `pack` or `models`" : `there is no command \`${verb}\``);
  }
  const [action = "list", ...models] = rest;
  switch (action) {
    case "list":
      takes("models list");
      if (models.length > 0) throw new UsageError(`\`models list\` does not take \`${models[0]}\``);
      return { verb: "list" };
    case "fetch":
      takes("models fetch", "dtype", "revision", "hub");
      return { verb: "fetch", model: only("models fetch", models), dtype: dtypeOf(values.dtype), revision, hub };
    case "remove":
      takes("models remove", "revision");
      return { verb: "remove", model: only("models remove", models), revision };
    default:
      throw new UsageError(`there is no command \`models ${action}\`; there are list, fetch and remove`);
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError(messageOf(error), { cause: error });
  }
}

function only(what: string, [model, ...others]: string[]): string {
  if (model === undefined || model === "") throw new UsageError(`\`${what}\` needs a model: its id or its folder`);
  if (others.length > 0) throw new UsageError(`\`${what}\` takes one model; \`${others[0]}\` is another one`);
  return model;
}

function bitsOf(value: string | undefined): number {
  if (value === undefined) return TABLE_BITS;
  if (!/^[4-8]$/.test(value)) throw new UsageError(`--table-bits ${value}: give a number from 4 to 8`);
  return Number(value);
}

function dtypeOf(value: string = DTYPES[0]): Dtype {
  const dtype = DTYPES.find((name) => name === value);
  if (!dtype) throw new UsageError(`--dtype ${value}: give one of ${DTYPES.join(", ")}`);
  return dtype;
}
