// Whatever bytes come from outside, every decoder takes them or throws its own error, and ends.
import { create, toBinary } from "@bufbuild/protobuf";
import { beforeAll, expect, test } from "vitest";
import { Chain } from "./chain.ts";
import { openDeviceList } from "./devices.ts";
import { openEnvelope, parseEnvelope, parseHeader, verifyEnvelope } from "./envelope.ts";
import { WireError } from "./errors.ts";
import { Reassembler } from "./fragments.ts";
import { serverHost } from "./host.ts";
import { importSealPair } from "./hpke.ts";
import { idFrom, newID, parseID } from "./ids.ts";
import { openInvitation, openLinkJoin, parseInvitation, parseSetup } from "./invitation.ts";
import { checkKeyRing, openGeneration, openKeyRing, unwrapMaster } from "./keyring.ts";
import { fingerprintOf, openDescription, peekDescription } from "./link.ts";
import { openDeviceLogin } from "./login.ts";
import { cleanNickname, foldUserName } from "./names.ts";
import { checkPasswordParams } from "./password.ts";
import * as pb from "./schema.ts";
import { signMessage } from "./sign.ts";
import { makePerson } from "./testing/people.ts";
import { fromHex, idOf, lookupIn, present, readVectors } from "./testing/vectors.ts";
import { Label } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

const v = readVectors();
const lookup = lookupIn(v);
const RUNS = 150; // alterations of each seed

/** The same numbers on every run. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(n: number): number {
    this.#state = (this.#state * 48_271) % 0x7fff_ffff;
    return this.#state % n;
  }
}

/** Bytes that are nearly those: cut, changed, doubled or with others put in. */
function altered(b: Uint8Array, r: Random): Uint8Array {
  const out = [...b];
  for (let n = r.below(4); n >= 0 && out.length > 0; n--) {
    const at = r.below(out.length);
    switch (r.below(5)) {
      case 0:
        out.length = at;
        break;
      case 1:
        out.splice(at, 0, ...Array.from({ length: r.below(9) }, () => r.below(256)));
        break;
      case 2:
        out.splice(at, r.below(9));
        break;
      case 3:
        out.splice(at, 0, ...out.slice(at, at + r.below(40)));
        break;
      default:
        out[at] = r.below(256);
    }
  }
  return Uint8Array.from(out);
}

function alteredText(text: string, r: Random): string {
  const strange = ["\0", "\r", "\n", "‮", "\ud800", "💥", "%", "é", "[", ":", "/", "#", " ", "１", "a".repeat(300)];
  const out = [...text];
  for (let n = r.below(4); n >= 0; n--) {
    const at = r.below(out.length + 1);
    if (r.below(3) === 0) out.splice(at, r.below(4));
    else out.splice(at, 0, strange[r.below(strange.length)] ?? "");
  }
  return out.join("");
}

async function fails(f: () => unknown): Promise<void> {
  try {
    await f();
  } catch (e) {
    if (!(e instanceof WireError)) throw e;
  }
}

let key: Awaited<ReturnType<typeof importSealPair>>;
let chain: Chain;
beforeAll(async () => {
  key = await importSealPair(fromHex(v.people[0]?.account_private));
  chain = Chain.empty(idOf(v.pair.conversation));
});

const signed = (b: Uint8Array): pb.Signed => unmarshal(pb.SignedSchema, b);
const bytes: Record<string, { seeds: readonly (string | undefined)[]; decode(b: Uint8Array): unknown }> = {
  "device list": {
    seeds: v.accounts.device_lists.map((l) => l.Signed),
    decode: (b) => openDeviceList(signed(b)),
  },
  commit: { seeds: v.pair.commits.map((c) => c.Signed), decode: (b) => chain.check(signed(b), lookup) },
  "commit of a group": {
    seeds: v.group.commits.map((c) => c.Signed),
    decode: (b) => Chain.empty(idOf(v.group.conversation)).check(signed(b), lookup),
  },
  "commit with grants": {
    seeds: [v.pair.commits[0]?.Signed],
    decode: (b) => chain.checkPost(unmarshal(pb.CommitPostSchema, b), lookup),
  },
  grant: {
    seeds: v.pair.commits.flatMap((c) => c.grants.map((g) => g.Grant)),
    decode: (b) => chain.openGrant(key, newID(), unmarshal(pb.GrantSchema, b)),
  },
  header: { seeds: v.envelopes.map((e) => e.header), decode: parseHeader },
  envelope: {
    seeds: v.envelopes.flatMap((e) => [e.Envelope, e.blanked]),
    decode: async (b) => {
      const e = unmarshal(pb.EnvelopeSchema, b);
      const [one] = v.envelopes;
      await fails(() => parseEnvelope(e));
      await fails(() => verifyEnvelope(e, fromHex(one?.sign_key)));
      await openEnvelope(fromHex(one?.epoch_key), e);
    },
  },
  description: {
    seeds: [v.descriptions.offer, v.descriptions.answer],
    decode: async (b) => {
      const d = unmarshal(pb.DescriptionSchema, b);
      await fails(() => peekDescription(d));
      await fails(() => fingerprintOf(d.sdp));
      await openDescription(fromHex(v.people[0]?.sign_key), d);
    },
  },
  invitation: { seeds: [v.invitation.invitation], decode: (b) => openInvitation(signed(b), lookup) },
  "proof of joining": {
    seeds: [v.invitation.link_join],
    decode: (b) => openLinkJoin(fromHex(v.invitation.link_key), signed(b)),
  },
  "secret part of an invitation": {
    seeds: [v.invitation.Sealed],
    decode: (b) => parseInvitation(v.invitation.text).open(unmarshal(pb.SealedSchema, b)),
  },
  login: { seeds: [v.accounts.login], decode: (b) => openDeviceLogin(signed(b), lookup) },
  "key ring": {
    seeds: [v.accounts.sealed_key_ring],
    decode: (b) => openKeyRing(fromHex(v.accounts.master), idOf(v.people[0]?.account), unmarshal(pb.SealedSchema, b)),
  },
  "open key ring": {
    seeds: [v.accounts.KeyRing],
    decode: async (b) => {
      const { list } = await openDeviceList(signed(fromHex(v.accounts.device_lists[0]?.Signed)));
      await checkKeyRing(unmarshal(pb.KeyRingSchema, b), list);
    },
  },
  "master key": {
    seeds: [v.accounts.wrapped_master],
    decode: (b) => unwrapMaster(fromHex(v.accounts.wrap), idOf(v.people[0]?.account), unmarshal(pb.SealedSchema, b)),
  },
  "generation of an account's key": {
    seeds: [v.accounts.GenerationGrant],
    decode: (b) => openGeneration(key, idOf(v.people[0]?.account), unmarshal(pb.GenerationGrantSchema, b)),
  },
  "password parameters": {
    seeds: v.password.params.map((p) => p.PasswordParams),
    decode: (b) => checkPasswordParams(unmarshal(pb.PasswordParamsSchema, b)),
  },
  "chain as stored": { seeds: [], decode: (b) => Chain.restore(b) },
  id: { seeds: [v.people[0]?.account], decode: idFrom },
  fragments: {
    seeds: ["00010203", `01${"ff".repeat(40)}`, "0100"],
    decode: (b) => {
      const r = new Reassembler();
      r.add(b);
      r.add(b);
    },
  },
  frame: {
    seeds: [v.pair.commits[0]?.Signed, v.envelopes[0]?.Envelope],
    decode: (b) => unmarshal(pb.FrameSchema, b),
  },
};

