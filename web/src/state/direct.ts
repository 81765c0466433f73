import { create } from "@bufbuild/protobuf";
import type { Link } from "../net/link/link.ts";
import { LinkManager } from "../net/link/manager.ts";
import type { DeviceList } from "../wire/devices.ts";
import { parseHeader } from "../wire/envelope.ts";
import { WireError } from "../wire/errors.ts";
import { serverHost } from "../wire/host.ts";
import { type ID, idBytes, idFrom } from "../wire/ids.ts";
import {
  type DirectAck,
  type DirectAck_Item,
  DirectAck_ItemSchema,
  DirectAckSchema,
  type Direct as DirectFrame,
  type Envelope,
  type Frame,
  FrameSchema,
  IceRequestSchema,
  type IceServers,
  MessageRefSchema,
  type SignalFrom,
  SignalToSchema,
  type Typing,
  TypingSchema,
} from "../wire/schema.ts";
import type { Core } from "./core.ts";
import { Feed } from "./feed.ts";
import { IdentityChangedError, learnList } from "./people.ts";
import { storeDirect } from "./receive.ts";
import type { StoredConversation } from "./records.ts";
import type { Step } from "./step.ts";
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
  peerConnection(c: RTCConfiguration): RTCPeerConnection;
  /** Whether this person's addresses are hidden from an account. */
  hidesFrom(account: string): boolean;
  /** The server's clock, as far as it is known. */
  serverTime(): number;
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
  readonly #feeds = new WeakMap<Link, Feed>();
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
      peerConnection: (c) => cfg.peerConnection(c),
      relayOnly: (account) => account !== core.account && cfg.hidesFrom(account),
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

  /** Reads again what is stored of accounts: the own device list may have changed, and with whom there may be links. */
  async refresh(): Promise<void> {
    const { core } = this.#cfg;
    for (const link of this.#links.links) if (!this.#mayLink(link.account)) link.close("forbidden");
    this.#own = await core.list(core.people.get(core.account));
    for (const link of this.#links.links) {
      const list = await core.list(core.people.get(link.account));
      if (list !== null && list.device(link.device) === undefined) link.close("revoked");
    }
  }

  /** Servers that the greeting brought. */
  set ice(servers: IceServers | undefined) {
    this.#ice = servers ?? null;
  }

  /** Answers from memory and asks the server a minute before the credentials end. */
  async #servers(): Promise<IceServers | null> {
    const { ask, serverTime } = this.#cfg;
    if (this.#ice === null || Number(this.#ice.expiresMs) - serverTime() < MINUTE) {
      try {
        this.#ice = await ask({ case: "iceRequest", value: create(IceRequestSchema) }, "iceServers");
      } catch {
        // what was valid a moment ago may still connect, and host candidates need none
      }
    }
    return this.#ice;
  }

  /** Whether there may be links to an account: they pass the server by, which keeps apart who is not to hear of another. */
  #mayLink(account: ID): boolean {
    const { core } = this.#cfg;
    if (account === core.account) return true;
    const p = core.people.get(account);
    return p?.relation === "accepted" && !p.blocked && !core.privacy.hidePresence;
  }

  async #lookup(account: ID, device: ID): Promise<DeviceList> {
    const { core, lists } = this.#cfg;
    for (const fetched of [false, true]) {
      const p = core.people.get(account);
      if (p?.newIdentity != null || !this.#mayLink(account)) throw new Error("not somebody to link with");
      const list = await core.list(p);
      if (list?.device(device) !== undefined) return list;
      if (!fetched) await lists(account);
    }
    throw new Error("the device is not in its account's list");
  }

  /** Takes the list that a device sent about its account over the link itself. */
  async #offer(list: DeviceList): Promise<void> {
    const learned = await this.#cfg.core.step(async (s) => {
      const p = s.person(list.account);
      const what = await learnList(s, p, list.signed);
      if (what !== "known") s.savePerson(p);
      return what;
    });
    if (learned === "other-identity") throw new IdentityChangedError(list.account);
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
    const account = idFrom(from.account);
    if (from.signal === undefined || !this.#mayLink(account)) return;
    this.#links.handleSignal(account, idFrom(from.device), from.signal);
  }

  /** The network changed. */
  networkChanged(): void {
    this.#links.networkChanged();
  }

  /** Ends the links to an account, null for all, for others to be made under another setting. */
  renew(account: string | null): void {
    for (const link of this.#links.links) if (account === null || link.account === account) link.close("restart");
  }

  /** A conversation is in view: links to its people are worth having. */
  view(conversation: string): void {
    const { core, presence } = this.#cfg;
    for (const account of this.#others(core.conversations.get(conversation)).filter((one) => this.#mayLink(one)))
      for (const device of presence(account)?.devices ?? []) this.#links.open(account, device as ID);
  }

  /** The other members of a conversation that is small enough for links. */
  #others(row: StoredConversation | undefined): ID[] {
    if (row === undefined) return [];
    const { core } = this.#cfg;
    const members = core.chain(row).members.map((m) => idFrom(m.account));
    return members.length > MOST_MEMBERS ? [] : members.filter((account) => account !== core.account);
  }

  /** Conversations whose messages go to an account over links. */
  #shared(account: ID): string[] {
    const rows = [...this.#cfg.core.conversations.values()];
    return rows.filter((row) => this.#others(row).includes(account)).map((row) => row.id);
  }

  /** Gives what waits in a conversation to every open link of its members, and starts to open the missing ones. */
  offer(conversation: string): void {
    this.view(conversation);
    const others = this.#others(this.#cfg.core.conversations.get(conversation));
    for (const link of this.#links.links)
      if (link.state === "open" && others.includes(link.account)) this.#feed(link).kick([conversation]);
  }

  #feed(link: Link): Feed {
    const known = this.#feeds.get(link);
    if (known !== undefined) return known;
    const feed = new Feed(this.#cfg.core, link);
    this.#feeds.set(link, feed);
    return feed;
  }

  #changed(link: Link): void {
    this.#cfg.changed();
    if (this.#feed(link).renewed()) this.#feed(link).kick(this.#shared(link.account));
  }

  #frame(link: Link, f: Frame): void {
    if (!this.#mayLink(link.account)) return;
    switch (f.kind.case) {
      case "direct":
        this.#take(link, f.kind.value).catch((e: unknown) => console.warn("direct message", e));
        return;
      case "directAck":
        this.#acked(link, f.kind.value).catch((e: unknown) => console.warn("acknowledgement", e));
        return;
      case "typing":
        this.#typing(link, f.kind.value);
        return;
      default: // links pass no other kinds on
    }
  }

  #typing(link: Link, t: Typing): void {
    if (!this.#shared(link.account).includes(idFrom(t.conversation))) return;
    t.account = idBytes(link.account);
    this.#cfg.typing(t);
  }

  /** Tells the others over open links that the person writes; for when the server is away. */
  tellTyping(conversation: ID, stopped: boolean): void {
    const others = this.#others(this.#cfg.core.conversations.get(conversation));
    const value = create(TypingSchema, { conversation: idBytes(conversation), stopped });
    for (const link of this.#links.links)
      if (link.state === "open" && others.includes(link.account))
        link.send(create(FrameSchema, { kind: { case: "typing", value } }));
  }

  /** Stores envelopes that came over a link and says of each whether it is stored now. */
  async #take(link: Link, d: DirectFrame): Promise<void> {
    const items = await this.#cfg.core.step(async (s) => {
      const out: DirectAck_Item[] = [];
      for (const e of d.envelopes) {
        const item = await takeOne(s, link, e);
        if (item !== null) out.push(item);
      }
      return out;
    });
    if (items.length === 0) return;
    link.send(create(FrameSchema, { kind: { case: "directAck", value: create(DirectAckSchema, { items }) } }));
  }

  /** Notes that the other end stored messages of this device. */
  async #acked(link: Link, ack: DirectAck): Promise<void> {
    const { core } = this.#cfg;
    const shared = this.#shared(link.account);
    const path = link.path?.kind ?? "direct";
    await core.step(async (s) => {
      for (const { refused, conversation, message } of ack.items) {
        if (refused || message === undefined) continue;
        const [id, device] = [idFrom(conversation), idFrom(message.device)];
        if (device !== core.device || !shared.includes(id)) continue;
        const m = await s.message(id, device, idFrom(message.id));
        if (m === null || m.acked) continue;
        const delivered = s.conversation(id)?.cursors[link.account]?.delivered ?? 0;
        if (m.seq === 0 || m.seq > delivered) m.path = path; // they did not have it before this copy
        m.acked = true;
        s.saveMessage(m);
      }
    });
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

/** Stores one envelope that came over a link; null when it does not even say which message it is. */
async function takeOne(s: Step, link: Link, e: Envelope): Promise<DirectAck_Item | null> {
  try {
    const h = parseHeader(e.header);
    const refused = !(await storeDirect(s, link, link.path?.kind ?? "direct", e));
    const message = create(MessageRefSchema, { device: h.device, id: h.id });
    return create(DirectAck_ItemSchema, { conversation: h.conversation, message, refused });
  } catch {
    return null;
  }
}
