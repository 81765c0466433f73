// Perfect negotiation against the collisions of W3C webrtc-pc §10.7: the two ends' offers cross in every order.
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { equal } from "../../wire/bytes.ts";
import { type ID, idBytes, newID } from "../../wire/ids.ts";
import { openDescription, signDescription } from "../../wire/link.ts";
import { type Description, DescriptionBodySchema, DescriptionType } from "../../wire/schema.ts";
import { type Maker, makePerson } from "../../wire/testing/people.ts";
import { ufragOf } from "./candidate.ts";
import { Negotiation, type Verified } from "./negotiation.ts";
import { FakeNetwork, type FakePeerConnection } from "./testing/webrtc.ts";

/** One end without candidates, links and signaling: what it sends lies in a queue. */
class Side {
  readonly person: Maker;
  readonly pc: FakePeerConnection;
  readonly negotiation: Negotiation;
  readonly sent: Description[] = [];
  readonly taken: string[] = []; // ufrags

  /** ahead: by how much its generations are above what they should be. */
  constructor(person: Maker, link: ID, polite: boolean, ahead = 0n) {
    this.person = person;
    const pc = new FakeNetwork({ blocked: true }).peerConnection();
    this.pc = pc as unknown as FakePeerConnection;
    this.negotiation = new Negotiation({
      pc,
      polite,
      sign: (sdp, terms) =>
        signDescription(
          person.signer.key,
          create(DescriptionBodySchema, {
            ...terms,
            generation: terms.generation + ahead,
            fromAccount: idBytes(person.account),
            fromDevice: idBytes(person.device),
            toAccount: idBytes(person.account),
            toDevice: idBytes(person.device),
            link: idBytes(link),
          }),
          sdp,
        ),
      send: (d) => void this.sent.push(d),
      sent: () => undefined,
      taken: async (ufrag) => void this.taken.push(ufrag),
    });
  }

  async verified(d: Description): Promise<Verified> {
    const key = this.person.list.device(this.person.device)?.signKey ?? new Uint8Array();
    const { type, generation, offerHash } = await openDescription(key, d);
    return { description: d, type, generation, offerHash, key: new Uint8Array(key), list: this.person.list };
  }

  get settled(): boolean {
    return this.pc.signalingState === "stable" && !this.negotiation.outstanding;
  }
}

async function sides(): Promise<{ polite: Side; impolite: Side }> {
  const link = newID();
  const [a, b] = await Promise.all([makePerson(), makePerson()]);
  return { polite: new Side(a, link, true), impolite: new Side(b, link, false) };
}

/** Hands over the oldest description that waits. */
async function hand(from: Side, to: Side): Promise<void> {
  const d = from.sent.shift();
  if (d === undefined) throw new Error("nothing was sent");
  await to.negotiation.take(await from.verified(d));
}

/** Hands over all that wait, back and forth, until nothing is left. */
async function handAll(a: Side, b: Side): Promise<void> {
  for (let n = 0; a.sent.length + b.sent.length > 0; n++) {
    if (n > 20) throw new Error("the ends do not come to rest");
    if (a.sent.length > 0) await hand(a, b);
    if (b.sent.length > 0) await hand(b, a);
  }
}

function agree(a: Side, b: Side): void {
  expect([a.settled, b.settled]).toEqual([true, true]);
  expect(a.taken.at(-1)).toBe(ufragOf(b.pc.localSdp));
  expect(b.taken.at(-1)).toBe(ufragOf(a.pc.localSdp));
}

test.each(["polite", "impolite"] as const)("the %s end offers, the other answers", async (who) => {
  const { polite, impolite } = await sides();
  const [offers, answers] = who === "polite" ? [polite, impolite] : [impolite, polite];
  await offers.negotiation.offer();
  expect(offers.negotiation.outstanding).toBe(true);
  await hand(offers, answers);
  await hand(answers, offers);
  agree(polite, impolite);
});

test.each([
  ["the polite end hears first", true],
  ["the impolite end hears first", false],
])("both offer at once and %s: the impolite end's offer stands", async (_, politeFirst) => {
  const { polite, impolite } = await sides();
  await polite.negotiation.offer();
  await impolite.negotiation.offer();
  const stands = ufragOf(impolite.pc.localSdp);
  if (politeFirst) await hand(impolite, polite);
  else await hand(polite, impolite);
  await handAll(polite, impolite);
  agree(polite, impolite);
  expect(polite.taken).toContain(stands);
  // The polite end rolled its own offer back: the impolite one never took it.
  expect(impolite.pc.rolledBack).toBe(0);
  expect(polite.pc.rolledBack).toBe(1);
});

test("an ICE restart that a collision with an ordinary offer swallowed is made again", async () => {
  const { polite, impolite } = await sides();
  await polite.negotiation.offer();
  await handAll(polite, impolite);
  const before = [polite, impolite].map((s) => ufragOf(s.pc.localSdp));
  await polite.negotiation.offer(true);
  await impolite.negotiation.offer(); // restarts nothing
  await handAll(polite, impolite);
  agree(polite, impolite);
  expect(ufragOf(polite.pc.localSdp)).not.toBe(before[0]);
  expect(ufragOf(impolite.pc.localSdp)).not.toBe(before[1]);
});

