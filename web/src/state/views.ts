import { InvitationSchema, type PersonSetting } from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { type Core, standingRange } from "./core.ts";
import { missing } from "./counters.ts";
import { ownIdentity } from "./identity.ts";
import { isUnread } from "./reading.ts";
import { COUNTS_BELOW } from "./receive.ts";
import {
  END,
  type StoredConversation,
  type StoredInvitation,
  type StoredMessage,
  type StoredPerson,
} from "./records.ts";
import { safetyOf } from "./safety.ts";
import type {
  ConversationRow,
  Invitation,
  LinkView,
  MessageState,
  MessageView,
  PathKind,
  Person,
  PresenceKind,
  View,
} from "./types.ts";

/** What is known of somebody's presence now. */
export interface Presence {
  readonly kind: PresenceKind;
  readonly lastSeen: number;
  readonly devices: readonly string[]; // connected ones
}

export const absent: Presence = { kind: "offline", lastSeen: 0, devices: [] };

/** How many messages a badge counts at most, and how many are looked at for it. */
const MOST_COUNTED = 999;
const MOST_LOOKED_AT = 5_000;

/** What other members' devices have, and have read. */
function progress(row: StoredConversation, self: string): { delivered: number; read: number } {
  const out = { delivered: 0, read: 0 };
  for (const [account, c] of Object.entries(row.cursors)) {
    if (account === self) continue;
    out.delivered = Math.max(out.delivered, c.delivered);
    out.read = Math.max(out.read, c.read);
  }
  return out;
}

function stateOf(core: Core, row: StoredConversation, m: StoredMessage): MessageState {
  if (m.status === "failed" || m.status === "sealed" || m.status === "gone" || m.status === "only-here")
    return m.status;
  if (m.account !== core.account) return "received";
  const { delivered, read } = progress(row, core.account);
  if (m.seq > 0 && read >= m.seq) return "read";
  if (m.acked || (m.seq > 0 && delivered >= m.seq)) return "delivered";
  return m.status === "waiting" ? "waiting" : "sent";
}

export function messageView(core: Core, row: StoredConversation, m: StoredMessage, since: number): MessageView {
  const state = stateOf(core, row, m);
  const path: PathKind = m.path === "" ? (state === "waiting" || state === "failed" ? "waiting" : "relay") : m.path;
  return {
    key: `${m.device}/${m.id}`,
    id: m.id,
    conversation: m.conversation,
    from: m.account,
    own: m.account === core.account,
    text: m.text,
    known: m.known || m.status === "sealed" || m.status === "gone",
    time: m.time,
    seq: m.seq,
    path,
    state,
    failure: m.failure,
    live: m.arrival >= since,
    replaced: m.replaced,
  };
}

/** The newest message of a conversation that is shown. */
async function newest(core: Core, conversation: string): Promise<StoredMessage | null> {
  const index = core.db.transaction("messages").store.index("place");
  let cursor = await index.openCursor(IDBKeyRange.bound([conversation, 0], [conversation, END]), "prev");
  while (cursor !== null && cursor.value.kind >= COUNTS_BELOW) cursor = await cursor.continue();
  return cursor?.value ?? null;
}

/**
 * The newest part of a conversation, oldest first: what is shown of its last `limit` stored messages, and whether those
 * are all. Reads them in two requests, however many they are.
 */
export async function tail(
  core: Core,
  conversation: string,
  limit: number,
): Promise<{ messages: StoredMessage[]; all: boolean }> {
  const index = core.db.transaction("messages").store.index("place");
  const end = [conversation, END] as [string, number];
  let cursor = await index.openKeyCursor(IDBKeyRange.bound([conversation, 0], end), "prev");
  if (cursor !== null && limit > 1) cursor = await cursor.advance(limit - 1);
  const stored = await index.getAll(IDBKeyRange.bound(cursor?.key ?? [conversation, 0], end));
  return { messages: stored.filter((m) => m.kind < COUNTS_BELOW), all: cursor === null };
}

