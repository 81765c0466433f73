// The life of an account: kept, spread over devices, taken from some, recovered, exported and deleted.
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeNetwork } from "../net/link/testing/webrtc.ts";
import { body, Rest } from "../net/rest.ts";
import { AdminSuspendSchema } from "../wire/schema.ts";
import { seen, shows, type TestBrowser, texts } from "./testing/browser.ts";
import { stored } from "./testing/forge.ts";
import { connected, PASSWORD, Place, type Resident } from "./testing/place.ts";
import type { Session, View } from "./types.ts";

const STRONG = "four quiet otters paint";
const OTHER = "seven loud geese argue";

let place: Place;
beforeEach(async () => {
  place = await Place.open();
});
afterEach(() => place.close());

/** Somebody logs in on a new browser. */
async function onNewBrowser(user: string, password: string, network?: FakeNetwork): Promise<Resident> {
  const browser = place.browser(network);
  const tab = browser.tab();
  const session = tab.keep(await tab.gate.logIn(user, password));
  await connected(session);
  return { browser, tab, session };
}

/** A browser that opens a link which an older device shows; resolves when that one is told. */
async function askBy(older: Session): Promise<{ joined: Promise<Resident>; code: string; name: string }> {
  const { link, code } = await older.linkDevice();
  const browser = place.browser();
  const tab = browser.tab();
  const joined = tab.gate.joinByLink(link, new AbortController().signal).then((session) => {
    tab.keep(session);
    return { browser, tab, session };
  });
  joined.catch(() => undefined); // whoever waits for it is told
  const view = await seen(older, (v) => v.asking.some((one) => one.code === code), "the new device is shown");
  return { joined, code, name: view.asking[0]?.name ?? "" };
}

/** All that a browser has stored, as text; keys that WebCrypto does not give out count as nothing. */
function everything(browser: TestBrowser): Promise<string> {
  return stored(browser, async (db) => {
    const all: unknown[] = [];
    for (const name of db.objectStoreNames) all.push(await db.getAll(name), await db.getAllKeys(name));
    return JSON.stringify(all, (_, value: unknown) => {
      if (typeof value === "bigint") return value.toString();
      return value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : value;
    });
  });
}

const hasDevices = (n: number) => (v: View) => v.devices.length === n;

test("an account that has a name only is kept, and opens with its password elsewhere", async () => {
  const { mia, ben, conversation } = await place.pair();
  expect(mia.session.view().me).toMatchObject({ userName: "", keys: "here" });
  await ben.session.send(conversation, "before she kept it");
  await shows(mia.session.open(conversation), (m) => m.length === 1, "Mia has it");
  await expect(mia.session.keep("mia", "password1")).rejects.toMatchObject({ code: "weak-parameters" });
  await expect(mia.session.keep("ada", STRONG)).rejects.toMatchObject({ code: "name-taken" });
  await mia.session.keep("Mia", STRONG);
  expect(mia.session.view().me).toMatchObject({ userName: "Mia", keys: "password" });
  const profile = await stored(mia.browser, (db) => db.get("meta", "profile"));
  expect((profile as { identity: unknown }).identity).toBeNull(); // once there is a password no device keeps it
  await expect(mia.session.keep("mia2", STRONG)).rejects.toMatchObject({ code: "name-taken" });

  const phone = await onNewBrowser("mia", STRONG);
  const there = await shows(phone.session.open(conversation), (m) => m.length === 1, "the history is there");
  expect(texts(there)).toEqual(["before she kept it"]);
  await seen(mia.session, hasDevices(2), "both devices are listed");
});

test("keeping again after the answer was lost comes to the same", async () => {
  const { mia } = await place.pair();
  const { fetch } = mia.browser;
  mia.tab.close();
  let lose = true;
  mia.tab = mia.browser.tab({
    fetch: async (input, init) => {
      const answer = await fetch(input, init);
      if (lose && String(input).endsWith("/password")) throw new TypeError("the network went away");
      return answer;
    },
  });
  mia.browser.line.down = (f) => (f.kind.case === "accountChanges" ? null : undefined); // nor is it told
  mia.session = await mia.tab.resume();
  await connected(mia.session);
  await expect(mia.session.keep("mia", STRONG)).rejects.toMatchObject({ code: "unreachable" });
  lose = false;
  await mia.session.keep("mia", STRONG);
  await onNewBrowser("mia", STRONG);
});

