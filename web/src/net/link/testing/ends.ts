// Two ends of a link: managers in memory, a network between them, and a signaling server that a test may have tamper.
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DeviceList } from "../../../wire/devices.ts";
import { type Frame, FrameSchema, type Signal, SignalSchema } from "../../../wire/schema.ts";
import { type Maker, makePerson } from "../../../wire/testing/people.ts";
import type { Link } from "../link.ts";
import { LinkManager } from "../manager.ts";
import { FakeNetwork, type FakePeerConnection } from "./webrtc.ts";

/** What the signaling server makes of a signal: others in its place, or nothing. */
export type Filter = (s: Signal, from: End, to: End) => readonly Signal[];

export interface End {
  readonly person: Maker;
  readonly manager: LinkManager;
  /** Frames that links passed on. */
  readonly frames: Frame[];
  /** Device lists that came over links. */
  readonly offered: DeviceList[];
  /** Signals that were sent to this end, before the filter. */
  readonly signals: Signal[];
  link(): Link | undefined;
  /** The PeerConnections that this end made, newest last. */
  made(): FakePeerConnection[];
}

export class Wire {
  readonly network = new FakeNetwork();
  filter: Filter = (s) => [s];
  /** Whether the server can be reached. */
  up = true;
  readonly #ends: End[] = [];
  readonly #known = new Map<string, DeviceList>();

  /** Two ends; the polite one, of the smaller device id, comes first. */
  async ends(): Promise<[End, End]> {
    const people = (await Promise.all([makePerson(), makePerson()])).sort((a, b) => (a.device < b.device ? -1 : 1));
    const [polite, impolite] = people.map((p) => this.#end(p));
    if (polite === undefined || impolite === undefined) throw new Error("no ends");
    return [polite, impolite];
  }

  /** Makes every end know another list of a person. */
  learn(list: DeviceList): void {
    this.#known.set(list.account, list);
  }

  #end(person: Maker): End {
    const mine: FakePeerConnection[] = [];
    this.#known.set(person.account, person.list);
    const end: End = {
      person,
      frames: [],
      offered: [],
      signals: [],
      link: () => end.manager.links[0],
      made: () => mine,
      manager: new LinkManager({
        self: { account: person.account, device: person.device, key: person.signer.key },
        lists: {
          own: () => this.#list(person.account),
          lookup: async (account) => this.#list(account),
          offer: async (list) => void end.offered.push(list),
        },
        signals: { send: (_account, device, s) => this.#send(end, device, s) },
        ice: async () => null,
        peerConnection: (c) => {
          const pc = this.network.peerConnection(c);
          mine.push(pc as unknown as FakePeerConnection);
          return pc;
        },
        relayOnly: () => false,
        frame: (_link, f) => void end.frames.push(fromBinary(FrameSchema, toBinary(FrameSchema, f))),
        changed: () => undefined,
        allowLoopback: false,
      }),
    };
    this.#ends.push(end);
    return end;
  }

  #list(account: string): DeviceList {
    const list = this.#known.get(account);
    if (list === undefined) throw new Error("no list of this account");
    return list;
  }

  #send(from: End, device: string, s: Signal): boolean {
    const to = this.#ends.find((e) => e.person.device === device);
    if (!this.up || to === undefined) return false;
    const copy = fromBinary(SignalSchema, toBinary(SignalSchema, s));
    to.signals.push(fromBinary(SignalSchema, toBinary(SignalSchema, s)));
    for (const one of this.filter(copy, from, to)) setTimeout(() => this.deliver(from, to, one));
    return true;
  }

  /** Hands a signal over as the server does. */
  deliver(from: End, to: End, s: Signal): void {
    to.manager.handleSignal(from.person.account, from.person.device, s);
  }

  close(): void {
    for (const e of this.#ends) e.manager.close();
  }
}

/** Polls until something is so. */
export async function until(is: () => boolean, what: string, ms = 30_000): Promise<void> {
  for (const end = performance.now() + ms; !is(); ) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Lets everything that is under way come to an end. */
export async function calm(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 5));
}
