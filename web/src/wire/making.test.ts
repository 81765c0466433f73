// What this side makes, it takes; and what was altered on the way, it refuses.
import { create, equals } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { equal, randomBytes } from "./bytes.ts";
import { Chain } from "./chain.ts";
import { createPair, rekey, takeIdentity } from "./commit.ts";
import { nextDeviceList, openDeviceList, signDeviceList } from "./devices.ts";
import { openEnvelope, parseEnvelope, sealEnvelope, verifyEnvelope } from "./envelope.ts";
import { codeOf, WireError } from "./errors.ts";
import { fragments, Reassembler } from "./fragments.ts";
import { importSealPair, sealTo } from "./hpke.ts";
import { type ID, idBytes, idFrom, newID, pairID, parseID } from "./ids.ts";
import { newInvitation, openInvitation, openLinkJoin, parseInvitation, parseSetup } from "./invitation.ts";
import {
  checkKeyRing,
  grantGeneration,
  openGeneration,
  openKeyRing,
  sealKeyRing,
  unwrapMaster,
  wrapMaster,
} from "./keyring.ts";
import { MAX_FRAME, MAX_PASSWORD, MAX_TEXT } from "./limits.ts";
import { openDescription, signDescription, signLinkProof, verifyLinkProof } from "./link.ts";
import { openDeviceLogin, signDeviceLogin } from "./login.ts";
import { checkPasswordParams, newPasswordParams } from "./password.ts";
import * as pb from "./schema.ts";
import { newSealingKey, openBytes } from "./seal.ts";
import { importSeed, signMessage } from "./sign.ts";
import { checkPassword } from "./strength.ts";
import { lookupOf, makePerson } from "./testing/people.ts";
import { errorName, present } from "./testing/vectors.ts";
import { Label } from "./tuple.ts";

test("ids", async () => {
  const [a, b] = [newID(1_000), newID(2_000)];
  expect(a < b).toBe(true);
  expect(a).toMatch(/^00000000-03e8-7...-[89ab]...-............$/);
  expect(parseID(a.toUpperCase())).toBe(a);
  expect(idFrom(idBytes(a))).toBe(a);
  for (const text of ["", a.slice(1), `${a} `, "00000000-0000-0000-0000-000000000000", a.replaceAll("-", "")]) {
    expect(await errorName(() => parseID(text)), text).toBe("malformed");
  }
});

test("errors", () => {
  const e = new WireError(pb.ErrorCode.RATE_LIMITED, "slowly", 1_500);
  const back = WireError.fromProto(e.toProto());
  expect([back.code, back.message, back.retryAfter, back.retryable]).toEqual([e.code, "slowly", 1_500, true]);
  expect([codeOf("rate_limited"), codeOf("5"), codeOf("toString")]).toEqual([pb.ErrorCode.RATE_LIMITED, 0, 0]);
  expect(WireError.fromProto(create(pb.ErrorSchema, { retryAfterMs: 2n ** 63n })).retryAfter).toBe(3_600_000);
  expect(new WireError(999 as pb.ErrorCode, "").codeName).toBe("code_999");
});

test("a key ring, its master key and a new generation", async () => {
  const p = await makePerson();
  const key = create(pb.AccountKeySchema, { generation: 1, privateKey: p.accountPrivate });
  const ring = create(pb.KeyRingSchema, { identitySeed: p.identitySeed, keys: [key] });
  const [master, wrap] = [randomBytes(32), await newSealingKey()];
  const wrapped = await wrapMaster(wrap, p.account, master);
  const sealed = await sealKeyRing(await unwrapMaster(wrap, p.account, wrapped), p.account, ring);
  const opened = await openKeyRing(master, p.account, sealed);
  expect(equals(pb.KeyRingSchema, opened, ring)).toBe(true);
  await checkKeyRing(opened, p.list.list);
  expect(await errorName(() => unwrapMaster(wrap, newID(), wrapped))).toBe("malformed");
  expect(await errorName(() => openBytes(wrap, sealed, Label.keyRing))).toBe("malformed");

  const device = present(p.list.device(p.device));
  const grant = await grantGeneration(p.account, device, key);
  expect(await openGeneration(p.seal, p.account, grant)).toEqual(p.accountPrivate);
  grant.generation = 2;
  expect(await errorName(() => openGeneration(p.seal, p.account, grant))).toBe("malformed");
});

test("device lists follow on each other", async () => {
  const p = await makePerson();
  const identity = await importSeed(p.identitySeed);
  const next = nextDeviceList(p.list, 2);
  next.devices.push(
    create(pb.DeviceKeysSchema, { device: idBytes(newID()), signKey: randomBytes(32), sealKey: randomBytes(32) }),
  );
  const second = await openDeviceList(await signDeviceList(identity, next));
  second.checkSuccessor(p.list);
  expect(await errorName(() => p.list.checkSeen(second))).toBe("stale_list");
  next.devices = [];
  expect(await errorName(() => signDeviceList(identity, next))).toBe("malformed");
});

