import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Bytes } from "../wire/bytes.ts";

// What a browser keeps of one account. Account and epoch keys lie sealed under a key that WebCrypto does
// not give out; device keys are such keys themselves. Bytes are protobuf messages, named where they are used.

/** How a message stands with the relay; see the states of DESIGN §5. */
export type Status = "waiting" | "stored" | "unrelayed" | "sealed" | "gone" | "failed" | "only-here";

export interface StoredMessage {
  readonly conversation: string;
  readonly device: string; // of the sender
  readonly id: string;
  readonly account: string;
  kind: number;
  counter: number;
  time: number;
  seq: number; // 0: not numbered yet
  place: number; // where it stands: the number, or behind all numbers by arrival
  readonly arrival: number;
  hash: Bytes;
  text: string;
  known: boolean; // false: content of a kind that needs a newer Parley
  content: Bytes | null; // Content; own messages keep it to be sealed again
  envelope: Bytes | null; // Envelope, while the relay does not have it or its key is missing
  status: Status;
  acked: boolean; // another device acknowledged the direct copy
  path: "" | "direct" | "turn" | "relay";
  failure: string;
}

export interface StoredPerson {
  readonly account: string;
  userName: string;
  nickname: string;
  relation: "none" | "asked" | "asking" | "accepted";
  note: string;
  since: number;
  conversation: string;
  identityKey: Bytes | null; // pinned
  newIdentity: Bytes | null; // another one was shown: sending is held
  list: Bytes | null; // Signed, the newest
}

export interface StoredCursor {
  delivered: number;
  read: number;
}

export interface StoredConversation {
  readonly id: string;
  kind: number;
  through: number; // everything up to this number is stored here
  head: number;
  needsEpoch: boolean;
  seen: number; // direct messages up to this arrival were read, although they have no number yet
  readSeq: number;
  counter: number; // of this device
  chain: Bytes | null; // ChainState
  cursors: Record<string, StoredCursor>; // by account
  draft: string;
  time: number; // of the last message
}

/** This browser's device and account. */
export interface Profile {
  readonly account: string;
  readonly device: string;
  userName: string;
  readonly signKey: CryptoKey;
  readonly sealKey: CryptoKey;
  readonly sealPublic: Bytes;
  readonly storeKey: CryptoKey; // seals what follows
  accountKeys: { readonly generation: number; readonly sealed: Bytes }[]; // Sealed
  identity: Bytes | null; // Sealed seed; only without a password
}

export interface StoredInvitation {
  readonly code: string;
  link: string; // "" when another device made it
  body: Bytes; // Invitation
  usesLeft: number;
  expires: number;
  revoked: boolean;
}

export interface Schema extends DBSchema {
  meta: { key: string; value: unknown };
  people: { key: string; value: StoredPerson };
  deviceKeys: { key: [string, string]; value: { account: string; device: string; signKey: Bytes } };
  conversations: { key: string; value: StoredConversation };
  epochKeys: { key: [string, number]; value: { conversation: string; epoch: number; sealed: Bytes } };
  invitations: { key: string; value: StoredInvitation };
  messages: {
    key: [string, string, string];
    value: StoredMessage;
    indexes: { place: [string, number]; status: [string, number] };
  };
}

export type Database = IDBPDatabase<Schema>;

const VERSION = 1;
export const DATABASE = "parley";

/** Places behind every number that a conversation can have. */
export const UNNUMBERED = 2 ** 40;

export function openDatabase(blocked: () => void): Promise<Database> {
  return openDB<Schema>(DATABASE, VERSION, {
    upgrade(db, from) {
      if (from < 1) {
        db.createObjectStore("meta");
        db.createObjectStore("people", { keyPath: "account" });
        db.createObjectStore("deviceKeys", { keyPath: ["account", "device"] });
        db.createObjectStore("conversations", { keyPath: "id" });
        db.createObjectStore("epochKeys", { keyPath: ["conversation", "epoch"] });
        db.createObjectStore("invitations", { keyPath: "code" });
        const messages = db.createObjectStore("messages", { keyPath: ["conversation", "device", "id"] });
        messages.createIndex("place", ["conversation", "place"]);
        messages.createIndex("status", ["status", "arrival"]);
      }
    },
    blocking: blocked, // a newer version of the app wants to change the schema
  });
}

type StoreName = "meta" | "people" | "deviceKeys" | "conversations" | "epochKeys" | "invitations" | "messages";

type Put = { [S in StoreName]: { store: S; value: Schema[S]["value"]; key?: string } }[StoreName];

/** Changes that are written together or not at all. */
export class Batch {
  readonly #puts: Put[] = [];

  put<S extends Exclude<StoreName, "meta">>(store: S, value: Schema[S]["value"]): this {
    this.#puts.push({ store, value } as Put);
    return this;
  }

  set(key: string, value: unknown): this {
    this.#puts.push({ store: "meta", value, key });
    return this;
  }

  /** Resolves when the browser says that it is on disk. */
  async commit(db: Database): Promise<void> {
    if (this.#puts.length === 0) return;
    const stores = [...new Set(this.#puts.map((p) => p.store))];
    const tx = db.transaction(stores, "readwrite", { durability: "strict" });
    await Promise.all([
      ...this.#puts.map((p) =>
        p.store === "meta" ? tx.objectStore("meta").put(p.value, p.key) : tx.objectStore(p.store).put(p.value as never),
      ),
      tx.done,
    ]);
  }
}
