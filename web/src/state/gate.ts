import { deleteDB } from "idb";
import { Rest } from "../net/rest.ts";
import { own } from "../wire/bytes.ts";
import { hasCode } from "../wire/errors.ts";
import { pairID } from "../wire/ids.ts";
import { ErrorCode, ServerInfoSchema } from "../wire/schema.ts";
import { type Inviter, logIn, type NewAccount, type Opened, openInviter, register } from "./account.ts";
import { Core } from "./core.ts";
import { DATABASE, type Database, openDatabase, type Profile } from "./db.ts";
import { Engine } from "./engine.ts";
import { command, commandError } from "./failures.ts";
import { learnList } from "./people.ts";
import { TabSession } from "./tabs.ts";
import { CommandError, type Gate, type OpenInvitation, type Session } from "./types.ts";

const PROFILE = "profile";

/** What stands before the session of the account in this browser. */
export class BrowserGate implements Gate {
  readonly #base: string;
  readonly #version: string;
  readonly #rest: Rest;
  #db: Database | null = null;

  constructor(base: string, version: string) {
    this.#base = base;
    this.#version = version;
    this.#rest = new Rest(base);
  }

  async #database(): Promise<Database> {
    this.#db ??= await openDatabase(() => this.#db?.close());
    return this.#db;
  }

  resume(): Promise<Session | null> {
    return command(async () => {
      const db = await this.#database();
      const profile = (await db.get("meta", PROFILE)) as Profile | undefined;
      return profile === undefined ? null : this.#start(db, profile);
    });
  }

  #start(db: Database, profile: Profile): Promise<Session> {
    return TabSession.start(async () => {
      const core = await Core.load(db, profile); // read when this tab becomes the owner: another one may have written till then
      return Engine.start({
        core,
        rest: this.#rest,
        base: this.#base,
        version: this.#version,
        forget: () => this.#forget(),
      });
    });
  }

  async #forget(): Promise<void> {
    this.#db?.close();
    this.#db = null;
    await deleteDB(DATABASE);
  }

  async server(): Promise<Awaited<ReturnType<Gate["server"]>>> {
    return command(async () => {
      const info = await this.#rest.call("GET", "/api/v1/server", ServerInfoSchema);
      const registration =
        info.registration === "open" || info.registration === "closed" ? info.registration : "invite";
      return { name: info.name, version: info.version, registration, secure: globalThis.isSecureContext };
    });
  }

  openInvitation(code: string, secret: string): Promise<OpenInvitation> {
    return command(async () => {
      const [inviter, server] = await Promise.all([this.#inviter(code, secret), this.server()]);
      const { account, nickname, usable, usesLeft, expires } = inviter;
      return { account, inviter: nickname, place: server.name, usable, usesLeft, expires };
    });
  }

  #inviter(code: string, secret: string): Promise<Inviter> {
    return openInviter(this.#rest, `${code}.${secret}`).catch((e: unknown) => {
      throw hasCode(e, ErrorCode.MALFORMED) ? new CommandError("not-found") : e;
    });
  }

  joinByName(code: string, secret: string, nickname: string): Promise<{ session: Session; conversation: string }> {
    return command(async () => {
      const inviter = await this.#inviter(code, secret);
      const opened = await this.#register({ userName: "", nickname, password: "", setup: "", place: "", inviter });
      const session = await this.#keep(opened);
      return { session, conversation: await pairID(inviter.account, opened.profile.account as typeof inviter.account) };
    });
  }

  register(userName: string, nickname: string, password: string, setup: string, place: string): Promise<Session> {
    return command(async () =>
      this.#keep(await this.#register({ userName, nickname, password, setup, place, inviter: null })),
    );
  }

  #register(a: NewAccount): Promise<Opened> {
    return register(this.#rest, this.#base, a);
  }

  async logIn(userName: string, password: string): Promise<Session> {
    try {
      return await this.#keep(await logIn(this.#rest, this.#base, userName, password));
    } catch (e) {
      throw hasCode(e, ErrorCode.UNAUTHENTICATED) ? new CommandError("wrong-password") : commandError(e);
    }
  }

  /** Writes a new profile and what it begins with, and starts its session. */
  async #keep(opened: Opened): Promise<Session> {
    const db = await this.#database();
    const core = await Core.load(db, opened.profile);
    await core.step(async (s) => {
      s.batch.set(PROFILE, opened.profile);
      const self = s.person(core.account);
      await learnList(s, self, opened.list);
      self.userName = opened.profile.userName;
      s.savePerson(self);
      if (opened.pinned === null) return;
      const inviter = s.person(opened.pinned.account);
      inviter.identityKey = own(opened.pinned.list.list.identityKey);
      inviter.nickname = opened.pinned.nickname;
      await learnList(s, inviter, opened.pinned.list.signed);
      s.savePerson(inviter);
    });
    return this.#start(db, opened.profile);
  }
}
