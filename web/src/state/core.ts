import { toBinary } from "@bufbuild/protobuf";
import { type Bytes, own, utf8 } from "../wire/bytes.ts";
import { Chain } from "../wire/chain.ts";
import { type DeviceList, openDeviceList } from "../wire/devices.ts";
import { importSealPair, type SealPair } from "../wire/hpke.ts";
import { type ID, idBytes } from "../wire/ids.ts";
import { SealedSchema, SignedSchema } from "../wire/schema.ts";
import { openBytes, sealBytes } from "../wire/seal.ts";
import { u64 } from "../wire/tuple.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import {
  Batch,
  type Database,
  type Profile,
  type StoredConversation,
  type StoredInvitation,
  type StoredMessage,
  type StoredPerson,
  UNNUMBERED,
} from "./db.ts";

// Labels of what is sealed in this browser only.
const EPOCH_KEY = "browser-epoch-key";
const ACCOUNT_KEY = "browser-account-key";
const IDENTITY = "browser-identity";

/** Whose device lists are needed before something can be checked. */
export class UnknownDeviceError extends Error {
  readonly account: ID;
  constructor(account: ID) {
    super("no device list known that names the signing device");
    this.account = account;
  }
}

/** This device has no key for the conversation yet. */
export class NotReadyError extends Error {
  constructor() {
    super("the key of this conversation has not arrived yet");
  }
}

/** What changed in one step. */
export interface Changes {
  readonly conversations: ReadonlySet<string>;
  readonly arrived: readonly StoredMessage[]; // new from others
}

const deviceKey = (account: string, device: string): string => `${account}/${device}`;
const messageKey = (m: { conversation: string; device: string; id: string }): string =>
  `${m.conversation}/${m.device}/${m.id}`;

/**
 * The stored state of one account: everything but the messages is in memory too. It is changed only in steps,
 * one after the other, each written as a whole.
 */
export class Core {
  readonly db: Database;
  readonly profile: Profile;
  readonly account: ID;
  readonly device: ID;
  readonly people = new Map<string, StoredPerson>();
  readonly conversations = new Map<string, StoredConversation>();
  readonly invitations = new Map<string, StoredInvitation>();
  readonly deviceKeys = new Map<string, Bytes>();
  readonly #epochKeys = new Map<string, Bytes>();
  readonly #lists = new Map<string, DeviceList>();
  #changed: (c: Changes) => void = () => undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #arrival = 0;

  private constructor(db: Database, profile: Profile) {
    this.db = db;
    this.profile = profile;
    this.account = profile.account as ID;
    this.device = profile.device as ID;
  }

  static async load(db: Database, profile: Profile): Promise<Core> {
    const core = new Core(db, profile);
    for (const p of await db.getAll("people")) core.people.set(p.account, p);
    for (const c of await db.getAll("conversations")) core.conversations.set(c.id, c);
    for (const i of await db.getAll("invitations")) core.invitations.set(i.code, i);
    for (const k of await db.getAll("deviceKeys")) core.deviceKeys.set(deviceKey(k.account, k.device), k.signKey);
    return core;
  }

  /** Who hears of every change. */
  set changed(f: (c: Changes) => void) {
    this.#changed = f;
  }

  /** Runs f alone and writes what it put into the step. Nothing that waits for the network belongs inside. */
  step<T>(f: (s: Step) => Promise<T>): Promise<T> {
    const result = this.#tail.then(async () => {
      const s = new Step(this);
      const value = await f(s);
      await s.commit();
      if (s.conversations.size > 0 || s.touched) this.#changed({ conversations: s.conversations, arrived: s.arrived });
      return value;
    });
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** The order of arrival of the next message. */
  nextArrival(): number {
    this.#arrival = Math.max(this.#arrival + 1, Date.now());
    return this.#arrival;
  }

  chain(row: StoredConversation): Chain {
    return row.chain === null ? Chain.empty(row.id as ID) : Chain.restore(row.chain);
  }

  /** Finds a device's signing key among all lists ever verified. Throws UnknownDeviceError. */
  readonly lookup = (account: ID, device: ID): Bytes => {
    const key = this.deviceKeys.get(deviceKey(account, device));
    if (key === undefined) throw new UnknownDeviceError(account);
    return key;
  };

  /** The newest verified device list of an account, null when none is known. */
  async list(p: StoredPerson | undefined): Promise<DeviceList | null> {
    if (p?.list == null) return null;
    const known = this.#lists.get(p.account);
    if (known !== undefined && known.signed.body.length > 0 && p.list === this.#listBytes.get(p.account)) return known;
    const list = await openDeviceList(unmarshal(SignedSchema, p.list));
    this.#lists.set(p.account, list);
    this.#listBytes.set(p.account, p.list);
    return list;
  }
  readonly #listBytes = new Map<string, Bytes>();

  /** The account's sealing key of a generation, null when this device lacks it. */
  async accountKey(generation: number): Promise<SealPair | null> {
    const found = this.profile.accountKeys.find((k) => k.generation === generation);
    if (found === undefined) return null;
    return importSealPair(
      await openBytes(this.profile.storeKey, unmarshal(SealedSchema, found.sealed), ACCOUNT_KEY, utf8(this.account)),
    );
  }

  /** The key of an epoch, null when this device lacks it. */
  async epochKey(conversation: string, epoch: bigint): Promise<Bytes | null> {
    const name = `${conversation}/${epoch}`;
    const cached = this.#epochKeys.get(name);
    if (cached !== undefined) return cached;
    const row = await this.db.get("epochKeys", [conversation, Number(epoch)]);
    if (row === undefined) return null;
    const key = await openBytes(
      this.profile.storeKey,
      unmarshal(SealedSchema, row.sealed),
      EPOCH_KEY,
      idBytes(conversation as ID),
      u64(epoch),
    );
    this.#epochKeys.set(name, key);
    return key;
  }

  rememberEpochKey(conversation: string, epoch: bigint, key: Bytes): void {
    this.#epochKeys.set(`${conversation}/${epoch}`, key);
  }
}

