import type { Core } from "./core.ts";
import type { StoredMessage } from "./records.ts";
import type { MessageView, OpenConversation, Timeline } from "./types.ts";
import { messageView, standsAt, tail } from "./views.ts";

const PAGE = 50;

export interface TimelineConfig {
  readonly core: Core;
  readonly conversation: string;
  /** Messages that arrived from then on count as live. */
  readonly since: number;
  /** Messages that are shown at first, at least. */
  readonly atLeast: number;
  markRead(seq: number, arrival: number): void;
  closed(t: OpenTimeline): void;
}

/** The newest part of a conversation, kept up to date while it is open. */
export class OpenTimeline implements OpenConversation {
  readonly #cfg: TimelineConfig;
  readonly #listeners = new Set<() => void>();
  #limit: number;
  #stored: StoredMessage[] = [];
  #timeline: Timeline;
  #reading: Promise<void> = Promise.resolve();

  constructor(cfg: TimelineConfig) {
    this.#cfg = cfg;
    this.#limit = Math.max(PAGE, cfg.atLeast);
    this.#timeline = { conversation: cfg.conversation, messages: [], atStart: false, loading: true };
    this.refresh();
  }

  get conversation(): string {
    return this.#cfg.conversation;
  }

  timeline(): Timeline {
    return this.#timeline;
  }

  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  /** Reads the stored messages again. */
  refresh(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#read()).catch((e: unknown) => console.error("timeline", e));
    return this.#reading;
  }

  async #read(): Promise<void> {
    const { core, conversation, since } = this.#cfg;
    const row = core.conversations.get(conversation);
    if (row === undefined) return;
    const before = this.#stored[0];
    let read = await tail(core, conversation, this.#limit);
    if (before !== undefined && !read.all && !read.messages.some((m) => sameMessage(m, before))) {
      this.#limit = Math.max(this.#limit, await standsAt(core, before)); // what is in view stays, whatever came
      read = await tail(core, conversation, this.#limit);
    }
    this.#stored = read.messages;
    this.#publish({
      conversation,
      messages: this.#views(read.messages.map((m) => messageView(core, row, m, since))),
      atStart: read.all,
      loading: false,
    });
  }

  /** What did not change stays the same object, so that it is not drawn again. */
  #views(messages: MessageView[]): MessageView[] {
    const known = new Map(this.#timeline.messages.map((m) => [m.key, m]));
    return messages.map((m) => {
      const before = known.get(m.key);
      return before !== undefined && sameView(before, m) ? before : m;
    });
  }

  #publish(t: Timeline): void {
    this.#timeline = t;
    for (const f of this.#listeners) f();
  }

  async older(): Promise<void> {
    if (this.#timeline.atStart || this.#timeline.loading) return;
    this.#limit += PAGE;
    this.#publish({ ...this.#timeline, loading: true });
    await this.refresh();
  }

  markRead(seq: number, key?: string): void {
    this.#cfg.markRead(seq, key === undefined ? this.#seenBelow(seq) : this.#arrivalOf(key));
  }

  /** Until which arrival everything was seen, when the message of this key was; 0 if its number says so. */
  #arrivalOf(key: string): number {
    const m = this.#stored.find((one) => `${one.device}/${one.id}` === key);
    return m === undefined || m.seq > 0 ? 0 : m.arrival;
  }

  /** Whoever saw the last numbered message is taken to see those behind it, which have no number to tell. */
  #seenBelow(seq: number): number {
    const last = this.#stored.at(-1);
    const numbered = this.#stored.findLast((m) => m.seq > 0)?.seq ?? 0;
    return last !== undefined && last.seq === 0 && seq >= numbered ? last.arrival : 0;
  }

  close(): void {
    this.#listeners.clear();
    this.#cfg.closed(this);
  }
}

function sameMessage(a: StoredMessage, b: StoredMessage): boolean {
  return a.id === b.id && a.device === b.device;
}

function sameView(a: MessageView, b: MessageView): boolean {
  return (Object.keys(b) as (keyof MessageView)[]).every((field) => a[field] === b[field]);
}
