import { create } from "@bufbuild/protobuf";
import type { Rest } from "../net/rest.ts";
import { type FrameKind, OfflineError, Socket, type SocketState } from "../net/socket.ts";
import { own } from "../wire/bytes.ts";
import { type ID, idBytes, idFrom, pairID } from "../wire/ids.ts";
import { newInvitation } from "../wire/invitation.ts";
import { cleanNickname } from "../wire/names.ts";
import {
  AcceptInvitationSchema,
  type AccountChanges,
  AnswerContactSchema,
  AskContactSchema,
  ContactState,
  CreateInvitationSchema,
  CursorSchema,
  FindAccountSchema,
  HelloSchema,
  InvitationSchema,
  InvitationSecretPartSchema,
  PresenceState,
  type Presences,
  RevokeInvitationSchema,
  SetPresenceSchema,
  SetProfileSchema,
  type Typing,
  TypingSchema,
} from "../wire/schema.ts";
import { signMessage } from "../wire/sign.ts";
import { Label } from "../wire/tuple.ts";
import { changePassword, openInviter, renewSession } from "./account.ts";
import { firstCommit } from "./commits.ts";
import type { Changes, Core } from "./core.ts";
import { Direct } from "./direct.ts";
import { command } from "./failures.ts";
import { Outbox, update, writeText } from "./outbox.ts";
import { applyContact, learnList } from "./people.ts";
import { type Ask, Sync } from "./sync.ts";
import { OpenTimeline } from "./timeline.ts";
import {
  CommandError,
  type Connection,
  type ConversationRow,
  type Invitation,
  type LinkView,
  type MessageView,
  type OpenConversation,
  type Person,
  type Session,
  type View,
} from "./types.ts";
import { absent, conversationRow, type Presence, personView, type RowFacts, rowFacts } from "./views.ts";

const TYPING_SHOWN = 6_000; // ms after the last sign of it
const TYPING_EVERY = 3_000;
const AWAY_AFTER = 5 * 60_000;
const DAY = 86_400_000;

export interface EngineConfig {
  readonly core: Core;
  readonly rest: Rest;
  /** The server's origin. */
  readonly base: string;
  readonly version: string;
  /** Removes everything from this browser. */
  forget(): Promise<void>;
}