/** Seals an account key for this browser's store. */
export async function sealAccountKey(storeKey: CryptoKey, account: ID, key: Uint8Array): Promise<Bytes> {
  return own(toBinary(SealedSchema, await sealBytes(storeKey, key, ACCOUNT_KEY, utf8(account))));
}

/** Seals the identity seed of an account without a password. */
export async function sealIdentity(storeKey: CryptoKey, account: ID, seed: Uint8Array): Promise<Bytes> {
  return own(toBinary(SealedSchema, await sealBytes(storeKey, seed, IDENTITY, utf8(account))));
}

/** One change of the stored state. What it reads includes what it has put. */
export class Step {
  readonly core: Core;
  readonly batch = new Batch();
  readonly conversations = new Set<string>(); // touched
  readonly arrived: StoredMessage[] = [];
  touched = false;
  readonly #people = new Map<string, StoredPerson>();
  readonly #rows = new Map<string, StoredConversation>();
  readonly #messages = new Map<string, StoredMessage>();
  readonly #after: (() => void)[] = [];
  readonly #epochKeys = new Map<string, Bytes>();

  constructor(core: Core) {
    this.core = core;
  }

  /** A copy to change and save; a new one if nobody of this id is known. */
  person(account: string): StoredPerson {
    const known = this.#people.get(account) ?? this.core.people.get(account);
    return known !== undefined
      ? { ...known }
      : {
          account,
          userName: "",
          nickname: "",
          relation: "none",
          note: "",
          since: 0,
          conversation: "",
          identityKey: null,
          newIdentity: null,
          list: null,
        };
  }

  savePerson(p: StoredPerson): void {
    this.#people.set(p.account, p);
    this.batch.put("people", p);
    this.touched = true;
    this.#after.push(() => this.core.people.set(p.account, p));
  }

  addDeviceKey(account: string, device: string, signKey: Uint8Array): void {
    const key = own(signKey);
    this.batch.put("deviceKeys", { account, device, signKey: key });
    this.core.deviceKeys.set(deviceKey(account, device), key); // true for ever: its list was verified
  }

  /** A copy to change and save, null when the conversation is not known. */
  conversation(id: string): StoredConversation | null {
    const known = this.#rows.get(id) ?? this.core.conversations.get(id);
    return known === undefined ? null : { ...known, cursors: { ...known.cursors } };
  }

  conversationOrNew(id: string): StoredConversation {
    return (
      this.conversation(id) ?? {
        id,
        kind: 0,
        through: 0,
        head: 0,
        needsEpoch: false,
        seen: 0,
        readSeq: 0,
        counter: 0,
        chain: null,
        cursors: {},
        draft: "",
        time: 0,
      }
    );
  }

  saveConversation(c: StoredConversation): void {
    this.#rows.set(c.id, c);
    this.batch.put("conversations", c);
    this.conversations.add(c.id);
    this.#after.push(() => this.core.conversations.set(c.id, c));
  }

  async epochKey(conversation: string, epoch: bigint): Promise<Bytes | null> {
    return this.#epochKeys.get(`${conversation}/${epoch}`) ?? (await this.core.epochKey(conversation, epoch));
  }

  async saveEpochKey(conversation: string, epoch: bigint, key: Bytes): Promise<void> {
    const sealed = await sealBytes(this.core.profile.storeKey, key, EPOCH_KEY, idBytes(conversation as ID), u64(epoch));
    this.batch.put("epochKeys", { conversation, epoch: Number(epoch), sealed: own(toBinary(SealedSchema, sealed)) });
    this.#epochKeys.set(`${conversation}/${epoch}`, key);
    this.#after.push(() => this.core.rememberEpochKey(conversation, epoch, key));
  }

  async message(conversation: string, device: string, id: string): Promise<StoredMessage | null> {
    const put = this.#messages.get(messageKey({ conversation, device, id }));
    if (put !== undefined) return { ...put };
    return (await this.core.db.get("messages", [conversation, device, id])) ?? null;
  }

  saveMessage(m: StoredMessage): void {
    m.place = m.seq > 0 ? m.seq : UNNUMBERED + m.arrival;
    this.#messages.set(messageKey(m), m);
    this.batch.put("messages", m);
    this.conversations.add(m.conversation);
  }

  saveInvitation(i: StoredInvitation): void {
    this.batch.put("invitations", i);
    this.touched = true;
    this.#after.push(() => this.core.invitations.set(i.code, i));
  }

  async commit(): Promise<void> {
    await this.batch.commit(this.core.db);
    for (const f of this.#after) f();
  }
}
