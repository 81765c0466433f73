import { equal, own } from "../../wire/bytes.ts";
import type { DeviceList } from "../../wire/devices.ts";
import { forbidden } from "../../wire/errors.ts";
import { type ID, idBytes, idFrom, newID } from "../../wire/ids.ts";
import { MAX_CANDIDATES } from "../../wire/limits.ts";
import { openDescription } from "../../wire/link.ts";
import type { Candidate, Description, Frame, IceServers, Signal } from "../../wire/schema.ts";
import type { SigningKey } from "../../wire/sign.ts";
import { type Path, Session } from "./session.ts";

const MOST_LINKS = 64;
const EARLY_LINKS = 4; // link ids whose candidates may come before their offer
const ENDED = 256; // link ids remembered, so that an old offer replayed by the server starts nothing
const IDLE = 5 * 60_000;
const SWEEP = 5_000;
const OFFERS = 20; // that a device may make in a minute
const MINUTE = 60_000;

export interface LinkConfig {
  readonly self: { readonly account: ID; readonly device: ID; readonly key: SigningKey };
  readonly lists: {
    own(): DeviceList;
    /** The newest list known of an account that names the device, asked for when it is not known. Throws. */
    lookup(account: ID, device: ID): Promise<DeviceList>;
    /** A list that the other end sent about itself. Throws when it is not one to take. */
    offer(list: DeviceList): Promise<void>;
  };
  readonly signals: {
    /** Sends through the server; false when that is not possible now. */
    send(account: ID, device: ID, signal: Signal): boolean;
  };
  ice(): Promise<IceServers | null>;
  /** Frames of a proven link, in order. */
  frame(link: Link, f: Frame): void;
  /** A link opened, ended or changed its path. */
  changed(link: Link): void;
  /** Loopback addresses count only if the server itself was reached on loopback. */
  readonly allowLoopback: boolean;
}

/** The link to one device. Whatever touches its sessions runs in its queue, one after the other. */
export class Link {
  readonly account: ID;
  readonly device: ID;
  readonly #m: LinkManager;
  #queue: Promise<void> = Promise.resolve();
  #active: Session | null = null;
  #pending: Session | null = null;
  #early = new Map<ID, Candidate[]>();
  #offers: number[] = [];
  #path: Path | null = null;
  #since = 0;
  #used = Date.now();

  constructor(m: LinkManager, account: ID, device: ID) {
    this.#m = m;
    this.account = account;
    this.device = device;
  }

  get state(): "connecting" | "open" | "none" {
    if (this.#active?.open === true) return "open";
    return this.#active === null && this.#pending === null ? "none" : "connecting";
  }

  get path(): Path | null {
    return this.state === "open" ? this.#path : null;
  }

  get since(): number {
    return this.#since;
  }

  /** Sends a frame; false when it cannot go now. */
  send(f: Frame): boolean {
    this.#used = Date.now();
    return this.#active?.send(f) === true;
  }

  /** Makes the link unless it is there or under way. */
  open(): void {
    this.#used = Date.now();
    this.#run(() => this.#ensure());
  }

  /** Builds the path anew: the network changed, or a direct path may be possible now. */
  repair(): void {
    this.#run(async () => this.#active?.restart());
  }

  /** Measures and publishes how the bytes travel. */
  async measure(): Promise<void> {
    const path = (await this.#active?.path()) ?? null;
    const other =
      path?.kind !== this.#path?.kind || path?.protocol !== this.#path?.protocol || path?.delay !== this.#path?.delay;
    this.#path = path;
    if (other) this.#m.cfg.changed(this);
  }

  signal(s: Signal, fromChannel: boolean): void {
    this.#run(() => this.#signal(s, fromChannel));
  }

  /** The server did not forward a signal: the device is not there, or not a contact any more. */
  failed(link: ID): void {
    this.#run(async () => {
      if (this.#pending?.id === link) this.#pending.end("offline");
    });
  }

  close(reason: string): void {
    this.#active?.end(reason);
    this.#pending?.end(reason);
  }

  /** Whether nothing was sent or received for long. */
  idle(now: number): boolean {
    return now - this.#used > IDLE;
  }

  #run(f: () => Promise<void>): void {
    this.#queue = this.#queue.then(f).catch((e: unknown) => console.warn("link", e));
  }

