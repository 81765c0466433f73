// Messages over links: beside the relay, without it, and after it came back.
import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeNetwork } from "../net/link/testing/webrtc.ts";
import { randomBytes } from "../wire/bytes.ts";
import { parseHeader } from "../wire/envelope.ts";
import { fragments } from "../wire/fragments.ts";
import { type ID, idBytes } from "../wire/ids.ts";
import { ContentSchema, DirectSchema, type Envelope, type Frame, FrameSchema, TypingSchema } from "../wire/schema.ts";
import { makePerson } from "../wire/testing/people.ts";
import { standingRange } from "./core.ts";
import { seen, shows, texts, until } from "./testing/browser.ts";
import { forgedText, stored } from "./testing/forge.ts";
import { connected, type Pair, Place, type Resident, readAll, unreadOf } from "./testing/place.ts";
import { revoke } from "./testing/revoke.ts";
import { change } from "./testing/tamper.ts";

let place: Place;
let network: FakeNetwork;
beforeEach(async () => {
  place = await Place.open();
  network = new FakeNetwork();
});
afterEach(() => place.close());

/** Two people whose devices are linked. */
async function linked(): Promise<Pair> {
  const pair = await place.pair(network);
  pair.mia.session.open(pair.conversation);
  pair.ben.session.open(pair.conversation);
  for (const r of [pair.mia, pair.ben]) await open(r, pair.conversation);
  return pair;
}

async function open(r: Resident, conversation: string): Promise<void> {
  await seen(
    r.session,
    (v) => v.conversations.some((c) => c.id === conversation && c.link.state === "open" && c.link.path === "direct"),
    "the link is open",
  );
}

async function cut(...people: Resident[]): Promise<void> {
  for (const r of people) r.browser.line.cut();
  for (const r of people) await seen(r.session, (v) => v.connection.kind !== "connected", "the server is away");
}

async function mend(...people: Resident[]): Promise<void> {
  for (const r of people) {
    r.browser.line.mend();
    r.session.retryNow();
  }
  for (const r of people) await connected(r.session);
}

test("a message goes both ways at once and is shown once, as direct", async () => {
  const { mia, ben, conversation } = await linked();
  const [hers, his] = [mia.session.open(conversation), ben.session.open(conversation)];
  await mia.session.send(conversation, "straight");
  await shows(his, (m) => m.length === 1 && m[0]?.path === "direct" && m[0].seq > 0, "he has it, with its number");
  await shows(hers, (m) => m[0]?.path === "direct" && m[0].state === "delivered" && m[0].seq > 0, "she sees both");
  const link = mia.session.view().conversations.find((c) => c.id === conversation)?.link;
  expect(link).toMatchObject({ state: "open", path: "direct", protocol: "udp", delay: 3 });
});

test("without the server links go on; what they carried is in the log afterwards, in its order, and read stays read", async () => {
  const { mia, ben, conversation } = await linked();
  const [hers, his] = [mia.session.open(conversation), ben.session.open(conversation)];
  await cut(mia, ben);
  for (const text of ["one", "two", "three"]) await mia.session.send(conversation, text);
  await shows(his, (m) => m.length === 3 && m.every((one) => one.seq === 0 && one.path === "direct"), "he has them");
  await shows(hers, (m) => m.every((one) => one.state === "delivered"), "she knows");
  readAll(his);
  await until(
    () => unreadOf(ben.session, conversation),
    (n) => n === 0,
    "he read them",
  );
  his.close();
  await mend(mia, ben);
  const again = ben.session.open(conversation);
  await shows(again, (m) => m.length === 3 && m.every((one) => one.seq > 0), "they are numbered");
  expect(texts(again.timeline().messages)).toEqual(["one", "two", "three"]);
  expect(unreadOf(ben.session, conversation)).toBe(0);
  await shows(hers, (m) => m.length === 3 && m.every((one) => one.state === "read"), "she sees that he read them");
});

