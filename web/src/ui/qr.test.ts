import { decodeQR } from "qr/decode.js";
import { expect, test } from "vitest";
import { qrModules } from "./qr.ts";

/** A code as a camera would see it. */
function picture(text: string, pixels = 4) {
  const modules = qrModules(text);
  const side = modules.length * pixels;
  const data = new Uint8Array(side * side * 4);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++)
      data.fill(modules[Math.floor(y / pixels)]?.[Math.floor(x / pixels)] ? 12 : 255, 4 * (y * side + x));
  return { width: side, height: side, data };
}

test("what a code says is read from it, an address as well as digits", () => {
  for (const text of [
    "https://talk.example/i/abcdefgh23#mgv3kzq0jx8rw5ty2ua7nl4ps9",
    `parley-safety:${"4096".repeat(12)}`,
  ])
    expect(decodeQR(picture(text))).toBe(text);
});

test("a code has a quiet border", () => {
  const modules = qrModules("x");
  expect(modules.slice(0, 3).flat().some(Boolean)).toBe(false);
  expect(modules[3]?.slice(0, 3).some(Boolean)).toBe(false);
  expect(modules[3]?.[3]).toBe(true);
});
