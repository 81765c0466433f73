// What the account's devices share, against the real server.
import { inspect } from "node:util";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeNetwork } from "../net/link/testing/webrtc.ts";
import { randomBytes } from "../wire/bytes.ts";
import type { ID } from "../wire/ids.ts";
import { type Frame, LinkSettingSchema, PersonSettingSchema, SettingSchema } from "../wire/schema.ts";
import { personSettingKey, SETTING_LINKS, sealSetting } from "../wire/settings.ts";
import { seen, type TestBrowser, until } from "./testing/browser.ts";
import { changes, stored } from "./testing/forge.ts";
import { Place } from "./testing/place.ts";
import { revoke } from "./testing/revoke.ts";
import { nothing } from "./testing/tamper.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());

/** The administrator has two devices and a contact. */
async function twoDevices(network?: FakeNetwork) {
  const ada = await place.admin();
  const ben = await place.guest(ada, "Ben", network);
  const laptop = await place.device(network);
  return { ada, ben, laptop, him: ben.session.view().me.account };
}

/** What a browser has of a setting, sealed. */
function sealed(browser: TestBrowser, key: string): Promise<Uint8Array | undefined> {
  return stored(browser, async (db) => (await db.get("settings", key))?.value);
}

test("a name for somebody is on all devices and stays, and can be taken back", async () => {
  const { ada, laptop, him } = await twoDevices();
  await ada.session.setNickname(him, "  Ben from work ");
  expect(ada.session.view().people[him]).toMatchObject({
    name: "Ben from work",
    ownName: "Ben",
    localName: "Ben from work",
  });
  await seen(laptop.session, (v) => v.people[him]?.name === "Ben from work", "the other device has it");
  await place.reopen(laptop);
  expect(laptop.session.view().people[him]?.name).toBe("Ben from work");
  await laptop.session.setNickname(him, "");
  await seen(ada.session, (v) => v.people[him]?.name === "Ben", "it is taken back");
  await expect(ada.session.setNickname(him, "a\u202eb")).rejects.toMatchObject({ code: "name-invalid" });
});

test("two changes at once come both into force", async () => {
  const { ada, laptop, him } = await twoDevices();
  await Promise.all([ada.session.setNickname(him, "B."), ada.session.hideAddressFrom(him, true)]);
  await seen(
    laptop.session,
    (v) => v.people[him]?.localName === "B." && v.people[him]?.hidesAddress === true,
    "the other device has both",
  );
});

test("the server and the browser's disk have settings sealed only", async () => {
  const { ada, laptop, him } = await twoDevices();
  const key = personSettingKey(him as ID);
  await ada.session.setNickname(him, "a most secret name");
  await seen(laptop.session, (v) => v.people[him]?.localName === "a most secret name", "it is there");
  const value = await sealed(laptop.browser, key);
  expect(value?.length).toBeGreaterThan(20);
  const everything = await stored(laptop.browser, async (db) =>
    Promise.all([db.getAll("people"), db.getAll("settings"), db.getAll("meta")]),
  );
  expect(Buffer.from(value ?? []).includes("a most secret name")).toBe(false);
  expect(inspect(everything, { depth: 9 })).not.toContain("a most secret name");
});

/** Keeps the server's own settings from a browser. */
const withoutSettings = (f: Frame): readonly Frame[] => {
  const { kind } = f;
  const told = kind.case === "welcome" ? kind.value.changes : kind.case === "accountChanges" ? kind.value : undefined;
  if (told !== undefined) told.settings = [];
  return [f];
};

test("a setting that does not open is left as it is, and is not written over", async () => {
  const { ada, him } = await twoDevices();
  const key = personSettingKey(him as ID);
  await ada.session.setNickname(him, "Benny");
  const value = await sealSetting(
    { generation: 9, privateKey: randomBytes(32) },
    ada.session.view().me.account as ID,
    key,
    PersonSettingSchema,
    create(PersonSettingSchema, { nickname: "of a generation to come" }),
  );
  ada.browser.line.down = withoutSettings;
  ada.browser.line.inject(changes({ settings: [create(SettingSchema, { key, value })] }));
  await ada.session.hideAddressFrom(ada.session.view().me.account, true); // handled behind it
  await expect(ada.session.setNickname(him, "overwritten")).rejects.toMatchObject({ code: "not-ready" });
  expect(ada.session.view().people[him]?.localName).toBe("Benny"); // what was read last
  await place.reopen(ada);
  await expect(ada.session.setNickname(him, "overwritten")).rejects.toMatchObject({ code: "not-ready" });
  expect(await sealed(ada.browser, key)).toEqual(value);
  ada.browser.line.down = nothing;
});

