import type { OpenConversation, Timeline } from "./types.ts";

/** How a conversation in view asks the tab that owns the account. */
export interface Far {
  older(): void;
  markRead(seq: number, key: string | undefined): void;
  close(): void;
}

/** A conversation in view, whichever tab owns the account now. */
export class TabConversation implements OpenConversation {
  readonly conversation: string;
  readonly #far: Far;
  readonly #listeners = new Set<() => void>();
  #near: OpenConversation | null = null; // while this tab is the owner
  #timeline: Timeline;

  constructor(conversation: string, far: Far) {
    this.conversation = conversation;
    this.#far = far;
    this.#timeline = { conversation, messages: [], atStart: false, loading: true };
  }

  /** This tab owns the account now. */
  attach(near: OpenConversation): void {
    this.#near = near;
    near.subscribe(() => this.take(near.timeline()));
  }

  /** Another tab will. What is shown stays. */
  detach(): void {
    this.#near?.close();
    this.#near = null;
  }

  take(timeline: Timeline): void {
    if (timeline.loading && timeline.messages.length < this.#timeline.messages.length) return; // a new owner begins to read
    this.#timeline = timeline;
    for (const f of this.#listeners) f();
  }

  timeline(): Timeline {
    return this.#timeline;
  }

  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  async older(): Promise<void> {
    if (this.#near === null) this.#far.older();
    else await this.#near.older();
  }

  markRead(seq: number, key?: string): void {
    if (this.#near === null) this.#far.markRead(seq, key);
    else this.#near.markRead(seq, key);
  }

  close(): void {
    this.#listeners.clear();
    this.detach();
    this.#far.close();
  }
}
