// Links between two managers on a network in memory, with a signaling server that is poor, late or hostile.
import { clone, create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { nextDeviceList, openDeviceList, signDeviceList } from "../../wire/devices.ts";
import { idBytes, newID } from "../../wire/ids.ts";
import { signDescription } from "../../wire/link.ts";
import {
  CandidateSchema,
  type Description,
  DescriptionBodySchema,
  DescriptionType,
  FrameSchema,
  LinkCloseSchema,
  type Signal,
  SignalSchema,
  TypingSchema,
} from "../../wire/schema.ts";
import { importSeed } from "../../wire/sign.ts";
import { calm, type End, until, Wire } from "./testing/ends.ts";

let wire: Wire;
let polite: End;
let impolite: End;
beforeEach(async () => {
  wire = new Wire();
  [polite, impolite] = await wire.ends();
});
afterEach(() => wire.close());

const isOpen = (...ends: End[]): boolean => ends.every((e) => e.link()?.state === "open");
const open = (from: End, to: End): void => from.manager.open(to.person.account, to.person.device);
const typing = (n: number) =>
  create(FrameSchema, {
    kind: { case: "typing", value: create(TypingSchema, { conversation: new Uint8Array(16).fill(n) }) },
  });

async function opened(from = polite, to = impolite): Promise<void> {
  open(from, to);
  await until(() => isOpen(polite, impolite), "the link is open");
}

function flipFingerprint(s: Signal): Signal {
  if (s.kind.case === "description")
    s.kind.value.sdp = s.kind.value.sdp.replace(
      /(a=fingerprint:sha-256 )(..)/,
      (_, mark: string, byte: string) => `${mark}${byte === "00" ? "11" : "00"}`,
    );
  return s;
}

test.each(["polite", "impolite"])(
  "a link that the %s end opens carries frames both ways and tells its path",
  async (who) => {
    await (who === "polite" ? opened(polite, impolite) : opened(impolite, polite));
    expect(polite.link()?.send(typing(1))).toBe(true);
    expect(impolite.link()?.send(typing(2))).toBe(true);
    await until(() => polite.frames.length === 1 && impolite.frames.length === 1, "both arrive");
    await until(() => polite.link()?.path?.kind === "direct", "the path is known");
    expect(polite.offered.map((l) => l.account)).toEqual([impolite.person.account]);
  },
);

test("two first offers at once make one link: the impolite end's stays", async () => {
  open(polite, impolite);
  open(impolite, polite);
  await until(() => isOpen(polite, impolite), "the link is open");
  await calm();
  expect(isOpen(polite, impolite)).toBe(true);
  expect(polite.link()?.send(typing(1))).toBe(true);
  await until(() => impolite.frames.length === 1, "it carries frames");
});

test("signals that are lost, come twice or in another order do no harm", async () => {
  let n = 0;
  wire.filter = (s) => {
    n++;
    if (n % 5 === 1) return []; // lost
    return n % 3 === 0 ? [s, clone(SignalSchema, s)] : [s];
  };
  await opened();
  expect(polite.link()?.send(typing(1))).toBe(true);
  await until(() => impolite.frames.length === 1, "it carries frames");
});

test("candidates that come before their offer wait for it", async () => {
  const held: [Signal, End, End][] = [];
  wire.filter = (s, from, to) => {
    if (s.kind.case !== "description" || held.length > 0) return [s];
    held.push([s, from, to]);
    return [];
  };
  open(polite, impolite);
  await until(() => held.length === 1 && impolite.signals.length > 2, "the candidates are there, the offer is not");
  await calm();
  for (const [s, from, to] of held) wire.deliver(from, to, s);
  await until(() => isOpen(polite, impolite), "the link is open");
});

test("denied candidates reach no browser", async () => {
  await opened();
  for (const e of [polite, impolite])
    for (const pc of e.made()) {
      expect(pc.candidates.length).toBeGreaterThan(0);
      expect(pc.candidates.filter((c) => !c.startsWith("192.168."))).toEqual([]);
    }
});

test("a server that swaps the fingerprint is caught at both ends, before any frame", async () => {
  wire.filter = (s) => [flipFingerprint(s)];
  open(polite, impolite);
  open(impolite, polite);
  await until(() => polite.link()?.state !== "connecting" && impolite.link()?.state !== "connecting", "both refuse");
  await calm();
  expect(isOpen(polite) || isOpen(impolite)).toBe(false);
  expect([...polite.frames, ...impolite.frames]).toEqual([]);
});

test("a server that swaps only the answer's fingerprint is caught", async () => {
  wire.filter = (s, from) => [from === impolite ? flipFingerprint(s) : s];
  open(polite, impolite);
  await until(() => polite.link() === undefined || polite.link()?.state === "none", "it is refused");
  expect([...polite.frames, ...impolite.frames]).toEqual([]);
});

test.each<[string, (s: Signal, d: Description) => void]>([
  [
    "another link",
    (s) => {
      s.link = idBytes(newID());
    },
  ],
  [
    "another SDP",
    (_, d) => {
      d.sdp += "a=x\r\n";
    },
  ],
  [
    "no signature",
    (_, d) => {
      delete d.body;
    },
  ],
])("a description with %s than was signed is not taken", async (_, change) => {
  let altered = 0;
  wire.filter = (s, _from, to) => {
    if (s.kind.case === "description" && to === impolite) {
      altered++;
      change(s, s.kind.value);
    }
    return [s];
  };
  open(polite, impolite);
  await until(() => altered > 0, "it was altered");
  await calm();
  expect(impolite.made()).toHaveLength(0); // no PeerConnection for it
});

test("a description signed for somebody else is not taken", async () => {
  const body = create(DescriptionBodySchema, {
    fromAccount: idBytes(polite.person.account),
    fromDevice: idBytes(polite.person.device),
    toAccount: idBytes(impolite.person.account),
    toDevice: idBytes(newID()), // another of the account's devices
    link: idBytes(newID()),
    generation: 1n,
    type: DescriptionType.OFFER,
  });
  const sdp = `v=0\r\na=ice-ufrag:abcd\r\na=fingerprint:sha-256 ${"AA:".repeat(31)}AA\r\n`;
  const value = await signDescription(polite.person.signer.key, body, sdp);
  wire.deliver(polite, impolite, create(SignalSchema, { link: body.link, kind: { case: "description", value } }));
  await calm();
  expect(impolite.made()).toHaveLength(0);
});

test("an offer of a link that has ended starts nothing when it is replayed", async () => {
  await opened();
  const [offer] = impolite.signals.filter((s) => s.kind.case === "description");
  polite.link()?.close("idle");
  await until(() => polite.link() === undefined && impolite.link() === undefined, "both ended");
  const before = impolite.made().length;
  if (offer === undefined) throw new Error("no offer");
  wire.deliver(polite, impolite, offer);
  await calm();
  expect(impolite.made()).toHaveLength(before);
});

test("the server cannot close a link that is proven, nor end it with descriptions that are refused", async () => {
  await opened();
  const link = sessionID(polite, impolite);
  const closing = create(SignalSchema, {
    link,
    kind: { case: "close", value: create(LinkCloseSchema, { reason: "idle" }) },
  });
  for (const [from, to] of [
    [polite, impolite],
    [impolite, polite],
  ] as const) {
    wire.deliver(from, to, clone(SignalSchema, closing));
    for (const s of [...to.signals]) wire.deliver(from, to, flipFingerprint(clone(SignalSchema, s)));
  }
  await calm();
  expect(isOpen(polite, impolite)).toBe(true);
  expect(polite.link()?.send(typing(1))).toBe(true);
  await until(() => impolite.frames.length === 1, "it carries frames");
});

function sessionID(from: End, to: End): Uint8Array {
  const signal = [...from.signals, ...to.signals].find((s) => s.kind.case === "description");
  return signal?.link ?? new Uint8Array();
}

test("a lost path is built anew over the server, and nothing that was sent is lost", async () => {
  await opened();
  const before = polite.made().length;
  polite.made()[0]?.breakPath();
  for (let i = 1; i <= 3; i++) polite.link()?.send(typing(i));
  await until(() => impolite.frames.length === 3, "it goes on");
  expect(impolite.frames.map((f) => (f.kind.case === "typing" ? f.kind.value.conversation[0] : 0))).toEqual([1, 2, 3]);
  expect(polite.made()).toHaveLength(before); // the same session
  expect(isOpen(polite, impolite)).toBe(true);
});

test("while the server is away a link renegotiates over its own channel", async () => {
  await opened();
  wire.up = false;
  const offers = polite.made()[0]?.offers ?? 0;
  polite.manager.networkChanged();
  await until(() => (polite.made()[0]?.offers ?? 0) > offers, "it offers");
  await until(() => polite.made()[0]?.signalingState === "stable", "it was answered");
  polite.link()?.send(typing(1));
  await until(() => impolite.frames.length === 1, "it goes on");
});

test("an end that began anew replaces the link that the other end still has", async () => {
  await opened();
  const [restarted] = [polite];
  restarted.made()[0]?.channel.closed(); // the page was loaded again: nothing is said
  await until(() => restarted.link() === undefined, "it has no link");
  open(restarted, impolite);
  await until(() => isOpen(polite, impolite), "there is a new one");
  polite.link()?.send(typing(1));
  await until(() => impolite.frames.length === 1, "it carries frames");
});

test("a device that its account's list does not hold makes no link", async () => {
  const seed = await importSeed(polite.person.identitySeed);
  const list = nextDeviceList(polite.person.list, 2);
  list.generation++;
  list.accountKey = new Uint8Array(32).fill(9);
  list.devices = [{ ...(list.devices[0] as (typeof list.devices)[0]), device: idBytes(newID()) }];
  wire.learn(await openDeviceList(await signDeviceList(seed, list)));
  open(polite, impolite);
  await until(() => impolite.signals.length > 0, "it tried");
  await calm();
  expect(impolite.made()).toHaveLength(0);
});

test("early candidates of few links are kept, and links that come to nothing are few", async () => {
  for (let i = 0; i < 100; i++) {
    const value = create(CandidateSchema, {
      candidate: "candidate:1 1 udp 1 192.168.1.1 5000 typ host",
      mid: "0",
      ufrag: "x",
    });
    const signal = create(SignalSchema, { link: idBytes(newID()), kind: { case: "candidate", value } });
    impolite.manager.handleSignal(newID(), newID(), signal);
  }
  expect(impolite.manager.links.length).toBeLessThanOrEqual(64);
  expect(impolite.made()).toHaveLength(0);
});

test("offers beyond twenty a minute are not taken", async () => {
  wire.filter = (s, from) => (from === impolite ? [] : [s]); // never answered
  for (let i = 0; i < 30; i++) {
    open(polite, impolite);
    await until(() => polite.link()?.state === "connecting", "it offers");
    await calm();
    polite.link()?.close("idle");
    await until(() => polite.link() === undefined, "and gives up");
  }
  expect(impolite.made().length).toBeLessThanOrEqual(20);
});