/** Where a message stands now, counted from the newest of its conversation; 0 when it is gone. */
export async function standsAt(core: Core, m: StoredMessage): Promise<number> {
  const { conversation, device, id } = m;
  const now = await core.db.get("messages", [conversation, device, id]);
  if (now === undefined) return 0;
  return core.db.countFromIndex("messages", "place", IDBKeyRange.bound([conversation, now.place], [conversation, END]));
}

/** Others' messages behind the own read mark that were not on the screen. */
export async function unread(core: Core, row: StoredConversation): Promise<number> {
  const range = IDBKeyRange.bound([row.id, row.readSeq], [row.id, END], true);
  let n = 0;
  let cursor = await core.db.transaction("messages").store.index("place").openCursor(range);
  for (let looked = 0; cursor !== null && n < MOST_COUNTED && looked < MOST_LOOKED_AT; looked++) {
    if (isUnread(core, row, cursor.value)) n++;
    cursor = await cursor.continue();
  }
  return n;
}

/** What a row needs beside the stored conversation. */
export interface RowFacts {
  readonly unread: number;
  readonly preview: StoredMessage | null;
  readonly waiting: number;
}

export async function rowFacts(core: Core, row: StoredConversation): Promise<RowFacts> {
  return {
    unread: await unread(core, row),
    preview: await newest(core, row.id),
    waiting: await core.db.countFromIndex("messages", "standing", standingRange(row.id, "waiting")),
  };
}

export function conversationRow(
  core: Core,
  row: StoredConversation,
  facts: RowFacts,
  typing: boolean,
  link: LinkView,
): ConversationRow | null {
  const person = core.chain(row).members.length === 0 ? null : otherOf(core, row);
  if (person === null) return null;
  return {
    id: row.id,
    person: person.account,
    unread: facts.unread,
    readSeq: row.readSeq,
    preview: facts.preview === null ? null : messageView(core, row, facts.preview, END),
    draft: row.draft,
    typing,
    waiting: facts.waiting,
    time: Math.max(row.time, person.since),
    link,
    missing: missing(row, core.account, Date.now()),
  };
}

function otherOf(core: Core, row: StoredConversation): StoredPerson | null {
  for (const p of core.people.values()) if (p.conversation === row.id) return p;
  return null;
}

/** What is seen of an account of which nothing is here any more. */
export function signedOut(v: View): View {
  const nothing = { people: {}, conversations: [], invitations: [], devices: [], asking: [] };
  return { ...v, ...nothing, connection: { kind: "signed-out" } };
}

/** Where a person's picture is to be had, "" without one. */
export function avatarPath(p: StoredPerson | undefined): string {
  return p === undefined || p.avatar === "" ? "" : `/api/v1/avatars/${p.account}/${p.avatar}`;
}

export function personView(core: Core, p: StoredPerson, note: PersonSetting, presence: Presence): Person {
  const row = core.conversations.get(p.conversation);
  const ownName = p.nickname || p.userName || p.account.slice(0, 8);
  const safety = safetyOf(p, note);
  return {
    id: p.account,
    name: note.nickname || ownName,
    ownName,
    localName: note.nickname,
    avatar: avatarPath(p),
    userName: p.userName,
    relation: p.relation,
    note: p.note,
    since: p.since,
    blocked: p.blocked,
    invitation: p.invitation,
    hidesAddress: note.hideAddress,
    identityChanged: p.newIdentity !== null,
    identityPending: row !== undefined && !ownIdentity(core, core.chain(row)),
    safety: safety.state,
    compared: safety.compared,
    conversation: p.conversation,
    presence: presence.kind,
    lastSeen: presence.lastSeen,
    devices: presence.devices.length,
    deleted: (p.deleted ?? 0) > 0,
  };
}

export function invitationView({ code, link, body, usesLeft, expires, revoked }: StoredInvitation): Invitation {
  return { code, link, uses: unmarshal(InvitationSchema, body).uses, usesLeft, expires, revoked };
}
