/** The map: what lies near each other is alike in meaning. It is made when it comes into sight, and of what is searched. */

import { announce } from "./announcer";
import { type Collection, sectionOf } from "./collection";
import { byId, element } from "./dom";
import type { Direction, FromMap, ToMap } from "./map-messages";
import type { Passage } from "./reader-view";
import { WorkerStarter } from "./start-worker";
import type { PassagePlace } from "embervec/search";

interface Point extends PassagePlace {
  readonly collection: Collection;
}

/** More points than this make a blot; an even choice of them is the same map. */
const MOST_POINTS = 1500;
const FEWEST_POINTS = 8;
/** The map waits for this long a pause: what is opened, added or searched goes before it. */
const QUIET_MS = 1500;
const CAPTION_CHARACTERS = 140;
/** Of the worker's script. Nobody waits for the map, so the last one may take its time. */
const START_MS = [5000, 5000, Infinity];

const ARROWS: Readonly<Record<string, Direction>> = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
};

export class MapView {
  readonly #area = byId("map-area", HTMLElement);
  readonly #frame = byId("map-frame", HTMLDivElement);
  readonly #caption = byId("map-caption", HTMLParagraphElement);
  readonly #usualCaption = this.#caption.textContent ?? "";
  readonly #onOpen: (passage: Passage) => void;
  readonly #starter = new WorkerStarter(
    () =>
      new Worker(/* webpackChunkName: "map" */ new URL("./map.worker.ts", import.meta.url), {
        type: "module",
      }),
    START_MS,
  );
  /** It may not run yet; then messages wait. */
  #worker: Promise<Worker> | undefined;
  #points: readonly Point[] = [];
  #collections: readonly Collection[] = [];
  #query: Float32Array | undefined;
  #isInSight = false;
  /** What the map was last made of. */
  #made = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pointed: Point | undefined;
  #isHeld = false;

  constructor(onOpen: (passage: Passage) => void) {
    this.#onOpen = onOpen;
    if (typeof OffscreenCanvas === "undefined") return; // the section stays hidden
    new IntersectionObserver(([entry]) => {
      this.#isInSight = entry?.isIntersecting ?? false;
      this.#schedule();
    }).observe(this.#frame);
    this.#frame.addEventListener("pointermove", (event) => this.#send({ kind: "point", ...this.#inFrame(event) }));
    this.#frame.addEventListener("pointerleave", () => this.#leave());
    this.#frame.addEventListener("click", () => this.#open());
    this.#frame.addEventListener("keydown", (event) => this.#onKey(event));
    this.#frame.addEventListener("blur", () => this.#leave());
  }

  /** Collections without vectors of this model are not on it. */
  show(collections: readonly Collection[]): void {
    this.#collections = collections.filter(({ hasModel }) => hasModel);
    const passages = this.#collections.reduce((sum, { index }) => sum + index.info.passages, 0);
    this.#area.hidden = typeof OffscreenCanvas === "undefined" || passages < FEWEST_POINTS;
    this.#schedule();
  }

  light(query: Float32Array | undefined): void {
    this.#query = query;
    if (this.#points.length > 0) this.#send({ kind: "light", query });
  }

  /** While documents are being added, the map stays as it is. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    if (!isHeld) this.#schedule();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const wanted = this.#collections.map(({ name, index }) => `${name} ${index.info.passages}`).join("\n");
    if (this.#area.hidden || !this.#isInSight || this.#isHeld || wanted === this.#made) return;
    this.#timer = setTimeout(() => void this.#make(wanted), QUIET_MS);
  }

  async #make(wanted: string): Promise<void> {
    this.#made = wanted;
    const points: Point[] = [];
    const vectors: Float32Array[] = [];
    for (const [collection, limit] of shares(this.#collections)) {
      // One that has been closed meanwhile, or cannot be read, is not on it.
      const some = await collection.index.vectors({ limit }).catch(() => undefined);
      for (const place of some?.places ?? []) points.push({ ...place, collection });
      vectors.push(...(some?.vectors ?? []));
    }
    if (points.length < FEWEST_POINTS || wanted !== this.#made) return;
    const dimension = vectors[0]!.length;
    const flat = new Float32Array(points.length * dimension);
    vectors.forEach((vector, index) => flat.set(vector, index * dimension));
    this.#points = points;
    this.#frame.setAttribute(
      "aria-label",
      `Map of ${points.length.toLocaleString("en")} passages. Arrow keys go from one to the next, Enter opens it.`,
    );
    this.#send({ kind: "points", vectors: flat, count: points.length }, [flat.buffer]);
    this.light(this.#query);
  }

  #send(message: ToMap, transfer: Transferable[] = []): void {
    this.#worker ??= this.#start();
    this.#worker.then(
      (worker) => worker.postMessage(message, transfer),
      // Its script could not be fetched. The next change of what is shown asks for it again.
      () => {
        this.#worker = undefined;
        this.#made = "";
      },
    );
  }

  async #start(): Promise<Worker> {
    const worker = await this.#starter.start();
    worker.addEventListener("message", ({ data }: MessageEvent<FromMap>) => {
      if (data.kind === "pointed") void this.#point(data.index, data.byKeyboard);
    });
    const canvas = element("canvas", "");
    canvas.setAttribute("aria-hidden", "true");
    this.#frame.append(canvas);
    const offscreen = canvas.transferControlToOffscreen();
    worker.postMessage({ kind: "canvas", canvas: offscreen } satisfies ToMap, [offscreen]);
    const post = (message: ToMap) => worker.postMessage(message);
    const colours = () => post({ kind: "colours", colours: this.#colours() });
    colours();
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"])
      matchMedia(query).addEventListener("change", colours);
    new ResizeObserver(() => {
      const { clientWidth: width, clientHeight: height } = this.#frame;
      post({ kind: "size", width, height, ratio: devicePixelRatio });
    }).observe(this.#frame);
    return worker;
  }

  /** A worker does not know the page's style. */
  #colours() {
    const probe = element("i", "");
    this.#frame.append(probe);
    const colourOf = (name: string) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const colours = {
      point: colourOf("--cell-ready"),
      lit: colourOf("--cell-glow"),
      peak: colourOf("--cell-peak"),
      ring: colourOf("--ink"),
    };
    probe.remove();
    return colours;
  }

  async #point(index: number | undefined, byKeyboard: boolean): Promise<void> {
    const point = index === undefined ? undefined : this.#points[index];
    this.#pointed = point;
    if (point === undefined) {
      this.#caption.textContent = this.#usualCaption;
      return;
    }
    const stored = await point.collection.index.get(point.id).catch(() => undefined);
    if (point !== this.#pointed || stored === undefined) return;
    const { title, place } = sectionOf(point.id, stored.metadata);
    const text = stored.text.slice(point.start, Math.min(point.end, point.start + CAPTION_CHARACTERS));
    this.#caption.textContent = `${[title, place].filter(Boolean).join(", ")}: ${text}`;
    if (byKeyboard) announce(this.#caption.textContent);
  }

  #open(): void {
    if (this.#pointed !== undefined) this.#onOpen(this.#pointed);
  }

  #leave(): void {
    if (this.#worker === undefined) return;
    this.#pointed = undefined;
    this.#caption.textContent = this.#usualCaption;
    this.#send({ kind: "leave" });
  }

  #onKey(event: KeyboardEvent): void {
    const direction = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (direction === undefined && event.key !== "Enter")) return;
    event.preventDefault();
    if (direction === undefined) this.#open();
    else this.#send({ kind: "move", direction });
  }

  #inFrame({ clientX, clientY }: MouseEvent): { x: number; y: number } {
    const { left, top } = this.#frame.getBoundingClientRect();
    return { x: clientX - left - this.#frame.clientLeft, y: clientY - top - this.#frame.clientTop };
  }
}

/** The points of each collection. Small ones are whole: one's own notes must not vanish beside a ready collection. */
function shares(collections: readonly Collection[]): [Collection, number][] {
  const sizeOf = ({ index }: Collection) => index.info.passages;
  let left = MOST_POINTS;
  return [...collections]
    .sort((a, b) => sizeOf(a) - sizeOf(b))
    .map((collection, position, { length }) => {
      const share = Math.min(sizeOf(collection), Math.floor(left / (length - position)));
      left -= share;
      return [collection, share] as [Collection, number];
    })
    .filter(([, share]) => share > 0);
}
