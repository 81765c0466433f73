// What a hostile server may try with a conversation: the state refuses it and keeps working.
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { randomBytes } from "../wire/bytes.ts";
import { Chain } from "../wire/chain.ts";
import { createPair, rekey } from "../wire/commit.ts";
import { parseHeader } from "../wire/envelope.ts";
import { type ID, idBytes, idFrom } from "../wire/ids.ts";
import {
  CommitEventSchema,
  CommitSchema,
  ConversationStateSchema,
  type Envelope,
  type Event,
  EventSchema,
  EventsSchema,
  type Header,
  HeaderSchema,
  Kind,
  MessageRefSchema,
} from "../wire/schema.ts";
import { signedOrEmpty } from "../wire/sign.ts";
import { makePerson } from "../wire/testing/people.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { seen, shows, texts, until } from "./testing/browser.ts";
import { changes, forgedText, stored } from "./testing/forge.ts";
import { connected, type Pair, Place } from "./testing/place.ts";
import { change, envelopes, nothing } from "./testing/tamper.ts";

let place: Place;
let pair: Pair;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());
beforeEach(async () => {
  pair = await place.pair();
});
/** Whatever happened, the conversation goes on; a new page reads the true log. */
afterEach(async () => {
  const { mia, ben, conversation } = pair;
  mia.browser.line.down = nothing;
  mia.browser.line.up = nothing;
  await place.reopen(mia);
  await connected(mia.session);
  await ben.session.send(conversation, "and still it works");
  await shows(mia.session.open(conversation), (m) => m.at(-1)?.text === "and still it works", "it keeps working");
});

/** Ben writes a text; resolves to its event as Mia got it. */
async function event(text: string): Promise<Event> {
  const { mia, ben, conversation } = pair;
  const caught: Event[] = [];
  mia.browser.line.down = change("events", (e) => {
    caught.push(...e.events);
    return undefined;
  });
  await ben.session.send(conversation, text);
  await shows(mia.session.open(conversation), (m) => m.at(-1)?.text === text, text);
  mia.browser.line.down = nothing;
  const [first] = caught;
  if (first === undefined) throw new Error("no event");
  return first;
}

/** Waits until Mia's device says that it has handled everything up to a number. */
async function told(seq: bigint): Promise<void> {
  const { line } = pair.mia.browser;
  let at = 0n;
  line.up = change("cursor", (c) => {
    at = c.deliveredSeq > at ? c.deliveredSeq : at;
    return undefined;
  });
  await until(
    () => at,
    (n) => n >= seq,
    "the events were handled",
  );
  line.up = nothing;
}

/** The server pushes events of its own making, and Mia's device handles them. */
async function push(...events: Event[]): Promise<void> {
  const handled = told(events.at(-1)?.seq ?? 0n);
  pair.mia.browser.line.inject({ case: "events", value: create(EventsSchema, { events }) });
  await handled;
}

async function shown(): Promise<string[]> {
  const { mia, conversation } = pair;
  return texts(await shows(mia.session.open(conversation), (m) => m.length > 0, "what came before"));
}

function flipped(b: Uint8Array, at: number): Uint8Array {
  return b.map((octet, i) => (i === at ? octet ^ 1 : octet));
}

function headerWith(e: Envelope, change: (h: Header) => void): Partial<Envelope> {
  const h = parseHeader(e.header);
  change(h);
  return { header: toBinary(HeaderSchema, h) };
}

const alterations: [string, (e: Envelope) => Partial<Envelope>][] = [
  ["body", (e) => ({ ciphertext: flipped(e.ciphertext, 3) })],
  ["signature", (e) => ({ signature: flipped(e.signature, 3) })],
  [
    "kind",
    (e) =>
      headerWith(e, (h) => {
        h.kind = Kind.NOTICE;
      }),
  ],
  [
    "message that it replaces",
    (e) =>
      headerWith(e, (h) => {
        h.replaces = create(MessageRefSchema, { device: h.device, id: h.id });
      }),
  ],
  [
    "time",
    (e) =>
      headerWith(e, (h) => {
        h.timeMs += 1n;
      }),
  ],
  [
    "sender",
    (e) =>
      headerWith(e, (h) => {
        h.account = idBytes(pair.mia.session.view().me.account as ID);
      }),
  ],
];

test.each(alterations)("an envelope with another %s than was signed never becomes a message", async (_, alter) => {
  const { mia, ben, conversation } = pair;
  const first = await event("as it was written");
  const handled = told(first.seq + 1n);
  mia.browser.line.down = envelopes((e) => ({ ...e, ...alter(e) }));
  await ben.session.send(conversation, "altered on its way");
  await handled;
  expect(await shown()).toEqual(["as it was written"]);
});

test("an envelope replayed at another number changes nothing", async () => {
  const { mia, conversation } = pair;
  const first = await event("said once");
  await push(create(EventSchema, { ...first, seq: first.seq + 1n }));
  const all = await shows(mia.session.open(conversation), (m) => m.length > 0, "it is there");
  expect(all.map((m) => [m.text, m.seq])).toEqual([["said once", Number(first.seq)]]);
});

