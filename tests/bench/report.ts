// Tables: Markdown on standard output, and the same cells in results.json.

export type Row = (string | number)[];
/** What is written to results.json. */
export const results: Record<string, unknown> = {};

export function report(part: string, title: string, head: string[], rows: Row[]): void {
  results[part] = rows.map((row) => Object.fromEntries(row.map((cell, i) => [head[i] || "what", cell])));
  const line = (cells: Row): string => `| ${cells.join(" | ")} |`;
  console.log(
    [`\n### ${title}\n`, line(head), line(head.map((_, i) => (i === 0 ? "---" : "--:"))), ...rows.map(line)].join("\n"),
  );
}

export const log = (what: string): void => console.error(`[bench] ${what}`);
export const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
};
export const ms = (value: number): string => (value < 100 ? value.toFixed(1) : value.toFixed(0));
export const mb = (bytes: number): string => (bytes / 1e6).toFixed(0);
export const times = <T>(count: number, value: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => value(i));
