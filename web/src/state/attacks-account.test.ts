// What a hostile server may try with accounts, devices and passwords: the state refuses it and keeps working.
import { create, toJsonString } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { randomBytes } from "../wire/bytes.ts";
import { type ID, idBytes, idFrom } from "../wire/ids.ts";
import { grantGeneration } from "../wire/keyring.ts";
import {
  ContactSchema,
  ContactState,
  type DeviceKeys,
  DeviceListSchema,
  DeviceListsSchema,
  type Frame,
  PasswordParamsSchema,
  ProfileSchema,
  type Signed,
  SignedSchema,
} from "../wire/schema.ts";
import { makePerson } from "../wire/testing/people.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { seen, shows, until } from "./testing/browser.ts";
import { changes, forgedList, stored } from "./testing/forge.ts";
import { PASSWORD, Place, type Resident } from "./testing/place.ts";
import { revoke } from "./testing/revoke.ts";
import { change, instead, nothing } from "./testing/tamper.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());

test("another identity under a known name is shown, holds sending, and stays so", async () => {
  const { mia, ben, conversation } = await place.pair();
  const impostor = await makePerson();
  const him = ben.session.view().me.account;
  const profile = create(ProfileSchema, { account: idBytes(him as ID), nickname: "Ben" });
  const contact = create(ContactSchema, {
    profile,
    state: ContactState.ACCEPTED,
    deviceList: await forgedList(him, impostor),
  });
  mia.browser.line.inject(changes({ contacts: [contact] }));
  await seen(mia.session, (v) => v.people[him]?.identityChanged === true, "the change is shown");
  await expect(mia.session.send(conversation, "to whom?")).rejects.toMatchObject({ code: "identity-changed" });
  await place.reopen(mia);
  expect(mia.session.view().people[him]?.identityChanged).toBe(true);
  await ben.session.send(conversation, "it is me"); // the pinned identity still verifies
  await shows(mia.session.open(conversation), (m) => m.at(-1)?.text === "it is me", "he can be read");
});

test("an older device list does not bring a revoked device back", async () => {
  const ada = await place.admin();
  const ben = await place.guest(ada, "Ben");
  const phone = await place.device();
  const her = ada.session.view().me.account;
  await phone.session.send(ben.conversation, "from the phone");
  await shows(ben.session.open(ben.conversation), (m) => m.length === 1, "Ben knows the phone");
  const withPhone = await listOf(ben, her);
  let told = 0;
  ben.browser.line.down = change("accountChanges", () => {
    told++;
    return undefined;
  });
  await revoke(place, phone.session.view().me.device);
  await until(
    () => told,
    (n) => n > 0,
    "the new list comes",
  );
  await ada.session.send(ben.conversation, "re-keyed"); // by the time that this is here, it is stored
  await shows(ben.session.open(ben.conversation), (m) => m.length === 2, "and is in force");
  const without = await listOf(ben, her);
  expect(without.version).toBe(withPhone.version + 1n);

  const profile = create(ProfileSchema, { account: idBytes(her as ID), nickname: "Ada, says the server" });
  const contact = create(ContactSchema, { profile, state: ContactState.ACCEPTED, deviceList: withPhone.signed });
  ben.browser.line.inject(changes({ contacts: [contact] }));
  await seen(ben.session, (v) => v.people[her]?.name === "Ada, says the server", "it was handled");
  expect((await listOf(ben, her)).version).toBe(without.version);
});

/** The device list that a browser holds for the newest. */
async function listOf(
  r: Resident,
  account: string,
): Promise<{ version: bigint; signed: Signed; devices: DeviceKeys[] }> {
  const person = await stored(r.browser, (db) => db.get("people", account));
  const signed = unmarshal(SignedSchema, person?.list ?? new Uint8Array());
  const { version, devices } = unmarshal(DeviceListSchema, signed.body);
  return { version, signed, devices };
}

test.each([
  { memoryKib: 8, time: 3, parallelism: 1, salt: 16 },
  { memoryKib: 65_536, time: 1, parallelism: 1, salt: 16 },
  { memoryKib: 65_536, time: 3, parallelism: 1, salt: 8 },
  { memoryKib: 4_000_000, time: 3, parallelism: 1, salt: 16 },
])("a server that asks for $memoryKib KiB, $time passes and a salt of $salt bytes gets nothing", async (weak) => {
  await place.admin();
  const browser = place.browser();
  const sent: string[] = [];
  const { fetch } = browser;
  const tab = browser.tab({
    fetch: async (input, init) => {
      sent.push(String(input));
      if (!String(input).endsWith("/login/params")) return fetch(input, init);
      const params = create(PasswordParamsSchema, { ...weak, salt: randomBytes(weak.salt), host: "localhost" });
      return new Response(toJsonString(PasswordParamsSchema, params), {
        headers: { "Content-Type": "application/json" },
      });
    },
  });
  await expect(tab.gate.logIn("ada", PASSWORD)).rejects.toMatchObject({ code: "weak-parameters" });
  expect(sent.map((url) => new URL(url).pathname)).toEqual(["/api/v1/login/params"]);
});