test("a device that is signed out from elsewhere is out at once, reads nothing sent after, and keeps nothing readable", async () => {
  const network = new FakeNetwork();
  const ada = await place.admin();
  const phone = await place.device(network);
  const ben = await place.guest(ada, "Ben", network);
  const { conversation } = ben;
  await ben.session.send(conversation, "what the phone may know");
  await shows(phone.session.open(conversation), (m) => m.length === 1, "the phone has it");
  ben.session.open(conversation);
  const her = ada.session.view().me.account;
  const linked = (v: View) => v.conversations.find((c) => c.person === her)?.link.state === "open";
  await seen(ben.session, linked, "Ben's link leads to the phone");
  const device = phone.session.view().me.device;

  await expect(ada.session.revokeDevice(device, "not her password")).rejects.toMatchObject({ code: "wrong-password" });
  expect(phone.session.view().connection.kind).toBe("connected");
  await ada.session.revokeDevice(device, PASSWORD);
  await seen(phone.session, (v) => v.connection.kind === "signed-out", "the phone is out");
  await seen(phone.session, (v) => Object.keys(v.people).length === 0, "it shows nobody any more");
  expect(phone.session.view().conversations).toEqual([]);
  await seen(ada.session, hasDevices(1), "it is not listed any more");
  await seen(ben.session, (v) => !linked(v), "no link leads to it");
  await ben.session.send(conversation, "after the phone was lost");
  await shows(ada.session.open(conversation), (m) => m.at(-1)?.text === "after the phone was lost", "Ada reads on");

  const left = await everything(phone.browser);
  for (const text of ["what the phone may know", "after the phone was lost", "Ben", "Ada"])
    expect(left).not.toContain(text);
  expect(await phone.browser.tab().gate.resume()).toBeNull();
  expect(await phone.browser.tab().gate.locked()).toBe(true);
  await phone.session.signOut(); // "remove everything"
  expect(await phone.browser.tab().gate.locked()).toBe(false);
});

test("a suspended account is said to be one, and nothing of it is sealed away", async () => {
  const ada = await place.admin();
  const mia = await place.guest(ada, "Mia");
  await mia.session.keep("mia", STRONG);
  const rest = new Rest(place.server.url, ada.browser.fetch);
  const suspend = (suspended: boolean) => {
    const request = body(AdminSuspendSchema, create(AdminSuspendSchema, { suspended }));
    return rest.send("PUT", `/api/v1/admin/users/${mia.session.view().me.account}/suspension`, request);
  };
  await suspend(true);
  const out = await seen(mia.session, (v) => v.connection.kind === "signed-out", "Mia is out");
  expect(out.connection).toEqual({ kind: "signed-out", suspended: true });
  await suspend(false);
  await place.reopen(mia);
  await connected(mia.session);
});

test("two devices that sign out others at once both succeed", async () => {
  const ada = await place.admin();
  const [phone, tablet] = [await place.device(), await place.device()];
  const out = (by: Resident, gone: Resident) => by.session.revokeDevice(gone.session.view().me.device, PASSWORD);
  const laptop = await place.device();
  await Promise.all([out(ada, phone), out(tablet, laptop)]);
  await seen(phone.session, (v) => v.connection.kind === "signed-out", "the phone is out");
  await seen(laptop.session, (v) => v.connection.kind === "signed-out", "the laptop is out");
  await seen(ada.session, hasDevices(2), "two are left");
  await out(ada, phone); // again, which changes nothing
});

test("an older device list that a server hands out is not continued: it would let devices back in", async () => {
  const ada = await place.admin();
  const { fetch } = ada.browser;
  const lists: unknown[] = [];
  let older: unknown = null;
  ada.tab.close();
  ada.tab = ada.browser.tab({
    fetch: async (input, init) => {
      const answer = await fetch(input, init);
      if (!String(input).endsWith("/api/v1/login") || !answer.ok) return answer;
      const grant = (await answer.json()) as { deviceList: unknown };
      lists.push(grant.deviceList);
      return Response.json({ ...grant, deviceList: older ?? grant.deviceList });
    },
  });
  ada.session = await ada.tab.resume();
  await connected(ada.session);
  await ada.session.makeRecovery(PASSWORD);
  const phone = await place.device();
  await seen(ada.session, hasDevices(2), "the phone is there");
  await ada.session.makeRecovery(PASSWORD);
  [older] = lists;
  await expect(ada.session.revokeOthers(PASSWORD)).rejects.toMatchObject({ code: "untrusted" });
  expect(phone.session.view().connection.kind).toBe("connected");
});

