import { create } from "@bufbuild/protobuf";
import { type Link, LinkManager } from "../net/link/link.ts";
import type { DeviceList } from "../wire/devices.ts";
import { parseEnvelope } from "../wire/envelope.ts";
import { WireError } from "../wire/errors.ts";
import { serverHost } from "../wire/host.ts";
import { type ID, idBytes, idFrom, pairID } from "../wire/ids.ts";
import {
  type DirectAck,
  DirectAck_ItemSchema,
  DirectAckSchema,
  type Direct as DirectFrame,
  DirectSchema,
  EnvelopeSchema,
  type Frame,
  FrameSchema,
  IceRequestSchema,
  type IceServers,
  MessageRefSchema,
  type SignalFrom,
  SignalToSchema,
  type Typing,
} from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import type { Core } from "./core.ts";
import type { StoredMessage } from "./db.ts";
import { update, withStatus } from "./outbox.ts";
import { learnList } from "./people.ts";
import { storeDirect } from "./receive.ts";
import type { Ask } from "./sync.ts";
import type { LinkView } from "./types.ts";
import type { Presence } from "./views.ts";

/** Up to how many members a conversation makes a device open links by itself. */
const MOST_MEMBERS = 8;
const MINUTE = 60_000;

export interface DirectConfig {
  readonly core: Core;
  readonly base: string;
  readonly ask: Ask;
  connected(): boolean;
  presence(account: string): Presence | undefined;
  /** Gets the device lists of an account from the server. */
  lists(account: ID): Promise<void>;
  typing(t: Typing): void;
  changed(): void;
}

/** Messages over links: what goes to open ones, and what comes from them. */
export class Direct {
  readonly #cfg: DirectConfig;
  readonly #links: LinkManager;
  #own: DeviceList | null = null;
  #ice: IceServers | null = null;

  private constructor(cfg: DirectConfig) {
    this.#cfg = cfg;
    const { core } = cfg;
    this.#links = new LinkManager({
      self: { account: core.account, device: core.device, key: core.profile.signKey },
      lists: {
        own: () => {
          if (this.#own === null) throw new Error("the own device list is not known");
          return this.#own;
        },
        lookup: (account, device) => this.#lookup(account, device),
        offer: (list) => this.#offer(list),
      },
      signals: { send: (account, device, signal) => this.#send(account, device, signal) },
      ice: () => this.#servers(),
      frame: (link, f) => this.#frame(link, f),
      changed: (link) => this.#changed(link),
      allowLoopback: serverHost(cfg.base) === "localhost",
    });
  }

  static async start(cfg: DirectConfig): Promise<Direct> {
    const direct = new Direct(cfg);
    await direct.refresh();
    return direct;
  }

  close(): void {
    this.#links.close();
  }

  /** Reads the own device list again, which may have changed. */
  async refresh(): Promise<void> {
    const { core } = this.#cfg;
    this.#own = await core.list(core.people.get(core.account));
  }

  set ice(servers: IceServers | undefined) {
    this.#ice = servers ?? null;
  }

