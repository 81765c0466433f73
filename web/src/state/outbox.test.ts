import { afterAll, beforeAll, expect, test } from "vitest";
import { ErrorCode } from "../wire/schema.ts";
import { seen, shows, texts, until } from "./testing/browser.ts";
import { Place, type Resident } from "./testing/place.ts";
import { nothing, refuse, spoil } from "./testing/tamper.ts";
import type { MessageView } from "./types.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());

const numbers = (n: number, from = 0): string[] => Array.from({ length: n }, (_, i) => `text ${i + from}`);
const waiting = (r: Resident, conversation: string): number | undefined =>
  r.session.view().conversations.find((c) => c.id === conversation)?.waiting;
const arrived = (m: MessageView | undefined): boolean => m?.state === "sent" || m?.state === "delivered";

async function offline(r: Resident): Promise<void> {
  r.browser.line.cut();
  await seen(r.session, (v) => v.connection.kind === "offline", "offline");
}

function online(r: Resident): void {
  r.browser.line.mend();
  r.session.retryNow();
}

test("what is written without a network goes out in order once it is back", async () => {
  const { mia, ben, conversation } = await place.pair();
  await offline(mia);
  for (const text of numbers(110)) await mia.session.send(conversation, text); // more than one request takes
  await until(
    () => waiting(mia, conversation),
    (n) => n === 110,
    "they wait",
  );
  await shows(
    mia.session.open(conversation),
    (m) => m.length > 0 && m.every((one) => one.state === "waiting"),
    "so she sees",
  );
  online(mia);
  await until(
    () => waiting(mia, conversation),
    (n) => n === 0,
    "all are sent",
  );
  const his = ben.session.open(conversation);
  await shows(his, (all) => all.at(-1)?.text === "text 109", "the last arrives");
  while (!his.timeline().atStart) await his.older();
  expect(texts(his.timeline().messages)).toEqual(numbers(110));
});

test("an answer that was lost makes no second message", async () => {
  const { mia, ben, conversation } = await place.pair();
  let lost = 0;
  mia.browser.line.down = (f) => {
    if (f.kind.case !== "posted" && f.kind.case !== "events") return undefined;
    lost++;
    return null;
  };
  await mia.session.send(conversation, "once");
  await until(
    () => lost,
    (n) => n > 0,
    "the relay has it",
  );
  await offline(mia);
  mia.browser.line.down = nothing;
  online(mia);
  await shows(mia.session.open(conversation), (all) => all[0]?.state === "delivered", "she hears that he has it");
  expect(texts(await shows(ben.session.open(conversation), (all) => all.length > 0, "he has it"))).toEqual(["once"]);
});

test("the outbox survives its tab and its server", async () => {
  const { mia, ben, conversation } = await place.pair();
  const his = ben.session.open(conversation);
  await place.server.stop("SIGKILL");
  for (const text of numbers(20)) await mia.session.send(conversation, text);
  await place.reopen(mia);
  for (const text of numbers(20, 20)) await mia.session.send(conversation, text);
  await place.server.start();
  mia.session.retryNow();
  ben.session.retryNow();
  await shows(his, (all) => all.length === 40, "all arrive");
  expect(texts(his.timeline().messages)).toEqual(numbers(40));
});

test("a message that the relay refuses for good holds up no other, and can be tried again", async () => {
  const { mia, ben, conversation } = await place.pair();
  const [hers, his] = [mia.session.open(conversation), ben.session.open(conversation)];
  await offline(mia);
  for (const text of ["first", "second", "third"]) await mia.session.send(conversation, text);
  mia.browser.line.up = spoil((i) => i === 1);
  online(mia);
  const all = await shows(hers, (m) => m.some((one) => one.state === "failed"), "the second is refused");
  const failed = all.find((m) => m.text === "second");
  expect(failed).toMatchObject({ state: "failed", failure: "untrusted" });
  await shows(his, (m) => m.length === 2, "the others arrive");
  mia.browser.line.up = nothing;
  await mia.session.retry(failed as MessageView);
  await shows(his, (m) => m.length === 3, "it arrives after all");
  expect(texts(his.timeline().messages)).toEqual(["first", "third", "second"]);
});

test("what was refused stays where it stood, says why, and can be discarded", async () => {
  const { mia, ben, conversation } = await place.pair();
  const hers = mia.session.open(conversation);
  mia.browser.line.up = spoil();
  mia.browser.line.down = refuse(ErrorCode.FORBIDDEN, "this place is closed");
  await mia.session.send(conversation, "never");
  await shows(hers, (all) => all[0]?.state === "failed", "it fails");
  mia.browser.line.up = nothing;
  mia.browser.line.down = nothing;
  await ben.session.send(conversation, "later");
  const all = await shows(hers, (m) => m.length === 2, "a later message");
  expect(texts(all)).toEqual(["never", "later"]);
  expect(all[0]?.failure).toBe("forbidden");
  await mia.session.discard(all[0] as MessageView);
  await shows(hers, (m) => m.length === 1, "it is gone");
});

