import type { IDBPDatabase, IDBPTransaction, StoreNames } from "idb";
import { Meta, type Schema, type StoredConversation, type StoredCounter, type StoredMessage } from "./records.ts";

type Change = IDBPTransaction<Schema, StoreNames<Schema>[], "versionchange">;

/** Brings a database of any earlier version to the newest, step by step. Steps that were shipped never change. */
export async function upgrade(db: IDBPDatabase<Schema>, from: number, _to: number | null, tx: Change): Promise<void> {
  if (from < 1) first(db);
  if (from < 2) await second(db, tx);
  if (from < 3) await third(db, tx);
}

function first(db: IDBPDatabase<Schema>): void {
  db.createObjectStore("meta");
  db.createObjectStore("people", { keyPath: "account" });
  db.createObjectStore("deviceKeys", { keyPath: ["account", "device"] });
  db.createObjectStore("conversations", { keyPath: "id" });
  db.createObjectStore("epochKeys", { keyPath: ["conversation", "epoch"] });
  db.createObjectStore("invitations", { keyPath: "code" });
  const messages = db.createObjectStore("messages", { keyPath: ["conversation", "device", "id"] });
  messages.createIndex("place", ["conversation", "place"]);
  messages.createIndex("status", ["status", "arrival"]);
}

/** Epochs that wait for a key, own devices, texts of other tabs; counters of devices; reading a log anew. */
async function second(db: IDBPDatabase<Schema>, tx: Change): Promise<void> {
  db.createObjectStore("epochs", { keyPath: ["conversation", "epoch"] });
  db.createObjectStore("devices", { keyPath: "device" });
  db.createObjectStore("intents", { keyPath: "id" });
  tx.objectStore("messages").createIndex("standing", ["conversation", "status", "arrival"]);
  const counters: Record<string, Record<string, StoredCounter>> = {};
  const marks: Record<string, StoredConversation["mark"]> = {};
  let message = await tx.objectStore("messages").openCursor();
  for (; message !== null; message = await message.continue()) {
    const m = message.value;
    if (m.seq > 0) note(counters, m);
    if (m.seq > (marks[m.conversation]?.seq ?? 0)) marks[m.conversation] = { seq: m.seq, hash: m.hash };
    await message.update({ ...m, after: 0, replaced: false });
  }
  let row = await tx.objectStore("conversations").openCursor();
  for (; row !== null; row = await row.continue())
    await row.update({
      ...row.value,
      mark: marks[row.value.id] ?? null,
      replay: null,
      counters: counters[row.value.id] ?? {},
    });
  let person = await tx.objectStore("people").openCursor();
  for (; person !== null; person = await person.continue()) await person.update({ ...person.value, admin: false });
  await tx.objectStore("meta").delete(Meta.accountVersion); // the server tells again, own devices too
}

/** What the account's devices share; pictures, who is blocked, and by which invitation somebody came. */
async function third(db: IDBPDatabase<Schema>, tx: Change): Promise<void> {
  db.createObjectStore("settings", { keyPath: "key" });
  let person = await tx.objectStore("people").openCursor();
  for (; person !== null; person = await person.continue())
    await person.update({ ...person.value, avatar: "", blocked: false, invitation: "" });
  await tx.objectStore("meta").delete(Meta.accountVersion); // the server tells again
}

/** What was not noted before is taken for complete. */
function note(counters: Record<string, Record<string, StoredCounter>>, m: StoredMessage): void {
  const of = counters[m.conversation] ?? {};
  const top = Math.max(of[m.device]?.top ?? 0, m.counter);
  counters[m.conversation] = { ...of, [m.device]: { account: m.account, top, missing: [], since: 0 } };
}
