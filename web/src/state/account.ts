import { create } from "@bufbuild/protobuf";
import { body, type Rest, UnreachableError } from "../net/rest.ts";
import { SignedOutError } from "../net/socket.ts";
import { type Bytes, equal, own, randomBytes } from "../wire/bytes.ts";
import { createPair } from "../wire/commit.ts";
import { type DeviceList, nextDeviceList, openDeviceList, signDeviceList } from "../wire/devices.ts";
import { forbidden, WireError } from "../wire/errors.ts";
import type { MemberKey } from "../wire/grants.ts";
import { serverHost } from "../wire/host.ts";
import { importSealPair, newSealPair } from "../wire/hpke.ts";
import { type ID, idBytes, idFrom, newID, pairID } from "../wire/ids.ts";
import { parseInvitation } from "../wire/invitation.ts";
import { checkKeyRing, openKeyRing, sealKeyRing, unwrapMaster, wrapMaster } from "../wire/keyring.ts";
import { signDeviceLogin } from "../wire/login.ts";
import { cleanNickname, foldUserName } from "../wire/names.ts";
import { newPasswordParams, passwordSecrets } from "../wire/password.ts";
import type { RecoveryCode } from "../wire/recovery.ts";
import {
  ChallengeRequestSchema,
  ChallengeSchema,
  ChangePasswordSchema,
  type DeviceKeys,
  DeviceKeysSchema,
  DeviceListSchema,
  ErrorCode,
  InvitationInfoSchema,
  InvitationSchema,
  type KeyRing,
  KeyRingSchema,
  LinkJoinSchema,
  type LoginGrant,
  LoginGrantSchema,
  LoginParamsRequestSchema,
  LoginRequestSchema,
  PasswordParamsSchema,
  type PasswordSetup,
  PasswordSetupSchema,
  RegisterRequestSchema,
  SealedSchema,
  SessionOpenedSchema,
  SessionRequestSchema,
  type Signed,
  UpdateDevicesSchema,
} from "../wire/schema.ts";
import { newSealingKey } from "../wire/seal.ts";
import { importSeed, newIdentity, newSigningPair, signedOrEmpty, signMessage } from "../wire/sign.ts";
import { checkPassword } from "../wire/strength.ts";
import { Label } from "../wire/tuple.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { sealAccountKey, sealIdentity } from "./core.ts";
import type { Profile } from "./records.ts";

export const KEY_BYTES = 32;

/** Who an opened invitation leads to. */
export interface Inviter {
  readonly code: string;
  readonly account: ID;
  readonly nickname: string;
  readonly list: DeviceList;
  readonly usable: boolean; // it can make an account
  readonly usesLeft: number;
  readonly expires: number; // ms since 1970
  join(account: ID, identityKey: Uint8Array): Promise<Signed>;
}

/** Fetches an invitation and opens it with its secret, the code and secret in one string or a whole link. */
export async function openInviter(rest: Rest, text: string): Promise<Inviter> {
  const secret = parseInvitation(text);
  const info = await rest.call("GET", `/api/v1/invitations/${secret.code}`, InvitationInfoSchema);
  const part = await secret.open(info.sealed);
  const list = await openDeviceList(signedOrEmpty(info.deviceList));
  if (!equal(list.list.identityKey, part.identityKey) || !equal(list.list.account, part.account)) {
    throw forbidden("the server shows another person than the invitation names");
  }
  const account = idFrom(part.account);
  return {
    code: secret.code,
    account,
    nickname: part.nickname,
    list,
    usable: info.registration !== "closed" && info.usesLeft > 0,
    usesLeft: info.usesLeft,
    // Read without its signature, whose device may be gone: like the uses it is shown and nothing rests on it.
    expires: Number(unmarshal(InvitationSchema, signedOrEmpty(info.invitation).body).expiresMs),
    async join(joiner, identityKey) {
      const { privateKey } = await secret.linkKey();
      const conversation = idBytes(await pairID(joiner, account));
      const join = create(LinkJoinSchema, { code: secret.code, account: idBytes(joiner), identityKey, conversation });
      return signMessage(privateKey, Label.linkJoin, LinkJoinSchema, join);
    },
  };
}

/** A fresh device, of no account yet. */
export interface NewDevice {
  readonly profile: Omit<Profile, "account" | "userName" | "accountKeys" | "identity">;
  readonly keys: DeviceKeys;
}

