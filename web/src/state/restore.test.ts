// A server that was restored from an older copy of its data: what it lost comes back from those who have it.
import { afterEach, beforeEach, expect, test } from "vitest";
import { equal } from "../wire/bytes.ts";
import { type ID, idBytes } from "../wire/ids.ts";
import { ErrorCode } from "../wire/schema.ts";
import { seen, shows, texts } from "./testing/browser.ts";
import { connected, Place, type Resident } from "./testing/place.ts";
import { nothing, refuse, spoil } from "./testing/tamper.ts";

let place: Place;
beforeEach(async () => {
  place = await Place.open();
});
afterEach(() => place.close());

/** Stops the server, does something to its data, starts it again and waits until everybody is back. */
async function restart(change: () => void, ...people: Resident[]): Promise<void> {
  await place.server.stop();
  for (const r of people) await seen(r.session, (v) => v.connection.kind !== "connected", "the server is away");
  change();
  await place.server.start();
  for (const r of people) {
    if (r.browser.line.isCut) continue;
    r.session.retryNow();
    await connected(r.session);
  }
}
const backUp = (...people: Resident[]): Promise<void> => restart(() => place.server.backUp(), ...people);
const restore = (...people: Resident[]): Promise<void> => restart(() => place.server.restore(), ...people);

test("messages that the copy lacks are posted again, under the same ids and once", async () => {
  const { mia, ben, conversation } = await place.pair();
  const [hers, his] = [mia.session.open(conversation), ben.session.open(conversation)];
  await mia.session.send(conversation, "kept");
  await shows(his, (m) => m.length === 1, "he has the first");
  await backUp(mia, ben);
  await mia.session.send(conversation, "lost 1");
  await shows(his, (m) => m.length === 2, "he has the second");
  await ben.session.send(conversation, "lost 2");
  const before = await shows(hers, (m) => m.length === 3 && m[1]?.state === "delivered", "she has his");
  await restore(mia, ben);
  for (const open of [hers, his]) {
    await shows(open, (m) => m.length === 3 && m.every((one) => one.seq > 0), "everything has a number again");
    expect(new Set(texts(open.timeline().messages))).toEqual(new Set(["kept", "lost 1", "lost 2"]));
  }
  expect(new Set(hers.timeline().messages.map((m) => m.key))).toEqual(new Set(before.map((m) => m.key)));
  await mia.session.send(conversation, "and on");
  await shows(his, (m) => m.length === 4 && m.at(-1)?.text === "and on", "it goes on, behind the others");
});

test("a copy whose log is as long again is told from the one that was", async () => {
  const { mia, ben, conversation } = await place.pair();
  const [hers, his] = [mia.session.open(conversation), ben.session.open(conversation)];
  await backUp(mia, ben);
  await mia.session.send(conversation, "in the log that was");
  await shows(his, (m) => m.length === 1, "he has it");
  await shows(hers, (m) => m[0]?.state === "delivered", "she knows");
  mia.browser.line.cut();
  await restore(mia, ben);
  await ben.session.send(conversation, "in the log that is"); // takes the number of hers
  await shows(his, (m) => m.some((one) => one.text === "in the log that is" && one.seq > 0), "numbered");
  mia.browser.line.mend();
  mia.session.retryNow();
  await connected(mia.session);
  for (const open of [hers, his]) {
    await shows(open, (m) => m.length === 2 && m.every((one) => one.seq > 0), "both have both");
    expect(texts(open.timeline().messages)).toEqual(["in the log that is", "in the log that was"]);
  }
});

/** Makes a member's device commit a new epoch: its relay says that one is needed. */
async function rekey(r: Resident, conversation: string): Promise<void> {
  const { line } = r.browser;
  let committed = 0;
  line.down = (f) => {
    if (committed > 0) return undefined;
    if (f.kind.case === "page" && f.kind.value.state !== undefined) f.kind.value.state.needsEpoch = true;
    return f.kind.case === "posted" ? refuse(ErrorCode.NEEDS_EPOCH)(f) : f;
  };
  line.up = (f) => {
    if (f.kind.case === "commit") committed++;
    return committed === 0 ? spoil()(f) : undefined;
  };
  await r.session.send(conversation, "in a new epoch");
  await shows(
    r.session.open(conversation),
    (m) => m.at(-1)?.text === "in a new epoch" && m.at(-1)?.seq !== 0,
    "re-keyed",
  );
  line.up = nothing;
  line.down = nothing;
}

