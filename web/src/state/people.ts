import { toBinary } from "@bufbuild/protobuf";
import { type Bytes, equal, HASH_SIZE, own } from "../wire/bytes.ts";
import { type DeviceList, openDeviceList } from "../wire/devices.ts";
import { forbidden } from "../wire/errors.ts";
import { type ID, idBytes, idFrom, pairID } from "../wire/ids.ts";
import { openInvitation, openLinkJoin } from "../wire/invitation.ts";
import {
  type Contact,
  ContactState,
  InvitationSchema,
  type InvitationState,
  LinkJoinSchema,
  type Signed,
  SignedSchema,
} from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { noted, setAside } from "./identity.ts";
import type { StoredPerson } from "./records.ts";
import type { Step } from "./step.ts";

/** Somebody's identity key is not the one that was pinned. */
export class IdentityChangedError extends Error {
  readonly account: string;
  constructor(account: string) {
    super("their identity changed");
    this.account = account;
  }
}

/**
 * What came of a device list: it is the newest now, it was known, it is an older one, of which only the keys of devices
 * were learned, for what they signed then, or it is of another identity than the one pinned, which holds sending.
 */
export type Learned = "newest" | "known" | "older" | "other-identity";

/**
 * Verifies a device list against what is pinned and known of a person and remembers it in p, which is not saved. A list
 * that does not verify throws.
 */
export async function learnList(s: Step, p: StoredPerson, signed: Signed): Promise<Learned> {
  const list = await openDeviceList(signed);
  if (list.account !== p.account) throw forbidden("the device list is somebody else's");
  return learnOpened(s, p, list);
}

/** learnList of a list of p that was opened. */
export async function learnOpened(s: Step, p: StoredPerson, list: DeviceList): Promise<Learned> {
  const known = await s.core.list(p);
  if (!pin(p, list.list.identityKey)) {
    if (p.account !== s.core.account) setAside(p, list, known);
    return "other-identity";
  }
  const older = known !== null && list.list.version < known.list.version;
  if (known !== null && !older) list.checkSeen(known);
  for (const d of list.list.devices) s.addDeviceKey(p.account, idFrom(d.device), d.signKey, list.list.identityKey);
  if (older) return "older";
  if (known !== null && equal(known.hash, list.hash)) return "known";
  p.list = own(toBinary(SignedSchema, list.signed));
  return "newest";
}

/** Pins an identity key at first sight; another one is noted, which holds sending, and false is returned. */
export function pin(p: StoredPerson, identityKey: Uint8Array): boolean {
  if (p.identityKey === null) p.identityKey = own(identityKey);
  else if (!equal(p.identityKey, identityKey)) {
    p.newIdentity = own(identityKey);
    return false;
  }
  return true;
}

const relations: Partial<Record<ContactState, StoredPerson["relation"]>> = {
  [ContactState.ASKED]: "asked",
  [ContactState.ASKING]: "asking",
  [ContactState.ACCEPTED]: "accepted",
};

/** The hash of a picture in hexadecimal, "" without one. */
export function avatarOf(hash: Uint8Array): string {
  if (hash.length !== HASH_SIZE) return "";
  return Array.from(hash, (octet) => octet.toString(16).padStart(2, "0")).join("");
}

/**
 * Takes what the server says of a contact. Identity and devices count only as far as they verify; resolves to what was
 * wrong with them, null when nothing was.
 */
export async function applyContact(s: Step, from: Contact): Promise<unknown> {
  if (from.profile === undefined) return null;
  const account = idFrom(from.profile.account);
  const p = s.person(account);
  p.deleted = Number(from.profile.deletedMs);
  p.relation = relations[from.state] ?? "none";
  p.note = from.note;
  p.blocked = from.blocked;
  p.invitation = from.invitation;
  if (p.deleted > 0) {
    p.userName = ""; // it is free again; the nickname stays, and so does what was written
    p.avatar = "";
    s.savePerson(p);
    return null;
  }
  p.userName = from.profile.userName;
  p.nickname = from.profile.nickname;
  p.avatar = avatarOf(from.profile.avatar);
  p.since = Number(from.sinceMs);
  p.conversation = p.relation === "accepted" ? await pairID(s.core.account, account) : "";
  let wrong: unknown = null;
  try {
    await identify(s, p, from);
  } catch (e) {
    wrong = e;
  }
  s.savePerson(p);
  return wrong;
}

async function identify(s: Step, p: StoredPerson, from: Contact): Promise<void> {
  if (from.linkJoin !== undefined) {
    const vouched = await identityByInvitation(s, p.account, from.linkJoin);
    if (vouched !== null && !pin(p, vouched)) throw new IdentityChangedError(p.account);
  }
  if (from.deviceList !== undefined) noted(p, await learnList(s, p, from.deviceList));
}

/** The identity key that whoever held the secret of an own invitation vouched for; null when it is not an own one. */
async function identityByInvitation(s: Step, account: string, signed: Signed): Promise<Bytes | null> {
  const { code } = unmarshal(LinkJoinSchema, signed.body); // read to learn which invitation verifies it
  const invitation = s.core.invitations.get(code);
  if (invitation === undefined) return null;
  const join = await openLinkJoin(unmarshal(InvitationSchema, invitation.body).linkKey, signed);
  if (!equal(join.account, idBytes(account as ID))) throw forbidden("the invitation vouches for somebody else");
  return own(join.identityKey);
}

/** Remembers an own invitation whose signature is of one of the own devices. Throws UnknownDeviceError. */
export async function keepInvitation(s: Step, state: InvitationState): Promise<void> {
  if (state.invitation === undefined) return;
  const inv = await openInvitation(state.invitation, s.core.lookup);
  if (idFrom(inv.account) !== s.core.account) throw forbidden("the invitation is somebody else's");
  const known = s.core.invitations.get(inv.code);
  s.saveInvitation({
    code: inv.code,
    link: known?.link ?? "",
    body: own(state.invitation.body),
    usesLeft: state.usesLeft,
    expires: Number(inv.expiresMs),
    revoked: state.revoked,
  });
}
