import { create, toBinary } from "@bufbuild/protobuf";
import { own, utf8 } from "../wire/bytes.ts";
import { envelopeHash, sealEnvelope } from "../wire/envelope.ts";
import { tooLarge, WireError } from "../wire/errors.ts";
import { type ID, idBytes, newID } from "../wire/ids.ts";
import { MAX_POST, MAX_TEXT, SUITE, VERSION } from "../wire/limits.ts";
import {
  ContentSchema,
  EnvelopeSchema,
  ErrorCode,
  HeaderSchema,
  Kind,
  type Posted_Result,
  PostSchema,
} from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { mayWrite } from "./commits.ts";
import { type Core, NotReadyError, type Step } from "./core.ts";
import type { Status, StoredConversation, StoredMessage } from "./db.ts";
import { contentBytes, shownTime } from "./receive.ts";
import type { Ask } from "./sync.ts";

const POST_BYTES = 192 << 10; // of envelopes in one request, well below the frame limit
const TICK = 10_000;
const ON_BEHALF = 20_000; // a direct message whose sender did not post it for so long is posted for them
const RETRY_LEAST = 500;
const RETRY_MOST = 60_000;

/** Seals the content of an own message under the epoch in force. */
async function seal(s: Step, row: StoredConversation, m: StoredMessage): Promise<void> {
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

/** Seals a text and puts it into the outbox. Resolves when it is durable on this device. */
export function writeText(core: Core, conversation: string, text: string): Promise<StoredMessage> {
  const size = utf8(text).length;
  if (size > MAX_TEXT)
    return Promise.reject(tooLarge(`the message has ${size} bytes, at most ${MAX_TEXT} go into one`));
  return core.step(async (s) => {
    const row = s.conversation(conversation);
    if (row === null) throw new NotReadyError();
    mayWrite(core, row);
    row.counter++;
    const time = Date.now();
    const m: StoredMessage = {
      conversation,
      device: core.device,
      id: newID(),
      account: core.account,
      kind: Kind.MESSAGE,
      counter: row.counter,
      time,
      seq: 0,
      place: 0,
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
    };
    await seal(s, row, m);
    row.time = time;
    row.draft = "";
    s.saveMessage(m);
    s.saveConversation(row);
    return m;
  });
}

/** Messages of a status in order of arrival, those behind `after`; all of them without a limit. */
export async function withStatus(core: Core, status: Status, after = 0, limit?: number): Promise<StoredMessage[]> {
  const range = IDBKeyRange.bound([status, after], [status, Number.MAX_SAFE_INTEGER], true);
  return core.db.getAllFromIndex("messages", "status", range, limit);
}

/** Changes a message as it is stored now. */
export function update(
  core: Core,
  m: Pick<StoredMessage, "conversation" | "device" | "id">,
  change: (m: StoredMessage) => void,
): Promise<void> {
  return core.step(async (s) => {
    const now = await s.message(m.conversation, m.device, m.id);
    if (now === null) return;
    change(now);
    s.saveMessage(now);
  });
}

export interface OutboxConfig {
  readonly core: Core;
  readonly ask: Ask;
  connected(): boolean;
  /** Brings a conversation to an epoch that can be posted under. */
  fresh(conversation: string, needsEpoch: boolean): Promise<void>;
}

/** Posts what waits on this device to the relay, in order, until the relay has it. */
export class Outbox {
  readonly #cfg: OutboxConfig;
  #running = false;
  #again = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  readonly #tick: ReturnType<typeof setInterval>;

  constructor(cfg: OutboxConfig) {
    this.#cfg = cfg;
    this.#tick = setInterval(() => this.kick(), TICK);
  }

  close(): void {
    clearInterval(this.#tick);
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** Something may be ready to go. */
  kick(): void {
    this.#again = true;
    if (this.#running) return;
    this.#running = true;
    this.#run()
      .catch((e: unknown) => console.warn("outbox", e))
      .finally(() => {
        this.#running = false;
      });
  }

  async #run(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      if (!this.#cfg.connected()) return;
      const wait = await this.#post();
      await this.#onBehalf();
      if (wait > 0) {
        if (this.#timer !== null) clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.kick(), Math.min(wait, RETRY_MOST));
      }
    }
  }

  /** Posts in batches until nothing is left that can go; resolves to when to come back, 0: not. */
  async #post(): Promise<number> {
    let retry = 0;
    for (let after = 0; ; ) {
      const waiting = await withStatus(this.#cfg.core, "waiting", after, MAX_POST);
      const unsealed = waiting.find((m) => m.envelope === null); // posted before, and lost by the relay
      if (unsealed !== undefined) {
        await this.#sealAgain(unsealed.conversation);
        continue;
      }
      const batch = fit(waiting);
      const last = batch.at(-1);
      if (last === undefined || !this.#cfg.connected()) return retry;
      const results = await this.#send(batch);
      const wait = await this.#posted(batch, results);
      if (wait > 0) {
        retry = Math.max(retry, wait);
        after = last.arrival; // those stay; go on behind them
      }
    }
  }

  async #send(batch: readonly StoredMessage[]): Promise<Posted_Result[]> {
    const envelopes = batch.map((m) => unmarshal(EnvelopeSchema, m.envelope ?? new Uint8Array()));
    const answer = await this.#cfg.ask({ case: "post", value: create(PostSchema, { envelopes }) }, "posted");
    if (answer.results.length !== batch.length) throw new Error("the relay answered for another number of messages");
    return answer.results;
  }

  async #posted(batch: readonly StoredMessage[], results: readonly Posted_Result[]): Promise<number> {
    let retry = 0;
    const stale = new Map<string, boolean>();
    for (const [i, r] of results.entries()) {
      const m = batch[i];
      if (m === undefined) continue;
      if (r.error === undefined) {
        await this.#stored(m, r);
        continue;
      }
      const refusal = WireError.fromProto(r.error);
      if (refusal.code === ErrorCode.STALE_EPOCH || refusal.code === ErrorCode.NEEDS_EPOCH) {
        stale.set(m.conversation, refusal.code === ErrorCode.NEEDS_EPOCH);
      } else if (refusal.retryable) retry = Math.max(retry, refusal.retryAfter, RETRY_LEAST);
      else await this.#refused(m, refusal);
    }
    for (const [conversation, needsEpoch] of stale) {
      try {
        await this.#cfg.fresh(conversation, needsEpoch);
        await this.#sealAgain(conversation);
      } catch (e) {
        console.warn("new epoch", e);
        retry = Math.max(retry, RETRY_LEAST * 4);
      }
    }
    return retry;
  }

  #stored(m: StoredMessage, r: Posted_Result): Promise<void> {
    return update(this.#cfg.core, m, (now) => {
      now.seq = Number(r.seq);
      now.status = "stored";
      now.envelope = null;
      now.failure = "";
      if (now.path === "") now.path = "relay";
      now.time = shownTime(now.time, Number(r.relayMs));
    });
  }

  #refused(m: StoredMessage, refusal: WireError): Promise<void> {
    return update(this.#cfg.core, m, (now) => {
      now.status = now.acked || now.account !== this.#cfg.core.account ? "only-here" : "failed";
      now.failure = refusal.codeName;
    });
  }

  /** Seals every waiting message of a conversation under the epoch in force, with the same ids and counters. */
  async #sealAgain(conversation: string): Promise<void> {
    const { core } = this.#cfg;
    const waiting = (await withStatus(core, "waiting")).filter((m) => m.conversation === conversation);
    await core.step(async (s) => {
      const row = s.conversation(conversation);
      if (row === null) return;
      for (const m of waiting) {
        await seal(s, row, m);
        s.saveMessage(m);
      }
    });
  }

  /** Gives the relay what came directly and whose sender seems to have vanished before posting it. */
  async #onBehalf(): Promise<void> {
    const direct = await withStatus(this.#cfg.core, "unrelayed", 0, MAX_POST);
    const due = direct.filter((m) => Date.now() - m.time > ON_BEHALF);
    const batch = fit(due);
    if (batch.length === 0) return;
    for (const [i, r] of (await this.#send(batch)).entries()) {
      const m = batch[i];
      if (m === undefined) continue;
      if (r.error === undefined) {
        await this.#stored(m, r);
        continue;
      }
      const refusal = WireError.fromProto(r.error);
      const senders = refusal.code === ErrorCode.STALE_EPOCH || refusal.code === ErrorCode.NEEDS_EPOCH; // only its sender can seal again
      if (!refusal.retryable && !senders) await this.#refused(m, refusal);
    }
  }
}

/** Cuts a batch to what goes into one frame. */
function fit(batch: readonly StoredMessage[]): StoredMessage[] {
  let size = 0;
  const out: StoredMessage[] = [];
  for (const m of batch) {
    size += (m.envelope?.length ?? 0) + 128;
    if (size > POST_BYTES && out.length > 0) break;
    out.push(m);
  }
  return out;
}
