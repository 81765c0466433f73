// Somebody lost everything and starts again; whoever knew them is warned and decides. The other end of what a hostile server
// makes up is in attacks-account.test.ts.
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Rest } from "../net/rest.ts";
import { nextDeviceList, openDeviceList, signDeviceList } from "../wire/devices.ts";
import { type ID, idBytes } from "../wire/ids.ts";
import { unwrapMaster, wrapMaster } from "../wire/keyring.ts";
import { newRecoveryCode } from "../wire/recovery.ts";
import { ContactSchema, ContactState, ProfileSchema, SignedSchema } from "../wire/schema.ts";
import { importSeed } from "../wire/sign.ts";
import { makePerson } from "../wire/testing/people.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { openAccount } from "./account.ts";
import { seen, shows, type TestBrowser, texts } from "./testing/browser.ts";
import { changes, stored } from "./testing/forge.ts";
import { connected, PASSWORD, Place, type Resident } from "./testing/place.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());

/** Makes a request as somebody, with their browser's session. */
async function rest(
  browser: TestBrowser,
  method: string,
  path: string,
  body?: unknown,
): Promise<Record<string, string>> {
  const response = await browser.fetch(`${place.server.url}/api/v1${path}`, {
    method,
    headers: { "X-Parley": "1", "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.status === 204 ? {} : ((await response.json()) as Record<string, string>);
}

const base64 = (b: Uint8Array): string => Buffer.from(b).toString("base64");

/** Somebody with a password, and a recovery code, who knows Ben. */
async function couple(
  user: string,
): Promise<{ mia: Resident; ben: Resident & { conversation: string }; code: string }> {
  const ada = await place.admin();
  await rest(ada.browser, "PUT", "/admin/settings", { registration: "open" });
  const browser = place.browser();
  const tab = browser.tab();
  const session = tab.keep(await tab.gate.register(user, "Mia", PASSWORD, "", ""));
  await connected(session);
  const mia = { browser, tab, session };
  const account = await openAccount(new Rest(place.server.url, browser.fetch), place.server.url, user, PASSWORD);
  const code = newRecoveryCode();
  const { auth, wrap } = await code.secrets("localhost");
  const wrapped = await wrapMaster(wrap, account.account, account.master);
  expect(await unwrapMaster(wrap, account.account, wrapped)).toEqual(account.master);
  await rest(browser, "PUT", "/recovery", {
    ticket: account.grant.ticket,
    recovery: {
      authSecret: base64(auth),
      wrappedMaster: { nonce: base64(wrapped.nonce), ciphertext: base64(wrapped.ciphertext) },
    },
  });
  return { mia, ben: await place.guest(mia, "Ben"), code: await code.text() };
}

test("a reset as its contact and the person see it", async () => {
  const { mia, ben, code } = await couple("mia");
  const { conversation } = ben;
  const her = mia.session.view().me.account;
  const him = ben.session.view().me.account;
  await ben.session.send(conversation, "before");
  await shows(mia.session.open(conversation), (m) => m.length === 1, "she has it");

  const made = await rest((await place.admin()).browser, "POST", `/admin/users/${her}/reset`);
  const browser = place.browser();
  const tab = browser.tab();
  await expect(tab.gate.reset("guess", "mia", "another long password")).rejects.toMatchObject({
    code: "wrong-password",
  });
  let sent = 0;
  ben.browser.line.up = (f) => {
    if (f.kind.case === "post" || f.kind.case === "commit" || f.kind.case === "grantPost") sent++;
    return undefined;
  };
  const again = tab.keep(await tab.gate.reset(made["code"] ?? "", "MIA", "another long password"));
  await connected(again);
  expect(again.view().me.account).toBe(her);
  await seen(mia.session, (v) => v.connection.kind === "signed-out", "the old session has ended");
  await seen(ben.session, (v) => v.people[her]?.identityChanged === true, "Ben is warned");
  await expect(ben.session.send(conversation, "to whom?")).rejects.toMatchObject({ code: "identity-changed" });
  await seen(again, (v) => v.people[him]?.identityPending === true, "she knows that she waits");
  await again.send(conversation, "it is me");
  const open = again.open(conversation);
  await shows(open, (m) => m.some((one) => one.state === "sealed"), "what was before is closed to her");
  await ben.session.ask(her, "").catch(() => undefined); // another round trip
  expect(sent).toBe(0);

  const { digits } = await ben.session.safety(her);
  await expect(
    ben.session.acceptIdentity(her, `0${digits.slice(1)}`.replace(digits, `1${digits.slice(1)}`)),
  ).rejects.toMatchObject({
    code: "identity-changed",
  });
  await ben.session.acceptIdentity(her, digits);
  const his = ben.session.open(conversation);
  await shows(his, (m) => m.at(-1)?.text === "it is me", "what she wrote meanwhile comes");
  await ben.session.send(conversation, "good");
  await shows(open, (m) => m.at(-1)?.text === "good", "she reads what is written to her");
  expect(open.timeline().messages.filter((m) => m.state === "sealed").length).toBe(1);
  await seen(again, (v) => v.people[him]?.identityPending !== true, "she waits no longer");
  await seen(ben.session, (v) => v.people[her]?.identityChanged === false, "Ben is not warned any more");
  await expect(ben.session.acceptIdentity(her)).rejects.toMatchObject({ code: "not-found" });

  await expect(again.recoverFormer(await newRecoveryCode().text())).rejects.toMatchObject({});
  await again.recoverFormer(code);
  const all = await shows(open, (m) => m.every((one) => one.state !== "sealed"), "what was before is open");
  expect(texts(all)).toEqual(["before", "it is me", "good"]);
  const device = place.browser().tab();
  const later = device.keep(await device.gate.logIn("mia", "another long password"));
  await shows(later.open(conversation), (m) => texts(m).join() === "before,it is me,good", "a later device has it all");
});

test("a reset that the server makes up by itself gets nothing and shows nothing", async () => {
  const { mia, ben, conversation } = await place.pair();
  const her = mia.session.view().me.account;
  const known = await stored(ben.browser, (db) => db.get("people", her));
  const list = await openDeviceList(unmarshal(SignedSchema, known?.list ?? new Uint8Array()));
  const impostor = await makePerson();
  const next = nextDeviceList(list, 2);
  const { identityKey, accountKey, devices } = impostor.list.list;
  Object.assign(next, { identityKey, accountKey, devices, generation: next.generation + 1 });
  const deviceList = await signDeviceList(await importSeed(impostor.identitySeed), next);
  (await openDeviceList(deviceList)).checkReset(list);
  let sent = 0;
  ben.browser.line.up = (f) => {
    if (f.kind.case === "post" || f.kind.case === "commit" || f.kind.case === "grantPost") sent++;
    return undefined;
  };
  const profile = create(ProfileSchema, { account: idBytes(her as ID), nickname: "Mia" });
  const contact = create(ContactSchema, { profile, state: ContactState.ACCEPTED, deviceList });
  ben.browser.line.inject(changes({ contacts: [contact] }));
  await seen(ben.session, (v) => v.people[her]?.identityChanged === true, "Ben is warned");
  await expect(ben.session.send(conversation, "to whom?")).rejects.toMatchObject({ code: "identity-changed" });
  expect(sent).toBe(0);
  const pinned = await stored(ben.browser, (db) => db.get("people", her));
  expect(pinned?.identityKey).toEqual(list.list.identityKey);
  contact.deviceList = list.signed;
  ben.browser.line.inject(changes({ contacts: [contact] }));
  await seen(ben.session, (v) => v.people[her]?.identityChanged === false, "the right one is in force again");
  await ben.session.send(conversation, "is it you?");
  await shows(mia.session.open(conversation), (m) => m.at(-1)?.text === "is it you?", "they go on");
});
