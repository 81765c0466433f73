import { create } from "@bufbuild/protobuf";
import { body } from "../net/rest.ts";
import { randomBytes } from "../wire/bytes.ts";
import { nextDeviceList, signDeviceList } from "../wire/devices.ts";
import { hasCode } from "../wire/errors.ts";
import { serverHost } from "../wire/host.ts";
import { importSealPair } from "../wire/hpke.ts";
import { type ID, idFrom } from "../wire/ids.ts";
import { checkKeyRing, grantGeneration, sealKeyRing, wrapMaster } from "../wire/keyring.ts";
import { newRecoveryCode } from "../wire/recovery.ts";
import {
  AccountKeySchema,
  ChangePasswordSchema,
  DeleteAccountSchema,
  type DeviceList as DeviceListMessage,
  ErrorCode,
  KeyRingSchema,
  RecoverySchema,
  SetRecoverySchema,
  type UpdateDevices,
  UpdateDevicesSchema,
} from "../wire/schema.ts";
import { importSeed } from "../wire/sign.ts";
import { newPassword, openAccount, setPassword } from "./account.ts";
import { type Authority, authority, forgetIdentity, type OwnServer, ownName } from "./authority.ts";
import { CommandError } from "./types.ts";

// What a person does to the account and its devices. Everything rejects with WireError, UnreachableError or CommandError.

const KEY_BYTES = 32;

/** Gives an account that has only a name a user name and a password, behind which its keys are from then on. */
export async function keepAccount(s: OwnServer, userName: string, password: string): Promise<void> {
  const { core, rest, base } = s;
  if (ownName(core) !== "") throw new CommandError("name-taken", "the account has a user name already");
  const { ring, list } = await authority(s, "");
  await checkKeyRing(ring, list.list);
  const master = randomBytes(KEY_BYTES);
  const request = create(ChangePasswordSchema, {
    user: userName,
    password: await newPassword(base, core.account, userName, password, master),
    keyRing: await sealKeyRing(master, core.account, ring),
  });
  try {
    await rest.send("PUT", "/api/v1/password", body(ChangePasswordSchema, request));
  } catch (e) {
    if (!hasCode(e, ErrorCode.UNAUTHENTICATED) || !(await isKept(s, userName, password))) throw e;
  }
  await forgetIdentity(core, userName);
}

/** Whether the account was kept by an attempt before, whose answer was lost. */
async function isKept({ core, rest, base }: OwnServer, userName: string, password: string): Promise<boolean> {
  try {
    return (await openAccount(rest, base, userName, password)).account === core.account;
  } catch {
    return false;
  }
}

/** Replaces the password. Sessions of other devices end, and those that are still in the list log in by their key again. */
export async function changePassword({ core, rest, base }: OwnServer, old: string, password: string): Promise<void> {
  const user = ownName(core);
  const a = await openAccount(rest, base, user, old).catch((e: unknown) => {
    throw hasCode(e, ErrorCode.UNAUTHENTICATED) ? new CommandError("wrong-password") : e;
  });
  await setPassword(rest, base, a, user, password);
}

/** Makes a recovery code in the place of the one there was; resolves to its text, which is nowhere else. */
export async function makeRecovery(s: OwnServer, password: string): Promise<string> {
  const { core, rest, base } = s;
  const { ticket, master } = await authority(s, password);
  if (master === null) throw new CommandError("not-here", "a recovery code comes behind a password");
  const code = newRecoveryCode();
  const { auth, wrap } = await code.secrets(serverHost(base));
  const recovery = create(RecoverySchema, {
    authSecret: auth,
    wrappedMaster: await wrapMaster(wrap, core.account, master),
  });
  await rest.send("PUT", "/api/v1/recovery", body(SetRecoverySchema, create(SetRecoverySchema, { ticket, recovery })));
  return code.text();
}

/**
 * Takes devices out of the account, and with them those that signed out by themselves: their sessions end at once, and
 * what is written from then on is sealed under keys that only the others get. Never this device: that is signing out.
 */
export function revokeDevices(s: OwnServer, gone: (device: ID) => boolean, password: string): Promise<void> {
  const { core } = s;
  return updateList(s, password, async ({ ring, list, master }, next) => {
    next.devices = next.devices.filter((d) => {
      const id = idFrom(d.device);
      return id === core.device || !(gone(id) || core.devices.get(id)?.ended === true);
    });
    if (next.devices.length === list.list.devices.length) return null; // it is out already
    const privateKey = randomBytes(KEY_BYTES);
    next.generation++;
    next.accountKey = (await importSealPair(privateKey)).publicKey;
    const key = create(AccountKeySchema, { generation: next.generation, privateKey });
    const longer = create(KeyRingSchema, { identitySeed: ring.identitySeed, keys: [...ring.keys, key] });
    // This device takes its own from the server like the others: nothing is lost with an answer.
    const generationGrants = await Promise.all(next.devices.map((d) => grantGeneration(core.account, d, key)));
    if (master === null) return { generationGrants };
    return { generationGrants, keyRing: await sealKeyRing(master, core.account, longer) };
  });
}

/** What comes with a changed device list. */
type Beside = Partial<Pick<UpdateDevices, "newDevice" | "deviceName" | "generationGrants" | "link" | "keyRing">>;

/** How often a device list is tried to be changed while other devices are faster. */
const TRIES = 4;

/**
 * Puts a changed device list in force, again when another device was faster: then the server refuses it, or has told this
 * device of a newer one than it logged in with. change alters the list and says what comes with it, null when nothing is to
 * be done.
 */
export async function updateList(
  s: OwnServer,
  password: string,
  change: (a: Authority, next: DeviceListMessage) => Promise<Beside | null>,
): Promise<void> {
  for (let left = TRIES - 1; ; left--) {
    try {
      await changeList(s, password, change);
      return;
    } catch (e) {
      if (left === 0 || !hasCode(e, ErrorCode.STALE_LIST)) throw e;
    }
  }
}

async function changeList(s: OwnServer, password: string, change: Parameters<typeof updateList>[2]): Promise<void> {
  const a = await authority(s, password);
  const next = nextDeviceList(a.list, Date.now());
  const beside = await change(a, next);
  if (beside === null) return;
  const deviceList = await signDeviceList(await importSeed(a.ring.identitySeed), next);
  const request = create(UpdateDevicesSchema, { ticket: a.ticket, deviceList, ...beside });
  await s.rest.send("PUT", "/api/v1/devices", body(UpdateDevicesSchema, request));
}

/** Deletes the account at the server. Rejects with last-admin while others depend on it. */
export async function deleteAccount(s: OwnServer, password: string): Promise<void> {
  const ticket = ownName(s.core) === "" ? "" : (await authority(s, password)).ticket;
  try {
    const request = body(DeleteAccountSchema, create(DeleteAccountSchema, { ticket }));
    await s.rest.send("POST", "/api/v1/account/delete", request);
  } catch (e) {
    throw hasCode(e, ErrorCode.CONFLICT) ? new CommandError("last-admin") : e;
  }
}