test.each([
  ["the commit of a new epoch is lost with the copy", false],
  ["the log has several epochs that are kept", true],
])("%s: the chain is checked from its beginning, and all is there", async (_, kept) => {
  const { mia, ben, conversation } = await place.pair();
  const [hers, his] = [mia.session.open(conversation), ben.session.open(conversation)];
  await ben.session.send(conversation, "in the first epoch");
  await shows(hers, (m) => m.length === 1, "she has it");
  if (kept) await rekey(mia, conversation);
  await backUp(mia, ben);
  if (!kept) await rekey(mia, conversation);
  await ben.session.send(conversation, "lost by Ben");
  const all = ["in the first epoch", "in a new epoch", "lost by Ben"];
  await shows(hers, (m) => m.length === 3 && m.every((one) => one.seq > 0), "all is well");
  await shows(his, (m) => m.length === 3, "for both");
  await restore(mia, ben);
  for (const open of [hers, his]) {
    await shows(open, (m) => m.length === 3 && m.every((one) => one.seq > 0), "everything has a number again");
    expect(new Set(texts(open.timeline().messages))).toEqual(new Set(all));
  }
  await ben.session.send(conversation, "and on");
  expect((await shows(hers, (m) => m.length === 4, "it goes on")).at(-1)?.text).toBe("and on");
});

test("contacts that were made since the copy are told again", async () => {
  const ada = await place.admin();
  const { conversation } = await place.guest(ada, "Ben");
  await backUp(ada);
  const cyd = await place.guest(ada, "Cyd");
  await cyd.session.send(cyd.conversation, "hello");
  await shows(ada.session.open(cyd.conversation), (m) => m.length === 1, "Ada has it");
  await ada.session.send(conversation, "lost with the copy");
  await shows(ada.session.open(conversation), (m) => m[0]?.seq === 2, "numbered");
  await restore(ada);
  await shows(ada.session.open(conversation), (m) => m[0]?.seq === 2 && m[0].state === "sent", "posted again");
  // After that the account's version counts from the copy's on: a new contact is not overlooked.
  const dan = await place.guest(ada, "Dan");
  await seen(ada.session, (v) => v.conversations.some((c) => c.id === dan.conversation), "Dan is there");
  await dan.session.send(dan.conversation, "hi");
  await shows(ada.session.open(dan.conversation), (m) => m.length === 1, "and talks");
});

test("a log that was read anew half way is read on after a restart of the browser", async () => {
  const { mia, ben, conversation } = await place.pair();
  await mia.session.send(conversation, "one");
  await ben.session.send(conversation, "two");
  const hers = mia.session.open(conversation);
  await shows(hers, (m) => m.length === 2 && m.every((one) => one.seq > 0), "both are there");
  // A server that knows nothing of this device denies the log that it read, and then falls silent.
  const { line } = mia.browser;
  const id = idBytes(conversation as ID);
  let denied = false;
  line.down = (f) => {
    if (f.kind.case === "welcome") for (const state of f.kind.value.behind) state.deliveredSeq = 0n;
    if (f.kind.case !== "page" || !equal(f.kind.value.conversation, id)) return f;
    if (denied) return null;
    denied = true;
    f.kind.value.diverged = true;
    return f;
  };
  line.cut();
  await seen(mia.session, (v) => v.connection.kind !== "connected", "offline");
  line.mend();
  mia.session.retryNow();
  await shows(hers, (m) => m.length === 2 && m.every((one) => one.seq === 0), "the numbers are forgotten");
  line.down = nothing;
  await place.reopen(mia);
  await connected(mia.session);
  const all = await shows(
    mia.session.open(conversation),
    (m) => m.length === 2 && m.every((one) => one.seq > 0),
    "and told again",
  );
  expect(texts(all)).toEqual(["one", "two"]);
  expect(mia.session.view().conversations.map((c) => c.waiting)).toEqual([0, 0]);
});
