import { create } from "@bufbuild/protobuf";
import type { FrameKind } from "../net/connection.ts";
import type { Rest } from "../net/rest.ts";
import { Socket, type SocketState } from "../net/socket.ts";
import type { Bytes } from "../wire/bytes.ts";
import { type ID, idBytes, idFrom, newID } from "../wire/ids.ts";
import { VERSION } from "../wire/limits.ts";
import { cleanNickname } from "../wire/names.ts";
import {
  HelloSchema,
  type PersonSetting,
  PresenceState,
  SetPresenceSchema,
  TypingSchema,
  type Welcome,
} from "../wire/schema.ts";
import { renewSession } from "./account.ts";
import { AccountSync } from "./changes.ts";
import { Contacts } from "./contacts.ts";
import { type Changes, ClosedError, type Core } from "./core.ts";
import { Cursors } from "./cursors.ts";
import { DeviceLinks } from "./devicelinks.ts";
import { Direct } from "./direct.ts";
import { exportAll } from "./export.ts";
import { command } from "./failures.ts";
import { Live } from "./live.ts";
import { Outbox } from "./outbox.ts";
import { changePassword, deleteAccount, keepAccount, makeRecovery, revokeDevices } from "./own.ts";
import type { Platform } from "./platform.ts";
import { Projection } from "./projection.ts";
import { markRead } from "./reading.ts";
import { recoverFormer } from "./reset.ts";
import { markCompared, numberWith } from "./safety.ts";
import { Settings } from "./settings.ts";
import { type Ask, Sync } from "./sync.ts";
import type { Owner } from "./tabs.ts";
import { OpenTimeline } from "./timeline.ts";
import type {
  DeviceLink,
  Invitation,
  LinkView,
  MessageView,
  OpenConversation,
  Person,
  Privacy,
  SafetyNumber,
  View,
} from "./types.ts";
import { absent, personView } from "./views.ts";
import { discard, retry, writeText } from "./write.ts";

// Times in milliseconds.
const TYPING_EVERY = 3_000;
const AWAY_AFTER = 5 * 60_000;
const TICK = 30_000;

export interface EngineConfig {
  readonly core: Core;
  readonly platform: Platform;
  readonly rest: Rest;
  /** The server's origin. */
  readonly base: string;
  readonly version: string;
  /** Removes everything from this browser. */
  forget(): Promise<void>;
  /** Seals everything in this browser away: it was signed out from elsewhere. */
  lock(): Promise<void>;
}

/** The session of the one tab that owns socket, links, counter and outbox. */
export class Engine implements Owner {
  readonly #cfg: EngineConfig;
  readonly #core: Core;
  readonly #socket: Socket;
  readonly #cursors: Cursors;
  readonly #sync: Sync;
  readonly #changes: AccountSync;
  readonly #settings: Settings;
  readonly #contacts: Contacts;
  readonly #links: DeviceLinks;
  readonly #outbox: Outbox;
  readonly #live: Live;
  readonly #projection: Projection;
  readonly #since: number; // arrivals from then on are news
  readonly #tick: ReturnType<typeof setInterval>;
  readonly #unwatch: () => void;
  readonly #tried: Promise<void>; // until the first attempt to connect came to something
  #firstTry: () => void = () => undefined;
  #direct: Direct | null = null;
  #greeting = false;
  #ahead = 0; // of the server's clock, ms
  #typed: { conversation: string; time: number } = { conversation: "", time: 0 };
  #lastActive = Date.now();
  #away = false;

