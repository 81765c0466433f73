import { describe, expect, it, test } from "vitest";
import { clock, dayLabel, daysBetween, fileSize, moment, regional, rowTime, sameDay, shortDate } from "./format.ts";

const now = new Date(2026, 10, 24, 10, 46).getTime(); // a Tuesday
const at = (days: number, hour = 9, minute = 12) => new Date(2026, 10, 24 - days, hour, minute).getTime();

describe("days", () => {
  it("end at local midnight", () => {
    expect(sameDay(at(0, 0, 0), at(0, 23, 59))).toBe(true);
    expect(sameDay(at(1, 23, 59), at(0, 0, 0))).toBe(false);
    expect(daysBetween(at(1, 23, 59), at(0, 0, 1))).toBe(1);
    expect(daysBetween(at(-2), now)).toBe(-2);
  });

  it("are counted over a change of the clocks", () => {
    for (let day = 0; day < 400; day++) expect(daysBetween(at(day, 0, 30), at(0, 23, 30))).toBe(day);
  });
});

describe("labels", () => {
  it.each([
    [0, "Today", "今天"],
    [1, "Yesterday", "昨天"],
    [2, "Sunday", "星期日"],
    [6, "Wednesday", "星期三"],
    [7, "17 November", "11月17日"],
    [400, "20 October 2025", "2025年10月20日"],
  ])("of a separator %i days ago", (days, english, chinese) => {
    expect(dayLabel(at(days), now, "en-GB")).toBe(english);
    expect(dayLabel(at(days), now, "zh")).toBe(chinese);
  });

  it.each([
    [0, "09:12", "09:12"],
    [1, "Yesterday", "昨天"],
    [2, "Sun", "周日"],
    [8, "16 Nov", "11月16日"],
    [400, "20/10/2025", "2025/10/20"],
  ])("of a row %i days ago", (days, english, chinese) => {
    expect(rowTime(at(days), now, "en-GB")).toBe(english);
    expect(rowTime(at(days), now, "zh")).toBe(chinese);
  });

  it("of a row without a time are empty", () => {
    expect(rowTime(0, now, "en")).toBe("");
  });

  it("of a moment fit into a sentence, past or to come", () => {
    expect(moment(at(0), now, "en-GB")).toBe("09:12");
    expect(moment(at(1), now, "en-GB")).toBe("yesterday 09:12");
    expect(moment(at(-7), now, "en-GB")).toBe("1 Dec 09:12");
  });

  it("of the clock follow the locale", () => {
    expect(clock(at(0, 21, 5), "en-GB")).toBe("21:05");
    expect(clock(at(0, 21, 5), "en-US")).toMatch(/^9:05\sPM$/u);
  });
});

describe("regional", () => {
  it("takes the person's own flavour of the language", () => {
    expect(regional("en", ["zh-CN", "en-GB", "en"])).toBe("en-GB");
    expect(regional("zh", ["en-GB"])).toBe("zh");
  });
});

test("a short date has a year only when it is another one", () => {
  const now = new Date(2026, 10, 27).getTime();
  expect(shortDate(new Date(2026, 10, 3).getTime(), now, "en-GB")).toBe("3 Nov");
  expect(shortDate(new Date(2025, 10, 3).getTime(), now, "en-GB")).toBe("3 Nov 2025");
});

test("bytes are told in the unit that fits", () => {
  expect([0, 900, 3_400, 21_000_000, 91_400_000_000].map((n) => fileSize(n, "en"))).toEqual([
    "0 byte",
    "900 byte",
    "3.4 kB",
    "21 MB",
    "91 GB",
  ]);
});