test("a lost device that does not hear of it gets nothing over the link that it holds", async () => {
  const network = new FakeNetwork();
  const ada = await place.admin();
  const phone = await place.device(network);
  const ben = await place.guest(ada, "Ben", network);
  const { conversation } = ben;
  await ben.session.send(conversation, "while it was hers");
  const there = phone.session.open(conversation);
  await shows(there, (m) => m.length === 1, "the phone has it");
  ben.session.open(conversation);
  const her = ada.session.view().me.account;
  const linked = (v: View) => v.conversations.find((c) => c.person === her)?.link.state === "open";
  await seen(ben.session, linked, "Ben's link leads to the phone");
  phone.browser.line.cut(); // from the server alone: the link stays

  await ada.session.revokeDevice(phone.session.view().me.device, PASSWORD);
  await seen(ben.session, (v) => !linked(v), "Ben's browser ends the link");
  await ben.session.send(conversation, "after it was lost");
  await shows(ada.session.open(conversation), (m) => m.at(-1)?.text === "after it was lost", "Ada reads on");
  expect(texts(there.timeline().messages)).toEqual(["while it was hers"]);
});

test("what a device that was signed out had not sent is there again after logging in, and only then", async () => {
  const ada = await place.admin();
  const ben = await place.guest(ada, "Ben");
  const phone = await place.device();
  const { conversation } = ben;
  await ben.session.send(conversation, "hello");
  await shows(phone.session.open(conversation), (m) => m.length === 1, "the phone has the conversation");
  phone.browser.line.cut();
  await seen(phone.session, (v) => v.connection.kind !== "connected", "the phone is offline");
  await phone.session.send(conversation, "never sent");
  await ada.session.revokeOthers(PASSWORD);
  phone.browser.line.mend();
  phone.session.retryNow();
  await seen(phone.session, (v) => v.connection.kind === "signed-out" && v.conversations.length === 0, "it is out");
  expect(await everything(phone.browser)).not.toContain("never sent");

  phone.session = phone.tab.keep(await phone.tab.gate.logIn("ada", PASSWORD));
  const there = phone.session.open(conversation);
  const all = await shows(there, (m) => m.length === 2 && m[0]?.text === "hello", "the history opens");
  const again = all[1];
  expect(again).toMatchObject({ text: "never sent", state: "failed", failure: "signed-out" });
  expect(await phone.tab.gate.locked()).toBe(false);
  if (again === undefined) throw new Error("gone");
  await ben.session.send(conversation, "where are you?");
  await shows(there, (m) => m.some((one) => one.text === "where are you?"), "the keys are there, too");
  await phone.session.retry(again);
  await shows(ben.session.open(conversation), (m) => m.length === 3, "tried again, it goes out");
});

test("what is sealed away is removed for good when a person says so, or another account moves in", async () => {
  const ada = await place.admin();
  const phones = [await place.device(), await place.device()];
  await ada.session.revokeOthers(PASSWORD);
  const metaOf = (r: Resident | undefined) => stored((r as Resident).browser, (db) => db.getAllKeys("meta"));
  for (const phone of phones) {
    await seen(phone.session, (v) => v.connection.kind === "signed-out" && v.devices.length === 0, "it is out");
    expect(await metaOf(phone)).toContain("locked/0");
  }
  const [first, second] = phones;
  await first?.tab.gate.removeLocked();
  expect(await first?.tab.gate.locked()).toBe(false);
  expect(await metaOf(first)).not.toContain("locked/0");
  const { code, link } = await ada.session.invite(1, 7);
  const joined = await second?.tab.gate.joinByName(code, link.split("#")[1] ?? "", "Eve");
  if (joined !== undefined) second?.tab.keep(joined.session);
  expect(await second?.tab.gate.locked()).toBe(false);
  expect(await metaOf(second)).not.toContain("locked/0");
});

