// Tabs of one browser: one owns the account, the others work through it, and none loses anything when it goes.
import { afterAll, beforeAll, expect, test } from "vitest";
import { seen, shows, type Tab, texts, until } from "./testing/browser.ts";
import { stored } from "./testing/forge.ts";
import { type Pair, Place, type Resident } from "./testing/place.ts";
import type { OpenConversation, Session } from "./types.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());

interface Tabs extends Pair {
  readonly second: { tab: Tab; session: Session };
}

/** Mia has a second tab. */
async function twoTabs(): Promise<Tabs> {
  const pair = await place.pair();
  const tab = pair.mia.browser.tab();
  return { ...pair, second: { tab, session: await tab.resume() } };
}

/** The tab is gone: what it says from now on nobody hears. */
function kill(r: Resident): void {
  r.tab.mute();
  r.tab.close();
}

const callOf = (m: unknown): string | undefined => {
  const { kind, command } = m as { kind: string; command?: string };
  return kind === "call" ? command : undefined;
};

/** Waits until a text that another tab typed is durable. */
async function durable(r: Resident): Promise<void> {
  while ((await stored(r.browser, (db) => db.count("intents"))) === 0)
    await new Promise((resolve) => setTimeout(resolve, 10));
}

async function arrives(open: OpenConversation, ...want: string[]): Promise<void> {
  await shows(open, (m) => m.length >= want.length, `${want.length} messages`);
  expect(texts(open.timeline().messages)).toEqual(want);
}

test("a second tab shows what the first shows, and works through it", async () => {
  const { mia, ben, second, conversation } = await twoTabs();
  const [one, two] = [mia.session.open(conversation), second.session.open(conversation)];
  await second.session.send(conversation, "from the second tab");
  await arrives(one, "from the second tab");
  await arrives(two, "from the second tab");
  await arrives(ben.session.open(conversation), "from the second tab");
  second.session.setDraft(conversation, "half");
  await seen(mia.session, (v) => v.conversations.some((c) => c.draft === "half"), "the draft is shared");
  await expect(second.session.find("nobody-of-that-name")).rejects.toMatchObject({ code: "not-found" });
  expect(await stored(mia.browser, (db) => db.count("intents"))).toBe(0);
});

test("older messages and read marks go through the owner", async () => {
  const { ben, second, conversation } = await twoTabs();
  for (let i = 0; i < 60; i++) await ben.session.send(conversation, `${i}`);
  const two = second.session.open(conversation);
  await shows(two, (m) => m.at(-1)?.text === "59", "the newest");
  expect(two.timeline().atStart).toBe(false);
  await two.older();
  await shows(two, (m) => m[0]?.text === "0", "the oldest");
  two.markRead(two.timeline().messages.at(-1)?.seq ?? 0);
  await seen(second.session, (v) => v.conversations.every((c) => c.unread === 0), "all is read");
});

test("a text whose owner died before it heard of it goes out once", async () => {
  const { mia, ben, second, conversation } = await twoTabs();
  second.tab.mute((m) => callOf(m) === "deliver"); // the owner never gets it
  const sent = second.session.send(conversation, "not lost");
  await durable(mia);
  kill(mia);
  await sent;
  await arrives(ben.session.open(conversation), "not lost");
});

test("a text whose owner died between writing it and saying so goes out once", async () => {
  const { mia, ben, second, conversation } = await twoTabs();
  mia.tab.mute((m) => (m as { kind: string }).kind === "result"); // the answer is lost
  const two = second.session.open(conversation);
  const sent = second.session.send(conversation, "not twice");
  await arrives(two, "not twice");
  kill(mia);
  await sent;
  await second.session.send(conversation, "the next");
  await arrives(ben.session.open(conversation), "not twice", "the next");
  const all = await shows(two, (m) => m.length === 2 && m.every((one) => one.seq > 0), "both have gone out");
  expect(all.map((m) => m.state === "failed")).toEqual([false, false]);
});

