import { create } from "@bufbuild/protobuf";
import { OfflineError } from "../net/connection.ts";
import { type ID, idBytes } from "../wire/ids.ts";
import { CursorSchema } from "../wire/schema.ts";
import type { Ask } from "./sync.ts";

interface Mark {
  delivered: number;
  read: number;
}

/**
 * Tells the relay how far this device and its account are, one request at a time for each conversation: what moves
 * meanwhile goes with the next. What cannot be told now is told after the next greeting, which shows what the relay has.
 */
export class Cursors {
  readonly #ask: Ask;
  readonly #wanted = new Map<string, Mark>();
  readonly #telling = new Set<string>();

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** Everything up to seq is durably stored here. */
  delivered(conversation: string, seq: number): void {
    this.#want(conversation, { delivered: seq, read: 0 });
  }

  /** Everything up to seq was seen. */
  read(conversation: string, seq: number): void {
    this.#want(conversation, { delivered: 0, read: seq });
  }

  #want(conversation: string, more: Mark): void {
    const now = this.#wanted.get(conversation) ?? { delivered: 0, read: 0 };
    this.#wanted.set(conversation, {
      delivered: Math.max(now.delivered, more.delivered),
      read: Math.max(now.read, more.read),
    });
    if (this.#telling.has(conversation)) return;
    this.#telling.add(conversation);
    this.#tell(conversation)
      .catch((e: unknown) => {
        if (!(e instanceof OfflineError)) console.warn("cursor", e);
      })
      .finally(() => this.#telling.delete(conversation));
  }

  async #tell(conversation: string): Promise<void> {
    for (;;) {
      const mark = this.#wanted.get(conversation);
      if (mark === undefined) return;
      this.#wanted.delete(conversation);
      const value = create(CursorSchema, {
        conversation: idBytes(conversation as ID),
        deliveredSeq: BigInt(mark.delivered),
        readSeq: BigInt(mark.read),
      });
      await this.#ask({ case: "cursor", value }, "ok");
    }
  }
}