/** The one tab's session that owns socket, counter and outbox. */
export class Engine implements Session {
  readonly #cfg: EngineConfig;
  readonly #core: Core;
  readonly #socket: Socket;
  readonly #sync: Sync;
  readonly #outbox: Outbox;
  #direct: Direct | null = null;
  readonly #listeners = new Set<() => void>();
  readonly #timelines = new Set<OpenTimeline>();
  readonly #presence = new Map<string, Presence>();
  readonly #typing = new Map<string, ReturnType<typeof setTimeout>>(); // conversation → until when
  readonly #facts = new Map<string, RowFacts>();
  readonly #since = Date.now();
  #connection: SocketState = { kind: "connecting" };
  #greeting = false;
  #view: View;
  #stale = false;
  #typed = 0;
  #lastActive = Date.now();
  #away = false;
  readonly #awayTimer: ReturnType<typeof setInterval>;
  readonly #online = (): void => {
    this.#socket.retryNow();
    this.#direct?.networkChanged();
  };
  readonly #offline = (): void => this.#changed();

  private constructor(cfg: EngineConfig) {
    this.#cfg = cfg;
    this.#core = cfg.core;
    const ask = this.#asker();
    this.#sync = new Sync(cfg.core, ask, (e) => console.warn("sync", e));
    this.#socket = new Socket({
      base: cfg.base,
      hello: () =>
        create(HelloSchema, { version: 1, client: `web ${cfg.version}`, accountVersion: this.#sync.version }),
      welcome: async (w) => {
        this.#greeting = true;
        try {
          if (this.#direct !== null) this.#direct.ice = w.ice;
          this.#applyPresences(w.presences);
          await this.#sync.welcome(w);
        } finally {
          this.#greeting = false;
        }
      },
      push: (kind) => this.#push(kind),
      state: (s) => this.#connected(s),
      renew: () => renewSession(cfg.rest, cfg.base, cfg.core.profile),
    });
    this.#outbox = new Outbox({
      core: cfg.core,
      ask,
      connected: () => this.#socket.connected && !this.#greeting,
      fresh: (conversation, needsEpoch) => this.#sync.fresh(conversation, needsEpoch),
    });
    cfg.core.changed = (c) => this.#stored(c);
    this.#view = this.#build();
    this.#awayTimer = setInterval(() => this.#checkAway(), AWAY_AFTER / 10);
  }

  /** Starts to connect. */
  static async start(cfg: EngineConfig): Promise<Engine> {
    const engine = new Engine(cfg);
    await engine.#sync.load();
    engine.#direct = await Direct.start({
      core: cfg.core,
      base: cfg.base,
      ask: engine.#ask,
      connected: () => engine.#socket.connected,
      presence: (account) => engine.#presence.get(account),
      lists: (account) => engine.#sync.lists(account),
      typing: (t) => engine.#applyTyping(t),
      changed: () => engine.#changed(),
    });
    await Promise.all([...cfg.core.conversations.keys()].map((id) => engine.#readFacts(id)));
    engine.#view = engine.#build();
    globalThis.addEventListener("online", engine.#online);
    globalThis.addEventListener("offline", engine.#offline);
    engine.#socket.run().catch((e: unknown) => console.error("socket", e));
    return engine;
  }

  /** Ends the connection. What is in the outbox stays there. */
  stop(): void {
    globalThis.removeEventListener("online", this.#online);
    globalThis.removeEventListener("offline", this.#offline);
    clearInterval(this.#awayTimer);
    this.#direct?.close();
    this.#outbox.close();
    this.#socket.close();
  }

  #asker(): Ask {
    return async (request, answer) => {
      const got = await this.#socket.ask(request);
      if (got.case !== answer) throw new OfflineError();
      return got.value as never; // the case was compared
    };
  }

  // What happens

  async #push(kind: FrameKind): Promise<void> {
    switch (kind.case) {
      case "events":
        return this.#sync.events(kind.value.events);
      case "accountChanges":
        return this.#sync.changes(kind.value);
      case "cursorMoved":
        return this.#sync.cursor(kind.value);
      case "grantNeeded":
        return this.#sync.grantNeeded(idFrom(kind.value.conversation), kind.value.epoch, idFrom(kind.value.account));
      case "grantAdded":
        return this.#sync.grantAdded(kind.value);
      case "presences":
        return this.#applyPresences((kind.value satisfies Presences).presences);
      case "typing":
        return this.#applyTyping(kind.value);
      case "signalFrom":
        return this.#direct?.signal(kind.value);
      default: // a newer server's frame: nothing that this version would miss
    }
  }

  #connected(s: SocketState): void {
    this.#connection = s;
    if (s.kind === "connected") {
      this.#outbox.kick();
      if (this.#away) this.#tellPresence();
    } else this.#presence.clear();
    this.#changed();
  }

  #applyPresences(presences: Presences["presences"]): void {
    for (const p of presences) {
      const kind = p.state === PresenceState.ONLINE ? "online" : p.state === PresenceState.AWAY ? "away" : "offline";
      const devices = p.devices.map((d) => idFrom(d.device));
      this.#presence.set(idFrom(p.account), { kind, lastSeen: Number(p.lastSeenMs), devices });
    }
    this.#keepLinks();
    this.#changed();
  }

  /** Links to the people in view are worth having. */
  #keepLinks(): void {
    for (const t of this.#timelines) this.#direct?.view(t.conversation);
  }

  #applyTyping(t: Typing): void {
    const id = idFrom(t.conversation);
    const running = this.#typing.get(id);
    if (running !== undefined) clearTimeout(running);
    this.#typing.delete(id);
    const stop = (): void => {
      this.#typing.delete(id);
      this.#changed();
    };
    if (!t.stopped) this.#typing.set(id, setTimeout(stop, TYPING_SHOWN));
    this.#changed();
  }

  #stored(c: Changes): void {
    for (const m of c.arrived) {
      const typing = this.#typing.get(m.conversation);
      if (typing !== undefined) clearTimeout(typing);
      this.#typing.delete(m.conversation);
    }
    const read: Promise<void>[] = [...c.conversations].map((id) => this.#readFacts(id));
    if (this.#direct !== null) read.push(this.#direct.refresh());
    for (const t of this.#timelines) if (c.conversations.has(t.conversation)) read.push(t.refresh());
    Promise.all(read).then(
      () => this.#changed(),
      (e: unknown) => console.error("read", e),
    );
    this.#changed();
  }

  async #readFacts(id: string): Promise<void> {
    const row = this.#core.conversations.get(id);
    if (row !== undefined) this.#facts.set(id, await rowFacts(this.#core, row));
  }

  // What is seen

  view(): View {
    if (this.#stale) {
      this.#stale = false;
      this.#view = this.#build();
    }
    return this.#view;
  }

  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  /** Tells the listeners once for everything that changes now. */
  #changed(): void {
    if (this.#stale) return;
    this.#stale = true;
    queueMicrotask(() => {
      for (const f of this.#listeners) f();
      this.#stale ||= false;
    });
  }

  #connectionView(): Connection {
    const s = this.#connection;
    if (s.kind !== "connected" && s.kind !== "signed-out" && s.kind !== "superseded" && !navigator.onLine)
      return { kind: "offline" };
    return s;
  }

  #build(): View {
    const core = this.#core;
    const people: Record<string, Person> = {};
    for (const p of core.people.values()) people[p.account] = personView(p, this.#presence.get(p.account) ?? absent);
    const conversations: ConversationRow[] = [];
    for (const row of core.conversations.values()) {
      const facts = this.#facts.get(row.id) ?? { unread: 0, preview: null, waiting: 0 };
      const view = conversationRow(core, row, facts, this.#typing.has(row.id), this.#link(row.id));
      if (view !== null) conversations.push(view);
    }
    conversations.sort((a, b) => b.time - a.time);
    const self = core.people.get(core.account);
    return {
      me: {
        account: core.account,
        device: core.device,
        name: self?.nickname || core.profile.userName,
        userName: self?.userName || core.profile.userName,
        admin: false,
        host: new URL(this.#cfg.base).host,
      },
      connection: this.#connectionView(),
      people,
      conversations,
      invitations: [...core.invitations.values()].map(({ code, link, usesLeft, expires, revoked }) => ({
        code,
        link,
        usesLeft,
        expires,
        revoked,
      })),
      devices: [],
      inviteDismissed: false,
    };
  }

  #link(conversation: string): LinkView {
    const path = this.#connection.kind === "connected" ? "relay" : "waiting";
    const none: LinkView = { state: "none", path, delay: 0, protocol: "", port: 0, since: 0 };
    for (const p of this.#core.people.values()) {
      if (p.conversation === conversation) return this.#direct?.linkTo(p.account) ?? none;
    }
    return none;
  }

  // What a person does

  open(conversation: string): OpenConversation {
    const t = new OpenTimeline({
      core: this.#core,
      conversation,
      since: this.#since,
      markRead: (seq, arrival) => this.#markRead(conversation, seq, arrival),
      closed: (closed) => this.#timelines.delete(closed),
    });
    this.#timelines.add(t);
    this.#direct?.view(conversation);
    return t;
  }

  #markRead(conversation: string, seq: number, arrival: number): void {
    const now = this.#core.conversations.get(conversation);
    if (now === undefined || (seq <= now.readSeq && arrival <= now.seen)) return;
    const further = seq > now.readSeq;
    this.#core
      .step(async (s) => {
        const row = s.conversation(conversation);
        if (row === null) return;
        row.readSeq = Math.max(row.readSeq, seq);
        row.seen = Math.max(row.seen, arrival);
        s.saveConversation(row);
      })
      .catch((e: unknown) => console.error("read mark", e));
    if (!further) return;
    const value = create(CursorSchema, {
      conversation: idBytes(conversation as ID),
      deliveredSeq: BigInt(seq),
      readSeq: BigInt(seq),
    });
    this.#socket.ask({ case: "cursor", value }).catch(() => undefined); // the next one covers it
  }

  async send(conversation: string, text: string): Promise<void> {
    const m = await command(() => writeText(this.#core, conversation, text));
    this.#direct?.offer(m);
    this.#outbox.kick();
  }

  async retry(message: MessageView): Promise<void> {
    await this.#own(message, (m) => {
      if (m.status === "failed") {
        m.status = "waiting";
        m.failure = "";
      }
    });
    this.#outbox.kick();
  }

  async discard(message: MessageView): Promise<void> {
    const [device] = message.key.split("/");
    if (message.state !== "failed" || device === undefined) return;
    await command(() =>
      this.#core.step(async (s) => {
        await this.#core.db.delete("messages", [message.conversation, device, message.id]);
        s.conversations.add(message.conversation);
      }),
    );
  }

  #own(message: MessageView, change: Parameters<typeof update>[2]): Promise<void> {
    const [device] = message.key.split("/");
    const stored = { conversation: message.conversation, device: device ?? "", id: message.id };
    return command(() => update(this.#core, stored, change));
  }

  typing(conversation: string, writing: boolean): void {
    const now = Date.now();
    if (writing && now - this.#typed < TYPING_EVERY) return;
    this.#typed = writing ? now : 0;
    const value = create(TypingSchema, { conversation: idBytes(conversation as ID), stopped: !writing });
    this.#socket.tell({ case: "typing", value });
  }

  setDraft(conversation: string, text: string): void {
    this.#core
      .step(async (s) => {
        const row = s.conversation(conversation);
        if (row === null || row.draft === text) return;
        row.draft = text;
        s.saveConversation(row);
      })
      .catch((e: unknown) => console.error("draft", e));
  }

  find(name: string): Promise<Person> {
    return command(async () => {
      const found = await this.#ask({ case: "findAccount", value: create(FindAccountSchema, { name }) }, "found");
      const { contact } = found;
      if (contact?.profile === undefined) throw new CommandError("not-found");
      const known = this.#core.people.get(idFrom(contact.profile.account));
      if (known !== undefined && contact.state !== ContactState.ASKING)
        return personView(known, this.#presence.get(known.account) ?? absent);
      return this.#core.step(async (s) => {
        await applyContact(s, contact);
        return personView(s.person(idFrom(contact.profile?.account ?? new Uint8Array())), absent);
      });
    });
  }

  get #ask(): Ask {
    return this.#asker();
  }

  /** Sends a request whose answer is what it changed in the account, and takes that. */
  async #change(request: FrameKind): Promise<void> {
    const changes: AccountChanges = await this.#ask(request, "accountChanges");
    await this.#sync.changes(changes);
  }

  ask(account: string, note: string): Promise<void> {
    return command(() =>
      this.#change({ case: "askContact", value: create(AskContactSchema, { account: idBytes(account as ID), note }) }),
    );
  }

  accept(account: string): Promise<void> {
    return command(async () => {
      const first = await firstCommit(this.#core, account as ID, null);
      const value = create(AnswerContactSchema, { account: idBytes(account as ID), accept: true, firstCommit: first });
      await this.#change({ case: "answerContact", value });
    });
  }

  decline(account: string): Promise<void> {
    return command(() =>
      this.#change({ case: "answerContact", value: create(AnswerContactSchema, { account: idBytes(account as ID) }) }),
    );
  }

  invite(uses: number, days: number): Promise<Invitation> {
    return command(async () => {
      const { core } = this;
      const secret = newInvitation();
      const self = core.people.get(core.account);
      const expires = Date.now() + days * DAY;
      const invitation = create(InvitationSchema, {
        code: secret.code,
        account: idBytes(core.account),
        device: idBytes(core.device),
        linkKey: (await secret.linkKey()).publicKey,
        expiresMs: BigInt(expires),
        uses,
      });
      const signed = await signMessage(core.profile.signKey, Label.invitation, InvitationSchema, invitation);
      const sealed = await secret.seal(
        create(InvitationSecretPartSchema, {
          account: idBytes(core.account),
          identityKey: self?.identityKey ?? new Uint8Array(),
          nickname: self?.nickname ?? "",
        }),
      );
      const link = this.#cfg.base + secret.path();
      await core.step(async (s) => {
        s.saveInvitation({ code: secret.code, link, body: own(signed.body), usesLeft: uses, expires, revoked: false });
      });
      await this.#change({
        case: "createInvitation",
        value: create(CreateInvitationSchema, { invitation: signed, sealed }),
      });
      return { code: secret.code, link, usesLeft: uses, expires, revoked: false };
    });
  }

  get core(): Core {
    return this.#core;
  }

  revokeInvitation(code: string): Promise<void> {
    return command(() => this.#change({ case: "revokeInvitation", value: create(RevokeInvitationSchema, { code }) }));
  }

  join(link: string): Promise<string> {
    return command(async () => {
      const inviter = await openInviter(this.#cfg.rest, link);
      const { core } = this;
      if (inviter.account === core.account) throw new CommandError("not-found", "this is your own invitation");
      await core.step(async (s) => {
        const p = s.person(inviter.account);
        p.nickname ||= inviter.nickname;
        await learnList(s, p, inviter.list.signed);
        s.savePerson(p);
      });
      const join = await inviter.join(core.account, core.people.get(core.account)?.identityKey ?? new Uint8Array());
      const first = await firstCommit(core, inviter.account, join);
      const value = create(AcceptInvitationSchema, { code: inviter.code, linkJoin: join, firstCommit: first });
      await this.#change({ case: "acceptInvitation", value });
      return pairID(core.account, inviter.account);
    });
  }

  setName(nickname: string): Promise<void> {
    return command(async () => {
      const name = cleanNickname(nickname);
      await this.#ask({ case: "setProfile", value: create(SetProfileSchema, { nickname: name }) }, "ok");
      await this.#core.step(async (s) => {
        const self = s.person(this.#core.account);
        self.nickname = name;
        s.savePerson(self);
      });
    });
  }

  changePassword(old: string, password: string): Promise<void> {
    const { userName } = this.view().me;
    return command(() => changePassword(this.#cfg.rest, this.#cfg.base, userName, old, password));
  }

  signOut(): Promise<void> {
    return command(async () => {
      if (this.#connection.kind !== "signed-out") await this.#cfg.rest.send("DELETE", "/api/v1/session");
      this.stop();
      await this.#cfg.forget();
    });
  }

  retryNow(): void {
    this.#socket.retryNow();
  }

  async tryDirect(account: string): Promise<void> {
    this.#direct?.tryDirect(account);
  }

  active(): void {
    this.#lastActive = Date.now();
    if (this.#away) {
      this.#away = false;
      this.#tellPresence();
    }
  }

  #checkAway(): void {
    this.#keepLinks();
    if (this.#away || Date.now() - this.#lastActive < AWAY_AFTER) return;
    this.#away = true;
    this.#tellPresence();
  }

  #tellPresence(): void {
    const state = this.#away ? PresenceState.AWAY : PresenceState.ONLINE;
    this.#socket.tell({ case: "setPresence", value: create(SetPresenceSchema, { state }) });
  }
}
