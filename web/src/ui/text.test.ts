import { describe, expect, it } from "vitest";
import { byteLength, hue, initials, isLong, languageOf, matches, onlyEmoji, pieces, suggestUserName } from "./text.ts";

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

describe("pieces", () => {
  const links = (text: string) =>
    pieces(text)
      .filter((piece) => piece.href !== "")
      .map((piece) => piece.text);

  it("finds addresses and leaves the sentence around them", () => {
    expect(links("see https://example.com/a?b=1#c, then (http://example.org/x_(y)).")).toEqual([
      "https://example.com/a?b=1#c",
      "http://example.org/x_(y)",
    ]);
    expect(links("看https://example.com/a吧，还有http://example.com。")).toEqual([
      "https://example.com/a",
      "http://example.com",
    ]);
  });

  it("joins to the text that was given", () => {
    for (const text of ["", "plain", "https://a.b", "x https://a.b/).. y", "http://", "https://[::1", "http://%%%"])
      expect(
        pieces(text)
          .map((piece) => piece.text)
          .join(""),
      ).toBe(text);
  });

  it("makes nothing else an address", () => {
    const texts = [
      "javascript:alert(1)",
      "data:text/html,x",
      "ftp://a.b",
      "mailto:a@b.c",
      "xhttp://a.b",
      "http://",
      "//a.b",
      "www.a.b",
    ];
    for (const text of texts) expect(links(text)).toEqual([]);
    for (const { href } of pieces('https://a.b/"onload=x <a href=http://c.d>')) expect(href).not.toMatch(/["<>]/);
  });

  it("takes long runs of brackets in its stride", () => {
    const started = performance.now();
    pieces(`http://a.b/${")".repeat(60_000)}`);
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});

describe("isLong", () => {
  it("is for what fills more than a screen", () => {
    expect([isLong("x".repeat(2_000)), isLong("x".repeat(2_001))]).toEqual([false, true]);
    expect([isLong("\n".repeat(24)), isLong("\n".repeat(25))]).toEqual([false, true]);
  });
});

describe("suggestUserName", () => {
  it.each([
    ["Yara Okafor", "yara.okafor"],
    ["  José-María  ", "josé-maría"],
    ["王小明", "王小明"],
    ["Bo", "bo"],
    ["B", ""],
    ["👋", ""],
    ["_x_y", ""],
    ["", ""],
  ])("of %j is %j", (name, user) => {
    expect(suggestUserName(name)).toBe(user);
  });
});
