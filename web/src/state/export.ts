import type { Core } from "./core.ts";
import { COUNTS_BELOW } from "./receive.ts";
import { END, type StoredMessage, type StoredPerson } from "./records.ts";

/**
 * Everything that this device may read, as one JSON file: profile, contacts, devices, and conversations with their
 * messages in order. Times are ISO 8601. Nothing in it opens the account.
 */
export async function exportAll(core: Core, base: string): Promise<Blob> {
  const parts: string[] = [];
  const head = { format: "parley-export", version: 1, exported: time(Date.now()), server: base, ...facts(core) };
  parts.push(`${JSON.stringify(head, null, 1).slice(0, -2)},\n "conversations": [`);
  let first = true;
  for (const { id } of core.conversations.values()) {
    parts.push(`${first ? "" : ","}\n`);
    first = false;
    await conversation(core, id, parts);
  }
  parts.push("\n ]\n}\n");
  return new Blob(parts, { type: "application/json" });
}

function facts(core: Core): object {
  const self = core.people.get(core.account);
  const others = [...core.people.values()].filter((p) => p.account !== core.account);
  return {
    account: { id: core.account, name: self?.nickname ?? "", userName: self?.userName ?? "" },
    devices: [...core.devices.values()]
      .filter((d) => !d.ended)
      .map((d) => ({ id: d.device, name: d.name, added: time(d.created), lastUsed: time(d.lastUsed) })),
    contacts: others.map((p) => ({
      id: p.account,
      name: p.nickname,
      userName: p.userName,
      state: p.relation,
      since: time(p.since),
    })),
  };
}

/** One conversation; its messages are read one at a time, however many they are. */
async function conversation(core: Core, id: string, parts: string[]): Promise<void> {
  const members = core.chain(core.conversations.get(id) ?? fail()).members.length;
  const other = [...core.people.values()].find((p) => p.conversation === id);
  parts.push(`  ${JSON.stringify({ id, with: other?.nickname ?? "", members }).slice(0, -1)},"messages":[`);
  let first = true;
  for await (const m of messages(core, id)) {
    parts.push(`${first ? "" : ","}\n   ${JSON.stringify(shown(core, m))}`);
    first = false;
  }
  parts.push("]}");
}

async function* messages(core: Core, id: string): AsyncGenerator<StoredMessage> {
  const range = IDBKeyRange.bound([id, 0], [id, END]);
  let cursor = await core.db.transaction("messages").store.index("place").openCursor(range);
  for (; cursor !== null; cursor = await cursor.continue()) if (cursor.value.kind < COUNTS_BELOW) yield cursor.value;
}

function shown(core: Core, m: StoredMessage): object {
  const from: StoredPerson | undefined = core.people.get(m.account);
  return { id: m.id, from: m.account, name: from?.nickname ?? "", time: time(m.time), text: m.text, state: m.status };
}

function time(ms: number): string {
  return ms > 0 ? new Date(ms).toISOString() : "";
}

function fail(): never {
  throw new Error("the conversation is gone");
}
