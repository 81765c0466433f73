import { create } from "@bufbuild/protobuf";
import type { Link } from "../net/link/link.ts";
import { DirectSchema, FrameSchema } from "../wire/schema.ts";
import type { Core } from "./core.ts";
import type { StoredMessage } from "./records.ts";
import { envelopeOf } from "./write.ts";

/** Messages read at once. */
const PAGE = 20;
/** Milliseconds between two attempts at a channel that takes nothing. */
const PAUSE = 20;

/**
 * Gives a device over its link what waits in the outbox: each message once for each time that the link opens, in order
 * in each conversation, and no faster than the link takes them.
 */
export class Feed {
  readonly #core: Core;
  readonly #link: Link;
  readonly #given = new Map<string, number>(); // conversation → arrival of the last one given
  #since = 0; // of the link's session that was fed
  readonly #wanted = new Set<string>(); // conversations
  #running = false;

  constructor(core: Core, link: Link) {
    this.#core = core;
    this.#link = link;
  }

  /** Something waits in these conversations. */
  kick(conversations: readonly string[]): void {
    for (const id of conversations) this.#wanted.add(id);
    if (!this.#running) this.#run().catch((e: unknown) => console.warn("feed", e));
  }

  /** Begins anew if the link opened since it was asked last; says whether it did. */
  renewed(): boolean {
    if (this.#link.state !== "open" || this.#link.since === this.#since) return false;
    this.#since = this.#link.since;
    this.#given.clear(); // what the session before lost is given again
    return true;
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      while (this.#link.state === "open") {
        const [id] = this.#wanted;
        if (id === undefined) return;
        this.#wanted.delete(id);
        await this.#conversation(id);
      }
    } finally {
      this.#running = false;
    }
  }

  async #conversation(id: string): Promise<void> {
    for (;;) {
      const page = await this.#core.standing(id, "waiting", this.#given.get(id) ?? 0, PAGE);
      for (const m of page) if (!(await this.#give(m))) return;
      if (page.length < PAGE) return;
    }
  }

  /** Gives a message as soon as there is room; false when the link is over. */
  async #give(m: StoredMessage): Promise<boolean> {
    while (!m.acked && !sendOver(this.#link, m)) {
      if (this.#link.state !== "open" || this.#link.since !== this.#since) return false;
      await this.#link.room();
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    this.#given.set(m.conversation, m.arrival);
    return true;
  }
}

function sendOver(link: Link, m: StoredMessage): boolean {
  const envelope = envelopeOf(m);
  if (envelope === null) return true; // it has to be sealed again first: the relay brings it
  const value = create(DirectSchema, { envelopes: [envelope] });
  return link.send(create(FrameSchema, { kind: { case: "direct", value } }));
}
