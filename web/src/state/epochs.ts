import { toBinary } from "@bufbuild/protobuf";
import { type Bytes, own } from "../wire/bytes.ts";
import { type Commit, openPreviousEpochKey } from "../wire/commit.ts";
import { checkEpochKey, type Epoch, openGrantOf } from "../wire/grants.ts";
import type { ID } from "../wire/ids.ts";
import { type Grant, GrantSchema, SealedSchema } from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import type { StoredEpoch } from "./records.ts";
import type { Step } from "./step.ts";

/** What is kept of a commit, so that its epoch's key can be opened whenever something comes that opens it. */
export function epochOf(commit: Commit, grant: Grant | undefined): StoredEpoch {
  const { epoch, epochKeyHash, previousEpochKey } = commit.message;
  return {
    conversation: commit.conversation,
    epoch: Number(epoch),
    commit: commit.hash,
    keyHash: own(epochKeyHash),
    previous: previousEpochKey === undefined ? null : own(toBinary(SealedSchema, previousEpochKey)),
    grant: grant === undefined ? null : own(toBinary(GrantSchema, grant)),
  };
}

function named(e: StoredEpoch): Epoch {
  return { conversation: e.conversation as ID, epoch: BigInt(e.epoch), commit: e.commit, keyHash: e.keyHash };
}

/** The stored key of an epoch, if it is the one that the commit names: after a fork it is another's. */
async function keyOf(s: Step, e: StoredEpoch): Promise<Bytes | null> {
  const key = await s.epochKey(e.conversation, BigInt(e.epoch));
  return key !== null && (await fits(e, key)) ? key : null;
}

async function fits(e: StoredEpoch, key: Bytes): Promise<boolean> {
  try {
    await checkEpochKey(named(e), key);
    return true;
  } catch {
    return false;
  }
}

/** Opens the account's grant of an epoch, null without one or without the account key that it is sealed to. */
async function openGrant(s: Step, e: StoredEpoch, grant: Grant | null): Promise<Bytes | null> {
  if (grant === null) return null;
  const accountKey = await s.core.accountKey(grant.generation);
  return accountKey === null ? null : openGrantOf(named(e), accountKey, s.core.account, grant);
}

/**
 * Gets the key of an epoch from its grant, and through it the keys of the epochs before that are missing. Resolves to
 * whether the epoch's own key is there.
 */
export async function unlock(
  s: Step,
  conversation: ID,
  epoch: bigint,
  report: (wrong: unknown) => void,
): Promise<boolean> {
  const e = await s.epoch(conversation, epoch);
  if (e === null) return (await s.epochKey(conversation, epoch)) !== null;
  let key = await keyOf(s, e);
  if (key === null) {
    const grant = e.grant === null ? null : unmarshal(GrantSchema, e.grant);
    key = await openGrant(s, e, grant).catch((wrong: unknown) => {
      report(wrong); // not what the commit promises: perhaps a member gives the right one
      return null;
    });
    if (key === null) return false;
    await s.saveEpochKey(conversation, epoch, key);
  }
  await openEarlier(s, e, key, report);
  return true;
}

/** Follows the sealed keys back to the first epoch whose key is known already. */
async function openEarlier(s: Step, from: StoredEpoch, with_: Bytes, report: (wrong: unknown) => void): Promise<void> {
  let [e, key] = [from, with_];
  while (e.previous !== null) {
    const before = await s.epoch(e.conversation, BigInt(e.epoch - 1));
    if (before === null || (await keyOf(s, before)) !== null) return;
    try {
      const sealed = unmarshal(SealedSchema, e.previous);
      const older = await openPreviousEpochKey(e.conversation as ID, BigInt(e.epoch), sealed, key);
      await checkEpochKey(named(before), older); // whoever committed may have sealed another
      await s.saveEpochKey(before.conversation, BigInt(before.epoch), older);
      [e, key] = [before, older];
    } catch (wrong) {
      report(wrong);
      return;
    }
  }
}

/** Tries all grants of a conversation again: a new account key has come. */
export async function unlockAll(s: Step, conversation: ID, report: (wrong: unknown) => void): Promise<void> {
  const range = IDBKeyRange.bound([conversation, 0], [conversation, Number.MAX_SAFE_INTEGER]);
  const epochs = await s.core.db.getAll("epochs", range);
  for (const e of epochs.reverse()) await unlock(s, conversation, BigInt(e.epoch), report);
}

/** Takes an epoch key that another device granted later; resolves to whether it was taken. Throws when it does not open. */
export async function takeGrant(s: Step, conversation: ID, epoch: bigint, grant: Grant): Promise<boolean> {
  const e = await s.epoch(conversation, epoch);
  if (e === null || (await keyOf(s, e)) !== null) return false;
  const key = await openGrant(s, e, grant);
  if (key === null) return false;
  await s.saveEpochKey(conversation, epoch, key);
  await openEarlier(s, e, key, () => undefined);
  return true;
}
