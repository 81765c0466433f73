import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import { type Bytes, equal, own, randomBytes, utf8 } from "../wire/bytes.ts";
import { openFrom, type SealPair, sealTo } from "../wire/hpke.ts";
import { SealedSchema } from "../wire/schema.ts";
import { openBytes, sealBytes } from "../wire/seal.ts";
import { tuple, u32 } from "../wire/tuple.ts";
import type { Core } from "./core.ts";
import { Batch, type Database } from "./db.ts";
import { Meta, type Schema, type StoreName } from "./records.ts";

// What stays of an account in a browser that was signed out from elsewhere: nothing that this browser can read. Its
// people, conversations and messages lie sealed to the account's own key, which comes back with the password; so what
// was not sent yet, or went directly alone, is not lost.

const LABEL = "browser-locked";
const ROWS = 200; // sealed at once
const KEPT = ["people", "deviceKeys", "conversations", "invitations", "messages"] as const;

/** What is known of a locked account without its keys. */
interface Locked {
  readonly account: string;
  readonly identityKey: Bytes;
  readonly generation: number; // of the account key that opens it
  readonly enc: Bytes;
  readonly ciphertext: Bytes;
  readonly parts: number;
}

const partKey = (n: number): string => `locked/${n}`;

/** Seals everything of an account away and forgets its keys. The engine must have stopped. */
export async function lock(db: Database, core: Core): Promise<void> {
  const self = core.people.get(core.account);
  const list = await core.list(self);
  const batch = new Batch();
  if (list !== null) {
    const { generation, identityKey, accountKey } = list.list;
    const key = randomBytes(32);
    const sealed = await sealTo(accountKey, keyInfo(core.account, generation), key);
    const parts = await sealRows(db, key);
    const locked: Locked = { account: core.account, identityKey: own(identityKey), generation, ...sealed, parts };
    batch.set(Meta.locked, locked);
  }
  for (const name of db.objectStoreNames) if (name !== "meta") batch.clear(name as StoreName);
  batch.delete("meta", Meta.profile).delete("meta", Meta.accountVersion);
  await batch.commit(db);
}

/** Writes sealed copies beside what is there; until that is cleared they change nothing. */
async function sealRows(db: Database, key: Uint8Array): Promise<number> {
  let parts = 0;
  for (const store of KEPT) {
    for await (const rows of pages(db, store)) {
      const plain = utf8(JSON.stringify({ store, rows }, pack));
      await db.put("meta", own(toBinary(SealedSchema, await sealBytes(key, plain, LABEL, u32(parts)))), partKey(parts));
      parts++;
    }
  }
  return parts;
}

/** The rows of a store, some at once. */
export async function* pages<S extends StoreName>(db: Database, store: S): AsyncGenerator<Schema[S]["value"][]> {
  let range: IDBKeyRange | null = null;
  for (;;) {
    const tx = db.transaction(store as StoreName);
    const [keys, rows]: [IDBValidKey[], unknown[]] = await Promise.all([
      tx.store.getAllKeys(range as never, ROWS),
      tx.store.getAll(range as never, ROWS),
    ]);
    const last = keys.at(-1);
    if (last === undefined) return;
    yield rows as Schema[S]["value"][];
    range = IDBKeyRange.lowerBound(last, true);
  }
}

/** Whose account is locked in this browser, null when none is. */
export async function lockedAccount(db: Database): Promise<{ account: string; identityKey: Bytes } | null> {
  return ((await db.get("meta", Meta.locked)) as Locked | undefined) ?? null;
}

/**
 * Puts back what lock sealed away, if the account key of that generation opens it; says whether it did. The sealed copy
 * stays until the batch of forgetLocked is written.
 */
export async function unlock(
  db: Database,
  account: string,
  identityKey: Uint8Array,
  accountKey: (generation: number) => Promise<SealPair | null>,
): Promise<boolean> {
  const locked = (await db.get("meta", Meta.locked)) as Locked | undefined;
  if (locked === undefined || locked.account !== account || !equal(locked.identityKey, identityKey)) return false;
  const pair = await accountKey(locked.generation);
  if (pair === null) return false;
  const key = await openFrom(pair, locked.enc, keyInfo(account, locked.generation), locked.ciphertext);
  for (let n = 0; n < locked.parts; n++) {
    const sealed = fromBinary(SealedSchema, (await db.get("meta", partKey(n))) as Bytes);
    const plain = new TextDecoder().decode(await openBytes(key, sealed, LABEL, u32(n)));
    const { store, rows } = JSON.parse(plain, unpack) as { store: (typeof KEPT)[number]; rows: never[] };
    const batch = new Batch();
    for (const row of rows) batch.put(store, row);
    await batch.commit(db);
  }
  return true;
}

/** Removes what lock left. */
export async function forgetLocked(db: Database, batch: Batch): Promise<void> {
  const locked = (await db.get("meta", Meta.locked)) as Locked | undefined;
  for (let n = 0; n < (locked?.parts ?? 0); n++) batch.delete("meta", partKey(n));
  batch.delete("meta", Meta.locked);
}

function keyInfo(account: string, generation: number): Bytes {
  return tuple(LABEL, utf8(account), u32(generation));
}

/** JSON has no bytes. */
function pack(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? { $bytes: base64Encode(value) } : value;
}

function unpack(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("$bytes" in value)) return value;
  return typeof value.$bytes === "string" ? base64Decode(value.$bytes) : value;
}
