import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AccountChangesSchema, ErrorCode, type Frame, WelcomeSchema } from "../wire/schema.ts";
import { seen, shows, texts, until } from "./testing/browser.ts";
import { connected, Place, readAll, unreadOf } from "./testing/place.ts";
import { change, instead, nothing, refuse, spoil } from "./testing/tamper.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());

describe("two devices of one account", () => {
  test("show the same history, own messages as own, and the same unread count", async () => {
    const ada = await place.admin();
    const ben = await place.guest(ada, "Ben");
    const { conversation } = ben;
    await ben.session.send(conversation, "one");
    await shows(ada.session.open(conversation), (all) => all.length === 1, "Ada has it");
    await ada.session.send(conversation, "two");
    const laptop = await place.device();
    const there = laptop.session.open(conversation);
    const all = await shows(there, (m) => m.length === 2, "the new device has the history");
    expect(all.map((m) => [m.text, m.own])).toEqual([
      ["one", false],
      ["two", true],
    ]);

    await ben.session.send(conversation, "three");
    for (const device of [ada, laptop])
      await until(
        () => unreadOf(device.session, conversation),
        (n) => n === 2,
        "both have two unread",
      );
    await shows(there, (m) => m.length === 3, "the laptop shows the third");
    readAll(there);
    for (const device of [ada, laptop])
      await until(
        () => unreadOf(device.session, conversation),
        (n) => n === 0,
        "read on one is read on both",
      );
    await laptop.session.send(conversation, "four, from the laptop");
    await shows(ada.session.open(conversation), (m) => m.at(-1)?.own === true && m.length === 4, "Ada sees it as own");
    await shows(ben.session.open(conversation), (m) => m.length === 4, "Ben has it once");
  });

  test("what one read without a network the other learns once it is back", async () => {
    const ada = await place.admin();
    const ben = await place.guest(ada, "Ben");
    const laptop = await place.device();
    const { conversation } = ben;
    await ben.session.send(conversation, "read me");
    await until(
      () => unreadOf(ada.session, conversation),
      (n) => n === 1,
      "unread there",
    );
    const there = laptop.session.open(conversation);
    await shows(there, (m) => m.length === 1, "the laptop has it");
    laptop.browser.line.cut();
    await seen(laptop.session, (v) => v.connection.kind !== "connected", "the laptop is offline");
    readAll(there);
    await until(
      () => unreadOf(laptop.session, conversation),
      (n) => n === 0,
      "read on the laptop",
    );
    expect(unreadOf(ada.session, conversation)).toBe(1);
    laptop.browser.line.mend();
    laptop.session.retryNow();
    await until(
      () => unreadOf(ada.session, conversation),
      (n) => n === 0,
      "and then everywhere",
    );
    await shows(ben.session.open(conversation), (m) => m[0]?.state === "read", "Ben sees it too");
  });

  test("the list of devices names both, and which is the administrator's", async () => {
    const ada = await place.admin();
    const laptop = await place.device();
    const view = await seen(
      laptop.session,
      (v) => v.devices.length >= 2 && v.me.admin,
      "the new device knows the devices and the role",
    );
    expect(view.devices.filter((d) => d.current).map((d) => d.id)).toEqual([view.me.device]);
    expect(view.devices.map((d) => d.name)).toContain("Firefox · Linux");
    await seen(ada.session, (v) => v.me.admin && v.devices.length >= 2, "so does the old one");
  });
});

test("receipts and typing", async () => {
  const { mia, ben, conversation } = await place.pair();
  const hers = mia.session.open(conversation);
  await mia.session.send(conversation, "hello");
  await shows(hers, (m) => m[0]?.state === "delivered", "delivered");
  const his = ben.session.open(conversation);
  await shows(his, (m) => m.length === 1, "he has it");
  readAll(his);
  await shows(hers, (m) => m[0]?.state === "read", "read");

  const typing = (): boolean | undefined => mia.session.view().conversations.find((c) => c.id === conversation)?.typing;
  ben.session.typing(conversation, true);
  await until(typing, (t) => t === true, "she sees that he writes");
  ben.session.typing(conversation, false);
  await until(typing, (t) => t === false, "and that he stopped");
  ben.session.typing(conversation, true);
  await until(typing, (t) => t === true, "he writes again");
  await ben.session.send(conversation, "done");
  await until(typing, (t) => t === false, "what he wrote ends it");
});

test("a read mark never says more than is here", async () => {
  const { mia, ben, conversation } = await place.pair();
  const cursors: bigint[] = [];
  mia.browser.line.up = change("cursor", (c) => {
    cursors.push(c.deliveredSeq, c.readSeq);
    return undefined;
  });
  mia.browser.line.down = (f) => (f.kind.case === "events" ? null : undefined); // what Ben writes does not come
  await ben.session.send(conversation, "you do not see this");
  await shows(ben.session.open(conversation), (m) => m[0]?.seq === 2, "the relay has it");
  const hers = mia.session.open(conversation);
  await mia.session.send(conversation, "mine");
  await shows(hers, (m) => m.length === 1 && m[0]?.seq === 3, "her own has a number behind his");
  readAll(hers);
  mia.session.setDraft(conversation, "after that");
  await seen(mia.session, (v) => v.conversations.some((c) => c.draft === "after that"), "the mark is made");
  expect(cursors.filter((c) => c > 1n)).toEqual([]);
});

