import { create } from "@bufbuild/protobuf";
import { OfflineError } from "../net/connection.ts";
import { equal } from "../wire/bytes.ts";
import { WireError } from "../wire/errors.ts";
import { MAX_POST } from "../wire/limits.ts";
import { type Envelope, ErrorCode, type Posted_Result, Posted_ResultSchema, PostSchema } from "../wire/schema.ts";
import { outdated } from "./commits.ts";
import type { Core } from "./core.ts";
import { failureOf } from "./failures.ts";
import { isHeld, renewed } from "./identity.ts";
import { shownTime } from "./receive.ts";
import { END, MOST_SEQ, type StoredConversation, type StoredMessage } from "./records.ts";
import type { Step } from "./step.ts";
import type { Ask } from "./sync.ts";
import { envelopeOf, epochOf, seal } from "./write.ts";

const POST_BYTES = 192 << 10; // of envelopes in one request, well below the frame limit
// Times in milliseconds.
const TICK = 10_000;
const ON_BEHALF = 20_000; // a direct message whose sender did not post it for so long is posted for them
const RETRY_LEAST = 500;
const RETRY_MOST = 60_000;

export interface OutboxConfig {
  readonly core: Core;
  readonly ask: Ask;
  connected(): boolean;
  /** Brings a conversation to an epoch that can be posted under. */
  fresh(conversation: string, needsEpoch: boolean): Promise<void>;
}

/** A message on its way to the relay, as it was when it left. */
interface Parcel {
  readonly m: StoredMessage;
  readonly envelope: Envelope;
}

/** Posts what waits on this device to the relay, in order, until the relay has it. */
export class Outbox {
  readonly #cfg: OutboxConfig;
  readonly #tick: ReturnType<typeof setInterval>;
  #running = false;
  #again = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #patience = RETRY_LEAST;

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
    if (!this.#running) this.#work().catch((e: unknown) => console.error("outbox", e));
  }

