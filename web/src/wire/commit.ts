import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Bytes, check32, KEY_SIZE, randomBytes } from "./bytes.ts";
import type { Chain } from "./chain.ts";
import { checkEpochKey, type Epoch, epochKeyHash, grantEpochKey, type MemberKey, openGrantOf } from "./grants.ts";
import type { SealPair } from "./hpke.ts";
import { type ID, idBytes, idFrom, pairID } from "./ids.ts";
import { SUITE, VERSION } from "./limits.ts";
import {
  type Commit as CommitMessage,
  type CommitPost,
  CommitPostSchema,
  CommitSchema,
  ConversationKind,
  type Grant,
  Role,
  type Sealed,
  type Signed,
} from "./schema.ts";
import { openBytes, sealBytes } from "./seal.ts";
import { type SigningKey, signMessage } from "./sign.ts";
import { derive, hash, Label, u64 } from "./tuple.ts";

/** The device that makes a commit. */
export interface Signer {
  readonly account: ID;
  readonly device: ID;
  readonly key: SigningKey;
  readonly timeMS: number;
}

/** A commit that Chain.check accepted. */
export class Commit {
  readonly message: CommitMessage;
  readonly conversation: ID;
  readonly hash: Bytes;
  readonly signed: Signed;

  /** @internal use Chain.check */
  constructor(message: CommitMessage, hash: Bytes, signed: Signed) {
    this.message = message;
    this.conversation = idFrom(message.conversation);
    this.hash = hash;
    this.signed = signed;
  }

  /** The epoch that it starts. */
  get epoch(): Epoch {
    const { epoch, epochKeyHash } = this.message;
    return { conversation: this.conversation, epoch, commit: this.hash, keyHash: epochKeyHash };
  }

  /** Throws bad_signature unless a key is that of the epoch that the commit starts. */
  checkEpochKey(key: Uint8Array): Promise<void> {
    return checkEpochKey(this.epoch, key);
  }

  /**
   * Opens the account's grant with the account key of its generation. A key that the commit does not name
   * is refused: only members make keys, never the server.
   */
  openGrant(accountKey: SealPair, account: ID, g: Grant): Promise<Bytes> {
    return openGrantOf(this.epoch, accountKey, account, g);
  }

  /** Opens the key of the epoch before with the key of its own; see openPreviousEpochKey. */
  openPreviousEpochKey(key: Uint8Array): Promise<Bytes> {
    const { epoch, previousEpochKey } = this.message;
    return openPreviousEpochKey(this.conversation, epoch, previousEpochKey, key);
  }
}

/**
 * Opens the key of the epoch before, which a commit seals under the key of its own epoch. Whoever committed may have
 * sealed a wrong one: use it only after checkEpochKey of the epoch before accepts it. Throws malformed.
 */
export async function openPreviousEpochKey(
  conversation: ID,
  epoch: bigint,
  sealed: Sealed | undefined,
  key: Uint8Array,
): Promise<Bytes> {
  const fields = historyFields(idBytes(conversation), epoch - 1n);
  const older = await openBytes(await derive(key, Label.history, ...fields), sealed, Label.history, ...fields);
  check32("an epoch key", older);
  return older;
}

function historyFields(conversation: Uint8Array, epoch: bigint): Uint8Array[] {
  return [conversation, u64(epoch)];
}

/** Identifies a commit's exact body. */
export function commitHash(body: Uint8Array): Promise<Bytes> {
  return hash(Label.commitHash, body);
}

/** A commit to be sent, and the new epoch's key. It is used for nothing before the relay has acknowledged the commit. */
export interface NewCommit {
  readonly post: CommitPost;
  readonly epochKey: Bytes;
}

/** Makes the first commit of two accounts with its grants. join is the proof of an invitation, null without one. */
export async function createPair(by: Signer, a: MemberKey, b: MemberKey, join: Signed | null): Promise<NewCommit> {
  const commit = {
    conversation: idBytes(await pairID(a.account, b.account)),
    kind: ConversationKind.PAIR,
    number: 1n,
    change: { case: "create" as const, value: join === null ? {} : { linkJoin: join } },
  };
  return make(by, commit, [a, b], () => Role.MEMBER, null);
}

/**
 * Makes a commit that changes nothing but the epoch key. keys are all members with their newest account
 * keys; previous is the epoch key in force, which new members of the epoch can reach through it, null for
 * a device that has not got it.
 */
export async function rekey(
  by: Signer,
  chain: Chain,
  keys: readonly MemberKey[],
  previous: Uint8Array | null,
): Promise<NewCommit> {
  const commit = {
    conversation: idBytes(chain.conversation),
    kind: chain.kind,
    number: chain.epoch + 1n,
    previous: chain.head,
    change: { case: "rekey" as const, value: {} },
  };
  return make(by, commit, keys, (account) => chain.member(account)?.role ?? Role.UNSPECIFIED, previous);
}

/**
 * Makes the commit of a pair by which the signer takes the identity key that the other account was reset to. keys are as
 * those of rekey, with the new identity. The new identity cannot reach the epochs before.
 */
export async function takeIdentity(
  by: Signer,
  chain: Chain,
  account: ID,
  keys: readonly MemberKey[],
): Promise<NewCommit> {
  const commit = {
    conversation: idBytes(chain.conversation),
    kind: chain.kind,
    number: chain.epoch + 1n,
    previous: chain.head,
    change: { case: "newIdentity" as const, value: { account: idBytes(account) } },
  };
  return make(by, commit, keys, () => Role.MEMBER, null);
}

async function make(
  by: Signer,
  init: MessageInitShape<typeof CommitSchema>,
  keys: readonly MemberKey[],
  role: (account: ID) => Role,
  previous: Uint8Array | null,
): Promise<NewCommit> {
  const members = [...keys].sort((a, b) => (a.account < b.account ? -1 : 1));
  const epochKey = randomBytes(KEY_SIZE);
  const commit = create(CommitSchema, init);
  const conversation = idFrom(commit.conversation);
  const epoch = commit.number;
  commit.version = VERSION;
  commit.suite = SUITE;
  commit.epoch = epoch;
  commit.account = idBytes(by.account);
  commit.device = idBytes(by.device);
  commit.timeMs = BigInt(by.timeMS);
  commit.epochKeyHash = await epochKeyHash(conversation, epoch, epochKey);
  commit.members = create(CommitSchema, {
    members: members.map((m) => ({
      account: idBytes(m.account),
      identityKey: m.identityKey,
      role: role(m.account),
      generation: m.generation,
    })),
  }).members;
  if (previous !== null) {
    const fields = historyFields(commit.conversation, epoch - 1n);
    const sealing = await derive(epochKey, Label.history, ...fields);
    commit.previousEpochKey = await sealBytes(sealing, previous, Label.history, ...fields);
  }
  const signed = await signMessage(by.key, Label.commit, CommitSchema, commit);
  const head = { conversation, epoch, commit: await commitHash(signed.body) };
  const grants = await Promise.all(members.map((m) => grantEpochKey(m, head, epochKey)));
  return { post: create(CommitPostSchema, { commit: signed, grants }), epochKey };
}
