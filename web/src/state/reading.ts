import type { Core } from "./core.ts";
import { COUNTS_BELOW } from "./receive.ts";
import { type StoredConversation, type StoredMessage, UNNUMBERED } from "./records.ts";

/** Whether a message asks to be read by this account: it is somebody else's, counts, and was not on the screen. */
export function isUnread(core: Core, row: StoredConversation, m: StoredMessage): boolean {
  return m.account !== core.account && m.kind < COUNTS_BELOW && m.arrival > row.seen;
}

/** Notes that everything up to a number, and what arrived up to a point, was on the screen; resolves to the read mark. */
export function markRead(core: Core, conversation: string, seq: number, arrival: number): Promise<number> {
  return core.step(async (s) => {
    const row = s.conversation(conversation);
    if (row === null) return 0;
    const read = Math.max(row.readSeq, Math.min(seq, row.through)); // what is not here yet was not seen
    const seen = Math.max(row.seen, arrival);
    if (read !== row.readSeq || seen !== row.seen) s.saveConversation({ ...row, readSeq: read, seen });
    return read;
  });
}

/** Moves the read mark over messages that were read before they had a number; resolves to it. */
export async function settleRead(core: Core, conversation: string): Promise<number> {
  const row = core.conversations.get(conversation);
  if (row === undefined) return 0;
  if (row.seen === 0 || row.readSeq >= row.through) return row.readSeq;
  const range = IDBKeyRange.bound([conversation, row.readSeq], [conversation, Math.min(row.through, UNNUMBERED)], true);
  let mark = row.readSeq;
  let cursor = await core.db.transaction("messages").store.index("place").openCursor(range);
  for (; cursor !== null; cursor = await cursor.continue()) {
    if (isUnread(core, row, cursor.value)) break;
    if (cursor.value.seq > 0) mark = cursor.value.seq;
  }
  return mark > row.readSeq ? markRead(core, conversation, mark, 0) : row.readSeq;
}
