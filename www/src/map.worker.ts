/** Lays out, draws and points: the page's own thread does none of it. */

import { UMAP } from "umap-js";
import type { Colours, Direction, FromMap, ToMap } from "./map-messages";

declare const self: DedicatedWorkerGlobalScope;

const NEIGHBOURS = 15;
/** Of the frame, on each side. */
const MARGIN = 12;
const POINT = 2.5;
/** A place farther from every point than this is none's. */
const REACH = 16;
/** The layout is drawn about so often while it settles. */
const DRAWN_MS = 100;
/** How much a point must lie in the wanted direction: at most 60 degrees beside it. */
const WITHIN = 0.5;

let context: OffscreenCanvasRenderingContext2D | null = null;
let size = { width: 0, height: 0, ratio: 1 };
let colours: Colours | undefined;
/** From 0 to 1 in both directions: x and y of each point. */
let places = new Float32Array(0);
let vectors: Float32Array = new Float32Array(0);
let query: Float32Array | undefined;
let pointed: number | undefined;
let turn = 0;

self.addEventListener("message", ({ data }: MessageEvent<ToMap>) => {
  switch (data.kind) {
    case "canvas":
      context = data.canvas.getContext("2d");
      break;
    case "size":
      size = data;
      break;
    case "colours":
      colours = data.colours;
      break;
    case "points":
      void layOut(data.vectors, data.count);
      return;
    case "light":
      query = data.query;
      break;
    case "point":
      tell(nearest(data.x, data.y), false);
      break;
    case "move":
      tell(next(data.direction) ?? pointed, true);
      break;
    case "leave":
      pointed = undefined;
      break;
  }
  draw();
});
self.postMessage({ kind: "started" } satisfies FromMap);

/** Newer points end the layout of older ones. */
async function layOut(points: Float32Array, count: number): Promise<void> {
  const mine = ++turn;
  const dimension = points.length / count;
  const rows = Array.from({ length: count }, (_, row) => [...points.subarray(row * dimension, (row + 1) * dimension)]);
  vectors = points;
  places = new Float32Array(0);
  pointed = undefined;
  const umap = new UMAP({ nNeighbors: Math.min(NEIGHBOURS, count - 1), minDist: 0.15, random: seeded() });
  const epochs = umap.initializeFit(rows);
  let drawn = performance.now();
  for (let epoch = 0; epoch < epochs; epoch++) {
    umap.step();
    if (performance.now() - drawn < DRAWN_MS) continue;
    places = fitted(umap.getEmbedding());
    draw();
    await new Promise((resolve) => setTimeout(resolve)); // for what has been sent meanwhile
    if (mine !== turn) return;
    drawn = performance.now();
  }
  places = fitted(umap.getEmbedding());
  draw();
}

/** The same documents make the same map. */
function seeded(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function fitted(embedding: readonly (readonly number[])[]): Float32Array<ArrayBuffer> {
  const result = new Float32Array(embedding.length * 2);
  for (const axis of [0, 1]) {
    let [least, most] = [Infinity, -Infinity];
    for (const point of embedding) {
      least = Math.min(least, point[axis]!);
      most = Math.max(most, point[axis]!);
    }
    const span = Math.max(most - least, 1e-9);
    embedding.forEach((point, index) => (result[index * 2 + axis] = (point[axis]! - least) / span));
  }
  return result;
}

function xOf(index: number): number {
  return MARGIN + places[index * 2]! * (size.width - 2 * MARGIN);
}

function yOf(index: number): number {
  return MARGIN + places[index * 2 + 1]! * (size.height - 2 * MARGIN);
}

function draw(): void {
  if (context === null || colours === undefined || size.width === 0) return;
  const { canvas } = context;
  canvas.width = Math.round(size.width * size.ratio);
  canvas.height = Math.round(size.height * size.ratio);
  context.scale(size.ratio, size.ratio);
  const count = places.length / 2;
  const shares = glow(count);
  context.globalAlpha = shares === undefined ? 0.9 : 0.55;
  context.fillStyle = colours.point;
  for (let index = 0; index < count; index++) dot(index, POINT);
  shares?.forEach((share, index) => {
    if (share <= 0 || context === null || colours === undefined) return;
    context.globalAlpha = 0.3 + 0.7 * share;
    context.fillStyle = share > 0.85 ? colours.peak : colours.lit;
    dot(index, POINT + 3 * share);
  });
  if (pointed !== undefined && pointed < count) {
    context.globalAlpha = 1;
    context.strokeStyle = colours.ring;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(xOf(pointed), yOf(pointed), POINT + 5, 0, 2 * Math.PI);
    context.stroke();
  }
}

/** From the mean (dark) to the best (full), so that any model's range of scores reads alike. */
function glow(count: number): Float32Array | undefined {
  const dimension = vectors.length / count;
  if (query === undefined || query.length !== dimension) return undefined;
  const scores = new Float32Array(count);
  let [sum, best] = [0, -Infinity];
  for (let row = 0; row < count; row++) {
    let score = 0;
    for (let at = 0; at < dimension; at++) score += vectors[row * dimension + at]! * query[at]!;
    scores[row] = score;
    sum += score;
    best = Math.max(best, score);
  }
  const mean = sum / count;
  const span = Math.max(best - mean, 1e-6);
  return scores.map((score) => (score <= mean ? 0 : ((score - mean) / span) ** 2.5));
}

function dot(index: number, radius: number): void {
  context?.beginPath();
  context?.arc(xOf(index), yOf(index), radius, 0, 2 * Math.PI);
  context?.fill();
}

function nearest(x: number, y: number): number | undefined {
  let best: number | undefined;
  let least = REACH ** 2;
  for (let index = 0; index < places.length / 2; index++) {
    const distance = (xOf(index) - x) ** 2 + (yOf(index) - y) ** 2;
    if (distance < least) [best, least] = [index, distance];
  }
  return best;
}

/** With nothing pointed at, the point in the middle. */
function next(direction: Direction): number | undefined {
  const from = pointed;
  const [x, y] = from === undefined ? [size.width / 2, size.height / 2] : [xOf(from), yOf(from)];
  const [dx, dy] = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] }[direction] as [number, number];
  let best: number | undefined;
  let least = Infinity;
  for (let index = 0; index < places.length / 2; index++) {
    if (index === from) continue;
    const [offsetX, offsetY] = [xOf(index) - x, yOf(index) - y];
    const distance = Math.hypot(offsetX, offsetY);
    const along = offsetX * dx + offsetY * dy;
    if (distance < least && (from === undefined || along > distance * WITHIN)) [best, least] = [index, distance];
  }
  return best;
}

function tell(index: number | undefined, byKeyboard: boolean): void {
  if (index === pointed && !byKeyboard) return;
  pointed = index;
  self.postMessage({ kind: "pointed", index, byKeyboard } satisfies FromMap);
}
