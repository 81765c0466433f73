import { describe, expect, it } from "vitest";
import english from "../../messages/en.json" with { type: "json" };
import chinese from "../../messages/zh.json" with { type: "json" };

/** The names of what is put into a message, sorted; a plural has them in each of its forms. */
function inputs(message: unknown): string[] {
  return [...new Set([...JSON.stringify(message).matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? ""))].sort();
}

describe("messages", () => {
  it("exist in both languages", () => {
    expect(Object.keys(chinese).sort()).toEqual(Object.keys(english).sort());
  });

  it("take the same things in both languages", () => {
    for (const [name, message] of Object.entries(english)) {
      expect([name, inputs((chinese as Record<string, unknown>)[name])]).toEqual([name, inputs(message)]);
    }
  });

  it("keep words of the machine room off the screen", () => {
    const forbidden = /\b(fingerprint|encrypt\w*|peer|ICE|token|please|oops)\b|!/i;
    for (const [name, message] of Object.entries(english))
      expect([name, forbidden.test(JSON.stringify(message))]).toEqual([name, false]);
  });

  it("in Chinese have a space between Han and Latin or digits", () => {
    for (const [name, message] of Object.entries(chinese)) {
      expect([name, /\p{Script=Han}[A-Za-z0-9]|[A-Za-z0-9]\p{Script=Han}/u.test(JSON.stringify(message))]).toEqual([
        name,
        false,
      ]);
    }
  });
});