  async #work(): Promise<void> {
    this.#running = true;
    try {
      while (this.#again && this.#cfg.connected()) {
        this.#again = false;
        this.#comeBack(await this.#turn());
      }
    } finally {
      this.#running = false;
    }
  }

  /** Sets the timer for what could not go now; 0: nothing. */
  #comeBack(wait: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (wait === 0) this.#patience = RETRY_LEAST;
    else this.#timer = setTimeout(() => this.kick(), Math.min(wait, RETRY_MOST));
  }

  /** Tries everything once, and what had to be sealed again once more; resolves to when to come back, 0: not. */
  async #turn(): Promise<number> {
    try {
      const first = new Turn(this.#cfg);
      await first.run();
      let { wait } = first;
      const renewed = await this.#renew(first.stale);
      if (renewed.size > 0) {
        const second = new Turn(this.#cfg, renewed);
        await second.run();
        wait = Math.max(wait, second.wait);
        if (second.stale.size > 0) wait = Math.max(wait, this.#longer());
      }
      if (renewed.size < first.stale.size || first.held) wait = Math.max(wait, this.#longer());
      await this.#onBehalf();
      return wait;
    } catch (e) {
      if (e instanceof OfflineError) return 0; // the next greeting kicks
      if (!(e instanceof WireError)) console.error("outbox", e);
      return Math.max(e instanceof WireError ? e.retryAfter : 0, this.#longer());
    }
  }

  /** Doubles the wait each time that nothing can be done about what holds messages. */
  #longer(): number {
    const now = this.#patience;
    this.#patience = Math.min(now * 2, RETRY_MOST);
    return now;
  }

  /** Brings conversations to an epoch that can be posted under; resolves to those where that worked. */
  async #renew(stale: ReadonlyMap<string, boolean>): Promise<Set<string>> {
    const renewed = new Set<string>();
    for (const [conversation, needsEpoch] of stale) {
      try {
        await this.#cfg.fresh(conversation, needsEpoch);
        renewed.add(conversation);
      } catch (e) {
        if (e instanceof OfflineError) throw e;
        console.warn("new epoch", e);
      }
    }
    return renewed;
  }

  /** Gives the relay what came directly and whose sender seems to have vanished before posting it. */
  async #onBehalf(): Promise<void> {
    const { core } = this.#cfg;
    const index = (after: number, until: number): Promise<StoredMessage[]> =>
      core.db.getAllFromIndex(
        "messages",
        "status",
        IDBKeyRange.bound(["unrelayed", after], ["unrelayed", until], true),
        MAX_POST,
      );
    for (let after = 0; this.#cfg.connected(); ) {
      const page = await index(after, Date.now() - ON_BEHALF);
      const last = page.at(-1);
      if (last === undefined) return;
      const current = page.filter((m) => {
        const row = core.conversations.get(m.conversation);
        return row !== undefined && epochOf(m) === core.chain(row).epoch; // in another one only its sender can seal it again
      });
      const batch = parcels(current);
      if (batch.length > 0) await settle(core, batch, await post(this.#cfg, batch));
      after = batch.length < current.length ? (batch.at(-1)?.m.arrival ?? last.arrival) : last.arrival;
    }
  }
}

/** One pass through the outbox. A conversation in which something cannot go now is passed over from there on. */
class Turn {
  readonly #cfg: OutboxConfig;
  readonly #only: ReadonlySet<string> | null;
  readonly #skip = new Set<string>();
  /** Conversations that need another epoch; true: somebody has to commit it first. */
  readonly stale = new Map<string, boolean>();
  /** Milliseconds that the relay asks to wait for, 0: it does not. */
  wait = 0;
  /** Messages stay for a reason of this device's: a key is missing. */
  held = false;

  constructor(cfg: OutboxConfig, only: ReadonlySet<string> | null = null) {
    this.#cfg = cfg;
    this.#only = only;
  }

  async run(): Promise<void> {
    const { core, connected } = this.#cfg;
    for (let after = 0; connected(); ) {
      const range = IDBKeyRange.bound(["waiting", after], ["waiting", END], true);
      const page = await core.db.getAllFromIndex("messages", "status", range, MAX_POST);
      const last = page.at(-1);
      if (last === undefined) return;
      const ready = await this.#seal(page);
      const batch = parcels(ready);
      if (batch.length > 0) await this.#post(batch);
      after = batch.length < ready.length ? (batch.at(-1)?.m.arrival ?? last.arrival) : last.arrival;
    }
  }

  /** What of a page can go, sealed under the epoch in force with the ids and counters that it had. */
  #seal(page: readonly StoredMessage[]): Promise<StoredMessage[]> {
    return this.#cfg.core.step(async (s) => {
      const ready: StoredMessage[] = [];
      for (const { conversation, device, id } of page) {
        if (this.#skip.has(conversation) || this.#only?.has(conversation) === false) continue;
        const m = await s.message(conversation, device, id);
        const row = s.conversation(conversation);
        if (m?.status !== "waiting" || row === null) continue; // it changed meanwhile
        if (await this.#ready(s, row, m)) ready.push(m);
        else this.#skip.add(conversation);
      }
      return ready;
    });
  }

  async #ready(s: Step, row: StoredConversation, m: StoredMessage): Promise<boolean> {
    if (row.replay !== null) return false; // the relay may have it: reading the log anew tells
    const chain = s.core.chain(row);
    if (isHeld(s.core, chain)) return false; // whoever decides wakes the outbox
    if (renewed(s.core, chain) !== null) {
      this.stale.set(row.id, true);
      return false;
    }
    if (await outdated(s.core, row)) {
      this.stale.set(row.id, true);
      return false;
    }
    if (epochOf(m) === s.core.chain(row).epoch) return true;
    try {
      await seal(s, row, m);
      s.saveMessage(m);
      return true;
    } catch (e) {
      console.warn("seal", e);
      this.held = true;
      return false;
    }
  }

  async #post(batch: readonly Parcel[]): Promise<void> {
    const { core } = this.#cfg;
    const results = await post(this.#cfg, batch);
    const conflicts = batch.filter((_, i) => results[i]?.error?.code === ErrorCode.ID_CONFLICT);
    for (const conversation of new Set(conflicts.map((p) => p.m.conversation)))
      await this.#cfg.fresh(conversation, false); // its answer was lost, and then it was sealed again: the log shows it
    await settle(core, batch, results);
    for (const [i, { m }] of batch.entries()) {
      const error = results[i]?.error;
      if (error !== undefined) this.#refused(m, WireError.fromProto(error));
    }
  }

  #refused(m: StoredMessage, refusal: WireError): void {
    if (refusal.code === ErrorCode.STALE_EPOCH || refusal.code === ErrorCode.NEEDS_EPOCH)
      this.stale.set(m.conversation, this.stale.get(m.conversation) === true || refusal.code === ErrorCode.NEEDS_EPOCH);
    else if (refusal.retryable) this.wait = Math.max(this.wait, refusal.retryAfter, RETRY_LEAST);
    else return;
    this.#skip.add(m.conversation); // what comes behind it stays behind it
  }
}

