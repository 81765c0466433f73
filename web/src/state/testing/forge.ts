// What somebody makes who has no right to.
import { create } from "@bufbuild/protobuf";
import { signDeviceList } from "../../wire/devices.ts";
import { envelopeHash, sealEnvelope } from "../../wire/envelope.ts";
import { type ID, idBytes, newID } from "../../wire/ids.ts";
import {
  type AccountChanges,
  AccountChangesSchema,
  ContentSchema,
  type Event,
  EventSchema,
  HeaderSchema,
  Kind,
  type Signed,
} from "../../wire/schema.ts";
import { importSeed } from "../../wire/sign.ts";
import type { Maker } from "../../wire/testing/people.ts";
import { type Database, openDatabase } from "../db.ts";
import type { TestBrowser } from "./browser.ts";

export interface Claim {
  readonly account: string;
  readonly device: string;
  readonly conversation: string;
  readonly seq: bigint;
  readonly epoch?: bigint;
}

/** A text in somebody's name, sealed under a key and signed with a key that are not theirs. */
export async function forgedText(c: Claim, by: Maker, epochKey: Uint8Array, body: string): Promise<Event> {
  const header = create(HeaderSchema, {
    version: 1,
    suite: 1,
    conversation: idBytes(c.conversation as ID),
    epoch: c.epoch ?? 1n,
    id: idBytes(newID()),
    account: idBytes(c.account as ID),
    device: idBytes(c.device as ID),
    counter: 9n,
    timeMs: BigInt(Date.now()),
    kind: Kind.MESSAGE,
  });
  const content = create(ContentSchema, { kind: { case: "text", value: { body } } });
  const e = await sealEnvelope(epochKey, header, content, by.signer.key);
  return create(EventSchema, {
    conversation: header.conversation,
    seq: c.seq,
    relayMs: BigInt(Date.now()),
    hash: await envelopeHash(e),
    kind: { case: "envelope", value: e },
  });
}

/** A device list in somebody's name, signed by another identity. */
export async function forgedList(account: string, by: Maker): Promise<Signed> {
  return signDeviceList(await importSeed(by.identitySeed), { ...by.list.list, account: idBytes(account as ID) });
}

/** Account changes as a server pushes them; version 0 leaves the account's version alone. */
export function changes(of: Partial<AccountChanges>): { case: "accountChanges"; value: AccountChanges } {
  return { case: "accountChanges", value: Object.assign(create(AccountChangesSchema), of) };
}

/** Looks into a browser's database. */
export async function stored<T>(browser: TestBrowser, read: (db: Database) => Promise<T>): Promise<T> {
  const db = await openDatabase(browser.database, () => undefined);
  try {
    return await read(db);
  } finally {
    db.close();
  }
}
