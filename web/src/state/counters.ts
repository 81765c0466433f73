import type { StoredConversation, StoredMessage } from "./records.ts";

/** Missing numbers that are remembered of a device; beyond that the oldest are taken for lost. */
const MOST_MISSING = 200;
/** Milliseconds that a gap may last before it is shown: a message that the relay refused for a moment comes late. */
const PATIENCE = 2 * 60_000;

/** Notes the counter of a message that the relay numbered: a device counts its messages in a conversation without gaps. */
export function count(row: StoredConversation, m: Pick<StoredMessage, "account" | "device" | "counter">): void {
  const known = row.counters[m.device] ?? { account: m.account, top: 0, missing: [], since: 0 };
  const { missing } = known;
  if (m.counter <= known.top) {
    known.missing = missing.filter((n) => n !== m.counter);
  } else {
    const from = Math.max(known.top + 1, m.counter - MOST_MISSING);
    for (let n = from; n < m.counter; n++) missing.push(n);
    if (missing.length > MOST_MISSING) missing.splice(0, missing.length - MOST_MISSING);
    if (known.missing.length > 0 && known.since === 0) known.since = Date.now();
    known.top = m.counter;
  }
  if (known.missing.length === 0) known.since = 0;
  row.counters[m.device] = known;
}

/** Accounts of which messages seem to be missing, once everything that the relay has is here. */
export function missing(row: StoredConversation, self: string, now: number): string[] {
  if (row.through < row.head || row.replay !== null) return [];
  const gaps = Object.values(row.counters).filter(
    (c) => c.account !== self && c.missing.length > 0 && now - c.since > PATIENCE,
  );
  return [...new Set(gaps.map((c) => c.account))];
}
