import { create } from "@bufbuild/protobuf";
import { type FrameKind, OfflineError } from "../net/connection.ts";
import { Chain } from "../wire/chain.ts";
import { hasCode, malformed } from "../wire/errors.ts";
import { type ID, idBytes, idFrom } from "../wire/ids.ts";
import { MAX_PAGE } from "../wire/limits.ts";
import {
  type ConversationState,
  type CursorMoved,
  ErrorCode,
  type Event,
  GetDeviceListsSchema,
  type GrantAdded,
  GrantRequestSchema,
  type Page,
  type Signed,
  SyncSchema,
} from "../wire/schema.ts";
import { answerGrant, makeRekey, outdated } from "./commits.ts";
import { type Core, UnknownDeviceError } from "./core.ts";
import type { Cursors } from "./cursors.ts";
import { takeGrant, unlockAll } from "./epochs.ts";
import { isHeld, learnLists, renewed } from "./identity.ts";
import { settleRead } from "./reading.ts";
import { openSealed, type Run, storeEvents } from "./receive.ts";
import { END, MOST_SEQ, type StoredConversation, UNNUMBERED } from "./records.ts";
import type { Step } from "./step.ts";

type Value<C extends FrameKind["case"]> = Extract<FrameKind, { case: C }>["value"];

/** Sends a request whose answer has to be of one kind. */
export type Ask = <C extends NonNullable<FrameKind["case"]>>(
  request: FrameKind,
  answer: C,
) => Promise<NonNullable<Value<C>>>;

/** Each fetch of lists may reveal members whose lists are missing too. */
const MOST_FETCHES = 8;

export interface SyncConfig {
  readonly core: Core;
  readonly ask: Ask;
  readonly cursors: Cursors;
  /** Something did not verify or could not be done; nothing waits for it. */
  report(e: unknown): void;
  /** The server turned out to have an older copy of what it had. */
  restored(): void;
}

/** Keeps the stored conversations equal to what the relay has. */
export class Sync {
  readonly #cfg: SyncConfig;
  readonly #core: Core;
  readonly #running = new Map<string, { done: Promise<void>; again: boolean }>();
  readonly #failed = new Set<string>(); // conversations whose reading broke off

  constructor(cfg: SyncConfig) {
    this.#cfg = cfg;
    this.#core = cfg.core;
  }

  /**
   * Takes the relay's summary of a conversation and fetches what is missing. One that fails holds up no other; it is
   * tried again later. Rejects with OfflineError.
   */
  async state(state: ConversationState): Promise<void> {
    const id = idFrom(state.conversation);
    try {
      const row = await this.#note(id, state);
      const told = Number(state.deliveredSeq);
      // A relay that knows of less than this device acknowledged may be an older copy of itself: its log is compared.
      if (row === null || row.through !== row.head || told < row.through || row.replay !== null)
        await this.conversation(id);
      if (row !== null && row.readSeq > Number(state.readSeq)) this.#cfg.cursors.read(id, row.readSeq);
    } catch (e) {
      if (e instanceof OfflineError) throw e;
      this.#failed.add(id);
      this.#cfg.report(e);
    }
  }