test("a key of the account that the server made is not taken for one of it", async () => {
  const { mia, conversation, ben } = await place.pair();
  const { me } = mia.session.view();
  const [keys] = (await listOf(mia, me.account)).devices;
  if (keys === undefined) throw new Error("no device");
  const key = { $typeName: "parley.v1.AccountKey", generation: 2, privateKey: randomBytes(32) } as const;
  const grant = await grantGeneration(me.account as ID, keys, key);
  mia.browser.line.inject(changes({ generationGrants: [grant] }));
  await mia.session.send(conversation, "and on");
  await shows(ben.session.open(conversation), (m) => m.length === 1, "it goes on");
  const profile = await stored(mia.browser, (db) => db.get("meta", "profile"));
  expect((profile as { accountKeys: { generation: number }[] }).accountKeys.map((k) => k.generation)).toEqual([1]);
});

test("a server that shows another person than an invitation names is caught", async () => {
  const { mia } = await place.pair();
  const { code, link } = await mia.session.invite(1, 7);
  const impostor = await makePerson();
  const browser = place.browser();
  const { fetch } = browser;
  const tab = browser.tab({
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      if (!String(input).includes("/invitations/")) return response;
      const info = (await response.json()) as { deviceList: { body: string; signature: string } };
      const forged = await forgedList(mia.session.view().me.account, impostor);
      info.deviceList = {
        body: Buffer.from(forged.body).toString("base64"),
        signature: Buffer.from(forged.signature).toString("base64"),
      };
      return Response.json(info);
    },
  });
  await expect(tab.gate.joinByName(code, link.split("#")[1] ?? "", "Cyd")).rejects.toMatchObject({ code: "forbidden" });
});

test("whoever joins by an own invitation is pinned by it, whatever list the server shows", async () => {
  const { mia } = await place.pair();
  const impostor = await makePerson();
  let swapped: Promise<void> = Promise.resolve();
  const held: Frame[] = [];
  // Nothing but the proof of joining says who Cyd is: the commit that names them comes later.
  mia.browser.line.down = (f) => {
    if (f.kind.case === "events" || f.kind.case === "page") return null;
    if (f.kind.case !== "accountChanges") return undefined;
    const contact = f.kind.value.contacts.find((one) => one.profile?.nickname === "Cyd");
    if (contact?.profile === undefined) return undefined;
    f.kind.value.conversations = [];
    held.push(f);
    swapped = forgedList(idFrom(contact.profile.account), impostor).then((list) => {
      contact.deviceList = list;
    });
    return null;
  };
  const { code, link } = await mia.session.invite(1, 7);
  const browser = place.browser();
  const tab = browser.tab();
  const cyd = tab.keep((await tab.gate.joinByName(code, link.split("#")[1] ?? "", "Cyd")).session);
  await until(
    () => held.length,
    (n) => n > 0,
    "Mia hears of Cyd",
  );
  await swapped;
  mia.browser.line.down = nothing;
  for (const f of held) mia.browser.line.deliver(f);
  const { account } = cyd.view().me;
  await seen(mia.session, (v) => v.people[account]?.identityChanged === true, "the other identity is shown");
  const [theirs, known] = await Promise.all([
    stored(browser, (db) => db.get("people", account)),
    stored(mia.browser, (db) => db.get("people", account)),
  ]);
  expect(known?.identityKey).toEqual(theirs?.identityKey);
});

test("lists of a stranger in the place of a contact's teach nothing", async () => {
  const { mia, ben, conversation } = await place.pair();
  const stranger = await makePerson();
  mia.browser.line.down = change("lists", (_, f) =>
    instead(f, { case: "lists", value: create(DeviceListsSchema, { lists: [stranger.list.signed] }) }),
  );
  await ben.session.send(conversation, "hello");
  await shows(mia.session.open(conversation), (m) => m.length === 1, "Ben is known already");
  const people = await stored(mia.browser, (db) => db.getAllKeys("people"));
  expect(people).not.toContain(stranger.account);
});
