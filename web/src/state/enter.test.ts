// Accounts that come and go in one browser.
import { afterEach, beforeEach, expect, test } from "vitest";
import { seen, shows, texts } from "./testing/browser.ts";
import { stored } from "./testing/forge.ts";
import { connected, PASSWORD, Place } from "./testing/place.ts";
import { revoke } from "./testing/revoke.ts";

let place: Place;
beforeEach(async () => {
  place = await Place.open();
});
afterEach(() => place.close());

test("after the server signed a device out, the account logs in again, keeps its history and what it had not sent", async () => {
  const ada = await place.admin();
  const phone = await place.device();
  const ben = await place.guest(ada, "Ben");
  const { conversation } = ben;
  await phone.session.send(conversation, "from the phone that was");
  await shows(ben.session.open(conversation), (m) => m.length === 1, "Ben has it");
  phone.browser.line.cut();
  await seen(phone.session, (v) => v.connection.kind !== "connected", "the phone is offline");
  await phone.session.send(conversation, "never sent");
  const old = phone.session.view().me.device;
  const second = phone.browser.tab(); // another tab of the phone's browser, which has to follow
  const other = await second.resume();
  await revoke(place, old);
  phone.browser.line.mend();
  phone.session.retryNow();
  await seen(phone.session, (v) => v.connection.kind === "signed-out", "the phone is out");

  phone.session = phone.tab.keep(await phone.tab.gate.logIn("ada", PASSWORD));
  await connected(phone.session);
  expect(phone.session.view().me.device).not.toBe(old);
  const there = phone.session.open(conversation);
  const all = await shows(there, (m) => m.length === 2 && m[0]?.seq === 2, "the history is there");
  expect(all.map((m) => [m.text, m.state, m.failure])).toEqual([
    ["from the phone that was", expect.stringMatching(/sent|delivered/), ""],
    ["never sent", "failed", "signed-out"],
  ]);
  await seen(other, (v) => v.me.device === phone.session.view().me.device, "the other tab is the new device too");
  const [, left] = all;
  if (left === undefined) throw new Error("gone");
  await phone.session.retry(left);
  await shows(ben.session.open(conversation), (m) => m.length === 2, "tried again, it goes out");
  expect(texts(await shows(there, (m) => m.every((one) => one.state !== "failed"), "once"))).toEqual([
    "from the phone that was",
    "never sent",
  ]);
});

test("of another account nothing stays", async () => {
  const ada = await place.admin();
  const mia = await place.guest(ada, "Mia");
  await ada.session.send(mia.conversation, "for Mia alone");
  await shows(mia.session.open(mia.conversation), (m) => m.length === 1, "she has it");
  const { code, link } = await ada.session.invite(1, 7);
  const joined = await mia.tab.gate.joinByName(code, link.split("#")[1] ?? "", "Eve");
  mia.tab.keep(joined.session);
  await seen(joined.session, (v) => v.me.name === "Eve" && v.conversations.length === 1, "somebody else is here");
  expect(await stored(mia.browser, (db) => db.count("messages"))).toBe(0);
  expect(await stored(mia.browser, (db) => db.getAllKeys("conversations"))).toEqual([joined.conversation]);
});

test("a session whose cookie is gone is renewed by the device's key", async () => {
  const { mia, ben, conversation } = await place.pair();
  mia.browser.forgetCookies();
  mia.browser.line.cut();
  await seen(mia.session, (v) => v.connection.kind !== "connected", "offline");
  mia.browser.line.mend();
  mia.session.retryNow();
  await connected(mia.session);
  await mia.session.send(conversation, "still me");
  await shows(ben.session.open(conversation), (m) => m.length === 1, "it goes on");
});

test("a session whose cookie is somebody else's is not used", async () => {
  const { mia, ben, conversation } = await place.pair();
  const people = await stored(mia.browser, (db) => db.getAllKeys("people"));
  mia.browser.takeCookies(ben.browser);
  mia.browser.line.cut();
  await seen(mia.session, (v) => v.connection.kind !== "connected", "offline");
  mia.browser.line.mend();
  mia.session.retryNow();
  await connected(mia.session);
  // Until the session turned out to be his, his own device was taken for the one that connected before.
  await seen(ben.session, (v) => v.connection.kind === "superseded", "Ben is pushed aside");
  ben.session.retryNow(); // "use it here"
  await connected(ben.session);
  await mia.session.send(conversation, "I am not Ben");
  const [m] = await shows(ben.session.open(conversation), (all) => all.length === 1, "it is hers");
  expect(m?.from).toBe(mia.session.view().me.account);
  expect(await stored(mia.browser, (db) => db.getAllKeys("people"))).toEqual(people);
});
