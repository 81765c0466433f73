import { toBinary } from "@bufbuild/protobuf";
import { type Bytes, equal, own } from "../wire/bytes.ts";
import { envelopeHash, isBlank, openEnvelope, parseHeader, verifyEnvelope } from "../wire/envelope.ts";
import { forbidden, malformed } from "../wire/errors.ts";
import { type ID, idBytes, idFrom } from "../wire/ids.ts";
import { type Content, ContentSchema, type Envelope, EnvelopeSchema, type Event, type Header } from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { chainHere, storeCommit } from "./commits.ts";
import { type Core, UnknownDeviceError } from "./core.ts";
import { count } from "./counters.ts";
import { checkDevice, isHeld, ownIdentity, renewed, UnknownIdentityError } from "./identity.ts";
import { IdentityChangedError } from "./people.ts";
import { MOST_SEQ, type StoredConversation, type StoredMessage } from "./records.ts";
import type { Step } from "./step.ts";

/** Kinds below it are messages of their own, the others are about others (docs/PROTOCOL.md §5). */
export const COUNTS_BELOW = 64;
/** How far in milliseconds a sender's time may be from the relay's before the relay's is shown. */
const CLOCK_SKEW = 5 * 60_000;

/** What storing a page came to. */
export interface Stored {
  /** Epochs whose key has to be asked for. */
  readonly missing: bigint[];
  /** What did not verify; it never becomes a message. */
  readonly refused: unknown[];
}

/** A run of a conversation's log, as the relay sends it. */
export interface Run {
  readonly events: readonly Event[];
  /** Everything up to this number is told by the run. */
  readonly through: number;
}

/**
 * Verifies events and stores them with the advanced cursor. fetched says whose device lists were fetched for
 * them already: a device that no list names must not hold up the conversation. Throws UnknownDeviceError.
 */
export function storeEvents(core: Core, id: string, run: Run, fetched: ReadonlySet<string>): Promise<Stored> {
  return core.step(async (s) => {
    const out: Stored = { missing: [], refused: [] };
    const row = s.conversationOrNew(id);
    const known = row.chain !== null || row.replay !== null;
    const through = Math.max(row.through, Math.min(run.through, MOST_SEQ));
    await storeAll(s, row, run.events, through, fetched, out);
    if (!known && chainHere(core, row).member(core.account) === undefined)
      throw forbidden(`somebody else's conversation (${String(out.refused[0] ?? "its log does not begin")})`);
    row.through = through;
    row.head = Math.max(row.head, through);
    s.saveConversation(row);
    return out;
  });
}

/** Stores events in order; what does not verify is noted and passed over. */
async function storeAll(
  s: Step,
  row: StoredConversation,
  events: readonly Event[],
  through: number,
  fetched: ReadonlySet<string>,
  out: Stored,
): Promise<void> {
  let last = row.through;
  for (const e of events) {
    const seq = Number(e.seq);
    if (seq <= row.through) continue;
    try {
      if (seq <= last || seq > through) throw malformed("an event out of order");
      last = seq;
      row.mark = { seq, hash: await storeEvent(s, row, e, out) };
    } catch (error) {
      if (error instanceof UnknownDeviceError && !fetched.has(error.account)) throw error;
      out.refused.push(error instanceof UnknownIdentityError ? noteIdentity(s, error) : error);
    }
  }
}

/** Holds sending to somebody of whom a commit names another identity than the one pinned. */
function noteIdentity(s: Step, e: UnknownIdentityError): IdentityChangedError {
  const p = s.person(e.account);
  p.newIdentity ??= own(e.identityKey);
  s.savePerson(p);
  return new IdentityChangedError(e.account);
}

/** Resolves to the event's hash. */
async function storeEvent(s: Step, row: StoredConversation, e: Event, out: Stored): Promise<Bytes> {
  const report = (wrong: unknown): number => out.refused.push(wrong);
  switch (e.kind.case) {
    case "commit": {
      const { hash, keyed } = await storeCommit(s, row, e.kind.value, report);
      if (keyed) await openSealed(s, row.id, report);
      else if (ownIdentity(s.core, chainHere(s.core, row))) out.missing.push(chainHere(s.core, row).epoch);
      return hash;
    }
    case "envelope":
      return storeEnvelope(s, row, e.kind.value, Number(e.seq), Number(e.relayMs));
    default:
      throw malformed("an event of a kind that needs a newer Parley");
  }
}

/** Checks everything about an envelope that needs no key of its epoch; members and epoch are those at its number. */
async function verify(s: Step, row: StoredConversation, e: Envelope): Promise<Header> {
  const h = parseHeader(e.header);
  if (!equal(h.conversation, idBytes(row.id as ID))) throw forbidden("it belongs to another conversation");
  const account = idFrom(h.account);
  const chain = chainHere(s.core, row);
  const sender = chain.member(account);
  if (sender === undefined) throw forbidden("its sender is not a member");
  const key = s.core.lookup(account, idFrom(h.device));
  checkDevice(s.core, sender, idFrom(h.device));
  await verifyEnvelope(e, key);
  if (h.epoch !== chain.epoch) throw forbidden("it is sealed under another epoch than the one in force");
  return h;
}

