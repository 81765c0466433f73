// What a person does about others, and does not show of themselves, against the real server.
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { FakeNetwork } from "../net/link/testing/webrtc.ts";
import { seen, shows, until } from "./testing/browser.ts";
import { connected, type Pair, Place, type Resident } from "./testing/place.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());

const accountOf = (r: Resident): string => r.session.view().me.account;

test("both see the same safety number, and comparing is kept", async () => {
  const { mia, ben } = await place.pair();
  const [hers, his] = [await mia.session.safety(accountOf(ben)), await ben.session.safety(accountOf(mia))];
  expect(hers).toEqual(his);
  expect(hers.digits).toMatch(/^\d{4}( \d{4}){11}$/);
  expect(hers.text).toBe(`parley-safety:${hers.digits.replaceAll(" ", "")}`);
  expect(mia.session.view().people[accountOf(ben)]).toMatchObject({ safety: "open", compared: 0 });
  await mia.session.markCompared(accountOf(ben), hers.digits);
  await place.reopen(mia);
  expect(mia.session.view().people[accountOf(ben)]?.safety).toBe("compared");
  expect(mia.session.view().people[accountOf(ben)]?.compared).toBeGreaterThan(Date.now() - 600_000);
  expect(ben.session.view().people[accountOf(mia)]?.safety).toBe("open"); // it is each one's own
});

test("other digits than the number of now are not taken for compared", async () => {
  const { mia, ben } = await place.pair();
  await expect(mia.session.markCompared(accountOf(ben), `0000 ${"1111 ".repeat(11).trim()}`)).rejects.toMatchObject({
    code: "identity-changed",
  });
  expect(mia.session.view().people[accountOf(ben)]?.safety).toBe("open");
  await expect(mia.session.safety("0192f3a0-0000-7000-8000-000000000000")).rejects.toMatchObject({ code: "not-found" });
});

test("a contact that is removed is gone on both sides", async () => {
  const { mia, ben, conversation } = await place.pair();
  await mia.session.remove(accountOf(ben));
  expect(mia.session.view().people[accountOf(ben)]?.relation).toBe("none");
  await seen(ben.session, (v) => v.people[accountOf(mia)]?.relation === "none", "Ben hears of it");
  expect(mia.session.view().conversations.some((c) => c.id === conversation)).toBe(false);
});

test("to somebody blocked one looks offline, and what they write comes once they are let in again", async () => {
  const { mia, ben, conversation } = await place.pair();
  await seen(ben.session, (v) => v.people[accountOf(mia)]?.presence === "online", "Mia is there");
  await mia.session.block(accountOf(ben), true);
  expect(mia.session.view().people[accountOf(ben)]?.blocked).toBe(true);
  await seen(ben.session, (v) => v.people[accountOf(mia)]?.presence === "offline", "she looks gone");
  expect(ben.session.view().people[accountOf(mia)]).toMatchObject({ relation: "accepted", blocked: false });
  await ben.session.send(conversation, "are you there?");
  await shows(ben.session.open(conversation), (m) => m.at(-1)?.state === "sent", "it is sent like any other");
  await place.reopen(mia);
  expect(mia.session.view().people[accountOf(ben)]?.blocked).toBe(true);
  expect(mia.session.open(conversation).timeline().messages).toEqual([]);
  await mia.session.block(accountOf(ben), false);
  await shows(mia.session.open(conversation), (m) => m.length === 1, "now it comes");
  await seen(ben.session, (v) => v.people[accountOf(mia)]?.presence === "online", "and she is there again");
});

