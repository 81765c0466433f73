// New epochs, the keys they need, and devices that were revoked.
import { afterEach, beforeEach, expect, test } from "vitest";
import { ErrorCode, type Frame } from "../wire/schema.ts";
import { seen, shows, texts, until } from "./testing/browser.ts";
import { connected, Place, type Resident } from "./testing/place.ts";
import { revoke } from "./testing/revoke.ts";
import { change, nothing, refuse } from "./testing/tamper.ts";

let place: Place;
beforeEach(async () => {
  place = await Place.open();
});
afterEach(() => place.close());

/** Commits that leave a browser. */
function commits(r: Resident): Frame[] {
  const all: Frame[] = [];
  r.browser.line.up = (f) => {
    if (f.kind.case === "commit") all.push(f);
    return undefined;
  };
  return all;
}

test("after a revocation the next sender re-keys first, and the revoked device reads nothing more", async () => {
  const ada = await place.admin();
  const phone = await place.device();
  const ben = await place.guest(ada, "Ben");
  const { conversation } = ben;
  await ben.session.send(conversation, "before");
  await shows(phone.session.open(conversation), (m) => m.length === 1, "the phone has it");
  const made = commits(ben);
  await revoke(place, phone.session.view().me.device);
  await seen(phone.session, (v) => v.connection.kind === "signed-out", "the phone is out");
  await ben.session.send(conversation, "after");
  const all = await shows(ada.session.open(conversation), (m) => m.length === 2, "Ada has it");
  expect(texts(all)).toEqual(["before", "after"]);
  expect(made).toHaveLength(1);
  await ada.session.send(conversation, "answer");
  await shows(ben.session.open(conversation), (m) => m.length === 3 && m[2]?.text === "answer", "and back");
});

test("a revocation that the relay withholds from the conversation makes the sender re-key all the same", async () => {
  const ada = await place.admin();
  const phone = await place.device();
  const ben = await place.guest(ada, "Ben");
  const { conversation } = ben;
  await ben.session.send(conversation, "before");
  await shows(ben.session.open(conversation), (m) => m[0]?.state === "delivered", "all is well");
  await revoke(place, phone.session.view().me.device);
  await seen(phone.session, (v) => v.connection.kind === "signed-out", "the phone is out");
  // Ben's device knows the new list, but the relay neither says nor asks for a new epoch.
  const order: string[] = [];
  ben.browser.line.down = (f) => {
    if (f.kind.case === "page" && f.kind.value.state !== undefined) f.kind.value.state.needsEpoch = false;
    return f;
  };
  ben.browser.line.up = (f) => {
    if (f.kind.case === "commit" || f.kind.case === "post") order.push(f.kind.case);
    return undefined;
  };
  await ben.session.send(conversation, "after");
  await shows(ada.session.open(conversation), (m) => m.length === 2, "Ada has it");
  expect(order[0]).toBe("commit"); // nothing was posted under the key that the phone has
});

test("messages whose key has not come yet are kept sealed, and opened when it comes", async () => {
  const ada = await place.admin();
  const phone = await place.device();
  const laptop = await place.device();
  const ben = await place.guest(ada, "Ben");
  const { conversation } = ben;
  await ben.session.send(conversation, "before");
  const there = laptop.session.open(conversation);
  await shows(there, (m) => m.length === 1, "the laptop has it");
  // The laptop's generation of the account's key comes after the commit that is granted to it.
  const held: Frame[] = [];
  laptop.browser.line.down = change("accountChanges", (changes, f) => {
    if (changes.generationGrants.length === 0) return undefined;
    held.push(f);
    return null;
  });
  await revoke(place, phone.session.view().me.device);
  await until(
    () => held.length,
    (n) => n > 0,
    "the grant is on its way",
  );
  await ben.session.send(conversation, "after");
  await ben.session.send(conversation, "and after");
  await shows(there, (m) => m.length === 3 && m[2]?.state === "sealed", "they wait for the key");
  laptop.browser.line.down = nothing;
  for (const f of held) laptop.browser.line.deliver(f);
  const all = await shows(there, (m) => m.every((one) => one.state === "received"), "they are opened");
  expect(texts(all)).toEqual(["before", "after", "and after"]);
});

test("history by a device that was revoked since is read by new devices", async () => {
  const ada = await place.admin();
  const phone = await place.device();
  const ben = await place.guest(ada, "Ben");
  const { conversation } = ben;
  await phone.session.send(conversation, "from the phone");
  await shows(ben.session.open(conversation), (m) => m.length === 1, "Ben has it");
  await revoke(place, phone.session.view().me.device);
  await ben.session.send(conversation, "re-keyed");
  await shows(ada.session.open(conversation), (m) => m.length === 2, "Ada has it");
  const laptop = await place.device();
  const all = await shows(laptop.session.open(conversation), (m) => m.length === 2, "the laptop has all");
  expect(texts(all)).toEqual(["from the phone", "re-keyed"]);
});

test("two who re-key at once end in one epoch, and nothing is lost", async () => {
  const ada = await place.admin();
  const phone = await place.device();
  const ben = await place.guest(ada, "Ben");
  const { conversation } = ben;
  await ben.session.send(conversation, "before");
  await shows(ada.session.open(conversation), (m) => m.length === 1, "all is well");
  await revoke(place, phone.session.view().me.device);
  await Promise.all([ada.session.send(conversation, "a"), ben.session.send(conversation, "b")]);
  for (const r of [ada, ben]) {
    const all = await shows(r.session.open(conversation), (m) => m.length === 3, "both have all");
    expect(texts(all).slice(1).sort()).toEqual(["a", "b"]);
  }
});

test("a conversation that cannot be posted to holds up no other", async () => {
  const ada = await place.admin();
  const [ben, cyd] = [await place.guest(ada, "Ben"), await place.guest(ada, "Cyd")];
  let stuck = true;
  ada.browser.line.down = (f) => {
    if (stuck && f.kind.case === "page") return null; // fetching what another epoch needs comes to nothing
    return stuck ? refuse(ErrorCode.STALE_EPOCH, "stale", (i) => i === 0)(f) : undefined;
  };
  ada.browser.line.up = change("post", (post, f) => {
    if (!stuck) return undefined;
    for (const e of post.envelopes.slice(0, 1)) e.signature = new Uint8Array(1);
    return f;
  });
  await ada.session.send(ben.conversation, "held");
  await ada.session.send(cyd.conversation, "free");
  stuck = false;
  ada.browser.line.down = nothing;
  ada.browser.line.up = nothing;
  await shows(cyd.session.open(cyd.conversation), (m) => m[0]?.text === "free", "the other one arrives");
  await connected(ada.session);
  await shows(ben.session.open(ben.conversation), (m) => m[0]?.text === "held", "and then this one");
});
