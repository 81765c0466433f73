import { describe, expect, it } from "vitest";
import type { ConversationRow } from "../state/types.ts";
import { neighbour, wantsChat, wantsSearch } from "./keys.ts";
import { targetIndex } from "./roving.ts";

const none = { key: "", altKey: false, ctrlKey: false, metaKey: false, shiftKey: false };
const rows = (...unread: number[]) => unread.map((count, i) => ({ id: `${i}`, unread: count }) as ConversationRow);

describe("keys", () => {
  it("search with Ctrl or ⌘, never with Alt: Ctrl Alt types letters", () => {
    expect(wantsSearch({ ...none, key: "k", ctrlKey: true })).toBe(true);
    expect(wantsSearch({ ...none, key: "K", metaKey: true })).toBe(true);
    expect(wantsSearch({ ...none, key: "k" })).toBe(false);
    expect(wantsSearch({ ...none, key: "k", ctrlKey: true, altKey: true })).toBe(false);
  });

  it("change the chat with Alt and an arrow", () => {
    expect(wantsChat({ ...none, key: "ArrowDown", altKey: true })).toBe(true);
    expect(wantsChat({ ...none, key: "ArrowDown" })).toBe(false);
    expect(wantsChat({ ...none, key: "ArrowDown", altKey: true, ctrlKey: true })).toBe(false);
  });
});

describe("neighbour", () => {
  it("goes around the ends", () => {
    expect(neighbour(rows(0, 0, 0), "0", 1, false)).toBe("1");
    expect(neighbour(rows(0, 0, 0), "2", 1, false)).toBe("0");
    expect(neighbour(rows(0, 0, 0), "0", -1, false)).toBe("2");
  });

  it("opens the first or the last when nothing is open", () => {
    expect(neighbour(rows(0, 0, 0), "", 1, false)).toBe("0");
    expect(neighbour(rows(0, 0, 0), "", -1, false)).toBe("2");
  });

  it("skips what was read", () => {
    expect(neighbour(rows(0, 0, 3), "0", 1, true)).toBe("2");
    expect(neighbour(rows(2, 0, 0), "0", 1, true)).toBe("");
  });

  it("has nowhere to go in an empty list", () => {
    expect(neighbour([], "", 1, false)).toBe("");
    expect(neighbour(rows(1), "0", -1, false)).toBe("");
  });
});

describe("targetIndex", () => {
  it("stops at the ends", () => {
    expect(targetIndex("ArrowDown", 2, 3)).toBe(2);
    expect(targetIndex("ArrowUp", 0, 3)).toBe(0);
    expect(targetIndex("Home", 2, 3)).toBe(0);
    expect(targetIndex("End", 0, 3)).toBe(2);
    expect(targetIndex("a", 0, 3)).toBeUndefined();
  });
});