  /** Answers from memory and asks the server a minute before the credentials end. */
  async #servers(): Promise<IceServers | null> {
    if (this.#ice === null || Number(this.#ice.expiresMs) - Date.now() < MINUTE) {
      try {
        this.#ice = await this.#cfg.ask({ case: "iceRequest", value: create(IceRequestSchema) }, "iceServers");
      } catch {
        // what was valid a moment ago may still connect, and host candidates need none
      }
    }
    return this.#ice;
  }

  async #lookup(account: ID, device: ID): Promise<DeviceList> {
    const { core, lists } = this.#cfg;
    for (const fetched of [false, true]) {
      const p = core.people.get(account);
      if (p?.newIdentity != null || (account !== core.account && p?.relation !== "accepted"))
        throw new Error("not a contact");
      const list = await core.list(p);
      if (list?.device(device) !== undefined) return list;
      if (!fetched) await lists(account);
    }
    throw new Error("the device is not in its account's list");
  }

  #offer(list: DeviceList): Promise<void> {
    return this.#cfg.core.step(async (s) => {
      const p = s.person(list.account);
      await learnList(s, p, list.signed);
      s.savePerson(p);
    });
  }

  #send(account: ID, device: ID, signal: Parameters<LinkManager["handleSignal"]>[2]): boolean {
    if (!this.#cfg.connected()) return false;
    const value = create(SignalToSchema, { account: idBytes(account), device: idBytes(device), signal });
    this.#cfg.ask({ case: "signalTo", value }, "ok").catch((e: unknown) => {
      if (e instanceof WireError && !e.retryable) this.#links.signalFailed(account, device, signal.link);
    });
    return true;
  }

  signal(from: SignalFrom): void {
    if (from.signal !== undefined) this.#links.handleSignal(idFrom(from.account), idFrom(from.device), from.signal);
  }

  /** The network changed. */
  networkChanged(): void {
    this.#links.networkChanged();
  }

  /** A conversation is in view: links to its people are worth having. */
  view(conversation: string): void {
    for (const [account, device] of this.#recipients(conversation)) this.#links.open(account, device);
  }

  /** Connected devices of the other members of a small conversation. */
  #recipients(conversation: string): [ID, ID][] {
    const { core, presence } = this.#cfg;
    const row = core.conversations.get(conversation);
    if (row === undefined) return [];
    const members = core.chain(row).members.map((m) => idFrom(m.account));
    if (members.length > MOST_MEMBERS) return [];
    return members
      .filter((account) => account !== core.account)
      .flatMap((account) => (presence(account)?.devices ?? []).map((device): [ID, ID] => [account, device as ID]));
  }

  /** Gives a message to every open link of its conversation, and starts to open the missing ones. */
  offer(m: StoredMessage): void {
    this.view(m.conversation);
    const row = this.#cfg.core.conversations.get(m.conversation);
    if (row === undefined) return;
    const members = new Set<string>(this.#cfg.core.chain(row).members.map((one) => idFrom(one.account)));
    for (const link of this.#links.links) {
      if (link.state === "open" && members.has(link.account) && link.account !== this.#cfg.core.account)
        sendOver(link, m);
    }
  }

  #changed(link: Link): void {
    this.#cfg.changed();
    if (link.state === "open") this.#resend(link).catch((e: unknown) => console.warn("resend", e));
  }

  /** Sends what the relay does not have yet to a device that is reached now. */
  async #resend(link: Link): Promise<void> {
    const { core } = this.#cfg;
    const conversation = await pairID(core.account, link.account);
    for (const m of await withStatus(core, "waiting")) {
      if (m.conversation === conversation && !m.acked) sendOver(link, m);
    }
  }

  #frame(link: Link, f: Frame): void {
    const handled =
      f.kind.case === "direct"
        ? this.#take(link, f.kind.value)
        : f.kind.case === "directAck"
          ? this.#acked(link, f.kind.value)
          : undefined;
    handled?.catch((e: unknown) => console.warn("link frame", e));
    if (f.kind.case === "typing") {
      f.kind.value.account = idBytes(link.account);
      this.#cfg.typing(f.kind.value);
    }
  }

  /** Stores envelopes that came over a link and says of each whether it is stored now. */
  async #take(link: Link, d: DirectFrame): Promise<void> {
    const path = link.path?.kind ?? "direct";
    const items = await this.#cfg.core.step(async (s) => {
      const out = [];
      for (const e of d.envelopes) {
        const h = parseEnvelope(e);
        const refused = !(await storeDirect(s, link, path, e));
        const message = create(MessageRefSchema, { device: h.device, id: h.id });
        out.push(create(DirectAck_ItemSchema, { conversation: h.conversation, message, refused }));
      }
      return out;
    });
    link.send(create(FrameSchema, { kind: { case: "directAck", value: create(DirectAckSchema, { items }) } }));
  }

  /** Notes that the other end stored messages of this device. */
  async #acked(link: Link, ack: DirectAck): Promise<void> {
    const { core } = this.#cfg;
    const path = link.path?.kind ?? "direct";
    for (const item of ack.items) {
      if (item.refused || item.message === undefined || idFrom(item.message.device) !== core.device) continue;
      const conversation = idFrom(item.conversation);
      const row = core.conversations.get(conversation);
      const delivered = row?.cursors[link.account]?.delivered ?? 0;
      await update(core, { conversation, device: core.device, id: idFrom(item.message.id) }, (m) => {
        if (!m.acked && (m.seq === 0 || m.seq > delivered)) m.path = path; // nobody had it before this copy
        m.acked = true;
      });
    }
  }

  /** The best link to a person. */
  linkTo(account: string): LinkView {
    const links = this.#links.links.filter((l) => l.account === account);
    const open = links.filter((l) => l.state === "open" && l.path !== null);
    const best = open.find((l) => l.path?.kind === "direct") ?? open[0];
    if (best?.path != null) {
      const { kind, protocol, port, delay } = best.path;
      return { state: "open", path: kind, delay, protocol, port, since: best.since };
    }
    const path = this.#cfg.connected() ? "relay" : "waiting";
    const state = links.some((l) => l.state === "connecting") ? "connecting" : "none";
    return { state, path, delay: 0, protocol: "", port: 0, since: 0 };
  }

  /** Tries to make the link to a person direct now. */
  tryDirect(account: string): void {
    for (const device of this.#cfg.presence(account)?.devices ?? []) this.#links.open(account as ID, device as ID);
    for (const l of this.#links.links) if (l.account === account) l.repair();
  }
}

function sendOver(link: Link, m: StoredMessage): void {
  if (m.envelope === null) return;
  const value = create(DirectSchema, { envelopes: [unmarshal(EnvelopeSchema, m.envelope)] });
  link.send(create(FrameSchema, { kind: { case: "direct", value } }));
}
