// Which lines of a long conversation are drawn. The others are room of the same height, so that ten thousand messages
// cost as much as a hundred.
import type { Item } from "../timeline.ts";

/** Indices of lines, the end not included. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** The heights of lines in px: measured where a line has been drawn, guessed elsewhere. */
export class LineHeights {
  readonly #measured = new Map<string, number>();
  readonly #guessed = new WeakMap<Item, number>();
  #width = 0;

  /** Tells whether a line has been on the page at this width. */
  knows(key: string): boolean {
    return this.#measured.has(key);
  }

  measure(key: string, height: number): void {
    this.#measured.set(key, height);
  }

  /** Takes the width of the column; lines break elsewhere in another one. */
  setWidth(width: number): void {
    if (width !== this.#width) this.#measured.clear();
    this.#width = width;
  }

  /** Where each line begins, from the first one on; one number more than lines, the last is the height of all. */
  tops(items: readonly Item[]): Float64Array<ArrayBuffer> {
    const tops = new Float64Array(items.length + 1);
    items.forEach((item, i) => {
      tops[i + 1] = (tops[i] ?? 0) + (this.#measured.get(item.key) ?? this.#guess(item));
    });
    return tops;
  }

  #guess(item: Item): number {
    if (item.kind !== "message") return 44;
    let guess = this.#guessed.get(item);
    if (guess === undefined) {
      guess = guessHeight(item.message.text, this.#width || 600, item.first, item.meta);
      this.#guessed.set(item, guess);
    }
    return guess;
  }
}

/** The height that a message will have, near enough for a scroll bar. */
function guessHeight(text: string, width: number, first: boolean, meta: boolean): number {
  const perLine = Math.max(20, Math.min(560, width * 0.82) / 7.5);
  const lines = text.split("\n").reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / perLine)), 0);
  return lines * 22 + 15 + (first ? 12 : 2) + (meta ? 20 : 0);
}

/** The last line that begins at or above y. */
export function lineAt(tops: Float64Array, y: number): number {
  let low = 0;
  let high = tops.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((tops[middle] ?? 0) <= y) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * The lines to draw for a screen from top to bottom (px): those on it and two screens around. What is drawn stays as
 * long as half a screen around is among it, so that scrolling draws rarely and much, not often and little.
 */
export function rangeFor(tops: Float64Array, top: number, bottom: number, drawn: Range): Range {
  const count = tops.length - 1;
  const screen = Math.max(400, bottom - top);
  const near = around(tops, top - screen / 2, bottom + screen / 2);
  const far = around(tops, top - 2 * screen, bottom + 2 * screen);
  const enough = drawn.from <= near.from && drawn.to >= near.to && drawn.to <= count;
  const tooMany = drawn.to - drawn.from > 2 * (far.to - far.from) + 20;
  return enough && !tooMany ? drawn : far;
}

function around(tops: Float64Array, top: number, bottom: number): Range {
  const count = tops.length - 1;
  return { from: lineAt(tops, top), to: Math.min(count, lineAt(tops, bottom) + 1) };
}
