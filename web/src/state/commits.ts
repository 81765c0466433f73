import { create } from "@bufbuild/protobuf";
import { equal, own } from "../wire/bytes.ts";
import type { Chain } from "../wire/chain.ts";
import { type Commit, createPair, rekey, type Signer } from "../wire/commit.ts";
import { forbidden, malformed } from "../wire/errors.ts";
import { grantEpochKey, type MemberKey } from "../wire/grants.ts";
import { type ID, idBytes, idFrom } from "../wire/ids.ts";
import {
  type CommitEvent,
  type CommitPost,
  type Grant,
  type GrantPost,
  GrantPostSchema,
  type Signed,
} from "../wire/schema.ts";
import { signedOrEmpty } from "../wire/sign.ts";
import { type Core, NotReadyError, type Step, UnknownDeviceError } from "./core.ts";
import type { StoredConversation } from "./db.ts";
import { IdentityChangedError } from "./people.ts";

/** This device as the signer of a commit. */
export function signer(core: Core): Signer {
  return { account: core.account, device: core.device, key: core.profile.signKey, timeMS: Date.now() };
}

/**
 * Checks a commit against the chain and takes its epoch key. Resolves to whether the key is there now; without
 * one the members have to be asked.
 */
export async function storeCommit(s: Step, row: StoredConversation, e: CommitEvent): Promise<boolean> {
  const chain = s.core.chain(row);
  const commit = await chain.check(signedOrEmpty(e.commit), s.core.lookup);
  pinMembers(s, commit);
  const before = chain.clone();
  chain.apply(commit);
  row.chain = chain.toBytes();
  row.kind = commit.message.kind;
  row.needsEpoch = false;
  if (e.grant === undefined) return false;
  return takeGrant(s, row, commit, e.grant, before);
}

/** Checks the identity keys that a commit names against those pinned, and pins new ones. */
function pinMembers(s: Step, commit: Commit): void {
  for (const m of commit.message.members) {
    const p = s.person(idFrom(m.account));
    if (p.identityKey === null) {
      p.identityKey = own(m.identityKey);
      s.savePerson(p);
    } else if (!equal(p.identityKey, m.identityKey)) throw new IdentityChangedError(p.account);
  }
}

async function takeGrant(
  s: Step,
  row: StoredConversation,
  commit: Commit,
  grant: Grant,
  before: Chain,
): Promise<boolean> {
  const accountKey = await s.core.accountKey(grant.generation);
  if (accountKey === null) return false;
  const { epoch } = commit.message;
  const key = await commit.openGrant(accountKey, s.core.account, grant);
  await s.saveEpochKey(row.id, epoch, key);
  const previous = before.epoch;
  if (previous > 0n && commit.message.previousEpochKey !== undefined && (await s.epochKey(row.id, previous)) === null) {
    const older = await commit.openPreviousEpochKey(key);
    await before.checkEpochKey(older); // whoever committed may have sealed another
    await s.saveEpochKey(row.id, previous, older);
  }
  return true;
}

/** The entry of an account in a commit, from its newest verified device list. */
export async function member(core: Core, account: ID): Promise<MemberKey> {
  const p = core.people.get(account);
  if (p?.newIdentity != null) throw new IdentityChangedError(account);
  const list = await core.list(p);
  if (list === null) throw new UnknownDeviceError(account);
  const { identityKey, generation, accountKey } = list.list;
  return { account, identityKey, generation, accountKey };
}

/**
 * Makes the first commit of the pair with an account; join is the proof of an invitation. Nothing is kept: the
 * epoch begins when the relay has stored it and sends it back.
 */
export async function firstCommit(core: Core, account: ID, join: Signed | null): Promise<CommitPost> {
  const made = await createPair(signer(core), await member(core, core.account), await member(core, account), join);
  return made.post;
}

/** Makes the commit of a new epoch with grants to every member's newest account key. */
export async function makeRekey(core: Core, row: StoredConversation): Promise<CommitPost> {
  const chain = core.chain(row);
  const key = await core.epochKey(row.id, chain.epoch);
  if (key === null) throw new NotReadyError();
  const members = await Promise.all(chain.members.map((m) => member(core, idFrom(m.account))));
  return (await rekey(signer(core), chain, members, key)).post;
}

/** Gives a member's device the epoch key that it lacks, null when there is nothing to give. Only the chain says who is a member. */
export async function answerGrant(core: Core, conversation: ID, epoch: bigint, account: ID): Promise<GrantPost | null> {
  const row = core.conversations.get(conversation);
  if (row === undefined) return null;
  const chain = core.chain(row);
  const key = await core.epochKey(conversation, chain.epoch);
  if (chain.member(account) === undefined || epoch !== chain.epoch || key === null) return null;
  const of = { conversation, epoch, commit: chain.head };
  const grant = await grantEpochKey(await member(core, account), of, key);
  return create(GrantPostSchema, { conversation: idBytes(conversation), epoch, commit: chain.head, grant });
}

/** Takes an epoch key that another device added later; resolves to whether it was taken. */
export async function takeAddedGrant(
  s: Step,
  row: StoredConversation,
  epoch: bigint,
  grant: Grant | undefined,
): Promise<boolean> {
  if (grant === undefined) throw malformed("no grant was added");
  const chain = s.core.chain(row);
  const accountKey = await s.core.accountKey(grant.generation);
  if (epoch !== chain.epoch || accountKey === null) return false;
  await s.saveEpochKey(row.id, epoch, await chain.openGrant(accountKey, s.core.account, grant));
  return true;
}

/** Holds sending while somebody's identity changed and nobody has decided. */
export function mayWrite(core: Core, row: StoredConversation): void {
  const chain = core.chain(row);
  if (chain.member(core.account) === undefined) throw new NotReadyError();
  for (const m of chain.members) {
    const account = idFrom(m.account);
    if (core.people.get(account)?.newIdentity != null) throw new IdentityChangedError(account);
  }
  if (chain.epoch === 0n) throw forbidden("the conversation has not begun");
}
