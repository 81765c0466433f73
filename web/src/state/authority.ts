import { create } from "@bufbuild/protobuf";
import type { Rest } from "../net/rest.ts";
import { equal } from "../wire/bytes.ts";
import type { DeviceList } from "../wire/devices.ts";
import { forbidden, hasCode } from "../wire/errors.ts";
import { type AccountKey, AccountKeySchema, ErrorCode, type KeyRing, KeyRingSchema } from "../wire/schema.ts";
import { openAccount } from "./account.ts";
import type { Core } from "./core.ts";
import { Meta, type Profile } from "./records.ts";
import { CommandError } from "./types.ts";

// What may change an account: its identity key. A device holds it only until the account has a password.

export interface OwnServer {
  readonly core: Core;
  readonly rest: Rest;
  /** The server's origin. */
  readonly base: string;
}

export interface Authority {
  readonly ring: KeyRing;
  readonly list: DeviceList; // the newest
  readonly ticket: string; // of the log-in by which it was opened, good for one request; "": the session is enough
  readonly master: Uint8Array | null; // null: the account has no password
}

/** Where the identity key is: behind the password, in this browser, or in another device of an account without password. */
export type KeyPlace = "password" | "here" | "elsewhere";

/** The user name of the own account, "" when it has none. */
export function ownName(core: Core): string {
  return core.people.get(core.account)?.userName || core.profile.userName;
}

export function keyPlace(core: Core): KeyPlace {
  if (ownName(core) !== "") return "password";
  return core.profile.identity === null ? "elsewhere" : "here";
}

/** Opens the keys of the own account. Throws wrong-password, or not-here when another device has them. */
export async function authority(s: OwnServer, password: string): Promise<Authority> {
  switch (keyPlace(s.core)) {
    case "password":
      return behindPassword(s, password);
    case "here":
      return inThisBrowser(s.core);
    default:
      throw new CommandError("not-here");
  }
}

async function behindPassword({ core, rest, base }: OwnServer, password: string): Promise<Authority> {
  const a = await openAccount(rest, base, ownName(core), password).catch((e: unknown) => {
    throw hasCode(e, ErrorCode.UNAUTHENTICATED) ? new CommandError("wrong-password") : e;
  });
  const self = core.people.get(core.account);
  if (a.account !== core.account || (self?.identityKey != null && !equal(self.identityKey, a.list.list.identityKey)))
    throw forbidden("the password opens another account");
  const known = await core.list(self);
  if (known !== null) a.list.checkSeen(known); // an older one would let devices back in
  if (core.profile.identity !== null) await forgetIdentity(core, ownName(core));
  return { ring: a.ring, list: a.list, ticket: a.grant.ticket, master: a.master };
}

async function inThisBrowser(core: Core): Promise<Authority> {
  const list = await core.list(core.people.get(core.account));
  const identitySeed = await core.identitySeed();
  if (list === null || identitySeed === null) throw new CommandError("not-here");
  const keys: AccountKey[] = [];
  for (const { generation } of core.profile.accountKeys.toSorted((a, b) => a.generation - b.generation)) {
    const privateKey = await core.accountKeyBytes(generation);
    if (privateKey !== null) keys.push(create(AccountKeySchema, { generation, privateKey }));
  }
  return { ring: create(KeyRingSchema, { identitySeed, keys }), list, ticket: "", master: null };
}

/** Once there is a password no device keeps the identity key. */
export function forgetIdentity(core: Core, userName: string): Promise<void> {
  return core.step(async (s) => {
    const changed: Pick<Profile, "identity" | "userName"> = { identity: null, userName };
    s.batch.set(Meta.profile, { ...core.profile, ...changed });
    const self = s.person(core.account);
    self.userName = userName;
    s.savePerson(self);
    s.afterwards(() => Object.assign(core.profile, changed));
  });
}