test("a device is added by a link without a password typed on it, and has the whole history", async () => {
  const { mia, ben, conversation } = await place.pair();
  await ben.session.send(conversation, "long ago");
  await shows(mia.session.open(conversation), (m) => m.length === 1, "Mia has it");
  const first = await askBy(mia.session);
  expect(first.name).toBe("Firefox · Linux");
  await mia.session.admitDevice(first.code, ""); // there is no password yet
  const tablet = await first.joined;
  const read = await shows(tablet.session.open(conversation), (m) => m[0]?.text === "long ago", "it opens there");
  expect(read).toHaveLength(1);
  expect(tablet.session.view().me).toMatchObject({ keys: "elsewhere", name: "Mia" });
  await expect(tablet.session.keep("mia", STRONG)).rejects.toMatchObject({ code: "not-here" });
  await expect(tablet.session.revokeOthers("")).rejects.toMatchObject({ code: "not-here" });

  await mia.session.keep("mia", STRONG);
  await seen(tablet.session, (v) => v.me.keys === "password", "the other device hears of the password");
  const second = await askBy(tablet.session);
  await expect(tablet.session.admitDevice(second.code, OTHER)).rejects.toMatchObject({ code: "wrong-password" });
  await tablet.session.admitDevice(second.code, STRONG);
  const phone = await second.joined;
  await tablet.session.send(conversation, "from the tablet");
  await shows(phone.session.open(conversation), (m) => m.length === 2, "the phone has all of it");
  await shows(ben.session.open(conversation), (m) => m.at(-1)?.text === "from the tablet", "Ben believes it");
});

