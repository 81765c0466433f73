import { newID } from "../wire/ids.ts";
import {
  CommandError,
  type FailureCode,
  type Invitation,
  type MessageView,
  type OpenConversation,
  type Person,
  type Session,
  type Timeline,
  type View,
} from "./types.ts";

// One tab owns the socket, the counter and the outbox: the one that holds the Web Lock. The others show what it
// tells them on a BroadcastChannel and send it their commands. When it goes, the next one takes over.

const LOCK = "parley-owner";
const CHANNEL = "parley-tabs";
const CALL_TIMEOUT = 60_000;

/** Commands that a tab may have carried out by the owner. */
const commands = [
  "send",
  "retry",
  "discard",
  "find",
  "ask",
  "accept",
  "decline",
  "invite",
  "revokeInvitation",
  "join",
  "setName",
  "changePassword",
  "signOut",
  "tryDirect",
] as const;
const hints = ["typing", "setDraft", "retryNow", "active"] as const;
type Command = (typeof commands)[number];
type Hint = (typeof hints)[number];

type Message =
  | { kind: "owner" } // a tab has taken over
  | { kind: "hello" } // a tab wants the view
  | { kind: "view"; view: View }
  | { kind: "ended" } // signed out: nothing is left
  | { kind: "call"; from: string; n: number; command: Command; args: unknown[] }
  | { kind: "result"; to: string; n: number; value?: unknown; code?: FailureCode; detail?: string; retryAfter?: number }
  | { kind: "hint"; hint: Hint; args: unknown[] }
  | { kind: "open"; handle: string; conversation: string }
  | { kind: "older" | "close"; handle: string }
  | { kind: "read"; handle: string; seq: number }
  | { kind: "timeline"; handle: string; timeline: Timeline };

/** The part of an owner that tabs need. */
interface Owner extends Session {
  stop(): void;
}

interface Pending {
  resolve(value: unknown): void;
  reject(e: unknown): void;
}

/** The account's session as every tab has it. */
export class TabSession implements Session {
  readonly #tab = newID();
  readonly #channel = new BroadcastChannel(CHANNEL);
  readonly #make: () => Promise<Owner>;
  readonly #listeners = new Set<() => void>();
  readonly #pending = new Map<number, Pending>();
  readonly #views = new Map<string, RemoteConversation>(); // this tab's own, by handle
  readonly #served = new Map<string, OpenConversation>(); // other tabs', by handle
  #owner: Owner | null = null;
  #view: View | null = null;
  #calls = 0;
  #began: (() => void) | null = null;
  #ended = false; // signed out
  #release: () => void = () => undefined;

  private constructor(make: () => Promise<Owner>) {
    this.#make = make;
    this.#channel.onmessage = (e: MessageEvent<Message>) => this.#receive(e.data);
  }

