// The handshake on the control channel: whatever does not fit is refused.
import { clone, create } from "@bufbuild/protobuf";
import { beforeAll, expect, test } from "vitest";
import { type Bytes, randomBytes } from "../../wire/bytes.ts";
import { type DeviceList, nextDeviceList, openDeviceList, signDeviceList } from "../../wire/devices.ts";
import { idBytes, newID } from "../../wire/ids.ts";
import { type Frame, FrameSchema, type LinkOpen, LinkProofSchema, PingSchema } from "../../wire/schema.ts";
import { importSeed } from "../../wire/sign.ts";
import { type Maker, makePerson } from "../../wire/testing/people.ts";
import { Proof, type ProofConfig } from "./proof.ts";

let a: Maker;
let b: Maker;
beforeAll(async () => {
  [a, b] = await Promise.all([makePerson(), makePerson()]);
});

const link = newID();
const fingerprints = { a: randomBytes(32), b: randomBytes(32) };

/** One end as it sees itself and the other; some of it may be otherwise. */
function end(self: Maker, other: Maker, change: Partial<ProofConfig> = {}): Proof {
  const [mine, theirs] = self === a ? [fingerprints.a, fingerprints.b] : [fingerprints.b, fingerprints.a];
  return new Proof({
    link,
    self: { account: self.account, device: self.device, key: self.signer.key },
    peer: { account: other.account, device: other.device },
    own: self.list,
    localFingerprint: mine,
    remote: { fingerprint: theirs, key: keyOf(other), list: other.list },
    offer: async () => undefined,
    ...change,
  });
}

function keyOf(p: Maker): Bytes {
  return new Uint8Array(p.list.device(p.device)?.signKey ?? []);
}

/** Runs the handshake; resolves to what each end came to: proven, or what it refused. */
async function run(x: Proof, y: Proof, tamper: (f: Frame) => Frame = (f) => f): Promise<[string, string]> {
  const half = async (p: Proof, frames: (Frame | null)[]): Promise<Frame | null | string> => {
    const f = frames.shift();
    if (f == null) return "starved";
    try {
      return await p.take(tamper(clone(FrameSchema, f)));
    } catch (e) {
      return `refused: ${(e as Error).message}`;
    }
  };
  const proofX = await half(x, [y.open()]);
  const proofY = await half(y, [x.open()]);
  const last = async (p: Proof, own: unknown, other: unknown): Promise<string> => {
    if (typeof own === "string") return own;
    if (typeof other === "string") return "starved";
    const end = await half(p, [other as Frame]);
    return end === null ? "proven" : String(end);
  };
  return [await last(x, proofX, proofY), await last(y, proofY, proofX)];
}

const open = (f: Frame): LinkOpen => {
  if (f.kind.case !== "linkOpen") throw new Error("not LinkOpen");
  return f.kind.value;
};

test("two ends that see the same prove themselves", async () => {
  expect(await run(end(a, b), end(b, a))).toEqual(["proven", "proven"]);
});

test("a certificate in the middle: each end sees the server's, and neither believes the other's proof", async () => {
  const middle = randomBytes(32);
  const remote = (other: Maker): ProofConfig["remote"] => ({
    fingerprint: middle,
    key: keyOf(other),
    list: other.list,
  });
  const [x, y] = await run(end(a, b, { remote: remote(b) }), end(b, a, { remote: remote(a) }));
  expect(x).toMatch("signature of the link is wrong");
  expect(y).toMatch("signature of the link is wrong");
});

test.each<[string, () => Partial<ProofConfig>]>([
  ["another link", () => ({ link: newID() })],
  ["another own certificate", () => ({ localFingerprint: randomBytes(32) })],
  ["another key", () => ({ self: { account: a.account, device: a.device, key: b.signer.key } })],
])("a proof over %s is refused", async (_, change) => {
  const [, other] = await run(end(a, b, change()), end(b, a));
  expect(other).toMatch("signature of the link is wrong");
});

