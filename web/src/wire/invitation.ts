import { toBinary } from "@bufbuild/protobuf";
import { base32, parseBase32 } from "./base32.ts";
import { check32, randomBytes, utf8 } from "./bytes.ts";
import { malformed } from "./errors.ts";
import { idFrom } from "./ids.ts";
import { MAX_INVITATION_USES } from "./limits.ts";
import {
  type Invitation,
  InvitationSchema,
  type InvitationSecretPart,
  InvitationSecretPartSchema,
  type LinkJoin,
  LinkJoinSchema,
  type Sealed,
  type Signed,
} from "./schema.ts";
import { openBytes, sealBytes } from "./seal.ts";
import { importSeed, type Lookup, publicOf, type SigningPair, verify, verifyBy } from "./sign.ts";
import { derive, Label } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

const CODE_BYTES = 10;
const SECRET_BYTES = 16;
const MAX_LINK = 2048;

/** An invitation as its holder has it: the code that the server knows, and the secret that it does not. */
export class InvitationSecret {
  readonly code: string;
  readonly #secret: Uint8Array;

  /** @internal use newInvitation or parseInvitation */
  constructor(code: string, secret: Uint8Array) {
    this.code = code;
    this.#secret = secret;
  }

  /** The form for the command line: CODE.SECRET. */
  toString(): string {
    return `${this.code}.${base32(this.#secret)}`;
  }

  /** The form for a link, behind the server's address. Browsers do not send the secret in the fragment. */
  path(): string {
    return `/i/${this.code}#${base32(this.#secret)}`;
  }

  /** The key that vouches for joiners (label linkJoin). */
  async linkKey(): Promise<SigningPair> {
    const seed = await derive(this.#secret, Label.invitationLink);
    return { privateKey: await importSeed(seed), publicKey: await publicOf(seed) };
  }

  /** Seals what the holder of the secret may read. */
  async seal(part: InvitationSecretPart): Promise<Sealed> {
    const key = await derive(this.#secret, Label.invitationSeal);
    return sealBytes(key, toBinary(InvitationSecretPartSchema, part), Label.invitationSeal, utf8(this.code));
  }

  /** Opens what seal made. Throws malformed. */
  async open(s: Sealed | undefined): Promise<InvitationSecretPart> {
    const key = await derive(this.#secret, Label.invitationSeal);
    const b = await openBytes(key, s, Label.invitationSeal, utf8(this.code));
    const part = unmarshal(InvitationSecretPartSchema, b);
    idFrom(part.account);
    if (part.conversation.length !== 0) idFrom(part.conversation);
    check32("the inviter's identity key", part.identityKey);
    return part;
  }
}

/** Makes a fresh code and secret. */
export function newInvitation(): InvitationSecret {
  return new InvitationSecret(base32(randomBytes(CODE_BYTES)), randomBytes(SECRET_BYTES));
}

/** Throws malformed unless a code has the right form. */
export function checkInvitationCode(code: string): void {
  if (parseBase32(code)?.length !== CODE_BYTES) throw malformed("not an invitation code");
}

/** Reads CODE.SECRET or an invitation link. Throws malformed. */
export function parseInvitation(text: string): InvitationSecret {
  const { code, secret } = split(text.trim());
  checkInvitationCode(code);
  const b = parseBase32(secret);
  if (b?.length !== SECRET_BYTES) throw malformed("the invitation is cut off: copy all of it");
  return new InvitationSecret(code, b);
}

/** Reads setup.SECRET or a set-up link; null for anything else. */
export function parseSetup(text: string): string | null {
  const parts = /^(?:setup\.|[a-z][a-z0-9+.-]*:\/\/[^/?#]*\/setup(?:\?[^#]*)?#)(.+)$/i.exec(text.trim());
  return parts?.[1] ?? null;
}

function split(text: string): { code: string; secret: string } {
  if (text.length > MAX_LINK) throw malformed("not an invitation");
  if (!text.includes("://")) {
    const dot = text.indexOf(".");
    if (dot < 0) throw malformed("not an invitation: want CODE.SECRET or the whole link");
    return { code: text.slice(0, dot).toLowerCase(), secret: text.slice(dot + 1).toLowerCase() };
  }
  const parts = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*\/i\/([^?#]*)(?:\?[^#]*)?#(.+)$/i.exec(text);
  if (parts === null) {
    throw malformed("not a whole invitation link: it ends in #… which has to be copied too");
  }
  return { code: (parts[1] ?? "").toLowerCase(), secret: (parts[2] ?? "").toLowerCase() };
}

/** Verifies that the holder of the link key vouches for a joiner. */
export async function openLinkJoin(linkKey: Uint8Array, s: Signed): Promise<LinkJoin> {
  await verify(linkKey, Label.linkJoin, s.signature, s.body);
  const join = unmarshal(LinkJoinSchema, s.body);
  idFrom(join.account);
  idFrom(join.conversation);
  check32("the joiner's identity key", join.identityKey);
  return join;
}

/**
 * Verifies an invitation by the device that it names and checks its form. Whether it is still open
 * (expiry against a clock, uses left) is for the server to check.
 */
export async function openInvitation(s: Signed, lookup: Lookup): Promise<Invitation> {
  const inv = unmarshal(InvitationSchema, s.body); // read to learn whose key to verify with
  await verifyBy(lookup, inv.account, inv.device, Label.invitation, s);
  checkInvitationCode(inv.code);
  if (inv.conversation.length !== 0) idFrom(inv.conversation);
  if (inv.uses === 0 || inv.uses > MAX_INVITATION_USES || inv.expiresMs === 0n) {
    throw malformed(`an invitation has 1 to ${MAX_INVITATION_USES} uses and an end`);
  }
  check32("a link key", inv.linkKey);
  return inv;
}