  get #polite(): boolean {
    return this.#m.cfg.self.device < this.device;
  }

  async #ensure(): Promise<void> {
    if (this.#active !== null || this.#pending !== null) return;
    this.#pending = await this.#session(newID(), true);
    this.#m.cfg.changed(this);
    await this.#pending.negotiate();
  }

  async #session(id: ID, own: boolean): Promise<Session> {
    const ice = await this.#m.cfg.ice();
    const servers = (ice?.servers ?? []).map((s) => ({ urls: s.urls, username: s.username, credential: s.credential }));
    const session = new Session(this.#m.cfg, { account: this.account, device: this.device }, id, own, servers, {
      proven: (s) => this.#proven(s),
      ended: (s) => this.#ended(s),
      frame: (s, f) => this.#frame(s, f),
      changed: () => this.#changed(),
    });
    for (const c of this.#early.get(id) ?? []) await session.candidate(c);
    this.#early.delete(id);
    return session;
  }

  #changed(): void {
    this.#m.cfg.changed(this);
    this.measure().catch((e: unknown) => console.warn("path", e));
  }

  #proven(s: Session): void {
    const old = this.#active;
    this.#active = s;
    if (this.#pending === s) this.#pending = null;
    this.#since = Date.now();
    this.#used = this.#since;
    if (old !== null && old !== s) old.end("superseded");
    this.#changed();
  }

  #ended(s: Session): void {
    this.#m.end(s.id);
    if (this.#active === s) this.#active = null;
    if (this.#pending === s) this.#pending = null;
    if (this.#active === null && this.#pending === null) this.#m.forget(this);
    this.#m.cfg.changed(this);
  }

  #frame(s: Session, f: Frame): void {
    if (f.kind.case === "signal") this.signal(f.kind.value, true);
    else if (f.kind.case === "direct" || f.kind.case === "directAck" || f.kind.case === "typing") {
      this.#used = Date.now();
      if (s === this.#active) this.#m.cfg.frame(this, f);
    }
  }

  #find(id: ID): Session | null {
    if (this.#pending?.id === id) return this.#pending;
    return this.#active?.id === id ? this.#active : null;
  }

  async #signal(s: Signal, fromChannel: boolean): Promise<void> {
    const id = idFrom(s.link);
    const session = this.#find(id);
    switch (s.kind.case) {
      case "description":
        try {
          await this.#description(id, s.kind.value);
        } catch (e) {
          // A proven session ignores what it refuses: the server could otherwise end links that it has no part in.
          console.warn("description refused", e);
          const now = this.#find(id);
          if (now?.proven === false) now.end("refused");
        }
        return;
      case "candidate":
        if (session !== null) await session.candidate(s.kind.value);
        else this.#keepEarly(id, s.kind.value);
        return;
      case "close": // not signed: over the socket it counts only before the proof
        if (session !== null && (fromChannel || !session.proven)) session.end("closed");
        return;
      default: // a newer kind
    }
  }

  #keepEarly(id: ID, c: Candidate): void {
    if (this.#m.hasEnded(id)) return;
    const kept = this.#early.get(id) ?? [];
    if ((kept.length === 0 && this.#early.size >= EARLY_LINKS) || kept.length >= MAX_CANDIDATES) return;
    this.#early.set(id, [...kept, c]);
  }

  /** Verifies a description before anything of it is used. */
  async #description(id: ID, d: Description): Promise<void> {
    const { self, lists } = this.#m.cfg;
    const list = await lists.lookup(this.account, this.device);
    const key = list.device(this.device)?.signKey;
    if (key === undefined) throw forbidden("the device is not in its account's list");
    const body = await openDescription(key, d);
    const ends = [
      [body.fromAccount, this.account],
      [body.fromDevice, this.device],
      [body.toAccount, self.account],
      [body.toDevice, self.device],
      [body.link, id],
    ] as const;
    if (!ends.every(([bytes, want]) => equal(bytes, idBytes(want))))
      throw forbidden("a description from or for another device or link");
    const { type, generation, offerHash } = body;
    const verified = { description: d, type, generation, offerHash, key: own(key), list };
    const session = this.#find(id) ?? (offerHash.length === 0 ? await this.#offered(id) : null);
    await session?.take(verified, this.#polite);
  }

  /** The session for the first offer of a link, null when it is not taken. */
  async #offered(id: ID): Promise<Session | null> {
    if (this.#m.hasEnded(id)) throw forbidden("an offer of a link that has ended");
    const now = Date.now();
    this.#offers = this.#offers.filter((t) => now - t < MINUTE);
    if (this.#offers.length >= OFFERS) return null;
    this.#offers.push(now);
    if (this.#pending !== null) {
      if (this.#pending.own && !this.#polite) return null; // two new links collide: ours wins
      const old = this.#pending;
      this.#pending = null;
      old.end("superseded");
    }
    this.#m.keep(this);
    this.#pending = await this.#session(id, false);
    this.#m.cfg.changed(this);
    return this.#pending;
  }
}

/** Keeps this device's links. */
export class LinkManager {
  readonly cfg: LinkConfig;
  readonly #links = new Map<string, Link>();
  readonly #ended = new Set<ID>();
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(cfg: LinkConfig) {
    this.cfg = cfg;
    this.#timer = setInterval(() => this.#sweep(), SWEEP);
  }

  get links(): readonly Link[] {
    return [...this.#links.values()];
  }

  /** The link to a device, made if need be; null when there are too many. */
  link(account: ID, device: ID): Link | null {
    const name = `${account}/${device}`;
    const known = this.#links.get(name);
    if (known !== undefined) return known;
    if (this.#links.size >= MOST_LINKS || device === this.cfg.self.device) return null;
    const link = new Link(this, account, device);
    this.#links.set(name, link);
    return link;
  }

  open(account: ID, device: ID): void {
    this.link(account, device)?.open();
  }

  handleSignal(account: ID, device: ID, s: Signal): void {
    this.link(account, device)?.signal(s, false);
  }

  signalFailed(account: ID, device: ID, link: Uint8Array): void {
    this.#links.get(`${account}/${device}`)?.failed(idFrom(link));
  }

  /** The network changed, or this device woke up. */
  networkChanged(): void {
    for (const l of this.links) l.repair();
  }

  keep(l: Link): void {
    this.#links.set(`${l.account}/${l.device}`, l);
  }

  forget(l: Link): void {
    this.#links.delete(`${l.account}/${l.device}`);
  }

  end(id: ID): void {
    this.#ended.add(id);
    const [oldest] = this.#ended;
    if (this.#ended.size > ENDED && oldest !== undefined) this.#ended.delete(oldest);
  }

  hasEnded(id: ID): boolean {
    return this.#ended.has(id);
  }

  #sweep(): void {
    const now = Date.now();
    for (const l of this.links) {
      if (l.idle(now)) l.close("idle");
      else if (l.state === "open") l.measure().catch((e: unknown) => console.warn("path", e));
      else if (l.state === "none") this.forget(l);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    for (const l of this.links) l.close("restart");
  }
}