test("a relay that wants another epoch for ever is asked again, but not without pause", async () => {
  const { mia, conversation } = await place.pair();
  const posts: number[] = [];
  mia.browser.line.up = spoil();
  mia.browser.line.down = (f) => {
    if (f.kind.case === "posted") posts.push(performance.now());
    return refuse(ErrorCode.STALE_EPOCH)(f);
  };
  await mia.session.send(conversation, "stale");
  await until(
    () => posts.length,
    (n) => n >= 6,
    "it goes on trying",
  );
  // Twice in one turn, then ever longer pauses: 0.5 s and 1 s at least.
  expect((posts[5] ?? 0) - (posts[0] ?? 0)).toBeGreaterThan(1_400);
  mia.browser.line.up = nothing;
  mia.browser.line.down = nothing;
  await shows(mia.session.open(conversation), (all) => arrived(all[0]), "it goes when the relay takes it");
});

test("a conflict that the log explains is no failure", async () => {
  const { mia, ben, conversation } = await place.pair();
  // As if the first answer had been lost, and the message sealed again since.
  mia.browser.line.down = refuse(ErrorCode.ID_CONFLICT);
  await mia.session.send(conversation, "here");
  await shows(mia.session.open(conversation), (all) => arrived(all[0]), "the log shows it");
  mia.browser.line.down = nothing;
  expect(texts(await shows(ben.session.open(conversation), (m) => m.length > 0, "he has it"))).toEqual(["here"]);
});

test("a conflict that the log does not explain is one", async () => {
  const { mia, conversation } = await place.pair();
  mia.browser.line.up = spoil();
  mia.browser.line.down = refuse(ErrorCode.ID_CONFLICT, "another message has this id");
  await mia.session.send(conversation, "squatted");
  await shows(mia.session.open(conversation), (all) => all[0]?.state === "failed", "it fails");
});

test("a refusal for the moment is waited out, and order stays", async () => {
  const { mia, ben, conversation } = await place.pair();
  let busy = 2;
  mia.browser.line.up = (f) => (busy > 0 ? spoil((i) => i === 0)(f) : undefined);
  mia.browser.line.down = (f) => {
    if (f.kind.case !== "posted" || busy === 0) return undefined;
    busy--;
    return refuse(ErrorCode.STORE_FULL, "full", (i) => i === 0)(f);
  };
  await mia.session.send(conversation, "first");
  await until(
    () => busy,
    (n) => n === 0,
    "the relay was full twice",
  );
  expect(texts(await shows(ben.session.open(conversation), (m) => m.length === 1, "it arrives"))).toEqual(["first"]);
});

test("what comes behind a refusal for the moment stays behind it", async () => {
  const { mia, ben, conversation } = await place.pair();
  await offline(mia);
  for (const text of numbers(105)) await mia.session.send(conversation, text); // two requests
  let full = true;
  let posts = 0;
  let refusals = 0;
  mia.browser.line.up = (f) => {
    if (f.kind.case === "post") posts++;
    return full ? spoil()(f) : undefined;
  };
  mia.browser.line.down = (f) => {
    if (f.kind.case !== "posted" || !full) return undefined;
    refusals++;
    return refuse(ErrorCode.STORE_FULL, "full")(f);
  };
  online(mia);
  await until(
    () => refusals,
    (n) => n === 1,
    "it is refused",
  );
  mia.session.setDraft(conversation, "x");
  await seen(mia.session, (v) => v.conversations.some((c) => c.draft === "x"), "and that was noted");
  expect(posts).toBe(1); // not the second request without the first
  full = false;
  const his = ben.session.open(conversation);
  await shows(his, (all) => all.at(-1)?.text === "text 104", "the last arrives");
  while (!his.timeline().atStart) await his.older();
  expect(texts(his.timeline().messages)).toEqual(numbers(105));
});

test("a refusal of what the relay's log shows already changes nothing", async () => {
  const { mia, conversation } = await place.pair();
  const hers = mia.session.open(conversation);
  mia.browser.line.down = refuse(ErrorCode.FORBIDDEN); // the event comes before the answer
  await mia.session.send(conversation, "there already");
  await shows(hers, (all) => arrived(all[0]), "the relay's copy decides");
  mia.browser.line.down = nothing;
  await mia.session.send(conversation, "and on");
  const all = await shows(hers, (m) => m.length === 2 && arrived(m[1]), "the next one too");
  expect(all.some((m) => m.state === "failed")).toBe(false);
});
