// What a hostile server may try with a conversation: the state refuses it and keeps working.
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { randomBytes } from "../wire/bytes.ts";
import { Chain } from "../wire/chain.ts";
import { createPair, rekey } from "../wire/commit.ts";
import { parseHeader } from "../wire/envelope.ts";
import { type ID, idBytes, idFrom, newID } from "../wire/ids.ts";
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
import { shows, texts, until } from "./testing/browser.ts";
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

/** The server pushes events of its own making, and Mia's device says that it has handled them. */
async function push(...events: Event[]): Promise<void> {
  const { line } = pair.mia.browser;
  const last = events.at(-1)?.seq ?? 0n;
  let at = 0n;
  line.up = change("cursor", (c) => {
    at = c.deliveredSeq > at ? c.deliveredSeq : at;
    return undefined;
  });
  line.inject({ case: "events", value: create(EventsSchema, { events }) });
  await until(
    () => at,
    (n) => n >= last,
    "the events were handled",
  );
  line.up = nothing;
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
  const first = await event("as it was written");
  if (first.kind.case !== "envelope") throw new Error("not a message");
  const { value } = first.kind;
  const id = idBytes(newID()); // a message of its own, so that its identity is not what it is refused for
  const other = headerWith(value, (h) => {
    h.id = id;
  });
  const made = { ...value, ...other };
  await push(
    create(EventSchema, {
      ...first,
      seq: first.seq + 1n,
      kind: { case: "envelope", value: { ...made, ...alter(made) } },
    }),
  );
  expect(await shown()).toEqual(["as it was written"]);
});

test("an envelope that is altered on its way never becomes a message", async () => {
  const { mia, ben, conversation } = pair;
  await event("as it was written");
  let altered = 0;
  mia.browser.line.down = envelopes((e) => {
    altered++;
    return { ...e, ciphertext: flipped(e.ciphertext, 3) };
  });
  await ben.session.send(conversation, "altered");
  await until(
    () => altered,
    (n) => n > 0,
    "it came",
  );
  expect(await shown()).toEqual(["as it was written"]);
});

test("an envelope replayed at another number changes nothing", async () => {
  const { mia, conversation } = pair;
  const first = await event("said once");
  await push(create(EventSchema, { ...first, seq: first.seq + 1n }));
  const all = await shows(mia.session.open(conversation), (m) => m.length > 0, "it is there");
  expect(all.map((m) => [m.text, m.seq])).toEqual([["said once", Number(first.seq)]]);
});

test("events out of order or beyond what the run tells are not taken", async () => {
  const { mia, conversation } = pair;
  const first = await event("one");
  mia.browser.line.down = change("page", (page, f) => {
    const [e] = page.events;
    if (e === undefined) return undefined;
    // The same number twice, and one far behind the end.
    page.events = [e, create(EventSchema, e), create(EventSchema, { ...e, seq: 4_000_000_000n })];
    return f;
  });
  const second = create(EventSchema, { ...first, seq: first.seq + 5n }); // a gap: the log is fetched
  mia.browser.line.inject({ case: "events", value: create(EventsSchema, { events: [second] }) });
  await pair.ben.session.send(conversation, "two");
  const all = await shows(mia.session.open(conversation), (m) => m.length === 2, "both, and no more");
  expect(all.map((m) => m.seq)).toEqual([2, 3]);
});

test("senders who are no members, or whose device or key is not theirs, say nothing", async () => {
  const { mia, ben, conversation } = pair;
  const first = await event("from Ben");
  const ghost = await makePerson();
  const him = ben.session.view().me;
  const key = randomBytes(32);
  const asked: string[] = [];
  mia.browser.line.up = change("getDeviceLists", (q) => {
    asked.push(...q.accounts.map(idFrom));
    return undefined;
  });
  const seq = first.seq + 1n;
  const claims = [
    { account: ghost.account, device: ghost.device },
    { account: him.account, device: ghost.device },
    { account: him.account, device: him.device },
  ];
  for (const [i, claim] of claims.entries())
    await push(await forgedText({ ...claim, conversation, seq: seq + BigInt(i) }, ghost, key, "boo"));
  expect(await shown()).toEqual(["from Ben"]);
  expect(asked).toEqual([]); // overwritten by push; what counts is that no list of the ghost is taken
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
  await expect(session.send(conversation, "too early")).rejects.toMatchObject({ code: "offline" });
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
