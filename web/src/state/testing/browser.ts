// Browsers without a browser: each has its own database, cookies, locks and channels, and tabs that share them.
import "fake-indexeddb/auto";
import { inspect } from "node:util";
import { FakeNetwork } from "../../net/link/testing/webrtc.ts";
import { newID } from "../../wire/ids.ts";
import { BrowserGate } from "../gate.ts";
import type { PageEvents, Platform } from "../platform.ts";
import type { MessageView, OpenConversation, Session, View } from "../types.ts";
import { Line } from "./line.ts";
import type { TestServer } from "./server.ts";
import { type Channel, Channels, Locks } from "./tabs.ts";

/** How long anything may take on a slow, loaded machine. */
export const PATIENCE = 60_000;

/** One person's browser. */
export class TestBrowser {
  readonly server: TestServer;
  readonly network: FakeNetwork;
  readonly line = new Line();
  readonly database = `parley-${newID()}`;
  readonly locks = new Locks();
  readonly channels = new Channels();
  readonly #cookies = new Map<string, string>();
  readonly #tabs = new Set<Tab>();

  /** Browsers on one network reach each other directly; without one there is only the relay. */
  constructor(server: TestServer, network = new FakeNetwork({ blocked: true })) {
    this.server = server;
    this.network = network;
  }

  /** Opens a tab, of which some parts may be others than the browser's. */
  tab(other: Partial<Platform> = {}): Tab {
    const tab = new Tab(this, other);
    this.#tabs.add(tab);
    return tab;
  }

  get headers(): Record<string, string> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    return { Origin: this.server.url, ...(cookie === "" ? {} : { Cookie: cookie }) };
  }

  readonly fetch: typeof fetch = async (input, init) => {
    if (this.line.isCut) throw new TypeError("no network");
    const headers = { ...(init?.headers as Record<string, string>), ...this.headers };
    const response = await fetch(input, { ...init, headers });
    for (const line of response.headers.getSetCookie()) {
      const [pair = ""] = line.split(";");
      const at = pair.indexOf("=");
      this.#cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
    return response;
  };

  /** Loses the session's cookie, as after years or by a person's hand. */
  forgetCookies(): void {
    this.#cookies.clear();
  }

  /** Holds another browser's session, as after another account logged in here. */
  takeCookies(from: TestBrowser): void {
    this.#cookies.clear();
    for (const [name, value] of from.#cookies) this.#cookies.set(name, value);
  }

  close(): void {
    for (const tab of this.#tabs) tab.close();
  }
}

/** A tab of a browser. */
export class Tab {
  readonly browser: TestBrowser;
  readonly gate: BrowserGate;
  readonly #watchers = new Set<PageEvents>();
  readonly #channels: Channel[] = [];
  #session: (Session & { close?(): void }) | null = null;
  reloads = 0;

  constructor(browser: TestBrowser, other: Partial<Platform>) {
    this.browser = browser;
    this.gate = new BrowserGate(browser.server.url, "test", { ...this.#platform(), ...other });
  }

  #platform(): Platform {
    const { browser } = this;
    return {
      database: browser.database,
      agent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0",
      secure: true,
      fetch: browser.fetch,
      locks: browser.locks,
      webSocket: (url, protocol) => browser.line.connect(url, protocol, browser.headers),
      peerConnection: (c) => browser.network.peerConnection(c),
      channel: (name) => {
        const made = browser.channels.channel(name);
        this.#channels.push(made);
        return made;
      },
      online: () => !browser.line.isCut,
      reload: () => {
        this.reloads++;
      },
      watch: (events) => {
        this.#watchers.add(events);
        return () => this.#watchers.delete(events);
      },
    };
  }

  /** Something happens to the page. */
  page(event: keyof PageEvents): void {
    for (const w of [...this.#watchers]) w[event]();
  }

  /** Loses from now on what the tab says to others. */
  mute(which: (m: unknown) => boolean = () => true): void {
    for (const c of this.#channels) c.muted = which;
  }

  /** Keeps a session to end with the tab. */
  keep<S extends Session>(session: S): S {
    this.#session = session;
    return session;
  }

  async resume(): Promise<Session> {
    const session = await this.gate.resume();
    if (session === null) throw new Error("no session is stored in this browser");
    return this.keep(session);
  }

  close(): void {
    this.#session?.close?.();
    this.#session = null;
  }
}

/** Polls until something is there; fails with what is there instead. */
export async function until<T>(read: () => T, is: (value: T) => boolean, what: string): Promise<T> {
  const end = performance.now() + PATIENCE;
  for (;;) {
    const value = read();
    if (is(value)) return value;
    if (performance.now() > end) throw new Error(`never: ${what}; there is ${inspect(value, { depth: 6 })}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Waits for a view. */
export function seen(session: Session, is: (v: View) => boolean, what: string): Promise<View> {
  return until(() => session.view(), is, what);
}

/** Waits for what a conversation shows. */
export async function shows(
  open: OpenConversation,
  is: (all: readonly MessageView[]) => boolean,
  what: string,
): Promise<readonly MessageView[]> {
  const timeline = await until(
    () => open.timeline(),
    (t) => is(t.messages),
    what,
  );
  return timeline.messages;
}

export const texts = (all: readonly MessageView[]): string[] => all.map((m) => m.text);
