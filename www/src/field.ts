/** The grid of cells, one per passage: empty until encoded, and glowing by nearness to the query. */

import type { Entry } from "./corpus";

const ROWS = 12;
/** Where the field spans the whole width of the page, it is lower, so that the results stay in sight. */
const ROWS_WHEN_NARROW = 6;
const narrow = matchMedia("(max-width: 56rem)");
/** Fewer passages leave rows empty, more of them make all cells smaller. */
const USUAL_CELLS = 240;
/** Part of a cell's pitch that stays empty. */
const GAP = 0.24;

export class Field {
  readonly #canvas: HTMLCanvasElement;
  readonly #caption: HTMLElement;
  readonly #defaultCaption: string;
  #entries: readonly Entry[] = [];
  #scores: ReadonlyMap<Entry, number> | undefined;
  #frame = 0;

  constructor(canvas: HTMLCanvasElement, caption: HTMLElement) {
    this.#canvas = canvas;
    this.#caption = caption;
    this.#defaultCaption = caption.textContent ?? "";
    new ResizeObserver(() => this.#schedule()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#schedule());
    canvas.addEventListener("pointermove", (event) => this.#point(event));
    canvas.addEventListener("pointerleave", () => (this.#caption.textContent = this.#defaultCaption));
  }

  /** Without scores the cells only show which passages are encoded. */
  show(entries: readonly Entry[], scores?: ReadonlyMap<Entry, number>): void {
    this.#entries = entries;
    this.#scores = scores;
    this.#schedule();
  }

  #schedule(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  /** Column by column, so that a topic of twelve passages fills one column, or two. */
  #grid(): { rows: number; columns: number; pitch: number } {
    const count = this.#entries.length;
    const usual = narrow.matches ? ROWS_WHEN_NARROW : ROWS;
    const columns = Math.max(USUAL_CELLS / usual, Math.ceil(Math.sqrt((count * USUAL_CELLS) / usual ** 2)));
    const rows = Math.max(1, Math.ceil(count / columns));
    return { rows, columns, pitch: this.#canvas.clientWidth / (columns - GAP) };
  }

  #draw(): void {
    const { rows, columns, pitch } = this.#grid();
    const ratio = devicePixelRatio;
    const width = pitch * (columns - GAP);
    const height = pitch * (rows - GAP);
    this.#canvas.style.height = `${height}px`;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    const context = this.#canvas.getContext("2d");
    if (context === null) return;
    context.scale(ratio, ratio);

    const style = getComputedStyle(this.#canvas);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const [empty, ready, glow, peak] = [
      colour("--cell-empty"),
      colour("--cell-ready"),
      colour("--cell-glow"),
      colour("--cell-peak"),
    ];
    const strength = glowOf(this.#scores);
    const size = pitch * (1 - GAP);
    this.#entries.forEach((entry, index) => {
      const x = Math.floor(index / rows) * pitch;
      const y = (index % rows) * pitch;
      const paint = (fill: string, alpha: number) => {
        context.globalAlpha = alpha;
        context.fillStyle = fill;
        context.beginPath();
        context.roundRect(x, y, size, size, size * 0.22);
        context.fill();
      };
      paint(entry.embedding === undefined ? empty : ready, 1);
      const share = strength(entry);
      if (share > 0) paint(glow, share);
      if (share > 0.8) paint(peak, (share - 0.8) * 5);
    });
  }

  #point(event: PointerEvent): void {
    const { rows, pitch } = this.#grid();
    const entry = this.#entries[Math.floor(event.offsetX / pitch) * rows + Math.floor(event.offsetY / pitch)];
    if (entry === undefined) return;
    const score = this.#scores?.get(entry);
    this.#caption.textContent = `${entry.topic}${score === undefined ? "" : ` ${score.toFixed(2)}`}: ${entry.text}`;
  }
}

/** From the corpus's mean (dark) to its best hit (full), so that any model's range of scores reads alike. */
function glowOf(scores: ReadonlyMap<Entry, number> | undefined): (entry: Entry) => number {
  if (scores === undefined || scores.size === 0) return () => 0;
  let sum = 0;
  let best = -Infinity;
  for (const score of scores.values()) {
    sum += score;
    best = Math.max(best, score);
  }
  const mean = sum / scores.size;
  const span = Math.max(best - mean, 1e-6);
  return (entry) => {
    const score = scores.get(entry);
    return score === undefined || score <= mean ? 0 : ((score - mean) / span) ** 1.8;
  };
}
