// Locks and channels that the tabs of one browser share.
import type { TabChannel } from "../platform.ts";

interface Request {
  readonly run: () => Promise<void>;
  readonly aborted: () => boolean;
}

/** Exclusive Web Locks. */
export class Locks {
  readonly #queues = new Map<string, Request[]>();
  readonly #held = new Set<string>();

  readonly request = ((name: string, ...rest: unknown[]): Promise<unknown> => {
    const callback = rest.at(-1) as () => Promise<unknown>;
    const { signal } = (rest.length > 1 ? rest[0] : {}) as { signal?: AbortSignal };
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      let granted = false;
      signal?.addEventListener("abort", () => {
        if (!granted) reject(signal.reason);
      });
      const run = async (): Promise<void> => {
        granted = true;
        try {
          resolve(await callback());
        } catch (e) {
          reject(e);
        }
      };
      const queue = this.#queues.get(name) ?? [];
      queue.push({ run, aborted: () => signal?.aborted === true && !granted });
      this.#queues.set(name, queue);
      queueMicrotask(() => this.#next(name));
    });
  }) as LockManager["request"];

  #next(name: string): void {
    if (this.#held.has(name)) return;
    const queue = this.#queues.get(name) ?? [];
    let request = queue.shift();
    while (request?.aborted() === true) request = queue.shift();
    if (request === undefined) return;
    this.#held.add(name);
    request.run().finally(() => {
      this.#held.delete(name);
      this.#next(name);
    });
  }
}

/** The BroadcastChannels of one browser. */
export class Channels {
  readonly #open = new Map<string, Set<Channel>>();

  channel(name: string): Channel {
    const all = this.#open.get(name) ?? new Set();
    this.#open.set(name, all);
    const made = new Channel(all);
    all.add(made);
    return made;
  }
}

export class Channel implements TabChannel {
  readonly #all: Set<Channel>;
  onmessage: ((e: MessageEvent) => unknown) | null = null;
  /** A test may lose what the tab says. */
  muted: (m: unknown) => boolean = () => false;

  constructor(all: Set<Channel>) {
    this.#all = all;
  }

  postMessage(m: unknown): void {
    if (!this.#all.has(this) || this.muted(m)) return;
    for (const other of this.#all) {
      if (other === this) continue;
      const data = structuredClone(m);
      setTimeout(() => {
        if (this.#all.has(other)) other.onmessage?.({ data } as MessageEvent);
      });
    }
  }

  close(): void {
    this.#all.delete(this);
  }
}
