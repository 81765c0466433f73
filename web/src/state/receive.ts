import { toBinary } from "@bufbuild/protobuf";
import { type Bytes, equal, own } from "../wire/bytes.ts";
import { envelopeHash, isBlank, openEnvelope, parseEnvelope, verifyEnvelope } from "../wire/envelope.ts";
import { forbidden, malformed } from "../wire/errors.ts";
import { type ID, idBytes, idFrom } from "../wire/ids.ts";
import { type Content, ContentSchema, type Envelope, EnvelopeSchema, type Event, type Header } from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { storeCommit } from "./commits.ts";
import { type Core, type Step, UnknownDeviceError } from "./core.ts";
import type { StoredConversation, StoredMessage } from "./db.ts";

/** Kinds below it are messages of their own, the others are about others (docs/PROTOCOL.md §5). */
export const COUNTS_BELOW = 64;
/** How far in milliseconds a sender's time may be from the relay's before the relay's is shown. */
const CLOCK_SKEW = 5 * 60_000;

/** What storing a page came to. */
export interface Stored {
  /** Epochs whose key has to be asked for. */
  readonly missing: { conversation: string; epoch: bigint }[];
  /** Events that did not verify; they never become messages. */
  readonly refused: unknown[];
}

/**
 * Verifies events and stores them with the advanced cursor. fetched says whose device lists were fetched for
 * them already: a device that no list names must not hold up the conversation. Throws UnknownDeviceError.
 */
export function storeEvents(
  core: Core,
  id: string,
  events: readonly Event[],
  through: number,
  fetched: ReadonlySet<string>,
): Promise<Stored> {
  return core.step(async (s) => {
    const out: Stored = { missing: [], refused: [] };
    const row = s.conversationOrNew(id);
    for (const e of events) {
      const seq = Number(e.seq);
      if (seq <= row.through) continue;
      try {
        await storeEvent(s, row, e, out);
      } catch (error) {
        if (error instanceof UnknownDeviceError && !fetched.has(error.account)) throw error;
        out.refused.push(error);
      }
    }
    row.through = Math.max(row.through, through);
    row.head = Math.max(row.head, through);
    s.saveConversation(row);
    return out;
  });
}

async function storeEvent(s: Step, row: StoredConversation, e: Event, out: Stored): Promise<void> {
  switch (e.kind.case) {
    case "commit": {
      const keyed = await storeCommit(s, row, e.kind.value);
      if (keyed) await openSealed(s, row.id);
      else out.missing.push({ conversation: row.id, epoch: s.core.chain(row).epoch });
      return;
    }
    case "envelope":
      await storeEnvelope(s, row, e.kind.value, Number(e.seq), Number(e.relayMs));
      return;
    default:
      throw malformed("an event of a kind that needs a newer Parley");
  }
}

/** Checks everything about an envelope that needs no key of its epoch. */
async function verify(s: Step, row: StoredConversation, e: Envelope): Promise<Header> {
  const h = parseEnvelope(e);
  if (!equal(h.conversation, idBytes(row.id as ID))) throw forbidden("it belongs to another conversation");
  const account = idFrom(h.account);
  if (s.core.chain(row).member(account) === undefined) throw forbidden("its sender is not a member");
  await verifyEnvelope(e, s.core.lookup(account, idFrom(h.device)));
  return h;
}

/** Stores the relay's copy of a message. It wins over a direct copy that differs. */
async function storeEnvelope(
  s: Step,
  row: StoredConversation,
  e: Envelope,
  seq: number,
  relayMS: number,
): Promise<void> {
  const h = await verify(s, row, e);
  if (h.epoch !== s.core.chain(row).epoch) throw forbidden("it is sealed under another epoch than the one in force");
  const hash = await envelopeHash(e);
  const known = await s.message(row.id, idFrom(h.device), idFrom(h.id));
  const m = known ?? newMessage(s.core, row.id, h);
  const same =
    known !== null &&
    equal(known.hash, hash) &&
    (known.status === "waiting" || known.status === "unrelayed" || known.status === "stored");
  m.seq = seq;
  m.hash = hash;
  m.failure = "";
  if (m.path === "") m.path = "relay";
  m.time = shownTime(Number(h.timeMs), relayMS);
  if (same) {
    m.status = "stored";
    m.envelope = null;
  } else await open(s, m, h, e);
  s.saveMessage(m);
  if (known === null) noteArrival(s, row, m);
}