/** As many messages from the start as go into one frame. */
function parcels(messages: readonly StoredMessage[]): Parcel[] {
  let size = 0;
  const out: Parcel[] = [];
  for (const m of messages) {
    const envelope = envelopeOf(m);
    if (envelope === null) continue;
    size += envelope.header.length + envelope.ciphertext.length + 128;
    if (size > POST_BYTES && out.length > 0) break;
    out.push({ m, envelope });
  }
  return out;
}

/** Posts a batch. A relay that refuses it as a whole for good is asked for each message, so that one cannot hold up all. */
async function post(cfg: Pick<OutboxConfig, "ask">, batch: readonly Parcel[]): Promise<Posted_Result[]> {
  try {
    const envelopes = batch.map((p) => p.envelope);
    const answer = await cfg.ask({ case: "post", value: create(PostSchema, { envelopes }) }, "posted");
    if (answer.results.length !== batch.length) throw new Error("the relay answered for another number of messages");
    return answer.results;
  } catch (e) {
    if (!(e instanceof WireError) || e.retryable) throw e;
    if (batch.length === 1) return [create(Posted_ResultSchema, { error: e.toProto() })];
    const results: Posted_Result[] = [];
    for (const one of batch) results.push(...(await post(cfg, [one])));
    return results;
  }
}

/** Records what the relay said of each message, unless something else happened to it meanwhile. */
function settle(core: Core, batch: readonly Parcel[], results: readonly Posted_Result[]): Promise<void> {
  return core.step(async (s) => {
    for (const [i, { m }] of batch.entries()) {
      const r = results[i];
      const now = await s.message(m.conversation, m.device, m.id);
      if (r === undefined || now === null || now.status !== m.status || !equal(now.hash, m.hash)) continue;
      if (r.error !== undefined) refuse(s, now, WireError.fromProto(r.error));
      else number(s, now, r);
    }
  });
}

function number(s: Step, m: StoredMessage, r: Posted_Result): void {
  const seq = Number(r.seq);
  if (seq < 1 || seq > MOST_SEQ) throw new RangeError("the relay gave no number");
  m.seq = seq;
  m.after = 0;
  m.status = "stored";
  m.envelope = null;
  m.failure = "";
  if (m.path === "") m.path = "relay";
  m.time = shownTime(m.time, Number(r.relayMs));
  s.saveMessage(m);
}

function refuse(s: Step, m: StoredMessage, refusal: WireError): void {
  const epoch = refusal.code === ErrorCode.STALE_EPOCH || refusal.code === ErrorCode.NEEDS_EPOCH;
  if (refusal.retryable || epoch) return;
  m.status = m.acked || m.account !== s.core.account ? "only-here" : "failed";
  m.failure = failureOf(refusal);
  m.after = s.conversation(m.conversation)?.through ?? 0;
  s.saveMessage(m);
}