test("a pair: first commit, re-key, message", async () => {
  const [a, b, mallory] = await Promise.all([makePerson(), makePerson(), makePerson()]);
  const lookup = lookupOf(a, b, mallory);
  const chain = Chain.empty(await pairID(a.account, b.account));
  const first = await createPair(b.signer, a.member, b.member, null);
  const created = await chain.checkPost(first.post, lookup);
  chain.apply(created);
  expect(await created.openGrant(a.accountKey, a.account, grantFor(first.post, a.account))).toEqual(first.epochKey);

  const before = chain.clone();
  const second = await rekey(a.signer, chain, [b.member, a.member], first.epochKey);
  const commit = await chain.checkPost(second.post, lookup);
  chain.apply(commit);
  expect([before.epoch, chain.epoch, chain.members.length]).toEqual([1n, 2n, 2]);
  const key = await chain.openGrant(b.accountKey, b.account, grantFor(second.post, b.account));
  expect(key).toEqual(second.epochKey);
  expect(await commit.openPreviousEpochKey(key)).toEqual(first.epochKey);
  await before.checkEpochKey(first.epochKey);
  expect(await errorName(() => chain.checkEpochKey(first.epochKey))).toBe("bad_signature");
  expect(await errorName(() => chain.checkPost(second.post, lookup))).toBe("stale_head");

  const intruded = await rekey(mallory.signer, chain, [a.member, b.member], null);
  expect(await errorName(() => chain.checkPost(intruded.post, lookup))).toBe("forbidden");
  const ghost = await rekey(a.signer, chain, [a.member, b.member, mallory.member], key);
  expect(await errorName(() => chain.checkPost(ghost.post, lookup))).toBe("malformed");

  const header = create(pb.HeaderSchema, {
    version: 1,
    suite: 1,
    conversation: idBytes(chain.conversation),
    epoch: 2n,
    id: idBytes(newID()),
    account: idBytes(a.account),
    device: idBytes(a.device),
    counter: 1n,
    timeMs: 1n,
    kind: pb.Kind.MESSAGE,
  });
  const text = (body: string): pb.Content => create(pb.ContentSchema, { kind: { case: "text", value: { body } } });
  const e = await sealEnvelope(key, header, text("hello"), a.signer.key);
  expect(header.nonce.length).toBe(0);
  parseEnvelope(e);
  await verifyEnvelope(e, await lookup(a.account, a.device));
  expect((await openEnvelope(key, e)).kind.value).toMatchObject({ body: "hello" });
  expect(await errorName(() => openEnvelope(first.epochKey, e))).toBe("malformed");
  await sealEnvelope(key, header, text("x".repeat(MAX_TEXT)), a.signer.key);
  for (const body of ["x".repeat(MAX_TEXT + 1), "字".repeat(MAX_TEXT / 3 + 1)]) {
    expect(await errorName(() => sealEnvelope(key, header, text(body), a.signer.key))).toBe("too_large");
  }
});

function grantFor(post: pb.CommitPost, account: ID): pb.Grant {
  return present(post.grants.find((g) => equal(g.account, idBytes(account))));
}

test("an invitation", async () => {
  const [inviter, joiner] = await Promise.all([makePerson(), makePerson()]);
  const secret = newInvitation();
  const part = create(pb.InvitationSecretPartSchema, {
    account: idBytes(inviter.account),
    identityKey: inviter.member.identityKey,
    nickname: "Mia",
  });
  const sealed = await secret.seal(part);
  const received = parseInvitation(`https://chat.example${secret.path()}`);
  expect(equals(pb.InvitationSecretPartSchema, await received.open(sealed), part)).toBe(true);
  expect(await errorName(() => newInvitation().open(sealed))).toBe("malformed");

  const { publicKey } = await secret.linkKey();
  const invitation = create(pb.InvitationSchema, {
    code: secret.code,
    account: idBytes(inviter.account),
    device: idBytes(inviter.device),
    linkKey: publicKey,
    expiresMs: 1n,
    uses: 1,
  });
  const signed = await signMessage(inviter.signer.key, Label.invitation, pb.InvitationSchema, invitation);
  expect((await openInvitation(signed, lookupOf(inviter))).linkKey).toEqual(publicKey);
  const join = create(pb.LinkJoinSchema, {
    code: secret.code,
    account: idBytes(joiner.account),
    identityKey: joiner.member.identityKey,
    conversation: idBytes(await pairID(inviter.account, joiner.account)),
  });
  const vouched = await signMessage((await received.linkKey()).privateKey, Label.linkJoin, pb.LinkJoinSchema, join);
  expect(idFrom((await openLinkJoin(publicKey, vouched)).account)).toBe(joiner.account);
});

