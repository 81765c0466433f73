import { type ID, newID } from "../wire/ids.ts";
import { ClosedError } from "./core.ts";
import { command as asCommand } from "./failures.ts";
import type { Platform, TabChannel } from "./platform.ts";
import type { Intent } from "./records.ts";
import { TabConversation } from "./tab-conversation.ts";
import { type Command, type Hint, isEnd, isRepeatable, TABS_VERSION, type TabMessage } from "./tab-messages.ts";
import {
  type Admin,
  CommandError,
  type DeviceLink,
  type Invitation,
  type MessageView,
  type OpenConversation,
  type Person,
  type Privacy,
  type SafetyNumber,
  type Session,
  type View,
} from "./types.ts";
import { signedOut } from "./views.ts";
import { checkText } from "./write.ts";

// One tab owns the socket, the counter and the outbox: the one that holds the Web Lock. The others show what it
// tells them on a BroadcastChannel and send it their commands. When it goes, the next one takes over, and is asked
// again for what has not been answered.

const LOCK = "parley-owner";
const CHANNEL = "parley-tabs";
const tabLock = (tab: string): string => `parley-tab-${tab}`; // held while the tab lives
// Times in milliseconds.
const CALL_TIMEOUT = 60_000;
const YIELD = 5_000; // how long a tab that asked to be let in is waited for

/** The session of the tab that owns the account. */
export interface Owner extends Omit<Session, "admin"> {
  open(conversation: string, atLeast?: number): OpenConversation;
  /** Sends a text under an id: however often it is asked for, one message goes out. */
  deliver(conversation: string, text: string, id: string): Promise<void>;
  /** Resolves when nothing more is written. */
  stop(): Promise<void>;
}

export interface TabsConfig {
  readonly platform: Platform;
  /** Needs nothing of the owner: every tab has the session's cookie. */
  readonly admin: Admin;
  /** Makes the owner, from what is stored then: another tab may have written till then. */
  make(): Promise<Owner>;
  /** Makes a text durable that the owner will send: whichever tab owns the account next finds it. */
  keep(i: Intent): Promise<void>;
}

interface Pending {
  readonly command: Command;
  readonly args: readonly unknown[];
  resolve(value: unknown): void;
  reject(e: unknown): void;
}

interface Served {
  readonly tab: string;
  readonly open: OpenConversation;
}

/** The account's session as every tab has it. */
export class TabSession implements Session {
  readonly admin: Admin;
  readonly #cfg: TabsConfig;
  readonly #tab = newID();
  readonly #channel: TabChannel;
  readonly #listeners = new Set<() => void>();
  readonly #pending = new Map<number, Pending>(); // asked of another tab
  readonly #views = new Map<string, TabConversation>(); // this tab's own, by handle
  readonly #served = new Map<string, Served>(); // other tabs', by handle
  readonly #known = new Set<string>(); // tabs whose end this owner watches for
  readonly #alive = new AbortController(); // until the session is closed
  readonly #unwatch: () => void;
  #competing: AbortController | null = null; // while the lock is wanted or held
  #owner: Owner | null = null;
  #view: View | null = null;
  #heard = false; // there are other tabs
  #calls = 0;
  #began: { resolve: () => void; reject: (e: unknown) => void } | null = null;
  #mode: "open" | "ended" | "aside" = "open"; // signed out; made room for newer code
  #release: () => void = () => undefined;

