import { create } from "@bufbuild/protobuf";
import type { FrameKind } from "../net/connection.ts";
import type { Rest } from "../net/rest.ts";
import { type Bytes, own } from "../wire/bytes.ts";
import { type ID, idBytes, idFrom, pairID } from "../wire/ids.ts";
import { newInvitation } from "../wire/invitation.ts";
import { cleanNickname } from "../wire/names.ts";
import {
  AcceptInvitationSchema,
  AnswerContactSchema,
  AskContactSchema,
  ContactState,
  CreateInvitationSchema,
  FindAccountSchema,
  InvitationSchema,
  InvitationSecretPartSchema,
  PrivacySchema,
  RemoveContactSchema,
  RevokeInvitationSchema,
  SetBlockedSchema,
  SetPrivacySchema,
  SetProfileSchema,
} from "../wire/schema.ts";
import { signMessage } from "../wire/sign.ts";
import { Label } from "../wire/tuple.ts";
import { openInviter } from "./account.ts";
import type { AccountSync } from "./changes.ts";
import { firstCommit } from "./commits.ts";
import type { Core } from "./core.ts";
import { takeAside } from "./identity.ts";
import { applyContact, IdentityChangedError, learnList } from "./people.ts";
import type { StoredPerson } from "./records.ts";
import { numberWith } from "./safety.ts";
import type { Ask } from "./sync.ts";
import { CommandError, type Invitation, type Privacy } from "./types.ts";

const DAY = 86_400_000; // ms
const AVATAR = "/api/v1/avatar";

export interface ContactsConfig {
  readonly core: Core;
  readonly ask: Ask;
  readonly changes: AccountSync;
  readonly rest: Rest;
  /** The server's origin. */
  readonly base: string;
}

/** What a person does about other people. Everything rejects with WireError, OfflineError or CommandError. */
export class Contacts {
  readonly #cfg: ContactsConfig;

  constructor(cfg: ContactsConfig) {
    this.#cfg = cfg;
  }

  /** Sends a request whose answer is what it changed in the account, and takes that. */
  async #change(request: FrameKind): Promise<void> {
    await this.#cfg.changes.take(await this.#cfg.ask(request, "accountChanges"));
  }

  async find(name: string): Promise<StoredPerson> {
    const { core, ask } = this.#cfg;
    const found = await ask({ case: "findAccount", value: create(FindAccountSchema, { name }) }, "found");
    const { contact } = found;
    if (contact?.profile === undefined) throw new CommandError("not-found");
    const account = idFrom(contact.profile.account);
    const known = core.people.get(account);
    if (known !== undefined && contact.state !== ContactState.ASKING) return known;
    return core.step(async (s) => {
      const wrong = await applyContact(s, contact);
      if (wrong !== null) console.warn("found", wrong);
      return s.person(account);
    });
  }

  ask(account: ID, note: string): Promise<void> {
    return this.#change({ case: "askContact", value: create(AskContactSchema, { account: idBytes(account), note }) });
  }

  async accept(account: ID): Promise<void> {
    const first = await firstCommit(this.#cfg.core, account, null);
    const value = create(AnswerContactSchema, { account: idBytes(account), accept: true, firstCommit: first });
    await this.#change({ case: "answerContact", value });
  }

  /**
   * Pins the new identity of somebody who was reset, in place of the one before. digits are the safety number that the person
   * compared, "" if none: a server may show yet another identity meanwhile.
   */
  acceptIdentity(account: ID, digits: string): Promise<void> {
    return this.#cfg.core.step(async (s) => {
      const p = s.person(account);
      if (p.newIdentity === null) throw new CommandError("not-found", "their identity has not changed");
      if (digits !== "" && (await numberWith(s.core, account)).digits !== digits)
        throw new IdentityChangedError(account);
      if (!(await takeAside(s, p, p.newIdentity)))
        throw new CommandError("untrusted", "the server shows an older device list than before");
      s.savePerson(p);
    });
  }

  decline(account: ID): Promise<void> {
    return this.#change({ case: "answerContact", value: create(AnswerContactSchema, { account: idBytes(account) }) });
  }

  async invite(uses: number, days: number): Promise<Invitation> {
    const { core, base } = this.#cfg;
    const secret = newInvitation();
    const self = core.people.get(core.account);
    const expires = Date.now() + days * DAY;
    const invitation = create(InvitationSchema, {
      code: secret.code,
      account: idBytes(core.account),
      device: idBytes(core.device),
      linkKey: (await secret.linkKey()).publicKey,
      expiresMs: BigInt(expires),
      uses,
    });
    const signed = await signMessage(core.profile.signKey, Label.invitation, InvitationSchema, invitation);
    const sealed = await secret.seal(
      create(InvitationSecretPartSchema, {
        account: idBytes(core.account),
        identityKey: self?.identityKey ?? new Uint8Array(),
        nickname: self?.nickname ?? "",
      }),
    );
    const made = { code: secret.code, link: base + secret.path(), uses, usesLeft: uses, expires, revoked: false };
    await core.step(async (s) => {
      const { uses: _, ...stored } = made; // the body says it
      s.saveInvitation({ ...stored, body: own(signed.body) });
    });
    await this.#change({
      case: "createInvitation",
      value: create(CreateInvitationSchema, { invitation: signed, sealed }),
    });
    return made;
  }

  revoke(code: string): Promise<void> {
    return this.#change({ case: "revokeInvitation", value: create(RevokeInvitationSchema, { code }) });
  }

  /** Uses somebody's invitation; resolves to the conversation. */
  async join(link: string): Promise<string> {
    const { core, rest } = this.#cfg;
    const inviter = await openInviter(rest, link);
    if (inviter.account === core.account) throw new CommandError("not-found", "this is your own invitation");
    const learned = await core.step(async (s) => {
      const p = s.person(inviter.account);
      p.nickname ||= inviter.nickname;
      const what = await learnList(s, p, inviter.list.signed);
      s.savePerson(p);
      return what;
    });
    if (learned === "other-identity") throw new IdentityChangedError(inviter.account);
    const join = await inviter.join(core.account, core.people.get(core.account)?.identityKey ?? new Uint8Array());
    const first = await firstCommit(core, inviter.account, join);
    const value = create(AcceptInvitationSchema, { code: inviter.code, linkJoin: join, firstCommit: first });
    await this.#change({ case: "acceptInvitation", value });
    return pairID(core.account, inviter.account);
  }

  remove(account: ID): Promise<void> {
    return this.#change({
      case: "removeContact",
      value: create(RemoveContactSchema, { account: idBytes(account) }),
    });
  }

  block(account: ID, blocked: boolean): Promise<void> {
    return this.#change({
      case: "setBlocked",
      value: create(SetBlockedSchema, { account: idBytes(account), blocked }),
    });
  }

  setPrivacy(privacy: Privacy): Promise<void> {
    return this.#change({
      case: "setPrivacy",
      value: create(SetPrivacySchema, { privacy: create(PrivacySchema, { ...privacy }) }),
    });
  }

  /** The picture's address comes back as a change of the account. */
  async setAvatar(image: Bytes | null): Promise<void> {
    const { rest } = this.#cfg;
    if (image === null) await rest.send("DELETE", AVATAR);
    else await rest.upload(AVATAR, image);
  }

  async setName(nickname: string): Promise<void> {
    const { core, ask } = this.#cfg;
    const name = cleanNickname(nickname);
    await ask({ case: "setProfile", value: create(SetProfileSchema, { nickname: name }) }, "ok");
    await core.step(async (s) => {
      const self = s.person(core.account);
      self.nickname = name;
      s.savePerson(self);
    });
  }
}
