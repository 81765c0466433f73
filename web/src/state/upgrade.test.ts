// A database as the first version of the app left it.
import "fake-indexeddb/auto";
import { deleteDB, openDB } from "idb";
import { afterEach, expect, test } from "vitest";
import { openDatabase } from "./db.ts";
import { UNNUMBERED } from "./records.ts";

const NAME = "parley-upgrade";
afterEach(() => deleteDB(NAME));

/** The schema of version 1, as it was shipped. */
async function firstVersion() {
  return openDB(NAME, 1, {
    upgrade(db) {
      db.createObjectStore("meta");
      db.createObjectStore("people", { keyPath: "account" });
      db.createObjectStore("deviceKeys", { keyPath: ["account", "device"] });
      db.createObjectStore("conversations", { keyPath: "id" });
      db.createObjectStore("epochKeys", { keyPath: ["conversation", "epoch"] });
      db.createObjectStore("invitations", { keyPath: "code" });
      const messages = db.createObjectStore("messages", { keyPath: ["conversation", "device", "id"] });
      messages.createIndex("place", ["conversation", "place"]);
      messages.createIndex("status", ["status", "arrival"]);
    },
  });
}

const message = (id: string, seq: number, status: string) => ({
  conversation: "c",
  device: "d",
  id,
  account: "a",
  kind: 1,
  counter: seq,
  time: 1,
  seq,
  place: seq === 0 ? UNNUMBERED + 9 : seq,
  arrival: 9,
  hash: new Uint8Array([seq]),
  text: id,
  known: true,
  content: null,
  envelope: null,
  status,
  acked: false,
  path: "relay",
  failure: "",
});

test("everything stays, new fields have their meaning, and what the server has to tell again is asked for", async () => {
  const old = await firstVersion();
  await old.put("meta", { account: "a" }, "profile");
  await old.put("meta", 7n, "account_version");
  await old.put("people", { account: "a", nickname: "Ada" });
  await old.put("conversations", { id: "c", through: 3, draft: "half" });
  await old.put("messages", message("one", 2, "stored"));
  await old.put("messages", message("two", 3, "stored"));
  await old.put("messages", message("three", 0, "waiting"));
  old.close();

  const db = await openDatabase(NAME, () => undefined);
  expect(await db.get("meta", "profile")).toEqual({ account: "a" });
  expect(await db.get("meta", "account_version")).toBe(undefined);
  expect(await db.get("people", "a")).toMatchObject({
    nickname: "Ada",
    admin: false,
    avatar: "",
    blocked: false,
    invitation: "",
  });
  expect(await db.get("conversations", "c")).toEqual({
    id: "c",
    through: 3,
    draft: "half",
    mark: { seq: 3, hash: new Uint8Array([3]) },
    replay: null,
    counters: { d: { account: "a", top: 3, missing: [], since: 0 } },
  });
  const waiting = await db.getAllFromIndex(
    "messages",
    "standing",
    IDBKeyRange.bound(["c", "waiting", 0], ["c", "waiting", 99]),
  );
  expect(waiting).toMatchObject([{ id: "three", after: 0, replaced: false }]);
  expect(await db.count("messages")).toBe(3);
  expect([...db.objectStoreNames]).toEqual(expect.arrayContaining(["devices", "epochs", "intents", "settings"]));
  db.close();
});

test("a page with older code lets go when newer code wants the database", async () => {
  const lost: string[] = [];
  const db = await openDatabase(NAME, (why) => lost.push(why));
  const newer = await openDB(NAME, db.version + 1);
  expect(lost).toEqual(["replaced"]);
  expect(() => db.transaction("meta")).toThrow();
  newer.close();
});

test("a page whose database is removed hears that", async () => {
  const lost: string[] = [];
  await openDatabase(NAME, (why) => lost.push(why));
  await deleteDB(NAME);
  expect(lost).toEqual(["removed"]);
});
