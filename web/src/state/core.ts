import { toBinary } from "@bufbuild/protobuf";
import { type Bytes, equal, own, utf8 } from "../wire/bytes.ts";
import { Chain } from "../wire/chain.ts";
import { type DeviceList, openDeviceList } from "../wire/devices.ts";
import { importSealPair, type SealPair } from "../wire/hpke.ts";
import { type ID, idBytes } from "../wire/ids.ts";
import { type Sealed, SealedSchema, SignedSchema } from "../wire/schema.ts";
import { openBytes, sealBytes } from "../wire/seal.ts";
import { u64 } from "../wire/tuple.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import type { Database } from "./db.ts";
import {
  END,
  Meta,
  type Profile,
  type Status,
  type StoredConversation,
  type StoredDevice,
  type StoredInvitation,
  type StoredMessage,
  type StoredPerson,
} from "./records.ts";
import { Step } from "./step.ts";
import type { Privacy } from "./types.ts";

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

/** This tab does not own the stored state any more. */
export class ClosedError extends Error {
  constructor() {
    super("another tab has taken over");
  }
}

/** What changed in one step. */
export interface Changes {
  readonly conversations: ReadonlySet<string>;
  readonly arrived: readonly StoredMessage[]; // new from others
}

const deviceKey = (account: string, device: string): string => `${account}/${device}`;

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
  readonly devices = new Map<string, StoredDevice>();
  readonly settings = new Map<string, Bytes>(); // SealedSetting by key
  privacy: Privacy = { hidePresence: false, hideRead: false, hideTyping: false };
  readonly #deviceKeys = new Map<string, { key: Bytes; identity: Bytes }>();
  readonly #epochKeys = new Map<string, Bytes>();
  readonly #lists = new Map<string, { bytes: Bytes; list: DeviceList }>();
  #changed: (c: Changes) => void = () => undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #arrival = 0;
  #closed = false;

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
    for (const d of await db.getAll("devices")) core.devices.set(d.device, d);
    for (const s of await db.getAll("settings")) core.settings.set(s.key, s.value);
    for (const k of await db.getAll("deviceKeys"))
      core.addDeviceKey(
        k.account,
        k.device,
        k.signKey,
        k.identityKey ?? core.people.get(k.account)?.identityKey ?? new Uint8Array(), // from before identities were kept
      );
    core.privacy = ((await db.get("meta", Meta.privacy)) as Privacy | undefined) ?? core.privacy;
    core.#arrival = await lastArrival(db);
    return core;
  }

  /** Who hears of every change. */
  set changed(f: (c: Changes) => void) {
    this.#changed = f;
  }

  /** Runs f alone and writes what it put into the step. Nothing that waits for the network belongs inside. */
  step<T>(f: (s: Step) => Promise<T>): Promise<T> {
    const result = this.#tail.then(async () => {
      if (this.#closed) throw new ClosedError();
      const s = new Step(this);
      const value = await f(s);
      await s.commit();
      if (s.touched) this.#changed(s);
      return value;
    });
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** Lets the step that runs end and refuses those after it: another tab, or another account, owns the database now. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#tail;
  }

  /** The order of arrival of the next message: about the time, and above all before it whatever happens to the clock. */
  nextArrival(): number {
    this.#arrival = Math.max(this.#arrival + 1, Date.now());
    return this.#arrival;
  }

  /** The membership and epoch in force. */
  chain(row: StoredConversation): Chain {
    return row.chain === null ? Chain.empty(row.id as ID) : Chain.restore(row.chain);
  }

  addDeviceKey(account: string, device: string, key: Bytes, identity: Bytes): void {
    this.#deviceKeys.set(deviceKey(account, device), { key, identity });
  }

  /** The identity whose list named a device, empty when the device is not known. */
  identityOf(account: string, device: string): Bytes {
    return this.#deviceKeys.get(deviceKey(account, device))?.identity ?? new Uint8Array();
  }

  /** The known devices of an account, by id, with their signing keys. */
  devicesOf(account: string): [string, Bytes][] {
    const prefix = `${account}/`;
    const known = [...this.#deviceKeys].filter(([name]) => name.startsWith(prefix));
    return known.map(([name, d]) => [name.slice(prefix.length), d.key]);
  }

  /** Whether a list of an account that was taken as its own, now or formerly, was signed by an identity key. */
  hasIdentity(account: string, identity: Uint8Array): boolean {
    for (const [name, d] of this.#deviceKeys)
      if (name.startsWith(`${account}/`) && equal(d.identity, identity)) return true;
    return false;
  }

  /** Finds a device's signing key among all lists ever verified. Throws UnknownDeviceError. */
  readonly lookup = (account: ID, device: ID): Bytes => {
    const known = this.#deviceKeys.get(deviceKey(account, device));
    if (known === undefined) throw new UnknownDeviceError(account);
    return known.key;
  };

  /** The newest verified device list of an account, null when none is known. */
  async list(p: StoredPerson | undefined): Promise<DeviceList | null> {
    if (p?.list == null) return null;
    const known = this.#lists.get(p.account);
    if (known?.bytes === p.list) return known.list;
    const list = await openDeviceList(unmarshal(SignedSchema, p.list));
    this.#lists.set(p.account, { bytes: p.list, list });
    return list;
  }

  /** The account's sealing key of a generation, null when this device lacks it. */
  accountKey(generation: number): Promise<SealPair | null> {
    return accountKey(this.profile, generation);
  }

  /** Its private half, for what is derived from it and for other devices of the account. */
  accountKeyBytes(generation: number): Promise<Bytes | null> {
    return privateAccountKey(this.profile, generation);
  }

  /** The seed of the identity key, null when it is not in this browser. */
  async identitySeed(): Promise<Bytes | null> {
    const { identity, storeKey } = this.profile;
    if (identity === null) return null;
    return openBytes(storeKey, unmarshal(SealedSchema, identity), IDENTITY, utf8(this.account));
  }

  /** Forgets in memory what is not stored any more. Only after close. */
  forget(): void {
    for (const all of [this.people, this.conversations, this.invitations, this.devices]) all.clear();
    for (const all of [this.#deviceKeys, this.#epochKeys, this.#lists]) all.clear();
  }

  /** The key of an epoch, null when this device lacks it. */
  async epochKey(conversation: string, epoch: bigint): Promise<Bytes | null> {
    const name = `${conversation}/${epoch}`;
    const cached = this.#epochKeys.get(name);
    if (cached !== undefined) return cached;
    const row = await this.db.get("epochKeys", [conversation, Number(epoch)]);
    if (row === undefined) return null;
    const sealed = unmarshal(SealedSchema, row.sealed);
    const key = await openBytes(this.profile.storeKey, sealed, EPOCH_KEY, idBytes(conversation as ID), u64(epoch));
    this.#epochKeys.set(name, key);
    return key;
  }

  rememberEpochKey(conversation: string, epoch: bigint, key: Bytes): void {
    this.#epochKeys.set(`${conversation}/${epoch}`, key);
  }

  sealEpochKey(conversation: string, epoch: bigint, key: Bytes): Promise<Sealed> {
    return sealBytes(this.profile.storeKey, key, EPOCH_KEY, idBytes(conversation as ID), u64(epoch));
  }

  /** Messages of a conversation with a status in order of arrival, at most limit of those behind `after`. */
  standing(conversation: string, status: Status, after: number, limit: number): Promise<StoredMessage[]> {
    return this.db.getAllFromIndex("messages", "standing", standingRange(conversation, status, after), limit);
  }
}

/** Messages of a conversation with a status that arrived after a point. */
export function standingRange(conversation: string, status: Status, after = 0): IDBKeyRange {
  return IDBKeyRange.bound([conversation, status, after], [conversation, status, END], true);
}

const STATUSES: readonly Status[] = ["waiting", "stored", "unrelayed", "sealed", "gone", "failed", "only-here"];

/** The newest arrival among all messages: the clock may have been set back since. */
async function lastArrival(db: Database): Promise<number> {
  let last = 0;
  const index = db.transaction("messages").store.index("status");
  for (const status of STATUSES) {
    const newest = await index.openCursor(IDBKeyRange.bound([status, 0], [status, END]), "prev");
    last = Math.max(last, newest?.value.arrival ?? 0);
  }
  return last;
}

async function privateAccountKey(profile: Profile, generation: number): Promise<Bytes | null> {
  const found = profile.accountKeys.find((k) => k.generation === generation);
  if (found === undefined) return null;
  return openBytes(profile.storeKey, unmarshal(SealedSchema, found.sealed), ACCOUNT_KEY, utf8(profile.account));
}

/** The account's sealing key of a generation, null when the profile lacks it. */
export async function accountKey(profile: Profile, generation: number): Promise<SealPair | null> {
  const key = await privateAccountKey(profile, generation);
  return key === null ? null : importSealPair(key);
}

/** Seals an account key for this browser's store. */
export async function sealAccountKey(storeKey: CryptoKey, account: ID, key: Uint8Array): Promise<Bytes> {
  return own(toBinary(SealedSchema, await sealBytes(storeKey, key, ACCOUNT_KEY, utf8(account))));
}

/** Seals the identity seed of an account without a password. */
export async function sealIdentity(storeKey: CryptoKey, account: ID, seed: Uint8Array): Promise<Bytes> {
  return own(toBinary(SealedSchema, await sealBytes(storeKey, seed, IDENTITY, utf8(account))));
}
