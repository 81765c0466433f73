import { toBinary } from "@bufbuild/protobuf";
import { equal, own } from "../wire/bytes.ts";
import { openDeviceList } from "../wire/devices.ts";
import { forbidden, staleList } from "../wire/errors.ts";
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
import type { Step } from "./core.ts";
import type { StoredPerson } from "./db.ts";

/** Somebody's identity key is not the one that was pinned. */
export class IdentityChangedError extends Error {
  readonly account: string;
  constructor(account: string) {
    super("their identity changed");
    this.account = account;
  }
}

/**
 * Verifies a device list against what is pinned and known of a person and remembers it in p, which is not saved.
 * An older list than known is refused: it could bring a revoked device back.
 */
export async function learnList(s: Step, p: StoredPerson, signed: Signed): Promise<void> {
  const list = await openDeviceList(signed);
  if (list.account !== p.account) throw forbidden("the device list is somebody else's");
  if (p.identityKey === null) p.identityKey = own(list.list.identityKey);
  else if (!equal(p.identityKey, list.list.identityKey)) {
    p.newIdentity = own(list.list.identityKey);
    s.savePerson(p);
    throw new IdentityChangedError(p.account);
  }
  const known = await s.core.list(p);
  if (known !== null) {
    if (list.list.version < known.list.version) throw staleList("an older device list than the one known");
    list.checkSeen(known);
  }
  for (const d of list.list.devices) s.addDeviceKey(p.account, idFrom(d.device), d.signKey);
  p.list = own(toBinary(SignedSchema, signed));
}

const relations: Partial<Record<ContactState, StoredPerson["relation"]>> = {
  [ContactState.ASKED]: "asked",
  [ContactState.ASKING]: "asking",
  [ContactState.ACCEPTED]: "accepted",
};

/** Takes what the server says of a contact; identity and devices count only as far as they verify. */
export async function applyContact(s: Step, from: Contact): Promise<void> {
  if (from.profile === undefined) return;
  const account = idFrom(from.profile.account);
  const p = s.person(account);
  p.userName = from.profile.userName;
  p.nickname = from.profile.nickname;
  p.relation = relations[from.state] ?? "none";
  p.note = from.note;
  p.since = Number(from.sinceMs);
  p.conversation = from.state === ContactState.ACCEPTED ? await pairID(s.core.account, account) : "";
  if (from.linkJoin !== undefined && p.identityKey === null)
    p.identityKey = await identityByInvitation(s, account, from.linkJoin);
  if (from.deviceList !== undefined) await learnList(s, p, from.deviceList);
  s.savePerson(p);
}

/** The identity key that whoever held the secret of an own invitation vouched for; null when it is not an own one. */
async function identityByInvitation(s: Step, account: ID, signed: Signed) {
  const { code } = unmarshal(LinkJoinSchema, signed.body); // read to learn which invitation verifies it
  const invitation = s.core.invitations.get(code);
  if (invitation === undefined) return null;
  const join = await openLinkJoin(unmarshal(InvitationSchema, invitation.body).linkKey, signed);
  if (!equal(join.account, idBytes(account))) throw forbidden("the invitation vouches for somebody else");
  return own(join.identityKey);
}

/** Remembers an own invitation whose signature is of one of the own devices. */
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
