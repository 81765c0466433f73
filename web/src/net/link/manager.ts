import { type ID, idFrom } from "../../wire/ids.ts";
import type { Signal } from "../../wire/schema.ts";
import { Stopwatch } from "../stopwatch.ts";
import type { LinkConfig } from "./config.ts";
import { Link, type LinkOwner } from "./link.ts";

const MOST_LINKS = 64;
const ENDED = 256; // link ids remembered
const OFFERS = 20; // that a device may make in a minute
const MOST_OFFERERS = 256; // devices whose offers are counted; beyond that they are counted anew
// Times in milliseconds.
const IDLE = 5 * 60_000;
const EMPTY = 30_000; // life of a link that signals made and that came to nothing
const SWEEP = 5_000;
const MINUTE = 60_000;
const SLEPT = 90_000; // a sweep that comes so late shows that the computer slept; hidden pages wait up to a minute

/** Keeps this device's links, one to a device. */
export class LinkManager implements LinkOwner {
  readonly cfg: LinkConfig;
  readonly #links = new Map<string, Link>();
  readonly #ended = new Set<ID>();
  readonly #offers = new Map<ID, number[]>(); // device → times of those taken lately; outlives its links
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #swept = new Stopwatch();

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
    const name = `${l.account}/${l.device}`;
    if (this.#links.get(name) === l) this.#links.delete(name);
  }

  admitsOffer(device: ID): boolean {
    const now = performance.now();
    const lately = (this.#offers.get(device) ?? []).filter((t) => now - t < MINUTE);
    if (lately.length >= OFFERS) return false;
    if (this.#offers.size >= MOST_OFFERERS) this.#offers.clear();
    this.#offers.set(device, [...lately, now]);
    return true;
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
    if (this.#swept.elapsed > SLEPT) this.networkChanged();
    this.#swept.restart();
    for (const l of this.links) {
      if (l.state === "none") {
        if (l.idle > EMPTY) this.forget(l);
      } else if (l.idle > IDLE) l.close("idle");
      else if (l.state === "open") l.measure().catch((e: unknown) => console.warn("path", e));
    }
  }

  close(): void {
    clearInterval(this.#timer);
    for (const l of this.links) l.close("restart");
  }
}
