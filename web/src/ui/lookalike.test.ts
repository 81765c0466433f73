import { describe, expect, it, test } from "vitest";
import { lookAlikes, skeleton } from "./lookalike.ts";
import { person } from "./testing/sample.ts";

describe("names look the same", () => {
  it.each([
    ["Mia", "Мiа"], // Cyrillic
    ["Mia", "mía"],
    ["Omar", "0mar"],
    ["Paul", "PauI"], // a capital i
    ["Carmen", "Carrnen"],
    ["Ben", " b e n."],
    ["Ωmega", "Wmega"],
    ["阿宁", "阿 宁"],
  ])("%s and %s", (a, b) => {
    expect(skeleton(a)).toBe(skeleton(b));
  });

  it.each([
    ["Mia", "Mira"],
    ["Ben", "Dan"],
    ["阿宁", "阿林"],
    ["...", "!!!"],
    ["Анна", "Инна"],
  ])("but not %s and %s", (a, b) => {
    expect(skeleton(a)).not.toBe(skeleton(b));
  });
});

test("both of two who look alike are marked, also who only asks, and who looks like oneself", () => {
  const people = [
    person("mia", "Mia"),
    person("impostor", "Мia", { relation: "asking" }),
    person("ben", "Ben"),
    person("me too", "Yаra"),
    person("stranger", "Ben", { relation: "none" }),
  ];
  expect([...lookAlikes(people, { account: "me", name: "Yara" })].sort()).toEqual(["impostor", "me too", "mia"]);
});
