// Every entry of negative in proto/testdata/vectors.json is refused by the check that it names, with its error.
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { Chain } from "./chain.ts";
import { openDeviceList } from "./devices.ts";
import { openEnvelope, parseEnvelope, verifyEnvelope } from "./envelope.ts";
import { Reassembler } from "./fragments.ts";
import { importSealPair } from "./hpke.ts";
import { openInvitation, openLinkJoin } from "./invitation.ts";
import { checkKeyRing, openKeyRing, unwrapMaster } from "./keyring.ts";
import { fingerprintOf, openDescription, verifyLinkProof } from "./link.ts";
import { openDeviceLogin } from "./login.ts";
import * as pb from "./schema.ts";
import { linkEnd } from "./testing/ends.ts";
import { decode, errorName, fromHex, idOf, lookupIn, type Negative, present, readVectors } from "./testing/vectors.ts";
import { unmarshal } from "./unmarshal.ts";

const v = readVectors();
const lookup = lookupIn(v);

/** The named chain after its first commits. */
async function chainOf(n: Negative, after: number): Promise<Chain> {
  const from = { pair: v.pair, group: v.group, reset: v.reset.pair }[n.chain ?? "pair"];
  const chain = Chain.empty(idOf(from.conversation));
  for (const c of from.commits.slice(0, after)) {
    chain.apply(await chain.check(decode(pb.SignedSchema, c.Signed), lookup));
  }
  return chain;
}

/** Prepares a check (what fails here fails the test), and returns it. */
type Refusal = (n: Negative) => Promise<() => unknown>;

const refusals: Record<string, Refusal> = {
  device_list: async (n) => {
    const other = n.previous ?? n.seen ?? n.before;
    const old = other === undefined ? undefined : await openDeviceList(decode(pb.SignedSchema, other));
    return async () => {
      const list = await openDeviceList(decode(pb.SignedSchema, n.Signed));
      if (n.before !== undefined) list.checkReset(present(old));
      else if (n.previous === undefined) list.checkSeen(present(old));
      else list.checkSuccessor(present(old));
    };
  },
  commit: async (n) => {
    const chain = await chainOf(n, n.after ?? 0);
    return () => chain.check(decode(pb.SignedSchema, n.Signed), lookup);
  },
  commit_post: async (n) => {
    const chain = await chainOf(n, n.after ?? 0);
    return () => chain.checkPost(decode(pb.CommitPostSchema, n.CommitPost), lookup);
  },
  grant: async (n) => {
    const index = present(n.after) - 1;
    const chain = await chainOf(n, index);
    const commit = await chain.check(decode(pb.SignedSchema, v.pair.commits[index]?.Signed), lookup);
    const key = await importSealPair(fromHex(n.private_key));
    return () => commit.openGrant(key, idOf(n.account), decode(pb.GrantSchema, n.Grant));
  },
  link_join: async (n) => () => openLinkJoin(fromHex(n.key), decode(pb.SignedSchema, n.Signed)),
  login: async (n) => () => openDeviceLogin(decode(pb.SignedSchema, n.Signed), lookup),
  invitation: async (n) => () => openInvitation(decode(pb.SignedSchema, n.Signed), lookup),
  envelope: async (n) => async () => {
    const e = decode(pb.EnvelopeSchema, n.Envelope);
    parseEnvelope(e);
    await verifyEnvelope(e, fromHex(n.key));
    await openEnvelope(fromHex(n.epoch_key), e);
  },
  description: async (n) => () => openDescription(fromHex(n.key), decode(pb.DescriptionSchema, n.Description)),
  fingerprint: async (n) => () => fingerprintOf(n.sdp ?? ""),
  link_proof: async (n) => () => {
    const p = v.link_proof;
    const proof = create(pb.LinkProofSchema, { signature: fromHex(n.signature) });
    return verifyLinkProof(fromHex(p.bob.sign_key), idOf(p.link), linkEnd(p.alice), linkEnd(p.bob), proof);
  },
  sealed_key_ring: async (n) => () => openKeyRing(fromHex(n.key), idOf(n.account), decode(pb.SealedSchema, n.Sealed)),
  wrapped_master: async (n) => () => unwrapMaster(fromHex(n.key), idOf(n.account), decode(pb.SealedSchema, n.Sealed)),
  key_ring: async (n) => {
    const { list } = await openDeviceList(decode(pb.SignedSchema, n.Signed));
    return () => checkKeyRing(decode(pb.KeyRingSchema, n.KeyRing), list);
  },
  fragments: async (n) => () => {
    const r = new Reassembler();
    for (const m of n.messages ?? []) r.add(fromHex(m));
  },
  nesting: async (n) => () => unmarshal(pb.FrameSchema, fromHex(n.bytes)),
};

test.each(v.negative.map((n) => [n.what, n.why, n] as const))("%s: %s", async (what, _, n) => {
  const refuse = await present(refusals[what])(n);
  expect(await errorName(refuse)).toBe(n.error);
});