/** Stores the relay's copy of a message, which wins over a direct copy that differs; resolves to its hash. */
async function storeEnvelope(
  s: Step,
  row: StoredConversation,
  e: Envelope,
  seq: number,
  relayMS: number,
): Promise<Bytes> {
  const h = await verify(s, row, e);
  const hash = await envelopeHash(e);
  const known = await s.message(row.id, idFrom(h.device), idFrom(h.id));
  const m = known ?? newMessage(s.core, row.id, h);
  if (m.seq > 0 && m.seq !== seq) throw forbidden("the message stands at another number already"); // a replay moves nothing
  const before = { text: m.text, known: m.known, open: known !== null && known.status !== "sealed" };
  const same = known !== null && equal(known.hash, hash) && opened(known);
  if (same) {
    m.status = "stored";
    m.envelope = null;
  } else {
    m.kind = h.kind;
    m.counter = Number(h.counter);
    m.hash = hash;
    await open(s, m, h, e);
    if (before.open && m.status === "stored" && (m.text !== before.text || m.known !== before.known)) m.replaced = true;
  }
  m.seq = seq;
  m.after = 0;
  m.failure = "";
  if (m.path === "") m.path = "relay";
  m.time = shownTime(Number(h.timeMs), relayMS);
  s.saveMessage(m);
  count(row, m);
  if (m.device === s.core.device) row.counter = Math.max(row.counter, m.counter); // an older copy of this browser came back
  if (known === null) noteArrival(s, row, m);
  return hash;
}

/** Whether the content of a message is here. */
function opened(m: StoredMessage): boolean {
  return m.status !== "sealed" && m.status !== "gone";
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
    after: 0,
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
    replaced: false,
  };
}

/** A sender's time, or the relay's when they are too far apart. */
export function shownTime(time: number, relay: number): number {
  return relay !== 0 && Math.abs(time - relay) > CLOCK_SKEW ? relay : time;
}

/** Opens what an envelope seals, as far as this device can. Throws when it does not open. */
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
function show(m: StoredMessage, content: Content): void {
  m.known = content.kind.case === "text";
  m.text = content.kind.case === "text" ? content.kind.value.body : "";
}

/** Messages that are read at once. */
const PAGE = 200;

/** Opens messages whose key has come. What does not open after all never becomes a message. */
export async function openSealed(s: Step, conversation: string, report: (wrong: unknown) => void): Promise<void> {
  for (let after = 0; ; ) {
    const sealed = await s.core.standing(conversation, "sealed", after, PAGE);
    for (const m of sealed) {
      after = m.arrival;
      await openOne(s, m).catch((wrong: unknown) => {
        report(wrong);
        s.deleteMessage(m);
      });
    }
    if (sealed.length < PAGE) return;
  }
}

async function openOne(s: Step, m: StoredMessage): Promise<void> {
  if (m.envelope === null) return;
  const e = unmarshal(EnvelopeSchema, m.envelope);
  await open(s, m, parseHeader(e.header), e);
  if (m.status !== "sealed") s.saveMessage(m);
}

/**
 * Stores an envelope that came over a link: the checks of storeEnvelope and those that only a link needs, that it
 * comes from its own sender and is in the newest epoch that the relay confirmed. Resolves to whether it is stored now.
 */
export async function storeDirect(
  s: Step,
  from: { account: ID; device: ID },
  path: "direct" | "turn",
  e: Envelope,
): Promise<boolean> {
  try {
    const m = await checkDirect(s, from, e);
    if (m === null) return true;
    m.path = path;
    m.status = "unrelayed";
    m.envelope = own(toBinary(EnvelopeSchema, e));
    const row = s.conversationOrNew(m.conversation);
    s.saveMessage(m);
    noteArrival(s, row, m);
    s.saveConversation(row);
    return true;
  } catch {
    return false; // the relay has to decide
  }
}

/** The message in an envelope that came over a link, null when it is stored already. What may not be taken throws. */
async function checkDirect(s: Step, from: { account: ID; device: ID }, e: Envelope): Promise<StoredMessage | null> {
  const h = parseHeader(e.header);
  if (idFrom(h.account) !== from.account || idFrom(h.device) !== from.device)
    throw forbidden("it was not written by the device at the other end");
  const row = s.conversation(idFrom(h.conversation));
  if (row === null || row.needsEpoch || row.replay !== null) throw forbidden("it is not in the newest epoch known");
  const chain = s.core.chain(row);
  if (isHeld(s.core, chain) || renewed(s.core, chain) !== null) throw forbidden("an identity changed");
  await verify(s, row, e);
  const hash: Bytes = await envelopeHash(e);
  const known = await s.message(row.id, from.device, idFrom(h.id));
  if (known !== null) {
    if (!equal(known.hash, hash)) throw forbidden("another message has its id");
    return null;
  }
  const m = newMessage(s.core, row.id, h);
  m.hash = hash;
  m.time = shownTime(m.time, Date.now());
  await open(s, m, h, e);
  if (m.status !== "stored") throw forbidden("it cannot be opened");
  return m;
}

/** Content as it is stored. */
export function contentBytes(content: Content): Bytes {
  return own(toBinary(ContentSchema, content));
}
