import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

// Contrast after WCAG 2.2, computed from the tokens for both themes: text 4.5, edges and glyphs 3.
const css = readFileSync(new URL("./tokens.css", import.meta.url), "utf8");
const colours = new Map<string, [string, string]>();
for (const [, name = "", value = ""] of css.matchAll(/--([\w-]+):\s*([^;]+);/g)) {
  const both = /^light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)$/.exec(value);
  if (both?.[1] !== undefined && both[2] !== undefined) colours.set(name, colours.get(name) ?? [both[1], both[2]]);
  else if (/^#[0-9a-f]{6}$/.test(value)) colours.set(name, [value, value]);
}

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrasts(ink: string, ground: string): number[] {
  const inks = colours.get(ink);
  const grounds = colours.get(ground);
  if (inks === undefined || grounds === undefined) throw new Error(`no colour ${ink} or ${ground}`);
  return inks.map((colour, theme) => {
    const a = luminance(colour);
    const b = luminance(grounds[theme] ?? "");
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
}

const surfaces = ["bg", "surface", "surface-2", "surface-3", "row-on"];
const paths = ["direct", "turn", "relay", "waiting"];
const text: [string, string][] = [
  ...["text", "text-2", "text-3", "brand-text"].flatMap((ink) => surfaces.map((on): [string, string] => [ink, on])),
  ...paths.flatMap((path): [string, string][] => [
    [`path-${path}`, "surface"],
    [`path-${path}`, `path-${path}-soft`],
  ]),
  ["danger", "surface"],
  ["danger", "danger-soft"],
  ["text", "danger-soft"],
  ["text", "path-relay-soft"],
  ["on-brand", "brand"],
  ["on-bubble-own", "bubble-own"],
  ["on-bubble-own-2", "bubble-own"],
  ["on-danger", "danger-strong"],
  ...Array.from({ length: 8 }, (_, i): [string, string] => ["on-hue", `hue-${i + 1}`]),
];
const edges: [string, string][] = ["line-strong", "focus", "online"].flatMap((ink) =>
  ["bg", "surface"].map((on): [string, string] => [ink, on]),
);

describe("contrast", () => {
  it.each(text)("of %s on %s is enough to read", (ink, ground) => {
    expect(Math.min(...contrasts(ink, ground))).toBeGreaterThanOrEqual(4.5);
  });
  it.each(edges)("of %s on %s is enough to see", (ink, ground) => {
    expect(Math.min(...contrasts(ink, ground))).toBeGreaterThanOrEqual(3);
  });
});
