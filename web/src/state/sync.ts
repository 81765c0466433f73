import { create } from "@bufbuild/protobuf";
import type { FrameKind } from "../net/socket.ts";
import { OfflineError } from "../net/socket.ts";
import type { Bytes } from "../wire/bytes.ts";
import { hasCode, malformed } from "../wire/errors.ts";
import { type ID, idBytes, idFrom } from "../wire/ids.ts";
import { openGeneration } from "../wire/keyring.ts";
import { MAX_PAGE } from "../wire/limits.ts";
import {
  type AccountChanges,
  AccountSyncSchema,
  type Contact,
  type ConversationState,
  type CursorMoved,
  CursorSchema,
  ErrorCode,
  type Event,
  GetDeviceListsSchema,
  GrantRequestSchema,
  SyncSchema,
  type Welcome,
} from "../wire/schema.ts";
import { answerGrant, makeRekey, takeAddedGrant } from "./commits.ts";
import { type Core, sealAccountKey, UnknownDeviceError } from "./core.ts";
import type { StoredConversation } from "./db.ts";
import { applyContact, keepInvitation, learnList } from "./people.ts";
import { openSealed, storeEvents } from "./receive.ts";

type Value<C extends FrameKind["case"]> = Extract<FrameKind, { case: C }>["value"];

/** Sends a request whose answer has to be of one kind. */
export type Ask = <C extends NonNullable<FrameKind["case"]>>(
  request: FrameKind,
  answer: C,
) => Promise<NonNullable<Value<C>>>;

const ACCOUNT_VERSION = "account_version";
/** Each fetch of lists may reveal members whose lists are missing too. */
const MOST_FETCHES = 8;

/** Keeps what is stored here equal to what the server has. */
export class Sync {
  readonly #core: Core;
  readonly #ask: Ask;
  readonly #report: (e: unknown) => void;
  #version = 0n;
  readonly #syncing = new Map<string, Promise<void>>();

  constructor(core: Core, ask: Ask, report: (e: unknown) => void) {
    this.#core = core;
    this.#ask = ask;
    this.#report = report;
  }

  async load(): Promise<void> {
    const stored = await this.#core.db.get("meta", ACCOUNT_VERSION);
    if (typeof stored === "bigint") this.#version = stored;
  }

  get version(): bigint {
    return this.#version;
  }

  async welcome(w: Welcome): Promise<void> {
    if (w.changes !== undefined) await this.changes(w.changes);
    for (const state of w.behind) await this.state(state);
  }

