// Somebody's new identity after an administrator let them start again, or after a server made that up (docs/PROTOCOL.md §3):
// it is set aside until the person accepts it, and then put into the chain of the pair.
import { toBinary } from "@bufbuild/protobuf";
import { equal, own } from "../wire/bytes.ts";
import type { Chain } from "../wire/chain.ts";
import type { Commit } from "../wire/commit.ts";
import { type DeviceList, openDeviceList } from "../wire/devices.ts";
import { forbidden } from "../wire/errors.ts";
import { type ID, idFrom } from "../wire/ids.ts";
import { ConversationKind, type Member, type Signed, SignedSchema } from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { type Core, UnknownDeviceError } from "./core.ts";
import { IdentityChangedError, type Learned, learnOpened } from "./people.ts";
import type { StoredConversation, StoredPerson } from "./records.ts";
import type { Step } from "./step.ts";

/** A commit names an identity of somebody that no list known here vouches for. */
export class UnknownIdentityError extends UnknownDeviceError {
  readonly identityKey: Uint8Array;
  constructor(account: ID, identityKey: Uint8Array) {
    super(account);
    this.identityKey = identityKey;
  }
}

/**
 * Takes every version of an account's list, oldest first. Lists of an identity before a reset tell the keys of its devices,
 * if the list of the pinned one vouches for them: it names the hash of the last. Of another identity only the newest list
 * counts, which holds sending. wrong hears what does not verify.
 */
export async function learnLists(
  s: Step,
  p: StoredPerson,
  signed: readonly Signed[],
  wrong: (e: unknown) => void,
): Promise<void> {
  const lists: DeviceList[] = [];
  for (const one of signed) {
    try {
      const list = await openDeviceList(one);
      if (list.account !== p.account) throw forbidden("the device list is somebody else's");
      lists.push(list);
    } catch (e) {
      wrong(e);
    }
  }
  p.identityKey ??= own(lists.at(-1)?.list.identityKey ?? new Uint8Array());
  if (p.identityKey.length === 0) p.identityKey = null;
  const vouched = vouchedFor(lists, p.identityKey ?? new Uint8Array());
  for (const [i, list] of lists.entries()) {
    try {
      const last = i === lists.length - 1;
      if (vouched[i] === "former") addDevices(s, p, list);
      else if (vouched[i] === "pinned" || last) noted(p, await learnOpened(s, p, list), last);
    } catch (e) {
      wrong(e);
    }
  }
}

/** When the newest list is of the pinned identity again there is nothing to decide any more; of another one it throws. */
export function noted(p: StoredPerson, what: Learned, newest = true): void {
  if (what === "other-identity") throw new IdentityChangedError(p.account);
  if (!newest || what === "older") return;
  p.newIdentity = null;
  p.aside = null;
}

function vouchedFor(lists: readonly DeviceList[], pinned: Uint8Array): ("pinned" | "former" | null)[] {
  const out: ("pinned" | "former" | null)[] = lists.map(() => null);
  for (let i = lists.length - 1; i >= 0; i--) {
    const [list, next] = [lists[i], lists[i + 1]];
    if (list === undefined) continue;
    if (equal(list.list.identityKey, pinned)) out[i] = "pinned";
    else if (next !== undefined && out[i + 1] !== null && out[i + 1] !== undefined && follows(next, list))
      out[i] = "former";
  }
  return out;
}

function follows(next: DeviceList, list: DeviceList): boolean {
  return next.list.version === list.list.version + 1n && equal(next.list.previous, list.hash);
}

function addDevices(s: Step, p: StoredPerson, { list }: DeviceList): void {
  for (const d of list.devices) s.addDeviceKey(p.account, idFrom(d.device), d.signKey, list.identityKey);
}

