import { create } from "@bufbuild/protobuf";
import { type Bytes, check32, equal, KEY_SIZE, TAG_SIZE } from "./bytes.ts";
import { badSignature, malformed } from "./errors.ts";
import { openFrom, type SealPair, sealTo } from "./hpke.ts";
import { type ID, idBytes, idFrom } from "./ids.ts";
import { type Commit as CommitMessage, type Grant, GrantSchema } from "./schema.ts";
import { hash, Label, tuple, u32, u64 } from "./tuple.ts";

/** What a commit needs of a member: who they are and what to seal the epoch key to. */
export interface MemberKey {
  readonly account: ID;
  readonly identityKey: Uint8Array;
  readonly generation: number;
  /** X25519 public key of that generation. */
  readonly accountKey: Uint8Array;
}

/** An epoch of a conversation: what a grant is bound to. */
export interface Epoch {
  readonly conversation: ID;
  readonly epoch: bigint;
  /** Hash of the commit that starts it. */
  readonly commit: Uint8Array;
  readonly keyHash: Uint8Array;
}

/** Names an epoch key without showing it. */
export function epochKeyHash(conversation: ID, epoch: bigint, key: Uint8Array): Promise<Bytes> {
  return hash(Label.epochKey, idBytes(conversation), u64(epoch), key);
}

/** Throws bad_signature unless a key is the one of the epoch. */
export async function checkEpochKey(
  of: Pick<Epoch, "conversation" | "epoch" | "keyHash">,
  key: Uint8Array,
): Promise<void> {
  check32("an epoch key", key);
  if (!equal(await epochKeyHash(of.conversation, of.epoch, key), of.keyHash)) {
    throw badSignature(`the key is not the one that the commit of epoch ${of.epoch} names`);
  }
}

/** Seals an epoch key to a member. */
export async function grantEpochKey(to: MemberKey, epoch: Omit<Epoch, "keyHash">, key: Uint8Array): Promise<Grant> {
  const sealed = await sealTo(to.accountKey, grantInfo(epoch, to.account, to.generation), key);
  return create(GrantSchema, { account: idBytes(to.account), generation: to.generation, ...sealed });
}

/** Opens the account's grant with the account key of its generation. A key that the commit does not name is refused. */
export async function openGrantOf(epoch: Epoch, accountKey: SealPair, account: ID, g: Grant): Promise<Bytes> {
  const key = await openFrom(accountKey, g.enc, grantInfo(epoch, account, g.generation), g.ciphertext);
  await checkEpochKey(epoch, key);
  return key;
}

function grantInfo(e: Omit<Epoch, "keyHash">, account: ID, generation: number): Bytes {
  return tuple(Label.grant, idBytes(e.conversation), u64(e.epoch), e.commit, idBytes(account), u32(generation));
}

/** Checks a grant's form. Whether it opens, only its receiver can say. Throws malformed. */
export function checkGrant(g: Grant): void {
  idFrom(g.account);
  if (g.generation === 0 || g.enc.length !== KEY_SIZE || g.ciphertext.length !== KEY_SIZE + TAG_SIZE) {
    throw malformed("a grant lacks generation, encapsulated key or sealed key");
  }
}

/** Throws malformed unless a post has one grant of the right form for every member and none else. */
export function checkGrants(c: CommitMessage, grants: readonly Grant[]): void {
  if (grants.length !== c.members.length) {
    throw malformed(`a commit needs one grant for each of its ${c.members.length} members, not ${grants.length}`);
  }
  const granted = new Map<ID, number>();
  for (const g of grants) {
    checkGrant(g);
    granted.set(idFrom(g.account), g.generation);
  }
  for (const m of c.members) {
    if (granted.get(idFrom(m.account)) !== m.generation) throw malformed("a commit lacks a grant for a member");
  }
}
