// The words for a message and a person in the lists and in the conversation.
import { m } from "../i18n/messages.js";
import type { Connection, MessageState, MessageView, Person, SafetyState } from "../state/types.ts";
import { failureReason } from "./failures.ts";
import { moment, shortDate } from "./format.ts";
import { pathLabel } from "./paths.ts";

const states: Readonly<Record<Exclude<MessageState, "failed">, () => string>> = {
  waiting: m.state_waiting,
  sent: m.state_sent,
  delivered: m.state_delivered,
  read: m.state_read,
  received: () => "",
  sealed: () => "",
  gone: () => "",
  "only-here": m.state_only_here,
};

/** The word beside the mark under a message; "" for one that only came in. */
export function stateWord(message: MessageView): string {
  if (message.replaced) return m.state_replaced();
  if (message.state === "failed") return m.state_failed({ reason: failureReason(message.failure) });
  return message.own ? states[message.state]() : "";
}

/** What stands in place of a text that cannot be shown, "" when the text is there. */
export function insteadOfText(message: MessageView): string {
  if (message.state === "sealed") return m.body_sealed();
  if (message.state === "gone") return m.body_gone();
  return message.known ? "" : m.body_unknown();
}

/** One line of a message for a list. */
export function preview(message: MessageView): string {
  const text = insteadOfText(message) || message.text.replace(/\s+/gu, " ").trim();
  return message.own ? m.preview_own({ text }) : text;
}

/** What a screen reader says of a message: Mia, 10:45, text, direct, read. */
export function spoken(message: MessageView, name: string, time: string): string {
  const parts = [message.own ? m.you() : name, time, insteadOfText(message) || message.text];
  parts.push(pathLabel(message.path), stateWord(message));
  return parts.filter(Boolean).join(m.list_comma());
}

const safetyWords: Readonly<Record<Exclude<SafetyState, "compared">, () => string>> = {
  unknown: m.safety_unknown,
  open: m.safety_open,
  changed: m.safety_changed,
};

/** What is known about somebody being who they say. */
export function safetyWord({ safety, compared }: Person, now: number, locale: string): string {
  return safety === "compared" ? m.safety_compared({ date: shortDate(compared, now, locale) }) : safetyWords[safety]();
}

/** Presence in words; "" when nothing is known, as while this device has no network. */
export function presenceText(person: Person, connection: Connection, now: number, locale: string): string {
  if (!isLive(connection)) return "";
  if (person.presence === "online") {
    return person.devices > 1 ? m.presence_online_devices({ count: person.devices }) : m.presence_online();
  }
  if (person.presence === "away") return m.presence_away();
  return person.lastSeen > 0 ? m.presence_last_seen({ time: moment(person.lastSeen, now, locale) }) : "";
}

/** Tells whether presence is worth showing: not without a network, and not when nobody tells it. */
export function isLive(connection: Connection): boolean {
  return connection.kind === "connected" || connection.kind === "unreachable";
}
