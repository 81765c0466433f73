import { deleteDB } from "idb";
import { Rest } from "../net/rest.ts";
import { hasCode } from "../wire/errors.ts";
import { serverHost } from "../wire/host.ts";
import { pairID } from "../wire/ids.ts";
import { foldUserName } from "../wire/names.ts";
import { parseRecoveryCode } from "../wire/recovery.ts";
import { ErrorCode, ServerInfoSchema } from "../wire/schema.ts";
import { checkPassword } from "../wire/strength.ts";
import {
  addDevice,
  deviceName,
  type Inviter,
  logIn,
  type NewAccount,
  type OpenAccount,
  type Opened,
  openByRecovery,
  openInviter,
  register,
  setPassword,
} from "./account.ts";
import { AdminClient } from "./admin.ts";
import { Core } from "./core.ts";
import { Batch, type Database, type Lost, openDatabase } from "./db.ts";
import { Engine } from "./engine.ts";
import { moveIn } from "./enter.ts";
import { command, commandError } from "./failures.ts";
import { joinByLink, readDeviceLink } from "./joindevice.ts";
import { forgetLocked, lock, lockedAccount } from "./lock.ts";
import { browserPlatform, type Platform } from "./platform.ts";
import { type Intent, Meta, type Profile } from "./records.ts";
import { reset } from "./reset.ts";
import { TabSession } from "./tabs.ts";
import { CommandError, type Gate, type OpenInvitation, type Session } from "./types.ts";

/** What stands before the session of the account in this browser. */
export class BrowserGate implements Gate {
  readonly #base: string;
  readonly #version: string;
  readonly #platform: Platform;
  readonly #rest: Rest;
  #db: Promise<Database> | null = null;
  #session: TabSession | null = null;
  #signedOut = false; // in another tab: nothing is stored any more

  /** base is the server's origin. */
  constructor(base: string, version: string, platform: Platform = browserPlatform) {
    this.#base = base;
    this.#version = version;
    this.#platform = platform;
    this.#rest = new Rest(base, platform.fetch);
  }

  #database(): Promise<Database> {
    this.#db ??= openDatabase(this.#platform.database, (why) => this.#lost(why)).catch((e: unknown) => {
      this.#db = null;
      throw e;
    });
    return this.#db;
  }

  #lost(why: Lost): void {
    this.#db = null;
    if (why === "removed") this.#signedOut = true;
    else this.#session?.stepAside();
  }

  resume(): Promise<Session | null> {
    return command(async () => {
      const profile = await (await this.#database()).get("meta", Meta.profile);
      return profile === undefined ? null : this.#start(null);
    });
  }

  /** Starts the session that is stored, or a new one that takes its place in all tabs. */
  async #start(opened: Opened | null): Promise<Session> {
    this.#session?.close();
    this.#signedOut = false;
    let entering = opened;
    this.#session = await TabSession.start(
      {
        platform: this.#platform,
        admin: new AdminClient(this.#rest, this.#base),
        make: async () => {
          if (entering !== null) await moveIn(await this.#database(), entering);
          entering = null;
          return this.#engine();
        },
        keep: (i) => this.#keep(i),
      },
      opened !== null,
    );
    return this.#session;
  }

  /** Reads what is stored when this tab becomes the owner: another one may have written till then. */
  async #engine(): Promise<Engine> {
    if (this.#signedOut) throw new CommandError("signed-out");
    const db = await this.#database();
    const profile = (await db.get("meta", Meta.profile)) as Profile | undefined;
    if (profile === undefined) throw new CommandError("signed-out");
    const core = await Core.load(db, profile);
    return Engine.start({
      core,
      platform: this.#platform,
      rest: this.#rest,
      base: this.#base,
      version: this.#version,
      forget: () => this.#forget(),
      lock: () => lock(db, core),
    });
  }

  async #keep(i: Intent): Promise<void> {
    const tx = (await this.#database()).transaction("intents", "readwrite", { durability: "strict" });
    await Promise.all([tx.store.put(i), tx.done]);
  }

  async #forget(): Promise<void> {
    (await this.#db)?.close();
    this.#db = null;
    await deleteDB(this.#platform.database);
  }

  async server(): Promise<Awaited<ReturnType<Gate["server"]>>> {
    return command(async () => {
      const info = await this.#rest.call("GET", "/api/v1/server", ServerInfoSchema);
      const registration =
        info.registration === "open" || info.registration === "closed" ? info.registration : "invite";
      const { name, version, webHash: build } = info;
      return { name, version, build, registration, secure: this.#platform.secure };
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
      const session = await this.#start(opened);
      return { session, conversation: await pairID(inviter.account, opened.profile.account as typeof inviter.account) };
    });
  }

  register(userName: string, nickname: string, password: string, setup: string, place: string): Promise<Session> {
    return command(async () =>
      this.#start(await this.#register({ userName, nickname, password, setup, place, inviter: null })),
    );
  }

  #register(a: Omit<NewAccount, "deviceName">): Promise<Opened> {
    return register(this.#rest, this.#base, { ...a, deviceName: deviceName(this.#platform.agent) });
  }

  async reset(code: string, userName: string, password: string): Promise<Session> {
    try {
      const name = deviceName(this.#platform.agent);
      return await this.#start(await reset(this.#rest, this.#base, code, userName, password, name));
    } catch (e) {
      throw hasCode(e, ErrorCode.UNAUTHENTICATED) ? new CommandError("wrong-password") : commandError(e);
    }
  }

  async logIn(userName: string, password: string): Promise<Session> {
    try {
      const name = deviceName(this.#platform.agent);
      return await this.#start(await logIn(this.#rest, this.#base, userName, password, name));
    } catch (e) {
      throw hasCode(e, ErrorCode.UNAUTHENTICATED) ? new CommandError("wrong-password") : commandError(e);
    }
  }

  async recover(userName: string, code: string, password: string): Promise<Session> {
    return command(async () => {
      const user = foldUserName(userName);
      checkPassword(password, [user, serverHost(this.#base)]);
      const opened = await this.#byRecovery(user, code);
      const session = await addDevice(this.#rest, opened, user, deviceName(this.#platform.agent));
      try {
        await setPassword(this.#rest, this.#base, await this.#byRecovery(user, code), user, password);
      } catch (e) {
        await this.#rest.send("DELETE", "/api/v1/session").catch(() => undefined); // whoever tries again is a new device
        throw e;
      }
      return this.#start(session);
    });
  }

  async #byRecovery(user: string, code: string): Promise<OpenAccount> {
    try {
      return await openByRecovery(this.#rest, this.#base, user, await parseRecoveryCode(code));
    } catch (e) {
      const wrong = hasCode(e, ErrorCode.UNAUTHENTICATED) || hasCode(e, ErrorCode.MALFORMED);
      throw wrong ? new CommandError("wrong-code", e instanceof Error ? e.message : "") : e;
    }
  }

  joinByLink(link: string, signal: AbortSignal): Promise<Session> {
    return command(async () => {
      const secret = readDeviceLink(this.#base, link);
      const name = deviceName(this.#platform.agent);
      return this.#start(await joinByLink(this.#rest, this.#base, secret, name, signal));
    });
  }

  locked(): Promise<boolean> {
    return command(async () => (await lockedAccount(await this.#database())) !== null);
  }

  removeLocked(): Promise<void> {
    return command(async () => {
      const db = await this.#database();
      const batch = new Batch();
      await forgetLocked(db, batch);
      await batch.commit(db);
    });
  }
}
