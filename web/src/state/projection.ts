import type { SocketState } from "../net/socket.ts";
import { keyPlace } from "./authority.ts";
import type { Changes, Core } from "./core.ts";
import type { Live } from "./live.ts";
import type { Settings } from "./settings.ts";
import type { OpenTimeline } from "./timeline.ts";
import type { AskingDevice, Connection, ConversationRow, LinkView, Person, View } from "./types.ts";
import { absent, avatarPath, conversationRow, invitationView, personView, type RowFacts, rowFacts } from "./views.ts";

export interface ProjectionConfig {
  readonly core: Core;
  readonly live: Live;
  /** The server's origin. */
  readonly base: string;
  /** Whether there is a network at all. */
  online(): boolean;
  /** The best link to a person. */
  linkTo(account: string): LinkView;
  readonly settings: Settings;
  /** New devices that ask to be let in. */
  asking(): readonly AskingDevice[];
}

const none: RowFacts = { unread: 0, preview: null, waiting: 0 };

/** What the interface sees of the state, built anew after changes and told once for all that change together. */
export class Projection {
  readonly #cfg: ProjectionConfig;
  readonly #listeners = new Set<() => void>();
  readonly #timelines = new Set<OpenTimeline>();
  readonly #facts = new Map<string, RowFacts>();
  readonly #dirty = new Set<string>(); // conversations to be read again
  #reading = false;
  #telling = false;
  #socket: SocketState = { kind: "connecting" };
  #view: View | null = null; // null: out of date

  constructor(cfg: ProjectionConfig) {
    this.#cfg = cfg;
  }

  /** Reads what the list of conversations needs. */
  async load(): Promise<void> {
    await Promise.all([...this.#cfg.core.conversations.keys()].map((id) => this.#read(id)));
    this.#view = null;
  }

  get timelines(): ReadonlySet<OpenTimeline> {
    return this.#timelines;
  }

  add(t: OpenTimeline): void {
    this.#timelines.add(t);
  }

  remove(t: OpenTimeline): void {
    this.#timelines.delete(t);
  }

  set socket(s: SocketState) {
    this.#socket = s;
    this.changed();
  }

  get socket(): SocketState {
    return this.#socket;
  }

  view(): View {
    this.#view ??= this.#build();
    return this.#view;
  }

  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  /** Shows nothing of the account any more. */
  blank(): void {
    for (const t of [...this.#timelines]) t.close();
    this.#facts.clear();
    this.changed();
  }

  /** Something that is shown changed in memory. */
  changed(): void {
    this.#view = null;
    if (this.#telling) return;
    this.#telling = true;
    queueMicrotask(() => {
      this.#telling = false;
      for (const f of this.#listeners) f();
    });
  }

  /** Something that is shown changed in the stored state. */
  stored(c: Changes): void {
    for (const id of c.conversations) this.#dirty.add(id);
    this.changed();
    if (!this.#reading) this.#readDirty().catch((e: unknown) => console.error("read", e));
  }

  /** Reads changed conversations until none is left: what changes meanwhile is read once, not once a change. */
  async #readDirty(): Promise<void> {
    this.#reading = true;
    try {
      while (this.#dirty.size > 0) {
        const ids = [...this.#dirty];
        this.#dirty.clear();
        const open = [...this.#timelines].filter((t) => ids.includes(t.conversation));
        await Promise.all([...ids.map((id) => this.#read(id)), ...open.map((t) => t.refresh())]);
        this.changed();
      }
    } finally {
      this.#reading = false;
    }
  }

  async #read(id: string): Promise<void> {
    const row = this.#cfg.core.conversations.get(id);
    if (row !== undefined) this.#facts.set(id, await rowFacts(this.#cfg.core, row));
  }

  #connection(): Connection {
    const s = this.#socket;
    const settled = s.kind === "connected" || s.kind === "signed-out" || s.kind === "superseded";
    return settled || this.#cfg.online() ? s : { kind: "offline" };
  }

  #build(): View {
    const { core, live, base, settings, asking } = this.#cfg;
    const people: Record<string, Person> = {};
    for (const p of core.people.values())
      people[p.account] = personView(core, p, settings.person(p.account), live.presence(p.account) ?? absent);
    const self = core.people.get(core.account);
    return {
      me: {
        account: core.account,
        device: core.device,
        name: self?.nickname || core.profile.userName,
        avatar: avatarPath(self),
        userName: self?.userName || core.profile.userName,
        admin: self?.admin ?? false,
        host: new URL(base).host,
        keys: keyPlace(core),
        earlier: core.profile.accountKeys.length > 0 && core.profile.accountKeys.every((k) => k.generation > 1), // the first was 1
        recovery: self?.recovery ?? false,
      },
      connection: this.#connection(),
      people,
      conversations: this.#rows(),
      invitations: [...core.invitations.values()].map(invitationView),
      devices: [...core.devices.values()]
        .filter((d) => !d.ended)
        .map(({ device, name, created, lastUsed, address = "" }) => ({
          id: device,
          name,
          created,
          lastUsed,
          address,
          current: device === core.device,
        })),
      asking: asking(),
      inviteDismissed: false,
      hideAddress: settings.hideAddress,
      privacy: core.privacy,
    };
  }

  #rows(): ConversationRow[] {
    const { core, live, linkTo } = this.#cfg;
    const links = new Map<string, LinkView>();
    for (const p of core.people.values()) if (p.conversation !== "") links.set(p.conversation, linkTo(p.account));
    const rows: ConversationRow[] = [];
    for (const row of core.conversations.values()) {
      const link = links.get(row.id);
      if (link === undefined) continue; // nobody of whom this is the conversation
      const shown = conversationRow(core, row, this.#facts.get(row.id) ?? none, live.isTyping(row.id), link);
      if (shown !== null) rows.push(shown);
    }
    return rows.sort((a, b) => b.time - a.time);
  }
}
