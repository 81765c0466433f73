import { clone, create, toBinary } from "@bufbuild/protobuf";
import { type Bytes, compare, equal, HASH_SIZE, KEY_SIZE, NONCE_SIZE, TAG_SIZE } from "./bytes.ts";
import { Commit, commitHash } from "./commit.ts";
import { forbidden, malformed, unsupported, WireError } from "./errors.ts";
import { checkEpochKey, checkGrants, type Epoch, openGrantOf } from "./grants.ts";
import type { SealPair } from "./hpke.ts";
import { type ID, idBytes, idFrom } from "./ids.ts";
import { MAX_MEMBERS, SUITE, VERSION } from "./limits.ts";
import { checkChange, memberOf } from "./rules.ts";
import {
  type ChainState,
  ChainStateSchema,
  type Commit as CommitMessage,
  type CommitPost,
  CommitSchema,
  type ConversationKind,
  ErrorCode,
  type Grant,
  LinkGrantSchema,
  type Member,
  Role,
  type Signed,
} from "./schema.ts";
import { type Lookup, signedOrEmpty, verifyBy } from "./sign.ts";
import { Label } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

/** A conversation's membership, roles, links and epoch, computed from its commits alone. */
export class Chain {
  readonly conversation: ID;
  readonly #state: ChainState;

  private constructor(conversation: ID, state: ChainState) {
    this.conversation = conversation;
    this.#state = state;
  }

  /** A conversation without commits. */
  static empty(conversation: ID): Chain {
    return new Chain(conversation, create(ChainStateSchema, { conversation: idBytes(conversation) }));
  }

  /** Reads what toBytes wrote. It trusts it: it must come from the own store. */
  static restore(b: Uint8Array): Chain {
    const state = unmarshal(ChainStateSchema, b);
    return new Chain(idFrom(state.conversation), state);
  }

  /** The state, to be kept beside the conversation. */
  toBytes(): Bytes {
    return new Uint8Array(toBinary(ChainStateSchema, this.#state));
  }

  clone(): Chain {
    return new Chain(this.conversation, clone(ChainStateSchema, this.#state));
  }

  /** Unspecified before the first commit. */
  get kind(): ConversationKind {
    return this.#state.kind;
  }

  /** Fixed by the first commit. */
  get suite(): number {
    return this.#state.suite;
  }

  /** The one in force, 0 before the first commit. It equals the newest commit's number. */
  get epoch(): bigint {
    return this.#state.number;
  }

  /** Hash of the newest commit, empty before the first. */
  get head(): Uint8Array {
    return this.#state.head;
  }

  /** Sorted by account. */
  get members(): readonly Member[] {
    return this.#state.members;
  }

  member(account: ID): Member | undefined {
    return memberOf(this.#state.members, idBytes(account));
  }

  /** Opens a grant of the epoch in force that came after its commit. */
  openGrant(accountKey: SealPair, account: ID, g: Grant): Promise<Bytes> {
    return openGrantOf(this.#epoch(), accountKey, account, g);
  }

  /** Throws bad_signature unless a key is that of the epoch in force. */
  checkEpochKey(key: Uint8Array): Promise<void> {
    return checkEpochKey(this.#epoch(), key);
  }

  #epoch(): Epoch {
    const { number, head, epochKeyHash } = this.#state;
    return { conversation: this.conversation, epoch: number, commit: head, keyHash: epochKeyHash };
  }

  /**
   * Verifies a commit against the chain by the rules of docs/PROTOCOL.md §4. It does not change the chain.
   * A commit that does not follow on the head fails with stale_head.
   */
  async check(s: Signed, lookup: Lookup): Promise<Commit> {
    const m = unmarshal(CommitSchema, s.body); // read to learn whose key to verify with
    checkForm(m, this.conversation);
    checkPlace(m, this.#state);
    await verifyBy(lookup, m.account, m.device, Label.commit, s);
    await checkChange(m, this.#state);
    return new Commit(m, await commitHash(s.body), s);
  }

  /** Checks a commit with its grants as the relay does before it stores them. */
  async checkPost(p: CommitPost, lookup: Lookup): Promise<Commit> {
    const commit = await this.check(signedOrEmpty(p.commit), lookup);
    checkGrants(commit.message, p.grants);
    return commit;
  }

  /** Moves the chain on by a commit that check accepted for just this state. */
  apply(commit: Commit): void {
    const s = this.#state;
    const m = commit.message;
    s.kind = m.kind;
    s.suite = m.suite;
    s.number = m.number;
    s.head = commit.hash;
    s.epochKeyHash = m.epochKeyHash;
    s.members = m.members;
    if (m.change.case === "setLink") {
      const { link, revoke } = m.change.value;
      const key = link?.linkKey ?? new Uint8Array();
      s.links = s.links.filter((l) => !equal(l.linkKey, key));
      if (!revoke && link !== undefined) s.links.push(clone(LinkGrantSchema, link));
    } else if (m.change.case === "joinByLink") {
      const key = m.change.value.linkKey;
      const link = s.links.find((l) => equal(l.linkKey, key));
      if (link !== undefined) link.uses--;
    }
  }
}

/** Checks a commit by itself. */
function checkForm(m: CommitMessage, conversation: ID): void {
  if (m.version !== VERSION || m.suite !== SUITE || m.change.case === undefined) {
    throw unsupported("this commit needs a newer Parley");
  }
  if (!equal(m.conversation, idBytes(conversation))) throw malformed("the commit is of another conversation");
  if (m.epoch !== m.number || m.timeMs === 0n || m.epochKeyHash.length !== HASH_SIZE) {
    throw malformed("the commit lacks epoch, time or key hash");
  }
  if (m.members.length === 0 || m.members.length > MAX_MEMBERS) {
    throw malformed(`a conversation has 1 to ${MAX_MEMBERS} members`);
  }
  let before: Member | undefined;
  for (const member of m.members) {
    idFrom(member.account);
    if (before !== undefined && compare(before.account, member.account) >= 0) {
      throw malformed("the members are not sorted, or one stands twice");
    }
    const role = member.role >= Role.MEMBER && member.role <= Role.OWNER;
    if (member.identityKey.length !== KEY_SIZE || member.generation === 0 || !role) {
      throw malformed("a member lacks identity key, generation or role");
    }
    before = member;
  }
}

/** Checks that a commit follows on the head. */
function checkPlace(m: CommitMessage, s: ChainState): void {
  if (m.number !== s.number + 1n || !equal(m.previous, s.head)) {
    throw new WireError(ErrorCode.STALE_HEAD, `somebody else committed first: the newest commit is number ${s.number}`);
  }
  const first = m.number === 1n;
  if ((m.change.case === "create") !== first) throw malformed("only the first commit creates a conversation");
  const sealed = m.previousEpochKey;
  if (first) {
    if (sealed !== undefined) throw malformed("the first commit has no epoch before it");
    return;
  }
  if (m.suite !== s.suite || m.kind !== s.kind) throw forbidden("a commit may not change suite or kind");
  if (sealed === undefined) return;
  if (sealed.nonce.length !== NONCE_SIZE || sealed.ciphertext.length !== KEY_SIZE + TAG_SIZE) {
    throw malformed("the sealed previous key has the wrong form");
  }
}
