import { equal, own } from "../wire/bytes.ts";
import type { ID } from "../wire/ids.ts";
import { safetyNumber, safetyText } from "../wire/safety.ts";
import type { PersonSetting } from "../wire/schema.ts";
import type { Core } from "./core.ts";
import { IdentityChangedError } from "./people.ts";
import type { StoredPerson } from "./records.ts";
import type { Settings } from "./settings.ts";
import { CommandError, type SafetyNumber, type SafetyState } from "./types.ts";

/** The identity that a comparison is about: the one that was shown last, also while it is not accepted. */
function shownIdentity(p: StoredPerson | undefined): Uint8Array | null {
  return p?.newIdentity ?? p?.identityKey ?? null;
}

/** What is known about somebody being who they say, and when that was compared: 0 unless it was. */
export function safetyOf(p: StoredPerson, note: PersonSetting): { state: SafetyState; compared: number } {
  if (p.newIdentity !== null) return { state: "changed", compared: 0 };
  if (p.identityKey === null) return { state: "unknown", compared: 0 };
  if (!equal(note.comparedKey, p.identityKey)) return { state: "open", compared: 0 };
  return { state: "compared", compared: Number(note.comparedMs) };
}

/** The safety number of this account and a person, of the identity that was shown last. Throws not-found without one. */
export async function numberWith(core: Core, account: string): Promise<SafetyNumber> {
  const mine = core.people.get(core.account)?.identityKey ?? null;
  const theirs = shownIdentity(core.people.get(account));
  if (mine === null || theirs === null) throw new CommandError("not-found");
  const ends = [
    { account: core.account, identityKey: mine },
    { account: account as ID, identityKey: theirs },
  ] as const;
  const digits = await safetyNumber(...ends);
  return { digits, text: safetyText(digits) };
}

/**
 * Remembers on all devices that a safety number was compared. It has to be the one of the identity that is pinned now: a
 * server may show another one while two people compare. Throws identity-changed when it is not.
 */
export async function markCompared(core: Core, settings: Settings, account: string, digits: string): Promise<void> {
  const p = core.people.get(account);
  const { digits: now } = await numberWith(core, account);
  if (p?.identityKey == null || p.newIdentity !== null || now !== digits) throw new IdentityChangedError(account);
  const key = own(p.identityKey);
  await settings.changePerson(account, (s) => {
    s.comparedKey = key;
    s.comparedMs = BigInt(Date.now());
  });
}