  /** Takes pages of account changes until there are no more. */
  async changes(first: AccountChanges): Promise<void> {
    for (let changes = first; ; ) {
      for (const contact of changes.contacts) await this.#contact(contact);
      await this.#own(changes);
      for (const state of changes.conversations) await this.state(state);
      if (changes.version !== 0n) {
        const { version } = changes;
        await this.#core.step(async (s) => {
          s.batch.set(ACCOUNT_VERSION, version);
          s.touched = true;
        });
        this.#version = version;
      }
      if (!changes.more) return;
      changes = await this.#ask(
        { case: "accountSync", value: create(AccountSyncSchema, { after: changes.version }) },
        "accountChanges",
      );
    }
  }

  async #contact(contact: Contact): Promise<void> {
    try {
      await this.#core.step((s) => applyContact(s, contact));
    } catch (e) {
      this.#report(e);
      await this.#core.step(async () => undefined);
    }
  }

  async #own(changes: AccountChanges): Promise<void> {
    const { profile } = this.#core;
    for (const g of changes.generationGrants) {
      if (idFrom(g.device) !== this.#core.device || profile.accountKeys.some((k) => k.generation === g.generation))
        continue;
      const key = await openGeneration(
        { privateKey: profile.sealKey, publicKey: profile.sealPublic },
        this.#core.account,
        g,
      );
      const sealed = await sealAccountKey(profile.storeKey, this.#core.account, key);
      profile.accountKeys = [...profile.accountKeys, { generation: g.generation, sealed }];
      await this.#core.step(async (s) => {
        s.batch.set("profile", profile);
        s.touched = true;
      });
    }
    await this.#core.step(async (s) => {
      const self = s.person(this.#core.account);
      if (changes.profile !== undefined) {
        self.userName = changes.profile.userName;
        self.nickname = changes.profile.nickname;
      }
      if (changes.deviceList !== undefined) await learnList(s, self, changes.deviceList).catch(this.#report);
      s.savePerson(self);
    });
    for (const state of changes.invitations) {
      await this.#core.step((s) => keepInvitation(s, state)).catch(this.#report);
    }
  }

  /** Takes the relay's summary of a conversation and fetches what is missing. */
  async state(state: ConversationState): Promise<void> {
    const id = idFrom(state.conversation);
    const row = await this.#core.step(async (s) => {
      const row = s.conversationOrNew(id);
      row.kind ||= state.kind;
      row.head = Number(state.headSeq);
      row.needsEpoch = state.needsEpoch;
      row.readSeq = Math.max(row.readSeq, Number(state.readSeq));
      for (const m of state.members) moveCursor(row, idFrom(m.account), Number(m.deliveredSeq), Number(m.readSeq));
      s.saveConversation(row);
      return row;
    });
    if (row.through < row.head || row.through > Number(state.headSeq)) await this.conversation(id);
  }

  /** Fetches pages until this device has all that the relay has of a conversation. */
  conversation(id: string): Promise<void> {
    const running = this.#syncing.get(id);
    if (running !== undefined) return running;
    const done = this.#pages(id).finally(() => this.#syncing.delete(id));
    this.#syncing.set(id, done);
    return done;
  }

  async #pages(id: string): Promise<void> {
    for (;;) {
      const after = this.#core.conversations.get(id)?.through ?? 0;
      const request = create(SyncSchema, { conversation: idBytes(id as ID), after: BigInt(after), limit: MAX_PAGE });
      const knownHash = await this.#hashAt(id, after);
      if (knownHash !== null) {
        request.knownSeq = BigInt(after);
        request.knownHash = knownHash;
      }
      const page = await this.#ask({ case: "sync", value: request }, "page");
      if (page.diverged) {
        await this.#restart(id);
        continue;
      }
      const through = Number(page.throughSeq);
      await this.#store(id, page.events, through);
      if (through >= Number(page.headSeq) || through <= after) {
        await this.#acknowledge(id, through);
        return;
      }
    }
  }

  /** The hash of the message at a number, null when something else stands there. */
  async #hashAt(id: string, seq: number): Promise<Bytes | null> {
    if (seq === 0) return null;
    const m = await this.#core.db.getFromIndex("messages", "place", [id, seq]);
    return m?.hash ?? null;
  }

  /** Stores events; keys of devices that are not known yet are fetched first. */
  async #store(id: string, events: readonly Event[], through: number): Promise<void> {
    const fetched = new Set<string>();
    for (let n = 0; n < MOST_FETCHES; n++) {
      try {
        const stored = await storeEvents(this.#core, id, events, through, fetched);
        for (const e of stored.refused) this.#report(e);
        for (const m of stored.missing) this.#askGrant(m.conversation, m.epoch);
        return;
      } catch (e) {
        if (!(e instanceof UnknownDeviceError)) throw e;
        fetched.add(e.account);
        await this.lists(e.account);
      }
    }
    throw malformed("too many unknown devices in one page");
  }

  /** Gets every version of an account's device list, oldest first. */
  async lists(account: ID): Promise<void> {
    const answer = await this.#ask(
      { case: "getDeviceLists", value: create(GetDeviceListsSchema, { accounts: [idBytes(account)] }) },
      "lists",
    );
    for (const signed of answer.lists) {
      await this.#core
        .step(async (s) => {
          const p = s.person(account);
          await learnList(s, p, signed);
          s.savePerson(p);
        })
        .catch((e: unknown) => {
          if (!hasCode(e, ErrorCode.STALE_LIST)) this.#report(e); // older versions than the one known come too
        });
    }
  }

  /** Asks the members for an epoch key, without waiting. */
  #askGrant(conversation: string, epoch: bigint): void {
    const value = create(GrantRequestSchema, { conversation: idBytes(conversation as ID), epoch });
    this.#ask({ case: "grantRequest", value }, "ok").catch(this.#report);
  }

  /** Takes live events. What follows directly on what is stored is stored; a gap is fetched. */
  async events(events: readonly Event[]): Promise<void> {
    const byConversation = new Map<string, Event[]>();
    for (const e of events) {
      const id = idFrom(e.conversation);
      byConversation.set(id, [...(byConversation.get(id) ?? []), e]);
    }
    for (const [id, run] of byConversation) {
      const through = this.#core.conversations.get(id)?.through ?? 0;
      let next = through;
      let gap = false;
      for (const e of run) {
        gap ||= Number(e.seq) > next + 1;
        next = Math.max(next, Number(e.seq));
      }
      if (gap) await this.conversation(id);
      else if (next > through) {
        await this.#store(id, run, next);
        await this.#acknowledge(id, next);
      }
    }
  }

  /** Tells the relay that everything up to seq is durably stored here. */
  async #acknowledge(id: string, seq: number): Promise<void> {
    const value = create(CursorSchema, { conversation: idBytes(id as ID), deliveredSeq: BigInt(seq) });
    await this.#ask({ case: "cursor", value }, "ok").catch((e: unknown) => {
      if (!(e instanceof OfflineError)) throw e; // the next greeting shows that it is behind
    });
  }

  /**
   * Forgets the relay's numbers of a conversation: it lost or replaced events (a restored backup). What it does
   * not have any more is posted again.
   */
  async #restart(id: string): Promise<void> {
    this.#report(new Error("the server's log of a conversation changed: reading it again"));
    const all = await this.#core.db.getAllFromIndex(
      "messages",
      "place",
      IDBKeyRange.bound([id, 0], [id, Number.MAX_SAFE_INTEGER]),
    );
    await this.#core.step(async (s) => {
      const row = s.conversationOrNew(id);
      row.through = 0;
      row.head = 0;
      for (const m of all) {
        if (m.seq === 0) continue;
        m.seq = 0;
        if (m.device === this.#core.device && m.content !== null && m.status === "stored") m.status = "waiting";
        s.saveMessage(m);
      }
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
      if (account === this.#core.account) row.readSeq = Math.max(row.readSeq, Number(moved.readSeq));
      else moveCursor(row, account, Number(moved.deliveredSeq), Number(moved.readSeq));
      s.saveConversation(row);
    });
  }

  /** Brings a conversation to an epoch that can be posted under: fetches what the relay has, and re-keys if that is wanted. */
  async fresh(id: string, needsEpoch: boolean): Promise<void> {
    await this.conversation(id);
    const row = this.#core.conversations.get(id);
    if (!needsEpoch || row === undefined) return;
    for (const m of this.#core.chain(row).members) await this.lists(idFrom(m.account)); // somebody's account key changed
    try {
      await this.#ask({ case: "commit", value: await makeRekey(this.#core, row) }, "committed");
    } catch (e) {
      if (!hasCode(e, ErrorCode.STALE_HEAD)) throw e; // losing the race is as good as winning it
    }
    await this.conversation(id);
  }

  /** Somebody's device lacks a key. */
  async grantNeeded(conversation: ID, epoch: bigint, account: ID): Promise<void> {
    const post = await answerGrant(this.#core, conversation, epoch, account);
    if (post !== null) await this.#ask({ case: "grantPost", value: post }, "ok");
  }

  /** A key that this device asked for has come. */
  async grantAdded(added: {
    conversation: Uint8Array;
    epoch: bigint;
    grant?: Parameters<typeof takeAddedGrant>[3];
  }): Promise<void> {
    await this.#core.step(async (s) => {
      const row = s.conversation(idFrom(added.conversation));
      if (row !== null && (await takeAddedGrant(s, row, added.epoch, added.grant))) await openSealed(s, row.id);
    });
  }
}

function moveCursor(row: StoredConversation, account: string, delivered: number, read: number): void {
  const now = row.cursors[account] ?? { delivered: 0, read: 0 };
  row.cursors[account] = { delivered: Math.max(now.delivered, delivered), read: Math.max(now.read, read) };
}
