// How fast this browser is, on each of its devices: for people to run on their own GPU and to copy.

import { Embedder } from "embervec";

import { byId, element, formatMilliseconds } from "./dom";
import { underServiceWorker } from "./offline";

const MODEL = new URLSearchParams(location.search).get("model") ?? "./models/all-MiniLM-L6-v2/";

/** "a" is one token; `[CLS]` and `[SEP]` make two. */
const textOf = (tokens: number): string =>
  Array(tokens - 2)
    .fill("a")
    .join(" ");

const WORKLOADS = [[textOf(8)], [textOf(128)], Array<string>(8).fill(textOf(128))];

/** Runs that count, after one to warm up; fewer where one takes longer than a second. */
const RUNS = 7;
const SLOW_RUNS = 2;

const DEVICES = ["cpu", "webgpu"] as const;
const DTYPES = ["q8", "fp16", "fp32"] as const;

const start = byId("start", HTMLButtonElement);
const copy = byId("copy", HTMLButtonElement);
const status = byId("status", HTMLParagraphElement);
const table = byId("results", HTMLTableElement);
const rows: string[][] = [];

start.addEventListener("click", () => void measureAll());
copy.addEventListener("click", () => {
  navigator.clipboard.writeText(markdown()).then(
    () => (status.textContent = "Copied."),
    () => (status.textContent = "The browser does not allow copying. Select the table instead."),
  );
});

async function measureAll(): Promise<void> {
  start.disabled = true;
  copy.disabled = true;
  rows.length = 0;
  table.tBodies[0]?.replaceChildren();
  await underServiceWorker;
  await showMachine();
  for (const device of DEVICES) {
    for (const dtype of DTYPES) {
      status.textContent = `Measuring ${device}, ${dtype} …`;
      // The CPU computes fp16 as fp32.
      if (device === "webgpu" || dtype !== "fp16") show(await measure(device, dtype));
    }
  }
  status.textContent = "Done.";
  start.disabled = false;
  copy.disabled = false;
}

async function measure(device: (typeof DEVICES)[number], dtype: (typeof DTYPES)[number]): Promise<string[]> {
  const begin = performance.now();
  try {
    const embedder = await Embedder.load(MODEL, { device, dtype, workers: 1 });
    await embedder.encode("a first short text");
    const ready = performance.now() - begin;
    const times = [];
    for (const texts of WORKLOADS) times.push(formatMilliseconds(await median(() => embedder.encode(texts))));
    const used = embedder.info.device;
    await embedder.dispose();
    // A GPU that failed in between has left its work to the processor.
    return [used === device ? device : `${device} (failed)`, dtype, ...times, formatMilliseconds(ready)];
  } catch (error) {
    return [device, dtype, error instanceof Error ? error.message : String(error)];
  }
}

async function median(run: () => Promise<unknown>): Promise<number> {
  const time = async () => {
    const begin = performance.now();
    await run();
    return performance.now() - begin;
  };
  const first = await time();
  const samples: number[] = [];
  for (let i = 0; i < (first > 1000 ? SLOW_RUNS : RUNS); i++) samples.push(await time());
  samples.sort((a, b) => a - b);
  return samples[samples.length >> 1]!;
}

async function showMachine(): Promise<void> {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const info = adapter?.info;
  const name = info
    ? [info.vendor, info.architecture, info.device, info.description].filter(Boolean).join(" ")
    : "none";
  const facts = [
    ["Browser", navigator.userAgent],
    ["Processors", String(navigator.hardwareConcurrency)],
    ["GPU", name],
    ["GPU features", adapter ? [...adapter.features].sort().join(" ") : "none"],
  ];
  byId("machine", HTMLDListElement).replaceChildren(
    ...facts.map(([term, value]) => element("div", "", element("dt", "", term!), element("dd", "", value!))),
  );
}

function show(cells: string[]): void {
  rows.push(cells);
  const row = element("tr", "", ...cells.map((cell) => element("td", "", cell)));
  // What went wrong takes the place of all figures.
  if (cells.length < 6) row.lastElementChild?.setAttribute("colspan", String(7 - cells.length));
  table.hidden = false;
  table.tBodies[0]?.append(row);
}

function markdown(): string {
  const head = [...table.tHead!.rows[0]!.cells].map((cell) => cell.textContent ?? "");
  const line = (cells: string[]): string => `| ${cells.join(" | ")} |`;
  const machine = [...document.querySelectorAll("#machine > div")].map(
    (fact) => `- ${fact.children[0]!.textContent}: ${fact.children[1]!.textContent}`,
  );
  return [...machine, "", line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