test("links end with whom one blocks, removes, or hides presence from, and nothing more comes over them", async () => {
  const [blocked, removed, hidden] = [await linked(), await linked(), await linked()];
  await blocked.mia.session.block(accountOf(blocked.ben), true);
  await removed.mia.session.remove(accountOf(removed.ben));
  await hidden.mia.session.setPrivacy({ hidePresence: true, hideRead: false, hideTyping: false });
  await until(
    () => linkOf(blocked.ben, blocked.conversation),
    (state) => state !== "open",
    "blocked: no link",
  );
  await until(
    () => linkOf(hidden.ben, hidden.conversation),
    (state) => state !== "open",
    "hidden: no link",
  );
  await blocked.ben.session.send(blocked.conversation, "are you there?");
  await shows(
    blocked.ben.session.open(blocked.conversation),
    (m) => m.at(-1)?.state === "sent",
    "it goes to the relay",
  );
  expect(blocked.mia.session.open(blocked.conversation).timeline().messages).toEqual([]);
  await blocked.mia.session.block(accountOf(blocked.ben), false);
  await until(
    () => linkOf(blocked.ben, blocked.conversation),
    (state) => state === "open",
    "let in again: a link",
  );
});

/** Two people with a direct link between them, in view on both sides. */
async function linked(): Promise<Pair> {
  const pair = await place.pair(new FakeNetwork());
  for (const r of [pair.mia, pair.ben]) r.session.open(pair.conversation);
  for (const r of [pair.mia, pair.ben])
    await until(
      () => linkOf(r, pair.conversation),
      (state) => state === "open",
      "a link",
    );
  return pair;
}

const linkOf = (r: Resident, conversation: string): string | undefined =>
  r.session.view().conversations.find((c) => c.id === conversation)?.link.state;

test("who does nothing for five minutes is away, and back at once", async () => {
  const { mia, ben } = await place.pair();
  const shown = (): string | undefined => ben.session.view().people[accountOf(mia)]?.presence;
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] });
  try {
    await place.reopen(mia);
    await connected(mia.session);
    await until(shown, (kind) => kind === "online", "Mia is there");
    vi.advanceTimersByTime(4 * 60_000);
    mia.session.active();
    vi.advanceTimersByTime(4 * 60_000);
    // The connection, silent for so long, is another one by now; what was told before the answer to this is told.
    while (
      !(await mia.session.hideAddress(false).then(
        () => true,
        () => false,
      ))
    );
    await until(shown, (kind) => kind === "online", "she is still there");
    vi.advanceTimersByTime(2 * 60_000);
    await until(shown, (kind) => kind === "away", "Mia is away");
    mia.session.active();
    await until(shown, (kind) => kind === "online", "and back");
  } finally {
    vi.useRealTimers();
  }
});

test("who hides presence is seen by nobody, and sees nobody", async () => {
  const { mia, ben } = await place.pair();
  await seen(ben.session, (v) => v.people[accountOf(mia)]?.presence === "online", "Mia is there");
  await mia.session.setPrivacy({ hidePresence: true, hideRead: false, hideTyping: false });
  await seen(mia.session, (v) => v.privacy.hidePresence, "it is set");
  await seen(ben.session, (v) => v.people[accountOf(mia)]?.presence === "offline", "Ben sees nothing");
  expect(ben.session.view().people[accountOf(mia)]?.lastSeen).toBe(0);
  await seen(mia.session, (v) => v.people[accountOf(ben)]?.presence === "offline", "nor does Mia");
  await place.reopen(mia);
  expect(mia.session.view().privacy).toEqual({ hidePresence: true, hideRead: false, hideTyping: false });
});

test("who hides read marks shows none and sees none", async () => {
  const { mia, ben, conversation } = await place.pair();
  await mia.session.setPrivacy({ hidePresence: false, hideRead: true, hideTyping: false });
  await ben.session.send(conversation, "read me");
  const hers = mia.session.open(conversation);
  const all = await shows(hers, (m) => m.length === 1 && (m[0]?.seq ?? 0) > 0, "it is there");
  hers.markRead(all[0]?.seq ?? 0, all[0]?.key);
  await mia.session.send(conversation, "and you?");
  const his = ben.session.open(conversation);
  await shows(his, (m) => m.length === 2, "the answer is there");
  expect(his.timeline().messages[0]?.state).toBe("delivered"); // what Mia read came before her answer
});