test("typing goes over the link while the server is away, and for its own conversation only", async () => {
  const { mia, ben, conversation } = await linked();
  await cut(mia, ben);
  const other = mia.session.view().conversations.find((c) => c.id !== conversation)?.id as ID;
  const claim = create(TypingSchema, { conversation: idBytes(other) }); // hers with somebody else
  everywhere(create(FrameSchema, { kind: { case: "typing", value: claim } }));
  ben.session.typing(conversation, true);
  await seen(mia.session, (v) => v.conversations.some((c) => c.id === conversation && c.typing), "she sees it");
  expect(mia.session.view().conversations.filter((c) => c.typing)).toHaveLength(1);
});

/** Sends a frame over every open channel, as a device may whose code is another. */
function everywhere(f: Frame): void {
  for (const { channel } of network.made)
    if (channel.readyState === "open") for (const piece of fragments(toBinary(FrameSchema, f))) channel.send(piece);
}

test("whoever was reached directly posts for a sender who vanished", async () => {
  const { mia, ben, conversation } = await linked();
  const his = ben.session.open(conversation);
  await cut(mia);
  await mia.session.send(conversation, "my last words");
  await shows(his, (m) => m.length === 1 && m[0]?.seq === 0, "he has it");
  mia.tab.close();
  const now = Date.now;
  Date.now = () => now() + 25_000; // he waits for her to post it herself
  try {
    await ben.session.send(conversation, "anything wakes the outbox");
    await shows(his, (m) => m.every((one) => one.seq > 0), "the relay has it from him");
  } finally {
    Date.now = now;
  }
  expect(texts(his.timeline().messages)).toEqual(["anything wakes the outbox", "my last words"]);
  mia.browser.line.mend();
  await place.reopen(mia);
  const hers = mia.session.open(conversation);
  await shows(
    hers,
    (m) => m.length === 2 && m.every((one) => one.seq > 0),
    "her own device learns that it has gone out",
  );
  expect(texts(hers.timeline().messages)).toEqual(["anything wakes the outbox", "my last words"]);
});

test("a direct copy sealed in an older epoch and the relay's copy are one message", async () => {
  const ada = await place.admin();
  const phone = await place.device();
  const ben = await place.guest(ada, "Ben", network);
  const laptop = await place.device(network);
  const { conversation } = ben;
  laptop.session.open(conversation);
  const his = ben.session.open(conversation);
  await open(ben, conversation);
  await open(laptop, conversation);
  // The relay cannot be reached while it goes directly; by the time that it can be, there is a new epoch.
  const posted: Envelope[] = [];
  laptop.browser.line.up = change("post", (p) => {
    posted.push(...p.envelopes);
    return undefined;
  });
  await cut(laptop);
  await laptop.session.send(conversation, "sealed twice");
  const [direct] = await shows(his, (m) => m.length === 1, "he has the direct copy");
  await revoke(place, phone.session.view().me.device);
  await ada.session.send(conversation, "in the new epoch");
  await shows(his, (m) => m.some((one) => one.text === "in the new epoch" && one.seq > 0), "there is a new epoch");
  await mend(laptop);
  const all = await shows(his, (m) => m.length === 2 && m.every((one) => one.seq > 0), "both are numbered");
  expect(texts(all)).toEqual(["in the new epoch", "sealed twice"]);
  expect(all[1]).toMatchObject({ key: direct?.key, path: "direct", replaced: false });
  expect(posted.map((e) => parseHeader(e.header).epoch).at(-1)).toBe(2n);
  await shows(ada.session.open(conversation), (m) => m.length === 2, "and everywhere else");
});

test("a relay's copy that says something else than the direct one wins, and is marked", async () => {
  const { mia, ben, conversation } = await linked();
  const his = ben.session.open(conversation);
  // Mia's device is not honest: it gives Ben one text directly and the relay another under the same id.
  await cut(mia);
  await mia.session.send(conversation, "to your face");
  const [first] = await shows(his, (m) => m.length === 1, "he has the direct copy");
  await stored(mia.browser, async (db) => {
    const m = await db.getFromIndex("messages", "standing", standingRange(conversation, "waiting"));
    if (m === undefined) throw new Error("nothing waits");
    const text = "behind your back";
    const content = toBinary(ContentSchema, create(ContentSchema, { kind: { case: "text", value: { body: text } } }));
    await db.put("messages", { ...m, envelope: null, text, content: new Uint8Array(content) });
  });
  await mend(mia);
  const [one] = await shows(his, (m) => m[0]?.seq !== 0, "the relay's copy comes");
  expect(one).toMatchObject({ key: first?.key, text: "behind your back", replaced: true });
});

