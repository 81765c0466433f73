import { create, toBinary } from "@bufbuild/protobuf";
import { own, utf8 } from "../wire/bytes.ts";
import { envelopeHash, parseHeader, sealEnvelope } from "../wire/envelope.ts";
import { malformed, tooLarge } from "../wire/errors.ts";
import { type ID, idBytes, newID } from "../wire/ids.ts";
import { MAX_TEXT, SUITE, VERSION } from "../wire/limits.ts";
import { ContentSchema, type Envelope, EnvelopeSchema, HeaderSchema, Kind } from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { mayWrite } from "./commits.ts";
import { type Core, NotReadyError } from "./core.ts";
import { isHeld } from "./identity.ts";
import { contentBytes } from "./receive.ts";
import type { StoredConversation, StoredMessage } from "./records.ts";
import type { Step } from "./step.ts";

/** Refuses what no message may hold, and makes text that every browser encodes alike. */
export function checkText(text: string): string {
  const clean = new TextDecoder().decode(utf8(text)); // half characters become U+FFFD here as on the wire
  const size = utf8(clean).length;
  if (size === 0) throw malformed("the message is empty");
  if (size > MAX_TEXT) throw tooLarge(`the message has ${size} bytes, at most ${MAX_TEXT} go into one`);
  return clean;
}

/**
 * Seals a text and puts it into the outbox. Resolves when it is durable on this device; the same id again is the same
 * message and changes nothing.
 */
export async function writeText(core: Core, conversation: string, text: string, id = newID()): Promise<StoredMessage> {
  const clean = checkText(text);
  return core.step(async (s) => {
    s.batch.delete("intents", id);
    const known = await s.message(conversation, core.device, id);
    if (known !== null) return known;
    const row = s.conversation(conversation);
    if (row === null) throw new NotReadyError();
    mayWrite(core, row);
    row.counter++;
    const m = newText(core, row, clean, id);
    if (!isHeld(core, core.chain(row))) await seal(s, row, m); // else it waits for their decision, unsealed
    row.time = m.time;
    if (row.draft === text) row.draft = "";
    s.saveMessage(m);
    s.saveConversation(row);
    return m;
  });
}

function newText(core: Core, row: StoredConversation, text: string, id: ID): StoredMessage {
  return {
    conversation: row.id,
    device: core.device,
    id,
    account: core.account,
    kind: Kind.MESSAGE,
    counter: row.counter,
    time: Date.now(),
    seq: 0,
    place: 0,
    after: 0,
    arrival: core.nextArrival(),
    hash: new Uint8Array(),
    text,
    known: true,
    content: contentBytes(create(ContentSchema, { kind: { case: "text", value: { body: text } } })),
    envelope: null,
    status: "waiting",
    acked: false,
    path: "",
    failure: "",
    replaced: false,
  };
}

/** Seals the content of an own message under the epoch in force. */
export async function seal(s: Step, row: StoredConversation, m: StoredMessage): Promise<void> {
  if (m.content === null) throw new NotReadyError();
  const chain = s.core.chain(row);
  const key = await s.epochKey(row.id, chain.epoch);
  if (key === null) throw new NotReadyError();
  const header = create(HeaderSchema, {
    version: VERSION,
    suite: SUITE,
    conversation: idBytes(row.id as ID),
    epoch: chain.epoch,
    id: idBytes(m.id as ID),
    account: idBytes(s.core.account),
    device: idBytes(s.core.device),
    counter: BigInt(m.counter),
    timeMs: BigInt(m.time),
    kind: m.kind,
  });
  const e = await sealEnvelope(key, header, unmarshal(ContentSchema, m.content), s.core.profile.signKey);
  m.envelope = own(toBinary(EnvelopeSchema, e));
  m.hash = await envelopeHash(e);
}

/** The envelope of a message as it stands in the outbox, null when it has to be sealed first. */
export function envelopeOf(m: StoredMessage): Envelope | null {
  return m.envelope === null ? null : unmarshal(EnvelopeSchema, m.envelope);
}

/** The epoch that a message in the outbox is sealed under, 0 when it is not sealed. */
export function epochOf(m: StoredMessage): bigint {
  const e = envelopeOf(m);
  return e === null ? 0n : parseHeader(e.header).epoch;
}

/** Puts a message that the relay refused back into the outbox: at its end, and under another id if it is another device's. */
export function retry(core: Core, m: Pick<StoredMessage, "conversation" | "device" | "id">): Promise<void> {
  return core.step(async (s) => {
    const now = await s.message(m.conversation, m.device, m.id);
    if (now?.status !== "failed" || now.account !== core.account) return;
    if (now.device !== core.device) {
      await again(s, now);
      return;
    }
    now.status = "waiting";
    now.failure = "";
    now.after = 0;
    now.arrival = core.nextArrival();
    s.saveMessage(now);
  });
}

/** Writes a text anew that was left in the outbox of this browser's device before. */
async function again(s: Step, old: StoredMessage): Promise<void> {
  const row = s.conversation(old.conversation);
  if (row === null) throw new NotReadyError();
  mayWrite(s.core, row);
  row.counter++;
  const m = newText(s.core, row, old.text, newID());
  await seal(s, row, m);
  s.deleteMessage(old);
  s.saveMessage(m);
  s.saveConversation(row);
}

/** Forgets a message that the relay refused. */
export function discard(core: Core, m: Pick<StoredMessage, "conversation" | "device" | "id">): Promise<void> {
  return core.step(async (s) => {
    const now = await s.message(m.conversation, m.device, m.id);
    if (now?.status === "failed") s.deleteMessage(now);
  });
}
