import { equal } from "../wire/bytes.ts";
import { WireError } from "../wire/errors.ts";
import { VERSION } from "../wire/limits.ts";
import type { Hello, Welcome } from "../wire/schema.ts";
import { CloseCode, Connection, type FrameKind, OfflineError } from "./connection.ts";
import { UnreachableError } from "./rest.ts";
import { Stopwatch } from "./stopwatch.ts";

export { type FrameKind, OfflineError } from "./connection.ts";

/** The server does not let this device in any more. */
export class SignedOutError extends Error {
  /** Whether the server does not know the device any more; else the account may not be used at the moment. */
  readonly unknown: boolean;
  constructor(unknown = true) {
    super("this device was signed out");
    this.name = "SignedOutError";
    this.unknown = unknown;
  }
}

/** The session that the browser's cookie names is somebody else's: another account logged in here meanwhile. */
class StrangerError extends Error {}

// Times in milliseconds.
const BACKOFF = 500;
const BACKOFF_MOST = 30_000;
/** A refused handshake shows no status to a page: it renews the session; again only after so long if that was in vain. */
const RENEW_EVERY = 5 * 60_000;
/** Frames that wait to be handled; beyond that the connection is cut and sync brings the rest. */
const MOST_PUSHES = 512;

/** Codes with which the server closes (docs/PROTOCOL.md §7). */
const Refusal = { sessionOver: 4401, refused: 4403, superseded: 4409 } as const;

export type SocketState =
  | { readonly kind: "connected" }
  | { readonly kind: "connecting" }
  | { readonly kind: "unreachable"; readonly nextTry: number }
  | { readonly kind: "signed-out"; readonly suspended: boolean }
  | { readonly kind: "superseded" };

export interface SocketConfig {
  /** The server's origin. */
  readonly base: string;
  /** Whose session it has to be. */
  readonly self: { readonly account: Uint8Array; readonly device: Uint8Array };
  connect(url: string, protocol: string): WebSocket;
  hello(): Hello;
  /** Brings the state up to date before the first push is handled. */
  welcome(w: Welcome): Promise<void>;
  /** Handles a frame that the server sent on its own account, one after the other. */
  push(kind: FrameKind): Promise<void>;
  state(s: SocketState): void;
  /** Opens a new session by the device's signature. Throws SignedOutError when the server refuses. */
  renew(): Promise<void>;
}

type End = "again" | "renew" | "superseded" | "signed-out" | "suspended";

/** Keeps one authenticated socket alive, with full-jitter backoff, until close or until the server signs the device out. */
export class Socket {
  readonly #cfg: SocketConfig;
  #connection: Connection | null = null;
  #greeted = false;
  #handling: Promise<void> = Promise.resolve(); // pushes, one after the other
  #waiting = 0; // pushes not handled yet
  #renewed: Stopwatch | null = null; // since the session was renewed, and no connection opened
  #closed = false;
  #wake: (() => void) | null = null;

  constructor(cfg: SocketConfig) {
    this.#cfg = cfg;
  }

  /** Whether requests can be made now. */
  get connected(): boolean {
    return this.#greeted && this.#connection?.open === true;
  }

