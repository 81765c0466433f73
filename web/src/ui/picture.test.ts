import { expect, test } from "vitest";
import { cropOf, MOST_ZOOM, moved } from "./picture.ts";

const middle = { x: 0.5, y: 0.5, zoom: 1 };

test("the whole height of a wide picture is shown first, from its middle", () => {
  expect(cropOf(1000, 400, middle)).toEqual({ left: 300, top: 0, side: 400 });
  expect(cropOf(400, 1000, middle)).toEqual({ left: 0, top: 300, side: 400 });
});

test("moving and zooming never leaves the picture, and comes back without a dead way", () => {
  let view = moved(1000, 400, middle, { x: -9, y: -9 });
  expect(cropOf(1000, 400, view)).toEqual({ left: 0, top: 0, side: 400 });
  view = moved(1000, 400, view, { x: 0.1 });
  expect(cropOf(1000, 400, view).left).toBeCloseTo(40);
  view = moved(1000, 400, { ...middle, x: 0.2 }, { zoom: 2 });
  expect(cropOf(1000, 400, view)).toEqual({ left: 100, top: 100, side: 200 });
  view = moved(1000, 400, view, { zoom: 0.01 });
  expect(cropOf(1000, 400, view)).toEqual({ left: 0, top: 0, side: 400 });
  expect(moved(1000, 400, middle, { zoom: 100 }).zoom).toBe(MOST_ZOOM);
});