test("events out of order, or beyond what the run tells, are not taken", async () => {
  const { mia, ben, conversation } = pair;
  await event("one");
  const { line } = mia.browser;
  line.down = (f) => {
    if (f.kind.case === "events") return null; // so that the log is fetched
    if (f.kind.case !== "page" || f.kind.value.events.length < 3) return undefined;
    const [two, three, four] = f.kind.value.events as [Event, Event, Event];
    // A number far behind the end, and two that go backwards.
    f.kind.value.events = [create(EventSchema, { ...two, seq: 4_000_000_000n }), four, three];
    return f;
  };
  for (const text of ["two", "three", "four"]) {
    await ben.session.send(conversation, text);
    await shows(ben.session.open(conversation), (m) => m.at(-1)?.text === text && m.at(-1)?.seq !== 0, text);
  }
  line.cut();
  await seen(mia.session, (v) => v.connection.kind !== "connected", "offline");
  const handled = told(5n);
  line.mend();
  mia.session.retryNow();
  await handled;
  expect(await shown()).toEqual(["one", "four"]);
});

test("senders who are no members, or whose device or key is not theirs, say nothing", async () => {
  const { mia, ben, conversation } = pair;
  const first = await event("from Ben");
  const ghost = await makePerson();
  const him = ben.session.view().me;
  const key = randomBytes(32);
  const seq = first.seq + 1n;
  const claims = [
    { account: ghost.account, device: ghost.device },
    { account: him.account, device: ghost.device },
    { account: him.account, device: him.device },
  ];
  for (const [i, claim] of claims.entries())
    await push(await forgedText({ ...claim, conversation, seq: seq + BigInt(i) }, ghost, key, "boo"));
  expect(await shown()).toEqual(["from Ben"]);
  const people = await stored(mia.browser, (db) => db.getAllKeys("people"));
  expect(people).not.toContain(ghost.account);
});

test("a commit that no member signed, with a ghost or a key of the server's, is not in force", async () => {
  const { mia, ben, conversation } = pair;
  const first = await event("from Ben");
  const ghost = await makePerson();
  const row = await stored(mia.browser, (db) => db.get("conversations", conversation));
  const chain = Chain.restore(row?.chain ?? new Uint8Array());
  const keys = chain.members.map((m) => ({ ...ghost.member, account: idFrom(m.account), identityKey: m.identityKey }));
  const him = ben.session.view().me;
  const inBensName = { ...ghost.signer, account: him.account as ID, device: him.device as ID };
  for (const [signer, members] of [
    [inBensName, keys],
    [ghost.signer, [...keys, ghost.member]],
    [inBensName, [...keys, ghost.member]],
  ] as const) {
    const { post } = await rekey(signer, chain, members, randomBytes(32));
    const value = create(CommitEventSchema, { commit: signedOrEmpty(post.commit) });
    await push(create(EventSchema, { ...first, seq: first.seq + 1n, kind: { case: "commit", value } }));
    await place.reopen(mia);
    await connected(mia.session);
  }
  const epochs: bigint[] = [];
  mia.browser.line.up = change("post", (p) => {
    epochs.push(...p.envelopes.map((e) => parseHeader(e.header).epoch));
    return undefined;
  });
  await mia.session.send(conversation, "for Ben alone");
  await shows(ben.session.open(conversation), (m) => m.at(-1)?.text === "for Ben alone", "he can read it");
  expect(epochs).toEqual([1n]);
});

test("a grant that the server made opens nothing, and the members are asked for the right one", async () => {
  const { mia } = pair;
  const browser = place.browser();
  const { code, link } = await mia.session.invite(1, 7);
  const asked: bigint[] = [];
  browser.line.up = change("grantRequest", (q) => {
    asked.push(q.epoch);
    return undefined;
  });
  browser.line.down = (f) => {
    const { kind } = f;
    if (kind.case !== "page" && kind.case !== "events") return undefined;
    for (const { kind: e } of kind.value.events)
      if (e.case === "commit" && e.value.grant !== undefined) e.value.grant.ciphertext = randomBytes(48);
    return f;
  };
  const tab = browser.tab();
  const { session, conversation } = await tab.gate.joinByName(code, link.split("#")[1] ?? "", "Cyd");
  tab.keep(session);
  await until(
    () => asked,
    (all) => all.includes(1n),
    "the members are asked",
  );
  await expect(session.send(conversation, "too early")).rejects.toMatchObject({ code: "not-ready" });
});

test("somebody else's conversation is not kept", async () => {
  const { mia } = pair;
  const [a, b] = [await makePerson(), await makePerson()];
  const { post } = await createPair(a.signer, a.member, b.member, null);
  const commit = signedOrEmpty(post.commit);
  const { conversation } = unmarshal(CommitSchema, commit.body);
  mia.browser.line.down = change("lists", (lists, f) => {
    lists.lists = [a.list.signed, b.list.signed]; // so that the commit verifies
    return f;
  });
  const value = create(CommitEventSchema, { commit });
  const first = create(EventSchema, { conversation, seq: 1n, relayMs: 1n, kind: { case: "commit", value } });
  mia.browser.line.inject({ case: "events", value: create(EventsSchema, { events: [first] }) });
  const state = create(ConversationStateSchema, { conversation, headSeq: 9n });
  let asked = 0;
  mia.browser.line.up = change("sync", () => {
    asked++;
    return undefined;
  });
  mia.browser.line.inject(changes({ conversations: [state] }));
  await until(
    () => asked,
    (n) => n > 0,
    "its log is asked for",
  );
  const kept = await stored(mia.browser, (db) => db.getAllKeys("conversations"));
  expect(kept).toContain(pair.conversation);
  expect(kept).not.toContain(idFrom(conversation));
});