  /** Connects and reconnects; resolves when it is over. */
  async run(): Promise<void> {
    let renew = false;
    for (let attempt = 0; !this.#closed; attempt++) {
      this.#cfg.state({ kind: "connecting" });
      const lived = new Stopwatch();
      const end = await this.#attempt(renew);
      if (this.#closed) return;
      if (end === "signed-out" || end === "suspended") {
        this.#cfg.state({ kind: "signed-out", suspended: end === "suspended" });
        return;
      }
      renew = end === "renew";
      if (lived.elapsed > BACKOFF_MOST) attempt = 0;
      if (await this.#rest(end, attempt)) attempt = -1;
    }
  }

  /** Waits for the next attempt; true when retryNow ended it early. Whoever was superseded waits for that alone. */
  #rest(end: End, attempt: number): Promise<boolean> {
    if (end === "superseded") {
      this.#cfg.state({ kind: end });
      return this.#pause(null);
    }
    const wait = BACKOFF / 10 + Math.random() * Math.min(BACKOFF_MOST, BACKOFF * 2 ** Math.min(attempt, 10));
    this.#cfg.state({ kind: "unreachable", nextTry: Date.now() + wait });
    return this.#pause(wait);
  }

  #pause(ms: number | null): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (early: boolean): void => {
        if (timer !== null) clearTimeout(timer);
        this.#wake = null;
        resolve(early);
      };
      const timer = ms === null ? null : setTimeout(() => done(false), ms);
      this.#wake = () => done(true);
    });
  }

  /** Ends a running wait: the network came back, or a person asks for it. */
  retryNow(): void {
    this.#wake?.();
  }

  /** Finds out whether an open connection still leads anywhere. */
  check(): void {
    if (this.#greeted) this.#connection?.check();
  }

  close(): void {
    this.#closed = true;
    this.#greeted = false;
    this.#wake?.();
    this.#connection?.close();
  }

  /** Serves one connection and says what its end asks for. */
  async #attempt(renew: boolean): Promise<End> {
    try {
      if (renew) {
        await this.#cfg.renew();
        this.#renewed = new Stopwatch();
      }
      const code = await this.#serve();
      if (code === Refusal.superseded || code === Refusal.refused) return "superseded";
      if (code === Refusal.sessionOver) return "renew";
      const inVain = this.#renewed !== null && this.#renewed.elapsed < RENEW_EVERY;
      return code === 0 && !inVain ? "renew" : "again";
    } catch (e) {
      if (e instanceof SignedOutError) return e.unknown ? "signed-out" : "suspended";
      if (e instanceof StrangerError) return "renew";
      if (!(e instanceof UnreachableError || e instanceof WireError)) console.error("socket", e);
      return "again";
    }
  }

  /** Serves one connection until it ends; resolves to its close code, 0 when it never opened. */
  async #serve(): Promise<number> {
    if (this.#closed) return CloseCode.done;
    const url = `${this.#cfg.base.replace(/^http/, "ws")}/api/v1/socket`;
    let stranger: StrangerError | null = null;
    const connection: Connection = new Connection(
      this.#cfg.connect(url, "parley.v1"),
      () => {
        this.#greet(connection).catch((e: unknown) => {
          if (e instanceof StrangerError) stranger = e;
          else if (!(e instanceof OfflineError)) console.error("greeting", e);
          connection.close();
        });
      },
      (kind) => this.#push(connection, kind),
    );
    this.#connection = connection;
    const code = await connection.ended;
    this.#connection = null;
    this.#greeted = false;
    await this.#handling;
    if (stranger !== null) throw stranger;
    return code;
  }

  async #greet(connection: Connection): Promise<void> {
    const answer = await connection.ask({ case: "hello", value: this.#cfg.hello() });
    if (answer.case !== "welcome" || answer.value.version !== VERSION)
      throw new UnreachableError("what answered does not speak this version of the protocol");
    const { value } = answer;
    const { account, device } = this.#cfg.self;
    if (!equal(value.account, account) || !equal(value.device, device)) throw new StrangerError();
    this.#greeted = true;
    this.#renewed = null;
    // Pushes that come meanwhile wait behind what the greeting brings.
    const done = this.#handling.then(() => this.#cfg.welcome(value));
    this.#handling = done.catch(() => undefined);
    await done;
    if (this.connected && this.#connection === connection) this.#cfg.state({ kind: "connected" });
  }

  #push(connection: Connection, kind: FrameKind): void {
    if (this.#waiting >= MOST_PUSHES) {
      connection.close(CloseCode.slow);
      return;
    }
    this.#waiting++;
    this.#handling = this.#handling
      .then(() => (connection.open ? this.#cfg.push(kind) : undefined)) // the next greeting brings the rest
      .catch((e: unknown) => {
        if (!(e instanceof OfflineError)) console.error("push", e);
      })
      .finally(() => {
        this.#waiting--;
      });
  }

  /** Sends a request and resolves to its answer. Rejects with WireError, OfflineError. */
  ask(kind: FrameKind): Promise<FrameKind> {
    if (!this.#greeted || this.#connection === null) return Promise.reject(new OfflineError());
    return this.#connection.ask(kind);
  }

  /** Sends a frame that has no answer, if that is possible right now. */
  tell(kind: FrameKind): void {
    if (this.#greeted) this.#connection?.tell(kind);
  }
}
