// Takes a device out of an account as the password's owner does: the next generation goes to those that stay.
import { create } from "@bufbuild/protobuf";
import { body, Rest } from "../../net/rest.ts";
import { equal, randomBytes } from "../../wire/bytes.ts";
import { nextDeviceList, signDeviceList } from "../../wire/devices.ts";
import { importSealPair } from "../../wire/hpke.ts";
import { type ID, idBytes } from "../../wire/ids.ts";
import { grantGeneration, sealKeyRing } from "../../wire/keyring.ts";
import { UpdateDevicesSchema } from "../../wire/schema.ts";
import { importSeed } from "../../wire/sign.ts";
import { openAccount } from "../account.ts";
import { PASSWORD, type Place } from "./place.ts";

export async function revoke(place: Place, device: string): Promise<void> {
  const rest = new Rest(place.server.url, place.browser().fetch);
  const a = await openAccount(rest, place.server.url, "ada", PASSWORD);
  const privateKey = randomBytes(32);
  const list = nextDeviceList(a.list, Date.now());
  list.generation++;
  list.accountKey = (await importSealPair(privateKey)).publicKey;
  list.devices = list.devices.filter((d) => !equal(d.device, idBytes(device as ID)));
  const { generation } = list;
  a.ring.keys.push({ $typeName: "parley.v1.AccountKey", generation, privateKey });
  const newest = a.ring.keys.at(-1);
  if (newest === undefined) throw new Error("no key");
  const request = create(UpdateDevicesSchema, {
    ticket: a.grant.ticket,
    deviceList: await signDeviceList(await importSeed(a.ring.identitySeed), list),
    keyRing: await sealKeyRing(a.master, a.account, a.ring),
    generationGrants: await Promise.all(list.devices.map((d) => grantGeneration(a.account, d, newest))),
  });
  await rest.send("PUT", "/api/v1/devices", body(UpdateDevicesSchema, request));
}
