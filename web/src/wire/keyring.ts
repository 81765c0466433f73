import { create, toBinary } from "@bufbuild/protobuf";
import { type Bytes, check32, equal, KEY_SIZE } from "./bytes.ts";
import { hasCode, malformed, staleList } from "./errors.ts";
import { importSealPair, openFrom, type SealPair, sealTo } from "./hpke.ts";
import { type ID, idBytes } from "./ids.ts";
import {
  type AccountKey,
  type DeviceKeys,
  type DeviceList,
  ErrorCode,
  type GenerationGrant,
  GenerationGrantSchema,
  type KeyRing,
  KeyRingSchema,
  type Sealed,
} from "./schema.ts";
import { openBytes, type SealingKey, sealBytes } from "./seal.ts";
import { importSeed, sign, verify } from "./sign.ts";
import { Label, tuple, u32 } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

/** Seals an account's keys under its master key. */
export function sealKeyRing(master: SealingKey, account: ID, ring: KeyRing): Promise<Sealed> {
  return sealBytes(master, toBinary(KeyRingSchema, ring), Label.keyRing, idBytes(account));
}

/** Opens what sealKeyRing made. checkKeyRing must follow. */
export async function openKeyRing(master: SealingKey, account: ID, s: Sealed): Promise<KeyRing> {
  return unmarshal(KeyRingSchema, await openBytes(master, s, Label.keyRing, idBytes(account)));
}

/**
 * Throws unless a ring belongs to a device list: its identity, and its newest account key (stale_list;
 * malformed when it lacks keys).
 */
export async function checkKeyRing(ring: KeyRing, list: DeviceList): Promise<void> {
  const newest = ring.keys.at(-1);
  if (ring.identitySeed.length !== KEY_SIZE || newest === undefined) throw malformed("the key ring lacks keys");
  let generation = 0;
  for (const k of ring.keys) {
    if (k.privateKey.length !== KEY_SIZE || k.generation <= generation) {
      throw malformed("the key ring's generations are out of order");
    }
    generation = k.generation;
  }
  const { publicKey } = await importSealPair(newest.privateKey);
  const belongs = generation === list.generation && equal(publicKey, list.accountKey);
  if (!belongs || !(await isSeedOf(ring.identitySeed, list.identityKey))) {
    throw staleList("the key ring is not the one of the account's device list: the server returned an older copy");
  }
}

/** Signs and verifies, because not every browser gives the public half of an imported key. */
async function isSeedOf(seed: Uint8Array, identityKey: Uint8Array): Promise<boolean> {
  const signature = await sign(await importSeed(seed), Label.keyRing);
  try {
    await verify(identityKey, Label.keyRing, signature);
    return true;
  } catch (e) {
    if (hasCode(e, ErrorCode.BAD_SIGNATURE)) return false;
    throw e;
  }
}

/** Seals the account master key under the password's wrapping key. */
export async function wrapMaster(wrap: SealingKey, account: ID, master: Uint8Array): Promise<Sealed> {
  check32("the master key", master);
  return sealBytes(wrap, master, Label.masterPassword, idBytes(account));
}

/** Opens what wrapMaster made. Throws malformed, also for a wrong password. */
export async function unwrapMaster(wrap: SealingKey, account: ID, s: Sealed): Promise<Bytes> {
  const master = await openBytes(wrap, s, Label.masterPassword, idBytes(account));
  check32("the master key", master);
  return master;
}

/** Seals a new generation of the account key to one remaining device. */
export async function grantGeneration(account: ID, to: DeviceKeys, key: AccountKey): Promise<GenerationGrant> {
  const { device } = to;
  const { generation } = key;
  const sealed = await sealTo(to.sealKey, generationInfo(account, generation, device), key.privateKey);
  return create(GenerationGrantSchema, { device, generation, ...sealed });
}

/** Opens a grant with the device's seal key; returns the private account key. */
export async function openGeneration(sealKey: SealPair, account: ID, g: GenerationGrant): Promise<Bytes> {
  const key = await openFrom(sealKey, g.enc, generationInfo(account, g.generation, g.device), g.ciphertext);
  check32("an account key", key);
  return key;
}

function generationInfo(account: ID, generation: number, device: Uint8Array): Bytes {
  return tuple(Label.generation, idBytes(account), u32(generation), device);
}
