import { type IDBPDatabase, type IDBPTransaction, openDB } from "idb";
import type { Schema, StoredMessage, StoreName } from "./records.ts";
import { upgrade } from "./upgrade.ts";

export type Database = IDBPDatabase<Schema>;

const VERSION = 3;

/** Why the database was closed under this page. */
export type Lost = "removed" | "replaced";

/**
 * Opens the database and brings it to this version's schema. lost is called when it was closed under this page: newer
 * code in another tab changes the schema, or it is removed, by signing out or with the site's data.
 */
export function openDatabase(name: string, lost: (why: Lost) => void): Promise<Database> {
  return openDB<Schema>(name, VERSION, {
    upgrade,
    blocking: (_current, wanted, event) => {
      (event.target as IDBDatabase).close();
      lost(wanted === null ? "removed" : "replaced");
    },
    terminated: () => lost("replaced"),
  });
}

type Write = IDBPTransaction<Schema, StoreName[], "readwrite">;

/** Changes that are written together or not at all. */
export class Batch {
  readonly #stores = new Set<StoreName>();
  readonly #changes: { run(tx: Write): Promise<unknown>; alone: boolean }[] = [];

  #add(store: StoreName, run: (tx: Write) => Promise<unknown>, alone = false): this {
    this.#stores.add(store);
    this.#changes.push({ run, alone });
    return this;
  }

  put<S extends Exclude<StoreName, "meta">>(store: S, value: Schema[S]["value"]): this {
    return this.#add(store, (tx) => tx.objectStore(store as StoreName).put(value as never));
  }

  set(key: string, value: unknown): this {
    return this.#add("meta", (tx) => tx.objectStore("meta").put(value, key));
  }

  delete<S extends StoreName>(store: S, key: Schema[S]["key"]): this {
    return this.#add(store, (tx) => tx.objectStore(store as StoreName).delete(key as never));
  }

  /** Empties a store. */
  clear(store: StoreName): this {
    return this.#add(store, (tx) => tx.objectStore(store).clear());
  }

  /** Changes every message in a range of an index, one at a time however many they are, after what was put before. */
  each(
    index: "place" | "status" | "standing",
    range: IDBKeyRange,
    change: (m: StoredMessage) => StoredMessage | null,
  ): this {
    const run = async (tx: Write): Promise<void> => {
      let cursor = await tx.objectStore("messages").index(index).openCursor(range);
      for (; cursor !== null; cursor = await cursor.continue()) {
        const changed = change(cursor.value);
        if (changed !== null) await cursor.update(changed);
      }
    };
    return this.#add("messages", run, true);
  }

  /** Resolves when the browser says that it is on disk. */
  async commit(db: Database): Promise<void> {
    if (this.#changes.length === 0) return;
    const tx = db.transaction([...this.#stores], "readwrite", { durability: "strict" });
    try {
      await this.#run(tx);
    } catch (e) {
      abort(tx);
      await tx.done.catch(() => undefined);
      throw e;
    }
    await tx.done;
  }

  async #run(tx: Write): Promise<void> {
    let together: Promise<unknown>[] = [];
    for (const { run, alone } of this.#changes) {
      if (alone) {
        await Promise.all(together);
        together = [];
        await run(tx);
      } else together.push(run(tx));
    }
    await Promise.all(together);
  }
}

function abort(tx: Write): void {
  try {
    tx.abort();
  } catch {
    // it is over already
  }
}