test("a nonce that is too short, or one's own sent back, proves nothing", async () => {
  const x = end(a, b);
  const own = open(x.open()).nonce;
  for (const nonce of [new Uint8Array(31), new Uint8Array(), own]) {
    const theirs = end(b, a).open();
    open(theirs).nonce = nonce;
    await expect(
      end(a, b)
        .take(theirs)
        .then(() => x.take(theirs)),
    ).rejects.toThrow("proves nothing");
  }
});

test("proofs of an earlier run are refused: freshness comes from the nonces", async () => {
  const [x, y] = [end(a, b), end(b, a)];
  const [openX, openY] = [x.open(), y.open()];
  const old = await y.take(openX);
  await x.take(openY);
  const again = end(a, b);
  await again.take(openY); // the old nonce, replayed
  await expect(again.take(old as Frame)).rejects.toThrow("signature of the link is wrong");
});

test("device lists: another version than named, another account's, an older one, one without the device", async () => {
  const seed = await importSeed(b.identitySeed);
  const second = nextDeviceList(b.list, 2);
  second.devices.push({ ...(second.devices[0] as (typeof second.devices)[0]), device: idBytes(newID()) });
  const newer = await openDeviceList(await signDeviceList(seed, second));
  const third = nextDeviceList(newer, 3);
  third.generation++;
  third.accountKey = randomBytes(32);
  third.devices = third.devices.slice(1);
  const without = await openDeviceList(await signDeviceList(seed, third));
  const sends = async (list: DeviceList, known: DeviceList, version = list.list.version): Promise<string> => {
    const theirs = end(b, a, { own: list }).open();
    open(theirs).listVersion = version;
    const x = end(a, b, { remote: { fingerprint: fingerprints.b, key: keyOf(b), list: known } });
    return x.take(theirs).then(
      () => "taken",
      (e: Error) => e.message,
    );
  };
  expect(await sends(b.list, b.list)).toBe("taken");
  expect(await sends(newer, b.list)).toBe("taken");
  expect(await sends(b.list, b.list, 2n)).toMatch("not the one named");
  expect(await sends(a.list, b.list)).toMatch("not the one named");
  expect(await sends(b.list, newer)).toMatch("newer or another device list");
  expect(await sends(without, newer)).toMatch("not in its account's list");
  expect(await sends(without, b.list)).toMatch("not in its account's list");
});

test("a list that the rest does not take ends the handshake", async () => {
  const x = end(a, b, { offer: () => Promise.reject(new Error("their identity changed")) });
  await expect(x.take(end(b, a).open())).rejects.toThrow("their identity changed");
});

test("frames in another order, of another kind or without what they need are refused", async () => {
  const ping = create(FrameSchema, { kind: { case: "ping", value: create(PingSchema, { number: 1n }) } });
  const proof = create(FrameSchema, { kind: { case: "linkProof", value: create(LinkProofSchema) } });
  for (const f of [ping, proof, create(FrameSchema)]) await expect(end(a, b).take(f)).rejects.toThrow("first frame");
  for (const f of [ping, end(b, a).open()]) {
    const x = end(a, b);
    await x.take(end(b, a).open());
    await expect(x.take(f)).rejects.toThrow("second frame");
  }
  const bare = end(b, a).open();
  delete open(bare).deviceList;
  await expect(end(a, b).take(bare)).rejects.toThrow();
});

test("a forged signature is refused, whatever bit of it is another", async () => {
  for (const at of [0, 31, 63]) {
    const flip = (f: Frame): Frame => {
      if (f.kind.case === "linkProof") f.kind.value.signature[at] = (f.kind.value.signature[at] ?? 0) ^ 1;
      return f;
    };
    const results = await run(end(a, b), end(b, a), flip);
    for (const r of results) expect(r).toMatch("signature of the link is wrong");
  }
});