export async function newDevice(): Promise<NewDevice> {
  const [sign, seal, storeKey] = await Promise.all([newSigningPair(), newSealPair(), newSealingKey()]);
  const device = newID();
  return {
    profile: { device, signKey: sign.privateKey, sealKey: seal.privateKey, sealPublic: seal.publicKey, storeKey },
    keys: create(DeviceKeysSchema, {
      device: idBytes(device),
      signKey: sign.publicKey,
      sealKey: seal.publicKey,
      addedMs: BigInt(Date.now()),
    }),
  };
}

/** The name that the list of devices shows for this browser. */
export function deviceName(agent: string): string {
  const browser = /Firefox\//.test(agent)
    ? "Firefox"
    : /Edg\//.test(agent)
      ? "Edge"
      : /Chrom/.test(agent)
        ? "Chrome"
        : /Safari\//.test(agent)
          ? "Safari"
          : "Browser";
  const system = /Android/.test(agent)
    ? "Android"
    : /iPhone|iPad/.test(agent)
      ? "iOS"
      : /Windows/.test(agent)
        ? "Windows"
        : /Mac OS/.test(agent)
          ? "macOS"
          : "Linux";
  return `${browser} · ${system}`;
}

/** What the server is told of a new password. about are names that others know. Throws weak_parameters. */
export async function newPassword(
  base: string,
  account: ID,
  user: string,
  password: string,
  master: Uint8Array,
): Promise<PasswordSetup> {
  const host = serverHost(base);
  checkPassword(password, [user, host]);
  const params = newPasswordParams(host);
  const { auth, wrap } = await passwordSecrets(password, host, user, params);
  return create(PasswordSetupSchema, {
    params,
    authSecret: auth,
    wrappedMaster: await wrapMaster(wrap, account, master),
  });
}

export interface NewAccount {
  readonly userName: string; // "" for a name only
  readonly nickname: string;
  readonly password: string;
  readonly setup: string;
  readonly place: string;
  readonly deviceName: string;
  readonly inviter: Inviter | null;
}

/** What a new session begins with. */
export interface Opened {
  readonly profile: Profile;
  readonly list: Signed | null; // null: the server's is taken
  readonly pinned: Inviter | null;
}

/** Makes an account with this browser as its first device. */
export async function register(rest: Rest, base: string, a: NewAccount): Promise<Opened> {
  const nickname = cleanNickname(a.nickname === "" ? a.userName : a.nickname);
  const userName = a.userName === "" ? "" : foldUserName(a.userName);
  const account = newID();
  const [identity, accountSeed, device] = await Promise.all([newIdentity(), newAccountKey(), newDevice()]);
  const list = create(DeviceListSchema, {
    suite: 1,
    account: idBytes(account),
    version: 1n,
    identityKey: identity.publicKey,
    generation: 1,
    accountKey: accountSeed.publicKey,
    devices: [device.keys],
    timeMs: BigInt(Date.now()),
  });
  const signed = await signDeviceList(await importSeed(identity.seed), list);
  const request = create(RegisterRequestSchema, {
    user: userName,
    nickname,
    deviceList: signed,
    deviceName: a.deviceName,
    setup: a.setup,
    serverName: a.place,
  });
  if (userName !== "") {
    const master = randomBytes(KEY_BYTES);
    request.password = await newPassword(base, account, userName, a.password, master);
    const ring = create(KeyRingSchema, {
      identitySeed: identity.seed,
      keys: [{ generation: 1, privateKey: accountSeed.seed }],
    });
    request.keyRing = await sealKeyRing(master, account, ring);
  }
  if (a.inviter !== null) {
    request.invitation = a.inviter.code;
    request.linkJoin = await a.inviter.join(account, identity.publicKey);
    const by = { account, device: idFrom(device.keys.device), key: device.profile.signKey, timeMS: Date.now() };
    const own = memberKey(await openDeviceList(signed));
    request.firstCommit = (await createPair(by, own, memberKey(a.inviter.list), request.linkJoin)).post;
  }
  const profile: Profile = {
    ...device.profile,
    account,
    userName,
    accountKeys: [{ generation: 1, sealed: await sealAccountKey(device.profile.storeKey, account, accountSeed.seed) }],
    identity: userName === "" ? await sealIdentity(device.profile.storeKey, account, identity.seed) : null,
  };
  await rest.call("POST", "/api/v1/register", SessionOpenedSchema, body(RegisterRequestSchema, request));
  return { profile, list: signed, pinned: a.inviter };
}

function memberKey(l: DeviceList): MemberKey {
  const { identityKey, generation, accountKey } = l.list;
  return { account: l.account, identityKey, generation, accountKey };
}

/** An X25519 key whose private half goes into the key ring: 32 random bytes (RFC 7748 §5). */
export async function newAccountKey() {
  const seed = randomBytes(KEY_BYTES);
  return { seed, publicKey: (await importSealPair(seed)).publicKey };
}