  private constructor(cfg: TabsConfig) {
    this.#cfg = cfg;
    this.admin = cfg.admin;
    this.#channel = cfg.platform.channel(CHANNEL);
    this.#channel.onmessage = (e) => this.#receive(e.data as TabMessage);
    this.#unwatch = cfg.platform.watch({
      online: () => undefined,
      offline: () => undefined,
      shown: () => undefined,
      frozen: () => this.#frozen(),
      thawed: () => this.#thawed(),
    });
    this.#hold();
  }

  /**
   * Resolves when there is something to show: as the owner, or from it. With letMeIn the tab that owns the account
   * makes room: this one has another session for it.
   */
  static async start(cfg: TabsConfig, letMeIn = false): Promise<TabSession> {
    const session = new TabSession(cfg);
    await new Promise<void>((resolve, reject) => {
      session.#began = { resolve, reject };
      if (letMeIn) session.#post({ kind: "yield" });
      session.#compete();
      session.#post({ kind: "hello", version: TABS_VERSION });
    });
    return session;
  }

  /** Ends this tab's part in the session; others go on. */
  close(): void {
    this.#mode = "ended";
    this.#giveUp();
    this.#alive.abort();
    this.#unwatch();
    this.#channel.close();
  }

  /** Lets go of the stored state for good: newer code changes it, or it was removed. */
  stepAside(): void {
    if (this.#mode !== "open") return;
    this.#mode = "aside";
    this.#giveUp();
    this.#began?.reject(new CommandError("internal", "another tab has a newer version of this page: load it again"));
    if (this.#view !== null) this.#show({ ...this.#view, connection: { kind: "superseded" } });
  }

  // Who owns the account

  /** Other tabs learn from this lock that the tab is gone. */
  #hold(): void {
    const gone = new Promise<void>((resolve) => this.#alive.signal.addEventListener("abort", () => resolve()));
    this.#cfg.platform.locks.request(tabLock(this.#tab), () => gone).catch((e: unknown) => console.warn("tab", e));
  }

  #compete(): void {
    if (this.#competing !== null || this.#mode !== "open") return;
    const wanted = new AbortController();
    this.#competing = wanted;
    this.#cfg.platform.locks
      .request(LOCK, { signal: wanted.signal }, () => this.#own(wanted.signal))
      .catch((e: unknown) => {
        if (!wanted.signal.aborted) this.#failed(e);
      });
  }

  #failed(e: unknown): void {
    this.#competing = null;
    if (this.#began !== null) this.#began.reject(e);
    else if (e instanceof CommandError && e.code === "signed-out") this.#emptied();
    else {
      console.error("session", e);
      this.stepAside();
    }
  }

  /** Lets go of the account, or of the wish for it. */
  #giveUp(): void {
    this.#competing?.abort();
    this.#competing = null;
    this.#release();
  }

  /** Owns the account until it is given up; else the browser frees the lock with the tab. */
  async #own(given: AbortSignal): Promise<void> {
    if (given.aborted) return;
    const owner = await this.#cfg.make();
    if (!given.aborted) await this.#serveAs(owner);
    await owner.stop();
  }

  async #serveAs(owner: Owner): Promise<void> {
    this.#owner = owner;
    owner.subscribe(() => this.#tell(owner));
    for (const v of this.#views.values()) v.attach(owner.open(v.conversation, v.timeline().messages.length));
    this.#post({ kind: "owner" });
    this.#tell(owner);
    this.#askAgain();
    await new Promise<void>((resolve) => {
      this.#release = resolve;
    });
    this.#release = () => undefined;
    this.#owner = null;
    for (const v of this.#views.values()) v.detach();
    for (const { open } of this.#served.values()) open.close();
    this.#served.clear();
    this.#known.clear();
  }

  #tell(owner: Owner): void {
    if (owner !== this.#owner) return;
    this.#show(owner.view());
    if (this.#heard) this.#post({ kind: "view", view: owner.view() });
  }

  #show(view: View): void {
    this.#view = view;
    this.#began?.resolve();
    this.#began = null;
    for (const f of this.#listeners) f();
  }

  #frozen(): void {
    this.#giveUp();
  }

  #thawed(): void {
    this.#compete();
    this.#turnToOwner();
  }

  /** Another tab has another session: it gets the lock before all who queue for it. */
  #makeRoom(): void {
    this.#giveUp();
    const again = setTimeout(() => this.#compete(), YIELD);
    this.#alive.signal.addEventListener("abort", () => clearTimeout(again));
  }

  // What tabs say

  #post(m: TabMessage): void {
    if (!this.#alive.signal.aborted) this.#channel.postMessage(m);
  }

  #receive(m: TabMessage): void {
    this.#heard = true;
    if (this.#mode !== "open") return;
    if (m.kind === "yield") this.#makeRoom();
    else if (m.kind === "hello" && m.version > TABS_VERSION) this.stepAside();
    else if (this.#owner !== null) this.#serve(this.#owner, m);
    else this.#follow(m);
  }

  /** What the owner does for others. */
  #serve(owner: Owner, m: TabMessage): void {
    switch (m.kind) {
      case "hello":
        this.#post({ kind: "view", view: owner.view() });
        return;
      case "call":
        this.#answer(owner, m);
        return;
      case "hint":
        (owner[m.hint] as (...args: unknown[]) => void)(...m.args);
        return;
      case "open":
        this.#openFor(owner, m);
        return;
      case "older":
        this.#served
          .get(m.handle)
          ?.open.older()
          .catch((e: unknown) => console.error("older", e));
        return;
      case "read":
        this.#served.get(m.handle)?.open.markRead(m.seq, m.key);
        return;
      case "close":
        this.#closeFor(m.handle);
        return;
      default: // answers are for the others
    }
  }

  #answer(owner: Owner, { from: to, n, command, args }: Extract<TabMessage, { kind: "call" }>): void {
    this.#carryOut(owner, command, args).then(
      (value) => this.#post({ kind: "result", to, n, value }),
      (e: unknown) => {
        if (e instanceof ClosedError) return; // the next owner is asked again
        const { code, message, retryAfter } = e instanceof CommandError ? e : new CommandError("internal");
        this.#post({ kind: "failure", to, n, code, detail: message, retryAfter });
      },
    );
  }

  #openFor(owner: Owner, { from, handle, conversation, atLeast }: Extract<TabMessage, { kind: "open" }>): void {
    this.#closeFor(handle);
    const open = owner.open(conversation, atLeast);
    const tell = (): void => this.#post({ kind: "timeline", handle, timeline: open.timeline() });
    open.subscribe(tell);
    this.#served.set(handle, { tab: from, open });
    if (this.#known.has(from)) return;
    this.#known.add(from);
    const signal = this.#competing?.signal;
    this.#cfg.platform.locks
      .request(tabLock(from), signal === undefined ? {} : { signal }, async () => this.#gone(from))
      .catch(() => undefined); // this tab gave up first
  }

  #closeFor(handle: string): void {
    this.#served.get(handle)?.open.close();
    this.#served.delete(handle);
  }

  #gone(tab: string): void {
    this.#known.delete(tab);
    for (const [handle, s] of this.#served) if (s.tab === tab) this.#closeFor(handle);
  }

  /** What the others take from the owner. */
  #follow(m: TabMessage): void {
    switch (m.kind) {
      case "owner":
        this.#compete();
        this.#turnToOwner();
        return;
      case "view":
        this.#show(m.view);
        return;
      case "ended":
        this.#end();
        return;
      case "timeline":
        this.#views.get(m.handle)?.take(m.timeline);
        return;
      case "result":
      case "failure": {
        const pending = this.#pending.get(m.n);
        if (m.to !== this.#tab || pending === undefined) return;
        this.#pending.delete(m.n);
        if (m.kind === "result") pending.resolve(m.value);
        else pending.reject(new CommandError(m.code, m.detail, m.retryAfter));
        return;
      }
      default: // questions are for the owner
    }
  }

  /** Has another tab own the account from now on: it is told what is in view here, and what was asked. */
  #turnToOwner(): void {
    this.#post({ kind: "hello", version: TABS_VERSION });
    for (const [handle, v] of this.#views) this.#postOpen(handle, v);
    this.#askAgain();
  }

  #postOpen(handle: string, v: TabConversation): void {
    const atLeast = v.timeline().messages.length;
    this.#post({ kind: "open", from: this.#tab, handle, conversation: v.conversation, atLeast });
  }

  /** The owner that was asked may be gone: what can be asked twice is asked of the one there is now. */
  #askAgain(): void {
    for (const [n, p] of this.#pending) {
      if (!isRepeatable(p.command)) {
        this.#pending.delete(n);
        p.reject(new CommandError("offline", "the tab that was asked is gone"));
      } else if (this.#owner === null) {
        this.#post({ kind: "call", from: this.#tab, n, command: p.command, args: p.args });
      } else {
        this.#pending.delete(n);
        this.#carryOut(this.#owner, p.command, p.args).then(p.resolve, p.reject);
      }
    }
  }

  async #carryOut(owner: Owner, command: Command, args: readonly unknown[]): Promise<unknown> {
    const value = await (owner[command] as (...args: readonly unknown[]) => Promise<unknown>)(...args);
    if (isEnd(command)) {
      this.#post({ kind: "ended" });
      this.#end();
    }
    return value;
  }

  /** Nothing is left of the account. */
  #end(): void {
    this.#mode = "ended";
    this.#giveUp();
    this.#emptied();
  }

  /** Nothing is stored here any more. While the session is open, a tab that logs in is followed. */
  #emptied(): void {
    for (const p of this.#pending.values()) {
      if (isEnd(p.command)) p.resolve(undefined);
      else p.reject(new CommandError("signed-out"));
    }
    this.#pending.clear();
    if (this.#view !== null) this.#show(signedOut(this.#view));
  }

  async #call(command: Command, ...args: readonly unknown[]): Promise<unknown> {
    if (this.#mode !== "open") throw new CommandError(this.#mode === "ended" ? "signed-out" : "offline");
    if (this.#owner === null) return this.#askOther(command, args);
    try {
      return await this.#carryOut(this.#owner, command, args);
    } catch (e) {
      if (!(e instanceof ClosedError)) throw e;
      return this.#askOther(command, args); // this tab gave the account up meanwhile
    }
  }

  #askOther(command: Command, args: readonly unknown[]): Promise<unknown> {
    this.#calls++;
    const n = this.#calls;
    return new Promise((resolve, reject) => {
      // A text waits until it is written, however long that takes: it is durable, and nobody must type it twice.
      const timer =
        command === "deliver"
          ? undefined
          : setTimeout(() => {
              this.#pending.delete(n);
              reject(new CommandError("offline"));
            }, CALL_TIMEOUT);
      const done =
        <T>(f: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer);
          f(value);
        };
      this.#pending.set(n, { command, args, resolve: done(resolve), reject: done(reject) });
      this.#post({ kind: "call", from: this.#tab, n, command, args });
    });
  }

  #hint(hint: Hint, ...args: readonly unknown[]): void {
    if (this.#owner !== null) (this.#owner[hint] as (...args: readonly unknown[]) => void)(...args);
    else this.#post({ kind: "hint", hint, args });
  }

  // The session

  view(): View {
    if (this.#view === null) throw new CommandError("internal", "the session has not begun");
    return this.#view;
  }

  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  open(conversation: string): OpenConversation {
    const handle = newID();
    const view = new TabConversation(conversation, {
      older: () => this.#post({ kind: "older", handle }),
      markRead: (seq, key) => this.#post({ kind: "read", handle, seq, key }),
      close: () => {
        this.#views.delete(handle);
        this.#post({ kind: "close", handle });
      },
    });
    this.#views.set(handle, view);
    if (this.#owner !== null) view.attach(this.#owner.open(conversation));
    else this.#postOpen(handle, view);
    return view;
  }

  async send(conversation: string, text: string): Promise<void> {
    await asCommand(async () => void checkText(text));
    const id: ID = newID();
    if (this.#owner === null) await asCommand(() => this.#cfg.keep({ id, conversation, text }));
    await this.#call("deliver", conversation, text, id);
  }
  async retry(message: MessageView): Promise<void> {
    await this.#call("retry", message);
  }
  async discard(message: MessageView): Promise<void> {
    await this.#call("discard", message);
  }
  async find(name: string): Promise<Person> {
    return (await this.#call("find", name)) as Person;
  }
  async ask(account: string, note: string): Promise<void> {
    await this.#call("ask", account, note);
  }
  async accept(account: string): Promise<void> {
    await this.#call("accept", account);
  }
  async acceptIdentity(account: string, digits = ""): Promise<void> {
    await this.#call("acceptIdentity", account, digits);
  }
  async recoverFormer(code: string): Promise<void> {
    await this.#call("recoverFormer", code);
  }
  async decline(account: string): Promise<void> {
    await this.#call("decline", account);
  }
  async invite(uses: number, days: number): Promise<Invitation> {
    return (await this.#call("invite", uses, days)) as Invitation;
  }
  async revokeInvitation(code: string): Promise<void> {
    await this.#call("revokeInvitation", code);
  }
  async join(link: string): Promise<string> {
    return (await this.#call("join", link)) as string;
  }
  async setNickname(account: string, name: string): Promise<void> {
    await this.#call("setNickname", account, name);
  }
  async remove(account: string): Promise<void> {
    await this.#call("remove", account);
  }
  async block(account: string, on: boolean): Promise<void> {
    await this.#call("block", account, on);
  }
  async safety(account: string): Promise<SafetyNumber> {
    return (await this.#call("safety", account)) as SafetyNumber;
  }
  async markCompared(account: string, digits: string): Promise<void> {
    await this.#call("markCompared", account, digits);
  }
  async setAvatar(image: Uint8Array<ArrayBuffer> | null): Promise<void> {
    await this.#call("setAvatar", image);
  }
  async setPrivacy(privacy: Privacy): Promise<void> {
    await this.#call("setPrivacy", privacy);
  }
  async setName(nickname: string): Promise<void> {
    await this.#call("setName", nickname);
  }
  async changePassword(old: string, password: string): Promise<void> {
    await this.#call("changePassword", old, password);
  }
  async keep(userName: string, password: string): Promise<void> {
    await this.#call("keep", userName, password);
  }
  async makeRecovery(password: string): Promise<string> {
    return (await this.#call("makeRecovery", password)) as string;
  }
  async revokeDevice(device: string, password: string): Promise<void> {
    await this.#call("revokeDevice", device, password);
  }
  async revokeOthers(password: string): Promise<void> {
    await this.#call("revokeOthers", password);
  }
  async linkDevice(): Promise<DeviceLink> {
    return (await this.#call("linkDevice")) as DeviceLink;
  }
  async admitDevice(code: string, password: string): Promise<void> {
    await this.#call("admitDevice", code, password);
  }
  async refuseDevice(code: string): Promise<void> {
    await this.#call("refuseDevice", code);
  }
  async deleteAccount(password: string): Promise<void> {
    await this.#call("deleteAccount", password);
  }
  async exportAll(): Promise<Blob> {
    return (await this.#call("exportAll")) as Blob;
  }
  async signOut(): Promise<void> {
    await this.#call("signOut");
  }
  async tryDirect(account: string): Promise<void> {
    await this.#call("tryDirect", account);
  }
  async hideAddress(on: boolean): Promise<void> {
    await this.#call("hideAddress", on);
  }
  async hideAddressFrom(account: string, on: boolean): Promise<void> {
    await this.#call("hideAddressFrom", account, on);
  }
  typing(conversation: string, writing: boolean): void {
    this.#hint("typing", conversation, writing);
  }
  setDraft(conversation: string, text: string): void {
    this.#hint("setDraft", conversation, text);
  }
  retryNow(): void {
    if (this.#mode === "aside") this.#cfg.platform.reload();
    else this.#hint("retryNow");
  }
  active(): void {
    this.#hint("active");
  }
}