test("two ICE restarts at once are one", async () => {
  const { polite, impolite } = await sides();
  await polite.negotiation.offer();
  await handAll(polite, impolite);
  await polite.negotiation.offer(true);
  await impolite.negotiation.offer(true);
  await handAll(polite, impolite);
  agree(polite, impolite);
  expect(polite.pc.offers + impolite.pc.offers).toBe(3);
});

test("what is wanted while an offer is outstanding is offered afterwards, once", async () => {
  const { polite, impolite } = await sides();
  await impolite.negotiation.offer();
  await impolite.negotiation.offer();
  await impolite.negotiation.offer(true);
  await impolite.negotiation.offer();
  expect(impolite.sent).toHaveLength(1);
  await handAll(impolite, polite);
  agree(polite, impolite);
  expect(impolite.pc.offers).toBe(2);
});

test("a lost answer is given again for the same offer, a lost offer is sent again", async () => {
  const { polite, impolite } = await sides();
  await impolite.negotiation.offer();
  const [offer] = impolite.sent;
  await hand(impolite, polite);
  polite.sent.length = 0; // the answer is lost
  impolite.negotiation.repeat();
  expect(impolite.sent[0]).toBe(offer);
  await hand(impolite, polite);
  await hand(polite, impolite);
  agree(polite, impolite);
  expect(polite.pc.answers).toBe(1);
});

test("an answer counts that was made, and lost, before an offer that lost a collision", async () => {
  const { polite, impolite } = await sides();
  await impolite.negotiation.offer();
  await hand(impolite, polite);
  const [answer] = polite.sent.splice(0);
  await polite.negotiation.offer(true); // a later generation, before the answer was taken
  await hand(polite, impolite); // ignored: the impolite end's own offer is outstanding
  if (answer === undefined) throw new Error("no answer");
  await impolite.negotiation.take(await polite.verified(answer));
  expect(impolite.negotiation.outstanding).toBe(false);
});

test("old, foreign and replayed descriptions are not taken", async () => {
  const { polite, impolite } = await sides();
  await impolite.negotiation.offer();
  const [offer] = impolite.sent;
  await hand(impolite, polite);
  const [answer] = polite.sent;
  await hand(polite, impolite);
  if (offer === undefined || answer === undefined) throw new Error("nothing was sent");
  await impolite.negotiation.offer(true);
  await impolite.negotiation.take(await polite.verified(answer)); // of another offer
  expect(impolite.negotiation.outstanding).toBe(true);
  await handAll(impolite, polite);
  const taken = polite.taken.length;
  await polite.negotiation.take(await impolite.verified(offer)); // of an earlier generation
  expect(polite.taken).toHaveLength(taken);
  expect(polite.sent).toHaveLength(0);
});

test("another certificate on the same link is refused, and nothing of it is used", async () => {
  const { polite, impolite } = await sides();
  await impolite.negotiation.offer();
  await handAll(impolite, polite);
  const before = polite.negotiation.remote;
  const rogue = new Side(impolite.person, newID(), false, 5n); // another PeerConnection in the same name
  await rogue.negotiation.offer();
  const [offer] = rogue.sent;
  if (offer === undefined) throw new Error("no offer");
  const taken = polite.taken.length;
  await expect(polite.negotiation.take(await rogue.verified(offer))).rejects.toThrow("another fingerprint");
  expect(polite.taken).toHaveLength(taken);
  expect(
    equal(polite.negotiation.remote?.fingerprint ?? new Uint8Array(), before?.fingerprint ?? new Uint8Array()),
  ).toBe(true);
});

test("an answer that the browser refuses leaves room for another offer", async () => {
  const { polite, impolite } = await sides();
  await impolite.negotiation.offer();
  await hand(impolite, polite);
  const [answer] = polite.sent.splice(0);
  if (answer === undefined) throw new Error("no answer");
  const v = await polite.verified(answer);
  const broken = { ...v, description: { ...answer, sdp: answer.sdp.replace(/a=ice-ufrag:.*\r\n/, "") } };
  await expect(impolite.negotiation.take(broken)).rejects.toThrow();
  expect(impolite.settled).toBe(true);
  await impolite.negotiation.offer();
  await handAll(impolite, polite);
  agree(polite, impolite);
});

test("types and generations in descriptions are what they should be", async () => {
  const { polite, impolite } = await sides();
  await impolite.negotiation.offer();
  const [offer] = impolite.sent;
  await hand(impolite, polite);
  const [answer] = polite.sent;
  await hand(polite, impolite);
  await impolite.negotiation.offer(true);
  const [restart] = impolite.sent;
  const all = await Promise.all(
    [offer, restart].map((d) => impolite.verified(d as Description)).concat([polite.verified(answer as Description)]),
  );
  expect(all.map((v) => [v.type, v.generation])).toEqual([
    [DescriptionType.OFFER, 1n],
    [DescriptionType.OFFER, 2n],
    [DescriptionType.ANSWER, 1n],
  ]);
});
