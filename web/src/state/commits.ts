import { create } from "@bufbuild/protobuf";
import { type Bytes, equal } from "../wire/bytes.ts";
import { Chain } from "../wire/chain.ts";
import { createPair, rekey, type Signer, takeIdentity } from "../wire/commit.ts";
import { forbidden } from "../wire/errors.ts";
import { grantEpochKey, type MemberKey } from "../wire/grants.ts";
import { type ID, idBytes, idFrom } from "../wire/ids.ts";
import { type CommitEvent, type CommitPost, type GrantPost, GrantPostSchema, type Signed } from "../wire/schema.ts";
import { signedOrEmpty } from "../wire/sign.ts";
import { type Core, NotReadyError, UnknownDeviceError } from "./core.ts";
import { epochOf, unlock } from "./epochs.ts";
import { checkMembers, ownIdentity, renewed } from "./identity.ts";
import { IdentityChangedError } from "./people.ts";
import type { StoredConversation } from "./records.ts";
import type { Step } from "./step.ts";

/** This device as the signer of a commit. */
export function signer(core: Core): Signer {
  return { account: core.account, device: core.device, key: core.profile.signKey, timeMS: Date.now() };
}

/** Membership and epoch at the number up to which a conversation is read: those in force, but while it is read anew. */
export function chainHere(core: Core, row: StoredConversation): Chain {
  return row.replay === null ? core.chain(row) : Chain.restore(row.replay);
}

/**
 * Checks a commit against the chain and takes its epoch key. Resolves to the commit's hash, and whether the key is there
 * now; without one the members have to be asked. A grant that does not open is reported: it leaves the commit in force.
 */
export async function storeCommit(
  s: Step,
  row: StoredConversation,
  e: CommitEvent,
  report: (wrong: unknown) => void,
): Promise<{ hash: Bytes; keyed: boolean }> {
  const chain = chainHere(s.core, row);
  const commit = await chain.check(signedOrEmpty(e.commit), s.core.lookup);
  await checkMembers(s, row, chain, commit);
  chain.apply(commit);
  if (row.replay === null) row.chain = chain.toBytes();
  else row.replay = chain.toBytes();
  row.kind = commit.message.kind;
  row.needsEpoch = false;
  s.saveEpoch(epochOf(commit, e.grant));
  return { hash: commit.hash, keyed: await unlock(s, row.id as ID, commit.message.epoch, report) };
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
  if (!ownIdentity(core, chain)) throw new NotReadyError();
  const members = await Promise.all(chain.members.map((m) => member(core, idFrom(m.account))));
  const reset = renewed(core, chain);
  if (reset !== null) return (await takeIdentity(signer(core), chain, reset, members)).post;
  const key = await core.epochKey(row.id, chain.epoch);
  if (key === null) throw new NotReadyError();
  return (await rekey(signer(core), chain, members, key)).post;
}

/**
 * Whether somebody's device list is of a newer generation than the epoch in force was granted to: a device was revoked
 * that still has the epoch's key. The relay says so too, unless it withholds it.
 */
export async function outdated(core: Core, row: StoredConversation): Promise<boolean> {
  for (const m of core.chain(row).members) {
    const list = await core.list(core.people.get(idFrom(m.account)));
    if (list !== null && list.list.generation > m.generation) return true;
  }
  return false;
}

/** Gives a member's device the epoch key that it lacks, null when there is nothing to give. Only the chain says who is a member. */
export async function answerGrant(core: Core, conversation: ID, epoch: bigint, account: ID): Promise<GrantPost | null> {
  const row = core.conversations.get(conversation);
  if (row === undefined) return null;
  const chain = core.chain(row);
  const key = await core.epochKey(conversation, chain.epoch);
  if (chain.member(account) === undefined || epoch !== chain.epoch || key === null) return null;
  if (core.people.get(account)?.newIdentity != null) return null; // nobody has decided
  const to = await member(core, account);
  if (!equal(to.identityKey, chain.member(account)?.identityKey ?? new Uint8Array())) return null; // from before a reset
  const grant = await grantEpochKey(to, { conversation, epoch, commit: chain.head }, key);
  return create(GrantPostSchema, { conversation: idBytes(conversation), epoch, commit: chain.head, grant });
}

/** Throws unless messages may be written now: not while somebody's identity changed and nobody has decided. */
export function mayWrite(core: Core, row: StoredConversation): void {
  const chain = core.chain(row);
  if (chain.member(core.account) === undefined) throw new NotReadyError();
  for (const m of chain.members) {
    const account = idFrom(m.account);
    if (core.people.get(account)?.newIdentity != null) throw new IdentityChangedError(account);
  }
  if (chain.epoch === 0n) throw forbidden("the conversation has not begun");
}
