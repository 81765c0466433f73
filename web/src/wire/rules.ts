// Who may change what in a conversation (docs/PROTOCOL.md §4, the table).
import { check32, equal } from "./bytes.ts";
import { forbidden, malformed, tooLarge, unsupported, WireError } from "./errors.ts";
import { idBytes, idFrom, pairID } from "./ids.ts";
import { openLinkJoin } from "./invitation.ts";
import { MAX_CHAIN_LINKS, MAX_INVITATION_LIFE, MAX_INVITATION_USES } from "./limits.ts";
import {
  type ChainState,
  type Commit,
  type Commit_JoinByLink,
  type Commit_NewIdentity,
  type Commit_SetLink,
  ConversationKind,
  ErrorCode,
  type LinkGrant,
  type Member,
  Role,
} from "./schema.ts";
import { signedOrEmpty } from "./sign.ts";

/** Finds an account's entry. */
export function memberOf(members: readonly Member[], account: Uint8Array): Member | undefined {
  return members.find((m) => equal(m.account, account));
}

/** Throws unless the commit's signer may make its change in this state, and it has just this effect. */
export async function checkChange(m: Commit, s: ChainState): Promise<void> {
  const by = memberOf(s.members, m.account);
  switch (m.change.case) {
    case "create":
      return checkCreate(m);
    case "rekey":
      if (by === undefined) throw forbidden("only a member may re-key");
      return checkSameMembers(s.members, m.members);
    case "setLink":
      if (by === undefined || by.role < Role.ADMIN) {
        throw forbidden("only an administrator may change invitation links");
      }
      checkSetLink(m, s, m.change.value);
      return checkSameMembers(s.members, m.members);
    case "joinByLink":
      return checkJoin(m, s, m.change.value);
    case "newIdentity":
      return checkNewIdentity(m, s, m.change.value);
    default:
      throw unsupported("this commit needs a newer Parley");
  }
}

async function checkCreate(m: Commit): Promise<void> {
  const [a, b] = m.members;
  switch (m.kind) {
    case ConversationKind.PAIR: {
      if (a === undefined || b === undefined || m.members.length !== 2) throw forbidden("a pair has two members");
      const id = await pairID(idFrom(a.account), idFrom(b.account));
      if (!equal(idBytes(id), m.conversation)) throw forbidden("the pair has a member that does not belong to it");
      if (a.role !== Role.MEMBER || b.role !== Role.MEMBER) throw forbidden("a pair has no roles");
      if (memberOf(m.members, m.account) === undefined) throw forbidden("the pair was made by somebody else");
      return;
    }
    case ConversationKind.GROUP:
      if (a === undefined || m.members.length !== 1 || a.role !== Role.OWNER || !equal(a.account, m.account)) {
        throw forbidden("a new group has its maker as owner and nobody else");
      }
      return;
    default:
      throw unsupported("this kind of conversation needs a newer Parley");
  }
}

/** Checks the link that is added, replaced or revoked. */
function checkSetLink(m: Commit, s: ChainState, { link, revoke }: Commit_SetLink): void {
  if (link === undefined) throw malformed("a link key has 32 bytes, not 0");
  check32("a link key", link.linkKey);
  const known = linkOf(s, link.linkKey) !== undefined;
  if (revoke) {
    if (!known) throw malformed("there is no such invitation link to revoke");
    return;
  }
  if (!known && s.links.length >= MAX_CHAIN_LINKS) {
    throw tooLarge(`a conversation has at most ${MAX_CHAIN_LINKS} invitation links: revoke one`);
  }
  if (link.uses === 0 || link.uses > MAX_INVITATION_USES) {
    throw malformed(`an invitation link has 1 to ${MAX_INVITATION_USES} uses`);
  }
  if (link.expiresMs <= m.timeMs || link.expiresMs - m.timeMs > MAX_INVITATION_LIFE) {
    throw malformed("an invitation link lasts up to 365 days");
  }
}

/** Allows nothing but higher generations. */
function checkSameMembers(before: readonly Member[], now: readonly Member[]): void {
  const same = before.length === now.length && before.every((b, i) => sameMember(b, now[i]));
  if (!same) throw forbidden("this commit may not change members");
}

function sameMember(before: Member, now: Member | undefined): boolean {
  return (
    now !== undefined &&
    equal(before.account, now.account) &&
    equal(before.identityKey, now.identityKey) &&
    before.role === now.role &&
    now.generation >= before.generation
  );
}

async function checkJoin(m: Commit, s: ChainState, change: Commit_JoinByLink): Promise<void> {
  if (s.kind !== ConversationKind.GROUP) throw forbidden("nobody joins a pair");
  checkOpen(linkOf(s, change.linkKey), m.timeMs);
  const join = await openLinkJoin(change.linkKey, signedOrEmpty(change.linkJoin));
  if (!equal(join.account, m.account) || !equal(join.conversation, m.conversation)) {
    throw forbidden("the invitation link vouches for somebody else");
  }
  if (memberOf(s.members, m.account) !== undefined) throw forbidden("the joiner is a member already");
  const joiner = memberOf(m.members, m.account);
  if (joiner === undefined) throw forbidden("the joiner is not among the members");
  if (joiner.role !== Role.MEMBER || !equal(joiner.identityKey, join.identityKey)) {
    throw forbidden("the joiner takes another role or identity");
  }
  checkSameMembers(
    s.members,
    m.members.filter((member) => member !== joiner),
  );
}

/**
 * Allows the other member of a pair, and nobody else, to take the identity key that an account was reset to. The key of the
 * epoch before is not sealed to it: what was written until now stays closed to the new identity.
 */
function checkNewIdentity(m: Commit, s: ChainState, { account }: Commit_NewIdentity): void {
  idFrom(account);
  if (s.kind !== ConversationKind.PAIR) throw forbidden("a new identity is taken in pairs only");
  if (memberOf(s.members, account) === undefined || memberOf(s.members, m.account) === undefined) {
    throw forbidden("only a member takes a new identity, of a member");
  }
  if (equal(account, m.account)) {
    throw forbidden("a new identity is taken by the other member of a pair, not by its own account");
  }
  if (m.previousEpochKey !== undefined) {
    throw forbidden("what was before stays closed to a new identity: its commit holds no previous key");
  }
  const before = s.members.map((b) => {
    const now = memberOf(m.members, b.account);
    if (!equal(b.account, account) || now === undefined) return b;
    if (equal(b.identityKey, now.identityKey) || now.generation <= b.generation) {
      throw forbidden("a new identity has another identity key and a higher generation");
    }
    return { ...b, identityKey: now.identityKey };
  });
  checkSameMembers(before, m.members);
}

/** Checks that somebody may join by a link at a time. */
function checkOpen(link: LinkGrant | undefined, timeMS: bigint): void {
  if (link === undefined) {
    throw forbidden("this invitation link is not one of the conversation's, or was revoked");
  }
  if (link.approval) throw forbidden("joining by this link wants an administrator's approval");
  if (timeMS > link.expiresMs) throw new WireError(ErrorCode.EXPIRED, "this invitation link has expired");
  if (link.uses === 0) throw new WireError(ErrorCode.USED_UP, "this invitation link is used up");
}

function linkOf(s: ChainState, key: Uint8Array): LinkGrant | undefined {
  return s.links.find((l) => equal(l.linkKey, key));
}