  private constructor(cfg: EngineConfig) {
    const { core, platform, base, rest } = cfg;
    this.#cfg = cfg;
    this.#core = core;
    this.#since = core.nextArrival();
    this.#tried = new Promise((resolve) => {
      this.#firstTry = resolve;
    });
    const ask = this.#ask;
    this.#cursors = new Cursors(ask);
    this.#live = new Live(core, () => this.#projection.changed());
    this.#settings = new Settings({
      core,
      ask,
      changed: () => this.#projection.changed(),
      linksChanged: (account) => this.#renewLinks(account),
      report: (e) => console.warn("setting", e),
    });
    this.#projection = new Projection({
      core,
      base,
      live: this.#live,
      online: () => platform.online(),
      linkTo: (account) => this.#linkTo(account),
      asking: () => this.#links.asking,
      settings: this.#settings,
    });
    this.#links = new DeviceLinks(cfg, () => this.#projection.changed());
    const report = (e: unknown): void => console.warn("sync", e);
    this.#sync = new Sync({ core, ask, cursors: this.#cursors, report, restored: () => this.#restored() });
    this.#changes = new AccountSync({ core, ask, sync: this.#sync, settings: this.#settings, report });
    this.#contacts = new Contacts({ core, ask, changes: this.#changes, rest, base });
    this.#socket = this.#newSocket();
    this.#outbox = new Outbox({
      core,
      ask,
      connected: () => this.#socket.connected && !this.#greeting,
      fresh: (conversation, needsEpoch) => this.#sync.fresh(conversation, needsEpoch),
    });
    core.changed = (c) => this.#stored(c);
    this.#tick = setInterval(() => this.#ticked(), TICK);
    this.#unwatch = platform.watch({
      online: () => this.#networkChanged(),
      offline: () => {
        this.#socket.check(); // a browser may say so beside a server that it reaches
        this.#projection.changed();
      },
      shown: () => this.#socket.retryNow(),
      frozen: () => undefined, // the tab gives the engine up
      thawed: () => undefined,
    });
  }

  #newSocket(): Socket {
    const { core, platform, base, rest, version } = this.#cfg;
    return new Socket({
      base,
      self: { account: idBytes(core.account), device: idBytes(core.device) },
      connect: (url, protocol) => platform.webSocket(url, protocol),
      hello: () =>
        create(HelloSchema, {
          version: VERSION,
          client: `web ${version}`,
          accountVersion: this.#changes.version,
        }),
      welcome: (w) => this.#welcome(w),
      push: (kind) => this.#push(kind),
      state: (s) => this.#connected(s),
      renew: () => renewSession(rest, base, core.profile),
    });
  }

  /** Starts to connect. */
  static async start(cfg: EngineConfig): Promise<Engine> {
    const engine = new Engine(cfg);
    await engine.#changes.load();
    await engine.#settings.load();
    engine.#direct = await Direct.start({
      core: cfg.core,
      base: cfg.base,
      ask: engine.#ask,
      peerConnection: (c) => cfg.platform.peerConnection(c),
      hidesFrom: (account) => engine.#settings.hidesFrom(account),
      serverTime: () => Date.now() + engine.#ahead,
      connected: () => engine.#socket.connected,
      presence: (account) => engine.#live.presence(account),
      lists: (account) => engine.#sync.lists(account),
      typing: (t) => {
        if (!cfg.core.privacy.hideTyping) engine.#live.typing(t);
      },
      changed: () => engine.#projection.changed(),
    });
    await engine.#handedOver();
    await engine.#projection.load();
    engine.#socket.run().catch((e: unknown) => console.error("socket", e));
    return engine;
  }

  /** Ends the connection; resolves when nothing more is written. What is in the outbox stays there. */
  async stop(): Promise<void> {
    this.#unwatch();
    clearInterval(this.#tick);
    this.#live.close();
    this.#direct?.close();
    this.#outbox.close();
    this.#socket.close();
    this.#firstTry();
    await this.#core.close();
  }

  /** Writes the texts that a tab without an owner left; one that cannot be written becomes a draft again. */
  async #handedOver(): Promise<void> {
    for (const i of await this.#core.db.getAll("intents"))
      await this.deliver(i.conversation, i.text, i.id).catch(() => {
        if (this.#core.conversations.get(i.conversation)?.draft === "") this.setDraft(i.conversation, i.text);
      });
  }

  readonly #ask: Ask = async (request, answer) => {
    const got = await this.#socket.ask(request);
    if (got.case !== answer) throw new Error(`the server answered ${String(got.case)} instead of ${answer}`);
    return got.value as never; // the case was compared
  };

  // What happens

  async #welcome(w: Welcome): Promise<void> {
    this.#greeting = true;
    try {
      this.#ahead = Number(w.serverTimeMs) - Date.now();
      if (this.#direct !== null) this.#direct.ice = w.ice;
      if (w.changes !== undefined) await this.#changes.take(w.changes);
      this.#live.arrived(w.presences);
      for (const state of w.behind) await this.#sync.state(state);
      await this.#takeIdentities();
      this.#keepLinks();
      this.#settings.handOver().catch((e: unknown) => console.warn("setting", e));
    } finally {
      this.#greeting = false;
    }
  }

  /** Puts into chains what this account accepted; what fails is done at the next turn of the outbox or the next greeting. */
  async #takeIdentities(): Promise<void> {
    await this.#sync.takeIdentities().catch((e: unknown) => console.warn("take new identity", e));
    this.#outbox.kick();
  }

  async #push(kind: FrameKind): Promise<void> {
    switch (kind.case) {
      case "events":
        return this.#sync.events(kind.value.events);
      case "accountChanges":
        return this.#changes.take(kind.value);
      case "cursorMoved":
        return this.#sync.cursor(kind.value);
      case "grantNeeded":
        return this.#sync.grantNeeded(idFrom(kind.value.conversation), kind.value.epoch, idFrom(kind.value.account));
      case "grantAdded":
        return this.#sync.grantAdded(kind.value);
      case "presences":
        this.#live.arrived(kind.value.presences);
        return this.#keepLinks();
      case "typing":
        return this.#live.typing(kind.value);
      case "deviceAsks":
        return this.#links.asks(kind.value);
      case "signalFrom":
        return this.#direct?.signal(kind.value);
      default: // a newer server's frame: nothing that this version would miss
    }
  }

  /** A server that lost messages lost contacts too: what it says of the account is read again. */
  #restored(): void {
    this.#changes.again().catch((e: unknown) => console.warn("account", e));
  }

  #connected(s: SocketState): void {
    if (s.kind !== "connecting") this.#firstTry();
    if (s.kind === "connected") {
      this.#outbox.kick();
      if (this.#away) this.#tellPresence();
      this.#sync.retry().catch((e: unknown) => console.warn("sync", e));
    } else this.#live.lost();
    this.#projection.socket = s;
    if (s.kind === "signed-out" && !s.suspended) this.#signedOut().catch((e: unknown) => console.error("lock", e));
  }

  /** Nothing stays readable in a browser that was signed out from elsewhere. Nobody else can sign out who has the identity key. */
  async #signedOut(): Promise<void> {
    if (this.#core.profile.identity !== null) return;
    await this.stop();
    await this.#cfg.lock();
    this.#core.forget();
    this.#projection.blank();
  }

  #networkChanged(): void {
    this.#socket.retryNow();
    this.#direct?.networkChanged();
    this.#projection.changed();
  }

  /** Links to the people in view are worth having. */
  #keepLinks(): void {
    for (const t of this.#projection.timelines) this.#direct?.view(t.conversation);
  }

  /** Those that are open know the addresses of both ends. */
  #renewLinks(account: string | null): void {
    this.#direct?.renew(account);
    this.#keepLinks();
  }

  #stored(c: Changes): void {
    for (const m of c.arrived) this.#live.stopped(m.conversation);
    this.#direct?.refresh().catch((e: unknown) => console.error("own list", e));
    this.#projection.stored(c);
  }

  #ticked(): void {
    this.#keepLinks();
    if (this.#socket.connected) this.#sync.retry().catch((e: unknown) => console.warn("sync", e));
    if (this.#away || Date.now() - this.#lastActive < AWAY_AFTER) return;
    this.#away = true;
    this.#tellPresence();
  }

  #tellPresence(): void {
    const state = this.#away ? PresenceState.AWAY : PresenceState.ONLINE;
    this.#socket.tell({ case: "setPresence", value: create(SetPresenceSchema, { state }) });
  }

  // What is seen

  view(): View {
    return this.#projection.view();
  }

  subscribe(changed: () => void): () => void {
    return this.#projection.subscribe(changed);
  }

  #linkTo(account: string): LinkView {
    const path = this.#projection.socket.kind === "connected" ? "relay" : "waiting";
    const none: LinkView = { state: "none", path, delay: 0, protocol: "", port: 0, since: 0 };
    return this.#direct?.linkTo(account) ?? none;
  }

  #person(account: string): Person {
    const p = this.#core.people.get(account);
    if (p === undefined) throw new Error("nobody of this account is known");
    return personView(this.#core, p, this.#settings.person(account), this.#live.presence(account) ?? absent);
  }

  // What a person does

  /** atLeast: how many messages are shown at first, for a conversation that another tab showed before. */
  open(conversation: string, atLeast = 0): OpenConversation {
    const t = new OpenTimeline({
      core: this.#core,
      conversation,
      since: this.#since,
      atLeast,
      markRead: (seq, arrival) => {
        this.#read(conversation, seq, arrival).catch((e: unknown) => console.error("read mark", e));
      },
      closed: (closed) => this.#projection.remove(closed),
    });
    this.#projection.add(t);
    this.#direct?.view(conversation);
    return t;
  }

  async #read(conversation: string, seq: number, arrival: number): Promise<void> {
    const row = this.#core.conversations.get(conversation);
    if (row === undefined || (seq <= row.readSeq && arrival <= row.seen)) return;
    const mark = await markRead(this.#core, conversation, seq, arrival);
    if (mark > row.readSeq) this.#cursors.read(conversation, mark);
  }

  send(conversation: string, text: string): Promise<void> {
    return this.deliver(conversation, text);
  }

  /** Sends a text under an id: however often it is asked for, one message goes out. */
  async deliver(conversation: string, text: string, id: string = newID()): Promise<void> {
    await command(async () => {
      try {
        await writeText(this.#core, conversation, text, id as ID);
      } catch (e) {
        // Whoever sends it is told, and has the text: it must not go out later by itself.
        if (!(e instanceof ClosedError)) await this.#core.step(async (s) => void s.batch.delete("intents", id));
        throw e;
      }
    });
    this.#direct?.offer(conversation);
    this.#outbox.kick();
  }

  async retry(message: MessageView): Promise<void> {
    await command(() => retry(this.#core, stored(message)));
    this.#direct?.offer(message.conversation);
    this.#outbox.kick();
  }

  discard(message: MessageView): Promise<void> {
    return command(() => discard(this.#core, stored(message)));
  }

  typing(conversation: string, writing: boolean): void {
    const now = Date.now();
    const said = this.#typed.conversation === conversation ? this.#typed.time : 0;
    if (writing && Math.abs(now - said) < TYPING_EVERY) return;
    this.#typed = { conversation, time: writing ? now : 0 };
    if (this.#core.privacy.hideTyping) return;
    if (this.#socket.connected) {
      const value = create(TypingSchema, { conversation: idBytes(conversation as ID), stopped: !writing });
      this.#socket.tell({ case: "typing", value });
    } else this.#direct?.tellTyping(conversation as ID, !writing);
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

  /** Does what needs the server, which a page that just began has not reached yet. */
  #remote<T>(f: () => Promise<T>): Promise<T> {
    return command(async () => {
      await this.#tried;
      return f();
    });
  }

  find(name: string): Promise<Person> {
    return this.#remote(async () => this.#person((await this.#contacts.find(name)).account));
  }

  ask(account: string, note: string): Promise<void> {
    return this.#remote(() => this.#contacts.ask(account as ID, note));
  }

  accept(account: string): Promise<void> {
    return this.#remote(() => this.#contacts.accept(account as ID));
  }

  acceptIdentity(account: string, digits = ""): Promise<void> {
    return command(async () => {
      await this.#contacts.acceptIdentity(account as ID, digits);
      await this.#takeIdentities();
    });
  }

  recoverFormer(code: string): Promise<void> {
    return this.#remote(async () => {
      const { rest, base } = this.#cfg;
      if (await recoverFormer(this.#core, rest, base, this.#ask, code)) await this.#sync.keyArrived();
    });
  }

  decline(account: string): Promise<void> {
    return this.#remote(() => this.#contacts.decline(account as ID));
  }

  invite(uses: number, days: number): Promise<Invitation> {
    return this.#remote(() => this.#contacts.invite(uses, days));
  }

  revokeInvitation(code: string): Promise<void> {
    return this.#remote(() => this.#contacts.revoke(code));
  }

  join(link: string): Promise<string> {
    return this.#remote(() => this.#contacts.join(link));
  }

  remove(account: string): Promise<void> {
    return this.#remote(() => this.#contacts.remove(account as ID));
  }

  block(account: string, on: boolean): Promise<void> {
    return this.#remote(() => this.#contacts.block(account as ID, on));
  }

  setPrivacy(privacy: Privacy): Promise<void> {
    return this.#remote(() => this.#contacts.setPrivacy(privacy));
  }

  setAvatar(image: Bytes | null): Promise<void> {
    return this.#remote(() => this.#contacts.setAvatar(image));
  }

  setName(nickname: string): Promise<void> {
    return this.#remote(() => this.#contacts.setName(nickname));
  }

  changePassword(old: string, password: string): Promise<void> {
    return command(() => changePassword(this.#cfg, old, password));
  }

  keep(userName: string, password: string): Promise<void> {
    return command(() => keepAccount(this.#cfg, userName, password));
  }

  makeRecovery(password: string): Promise<string> {
    return command(() => makeRecovery(this.#cfg, password));
  }

  revokeDevice(device: string, password: string): Promise<void> {
    return command(() => revokeDevices(this.#cfg, (one) => one === device, password));
  }

  revokeOthers(password: string): Promise<void> {
    return command(() => revokeDevices(this.#cfg, () => true, password));
  }

  linkDevice(): Promise<DeviceLink> {
    return command(() => this.#links.show());
  }

  admitDevice(code: string, password: string): Promise<void> {
    return command(() => this.#links.admit(code, password));
  }

  async refuseDevice(code: string): Promise<void> {
    this.#links.refuse(code);
  }

  deleteAccount(password: string): Promise<void> {
    return command(async () => {
      await deleteAccount(this.#cfg, password);
      await this.stop();
      await this.#cfg.forget();
    });
  }

  exportAll(): Promise<Blob> {
    return command(() => exportAll(this.#core, this.#cfg.base));
  }

  signOut(): Promise<void> {
    return command(async () => {
      if (this.#projection.socket.kind !== "signed-out") await this.#cfg.rest.send("DELETE", "/api/v1/session");
      await this.stop();
      await this.#cfg.forget();
    });
  }

  hideAddress(on: boolean): Promise<void> {
    return this.#remote(() => this.#settings.setHideAddress(on));
  }

  hideAddressFrom(account: string, on: boolean): Promise<void> {
    return this.#note(account, (s) => {
      s.hideAddress = on;
    });
  }

  setNickname(account: string, name: string): Promise<void> {
    return this.#note(account, (s) => {
      s.nickname = name.trim() === "" ? "" : cleanNickname(name);
    });
  }

  #note(account: string, change: (s: PersonSetting) => void): Promise<void> {
    return this.#remote(() => this.#settings.changePerson(account, change));
  }

  safety(account: string): Promise<SafetyNumber> {
    return command(() => numberWith(this.#core, account));
  }

  markCompared(account: string, digits: string): Promise<void> {
    return this.#remote(() => markCompared(this.#core, this.#settings, account, digits));
  }

  retryNow(): void {
    this.#socket.retryNow();
  }

  async tryDirect(account: string): Promise<void> {
    this.#direct?.tryDirect(account);
  }

  active(): void {
    this.#lastActive = Date.now();
    if (!this.#away) return;
    this.#away = false;
    this.#tellPresence();
  }
}

/** Which stored message a shown one is. */
function stored(m: MessageView): { conversation: string; device: string; id: string } {
  const [device] = m.key.split("/");
  return { conversation: m.conversation, device: device ?? "", id: m.id };
}