function noteArrival(s: Step, row: StoredConversation, m: StoredMessage): void {
  if (m.kind >= COUNTS_BELOW) return;
  row.time = Math.max(row.time, m.time);
  if (m.account !== s.core.account) s.arrived.push(m);
}

function newMessage(core: Core, conversation: string, h: Header): StoredMessage {
  return {
    conversation,
    device: idFrom(h.device),
    id: idFrom(h.id),
    account: idFrom(h.account),
    kind: h.kind,
    counter: Number(h.counter),
    time: Number(h.timeMs),
    seq: 0,
    place: 0,
    arrival: core.nextArrival(),
    hash: new Uint8Array(),
    text: "",
    known: false,
    content: null,
    envelope: null,
    status: "stored",
    acked: false,
    path: "",
    failure: "",
  };
}

/** A sender's time, or the relay's when they are too far apart. */
export function shownTime(time: number, relay: number): number {
  return relay !== 0 && Math.abs(time - relay) > CLOCK_SKEW ? relay : time;
}

/** Opens what an envelope seals, as far as this device can. */
async function open(s: Step, m: StoredMessage, h: Header, e: Envelope): Promise<void> {
  m.envelope = null;
  if (isBlank(e)) {
    m.status = "gone";
    return;
  }
  const key = await s.epochKey(m.conversation, h.epoch);
  if (key === null) {
    m.status = "sealed";
    m.envelope = own(toBinary(EnvelopeSchema, e));
    return;
  }
  show(m, await openEnvelope(key, e));
  m.status = "stored";
}

/** Puts what is shown of a content into the message. */
export function show(m: StoredMessage, content: Content): void {
  m.known = content.kind.case === "text";
  m.text = content.kind.case === "text" ? content.kind.value.body : "";
}

/** Opens messages whose key has come. */
export async function openSealed(s: Step, conversation: string): Promise<void> {
  const range = IDBKeyRange.bound(["sealed", 0], ["sealed", Number.MAX_SAFE_INTEGER]);
  for (const m of await s.core.db.getAllFromIndex("messages", "status", range)) {
    if (m.conversation !== conversation || m.envelope === null) continue;
    const e = unmarshal(EnvelopeSchema, m.envelope);
    await open(s, m, parseEnvelope(e), e);
    if (m.status !== "sealed") s.saveMessage(m);
  }
}

/**
 * Stores an envelope that came over a link: the checks of storeEnvelope and those that only a link needs, that it
 * comes from its own sender and is in the newest epoch that the relay confirmed. Resolves to false when refused.
 */
export async function storeDirect(
  s: Step,
  from: { account: ID; device: ID },
  path: "direct" | "turn",
  e: Envelope,
): Promise<boolean> {
  const h = parseEnvelope(e);
  if (idFrom(h.account) !== from.account || idFrom(h.device) !== from.device) return false;
  const row = s.conversation(idFrom(h.conversation));
  if (row === null || row.needsEpoch || h.epoch !== s.core.chain(row).epoch) return false;
  try {
    await verify(s, row, e);
  } catch {
    return false;
  }
  const hash = await envelopeHash(e);
  const known = await s.message(row.id, from.device, idFrom(h.id));
  if (known !== null) return equal(known.hash, hash);
  const m = newMessage(s.core, row.id, h);
  m.hash = hash;
  m.path = path;
  m.time = shownTime(m.time, Date.now());
  await open(s, m, h, e);
  if (m.status !== "stored") return false;
  m.status = "unrelayed";
  m.envelope = own(toBinary(EnvelopeSchema, e));
  s.saveMessage(m);
  noteArrival(s, row, m);
  s.saveConversation(row);
  return true;
}

/** Content as it is stored. */
export function contentBytes(content: Content): Bytes {
  return own(toBinary(ContentSchema, content));
}