/** Pins the identity whose list was set aside; resolves to false without one. The person is not saved. */
export async function takeAside(s: Step, p: StoredPerson, identityKey: Uint8Array): Promise<boolean> {
  if (p.aside == null) return false;
  const list = await openDeviceList(unmarshal(SignedSchema, p.aside));
  if (!equal(list.list.identityKey, identityKey)) return false;
  for (const [device, key] of s.core.devicesOf(p.account))
    s.addDeviceKey(p.account, device, key, s.core.identityOf(p.account, device)); // as long as it is known whose they are
  p.identityKey = own(identityKey);
  p.list = p.aside;
  p.newIdentity = null;
  p.aside = null;
  p.taken = true;
  addDevices(s, p, list);
  return true;
}

/** Checks the identity keys that a commit names against those pinned, pins new ones, and whose device signed it. */
export async function checkMembers(s: Step, row: StoredConversation, chain: Chain, commit: Commit): Promise<void> {
  for (const m of commit.message.members) {
    await checkMember(s, row, chain, commit, m);
    if (equal(m.account, commit.message.account)) checkDevice(s.core, m, idFrom(commit.message.device));
  }
}

async function checkMember(s: Step, row: StoredConversation, chain: Chain, commit: Commit, m: Member): Promise<void> {
  const { core } = s;
  const p = s.person(idFrom(m.account));
  if (p.identityKey !== null && equal(p.identityKey, m.identityKey)) return;
  if (p.identityKey === null) {
    p.identityKey = own(m.identityKey);
    s.savePerson(p);
    return;
  }
  const { change, account } = commit.message;
  const before = chain.member(p.account as ID)?.identityKey ?? new Uint8Array();
  const takes = change.case === "newIdentity" && equal(change.value.account, m.account) && equal(before, p.identityKey);
  if (takes && idFrom(account) === core.account && (await takeAside(s, p, m.identityKey))) {
    s.savePerson(p); // another device of this account decided
    return;
  }
  if (takes || !core.hasIdentity(p.account, m.identityKey))
    throw new UnknownIdentityError(p.account as ID, m.identityKey);
  if (p.account === core.account || row.replay !== null || p.taken === true) return;
  // What members signed counts more than what the server showed this browser first: there is something to decide.
  p.newIdentity = p.identityKey;
  p.aside = p.list;
  p.identityKey = own(m.identityKey);
  p.list = null;
  s.savePerson(p);
}

/** A device speaks for the identity whose list named it, and a member has that of the chain. */
export function checkDevice(core: Core, m: Member, device: ID): void {
  const identity = core.identityOf(idFrom(m.account), device);
  if (!equal(identity, m.identityKey)) throw forbidden("its device belongs to another identity of its sender");
}

/** Whether this account is in the chain with the identity that it has now. */
export function ownIdentity(core: Core, chain: Chain): boolean {
  const [own_, self] = [chain.member(core.account), core.people.get(core.account)];
  return own_ === undefined || self?.identityKey == null || equal(own_.identityKey, self.identityKey);
}

/** Whether nothing may be sealed: somebody's identity changed and the person has not decided, or they have not of this account's. */
export function isHeld(core: Core, chain: Chain): boolean {
  const changed = chain.members.some((m) => core.people.get(idFrom(m.account))?.newIdentity != null);
  return changed || !ownIdentity(core, chain);
}

/** The other member of a pair whose new identity this account took and the chain does not name yet, null without one. */
export function renewed(core: Core, chain: Chain): ID | null {
  if (chain.kind !== ConversationKind.PAIR) return null;
  for (const m of chain.members) {
    const p = core.people.get(idFrom(m.account));
    if (p?.identityKey == null || p.account === core.account || p.newIdentity !== null || p.taken !== true) continue;
    if (!equal(p.identityKey, m.identityKey)) return p.account as ID;
  }
  return null;
}

/** Sets another identity aside that a list of p names; one that is no newer cannot be accepted. */
export function setAside(p: StoredPerson, list: DeviceList, known: DeviceList | null): void {
  p.newIdentity = own(list.list.identityKey);
  p.aside = known === null || list.list.version > known.list.version ? own(toBinary(SignedSchema, list.signed)) : null;
}
