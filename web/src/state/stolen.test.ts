// A copy of what a browser keeps: whoever has it cannot act as the device, nor open what the account and its conversations seal.
import { type IDBPDatabase, openDB } from "idb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Bytes, utf8 } from "../wire/bytes.ts";
import { type ID, idBytes } from "../wire/ids.ts";
import { SealedSchema } from "../wire/schema.ts";
import { openBytes } from "../wire/seal.ts";
import { u64 } from "../wire/tuple.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { Meta, type Profile, type Schema } from "./records.ts";
import { Place } from "./testing/place.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());

test("keys of the device cannot be exported", async () => {
  const { mia } = await place.pair();
  const db = await openDB<Schema>(mia.browser.database);
  const profile = await profileOf(db);
  for (const name of ["signKey", "sealKey", "storeKey"] as const) {
    const key = profile[name];
    expect(key.extractable, name).toBe(false);
    for (const format of ["raw", "pkcs8", "jwk"] as const) {
      await expect(crypto.subtle.exportKey(format as "jwk", key), `${name} as ${format}`).rejects.toThrow();
    }
  }
  db.close();
});

test("keys of the account and of epochs lie sealed, and nowhere in clear", async () => {
  const { mia, conversation } = await place.pair();
  await mia.session.send(conversation, "hello");
  const db = await openDB<Schema>(mia.browser.database);
  const profile = await profileOf(db);
  const open = (sealed: Bytes, label: string, ...fields: Bytes[]): Promise<Bytes> =>
    openBytes(profile.storeKey, unmarshal(SealedSchema, sealed), label, ...fields);
  const secrets: Bytes[] = [];
  for (const k of profile.accountKeys) secrets.push(await open(k.sealed, "browser-account-key", utf8(profile.account)));
  if (profile.identity !== null) secrets.push(await open(profile.identity, "browser-identity", utf8(profile.account)));
  for (const k of await db.getAll("epochKeys")) {
    secrets.push(await open(k.sealed, "browser-epoch-key", idBytes(k.conversation as ID), u64(BigInt(k.epoch))));
  }
  expect(secrets.length).toBeGreaterThanOrEqual(3);

  const kept: string[] = [];
  for (const store of db.objectStoreNames) collect(await db.getAll(store), kept);
  expect(kept.length).toBeGreaterThan(20);
  for (const secret of secrets) {
    expect(secret).toHaveLength(32);
    const hex = Buffer.from(secret).toString("hex");
    const base64 = Buffer.from(secret).toString("base64");
    expect(kept.some((k) => k.includes(hex) || k.includes(base64))).toBe(false);
  }
  db.close();
});

async function profileOf(db: IDBPDatabase<Schema>): Promise<Profile> {
  return (await db.get("meta", Meta.profile)) as Profile;
}

/** Every text in a value, and every byte string in hexadecimal. */
function collect(value: unknown, into: string[]): void {
  if (typeof value === "string") into.push(value);
  else if (value instanceof Uint8Array) into.push(Buffer.from(value).toString("hex"));
  else if (typeof value === "object" && value !== null) for (const part of Object.values(value)) collect(part, into);
}
