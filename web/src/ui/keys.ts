// The keys that work everywhere behind the log-in.
import type { ConversationRow } from "../state/types.ts";

type Keys = Pick<KeyboardEvent, "key" | "altKey" | "ctrlKey" | "metaKey" | "shiftKey">;

/** Ctrl or ⌘ with K: search and switch. */
export function wantsSearch(event: Keys): boolean {
  return event.key.toLowerCase() === "k" && event.ctrlKey !== event.metaKey && !event.altKey && !event.shiftKey;
}

/** Alt with an arrow: the chat above or below, with Shift the next unread one. */
export function wantsChat(event: Keys): boolean {
  return event.altKey && !event.ctrlKey && !event.metaKey && (event.key === "ArrowUp" || event.key === "ArrowDown");
}

/** A question mark outside a text: the list of keys. */
export function wantsHelp(event: Keys & Pick<KeyboardEvent, "target">): boolean {
  return event.key === "?" && !event.ctrlKey && !event.metaKey && !event.altKey && !isText(event.target);
}

/** Tells whether keys are letters there. */
function isText(target: EventTarget | null): boolean {
  const { tagName = "", isContentEditable = false } = (target ?? {}) as Partial<HTMLElement>;
  return isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(tagName);
}

/** Whether keys carry Apple's names. */
export const isMac = /Mac|iPhone|iPad/.test(globalThis.navigator?.platform ?? "");

/** The id of the next chat in a direction, around the ends; "" when there is none. */
export function neighbour(
  rows: readonly ConversationRow[],
  current: string,
  step: 1 | -1,
  onlyUnread: boolean,
): string {
  const at = rows.findIndex((row) => row.id === current);
  const start = at < 0 && step < 0 ? 0 : at; // nothing open: down opens the first, up the last
  for (let i = 1; i <= rows.length; i++) {
    const row = rows[(start + step * i + rows.length * 2) % rows.length];
    if (row !== undefined && row.id !== current && (!onlyUnread || row.unread > 0)) return row.id;
  }
  return "";
}
