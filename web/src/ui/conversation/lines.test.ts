import { describe, expect, it } from "vitest";
import type { MessageView } from "../../state/types.ts";
import type { Item } from "../timeline.ts";
import { LineHeights, lineAt, rangeFor } from "./lines.ts";

function line(key: string, text = "hello"): Item {
  const message = { key, text } as MessageView; // nothing else decides a height
  return { kind: "message", key, message, first: true, last: true, meta: true };
}

const even = (count: number, height: number) => Float64Array.from({ length: count + 1 }, (_, i) => i * height);

describe("LineHeights", () => {
  it("guesses more for longer texts, and takes what was measured instead", () => {
    const heights = new LineHeights();
    heights.setWidth(600);
    const items = [line("a"), line("b", "x".repeat(1000)), line("c", "1\n2\n3")];
    const [, a = 0, b = 0, c = 0] = heights.tops(items);
    expect(b - a).toBeGreaterThan(a);
    expect(c - b).toBeGreaterThan(a);
    heights.measure("b", 7);
    expect([...heights.tops(items)]).toEqual([0, a, a + 7, a + 7 + (c - b)]);
    expect([heights.knows("b"), heights.knows("a")]).toEqual([true, false]);
  });

  it("forgets the measures of another width", () => {
    const heights = new LineHeights();
    heights.setWidth(600);
    heights.measure("a", 7);
    heights.setWidth(600);
    expect(heights.knows("a")).toBe(true);
    heights.setWidth(500);
    expect(heights.knows("a")).toBe(false);
  });
});

describe("lineAt", () => {
  it("finds the line at a height", () => {
    const tops = even(5, 10);
    expect([-5, 0, 9, 10, 25, 49, 500].map((y) => lineAt(tops, y))).toEqual([0, 0, 0, 1, 2, 4, 4]);
    expect(lineAt(new Float64Array(1), 0)).toBe(0);
  });
});

describe("rangeFor", () => {
  const tops = even(10_000, 50);
  const screen = 1_000;

  it("draws the screen and two around it", () => {
    const range = rangeFor(tops, 200_000, 200_000 + screen, { from: 0, to: 0 });
    expect(range).toEqual({ from: 3_960, to: 4_061 });
  });

  it("keeps what is drawn while half a screen around is among it", () => {
    const first = rangeFor(tops, 200_000, 200_000 + screen, { from: 0, to: 0 });
    expect(rangeFor(tops, 200_900, 200_900 + screen, first)).toBe(first);
    expect(rangeFor(tops, 202_000, 202_000 + screen, first)).not.toBe(first);
  });

  it("stays within the lines and always covers the screen", () => {
    let drawn = { from: 0, to: 0 };
    for (let top = -500; top < 500_500; top += 333) {
      drawn = rangeFor(tops, top, top + screen, drawn);
      expect(drawn.from).toBeGreaterThanOrEqual(0);
      expect(drawn.to).toBeLessThanOrEqual(10_000);
      expect(drawn.from * 50).toBeLessThanOrEqual(Math.max(0, top));
      expect(drawn.to * 50).toBeGreaterThanOrEqual(Math.min(500_000, top + screen));
      expect(drawn.to - drawn.from).toBeLessThan(210);
    }
  });

  it("draws no more lines than there are", () => {
    expect(rangeFor(even(3, 50), -850, 150, { from: 0, to: 0 })).toEqual({ from: 0, to: 3 });
    expect(rangeFor(even(0, 50), -800, 0, { from: 0, to: 0 })).toEqual({ from: 0, to: 0 });
    expect(rangeFor(even(3, 50), -850, 150, { from: 0, to: 9 })).toEqual({ from: 0, to: 3 });
  });
});
