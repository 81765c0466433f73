import { idFrom } from "../wire/ids.ts";
import { PresenceState, type Presences, type Typing } from "../wire/schema.ts";
import type { Core } from "./core.ts";
import type { PresenceKind } from "./types.ts";
import type { Presence } from "./views.ts";

/** Milliseconds that somebody is shown to write after the last sign of it. */
const TYPING_SHOWN = 6_000;
/** Connected devices of an account that are remembered. */
const MOST_DEVICES = 64;

const kinds: Partial<Record<PresenceState, PresenceKind>> = {
  [PresenceState.ONLINE]: "online",
  [PresenceState.AWAY]: "away",
};

/** What is known of others for the moment only: who is there, and who writes. Nothing of it is stored. */
export class Live {
  readonly #core: Core;
  readonly #changed: () => void;
  readonly #presence = new Map<string, Presence>();
  readonly #typing = new Map<string, ReturnType<typeof setTimeout>>(); // conversation → until when

  constructor(core: Core, changed: () => void) {
    this.#core = core;
    this.#changed = changed;
  }

  presence(account: string): Presence | undefined {
    return this.#presence.get(account);
  }

  isTyping(conversation: string): boolean {
    return this.#typing.has(conversation);
  }

  /** Takes what the server says of people; of strangers nothing is kept. */
  arrived(presences: Presences["presences"]): void {
    for (const p of presences) {
      const account = idFrom(p.account);
      if (!this.#core.people.has(account)) continue;
      const devices = p.devices.slice(0, MOST_DEVICES).map((d) => idFrom(d.device));
      this.#presence.set(account, { kind: kinds[p.state] ?? "offline", lastSeen: Number(p.lastSeenMs), devices });
    }
    this.#changed();
  }

  /** The server is away: nobody says who is there. */
  lost(): void {
    this.#presence.clear();
  }

  typing(t: Typing): void {
    const id = idFrom(t.conversation);
    if (!this.#core.conversations.has(id)) return;
    this.#forget(id);
    if (!t.stopped)
      this.#typing.set(
        id,
        setTimeout(() => this.stopped(id), TYPING_SHOWN),
      );
    this.#changed();
  }

  /** Nobody writes in a conversation any more. */
  stopped(conversation: string): void {
    if (this.#forget(conversation)) this.#changed();
  }

  #forget(conversation: string): boolean {
    const running = this.#typing.get(conversation);
    if (running !== undefined) clearTimeout(running);
    return this.#typing.delete(conversation);
  }

  close(): void {
    for (const id of [...this.#typing.keys()]) this.#forget(id);
  }
}