  /** Resolves when there is something to show: as the owner, or from it. */
  static async start(make: () => Promise<Owner>): Promise<TabSession> {
    const session = new TabSession(make);
    await new Promise<void>((resolve, reject) => {
      session.#began = resolve;
      navigator.locks.request(LOCK, () => session.#own()).catch(reject);
      session.#post({ kind: "hello" });
    });
    return session;
  }

  /** Owns the account until the tab goes. */
  async #own(): Promise<void> {
    if (this.#ended) return;
    const owner = await this.#make();
    this.#owner = owner;
    owner.subscribe(() => {
      this.#show(owner.view());
      this.#post({ kind: "view", view: owner.view() });
    });
    this.#show(owner.view());
    for (const v of this.#views.values()) v.attach(owner.open(v.conversation));
    this.#post({ kind: "owner" });
    this.#post({ kind: "view", view: owner.view() });
    await new Promise<void>((resolve) => {
      this.#release = resolve; // when signed out; else the browser frees the lock with the tab
    });
  }

  #show(view: View): void {
    this.#view = view;
    this.#began?.();
    this.#began = null;
    for (const f of this.#listeners) f();
  }

  #post(m: Message): void {
    this.#channel.postMessage(m);
  }

  #receive(m: Message): void {
    if (this.#owner !== null) this.#serve(this.#owner, m);
    else this.#follow(m);
  }

  /** What the owner does for others. */
  #serve(owner: Owner, m: Message): void {
    switch (m.kind) {
      case "hello":
        this.#post({ kind: "view", view: owner.view() });
        return;
      case "call":
        this.#carryOut(owner, m.command, m.args).then(
          (value) => this.#post({ kind: "result", to: m.from, n: m.n, value }),
          (e: unknown) => {
            const failure = e instanceof CommandError ? e : new CommandError("internal");
            const { code, message, retryAfter } = failure;
            this.#post({ kind: "result", to: m.from, n: m.n, code, detail: message, retryAfter });
          },
        );
        return;
      case "hint":
        (owner[m.hint] as (...args: unknown[]) => void)(...m.args);
        return;
      case "open": {
        const open = owner.open(m.conversation);
        const tell = (): void => this.#post({ kind: "timeline", handle: m.handle, timeline: open.timeline() });
        open.subscribe(tell);
        this.#served.set(m.handle, open);
        tell();
        return;
      }
      case "older":
        this.#served
          .get(m.handle)
          ?.older()
          .catch((e: unknown) => console.error("older", e));
        return;
      case "read":
        this.#served.get(m.handle)?.markRead(m.seq);
        return;
      case "close":
        this.#served.get(m.handle)?.close();
        this.#served.delete(m.handle);
        return;
      default: // answers are for the others
    }
  }

  /** What the others take from the owner. */
  #follow(m: Message): void {
    switch (m.kind) {
      case "owner":
        for (const p of this.#pending.values()) p.reject(new CommandError("offline"));
        this.#pending.clear();
        for (const [handle, v] of this.#views) this.#post({ kind: "open", handle, conversation: v.conversation });
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
      case "result": {
        const pending = this.#pending.get(m.n);
        if (m.to !== this.#tab || pending === undefined) return;
        this.#pending.delete(m.n);
        if (m.code === undefined) pending.resolve(m.value);
        else pending.reject(new CommandError(m.code, m.detail, m.retryAfter));
        return;
      }
      default: // questions are for the owner
    }
  }

  async #carryOut(owner: Owner, command: Command, args: unknown[]): Promise<unknown> {
    const value = await (owner[command] as (...args: unknown[]) => Promise<unknown>)(...args);
    if (command === "signOut") {
      this.#post({ kind: "ended" });
      this.#end();
    }
    return value;
  }

  /** Nothing is left of the account. */
  #end(): void {
    this.#ended = true;
    if (this.#view !== null) this.#show({ ...this.#view, connection: { kind: "signed-out" } });
    this.#release();
  }

  #call(command: Command, ...args: unknown[]): Promise<unknown> {
    if (this.#owner !== null) return this.#carryOut(this.#owner, command, args);
    this.#calls++;
    const n = this.#calls;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(n);
        reject(new CommandError("offline"));
      }, CALL_TIMEOUT);
      const done =
        <T>(f: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer);
          f(value);
        };
      this.#pending.set(n, { resolve: done(resolve), reject: done(reject) });
      this.#post({ kind: "call", from: this.#tab, n, command, args });
    });
  }

  #hint(hint: Hint, ...args: unknown[]): void {
    if (this.#owner !== null) (this.#owner[hint] as (...args: unknown[]) => void)(...args);
    else this.#post({ kind: "hint", hint, args });
  }

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
    const view = new RemoteConversation(conversation, {
      older: async () => this.#post({ kind: "older", handle }),
      markRead: (seq) => this.#post({ kind: "read", handle, seq }),
      close: () => {
        this.#views.delete(handle);
        this.#post({ kind: "close", handle });
      },
    });
    this.#views.set(handle, view);
    if (this.#owner !== null) view.attach(this.#owner.open(conversation));
    else this.#post({ kind: "open", handle, conversation });
    return view;
  }

  async send(conversation: string, text: string): Promise<void> {
    await this.#call("send", conversation, text);
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
  async setName(nickname: string): Promise<void> {
    await this.#call("setName", nickname);
  }
  async changePassword(old: string, password: string): Promise<void> {
    await this.#call("changePassword", old, password);
  }
  async signOut(): Promise<void> {
    await this.#call("signOut");
  }
  async tryDirect(account: string): Promise<void> {
    await this.#call("tryDirect", account);
  }
  typing(conversation: string, writing: boolean): void {
    this.#hint("typing", conversation, writing);
  }
  setDraft(conversation: string, text: string): void {
    this.#hint("setDraft", conversation, text);
  }
  retryNow(): void {
    this.#hint("retryNow");
  }
  active(): void {
    this.#hint("active");
  }
}

/** A conversation in view, whoever owns it now. */
class RemoteConversation implements OpenConversation {
  readonly conversation: string;
  readonly #far: Pick<OpenConversation, "older" | "markRead" | "close">;
  readonly #listeners = new Set<() => void>();
  #near: OpenConversation | null = null;
  #timeline: Timeline;

  constructor(conversation: string, far: Pick<OpenConversation, "older" | "markRead" | "close">) {
    this.conversation = conversation;
    this.#far = far;
    this.#timeline = { conversation, messages: [], atStart: false, loading: true };
  }

  /** This tab owns the account now. */
  attach(near: OpenConversation): void {
    this.#near = near;
    near.subscribe(() => this.take(near.timeline()));
    this.take(near.timeline());
  }

  take(timeline: Timeline): void {
    this.#timeline = timeline;
    for (const f of this.#listeners) f();
  }

  timeline(): Timeline {
    return this.#timeline;
  }

  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  older(): Promise<void> {
    return (this.#near ?? this.#far).older();
  }

  markRead(seq: number): void {
    (this.#near ?? this.#far).markRead(seq);
  }

  close(): void {
    this.#listeners.clear();
    this.#near?.close();
    this.#far.close();
  }
}
