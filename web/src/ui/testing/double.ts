// A gate and a session in memory, for looking at the interface and for its tests. Nothing of it is built into the app.
import {
  CommandError,
  type Connection,
  type ConversationRow,
  type DeviceLink,
  type Gate,
  type Invitation,
  type MessageView,
  type OpenConversation,
  type Person,
  type Privacy,
  type SafetyNumber,
  type Session,
  type Timeline,
  type View,
} from "../../state/types.ts";
import { DoubleAdmin } from "./place.ts";
import { link, message, older, person, row, sample } from "./sample.ts";

export interface DoubleOptions {
  readonly signedIn: boolean;
  readonly chinese: boolean;
  readonly empty: boolean;
  readonly nameOnly: boolean;
  readonly many: number; // messages in the first conversation, beside the sample
  readonly locked: boolean; // an account that was signed out lies sealed here
  readonly insecure: boolean; // reached over plain HTTP
  readonly away: boolean; // the server does not answer
  readonly connection: Connection;
}

const page = 40;

export class DoubleSession implements Session {
  readonly messages: Record<string, MessageView[]>;
  #view: View;
  #listeners = new Set<() => void>();
  #next = 1000;

  constructor(options: DoubleOptions) {
    const { people, rows, messages } = options.empty
      ? { people: [], rows: [], messages: {} }
      : sample(options.chinese ? "zh" : "en");
    this.messages = messages;
    if (options.many > 0) fill(messages, options.many);
    const none = options.connection.kind === "offline" || options.connection.kind === "signed-out";
    const now = Date.now();
    this.#view = {
      me: {
        account: "0b9c6f1e-2f64-4a6e-9c2e-7d1f0a3b5c8d",
        device: "d1",
        name: options.chinese ? "小林" : "Yara",
        avatar: "",
        userName: options.nameOnly ? "" : "yara",
        admin: !options.nameOnly,
        host: "talk.example",
        keys: options.nameOnly ? "here" : "password",
        recovery: false,
        earlier: false,
      },
      connection: options.connection,
      people: Object.fromEntries(people.map((one) => [one.id, one])),
      conversations: none ? rows.map((one) => ({ ...one, link: link("waiting") })) : rows,
      invitations: options.empty
        ? []
        : [{ code: "old", link: "", uses: 5, usesLeft: 3, expires: now + 86_400_000, revoked: false }],
      devices: [
        {
          id: "d2",
          name: "Chrome on Android",
          created: now - 9e8,
          lastUsed: now - 5e6,
          address: "203.0.113.9",
          current: false,
        },
        { id: "d1", name: "Firefox on Linux", created: now - 4e9, lastUsed: now, address: "192.0.2.44", current: true },
      ],
      asking: [],
      inviteDismissed: false,
      hideAddress: false,
      privacy: { hidePresence: false, hideRead: false, hideTyping: false },
    };
  }

  view(): View {
    return this.#view;
  }

  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  /** Changes the view and tells everybody. */
  set(change: Partial<View>): void {
    this.#view = { ...this.#view, ...change };
    for (const listener of [...this.#listeners]) listener();
  }

  setRow(id: string, change: Partial<ConversationRow>): void {
    this.set({ conversations: this.#view.conversations.map((one) => (one.id === id ? { ...one, ...change } : one)) });
  }

  setPerson(id: string, change: Partial<Person>): void {
    const known = this.#view.people[id];
    if (known !== undefined) this.set({ people: { ...this.#view.people, [id]: { ...known, ...change } } });
  }

  /** Puts a message at the end of a conversation. */
  add(conversation: string, own: boolean, text: string, more: Partial<MessageView> = {}): MessageView {
    const path = this.#view.conversations.find((one) => one.id === conversation)?.link.path ?? "relay";
    const added = message(conversation, this.#next++, own, text, 0, {
      path,
      live: true,
      ...(own ? { state: "sent" } : {}),
      ...more,
    });
    this.messages[conversation] = [...(this.messages[conversation] ?? []), added];
    const unread = this.#view.conversations.find((one) => one.id === conversation)?.unread ?? 0;
    this.setRow(conversation, { preview: added, time: added.time, unread: own ? unread : unread + 1 });
    return added;
  }

  open(conversation: string): OpenConversation {
    let loading = false;
    let pages = 0;
    let shown: Timeline = { conversation, messages: [], atStart: false, loading: false };
    const make = () => {
      const messages = this.messages[conversation] ?? [];
      if (shown.messages !== messages || shown.loading !== loading) {
        shown = { conversation, messages, atStart: pages >= 5 || messages.length === 0, loading };
      }
      return shown;
    };
    return {
      timeline: make,
      subscribe: (changed) => this.subscribe(changed),
      older: async () => {
        loading = true;
        this.set({});
        await new Promise((done) => setTimeout(done, 150));
        const messages = this.messages[conversation] ?? [];
        const first = messages[0];
        pages++;
        loading = false;
        if (first !== undefined) {
          this.messages[conversation] = [
            ...older(conversation, first, page, this.#view.me.name === "小林"),
            ...messages,
          ];
        }
        this.set({});
      },
      markRead: (seq) => {
        const messages = this.messages[conversation] ?? [];
        const unread = messages.filter((one) => !one.own && one.seq > seq).length;
        this.setRow(conversation, { readSeq: seq, unread });
      },
      close: () => undefined,
    };
  }

  async send(conversation: string, text: string): Promise<void> {
    if (text === "fail") throw new CommandError("too-long");
    this.add(conversation, true, text);
  }

  async retry(failed: MessageView): Promise<void> {
    this.#replace(failed, { state: "sent", failure: "" });
  }

  async discard(failed: MessageView): Promise<void> {
    const rest = this.messages[failed.conversation]?.filter((one) => one.key !== failed.key) ?? [];
    this.messages[failed.conversation] = rest;
    this.set({});
  }

  typing(): void {}

  setDraft(conversation: string, text: string): void {
    this.setRow(conversation, { draft: text });
  }

  async find(name: string): Promise<Person> {
    const known = Object.values(this.#view.people).find((one) => one.userName === name);
    if (known !== undefined) return known;
    if (name !== "ada") throw new CommandError("not-found");
    return person("ada", "Ada", { relation: "none", conversation: "" });
  }

  async ask(account: string): Promise<void> {
    this.set({
      people: { ...this.#view.people, [account]: person(account, "Ada", { relation: "asked", conversation: "" }) },
    });
  }

  async accept(account: string): Promise<void> {
    this.setPerson(account, { relation: "accepted", conversation: account });
    this.messages[account] = [];
    this.set({ conversations: [row(account, link("relay"), [], { time: Date.now() }), ...this.#view.conversations] });
  }

  async recoverFormer(_code: string): Promise<void> {}

  async decline(account: string): Promise<void> {
    this.setPerson(account, { relation: "none" });
  }

  async invite(uses: number, days: number): Promise<Invitation> {
    const code = `c${this.#next++}`;
    const made = {
      code,
      link: `https://talk.example/i/${code}#mGv3kZq0Jx8rW5tY2uA7nL4pS9dF6hB1`,
      uses,
      usesLeft: uses,
      expires: Date.now() + days * 86_400_000,
      revoked: false,
    };
    this.set({ invitations: [made, ...this.#view.invitations] });
    return made;
  }

  async revokeInvitation(code: string): Promise<void> {
    this.set({
      invitations: this.#view.invitations.map((one) => (one.code === code ? { ...one, revoked: true } : one)),
    });
  }

  async join(): Promise<string> {
    return "mia";
  }

  async setNickname(account: string, name: string): Promise<void> {
    const ownName = this.#view.people[account]?.ownName ?? "";
    this.setPerson(account, { localName: name, name: name || ownName });
  }

  async remove(account: string): Promise<void> {
    this.setPerson(account, { relation: "none", conversation: "" });
    this.set({ conversations: this.#view.conversations.filter((one) => one.person !== account) });
  }

  async block(account: string, blocked: boolean): Promise<void> {
    this.setPerson(account, { blocked });
  }

  async safety(): Promise<SafetyNumber> {
    const digits = "4096 1187 0042 9310 7751 2268 6605 3149 8820 0917 5534 7106";
    return { digits, text: `parley-safety:${digits.replaceAll(" ", "")}` };
  }

  async markCompared(account: string): Promise<void> {
    this.setPerson(account, { safety: "compared", compared: Date.now() });
  }

  async acceptIdentity(account: string): Promise<void> {
    this.setPerson(account, { identityChanged: false, safety: "open" });
  }

  async setAvatar(image: Uint8Array<ArrayBuffer> | null): Promise<void> {
    const avatar = image === null ? "" : URL.createObjectURL(new Blob([image]));
    this.set({ me: { ...this.#view.me, avatar } });
  }

  async setPrivacy(privacy: Privacy): Promise<void> {
    this.set({ privacy });
  }

  async setName(nickname: string): Promise<void> {
    this.set({ me: { ...this.#view.me, name: nickname } });
  }

  async changePassword(old: string): Promise<void> {
    if (old === "wrong") throw new CommandError("wrong-password");
  }

  async keep(userName: string): Promise<void> {
    if (userName === "taken") throw new CommandError("name-taken");
    this.set({ me: { ...this.#view.me, userName, keys: "password" } });
  }

  async makeRecovery(password: string): Promise<string> {
    if (password === "wrong") throw new CommandError("wrong-password");
    this.set({ me: { ...this.#view.me, recovery: true } });
    return "mzxw-6ytb-oi4d-qmjr-gi2d-kmrt-g5aq";
  }

  async revokeDevice(device: string, password: string): Promise<void> {
    if (password === "wrong") throw new CommandError("wrong-password");
    this.set({ devices: this.#view.devices.filter((one) => one.id !== device) });
  }

  async revokeOthers(): Promise<void> {
    this.set({ devices: this.#view.devices.filter((one) => one.current) });
  }

  async linkDevice(): Promise<DeviceLink> {
    const code = "k7wq2m4ahs3xnp5d";
    const expires = Date.now() + 600_000;
    return {
      code,
      link: `https://talk.example/d/${code}#mzxw6ytboi4dqmjrgi2dkmrtg4.aglwcyrtmqydcmbqgaydambqgm`,
      expires,
    };
  }

  async admitDevice(code: string, password: string): Promise<void> {
    if (password === "wrong") throw new CommandError("wrong-password");
    await this.refuseDevice(code);
  }

  async refuseDevice(code: string): Promise<void> {
    this.set({ asking: this.#view.asking.filter((one) => one.code !== code) });
  }

  async deleteAccount(password: string): Promise<void> {
    if (password === "wrong") throw new CommandError("wrong-password");
  }

  async exportAll(): Promise<Blob> {
    return new Blob(["{}"], { type: "application/json" });
  }

  async signOut(): Promise<void> {}

  retryNow(): void {
    this.set({ connection: { kind: "connected" } });
  }

  async tryDirect(account: string): Promise<void> {
    this.setRow(account, { link: link("direct", 14) });
  }

  active(): void {}

  async hideAddress(on: boolean): Promise<void> {
    this.set({ hideAddress: on });
  }

  async hideAddressFrom(account: string, on: boolean): Promise<void> {
    this.setPerson(account, { hidesAddress: on });
  }

  readonly admin = new DoubleAdmin();

  #replace(old: MessageView, change: Partial<MessageView>): void {
    this.messages[old.conversation] =
      this.messages[old.conversation]?.map((one) => (one.key === old.key ? { ...one, ...change } : one)) ?? [];
    this.set({});
  }
}

/** Puts a long past before the first conversation. */
function fill(messages: Record<string, MessageView[]>, count: number): void {
  const [id, newest = []] = Object.entries(messages)[0] ?? [];
  const first = newest[0];
  if (id !== undefined && first !== undefined) messages[id] = [...older(id, first, count, false), ...newest];
}

export class DoubleGate implements Gate {
  readonly session: DoubleSession;
  readonly #options: DoubleOptions;

  constructor(options: DoubleOptions) {
    this.#options = options;
    this.session = new DoubleSession(options);
  }

  async resume(): Promise<Session | null> {
    return this.#options.signedIn ? this.session : null;
  }

  async server() {
    if (this.#options.away) throw new CommandError("unreachable");
    const name = this.#options.chinese ? "修补角" : "Repair Café";
    return {
      name,
      version: "0.1.0",
      build: "5ca1ab1e".repeat(8),
      registration: "open" as const,
      secure: !this.#options.insecure,
    };
  }

  async openInvitation(code: string) {
    if (code === "expired" || code === "used-up" || code === "not-found") throw new CommandError(code);
    return {
      inviter: this.#options.chinese ? "米娅" : "Mia",
      place: this.#options.chinese ? "修补角" : "Repair Café",
      usable: code !== "closed",
      account: "mia",
      usesLeft: 3,
      expires: Date.now() + 3 * 86_400_000,
    };
  }

  async joinByName() {
    return { session: this.session, conversation: "mia" };
  }

  async register(userName: string): Promise<Session> {
    if (userName === "taken") throw new CommandError("name-taken");
    return this.session;
  }

  async logIn(_userName: string, password: string): Promise<Session> {
    if (password === "wrong") throw new CommandError("wrong-password");
    return this.session;
  }

  async reset(code: string): Promise<Session> {
    if (code === "wrong") throw new CommandError("wrong-password");
    return this.session;
  }

  async recover(_userName: string, code: string): Promise<Session> {
    if (code === "wrong") throw new CommandError("wrong-code");
    return this.session;
  }

  joinByLink(link: string, signal: AbortSignal): Promise<Session> {
    if (link.includes("used")) return Promise.reject(new CommandError("used-up"));
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  }

  async locked(): Promise<boolean> {
    return this.#options.locked;
  }

  async removeLocked(): Promise<void> {}
}
