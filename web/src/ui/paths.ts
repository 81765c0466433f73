// The words for the path of a message.
import { m } from "../i18n/messages.js";
import type { Connection, LinkView, PathKind, Person } from "../state/types.ts";

const labels: Readonly<Record<PathKind, () => string>> = {
  direct: m.path_direct,
  turn: m.path_turn,
  relay: m.path_relay,
  waiting: m.path_waiting,
};

export function pathLabel(path: PathKind): string {
  return labels[path]();
}

/** The line under the composer: where the next message will go. */
export function goesTo(person: Person, link: LinkView, connection: Connection): string {
  const name = person.name;
  switch (link.path) {
    case "direct":
      return m.goes_direct({ name, count: Math.max(1, person.devices) });
    case "turn":
      return m.goes_turn();
    case "relay":
      return person.presence === "offline" ? m.goes_relay_away({ name }) : m.goes_relay({ name });
    case "waiting":
      return connection.kind === "offline" ? m.goes_waiting_offline() : m.goes_waiting();
  }
}

export interface Explanation {
  readonly title: string;
  readonly why: string;
  readonly next: string; // what becomes of it, "" when there is nothing to say
}

/** What the popover of the badge says. */
export function explain(person: Person, link: LinkView, connection: Connection, hidden: boolean): Explanation {
  const name = person.name;
  switch (link.path) {
    case "direct":
      return { title: m.why_direct_title({ name }), why: m.why_direct(), next: "" };
    case "turn":
      return hidden
        ? { title: m.why_turn_title(), why: m.why_turn_hidden(), next: "" }
        : { title: m.why_turn_title(), why: m.why_turn(), next: m.why_turn_next() };
    case "relay":
      return person.presence === "offline"
        ? { title: m.why_relay_title(), why: m.why_relay_away({ name }), next: "" }
        : { title: m.why_relay_title(), why: m.why_relay({ name }), next: m.why_relay_next({ name }) };
    case "waiting":
      return {
        title: m.why_waiting_title(),
        why: connection.kind === "offline" ? m.why_waiting_offline() : m.why_waiting({ name }),
        next: "",
      };
  }
}

/** Protocol and port of an open link, "" without one. */
export function how(link: LinkView): string {
  if (link.state !== "open" || link.protocol === "") return "";
  const protocol = link.protocol.toUpperCase();
  const by = link.path === "turn" ? m.how_turn({ protocol }) : protocol;
  return link.port > 0 ? m.how_port({ by, port: String(link.port) }) : by;
}

/** Tells whether asking for a direct path now may change something. */
export function mayTryDirect(person: Person, link: LinkView, connection: Connection, hidden: boolean): boolean {
  return !hidden && link.path !== "direct" && person.presence !== "offline" && connection.kind !== "offline";
}
