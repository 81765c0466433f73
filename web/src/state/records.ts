import type { DBSchema } from "idb";
import type { Bytes } from "../wire/bytes.ts";

// What a browser keeps of one account. Account and epoch keys lie sealed under a key that WebCrypto does
// not give out; device keys are such keys themselves. Bytes are protobuf messages, named where they are used.

/**
 * How a message stands with the relay: `waiting` in the outbox, `stored` by it, `unrelayed` came directly and has no
 * number yet, `sealed` lacks its key, `gone` is blanked, `failed` and `only-here` were refused for good.
 */
export type Status = "waiting" | "stored" | "unrelayed" | "sealed" | "gone" | "failed" | "only-here";

export interface StoredMessage {
  readonly conversation: string;
  readonly device: string; // of the sender
  readonly id: string;
  readonly account: string;
  kind: number;
  counter: number;
  time: number;
  seq: number; // 0: not numbered
  place: number; // where it stands: see placeOf
  after: number; // the number behind which it stands for ever once it was refused, 0: at the end
  arrival: number;
  hash: Bytes;
  text: string;
  known: boolean; // false: content of a kind that needs a newer Parley
  content: Bytes | null; // Content; own messages keep it to be sealed again
  envelope: Bytes | null; // Envelope, while the relay does not have it or its key is missing
  status: Status;
  acked: boolean; // another device acknowledged the direct copy
  path: "" | "direct" | "turn" | "relay";
  failure: string;
  replaced: boolean; // the relay's copy says something else than the direct one did
}

export interface StoredPerson {
  readonly account: string;
  userName: string;
  nickname: string;
  avatar: string; // SHA-256 of the picture in hexadecimal, "" without one
  admin: boolean; // of the server; known of oneself only
  recovery?: boolean; // there is a recovery code; known of oneself only
  deleted?: number; // when the account was deleted; absent or 0: it is not
  relation: "none" | "asked" | "asking" | "accepted";
  blocked: boolean; // by this account
  invitation: string; // code of the own invitation that they came by, "" for none
  note: string;
  since: number;
  conversation: string;
  identityKey: Bytes | null; // pinned
  newIdentity: Bytes | null; // another one was shown: sending is held
  aside?: Bytes | null; // Signed, the newest list of that one
  taken?: boolean; // identityKey took the place of another: this account decided so
  list: Bytes | null; // Signed, the newest
}

export interface StoredCursor {
  delivered: number;
  read: number;
}

/** What was heard of a device's counter in a conversation. */
export interface StoredCounter {
  readonly account: string;
  top: number;
  missing: number[]; // below top
  since: number; // when the first of them was missed
}

export interface StoredConversation {
  readonly id: string;
  kind: number;
  through: number; // everything up to this number is stored here
  head: number;
  mark: { readonly seq: number; readonly hash: Bytes } | null; // the newest event that verified: which log was read
  needsEpoch: boolean;
  seen: number; // everything up to this arrival was on the screen, with a number or without
  readSeq: number;
  counter: number; // of this device
  chain: Bytes | null; // ChainState, in force
  replay: Bytes | null; // ChainState at `through` while the log is read anew, else null
  cursors: Record<string, StoredCursor>; // by account
  counters: Record<string, StoredCounter>; // by device
  draft: string;
  time: number; // of the last message
}

/** What a commit says of the epoch that it starts, and what may open its key. */
export interface StoredEpoch {
  readonly conversation: string;
  readonly epoch: number;
  readonly commit: Bytes; // hash
  readonly keyHash: Bytes;
  readonly previous: Bytes | null; // Sealed: the key of the epoch before, under this one's
  readonly grant: Bytes | null; // Grant of this account, kept until it opens
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
  accountKeys: readonly { readonly generation: number; readonly sealed: Bytes }[]; // Sealed
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

/** An own device as the server lists it. */
export interface StoredDevice {
  readonly device: string;
  readonly name: string;
  readonly created: number;
  readonly lastUsed: number;
  readonly address?: string; // from which it was last used; not in what older versions stored
  readonly ended: boolean;
}

/** What the account's devices share, sealed as the server has it. */
export interface StoredSetting {
  readonly key: string;
  readonly value: Bytes; // SealedSetting
}

/** A text that a tab hands to the one that owns the outbox; it is durable from here on. */
export interface Intent {
  readonly id: string; // the message's
  readonly conversation: string;
  readonly text: string;
}

export interface Schema extends DBSchema {
  meta: { key: string; value: unknown };
  people: { key: string; value: StoredPerson };
  deviceKeys: {
    key: [string, string];
    value: { account: string; device: string; signKey: Bytes; identityKey?: Bytes };
  };
  conversations: { key: string; value: StoredConversation };
  epochs: { key: [string, number]; value: StoredEpoch };
  epochKeys: { key: [string, number]; value: { conversation: string; epoch: number; sealed: Bytes } };
  invitations: { key: string; value: StoredInvitation };
  devices: { key: string; value: StoredDevice };
  intents: { key: string; value: Intent };
  settings: { key: string; value: StoredSetting };
  messages: {
    key: [string, string, string];
    value: StoredMessage;
    indexes: {
      place: [string, number]; // conversation, place
      status: [string, number]; // status, arrival
      standing: [string, string, number]; // conversation, status, arrival
    };
  };
}

export type StoreName =
  | "meta"
  | "people"
  | "deviceKeys"
  | "conversations"
  | "epochs"
  | "epochKeys"
  | "invitations"
  | "devices"
  | "intents"
  | "settings"
  | "messages";

/** The account's own keys in the store meta. */
export const Meta = {
  profile: "profile",
  accountVersion: "account_version",
  hideAddress: "hide_address", // chosen in this browser before it was a setting of the account
  privacy: "privacy",
  locked: "locked",
} as const;

/** Places behind every number that a conversation can have. */
export const UNNUMBERED = 2 ** 40;
/** The largest number that a relay gives. */
export const MOST_SEQ = 2 ** 32 - 1;
/** Behind every place and every arrival. */
export const END = Number.MAX_SAFE_INTEGER;

/** Where a message stands: at its number; refused for good behind the number that was last then; else at the end. */
export function placeOf(m: Pick<StoredMessage, "seq" | "after" | "arrival">): number {
  if (m.seq > 0) return m.seq;
  return m.after > 0 ? m.after + 0.5 : UNNUMBERED + m.arrival;
}
