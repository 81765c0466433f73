// Starting again under an account of which everything was lost, and the history from before (docs/PROTOCOL.md §3).
import { create } from "@bufbuild/protobuf";
import { body, type Rest } from "../net/rest.ts";
import { own, randomBytes } from "../wire/bytes.ts";
import { nextDeviceList, openDeviceList, signDeviceList } from "../wire/devices.ts";
import { forbidden } from "../wire/errors.ts";
import { serverHost } from "../wire/host.ts";
import { type ID, idFrom } from "../wire/ids.ts";
import { openKeyRing, sealKeyRing, unwrapMaster } from "../wire/keyring.ts";
import { foldUserName } from "../wire/names.ts";
import { parseRecoveryCode } from "../wire/recovery.ts";
import {
  type AccountKey,
  FormerKeysSchema,
  FormerRequestSchema,
  FormerSettingSchema,
  KeyRingSchema,
  ResetParamsRequestSchema,
  ResetParamsSchema,
  ResetRequestSchema,
  SealedSchema,
  SessionOpenedSchema,
  SetSettingSchema,
  type Setting,
  SettingSchema,
} from "../wire/schema.ts";
import { openSetting, SETTING_FORMER, sealSetting } from "../wire/settings.ts";
import { importSeed, newIdentity, signedOrEmpty } from "../wire/sign.ts";
import { KEY_BYTES, newAccountKey, newDevice, newPassword, type Opened } from "./account.ts";
import { type Core, sealAccountKey } from "./core.ts";
import { Meta } from "./records.ts";
import type { Ask } from "./sync.ts";

/** With an administrator's code: a new identity and a new password for an account, with this browser as its one device. */
export async function reset(
  rest: Rest,
  base: string,
  code: string,
  userName: string,
  password: string,
  deviceName: string,
): Promise<Opened> {
  const user = foldUserName(userName);
  const ask = create(ResetParamsRequestSchema, { user, code });
  const params = await rest.call(
    "POST",
    "/api/v1/reset/params",
    ResetParamsSchema,
    body(ResetParamsRequestSchema, ask),
  );
  const account = idFrom(params.account);
  const before = await openDeviceList(signedOrEmpty(params.deviceList));
  if (before.account !== account) throw forbidden("the server returned somebody else's devices");
  const [identity, accountSeed, device] = await Promise.all([newIdentity(), newAccountKey(), newDevice()]);
  const next = nextDeviceList(before, Date.now());
  next.identityKey = identity.publicKey;
  next.generation++;
  next.accountKey = accountSeed.publicKey;
  next.devices = [device.keys];
  const list = await signDeviceList(await importSeed(identity.seed), next);
  const master = randomBytes(KEY_BYTES);
  const ring = create(KeyRingSchema, {
    identitySeed: identity.seed,
    keys: [{ generation: next.generation, privateKey: accountSeed.seed }],
  });
  const request = create(ResetRequestSchema, {
    user,
    code,
    deviceList: list,
    password: await newPassword(base, account, user, password, master),
    keyRing: await sealKeyRing(master, account, ring),
    deviceName,
  });
  const sealed = await sealAccountKey(device.profile.storeKey, account, accountSeed.seed);
  await rest.call("POST", "/api/v1/reset", SessionOpenedSchema, body(ResetRequestSchema, request));
  const accountKeys = [{ generation: next.generation, sealed }];
  return {
    profile: { ...device.profile, account, userName: user, accountKeys, identity: null },
    list,
    pinned: null,
  };
}

/** The account keys from before a reset, by the recovery code of then; they are given to the account's other devices too. */
export async function recoverFormer(core: Core, rest: Rest, base: string, ask: Ask, code: string): Promise<boolean> {
  const { auth, wrap } = await (await parseRecoveryCode(code)).secrets(serverHost(base));
  const request = create(FormerRequestSchema, { authSecret: auth });
  const former = await rest.call(
    "POST",
    "/api/v1/recovery/former",
    FormerKeysSchema,
    body(FormerRequestSchema, request),
  );
  const master = await unwrapMaster(wrap, core.account, former.wrappedMaster ?? create(SealedSchema));
  const { keys } = await openKeyRing(master, core.account, former.keyRing ?? create(SealedSchema));
  const newest = core.profile.accountKeys.at(-1)?.generation ?? 0;
  for (const { generation } of core.profile.accountKeys.slice(0, -1)) {
    const privateKey = await core.accountKeyBytes(generation); // of a reset before that one, recovered before
    if (privateKey !== null && !keys.some((k) => k.generation === generation))
      keys.push(create(FormerSettingSchema, { keys: [{ generation, privateKey }] }).keys[0] as AccountKey);
  }
  const privateKey = await core.accountKeyBytes(newest);
  if (privateKey === null) throw forbidden("this browser has no account key");
  const setting = create(FormerSettingSchema, { keys });
  const value = await sealSetting(
    { generation: newest, privateKey },
    core.account,
    SETTING_FORMER,
    FormerSettingSchema,
    setting,
  );
  const set = create(SetSettingSchema, { setting: create(SettingSchema, { key: SETTING_FORMER, value }) });
  await ask({ case: "setSetting", value: set }, "ok");
  return addFormer(core, keys);
}

/** Takes account keys that another device of this account recovered; resolves to whether there was one that was new. */
export async function takeFormer(core: Core, settings: readonly Setting[]): Promise<boolean> {
  const setting = settings.find((s) => s.key === SETTING_FORMER);
  if (setting === undefined || setting.value.length === 0) return false;
  const find = (generation: number): Promise<Uint8Array | null> => core.accountKeyBytes(generation);
  const former = await openSetting(find, core.account, SETTING_FORMER, FormerSettingSchema, setting.value);
  return addFormer(core, former.keys);
}

async function addFormer(core: Core, keys: readonly AccountKey[]): Promise<boolean> {
  const { profile } = core;
  const fresh = keys.filter(
    (k) => k.privateKey.length === KEY_BYTES && !profile.accountKeys.some((one) => one.generation === k.generation),
  );
  if (fresh.length === 0) return false;
  const sealed = await Promise.all(
    fresh.map(async ({ generation, privateKey }) => ({
      generation,
      sealed: await sealAccountKey(profile.storeKey, core.account as ID, own(privateKey)),
    })),
  );
  await core.step(async (s) => {
    const accountKeys = [...profile.accountKeys, ...sealed].sort((a, b) => a.generation - b.generation);
    s.batch.set(Meta.profile, { ...profile, accountKeys });
    s.afterwards(() => {
      profile.accountKeys = accountKeys;
    });
  });
  return true;
}
