import { describe, expect, it } from "vitest";
import { byteLength, hue, initials, languageOf, matches, onlyEmoji } from "./text.ts";

describe("byteLength", () => {
  it.each(["", "abc", "é", "汉字", "👍", "👩‍👩‍👧", "a\u{10ffff}z", "\ud800", "x\udc00y"])(
    "is what encoding %j takes",
    (text) => {
      expect(byteLength(text)).toBe(new TextEncoder().encode(text).length);
    },
  );
});

describe("initials", () => {
  it.each([
    ["Mia", "M"],
    ["lena okafor", "LO"],
    ["Ana María de la Cruz", "AC"],
    ["阿宁", "阿"],
    ["  ", "?"],
    ["👩‍👩‍👧 Family", "👩‍👩‍👧F"],
  ])("of %j are %j", (name, letters) => {
    expect(initials(name)).toBe(letters);
  });
});

describe("hue", () => {
  it("is one of eight and stays the same", () => {
    const found = new Set(Array.from({ length: 200 }, (_, i) => hue(`account-${i}`)));
    expect([...found].sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(hue("mia")).toBe(hue("mia"));
  });
});

describe("languageOf", () => {
  it.each([
    ["海报", "en", "zh"],
    ["海报", "zh", undefined],
    ["poster", "zh", "en"],
    ["poster", "en", undefined],
    ["ポスター", "zh", "ja"],
    ["포스터", "en", "ko"],
    ["OK，九点见", "en", "zh"],
    ["12:30", "zh", undefined],
  ])("%j on a page in %s is %s", (text, page, language) => {
    expect(languageOf(text, page)).toBe(language);
  });
});

describe("onlyEmoji", () => {
  it.each(["👍", "👍🏽", "❤️", "👩‍👩‍👧👍 ", "🇩🇪🇨🇳", "1️⃣"])("%j is large", (text) => {
    expect(onlyEmoji(text)).toBe(true);
  });
  it.each(["", " ", "1", "#", "ok 👍", "👍👍👍👍", "汉", "©"])("%j is not", (text) => {
    expect(onlyEmoji(text)).toBe(false);
  });
});

describe("matches", () => {
  it("ignores case, accents and width, and looks at every name", () => {
    expect(matches("MIA", "Mia", "")).toBe(true);
    expect(matches("jose", "José", "")).toBe(true);
    expect(matches("ｍｉａ", "Mia", "")).toBe(true);
    expect(matches("ning", "阿宁", "ning")).toBe(true);
    expect(matches("宁", "阿宁", "")).toBe(true);
    expect(matches("tom", "Mia", "mia")).toBe(false);
  });
});
