// Opens and checks everything in proto/testdata/vectors.json, as TestVectors does in Go.
import { create, equals, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { sha256 } from "./bytes.ts";
import { Chain } from "./chain.ts";
import { newDeviceLink, parseDeviceLink } from "./devicelink.ts";
import { openDeviceList } from "./devices.ts";
import {
  blank,
  envelopeHash,
  isBlank,
  messageKey,
  openEnvelope,
  parseEnvelope,
  sealEnvelope,
  verifyEnvelope,
} from "./envelope.ts";
import { fragments, Reassembler } from "./fragments.ts";
import { serverHost } from "./host.ts";
import { importSealPair, openFrom } from "./hpke.ts";
import { idBytes, pairID } from "./ids.ts";
import { openInvitation, openLinkJoin, parseInvitation } from "./invitation.ts";
import { checkKeyRing, openGeneration, openKeyRing, unwrapMaster } from "./keyring.ts";
import { fingerprintOf, offerHash, openDescription, verifyLinkProof } from "./link.ts";
import { openDeviceLogin } from "./login.ts";
import { cleanNickname, foldUserName } from "./names.ts";
import { checkPasswordParams, passwordSecrets, storedAuth } from "./password.ts";
import { newRecoveryCode, parseRecoveryCode } from "./recovery.ts";
import { matchSafety, safetyNumber, safetyText } from "./safety.ts";
import * as pb from "./schema.ts";
import { openBytes } from "./seal.ts";
import { openSetting, personOfSetting, personSettingKey, SETTING_LINKS, sealSetting } from "./settings.ts";
import { importSeed, publicOf, sign, verify } from "./sign.ts";
import { passwordProblem, passwordStrength } from "./strength.ts";
import { linkEnd } from "./testing/ends.ts";
import { decode, errorName, fromHex, idOf, lookupIn, present, readVectors, toHex } from "./testing/vectors.ts";
import { derive, hash, tuple } from "./tuple.ts";

const v = readVectors();
const lookup = lookupIn(v);
const alice = present(v.people[0]);
const bob = present(v.people[1]);

describe("primitives", () => {
  test("tuples and hashes", async () => {
    for (const c of v.tuples) {
      const fields = c.fields.map(fromHex);
      expect(toHex(tuple(c.label, ...fields))).toBe(c.tuple);
      expect(toHex(await hash(c.label, ...fields))).toBe(c.hash);
    }
  });
  test("derived keys", async () => {
    for (const c of v.derive)
      expect(toHex(await derive(fromHex(c.key), c.label, ...c.fields.map(fromHex)))).toBe(c.out);
  });
  test("signatures", async () => {
    for (const c of v.sign) {
      const fields = c.fields.map(fromHex);
      await verify(fromHex(c.key), c.label, fromHex(c.signature), ...fields);
      expect(toHex(await sign(await importSeed(fromHex(c.seed)), c.label, ...fields))).toBe(c.signature);
      expect(toHex(await publicOf(fromHex(c.seed)))).toBe(c.key);
    }
  });
  test("sealed octets", async () => {
    for (const c of v.seal) {
      const opened = await openBytes(
        fromHex(c.key),
        decode(pb.SealedSchema, c.Sealed),
        c.label,
        ...c.fields.map(fromHex),
      );
      expect(toHex(opened)).toBe(c.plaintext);
    }
  });
  test("HPKE", async () => {
    for (const c of v.hpke) {
      const key = await importSealPair(fromHex(c.private_key));
      expect(toHex(key.publicKey)).toBe(c.public_key);
      expect(toHex(await openFrom(key, fromHex(c.enc), fromHex(c.info), fromHex(c.ciphertext)))).toBe(c.plaintext);
    }
  });
});

describe.each([
  ["user names", foldUserName, v.user_names],
  ["nicknames", cleanNickname, v.nicknames],
  ["hosts", serverHost, v.hosts],
] as const)("%s", (_, fold, texts) => {
  test.each(texts.map((c) => [JSON.stringify(c.in), c] as const))("%s", async (_, c) => {
    expect(await errorName(() => fold(c.in))).toBe(c.error);
    if (c.error === undefined) expect(fold(c.in)).toBe(c.out);
  });
});

test("password", async () => {
  const c = v.password;
  const secrets = await passwordSecrets(c.password, c.host, c.user, decode(pb.PasswordParamsSchema, c.PasswordParams));
  expect(toHex(secrets.auth)).toBe(c.auth);
  expect(toHex(secrets.wrap)).toBe(c.wrap);
  expect(toHex(await storedAuth(fromHex(c.server_salt), secrets.auth))).toBe(c.stored);
  for (const p of c.params) {
    const params = decode(pb.PasswordParamsSchema, p.PasswordParams);
    expect(await errorName(() => checkPasswordParams(params)), p.PasswordParams).toBe(p.error);
  }
});

test("safety numbers", async () => {
  const end = (name: string) => {
    const p = present(v.people.find((one) => one.name === name));
    return { account: idOf(p.account), identityKey: fromHex(p.identity_key) };
  };
  for (const c of v.safety) {
    expect(await safetyNumber(end(c.a), end(c.b))).toBe(c.number);
    expect(safetyText(c.number)).toBe(c.text);
    expect(matchSafety(c.number, c.text)).toBe(true);
    expect(matchSafety(c.number, `0000${c.number.slice(4)}`)).toBe(false);
  }
  for (const text of ["", "1234", "https://chat.example/i/abc#def"])
    expect(await errorName(() => matchSafety(v.safety[0]?.number ?? "", text))).toBe("malformed");
});

test("how strong passwords are", () => {
  const about = ["mia", "Wang-Wei", "chat.example", ""];
  for (const c of v.strengths) {
    expect(passwordProblem(c.password, about), c.password).toBe(c.weakness ?? "");
    expect(passwordStrength(c.password, about), c.password).toBe(c.score);
  }
});

test("recovery codes", async () => {
  for (const c of v.recovery.typed) {
    expect(await errorName(() => parseRecoveryCode(c.in)), c.in).toBe(c.error);
    if (c.error === undefined) expect(await (await parseRecoveryCode(c.in)).text()).toBe(c.out);
  }
  const { auth, wrap } = await (await parseRecoveryCode(v.recovery.code)).secrets(v.recovery.host);
  expect([toHex(auth), toHex(wrap)]).toEqual([v.recovery.auth, v.recovery.wrap]);
  const made = newRecoveryCode();
  expect(await (await parseRecoveryCode(await made.text())).text()).toBe(await made.text());
});

test("settings", async () => {
  const account = idOf(alice.account);
  const key = { generation: 2, privateKey: fromHex(alice.next_account_private) };
  const find = async (generation: number) => (generation === 2 ? key.privateKey : null);
  for (const c of v.settings) {
    const person = c.person === undefined ? null : idOf(c.person);
    expect(personOfSetting(c.key)).toBe(person);
    expect(person === null ? SETTING_LINKS : personSettingKey(person)).toBe(c.key);
    const schema = person === null ? pb.LinkSettingSchema : pb.PersonSettingSchema;
    const sealed = fromHex(c.SealedSetting);
    const value = await openSetting(find, account, c.key, schema, sealed);
    expect(toHex(toBinary(schema, value))).toBe(c.PersonSetting ?? c.LinkSetting);
    const again = await sealSetting(key, account, c.key, schema, value);
    expect(await openSetting(find, account, c.key, schema, again)).toEqual(value);
    const refusals = [
      () => openSetting(find, account, `${c.key}x`, schema, sealed),
      () => openSetting(find, idOf(bob.account), c.key, schema, sealed),
      () => openSetting(async () => fromHex(alice.account_private), account, c.key, schema, sealed),
      () => openSetting(find, account, c.key, schema, new Uint8Array([8])),
    ];
    for (const refused of refusals) expect(await errorName(refused)).toBe("malformed");
    expect(await errorName(() => openSetting(async () => null, account, c.key, schema, sealed))).toBe("not_found");
  }
  for (const text of ["", "person", "person/", "person/x"]) expect(personOfSetting(text)).toBeNull();
});

test("device links", async () => {
  const c = v.device_link;
  for (const r of c.read) {
    expect(await errorName(() => parseDeviceLink(r.in)), r.in).toBe(r.error);
    if (r.error === undefined) expect(parseDeviceLink(r.in).toString()).toBe(r.out);
  }
  const link = parseDeviceLink(c.text);
  expect([link.path(), link.code, link.account]).toEqual([c.path, c.code, idOf(c.account)]);
  const sealed = decode(pb.SealedSchema, c.Sealed);
  expect(toHex(toBinary(pb.DeviceAskSchema, await link.open(sealed)))).toBe(c.DeviceAsk);
  expect(await errorName(() => newDeviceLink(c.code, link.account).open(sealed))).toBe("malformed");
  expect(await errorName(async () => link.open(await link.seal(create(pb.DeviceAskSchema))))).toBe("malformed");
});

describe("accounts", () => {
  const a = v.accounts;
  const account = idOf(alice.account);
  test("device lists", async () => {
    const [first, second] = await Promise.all(
      a.device_lists.map((l) => openDeviceList(decode(pb.SignedSchema, l.Signed))),
    );
    for (const [i, l] of [first, second].entries()) expect(toHex(present(l).hash)).toBe(a.device_lists[i]?.hash);
    present(second).checkSuccessor(present(first));
    present(second).checkSeen(present(first));
    present(second).checkSeen(present(second));
  });
  test("a reset to a new identity", async () => {
    const lists = [present(a.device_lists[1]).Signed, v.reset.list, v.reset.next];
    const [before, reset, next] = await Promise.all(lists.map((l) => openDeviceList(decode(pb.SignedSchema, l))));
    present(reset).checkReset(present(before));
    present(next).checkSuccessor(present(reset));
    expect(toHex(present(reset).list.identityKey)).toBe(v.reset.identity_key);
  });
  test("key ring", async () => {
    const master = await unwrapMaster(fromHex(a.wrap), account, decode(pb.SealedSchema, a.wrapped_master));
    expect(toHex(master)).toBe(a.master);
    const ring = await openKeyRing(master, account, decode(pb.SealedSchema, a.sealed_key_ring));
    expect(equals(pb.KeyRingSchema, ring, decode(pb.KeyRingSchema, a.KeyRing))).toBe(true);
    await checkKeyRing(ring, (await openDeviceList(decode(pb.SignedSchema, a.device_lists[1]?.Signed))).list);
  });
  test("generation grant", async () => {
    const seal = await importSealPair(fromHex(alice.seal_private));
    const key = await openGeneration(seal, account, decode(pb.GenerationGrantSchema, a.GenerationGrant));
    expect(toHex(key)).toBe(alice.next_account_private);
  });
  test("log-in", async () => {
    const login = await openDeviceLogin(decode(pb.SignedSchema, a.login), lookup);
    expect([toHex(login.nonce), login.host]).toEqual([a.login_nonce, a.login_host]);
  });
});

describe("invitation", () => {
  const c = v.invitation;
  test.each([c.text, c.link, ` ${c.text}\n`, c.text.toUpperCase()])("%j", async (text) => {
    const i = parseInvitation(text);
    expect([i.code, i.toString(), i.path()]).toEqual([c.code, c.text, c.link.replace("https://chat.example", "")]);
    expect(toHex((await i.linkKey()).publicKey)).toBe(c.link_key);
    const part = await i.open(decode(pb.SealedSchema, c.Sealed));
    expect(
      equals(pb.InvitationSecretPartSchema, part, decode(pb.InvitationSecretPartSchema, c.InvitationSecretPart)),
    ).toBe(true);
  });
  test("signed parts", async () => {
    const inv = await openInvitation(decode(pb.SignedSchema, c.invitation), lookup);
    expect(toHex(inv.linkKey)).toBe(c.link_key);
    const join = await openLinkJoin(fromHex(c.link_key), decode(pb.SignedSchema, c.link_join));
    expect(toHex(join.account)).toBe(bob.account);
  });
  test.each(c.malformed)("malformed %j", async (text) => {
    expect(await errorName(() => parseInvitation(text))).toBe("malformed");
  });
});

describe.each([
  ["pair", v.pair],
  ["group", v.group],
  ["pair of which one was reset", v.reset.pair],
] as const)("commits of the %s", (_, vector) => {
  test("follow on each other", async () => {
    let chain = Chain.empty(idOf(vector.conversation));
    for (const want of vector.commits) {
      const commit = await chain.check(decode(pb.SignedSchema, want.Signed), lookup);
      expect(toHex(commit.hash)).toBe(want.hash);
      await commit.checkEpochKey(fromHex(want.epoch_key));
      for (const g of want.grants) {
        const accountKey = await importSealPair(fromHex(g.private_key));
        const key = await commit.openGrant(accountKey, idOf(g.account), decode(pb.GrantSchema, g.Grant));
        expect(toHex(key)).toBe(want.epoch_key);
      }
      if (want.previous_epoch_key !== undefined) {
        const key = await commit.openPreviousEpochKey(fromHex(want.epoch_key));
        expect(toHex(key)).toBe(want.previous_epoch_key);
        await chain.checkEpochKey(key);
      }
      chain.apply(commit);
      chain = Chain.restore(chain.toBytes());
      expect(chain.members.map((m) => toHex(m.account))).toEqual(want.members);
      await chain.checkEpochKey(fromHex(want.epoch_key));
    }
  });
});

test("pair id", async () => {
  const [a, b] = [idOf(alice.account), idOf(bob.account)];
  for (const id of [await pairID(a, b), await pairID(b, a)]) expect(toHex(idBytes(id))).toBe(v.pair.conversation);
});

describe("envelopes", () => {
  test.each(v.envelopes.map((c) => [c.what, c] as const))("%s", async (_, c) => {
    const e = decode(pb.EnvelopeSchema, c.Envelope);
    const content = decode(pb.ContentSchema, c.Content);
    const h = parseEnvelope(e);
    expect(toHex(e.header)).toBe(c.header);
    expect(toHex(await messageKey(fromHex(c.epoch_key), e.header))).toBe(c.message_key);
    await verifyEnvelope(e, fromHex(c.sign_key));
    const opened = await openEnvelope(fromHex(c.epoch_key), e);
    expect(equals(pb.ContentSchema, opened, content)).toBe(true);
    expect(toHex(await envelopeHash(e))).toBe(c.hash);
    expect(toHex(await lookup(idOf(toHex(h.account)), idOf(toHex(h.device))))).toBe(c.sign_key);

    const blanked = decode(pb.EnvelopeSchema, c.blanked);
    expect(isBlank(blanked)).toBe(true);
    expect(equals(pb.EnvelopeSchema, await blank(e), blanked)).toBe(true);
    await verifyEnvelope(blanked, fromHex(c.sign_key));
    expect(toHex(await envelopeHash(blanked))).toBe(c.hash);

    const again = await sealEnvelope(fromHex(c.epoch_key), h, content, await importSeed(fromHex(c.sign_seed)));
    await verifyEnvelope(again, fromHex(c.sign_key));
    expect(equals(pb.ContentSchema, await openEnvelope(fromHex(c.epoch_key), again), content)).toBe(true);
    expect(toHex(again.header)).not.toBe(c.header); // another nonce
  });
});

test("links", async () => {
  const d = v.descriptions;
  const offer = decode(pb.DescriptionSchema, d.offer);
  const answer = decode(pb.DescriptionSchema, d.answer);
  await openDescription(fromHex(alice.sign_key), offer);
  const body = await openDescription(fromHex(bob.sign_key), answer);
  expect(toHex(await offerHash(offer))).toBe(d.offer_hash);
  expect(toHex(body.offerHash)).toBe(d.offer_hash);
  expect(toHex(fingerprintOf(offer.sdp))).toBe(d.offer_fingerprint);
  expect(toHex(fingerprintOf(answer.sdp))).toBe(d.answer_fingerprint);
  const p = v.link_proof;
  const [a, b, link] = [linkEnd(p.alice), linkEnd(p.bob), idOf(p.link)];
  const proof = (signature: string): pb.LinkProof => create(pb.LinkProofSchema, { signature: fromHex(signature) });
  await verifyLinkProof(fromHex(bob.sign_key), link, a, b, proof(p.bob.proof));
  await verifyLinkProof(fromHex(alice.sign_key), link, b, a, proof(p.alice.proof));
});

test("fragments", async () => {
  const c = v.fragments;
  const frame = Uint8Array.from({ length: c.size }, (_, i) => (7 * i) % 251);
  expect(toHex(await sha256(frame))).toBe(c.sha256);
  const pieces = fragments(frame);
  expect(pieces.length).toBe(c.pieces.length);
  const r = new Reassembler();
  for (const [i, piece] of pieces.entries()) {
    const sum = toHex(await sha256(piece));
    expect({ size: piece.length, more: piece[0], sha256: sum }).toEqual(c.pieces[i]);
    const got = r.add(piece);
    if (i < pieces.length - 1) expect(got).toBe(null);
    else expect(toHex(present(got ?? undefined))).toBe(toHex(frame));
  }
});