test("a link works once, at its own server, until it is taken back", async () => {
  const { mia } = await place.pair();
  const { joined, code } = await askBy(mia.session);
  const used = `${place.server.url}/d/${code}#`;
  const { link } = await mia.session.linkDevice();
  const other = place.browser().tab().gate;
  const { signal } = new AbortController();
  const secret = link.split("#")[1] ?? "";
  await expect(other.joinByLink(used + secret, signal)).rejects.toMatchObject({ code: "used-up" });
  await expect(other.joinByLink(`https://elsewhere.example/d/${code}#${secret}`, signal)).rejects.toMatchObject({
    code: "other-server",
    message: "elsewhere.example",
  });
  await expect(other.joinByLink(link.slice(0, -9), signal)).rejects.toMatchObject({ code: "cut-off" });
  await expect(other.joinByLink(link.replace("/d/", "/d/a"), signal)).rejects.toMatchObject({ code: "cut-off" });
  const unknown = link.replace(/\/d\/[a-z2-7]+#/, `/d/${"a".repeat(16)}#`);
  await expect(other.joinByLink(unknown, signal)).rejects.toMatchObject({ code: "not-found" });
  await mia.session.refuseDevice(code);
  expect(mia.session.view().asking).toEqual([]);
  await expect(mia.session.admitDevice(code, "")).rejects.toMatchObject({ code: "expired" });
  await expect(Promise.race([joined, Promise.resolve("waits")])).resolves.toBe("waits");
});

test("a link that was taken back unused is shown again, and only a few are open at a time", async () => {
  const { mia } = await place.pair();
  const first = await mia.session.linkDevice();
  await mia.session.refuseDevice(first.code);
  expect(await mia.session.linkDevice()).toEqual(first);
  const asked = await askBy(mia.session);
  await mia.session.refuseDevice(asked.code);
  const third = await mia.session.linkDevice();
  expect([first.code, asked.code]).not.toContain(third.code); // who asked by it could see it
  await expect(mia.session.linkDevice()).rejects.toMatchObject({ code: "too-many" });
});

test("waiting to be let in can be called off", async () => {
  const { mia } = await place.pair();
  const { link } = await mia.session.linkDevice();
  const stop = new AbortController();
  const waiting = place.browser().tab().gate.joinByLink(link, stop.signal);
  await seen(mia.session, (v) => v.asking.length === 1, "it asks");
  stop.abort();
  await expect(waiting).rejects.toMatchObject({ code: "internal" });
});

test("a recovery code opens the account when devices and password are lost", async () => {
  const { mia, ben, conversation } = await place.pair();
  await mia.session.keep("mia", STRONG);
  await expect(mia.session.makeRecovery(OTHER)).rejects.toMatchObject({ code: "wrong-password" });
  const first = await mia.session.makeRecovery(STRONG);
  const code = await mia.session.makeRecovery(STRONG);
  await seen(mia.session, (v) => v.me.recovery, "it says that there is one");
  await ben.session.send(conversation, "all the history");
  await shows(mia.session.open(conversation), (m) => m.length === 1, "Mia has it");

  const tab = place.browser().tab();
  const { gate } = tab;
  await expect(gate.recover("mia", first, OTHER)).rejects.toMatchObject({ code: "wrong-code" }); // it was replaced
  await expect(gate.recover("mia", `${code.slice(0, -1)}0`, OTHER)).rejects.toMatchObject({ code: "wrong-code" });
  await expect(gate.recover("nobody", code, OTHER)).rejects.toMatchObject({ code: "wrong-code" });
  await expect(gate.recover("mia", code, "password1")).rejects.toMatchObject({ code: "weak-parameters" });
  const session = tab.keep(await gate.recover("Mia", code.toUpperCase().replaceAll("-", " "), OTHER));
  await shows(session.open(conversation), (m) => m[0]?.text === "all the history", "the whole history is there");
  await session.revokeOthers(OTHER);
  await seen(mia.session, (v) => v.connection.kind === "signed-out", "the lost device is out");
  await expect(place.browser().tab().gate.logIn("mia", STRONG)).rejects.toMatchObject({ code: "wrong-password" });
  await onNewBrowser("mia", OTHER);
});

test("a changed password keeps other devices, which are in the list still, and opens the account alone", async () => {
  const ada = await place.admin();
  const phone = await place.device();
  await expect(ada.session.changePassword("not this one", OTHER)).rejects.toMatchObject({ code: "wrong-password" });
  await ada.session.changePassword(PASSWORD, OTHER);
  const ben = await place.guest(ada, "Ben");
  await ben.session.send(ben.conversation, "still there?");
  await shows(phone.session.open(ben.conversation), (m) => m.length === 1, "the phone goes on by its own key");
  await expect(place.browser().tab().gate.logIn("ada", PASSWORD)).rejects.toMatchObject({ code: "wrong-password" });
  await onNewBrowser("ada", OTHER);
});

test("a deleted account is gone from its browsers, and its contacts see that and keep what was written", async () => {
  const { mia, ben, conversation } = await place.pair();
  await mia.session.keep("mia", STRONG);
  const phone = await onNewBrowser("mia", STRONG);
  await mia.session.send(conversation, "last words");
  await shows(ben.session.open(conversation), (m) => m.length === 1, "Ben has them");
  const her = mia.session.view().me.account;
  await expect(mia.session.deleteAccount(OTHER)).rejects.toMatchObject({ code: "wrong-password" });
  await mia.session.deleteAccount(STRONG);
  expect(mia.session.view().connection.kind).toBe("signed-out");
  expect(await mia.browser.tab().gate.resume()).toBeNull();
  await seen(phone.session, (v) => v.connection.kind === "signed-out", "the phone is out");
  const view = await seen(ben.session, (v) => v.people[her]?.deleted === true, "Ben sees it");
  expect(view.people[her]?.name).toBe("Mia");
  expect(view.conversations.map((c) => [c.id, c.preview?.text])).toContainEqual([conversation, "last words"]);
  await expect(place.browser().tab().gate.logIn("mia", STRONG)).rejects.toMatchObject({ code: "wrong-password" });
});

test("the last administrator does not go while others are there", async () => {
  const ada = await place.admin();
  await place.guest(ada, "Ben");
  await expect(ada.session.deleteAccount(PASSWORD)).rejects.toMatchObject({ code: "last-admin" });
  await connected(ada.session);
});

test("everything that a device may read is in one file", async () => {
  const { mia, ben, conversation } = await place.pair();
  await ben.session.send(conversation, 'he said "hello"\n…');
  await mia.session.send(conversation, "and she too");
  await shows(mia.session.open(conversation), (m) => m.length === 2 && m.every((one) => one.seq > 0), "both are there");
  const file = await mia.session.exportAll();
  const all = JSON.parse(await file.text());
  expect(all).toMatchObject({
    format: "parley-export",
    account: { name: "Mia", id: mia.session.view().me.account },
    devices: [{ name: "Firefox · Linux" }],
  });
  expect(all.contacts.map((c: { name: string }) => c.name).sort()).toEqual(["Ada", "Ben"]);
  const with_ = all.conversations.find((c: { id: string }) => c.id === conversation);
  expect(with_.with).toBe("Ben");
  expect(with_.messages.map((m: { name: string; text: string }) => [m.name, m.text]).sort()).toEqual([
    ["Ben", 'he said "hello"\n…'],
    ["Mia", "and she too"],
  ]);
});