test.each(Object.entries(bytes))("%s", async (name, { seeds, decode }) => {
  const all = [new Uint8Array(), ...seeds.map((s) => fromHex(present(s)))];
  for (const [i, seed] of all.entries()) {
    const r = new Random(1 + i + name.length);
    await fails(() => decode(seed));
    for (let n = 0; n < RUNS; n++) {
      const b = altered(seed, r);
      await fails(() => decode(b));
    }
  }
});

const texts: Record<string, { seeds: readonly string[]; decode(text: string): unknown }> = {
  "user name": { seeds: v.user_names.map((n) => n.in), decode: foldUserName },
  nickname: { seeds: v.nicknames.map((n) => n.in), decode: cleanNickname },
  host: { seeds: v.hosts.map((h) => h.in), decode: serverHost },
  invitation: { seeds: [v.invitation.text, v.invitation.link, ...v.invitation.malformed], decode: parseInvitation },
  "set-up": { seeds: ["setup.tjbyfca44zy4modlqy2zxzbvc4"], decode: parseSetup },
  id: { seeds: ["01a21b7d-e1c0-7729-8e83-95db43bfde3c"], decode: parseID },
  "session description": {
    seeds: [unmarshal(pb.DescriptionSchema, fromHex(v.descriptions.offer)).sdp],
    decode: fingerprintOf,
  },
};

test.each(Object.entries(texts))("text: %s", async (name, { seeds, decode }) => {
  for (const [i, seed] of seeds.entries()) {
    const r = new Random(1 + i + name.length);
    for (let n = 0; n < RUNS; n++) {
      const text = alteredText(seed, r);
      await fails(() => decode(text));
    }
  }
});

test("bodies that are signed by the right key but hold anything", async () => {
  const p = await makePerson();
  const own = (account: string, device: string): Uint8Array => {
    if (account === p.account && device === p.device) return p.list.device(p.device)?.signKey ?? new Uint8Array();
    throw new WireError(pb.ErrorCode.NOT_FOUND, "no such device");
  };
  const r = new Random(7);
  const seeds = [...v.pair.commits, ...v.group.commits].map((c) => signed(fromHex(c.Signed)).body);
  for (const seed of seeds) {
    for (let n = 0; n < RUNS; n++) {
      const body = altered(seed, r);
      let commit: pb.Commit;
      try {
        commit = unmarshal(pb.CommitSchema, body);
      } catch {
        continue;
      }
      commit.account = p.list.list.account;
      commit.device = p.list.list.devices[0]?.device ?? new Uint8Array();
      const s = await signMessage(p.signer.key, Label.commit, pb.CommitSchema, commit);
      await fails(() => chain.check(s, own));
      await fails(() => Chain.empty(idOf(v.group.conversation)).check(s, own));
    }
  }
});

test("deeply nested and very long input ends soon", async () => {
  const begun = performance.now();
  await fails(() => unmarshal(pb.FrameSchema, new Uint8Array(256 << 10).fill(0xc3)));
  await fails(() => unmarshal(pb.FrameSchema, new Uint8Array(256 << 10).fill(0x0b)));
  const many = create(pb.EventsSchema, { events: Array.from({ length: 20_000 }, () => ({ seq: 1n })) });
  await fails(() => unmarshal(pb.EventsSchema, toBinary(pb.EventsSchema, many)));
  for (const f of [foldUserName, cleanNickname, serverHost, parseInvitation, fingerprintOf])
    await fails(() => f("a=fingerprint:".repeat(20_000)));
  expect(performance.now() - begun).toBeLessThan(20_000);
});
