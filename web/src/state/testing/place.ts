// A real server with people on it, each in a browser of their own.

import type { FakeNetwork } from "../../net/link/testing/webrtc.ts";
import type { OpenConversation, Session } from "../types.ts";
import { seen, type Tab, TestBrowser } from "./browser.ts";
import { TestServer } from "./server.ts";

export const PASSWORD = "correct horse battery";

/** Somebody with an account, in a tab of their browser. */
export interface Resident {
  readonly browser: TestBrowser;
  tab: Tab;
  session: Session;
}

/** Two people who talk. */
export interface Pair {
  readonly mia: Resident;
  readonly ben: Resident;
  readonly conversation: string;
}

export class Place {
  readonly server: TestServer;
  readonly #browsers: TestBrowser[] = [];
  #admin: Resident | null = null;

  private constructor(server: TestServer) {
    this.server = server;
  }

  static async open(): Promise<Place> {
    return new Place(await TestServer.start());
  }

  browser(network?: FakeNetwork): TestBrowser {
    const made = new TestBrowser(this.server, network);
    this.#browsers.push(made);
    return made;
  }

  /** The administrator, the only one with a password. */
  async admin(): Promise<Resident> {
    if (this.#admin !== null) return this.#admin;
    const browser = this.browser();
    const tab = browser.tab();
    const session = tab.keep(await tab.gate.register("ada", "Ada", PASSWORD, this.server.setup, ""));
    await connected(session);
    this.#admin = { browser, tab, session };
    return this.#admin;
  }

  /** A new device of the administrator's. */
  async device(network?: FakeNetwork): Promise<Resident> {
    await this.admin();
    const browser = this.browser(network);
    const tab = browser.tab();
    const session = tab.keep(await tab.gate.logIn("ada", PASSWORD));
    await connected(session);
    return { browser, tab, session };
  }

  /** Somebody new whom a resident invited; they share a conversation. */
  async guest(of: Resident, name: string, network?: FakeNetwork): Promise<Resident & { conversation: string }> {
    await connected(of.session); // the server may have been started again
    const { code, link } = await of.session.invite(1, 7);
    const browser = this.browser(network);
    const tab = browser.tab();
    const { session, conversation } = await tab.gate.joinByName(code, link.split("#")[1] ?? "", name);
    tab.keep(session);
    await connected(session);
    const has = (s: Session): boolean => s.view().conversations.some((c) => c.id === conversation);
    await seen(of.session, () => has(of.session), `${name} is there for who invited them`);
    await seen(session, () => has(session), `${name} has the conversation`);
    return { browser, tab, session, conversation };
  }

  async pair(network?: FakeNetwork): Promise<Pair> {
    const mia = await this.guest(await this.admin(), "Mia", network);
    const ben = await this.guest(mia, "Ben", network);
    return { mia, ben, conversation: ben.conversation };
  }

  /** Closes a resident's tab and opens another one on the same browser. */
  async reopen(r: Resident): Promise<void> {
    r.tab.close();
    r.tab = r.browser.tab();
    r.session = await r.tab.resume();
  }

  async close(): Promise<void> {
    for (const b of this.#browsers) b.close();
    await this.server.remove();
  }
}

export async function connected(session: Session): Promise<void> {
  await seen(session, (v) => v.connection.kind === "connected", "connected");
}

/** Unread messages in a conversation. */
export function unreadOf(session: Session, conversation: string): number {
  return session.view().conversations.find((c) => c.id === conversation)?.unread ?? -1;
}

/** Reads a conversation to its end. */
export function readAll(open: OpenConversation): void {
  const all = open.timeline().messages;
  open.markRead(
    all.reduce((most, m) => Math.max(most, m.seq), 0),
    all.at(-1)?.key,
  );
}