export interface OpenAccount {
  readonly grant: LoginGrant;
  readonly master: Uint8Array;
  readonly ring: KeyRing;
  readonly list: DeviceList;
  readonly account: ID;
}

/** Proves the password to the server and opens what it returns. */
export async function openAccount(rest: Rest, base: string, user: string, password: string): Promise<OpenAccount> {
  const params = await rest.call(
    "POST",
    "/api/v1/login/params",
    PasswordParamsSchema,
    body(LoginParamsRequestSchema, create(LoginParamsRequestSchema, { user })),
  );
  return proved(rest, "/api/v1/login", user, await passwordSecrets(password, serverHost(base), user, params));
}

/** The same with a recovery code. */
export async function openByRecovery(rest: Rest, base: string, user: string, code: RecoveryCode): Promise<OpenAccount> {
  return proved(rest, "/api/v1/login/recovery", user, await code.secrets(serverHost(base)));
}

async function proved(rest: Rest, path: string, user: string, s: { auth: Bytes; wrap: Bytes }): Promise<OpenAccount> {
  const request = create(LoginRequestSchema, { user, authSecret: s.auth });
  const grant = await rest.call("POST", path, LoginGrantSchema, body(LoginRequestSchema, request));
  const account = idFrom(grant.account);
  const master = await unwrapMaster(s.wrap, account, grant.wrappedMaster ?? create(SealedSchema));
  const ring = await openKeyRing(master, account, grant.keyRing ?? create(SealedSchema));
  const list = await openDeviceList(signedOrEmpty(grant.deviceList));
  if (list.account !== account) throw forbidden("the server returned somebody else's devices");
  await checkKeyRing(ring, list.list);
  return { grant, master, ring, list, account };
}

/** Adds this browser as a device of an account: the password opens the key ring, whose identity signs the longer list. */
export async function logIn(
  rest: Rest,
  base: string,
  userName: string,
  password: string,
  deviceName: string,
): Promise<Opened> {
  const user = foldUserName(userName);
  return addDevice(rest, await openAccount(rest, base, user, password), user, deviceName);
}

/** Adds this browser as a device of an account that was opened, and opens its session. */
export async function addDevice(rest: Rest, a: OpenAccount, user: string, deviceName: string): Promise<Opened> {
  const device = await newDevice();
  const next = nextDeviceList(a.list, Date.now());
  next.devices.push(device.keys);
  const list = await signDeviceList(await importSeed(a.ring.identitySeed), next);
  const accountKeys = await Promise.all(
    a.ring.keys.map(async (k) => ({
      generation: k.generation,
      sealed: await sealAccountKey(device.profile.storeKey, a.account, own(k.privateKey)),
    })),
  );
  const request = create(UpdateDevicesSchema, {
    ticket: a.grant.ticket,
    deviceList: list,
    newDevice: device.keys.device,
    deviceName,
  });
  await rest.call("PUT", "/api/v1/devices", SessionOpenedSchema, body(UpdateDevicesSchema, request));
  return {
    profile: { ...device.profile, account: a.account, userName: user, accountKeys, identity: null },
    list,
    pinned: null,
  };
}

/** Replaces the password of an account that was opened; every other session of it has to log in anew by its device. */
export async function setPassword(
  rest: Rest,
  base: string,
  a: OpenAccount,
  user: string,
  password: string,
): Promise<void> {
  const setup = await newPassword(base, a.account, user, password, a.master);
  const request = create(ChangePasswordSchema, { ticket: a.grant.ticket, password: setup });
  await rest.send("PUT", "/api/v1/password", body(ChangePasswordSchema, request));
}

/** Opens a new session by the device's signature. Throws SignedOutError when the server refuses. */
export async function renewSession(rest: Rest, base: string, p: Profile): Promise<void> {
  const [account, device] = [p.account as ID, p.device as ID];
  try {
    const ask = create(ChallengeRequestSchema, { account: idBytes(account), device: idBytes(device) });
    const challenge = await rest.call(
      "POST",
      "/api/v1/session/challenge",
      ChallengeSchema,
      body(ChallengeRequestSchema, ask),
    );
    const login = await signDeviceLogin(p.signKey, { host: serverHost(base), account, device, nonce: challenge.nonce });
    await rest.call(
      "POST",
      "/api/v1/session",
      SessionOpenedSchema,
      body(SessionRequestSchema, create(SessionRequestSchema, { login })),
    );
  } catch (e) {
    if (e instanceof WireError && !e.retryable) throw new SignedOutError(e.code === ErrorCode.UNAUTHENTICATED);
    throw e instanceof WireError ? new UnreachableError(e.message) : e;
  }
}
