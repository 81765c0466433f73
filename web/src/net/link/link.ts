import { equal, own } from "../../wire/bytes.ts";
import { forbidden } from "../../wire/errors.ts";
import { type ID, idBytes, idFrom, newID } from "../../wire/ids.ts";
import { MAX_CANDIDATES } from "../../wire/limits.ts";
import { openDescription } from "../../wire/link.ts";
import type { Candidate, Description, Frame, Signal } from "../../wire/schema.ts";
import { Stopwatch } from "../stopwatch.ts";
import type { LinkConfig } from "./config.ts";
import type { Verified } from "./negotiation.ts";
import type { Path } from "./path.ts";
import { Session } from "./session.ts";

const EARLY_LINKS = 4; // link ids whose candidates may come before their offer
const RETIRE = 2_000; // ms that a replaced session is still read

/** What a link needs of its manager. */
export interface LinkOwner {
  readonly cfg: LinkConfig;
  /** A link has something to keep again. */
  keep(l: Link): void;
  /** A link has nothing left. */
  forget(l: Link): void;
  /** Whether a device may offer another link now. */
  admitsOffer(device: ID): boolean;
  /** Remembers that a session ended, so that an old offer replayed by the server starts nothing. */
  end(id: ID): void;
  hasEnded(id: ID): boolean;
}

/** The link to one device. Whatever touches its sessions runs in its queue, one after the other. */
export class Link {
  readonly account: ID;
  readonly device: ID;
  readonly #owner: LinkOwner;
  #queue: Promise<void> = Promise.resolve();
  #active: Session | null = null; // proven
  #pending: Session | null = null; // on its way; may stand beside an active one that it will replace
  #retired: Session | null = null; // replaced, and still read
  #early = new Map<ID, Candidate[]>();
  #path: Path | null = null;
  #since = 0;
  readonly #used = new Stopwatch();

  constructor(owner: LinkOwner, account: ID, device: ID) {
    this.#owner = owner;
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

  /** Time when the present session was proven, which names it. */
  get since(): number {
    return this.#since;
  }

  /** Milliseconds since something was sent or received. */
  get idle(): number {
    return this.#used.elapsed;
  }

  /** Sends a frame; false when it cannot go now. */
  send(f: Frame): boolean {
    this.#used.restart();
    return this.#active?.send(f) === true;
  }

  /** Resolves when send takes more, or when the session is over. */
  async room(): Promise<void> {
    await this.#active?.room();
  }

  /** Makes the link unless it is there or under way. */
  open(): void {
    this.#used.restart();
    this.#run(() => this.#ensure());
  }

  /** Builds the path anew: the network changed, or a direct path may be possible now. */
  repair(): void {
    this.#run(async () => this.#active?.restart());
  }

  /** Measures and publishes how the bytes travel. */
  async measure(): Promise<void> {
    const path = (await this.#active?.path()) ?? null;
    const before = this.#path;
    this.#path = path;
    if (path?.kind !== before?.kind || path?.protocol !== before?.protocol || path?.delay !== before?.delay)
      this.#owner.cfg.changed(this);
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
    this.#retired?.end(reason);
    this.#active?.end(reason);
    this.#pending?.end(reason);
  }

  #run(f: () => Promise<void>): void {
    this.#queue = this.#queue.then(f).catch((e: unknown) => console.warn("link", e));
  }

  get #polite(): boolean {
    return this.#owner.cfg.self.device < this.device;
  }

  async #ensure(): Promise<void> {
    if (this.#active !== null || this.#pending !== null) return;
    this.#pending = await this.#session(newID(), true);
    this.#owner.cfg.changed(this);
    await this.#pending.negotiate();
  }

