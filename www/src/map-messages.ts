/** What the page and `map.worker.ts` tell each other. Points are known by their position. */

export interface Colours {
  readonly point: string;
  readonly lit: string;
  readonly peak: string;
  readonly ring: string;
}

export type Direction = "left" | "right" | "up" | "down";

export type ToMap =
  | { readonly kind: "canvas"; readonly canvas: OffscreenCanvas }
  /** In CSS pixels, and how many of the screen's make one. */
  | { readonly kind: "size"; readonly width: number; readonly height: number; readonly ratio: number }
  | { readonly kind: "colours"; readonly colours: Colours }
  /** One vector after the other. */
  | { readonly kind: "points"; readonly vectors: Float32Array; readonly count: number }
  /** The points light up as near as they are to it; none: all are dark. */
  | { readonly kind: "light"; readonly query: Float32Array | undefined }
  /** The point nearest to a place, or, from the pointed one, the next in a direction. */
  | { readonly kind: "point"; readonly x: number; readonly y: number }
  | { readonly kind: "move"; readonly direction: Direction }
  | { readonly kind: "leave" };

export type FromMap =
  /** The worker's script runs. */
  | { readonly kind: "started" }
  | { readonly kind: "pointed"; readonly index: number | undefined; readonly byKeyboard: boolean };
