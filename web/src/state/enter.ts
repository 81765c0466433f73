import { equal, own } from "../wire/bytes.ts";
import { openDeviceList } from "../wire/devices.ts";
import type { Opened } from "./account.ts";
import { accountKey, Core } from "./core.ts";
import { Batch, type Database } from "./db.ts";
import { forgetLocked, unlock } from "./lock.ts";
import { learnList } from "./people.ts";
import { END, Meta, type Profile, type StoredMessage, type StoreName } from "./records.ts";
import type { Step } from "./step.ts";
import { readAnew } from "./sync.ts";

const STORES: readonly StoreName[] = [
  "meta",
  "people",
  "deviceKeys",
  "conversations",
  "epochs",
  "epochKeys",
  "invitations",
  "devices",
  "intents",
  "settings",
  "messages",
];

/**
 * Writes a new profile and what it begins with. Of another account, or another identity, nothing that was stored
 * before stays; of the same one the history stays, and what its old device had not sent yet waits for "try again".
 */
export async function moveIn(db: Database, opened: Opened): Promise<void> {
  const stays = (await isSame(db, opened)) || (await isUnlocked(db, opened));
  if (!stays) {
    const batch = new Batch();
    for (const store of STORES) batch.clear(store);
    await batch.commit(db);
  }
  const core = await Core.load(db, opened.profile);
  await core.step(async (s) => {
    s.batch.set(Meta.profile, opened.profile);
    await forgetLocked(db, s.batch);
    if (stays) leaveDevice(s);
    const self = s.person(core.account);
    if (opened.list !== null) await learnList(s, self, opened.list);
    self.userName = opened.profile.userName;
    s.savePerson(self);
    if (opened.pinned === null) return;
    const inviter = s.person(opened.pinned.account);
    inviter.identityKey = own(opened.pinned.list.list.identityKey);
    inviter.nickname = opened.pinned.nickname;
    await learnList(s, inviter, opened.pinned.list.signed);
    s.savePerson(inviter);
  });
}

async function isSame(db: Database, opened: Opened): Promise<boolean> {
  const before = (await db.get("meta", Meta.profile)) as Profile | undefined;
  if (before?.account !== opened.profile.account || opened.list === null) return false;
  const { list } = await openDeviceList(opened.list);
  const self = await db.get("people", opened.profile.account);
  return self?.identityKey != null && equal(self.identityKey, list.identityKey);
}

/** Puts back what was sealed away of the same account. */
async function isUnlocked(db: Database, { profile, list }: Opened): Promise<boolean> {
  if (list === null || (await db.get("meta", Meta.profile)) !== undefined) return false;
  const { identityKey } = (await openDeviceList(list)).list;
  return unlock(db, profile.account, identityKey, (generation) => accountKey(profile, generation));
}

/** The keys that the old device sealed for itself do not open any more: the logs bring their grants again. */
function leaveDevice(s: Step): void {
  s.batch.clear("epochKeys").clear("epochs").clear("intents");
  for (const id of s.core.conversations.keys()) {
    const row = s.conversationOrNew(id);
    s.saveConversation({ ...row, counter: 0 }); // the new device counts from one
    readAnew(s, id);
  }
  const left = (m: StoredMessage): StoredMessage => ({ ...m, status: "failed", failure: "signed-out", envelope: null });
  s.batch.each("status", IDBKeyRange.bound(["waiting", 0], ["waiting", END]), left);
}