  async #servers(): Promise<RTCIceServer[]> {
    const ice = await this.#owner.cfg.ice();
    return (ice?.servers ?? []).map((s) => ({ urls: s.urls, username: s.username, credential: s.credential }));
  }

  async #session(link: ID, own: boolean): Promise<Session> {
    const session = new Session(
      {
        ...this.#owner.cfg,
        peer: { account: this.account, device: this.device },
        link,
        servers: await this.#servers(),
        run: (f) => this.#run(f),
        renewServers: () => this.#servers(),
        proven: (s) => this.#proven(s),
        ended: (s) => this.#ended(s),
        received: (s, f) => this.#received(s, f),
        moved: () => this.#moved(),
      },
      own,
    );
    for (const c of this.#early.get(link) ?? []) await session.candidate(c);
    this.#early.delete(link);
    return session;
  }

  #moved(): void {
    this.#owner.cfg.changed(this);
    this.measure().catch((e: unknown) => console.warn("path", e));
  }

  #proven(s: Session): void {
    const old = this.#active;
    this.#active = s;
    if (this.#pending === s) this.#pending = null;
    this.#since = Math.max(this.#since + 1, Date.now());
    this.#used.restart();
    if (old !== null && old !== s) this.#retire(old);
    this.#moved();
  }

  /** Ends a session that another took the place of, after what is under way on it has arrived. */
  #retire(s: Session): void {
    this.#retired?.end("superseded");
    this.#retired = s;
    setTimeout(() => s.end("superseded"), RETIRE);
  }

  #ended(s: Session): void {
    this.#owner.end(s.id);
    if (this.#retired === s) this.#retired = null;
    if (this.#active === s) this.#active = null;
    if (this.#pending === s) this.#pending = null;
    if (this.#active === null && this.#pending === null) this.#owner.forget(this);
    this.#owner.cfg.changed(this);
  }

  #received(s: Session, f: Frame): void {
    const { kind } = f;
    if (kind.case === "signal") this.signal(kind.value, true);
    else if (kind.case === "direct" || kind.case === "directAck" || kind.case === "typing") {
      this.#used.restart();
      if (s === this.#active || s === this.#retired) this.#owner.cfg.frame(this, f);
    } // other kinds belong to the socket, or to a newer Parley
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
        await this.#tryDescription(id, s.kind.value);
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

  async #tryDescription(id: ID, d: Description): Promise<void> {
    try {
      await this.#description(id, d);
    } catch (e) {
      // A proven session ignores what it refuses: the server could otherwise end links that it has no part in.
      console.warn("description refused", e);
      const session = this.#find(id);
      if (session?.proven === false) session.end("refused");
    }
  }

  #keepEarly(id: ID, c: Candidate): void {
    if (this.#owner.hasEnded(id)) return;
    const kept = this.#early.get(id) ?? [];
    if ((kept.length === 0 && this.#early.size >= EARLY_LINKS) || kept.length >= MAX_CANDIDATES) return;
    this.#early.set(id, [...kept, c]);
  }

  async #description(id: ID, d: Description): Promise<void> {
    const v = await this.#verify(id, d);
    const session = this.#find(id) ?? (v.offerHash.length === 0 ? await this.#offered(id) : null);
    await session?.take(v);
  }

  /** Verifies a description before anything of it is used. */
  async #verify(id: ID, d: Description): Promise<Verified> {
    const { self, lists } = this.#owner.cfg;
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
    return { description: d, type, generation, offerHash, key: own(key), list };
  }

  /** The session for the first offer of a link, null when it is not taken. */
  async #offered(id: ID): Promise<Session | null> {
    if (this.#owner.hasEnded(id)) throw forbidden("an offer of a link that has ended");
    if (!this.#owner.admitsOffer(this.device)) return null;
    if (this.#pending !== null) {
      if (this.#pending.own && !this.#polite) return null; // two new links collide: ours wins
      const old = this.#pending;
      this.#pending = null;
      old.end("superseded");
    }
    this.#owner.keep(this);
    this.#pending = await this.#session(id, false);
    this.#owner.cfg.changed(this);
    return this.#pending;
  }
}