test("who hides typing tells nobody, and is told of nobody", async () => {
  const { mia, ben, conversation } = await place.pair();
  const told: string[] = [];
  mia.browser.line.up = (f) => {
    if (f.kind.case === "typing") told.push("typing");
    return undefined;
  };
  await mia.session.setPrivacy({ hidePresence: false, hideRead: false, hideTyping: true });
  mia.session.typing(conversation, true);
  await mia.session.send(conversation, "behind it");
  await shows(ben.session.open(conversation), (m) => m.length === 1, "what came behind it is there");
  expect(told).toEqual([]);
});

test("a picture is shown to contacts under an address of its own, and can be taken away", async () => {
  const { mia, ben } = await place.pair();
  const picture = new Uint8Array(Buffer.from(PIXEL, "base64"));
  await mia.session.setAvatar(picture);
  const own = await seen(mia.session, (v) => v.me.avatar !== "", "it is her own");
  const his = await seen(ben.session, (v) => (v.people[accountOf(mia)]?.avatar ?? "") !== "", "Ben hears of it");
  expect(his.people[accountOf(mia)]?.avatar).toBe(own.me.avatar);
  const response = await ben.browser.fetch(place.server.url + own.me.avatar);
  expect(new Uint8Array(await response.arrayBuffer())).toEqual(picture);
  await expect(mia.session.setAvatar(new Uint8Array([1, 2, 3]))).rejects.toMatchObject({ code: "internal" });
  await mia.session.setAvatar(null);
  await seen(ben.session, (v) => v.people[accountOf(mia)]?.avatar === "", "it is gone");
});

/** A PNG of one pixel. */
const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

test("an invitation says for how many it was made, and people by which they came", async () => {
  const { mia } = await place.pair();
  const { code } = await mia.session.invite(5, 7);
  await seen(mia.session, (v) => v.invitations.some((i) => i.code === code && i.uses === 5), "it is listed");
  const cyd = await place.guest(mia, "Cyd");
  const { people, invitations } = await seen(
    mia.session,
    (v) => (v.people[accountOf(cyd)]?.invitation ?? "") !== "",
    "Mia sees how Cyd came",
  );
  expect(invitations.map((i) => i.code)).toContain(people[accountOf(cyd)]?.invitation);
});

test("an administrator sees accounts and totals, suspends and changes the place; others find nothing", async () => {
  const ada = await place.admin();
  const mia = await place.guest(ada, "Mia");
  const { admin } = ada.session;
  const { users } = await admin.users("mia", "");
  expect(users.find((u) => u.account === accountOf(mia))).toMatchObject({ name: "Mia", admin: false, suspended: 0 });
  expect((await admin.users("nobody of this name", "")).users).toEqual([]);
  expect((await admin.stats()).accounts).toBeGreaterThan(1);
  await admin.suspend(accountOf(mia), true);
  await seen(mia.session, (v) => v.connection.kind !== "connected", "her session is over");
  await admin.suspend(accountOf(mia), false);
  expect((await admin.users("mia", "")).users.find((u) => u.account === accountOf(mia))?.suspended).toBe(0);
  const { code } = await ada.session.invite(3, 1);
  expect((await admin.invitations("")).invitations.find((i) => i.code === code)).toMatchObject({
    uses: 3,
    name: "Ada",
  });
  await admin.revokeInvitation(code);
  expect((await admin.invitations("")).invitations.find((i) => i.code === code)?.revoked).toBe(true);
  expect(await admin.change({ name: "Repair Café" })).toEqual({ registration: "invite", name: "Repair Café" });
  expect(await admin.change({ registration: "closed" })).toEqual({ registration: "closed", name: "Repair Café" });
  await admin.change({ registration: "invite" });
  const ben = await place.guest(ada, "Ben");
  await expect(ben.session.admin.users("", "")).rejects.toMatchObject({
    code: expect.stringMatching(/not-found|unreachable/),
  });
  expect(
    await until(
      () => ben.session.view().me.admin,
      (is) => !is,
      "no administrator",
    ),
  ).toBe(false);
});