test("a draft stays through a restart, and goes when its text is sent", async () => {
  const { mia, conversation } = await place.pair();
  const draft = (): string | undefined => mia.session.view().conversations.find((c) => c.id === conversation)?.draft;
  mia.session.setDraft(conversation, "half a thought");
  await until(draft, (d) => d === "half a thought", "it is kept");
  await place.reopen(mia);
  await until(draft, (d) => d === "half a thought", "it is there again");
  await mia.session.send(conversation, "half a thought");
  await until(draft, (d) => d === "", "it is gone");
});

test("a live event that does not follow on what is here makes the device fetch what lies between", async () => {
  const { mia, ben, conversation } = await place.pair();
  let drop = 2;
  mia.browser.line.down = (f) => (f.kind.case === "events" && drop-- > 0 ? null : undefined);
  for (const text of ["one", "two", "three"]) {
    await ben.session.send(conversation, text);
    await shows(ben.session.open(conversation), (m) => m.at(-1)?.text === text && m.at(-1)?.state !== "waiting", text);
  }
  expect(texts(await shows(mia.session.open(conversation), (m) => m.length === 3, "all are there"))).toEqual([
    "one",
    "two",
    "three",
  ]);
});

test("events that come while the log is being fetched for another reason are not lost", async () => {
  const { mia, ben, conversation } = await place.pair();
  const hers = mia.session.open(conversation);
  const { line } = mia.browser;
  // Her outbox has the log fetched, whose page is held back while two messages come, of which the first is lost.
  const held: Frame[] = [];
  let pushes = 0;
  line.up = (f) => (f.kind.case === "post" && held.length === 0 ? spoil()(f) : undefined);
  line.down = (f) => {
    if (f.kind.case === "posted" && held.length === 0) return refuse(ErrorCode.STALE_EPOCH)(f);
    if (f.kind.case === "page" && held.length === 0) {
      held.push(f);
      return null;
    }
    return f.kind.case === "events" && ++pushes === 1 ? null : undefined;
  };
  await mia.session.send(conversation, "mine");
  await until(
    () => held.length,
    (n) => n === 1,
    "a page is on its way",
  );
  for (const text of ["one", "two"]) await ben.session.send(conversation, text);
  await until(
    () => pushes,
    (n) => n >= 2,
    "both were pushed",
  );
  mia.session.setDraft(conversation, "x"); // behind the push that shows the gap
  await seen(mia.session, (v) => v.conversations.some((c) => c.draft === "x"), "the second push was handled");
  for (const page of held) line.deliver(page);
  line.up = (f) => (f.kind.case === "post" ? null : undefined); // nothing else makes it look again
  await shows(hers, (m) => m.filter((one) => !one.own).length === 2, "both are there");
  line.up = nothing;
});

test("all pages of account changes are taken before the conversations that they name", async () => {
  const ada = await place.admin();
  const ben = await place.guest(ada, "Ben");
  await ben.session.send(ben.conversation, "hello");
  // A server that tells the conversations first, and the people they are with on the next page.
  const browser = place.browser();
  const later: Frame["kind"][] = [];
  browser.line.down = (f) => {
    if (f.kind.case === "welcome") {
      const { changes } = f.kind.value;
      if (changes === undefined) return undefined;
      later.push({ case: "accountChanges", value: create(AccountChangesSchema, { ...changes, conversations: [] }) });
      const first = create(AccountChangesSchema, { version: 1n, more: true, conversations: changes.conversations });
      return instead(f, {
        case: "welcome",
        value: create(WelcomeSchema, { ...f.kind.value, changes: first, behind: [] }),
      });
    }
    const next = f.kind.case === "accountChanges" ? later.shift() : undefined;
    return next === undefined ? undefined : instead(f, next);
  };
  const lists: unknown[] = [];
  browser.line.up = change("getDeviceLists", (q) => {
    lists.push(q);
    return undefined;
  });
  const tab = browser.tab();
  const session = tab.keep(await tab.gate.logIn("ada", "correct horse battery"));
  await connected(session);
  await shows(session.open(ben.conversation), (m) => m.length === 1, "the history is there");
  expect(later).toEqual([]);
  expect(lists).toEqual([]); // the people were known before the conversations were read
});

test("a gap in a sender's counter is shown once it stays", async () => {
  const { mia, ben, conversation } = await place.pair();
  await ben.session.send(conversation, "one");
  const hers = mia.session.open(conversation);
  await shows(hers, (m) => m.length === 1, "the first");
  mia.browser.line.down = (f) => {
    if (f.kind.case !== "events") return undefined;
    const [event] = f.kind.value.events;
    return event?.seq === 3n ? null : undefined;
  };
  await ben.session.send(conversation, "two");
  await shows(ben.session.open(conversation), (m) => m[1]?.state === "sent", "the relay has the second");
  // The server hands the third on as if there had been no second.
  mia.browser.line.down = (f) => {
    if (f.kind.case !== "events") return undefined;
    const events = f.kind.value.events.map((e) => ({ ...e, seq: e.seq - 1n }));
    return instead(f, { case: "events", value: { ...f.kind.value, events } });
  };
  await ben.session.send(conversation, "three");
  await shows(hers, (m) => m.at(-1)?.text === "three", "the third");
  mia.browser.line.down = nothing;
  const missing = (): readonly string[] | undefined =>
    mia.session.view().conversations.find((c) => c.id === conversation)?.missing;
  expect(missing()).toEqual([]);
  const now = Date.now;
  Date.now = () => now() + 5 * 60_000;
  try {
    mia.session.setDraft(conversation, "x"); // anything that shows it anew
    await until(missing, (m) => m?.length === 1, "messages from Ben may be missing");
  } finally {
    Date.now = now;
  }
});