  /** Notes what the relay says of a known conversation; resolves to null for one of which no log was read yet. */
  #note(id: ID, state: ConversationState): Promise<StoredConversation | null> {
    return this.#core.step(async (s) => {
      const row = s.conversation(id);
      if (row === null) return null;
      row.head = Math.min(Number(state.headSeq), MOST_SEQ);
      row.needsEpoch = state.needsEpoch;
      row.readSeq = Math.max(row.readSeq, Math.min(Number(state.readSeq), MOST_SEQ));
      for (const m of state.members) moveCursor(row, idFrom(m.account), Number(m.deliveredSeq), Number(m.readSeq));
      s.saveConversation(row);
      return row;
    });
  }

  /** Tries again what failed. */
  async retry(): Promise<void> {
    for (const id of this.#failed) {
      try {
        await this.conversation(id);
        this.#failed.delete(id);
      } catch (e) {
        if (e instanceof OfflineError) return;
        this.#cfg.report(e);
      }
    }
  }

  /** Fetches pages until this device has all that the relay had of a conversation when this was called. */
  conversation(id: string): Promise<void> {
    const running = this.#running.get(id);
    if (running !== undefined) {
      running.again = true; // its last page may have left before this call
      return running.done;
    }
    const run = { done: Promise.resolve(), again: false };
    run.done = (async () => {
      try {
        do {
          run.again = false;
          await this.#pages(id);
        } while (run.again);
      } finally {
        this.#running.delete(id);
      }
    })();
    this.#running.set(id, run);
    return run.done;
  }

  async #pages(id: string): Promise<void> {
    for (;;) {
      const after = this.#core.conversations.get(id)?.through ?? 0;
      const page = await this.#page(id, after);
      if (page.diverged) {
        await this.#restart(id);
        continue;
      }
      const through = Number(page.throughSeq);
      await this.#store(id, { events: page.events, through });
      if (page.state !== undefined) await this.#note(id as ID, page.state);
      if (through < Number(page.headSeq) && through > after) continue;
      await this.#finishReplay(id);
      await this.#arrived(id);
      return;
    }
  }

  /** Asks for what follows on a number, and names what this device read there: the relay says if that is not in its log. */
  async #page(id: string, after: number): Promise<Page> {
    const request = create(SyncSchema, { conversation: idBytes(id as ID), after: BigInt(after), limit: MAX_PAGE });
    const mark = this.#core.conversations.get(id)?.mark ?? null;
    if (mark !== null) {
      request.knownSeq = BigInt(mark.seq);
      request.knownHash = mark.hash;
    }
    const page = await this.#cfg.ask({ case: "sync", value: request }, "page");
    if (after > 0)
      page.diverged ||= Number(page.headSeq) < after; // its end is gone, with whatever stood there
    else if (page.diverged) throw malformed("the relay denies what was not said");
    return page;
  }

  /** Stores events; keys of devices that are not known yet are fetched first. */
  async #store(id: string, run: Run): Promise<void> {
    const fetched = new Set<string>();
    for (let n = 0; n < MOST_FETCHES; n++) {
      try {
        const stored = await storeEvents(this.#core, id, run, fetched);
        for (const e of stored.refused) this.#cfg.report(e);
        for (const epoch of stored.missing) this.#askGrant(id, epoch);
        return;
      } catch (e) {
        if (!(e instanceof UnknownDeviceError)) throw e;
        fetched.add(e.account);
        await this.lists(e.account);
      }
    }
    throw malformed("too many unknown devices in one page");
  }

  /** Tells the relay what is stored and read here now. */
  async #arrived(id: string): Promise<void> {
    const before = this.#core.conversations.get(id)?.readSeq ?? 0;
    const read = await settleRead(this.#core, id);
    const through = this.#core.conversations.get(id)?.through ?? 0;
    this.#cfg.cursors.delivered(id, through);
    if (read > before) this.#cfg.cursors.read(id, read);
  }

  /** Gets every version of an account's device list, oldest first. */
  async lists(account: ID): Promise<void> {
    const request = create(GetDeviceListsSchema, { accounts: [idBytes(account)] });
    const answer = await this.#cfg.ask({ case: "getDeviceLists", value: request }, "lists");
    await this.#learn(account, answer.lists);
  }

  #learn(account: ID, lists: readonly Signed[]): Promise<void> {
    return this.#core.step(async (s) => {
      if (lists.length === 0) return;
      const p = s.person(account);
      await learnLists(s, p, lists, (e) => this.#cfg.report(e));
      s.savePerson(p);
    });
  }

  /** Asks the members for an epoch key, without waiting. */
  #askGrant(conversation: string, epoch: bigint): void {
    const value = create(GrantRequestSchema, { conversation: idBytes(conversation as ID), epoch });
    this.#cfg.ask({ case: "grantRequest", value }, "ok").catch((e: unknown) => {
      if (!(e instanceof OfflineError)) this.#cfg.report(e);
    });
  }

  /** Takes live events. What follows directly on what is stored is stored; a gap is fetched. */
  async events(events: readonly Event[]): Promise<void> {
    const byConversation = new Map<string, Event[]>();
    for (const e of events) {
      const id = idFrom(e.conversation);
      byConversation.set(id, [...(byConversation.get(id) ?? []), e]);
    }
    for (const [id, run] of byConversation) await this.#live(id, run);
  }

  async #live(id: string, run: readonly Event[]): Promise<void> {
    const row = this.#core.conversations.get(id);
    const through = row?.through ?? 0;
    let next = through;
    let gap = row?.replay != null;
    for (const e of run) {
      gap ||= Number(e.seq) > next + 1;
      next = Math.max(next, Number(e.seq));
    }
    if (gap) await this.conversation(id);
    else if (next > through) {
      await this.#store(id, { events: run, through: next });
      await this.#arrived(id);
    }
  }

  /**
   * Begins to read a conversation's log anew: the relay lost or replaced events (a restored backup). Numbers are
   * forgotten, the chain is checked from its first commit on, and what is in force stays so until that is done.
   */
  async #restart(id: string): Promise<void> {
    this.#cfg.report(new Error("the server's log of a conversation changed: reading it again"));
    await this.#core.step(async (s) => readAnew(s, id));
    this.#cfg.restored();
  }

  /** The log was read to its end: its chain is in force, and own messages that it lacks are posted again. */
  async #finishReplay(id: string): Promise<void> {
    if (this.#core.conversations.get(id)?.replay == null) return;
    await this.#core.step(async (s) => {
      const row = s.conversationOrNew(id);
      row.chain = row.replay;
      row.replay = null;
      s.batch.each("place", IDBKeyRange.bound([id, UNNUMBERED], [id, END]), (m) =>
        m.device === this.#core.device && m.status === "stored" && m.content !== null
          ? { ...m, status: "waiting", envelope: null }
          : null,
      );
      s.saveConversation(row);
    });
  }

  /** Somebody received or read up to a number. */
  async cursor(moved: CursorMoved): Promise<void> {
    const id = idFrom(moved.conversation);
    const account = idFrom(moved.account);
    await this.#core.step(async (s) => {
      const row = s.conversation(id);
      if (row === null) return;
      const before = JSON.stringify([row.readSeq, row.cursors]);
      if (account === this.#core.account)
        row.readSeq = Math.max(row.readSeq, Math.min(Number(moved.readSeq), MOST_SEQ));
      else moveCursor(row, account, Number(moved.deliveredSeq), Number(moved.readSeq));
      if (JSON.stringify([row.readSeq, row.cursors]) !== before) s.saveConversation(row);
    });
  }

  /** Brings a conversation to an epoch that can be posted under: fetches what the relay has, and re-keys if that is wanted. */
  async fresh(id: string, needsEpoch: boolean): Promise<void> {
    await this.conversation(id);
    const row = this.#core.conversations.get(id);
    if (!needsEpoch || row === undefined) return;
    for (const m of this.#core.chain(row).members) await this.lists(idFrom(m.account)); // somebody's account key changed
    const now = this.#core.conversations.get(id) ?? row;
    const chain = this.#core.chain(now);
    if (isHeld(this.#core, chain)) return;
    if (renewed(this.#core, chain) === null && !now.needsEpoch && !(await outdated(this.#core, now))) return; // somebody else has done it
    try {
      await this.#cfg.ask({ case: "commit", value: await makeRekey(this.#core, now) }, "committed");
    } catch (e) {
      if (!hasCode(e, ErrorCode.STALE_HEAD)) throw e; // losing the race is as good as winning it
    }
    await this.conversation(id);
  }

  /** Puts the new identities that this account took into the chains of their pairs. */
  async takeIdentities(): Promise<void> {
    for (const row of this.#core.conversations.values())
      if (renewed(this.#core, this.#core.chain(row)) !== null) await this.fresh(row.id, true);
  }

  /** Somebody's device lacks a key. */
  async grantNeeded(conversation: ID, epoch: bigint, account: ID): Promise<void> {
    const post = await answerGrant(this.#core, conversation, epoch, account);
    if (post !== null) await this.#cfg.ask({ case: "grantPost", value: post }, "ok");
  }

  /** A key that this device asked for has come. */
  async grantAdded({ conversation, epoch, grant }: GrantAdded): Promise<void> {
    if (grant === undefined) throw malformed("no grant was added");
    const id = idFrom(conversation);
    await this.#core.step(async (s) => {
      if (await takeGrant(s, id, epoch, grant)) await openSealed(s, id, (e) => this.#cfg.report(e));
    });
  }

  /** The account has another key: grants that could not be opened may open now. */
  async keyArrived(): Promise<void> {
    for (const id of this.#core.conversations.keys())
      await this.#core.step(async (s) => {
        await unlockAll(s, id as ID, (e) => this.#cfg.report(e));
        await openSealed(s, id, (e) => this.#cfg.report(e));
      });
  }
}

/** Makes a conversation one whose log is read from its first number on. */
export function readAnew(s: Step, id: string): void {
  const row = s.conversationOrNew(id);
  row.through = 0;
  row.head = 0;
  row.mark = null;
  row.readSeq = 0; // the relay tells what it knows of
  row.cursors = {};
  row.counters = {};
  row.replay = Chain.empty(id as ID).toBytes();
  s.batch.each("place", IDBKeyRange.bound([id, 0], [id, UNNUMBERED], false, true), (m) =>
    m.seq === 0 ? null : { ...m, seq: 0, place: UNNUMBERED + m.arrival },
  );
  s.saveConversation(row);
}

function moveCursor(row: StoredConversation, account: string, delivered: number, read: number): void {
  const now = row.cursors[account] ?? { delivered: 0, read: 0 };
  row.cursors[account] = { delivered: Math.max(now.delivered, delivered), read: Math.max(now.read, read) };
}
