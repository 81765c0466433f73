// The order of things in a conversation: days, the New line, groups of messages.
import type { MessageView } from "../state/types.ts";
import { sameDay } from "./format.ts";

/** The longest pause inside a group of messages, in ms. */
export const groupPause = 5 * 60_000;

/** One line of the conversation. */
export type Item =
  | { readonly kind: "day"; readonly key: string; readonly time: number }
  | { readonly kind: "new"; readonly key: "new"; readonly day: number } // day: the time, when it stands for a day's line, too; else 0
  | MessageItem;

export interface MessageItem {
  readonly kind: "message";
  readonly key: string;
  readonly message: MessageView;
  readonly first: boolean; // of its group
  readonly last: boolean; // of its group
  readonly meta: boolean; // time, path and state stand below it
}

/**
 * Lays out messages, given oldest first. The New line stands before the message whose key is firstNew ("" for none),
 * in place of the line of a day that begins there.
 * A group is one sender without a day, the New line or more than five minutes between.
 */
export function layOut(messages: readonly MessageView[], firstNew: string): Item[] {
  const items: Item[] = [];
  messages.forEach((message, i) => {
    const before = messages[i - 1];
    const after = messages[i + 1];
    const day = before === undefined || !sameDay(before.time, message.time) ? message.time : 0;
    if (message.key === firstNew) items.push({ kind: "new", key: "new", day });
    else if (day > 0) items.push({ kind: "day", key: `day-${message.key}`, time: day });
    const last = after === undefined || breaks(message, after, firstNew);
    items.push({
      kind: "message",
      key: message.key,
      message,
      first: before === undefined || breaks(before, message, firstNew),
      last,
      meta: last || after.path !== message.path || needsWord(message) || needsWord(after),
    });
  });
  return items;
}

/**
 * Puts the lines of the last layout in place of equal new ones, so that what did not change is not drawn again:
 * a message that arrives in a long conversation costs as much as in a short one.
 */
export function reuse(items: readonly Item[], before: ReadonlyMap<string, Item>): Item[] {
  return items.map((item) => {
    const known = before.get(item.key);
    return known !== undefined && same(known, item) ? known : item;
  });
}

/** Where the unread messages begin. */
export interface FirstUnread {
  readonly key: string; // "" without one
  readonly sure: boolean; // false: it may be among older messages that are not loaded
}

/**
 * Finds the first unread message of somebody else: the first above the read mark, or, where those that came directly
 * have no number yet, by the count of unread ones.
 */
export function firstUnread(messages: readonly MessageView[], readSeq: number, unread: number): FirstUnread {
  const incoming = unread > 0 ? messages.filter((message) => !message.own) : [];
  const numbered = incoming.find((message) => message.seq > readSeq);
  const key = (numbered ?? incoming.at(-unread) ?? incoming[0])?.key ?? "";
  const oldest = messages[0]?.seq ?? 0;
  return { key, sure: key === "" || incoming.length > unread || (oldest > 0 && oldest <= readSeq) };
}

/** The key of the first message of somebody else after the one with this key, or "". */
export function firstIncoming(messages: readonly MessageView[], key: string): string {
  const from = messages.findIndex((message) => message.key === key);
  return messages.slice(from + 1).find((message) => !message.own)?.key ?? "";
}

/** How many messages of others stand after the message with this key; all of them when it is not there. */
export function incomingAfter(messages: readonly MessageView[], key: string): number {
  const from = messages.findIndex((message) => message.key === key);
  return messages.slice(from + 1).filter((message) => !message.own).length;
}

function breaks(before: MessageView, after: MessageView, firstNew: string): boolean {
  return (
    before.from !== after.from ||
    before.own !== after.own ||
    after.key === firstNew ||
    after.time - before.time > groupPause ||
    !sameDay(before.time, after.time)
  );
}

function same(a: Item, b: Item): boolean {
  if (a.kind === "message") {
    return (
      b.kind === "message" && a.message === b.message && a.first === b.first && a.last === b.last && a.meta === b.meta
    );
  }
  return a.kind === "day" ? b.kind === "day" && a.time === b.time : b.kind === "new" && a.day === b.day;
}

/** A message that did not go its way says so itself, wherever it stands in its group. */
function needsWord(message: MessageView): boolean {
  return message.state === "failed" || message.state === "only-here" || message.replaced === true;
}