test("set-up links", () => {
  for (const text of ["setup.abc", " https://chat.example/setup#abc\n", "http://localhost:8080/setup?x=1#abc"]) {
    expect(parseSetup(text), text).toBe("abc");
  }
  for (const text of [
    "",
    "setup.",
    "https://chat.example/setup",
    "https://chat.example/i/x#abc",
    "https://x/setup2#a",
  ]) {
    expect(parseSetup(text), text).toBe(null);
  }
});

test("a log-in by device", async () => {
  const p = await makePerson();
  const login = { host: "chat.example", account: p.account, device: p.device, nonce: randomBytes(32) };
  const opened = await openDeviceLogin(await signDeviceLogin(p.signer.key, login), lookupOf(p));
  expect([opened.host, opened.nonce]).toEqual([login.host, login.nonce]);
});

test("descriptions and the proof of a link", async () => {
  const [a, b] = await Promise.all([makePerson(), makePerson()]);
  const link = newID();
  const body = create(pb.DescriptionBodySchema, {
    fromAccount: idBytes(a.account),
    fromDevice: idBytes(a.device),
    toAccount: idBytes(b.account),
    toDevice: idBytes(b.device),
    link: idBytes(link),
    generation: 1n,
    type: pb.DescriptionType.OFFER,
  });
  const d = await signDescription(a.signer.key, body, "v=0\r\n");
  const key = present(a.list.device(a.device)).signKey;
  expect((await openDescription(key, d)).generation).toBe(1n);
  d.sdp += "a=x\r\n";
  expect(await errorName(() => openDescription(key, d))).toBe("bad_signature");

  const end = (p: typeof a) => ({
    account: p.account,
    device: p.device,
    fingerprint: randomBytes(32),
    nonce: randomBytes(32),
    listVersion: 1n,
  });
  const [own, other] = [end(a), end(b)];
  const proof = await signLinkProof(a.signer.key, link, own, other);
  await verifyLinkProof(key, link, other, own, proof);
  expect(await errorName(() => verifyLinkProof(key, newID(), other, own, proof))).toBe("bad_signature");
});

test("public keys that nothing may be sealed to", async () => {
  const p = await importSealPair(randomBytes(32));
  await sealTo(p.publicKey, new Uint8Array(), new Uint8Array());
  for (const key of [new Uint8Array(32), p.publicKey.subarray(1)]) {
    expect(await errorName(() => sealTo(key, new Uint8Array(), new Uint8Array()))).toBe("malformed");
  }
});

test("passwords", async () => {
  checkPasswordParams(newPasswordParams("chat.example"));
  checkPassword(`${"长".repeat(MAX_PASSWORD - 8)}四个不同的汉字吧`);
  for (const password of ["", "1234567", "😀😁🍎🐢".repeat(257), "wrong staple\ud800"]) {
    expect(await errorName(() => checkPassword(password))).toBe("weak_parameters");
  }
});

test("fragments of frames of every length around the limits", async () => {
  for (const size of [0, 1, 16_382, 16_383, 16_384, 32_766, 32_767, MAX_FRAME]) {
    const r = new Reassembler();
    const got = fragments(new Uint8Array(size).fill(7)).map((piece) => r.add(piece));
    expect(got.slice(0, -1).every((frame) => frame === null)).toBe(true);
    expect(got.at(-1)?.length).toBe(size);
  }
  const r = new Reassembler();
  expect(await errorName(() => fragments(new Uint8Array(MAX_FRAME + 1)).forEach((piece) => void r.add(piece)))).toBe(
    "too_large",
  );
});

test("the other member of a pair takes a new identity, which cannot reach what was before", async () => {
  const [a, b, other] = await Promise.all([makePerson(), makePerson(), makePerson()]);
  const lookup = lookupOf(a, b);
  const chain = Chain.empty(await pairID(a.account, b.account));
  const first = await createPair(b.signer, a.member, b.member, null);
  chain.apply(await chain.checkPost(first.post, lookup));
  const renewed = { ...other.member, account: a.account, generation: 2 };
  const { post, epochKey } = await takeIdentity(b.signer, chain, a.account, [renewed, b.member]);
  const commit = await chain.checkPost(post, lookup);
  chain.apply(commit);
  expect(chain.member(a.account)?.identityKey).toEqual(other.member.identityKey);
  expect(await commit.openGrant(other.accountKey, a.account, grantFor(post, a.account))).toEqual(epochKey);
  expect(await errorName(() => commit.openPreviousEpochKey(epochKey))).toBe("malformed");
  const own = await takeIdentity(a.signer, chain, a.account, [a.member, b.member]);
  expect(await errorName(() => chain.checkPost(own.post, lookup))).toBe("forbidden");
});