test("nobody but its sender passes a message on over a link, and nothing of another epoch", async () => {
  const { mia, ben, conversation } = await linked();
  const his = ben.session.open(conversation);
  const ghost = await makePerson();
  const { me } = mia.session.view();
  const key = randomBytes(32);
  for (const claim of [
    { account: ghost.account, device: ghost.device },
    { account: me.account, device: me.device },
    { account: me.account, device: me.device, epoch: 7n },
  ]) {
    const { kind } = await forgedText({ ...claim, conversation, seq: 1n }, ghost, key, "boo");
    if (kind.case !== "envelope") throw new Error("no envelope");
    const value = create(DirectSchema, { envelopes: [kind.value] });
    everywhere(create(FrameSchema, { kind: { case: "direct", value } }));
  }
  await mia.session.send(conversation, "the real one");
  await shows(his, (m) => m.length > 0 && m.every((one) => one.seq > 0), "what she wrote");
  expect(texts(his.timeline().messages)).toEqual(["the real one"]);
});

test("a device passes on what it wrote itself, and nothing of another one of its account", async () => {
  const ada = await place.admin();
  const phone = await place.device();
  const laptop = await place.device(network);
  const ben = await place.guest(ada, "Ben", network);
  const { conversation } = ben;
  laptop.session.open(conversation);
  const his = ben.session.open(conversation);
  for (const r of [laptop, ben]) await open(r, conversation);
  const written: Envelope[] = [];
  phone.browser.line.up = change("post", (p) => {
    written.push(...p.envelopes);
    return null;
  });
  await seen(phone.session, (v) => v.conversations.some((c) => c.id === conversation), "the phone knows Ben");
  await phone.session.send(conversation, "kept from the relay");
  await until(
    () => written.length,
    (n) => n > 0,
    "it is sealed",
  );
  everywhere(create(FrameSchema, { kind: { case: "direct", value: create(DirectSchema, { envelopes: written }) } }));
  await laptop.session.send(conversation, "from the laptop");
  await shows(his, (m) => m.some((one) => one.text === "from the laptop"), "the laptop's own arrives");
  expect(texts(his.timeline().messages)).toEqual(["from the laptop"]);
});

test("a large outbox goes over a link that opens, in order and once, while the server is away", async () => {
  const { mia, ben, conversation } = await linked();
  const his = ben.session.open(conversation);
  await cut(mia, ben);
  const long = "x".repeat(30_000); // 60 of them are more than a channel takes at once
  for (let i = 0; i < 60; i++) await mia.session.send(conversation, `${i} ${long}`);
  await shows(his, (m) => m.at(-1)?.text.startsWith("59 ") === true, "the last is there");
  while (!his.timeline().atStart) await his.older();
  expect(texts(his.timeline().messages).map((t) => Number.parseInt(t, 10))).toEqual(
    Array.from({ length: 60 }, (_, i) => i),
  );
  await seen(
    mia.session,
    (v) => v.conversations.some((c) => c.id === conversation && c.preview?.state === "delivered"),
    "acknowledged",
  );
});

test("hidden addresses make links that go through TURN alone", async () => {
  const { mia, conversation } = await linked();
  const before = network.made.length;
  await mia.session.hideAddress(true);
  await until(
    () => network.made.slice(before).map((one) => one.configuration.iceTransportPolicy),
    (policies) => policies.includes("relay"),
    "a link of the other kind",
  );
  expect(mia.session.view().hideAddress).toBe(true);
  await place.reopen(mia);
  expect(mia.session.view().hideAddress).toBe(true);
  const after = network.made.length;
  mia.session.open(conversation);
  await until(
    () => network.made.slice(after).some((one) => one.configuration.iceTransportPolicy === "relay"),
    (is) => is,
    "it stays so",
  );
});
