// Rules of groups and envelopes that need more than one commit, or sizes that the vectors do not hold.
import { clone, create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { randomBytes } from "./bytes.ts";
import { Chain } from "./chain.ts";
import { openEnvelope, parseEnvelope, parseHeader, sealEnvelope } from "./envelope.ts";
import { idBytes, newID } from "./ids.ts";
import { MAX_CHAIN_LINKS, MAX_ENVELOPE, MAX_MENTIONS } from "./limits.ts";
import * as pb from "./schema.ts";
import { importSeed, publicOf, signMessage } from "./sign.ts";
import { lookupOf, type Maker, makePerson } from "./testing/people.ts";
import { errorName } from "./testing/vectors.ts";
import { Label } from "./tuple.ts";

type Change = pb.Commit["change"];

/** A group of its owner; each commit is made by hand, as the app makes none of these yet. */
async function makeGroup() {
  const [owner, first, second] = await Promise.all([makePerson(), makePerson(), makePerson()]);
  const chain = Chain.empty(newID());
  const lookup = lookupOf(owner, first, second);
  const entry = (p: Maker, role: pb.Role) =>
    create(pb.MemberSchema, { account: idBytes(p.account), identityKey: p.member.identityKey, role, generation: 1 });
  const commit = (by: Maker, change: Change, members: readonly pb.Member[], timeMs = 1n) =>
    signMessage(
      by.signer.key,
      Label.commit,
      pb.CommitSchema,
      create(pb.CommitSchema, {
        version: 1,
        suite: 1,
        conversation: idBytes(chain.conversation),
        kind: pb.ConversationKind.GROUP,
        number: chain.epoch + 1n,
        previous: chain.head,
        account: idBytes(by.account),
        device: idBytes(by.device),
        timeMs,
        epoch: chain.epoch + 1n,
        epochKeyHash: randomBytes(32),
        members: [...members],
        change,
      }),
    );
  const apply = async (signed: pb.Signed) => chain.apply(await chain.check(signed, lookup));
  const created: Change = { case: "create", value: create(pb.Commit_CreateSchema) };
  await apply(await commit(owner, created, [entry(owner, pb.Role.OWNER)]));
  return { owner, first, second, chain, lookup, entry, commit, apply };
}

function setLink(linkKey: Uint8Array, uses: number, approval = false): Change {
  const link = create(pb.LinkGrantSchema, { linkKey, uses, expiresMs: 10n, approval });
  return { case: "setLink", value: create(pb.Commit_SetLinkSchema, { link }) };
}

async function joining(g: Awaited<ReturnType<typeof makeGroup>>, p: Maker, seed: Uint8Array): Promise<pb.Signed> {
  const join = create(pb.LinkJoinSchema, {
    account: idBytes(p.account),
    identityKey: p.member.identityKey,
    conversation: idBytes(g.chain.conversation),
  });
  const linkJoin = await signMessage(await importSeed(seed), Label.linkJoin, pb.LinkJoinSchema, join);
  const value = create(pb.Commit_JoinByLinkSchema, { linkKey: await publicOf(seed), linkJoin });
  const text = (m: pb.Member) => Buffer.from(m.account).toString("hex");
  const members = [...g.chain.members, g.entry(p, pb.Role.MEMBER)].sort((a, b) => (text(a) < text(b) ? -1 : 1));
  return g.commit(p, { case: "joinByLink", value }, members);
}

test("a link with one use takes one person", async () => {
  const g = await makeGroup();
  const seed = randomBytes(32);
  await g.apply(await g.commit(g.owner, setLink(await publicOf(seed), 1), g.chain.members));
  await g.apply(await joining(g, g.first, seed));
  expect(g.chain.member(g.first.account)?.role).toBe(pb.Role.MEMBER);
  const late = await joining(g, g.second, seed);
  expect(await errorName(() => g.chain.check(late, g.lookup))).toBe("used_up");
});

test("a link with approval lets nobody in by themselves", async () => {
  const g = await makeGroup();
  const seed = randomBytes(32);
  await g.apply(await g.commit(g.owner, setLink(await publicOf(seed), 1, true), g.chain.members));
  const join = await joining(g, g.first, seed);
  expect(await errorName(() => g.chain.check(join, g.lookup))).toBe("forbidden");
});

test("links are few, and one is replaced rather than added", async () => {
  const g = await makeGroup();
  const keys = Array.from({ length: MAX_CHAIN_LINKS }, () => randomBytes(32));
  for (const key of keys) await g.apply(await g.commit(g.owner, setLink(key, 1), g.chain.members));
  const another = await g.commit(g.owner, setLink(randomBytes(32), 1), g.chain.members);
  expect(await errorName(() => g.chain.check(another, g.lookup))).toBe("too_large");
  const known = keys[0] ?? new Uint8Array();
  await g.apply(await g.commit(g.owner, setLink(known, 2), g.chain.members));
});

test("members are few", async () => {
  const g = await makeGroup();
  const change: Change = { case: "rekey", value: create(pb.Commit_RekeySchema) };
  const crowd = Array.from({ length: 501 }, (_, i) =>
    create(pb.MemberSchema, {
      account: idBytes(newID(i + 1)),
      identityKey: randomBytes(32),
      role: pb.Role.MEMBER,
      generation: 1,
    }),
  );
  for (const members of [[], crowd]) {
    const signed = await g.commit(g.owner, change, members);
    expect(await errorName(() => g.chain.check(signed, g.lookup))).toBe("malformed");
  }
});

test("envelopes keep to their sizes and fields", async () => {
  const { signer } = await makePerson();
  const key = randomBytes(32);
  const header = (change: Partial<pb.Header> = {}) =>
    Object.assign(
      create(pb.HeaderSchema, {
        version: 1,
        suite: 1,
        conversation: idBytes(newID()),
        epoch: 1n,
        id: idBytes(newID()),
        account: idBytes(signer.account),
        device: idBytes(signer.device),
        counter: 1n,
        timeMs: 1n,
        kind: pb.Kind.MESSAGE,
      }),
      change,
    );
  const text = create(pb.ContentSchema, { kind: { case: "text", value: { body: "x" } } });
  const react = (emoji: string) => create(pb.ContentSchema, { kind: { case: "reaction", value: { emoji } } });
  const seal = (h: pb.Header, content: pb.Content) => errorName(() => sealEnvelope(key, h, content, signer.key));
  const replaces = create(pb.MessageRefSchema, { device: idBytes(signer.device), id: idBytes(newID()) });

  expect(await seal(header({ kind: pb.Kind.REACTION, replaces }), react("👍".repeat(16)))).toBe(undefined);
  expect(await seal(header({ kind: pb.Kind.REACTION, replaces }), react("👍".repeat(17)))).toBe("too_large");
  expect(await seal(header({ kind: pb.Kind.REACTION }), react("👍"))).toBe("malformed");
  expect(await seal(header({ kind: pb.Kind.EDIT }), create(pb.ContentSchema))).toBe("malformed");
  const mentions = Array.from({ length: MAX_MENTIONS + 1 }, () => idBytes(newID()));
  expect(await seal(header({ mentions }), text)).toBe("too_large");

  const e = await sealEnvelope(key, header(), text, signer.key);
  expect(await errorName(() => openEnvelope(randomBytes(32), e))).toBe("malformed");
  expect(await errorName(() => parseHeader(new Uint8Array(MAX_ENVELOPE + 1)))).toBe("too_large");
  for (const [change, code] of [
    [{ signature: new Uint8Array(63) }, "bad_signature"],
    [{ ciphertext: new Uint8Array(15) }, "malformed"],
    [{ ciphertextHash: new Uint8Array(32) }, "malformed"],
    [{ ciphertext: new Uint8Array(MAX_ENVELOPE) }, "too_large"],
  ] as const) {
    expect(await errorName(() => parseEnvelope(Object.assign(clone(pb.EnvelopeSchema, e), change)))).toBe(code);
  }
});
