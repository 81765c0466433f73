import { toBinary } from "@bufbuild/protobuf";
import { type Bytes, equal, own } from "../wire/bytes.ts";
import { SealedSchema } from "../wire/schema.ts";
import type { Changes, Core } from "./core.ts";
import { Batch } from "./db.ts";
import {
  Meta,
  placeOf,
  type StoredConversation,
  type StoredDevice,
  type StoredEpoch,
  type StoredInvitation,
  type StoredMessage,
  type StoredPerson,
} from "./records.ts";
import type { Privacy } from "./types.ts";

const messageKey = (m: { conversation: string; device: string; id: string }): string =>
  `${m.conversation}/${m.device}/${m.id}`;

/** One change of the stored state. What it reads includes what it has put. */
export class Step implements Changes {
  readonly core: Core;
  readonly batch = new Batch();
  readonly conversations = new Set<string>(); // touched
  readonly arrived: StoredMessage[] = [];
  readonly #people = new Map<string, StoredPerson>();
  readonly #rows = new Map<string, StoredConversation>();
  readonly #messages = new Map<string, StoredMessage>();
  readonly #epochs = new Map<string, StoredEpoch>();
  readonly #epochKeys = new Map<string, Bytes>();
  readonly #after: (() => void)[] = [];

  constructor(core: Core) {
    this.core = core;
  }

  /** Whether anything that is shown changed. */
  get touched(): boolean {
    return this.conversations.size > 0 || this.#after.length > 0;
  }

  /** A copy to change and save; a new one if nobody of this id is known. */
  person(account: string): StoredPerson {
    const known = this.#people.get(account) ?? this.core.people.get(account);
    return known !== undefined ? { ...known } : stranger(account);
  }

  savePerson(p: StoredPerson): void {
    this.#people.set(p.account, p);
    this.batch.put("people", p);
    this.#after.push(() => this.core.people.set(p.account, p));
  }

  /** Remembers a device's key, true for ever: its list was verified. */
  addDeviceKey(account: string, device: string, signKey: Uint8Array, identityKey: Uint8Array): void {
    const known = this.core.identityOf(account, device);
    if (known.length > 0 && !equal(known, identityKey)) return; // a device has one identity for ever
    const [key, identity] = [own(signKey), own(identityKey)];
    this.batch.put("deviceKeys", { account, device, signKey: key, identityKey: identity });
    this.core.addDeviceKey(account, device, key, identity);
  }

  /** A copy to change and save, null when the conversation is not known. */
  conversation(id: string): StoredConversation | null {
    const known = this.#rows.get(id) ?? this.core.conversations.get(id);
    return known === undefined ? null : structuredClone(known);
  }

  conversationOrNew(id: string): StoredConversation {
    return this.conversation(id) ?? newConversation(id);
  }

  saveConversation(c: StoredConversation): void {
    this.#rows.set(c.id, c);
    this.batch.put("conversations", c);
    this.conversations.add(c.id);
    this.#after.push(() => this.core.conversations.set(c.id, c));
  }

  async epoch(conversation: string, epoch: bigint): Promise<StoredEpoch | null> {
    const put = this.#epochs.get(`${conversation}/${epoch}`);
    return put ?? (await this.core.db.get("epochs", [conversation, Number(epoch)])) ?? null;
  }

  saveEpoch(e: StoredEpoch): void {
    this.#epochs.set(`${e.conversation}/${e.epoch}`, e);
    this.batch.put("epochs", e);
  }

  async epochKey(conversation: string, epoch: bigint): Promise<Bytes | null> {
    return this.#epochKeys.get(`${conversation}/${epoch}`) ?? (await this.core.epochKey(conversation, epoch));
  }

  async saveEpochKey(conversation: string, epoch: bigint, key: Bytes): Promise<void> {
    const sealed = own(toBinary(SealedSchema, await this.core.sealEpochKey(conversation, epoch, key)));
    this.batch.put("epochKeys", { conversation, epoch: Number(epoch), sealed });
    this.#epochKeys.set(`${conversation}/${epoch}`, key);
    this.#after.push(() => this.core.rememberEpochKey(conversation, epoch, key));
  }

  /** A copy to change and save, null when there is no such message. */
  async message(conversation: string, device: string, id: string): Promise<StoredMessage | null> {
    const put = this.#messages.get(messageKey({ conversation, device, id }));
    if (put !== undefined) return { ...put };
    return (await this.core.db.get("messages", [conversation, device, id])) ?? null;
  }

  saveMessage(m: StoredMessage): void {
    m.place = placeOf(m);
    this.#messages.set(messageKey(m), m);
    this.batch.put("messages", m);
    this.conversations.add(m.conversation);
  }

  deleteMessage(m: Pick<StoredMessage, "conversation" | "device" | "id">): void {
    this.#messages.delete(messageKey(m));
    this.batch.delete("messages", [m.conversation, m.device, m.id]);
    this.conversations.add(m.conversation);
  }

  saveInvitation(i: StoredInvitation): void {
    this.batch.put("invitations", i);
    this.#after.push(() => this.core.invitations.set(i.code, i));
  }

  saveDevice(d: StoredDevice): void {
    this.batch.put("devices", d);
    this.#after.push(() => this.core.devices.set(d.device, d));
  }

  saveSetting(key: string, value: Bytes): void {
    this.batch.put("settings", { key, value });
    this.#after.push(() => this.core.settings.set(key, value));
  }

  savePrivacy(p: Privacy): void {
    this.batch.set(Meta.privacy, p);
    this.#after.push(() => {
      this.core.privacy = p;
    });
  }

  /** Does something in memory once the step is written. */
  afterwards(f: () => void): void {
    this.#after.push(f);
  }

  async commit(): Promise<void> {
    await this.batch.commit(this.core.db);
    for (const f of this.#after) f();
  }
}

function stranger(account: string): StoredPerson {
  return {
    account,
    userName: "",
    nickname: "",
    avatar: "",
    admin: false,
    relation: "none",
    blocked: false,
    invitation: "",
    note: "",
    since: 0,
    conversation: "",
    identityKey: null,
    newIdentity: null,
    list: null,
  };
}

function newConversation(id: string): StoredConversation {
  return {
    id,
    kind: 0,
    through: 0,
    head: 0,
    mark: null,
    needsEpoch: false,
    seen: 0,
    readSeq: 0,
    counter: 0,
    chain: null,
    replay: null,
    cursors: {},
    counters: {},
    draft: "",
    time: 0,
  };
}
