import { clone } from "@bufbuild/protobuf";
import { type Bytes, equal, HASH_SIZE, KEY_SIZE } from "./bytes.ts";
import { forbidden, malformed, staleList, unsupported } from "./errors.ts";
import { type ID, idBytes, idFrom } from "./ids.ts";
import { MAX_DEVICES, SUITE } from "./limits.ts";
import { type DeviceKeys, type DeviceList as DeviceListMessage, DeviceListSchema, type Signed } from "./schema.ts";
import { type SigningKey, signMessage, verify } from "./sign.ts";
import { hash, Label } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

/**
 * A list whose signature by the identity key it names was verified; openDeviceList makes it. Whether
 * that is the identity pinned for the account is for the caller to check.
 */
export class DeviceList {
  readonly account: ID;
  readonly list: DeviceListMessage;
  readonly hash: Bytes;
  readonly signed: Signed;

  /** @internal use openDeviceList */
  constructor(list: DeviceListMessage, hash: Bytes, signed: Signed) {
    this.account = idFrom(list.account);
    this.list = list;
    this.hash = hash;
    this.signed = signed;
  }

  /** The keys of a device that stands in the list. */
  device(id: ID): DeviceKeys | undefined {
    return find(this.list, idBytes(id));
  }

  /**
   * Throws unless this follows directly on previous (stale_list), keeps the identity (forbidden) and the
   * keys of devices, and drops devices only together with the account key they have (malformed).
   */
  checkSuccessor(previous: DeviceList): void {
    const [now, old] = [this.list, previous.list];
    this.#checkIdentity(old);
    if (now.version !== old.version + 1n || !equal(now.previous, previous.hash)) {
      throw staleList(`the device list does not follow on version ${old.version}: fetch the newest and try again`);
    }
    if (now.generation < old.generation || now.generation > old.generation + 1) {
      throw malformed(`the account key generation jumps from ${old.generation} to ${now.generation}`);
    }
    const sameGeneration = now.generation === old.generation;
    if (sameGeneration !== equal(now.accountKey, old.accountKey)) {
      throw malformed("account key and generation change only together");
    }
    for (const device of old.devices) {
      const stays = find(now, device.device);
      if (stays === undefined) {
        if (sameGeneration) {
          throw malformed("the device list drops a device that still has the account key: it needs a new generation");
        }
      } else if (!equal(stays.signKey, device.signKey) || !equal(stays.sealKey, device.sealKey)) {
        throw malformed("the device list changes the keys of a device");
      }
    }
  }

  /**
   * Throws unless this follows directly on previous (stale_list) as the list of the same account with another identity
   * (forbidden), after an administrator let its person start again: one generation further, with another account key and no
   * device of before (malformed). It proves nothing: whoever runs the server can make one. A client that pinned the identity
   * before asks its person.
   */
  checkReset(previous: DeviceList): void {
    const [now, old] = [this.list, previous.list];
    if (!equal(now.account, old.account)) throw forbidden("the device list is of another account");
    if (equal(now.identityKey, old.identityKey)) {
      throw forbidden("the device list has the identity of before: this is no reset");
    }
    if (now.version !== old.version + 1n || !equal(now.previous, previous.hash)) {
      throw staleList(`the device list does not follow on version ${old.version}: fetch the newest and try again`);
    }
    if (now.generation !== old.generation + 1 || equal(now.accountKey, old.accountKey)) {
      throw malformed("a new identity takes the next generation, with another account key");
    }
    if (old.devices.some((device) => find(now, device.device) !== undefined)) {
      throw malformed("the device list of a new identity keeps a device of before");
    }
  }

  /**
   * Throws unless a client that has seen newest of this account may take this: the same identity
   * (forbidden), no lower version (stale_list), of the same version no other body, and of the next one a
   * true successor.
   */
  checkSeen(newest: DeviceList): void {
    this.#checkIdentity(newest.list);
    const [version, seen] = [this.list.version, newest.list.version];
    if (version < seen || (version === seen && !equal(this.hash, newest.hash))) {
      throw staleList(`a newer or another device list than version ${version} was seen before`);
    }
    if (version === seen + 1n) this.checkSuccessor(newest);
  }

  #checkIdentity(other: DeviceListMessage): void {
    if (!equal(this.list.account, other.account) || !equal(this.list.identityKey, other.identityKey)) {
      throw forbidden("the device list is of another identity");
    }
  }
}

function find(list: DeviceListMessage, device: Uint8Array): DeviceKeys | undefined {
  return list.devices.find((d) => equal(d.device, device));
}

/** Verifies and parses a list (docs/PROTOCOL.md §3). */
export async function openDeviceList(s: Signed): Promise<DeviceList> {
  const list = unmarshal(DeviceListSchema, s.body); // the key to verify with stands inside
  await verify(list.identityKey, Label.deviceList, s.signature, s.body);
  checkDeviceList(list);
  return new DeviceList(list, await hash(Label.deviceListHash, s.body), s);
}

function checkDeviceList(l: DeviceListMessage): void {
  if (l.suite !== SUITE) throw unsupported(`a device list of suite ${l.suite} needs a newer Parley`);
  idFrom(l.account);
  if (l.version === 0n || l.generation === 0) throw malformed("a device list has no version");
  if (l.previous.length !== (l.version === 1n ? 0 : HASH_SIZE)) {
    throw malformed(`device list ${l.version} does not name the one before it`);
  }
  if (l.accountKey.length !== KEY_SIZE) throw malformed("a device list has no account key");
  if (l.devices.length === 0 || l.devices.length > MAX_DEVICES) {
    throw malformed(`a device list holds 1 to ${MAX_DEVICES} devices`);
  }
  const seen = new Set<ID>();
  for (const d of l.devices) {
    const id = idFrom(d.device);
    if (seen.has(id) || d.signKey.length !== KEY_SIZE || d.sealKey.length !== KEY_SIZE) {
      throw malformed("a device list names a device twice or without keys");
    }
    seen.add(id);
  }
}

/** Copies a list as its unsigned successor, to be changed and signed. */
export function nextDeviceList(l: DeviceList, timeMS: number): DeviceListMessage {
  const next = clone(DeviceListSchema, l.list);
  next.version += 1n;
  next.previous = l.hash;
  next.timeMs = BigInt(timeMS);
  return next;
}

/** Checks and signs a list with the identity key. */
export async function signDeviceList(identity: SigningKey, l: DeviceListMessage): Promise<Signed> {
  checkDeviceList(l);
  return signMessage(identity, Label.deviceList, DeviceListSchema, l);
}
