// Accounts as a browser makes them: keys, a first device list, what commits need of them.
import { create } from "@bufbuild/protobuf";
import { type Bytes, randomBytes } from "../bytes.ts";
import type { Signer } from "../commit.ts";
import { type DeviceList, openDeviceList, signDeviceList } from "../devices.ts";
import type { MemberKey } from "../grants.ts";
import { importSealPair, newSealPair, type SealPair } from "../hpke.ts";
import { type ID, idBytes, newID } from "../ids.ts";
import { DeviceListSchema } from "../schema.ts";
import { importSeed, type Lookup, newIdentity, newSigningPair } from "../sign.ts";

export interface Maker {
  readonly account: ID;
  readonly device: ID;
  readonly identitySeed: Bytes;
  readonly accountPrivate: Bytes;
  readonly accountKey: SealPair;
  readonly seal: SealPair;
  readonly list: DeviceList;
  readonly signer: Signer;
  readonly member: MemberKey;
}

export async function makePerson(): Promise<Maker> {
  const account = newID();
  const device = newID();
  const identity = await newIdentity();
  const sign = await newSigningPair();
  const seal = await newSealPair();
  const accountPrivate = randomBytes(32);
  const accountKey = await importSealPair(accountPrivate);
  const list = create(DeviceListSchema, {
    suite: 1,
    account: idBytes(account),
    version: 1n,
    identityKey: identity.publicKey,
    generation: 1,
    accountKey: accountKey.publicKey,
    devices: [{ device: idBytes(device), signKey: sign.publicKey, sealKey: seal.publicKey, addedMs: 1n }],
    timeMs: 1n,
  });
  return {
    account,
    device,
    identitySeed: identity.seed,
    accountPrivate,
    accountKey,
    seal,
    list: await openDeviceList(await signDeviceList(await importSeed(identity.seed), list)),
    signer: { account, device, key: sign.privateKey, timeMS: 1 },
    member: { account, identityKey: identity.publicKey, generation: 1, accountKey: accountKey.publicKey },
  };
}

/** Looks into the lists of these people. */
export function lookupOf(...people: readonly Maker[]): Lookup {
  return (account, device) => {
    const keys = people.find((p) => p.account === account)?.list.device(device);
    if (keys === undefined) throw new Error("no such device");
    return keys.signKey;
  };
}