test("what is sealed under a key that comes later opens when it has come", async () => {
  const { ada, laptop, him } = await twoDevices();
  const third = await place.device();
  await seen(ada.session, (v) => v.devices.length >= 3, "three devices");
  // The laptop hears of the new generation, and gets its key only later.
  const held: Frame[] = [];
  laptop.browser.line.down = (f) => {
    if (f.kind.case !== "accountChanges" || f.kind.value.generationGrants.length === 0) return undefined;
    const { generationGrants } = f.kind.value;
    held.push({ ...f, kind: changes({ generationGrants }) });
    f.kind.value.generationGrants = [];
    return [f];
  };
  await revoke(place, third.session.view().me.device);
  await until(
    () => held.length,
    (n) => n > 0,
    "the laptop's key is held back",
  );
  const before = await sealed(laptop.browser, personSettingKey(him as ID));
  for (const end = Date.now() + 60_000; ; ) {
    // Until the key has come the first device seals under the old generation, which the laptop opens.
    await ada.session.setNickname(him, `Later ${Date.now()}`).catch(() => undefined);
    const now = await sealed(laptop.browser, personSettingKey(him as ID));
    const name = laptop.session.view().people[him]?.localName;
    if (now !== undefined && now !== before && name !== ada.session.view().people[him]?.localName) break;
    if (Date.now() > end) throw new Error("never sealed under the new key");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const wanted = ada.session.view().people[him]?.localName ?? "";
  await expect(laptop.session.setNickname(him, "overwritten")).rejects.toMatchObject({ code: "not-ready" });
  laptop.browser.line.down = nothing;
  for (const f of held) laptop.browser.line.deliver(f);
  await seen(laptop.session, (v) => v.people[him]?.localName === wanted, "it opens");
});

test("hiding the address is the account's, and every device makes its links so", async () => {
  const network = new FakeNetwork();
  const { ada, laptop, ben } = await twoDevices(network);
  laptop.session.open(ben.conversation);
  await seen(
    laptop.session,
    (v) => v.conversations.some((c) => c.id === ben.conversation && c.link.state === "open"),
    "a link",
  );
  const before = network.made.length;
  await ada.session.hideAddress(true); // on the other device
  await seen(laptop.session, (v) => v.hideAddress, "the laptop hears of it");
  await until(
    () => network.made.slice(before).filter((one) => one.configuration.iceTransportPolicy === "relay").length,
    (n) => n > 0,
    "its links are made anew",
  );
  await laptop.session.hideAddress(false);
  await seen(ada.session, (v) => !v.hideAddress, "and back");
});

test("what a browser hid before the account did is given to the account", async () => {
  const { ada, laptop } = await twoDevices();
  await stored(laptop.browser, (db) => db.put("meta", true, "hide_address"));
  await place.reopen(laptop);
  expect(laptop.session.view().hideAddress).toBe(true);
  await seen(ada.session, (v) => v.hideAddress, "the account hides it");
  await until(
    () => laptop.session.view().hideAddress,
    (is) => is,
    "it stays hidden",
  );
  await ada.session.hideAddress(false);
  await seen(laptop.session, (v) => !v.hideAddress, "and can be shown again from anywhere");
});

test("a setting somebody else sealed, or for another key, changes nothing", async () => {
  const { ada, him } = await twoDevices();
  await ada.session.setNickname(him, "Benny");
  const own = await sealed(ada.browser, personSettingKey(him as ID));
  const forged = await sealSetting(
    { generation: 1, privateKey: randomBytes(32) },
    ada.session.view().me.account as ID,
    SETTING_LINKS,
    LinkSettingSchema,
    create(LinkSettingSchema, { hideAddress: true }),
  );
  ada.browser.line.inject(
    changes({
      settings: [
        create(SettingSchema, { key: SETTING_LINKS, value: forged }),
        create(SettingSchema, { key: personSettingKey(ada.session.view().me.account as ID), value: own ?? forged }),
      ],
    }),
  );
  await ada.session.setNickname(him, "Benny B."); // handled after it
  expect(ada.session.view().hideAddress).toBe(false);
  expect(ada.session.view().people[ada.session.view().me.account]?.localName).toBe("");
});