test("a text of a tab that died with its owner goes out when the browser is opened again", async () => {
  const { mia, ben, second, conversation } = await twoTabs();
  second.tab.mute((m) => callOf(m) === "deliver");
  void second.session.send(conversation, "left behind").catch(() => undefined);
  await durable(mia);
  kill(mia);
  second.tab.mute();
  second.tab.close();
  await place.reopen(mia);
  await arrives(ben.session.open(conversation), "left behind");
  expect(await stored(mia.browser, (db) => db.count("intents"))).toBe(0);
});

test("what cannot be asked twice is refused when the owner goes, what can is asked again", async () => {
  const { mia, second } = await twoTabs();
  const calls: string[] = [];
  second.tab.mute((m) => {
    const call = callOf(m);
    if (call !== undefined) calls.push(call);
    return call !== undefined && calls.length <= 2;
  });
  const invited = second.session.invite(1, 7);
  const renamed = second.session.setName("Mia again");
  await until(
    () => calls.length,
    (n) => n === 2,
    "both are asked",
  );
  kill(mia);
  await expect(invited).rejects.toMatchObject({ code: "offline" });
  await renamed;
  await seen(second.session, (v) => v.me.name === "Mia again", "the name is another");
});

test("a conversation in view stays as long as it was when another tab takes over", async () => {
  const { mia, ben, second, conversation } = await twoTabs();
  for (let i = 0; i < 60; i++) await ben.session.send(conversation, `${i}`);
  const two = second.session.open(conversation);
  await shows(two, (m) => m.at(-1)?.text === "59", "the newest");
  await two.older();
  await shows(two, (m) => m.length === 60, "all of them");
  const lengths: number[] = [];
  two.subscribe(() => lengths.push(two.timeline().messages.length));
  kill(mia);
  await ben.session.send(conversation, "the owner is another");
  await shows(two, (m) => m.at(-1)?.text === "the owner is another", "it goes on");
  expect(Math.min(...lengths)).toBeGreaterThanOrEqual(60);
});

test("a frozen owner lets another tab take over, and works through it when it runs again", async () => {
  const { mia, ben, second, conversation } = await twoTabs();
  const one = mia.session.open(conversation);
  mia.tab.page("frozen");
  await second.session.send(conversation, "while the first is frozen");
  await arrives(ben.session.open(conversation), "while the first is frozen");
  mia.tab.page("thawed");
  await arrives(one, "while the first is frozen");
  await mia.session.send(conversation, "and again");
  await arrives(ben.session.open(conversation), "while the first is frozen", "and again");
});

test("an owner forgets the conversations that a closed tab had in view", async () => {
  const { mia, second, conversation } = await twoTabs();
  const asked: string[] = [];
  const { request } = mia.browser.locks;
  Object.defineProperty(mia.browser.locks, "request", {
    value: (name: string, ...rest: [never]) => {
      if (name.startsWith("parley-tab-")) asked.push(name);
      return request(name, ...rest);
    },
  });
  second.session.open(conversation);
  await until(
    () => asked.length,
    (n) => n === 1,
    "the owner watches for its end",
  );
  second.tab.close();
  // The lock is free again once the owner has been told and has let go of it.
  await new Promise<void>((resolve) => {
    void request(asked[0] ?? "", async () => resolve());
  });
});

test("signing out in one tab signs out the others and leaves nothing", async () => {
  const { mia, second } = await twoTabs();
  await second.session.signOut();
  await seen(mia.session, (v) => v.connection.kind === "signed-out", "the first is out");
  await seen(second.session, (v) => v.connection.kind === "signed-out", "so is the second");
  expect((await indexedDB.databases()).map((d) => d.name)).not.toContain(mia.browser.database);
  expect(await mia.browser.tab().gate.resume()).toBe(null);
});

test("a tab with newer code makes one with older code step aside", async () => {
  const { mia, second, conversation } = await twoTabs();
  const channel = mia.browser.channels.channel("parley-tabs");
  channel.postMessage({ kind: "hello", version: 99 });
  await seen(mia.session, (v) => v.connection.kind === "superseded", "the owner steps aside");
  await seen(second.session, (v) => v.connection.kind === "superseded", "so does the other");
  mia.session.retryNow();
  expect(mia.tab.reloads).toBe(1);
  await expect(mia.session.send(conversation, "too old")).rejects.toMatchObject({ code: "offline" });
});
