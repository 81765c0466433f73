import { describe, expect, it } from "vitest";
import type { MessageView } from "../state/types.ts";
import { firstIncoming, firstUnread, groupPause, type Item, incomingAfter, layOut, reuse } from "./timeline.ts";

const noon = new Date(2026, 10, 24, 12).getTime();

function message(key: string, minutes: number, change: Partial<MessageView> = {}): MessageView {
  const own = change.own ?? false;
  return {
    key,
    id: key,
    conversation: "c",
    from: own ? "me" : "mia",
    own,
    text: key,
    known: true,
    time: noon + minutes * 60_000,
    seq: Number(key),
    path: "direct",
    state: own ? "delivered" : "received",
    failure: "",
    live: false,
    ...change,
  };
}

/** Writes a layout as text: [ and ] are the ends of a group, * a line with time and path. */
function drawn(items: readonly Item[]): string {
  return items
    .map((item) => {
      if (item.kind !== "message") return item.kind;
      return `${item.first ? "[" : ""}${item.key}${item.meta ? "*" : ""}${item.last ? "]" : ""}`;
    })
    .join(" ");
}

describe("layOut", () => {
  it("puts messages of one sender close together into a group with one line below", () => {
    const messages = [message("1", 0), message("2", 1), message("3", 2, { own: true }), message("4", 3, { own: true })];
    expect(drawn(layOut(messages, ""))).toBe("day [1 2*] [3 4*]");
  });

  it("starts a group after a pause of more than five minutes, not at five", () => {
    const five = groupPause / 60_000;
    expect(drawn(layOut([message("1", 0), message("2", five)], ""))).toBe("day [1 2*]");
    expect(drawn(layOut([message("1", 0), message("2", five + 0.01)], ""))).toBe("day [1*] [2*]");
  });

  it("separates days at local midnight even within five minutes", () => {
    const beforeMidnight = 12 * 60 - 1;
    expect(drawn(layOut([message("1", beforeMidnight), message("2", beforeMidnight + 2)], ""))).toBe(
      "day [1*] day [2*]",
    );
  });

  it("puts the New line before its message and breaks the group there", () => {
    expect(drawn(layOut([message("1", 0), message("2", 1), message("3", 2)], "2"))).toBe("day [1*] new [2 3*]");
  });

  it("shows the line where the path changes inside a group, without breaking it", () => {
    const messages = [message("1", 0), message("2", 1, { path: "relay" }), message("3", 2, { path: "relay" })];
    expect(drawn(layOut(messages, ""))).toBe("day [1* 2 3*]");
  });

  it("shows the line of a failed message and of the one before it", () => {
    const own = { own: true } as const;
    const messages = [message("1", 0, own), message("2", 1, { ...own, state: "failed" }), message("3", 2, own)];
    expect(drawn(layOut(messages, ""))).toBe("day [1* 2* 3*]");
  });

  it("gives every line a key of its own", () => {
    const keys = layOut([message("1", 0), message("2", 24 * 60), message("3", 48 * 60)], "2").map((item) => item.key);
    expect(new Set(keys).size).toBe(keys.length);
  });

  it("is empty without messages", () => {
    expect(layOut([], "")).toEqual([]);
  });
});

describe("reuse", () => {
  it("keeps every line that did not change, and only those", () => {
    const messages = [message("1", 0), message("2", 1), message("3", 2)];
    const before = layOut(messages.slice(0, 2), "");
    const after = reuse(layOut(messages, ""), new Map(before.map((item) => [item.key, item])));
    expect(after.map((item) => before.includes(item))).toEqual([true, true, false, false]);
    expect(after).toEqual(layOut(messages, ""));
  });
});

describe("firstUnread", () => {
  it("is the first message of somebody else above the mark", () => {
    const messages = [message("1", 0), message("2", 1, { own: true }), message("3", 2), message("4", 3)];
    expect(firstUnread(messages, 1, 2)).toEqual({ key: "3", sure: true });
    expect(firstUnread(messages, 4, 0)).toEqual({ key: "", sure: true });
  });

  it("is found by the count where there are no numbers yet", () => {
    const direct = { seq: 0 };
    const messages = [
      message("1", 0),
      message("2", 1, direct),
      message("3", 2, { own: true }),
      message("4", 3, direct),
    ];
    expect(firstUnread(messages, 1, 2)).toEqual({ key: "2", sure: true });
    expect(firstUnread(messages, 1, 1)).toEqual({ key: "4", sure: true });
  });

  it("is not sure of itself while only unread messages are loaded", () => {
    const messages = [message("4", 0), message("5", 1)];
    expect(firstUnread(messages, 2, 3)).toEqual({ key: "4", sure: false });
    expect(firstUnread(messages, 0, 2)).toEqual({ key: "4", sure: false });
    const unnumbered = messages.map((one) => ({ ...one, seq: 0 }));
    expect(firstUnread(unnumbered, 0, 3)).toEqual({ key: "4", sure: false });
  });
});

describe("incomingAfter", () => {
  it("counts what others wrote after a message", () => {
    const messages = [message("1", 0), message("2", 1), message("3", 2, { own: true }), message("4", 3)];
    expect(incomingAfter(messages, "1")).toBe(2);
    expect(incomingAfter(messages, "4")).toBe(0);
    expect(incomingAfter(messages, "")).toBe(3);
  });
});

describe("firstIncoming", () => {
  it("is what somebody else wrote first after a message", () => {
    const messages = [message("1", 0), message("2", 1, { own: true }), message("3", 2), message("4", 3)];
    expect(firstIncoming(messages, "1")).toBe("3");
    expect(firstIncoming(messages, "4")).toBe("");
    expect(firstIncoming(messages, "")).toBe("1");
  });
});
