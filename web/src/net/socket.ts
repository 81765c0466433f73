import { create, toBinary } from "@bufbuild/protobuf";
import { WireError } from "../wire/errors.ts";
import { type Frame, FrameSchema, type Hello, IceRequestSchema, type Welcome } from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { UnreachableError } from "./rest.ts";

/** There is no connection to the server at the moment. */
export class OfflineError extends Error {
  constructor() {
    super("not connected to the server");
    this.name = "OfflineError";
  }
}

/** The server does not let this device in any more. */
export class SignedOutError extends Error {
  constructor() {
    super("this device was signed out");
    this.name = "SignedOutError";
  }
}

// Times in milliseconds.
const SILENCE = 60_000; // nothing heard for so long: the connection is dead. Browsers hide pings, so requests ask.
const PROBE = 30_000; // a request after so much silence, whose answer proves that the connection lives
const REQUEST = 15_000;
const CONNECT = 10_000;
const BACKOFF = 500;
const BACKOFF_MOST = 30_000;
/** Requests that wait for an answer. */
const MOST_PENDING = 256;
/** Bytes that may wait in the browser before hints such as typing are dropped. */
const MOST_BUFFERED = 1 << 20;

enum Close {
  SessionOver = 4401,
  Refused = 4403,
  Superseded = 4409,
}

export type SocketState =
  | { readonly kind: "connected" }
  | { readonly kind: "connecting" }
  | { readonly kind: "unreachable"; readonly nextTry: number }
  | { readonly kind: "signed-out" }
  | { readonly kind: "superseded" };

export type FrameKind = Frame["kind"];

export interface SocketConfig {
  /** The server's origin. */
  readonly base: string;
  hello(): Hello;
  /** Brings the state up to date before the first push is handled. */
  welcome(w: Welcome): Promise<void>;
  /** Handles a frame that the server sent on its own account, one after the other. */
  push(kind: FrameKind): Promise<void>;
  state(s: SocketState): void;
  /** Opens a new session by the device's signature. Throws SignedOutError when the server refuses. */
  renew(): Promise<void>;
}

interface Pending {
  resolve(kind: FrameKind): void;
  reject(e: unknown): void;
  timer: ReturnType<typeof setTimeout>;
}

/** Keeps one authenticated socket alive, with full-jitter backoff, until close or until the server refuses for good. */
export class Socket {
  readonly #cfg: SocketConfig;
  #ws: WebSocket | null = null;
  #greeted = false;
  #request = 0n;
  #pending = new Map<bigint, Pending>();
  #pushes: Promise<void> = Promise.resolve();
  #closed = false;
  #wake: (() => void) | null = null;
  #heard = 0;

  constructor(cfg: SocketConfig) {
    this.#cfg = cfg;
  }

  /** Whether requests can be made now. */
  get connected(): boolean {
    return this.#greeted;
  }

  /** Connects and reconnects; resolves when it is over. */
  async run(): Promise<void> {
    let renew = false;
    for (let attempt = 0; !this.#closed; attempt++) {
      this.#cfg.state({ kind: "connecting" });
      const started = Date.now();
      const end = await this.#attempt(renew);
      if (end === "superseded" || end === "signed-out") {
        this.#cfg.state({ kind: end });
        return;
      }
      renew = end === "renew";
      if (this.#closed) return;
      if (Date.now() - started > BACKOFF_MOST) attempt = 0;
      const wait = BACKOFF / 10 + Math.random() * Math.min(BACKOFF_MOST, BACKOFF * 2 ** Math.min(attempt, 10));
      this.#cfg.state({ kind: "unreachable", nextTry: Date.now() + wait });
      if (await this.#pause(wait)) attempt = -1;
    }
  }

  /** Serves one connection and says what its end asks for. */
  async #attempt(renew: boolean): Promise<"again" | "renew" | "superseded" | "signed-out"> {
    try {
      if (renew) await this.#cfg.renew();
      const code = await this.#serve();
      if (code === Close.Superseded || code === Close.Refused) return "superseded";
      // A refused handshake shows no status to a page: if nothing was opened the session may be over.
      return code === Close.SessionOver || code === 0 ? "renew" : "again";
    } catch (e) {
      if (e instanceof SignedOutError) return "signed-out";
      if (!(e instanceof UnreachableError || e instanceof WireError)) console.error("socket", e);
      return "again";
    }
  }

  /** Waits; true when retryNow ended it early. */
  #pause(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#wake = null;
        resolve(false);
      }, ms);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = null;
        resolve(true);
      };
    });
  }

  /** Ends a running wait: the network came back. */
  retryNow(): void {
    this.#wake?.();
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
    this.#ws?.close(1000);
  }

  /** Serves one connection; resolves to its close code, 0 when it never opened. */
  async #serve(): Promise<number> {
    const ws = new WebSocket(`${this.#cfg.base.replace(/^http/, "ws")}/api/v1/socket`, "parley.v1");
    ws.binaryType = "arraybuffer";
    this.#ws = ws;
    let opened = false;
    const ended = new Promise<number>((resolve) => {
      ws.addEventListener("close", (e) => resolve(opened ? e.code : 0), { once: true });
    });
    const connecting = setTimeout(() => ws.close(), CONNECT);
    ws.addEventListener("message", (e: MessageEvent<unknown>) => {
      this.#heard = Date.now();
      if (e.data instanceof ArrayBuffer) this.#receive(ws, new Uint8Array(e.data));
    });
    ws.addEventListener("open", () => {
      opened = true;
      clearTimeout(connecting);
      this.#heard = Date.now();
      this.#greet(ws).catch((e: unknown) => {
        if (!(e instanceof OfflineError)) console.error("greeting", e);
        ws.close();
      });
    });
    const watch = setInterval(() => this.#watch(ws), PROBE / 2);
    const code = await ended;
    clearInterval(watch);
    clearTimeout(connecting);
    this.#ws = null;
    this.#greeted = false;
    for (const p of this.#pending.values()) {
      clearTimeout(p.timer);
      p.reject(new OfflineError());
    }
    this.#pending.clear();
    await this.#pushes;
    return code;
  }

  #watch(ws: WebSocket): void {
    const silent = Date.now() - this.#heard;
    if (silent > SILENCE) ws.close();
    else if (silent > PROBE && this.#greeted) {
      this.ask({ case: "iceRequest", value: create(IceRequestSchema) }).catch(() => {
        // its answer only proves that the connection lives
      });
    }
  }

  async #greet(ws: WebSocket): Promise<void> {
    const answer = await this.#ask(ws, { case: "hello", value: this.#cfg.hello() });
    if (answer.case !== "welcome") throw new UnreachableError("the server did not greet");
    const { value } = answer;
    this.#greeted = true;
    // Pushes that come meanwhile wait behind what the greeting brings.
    const done = this.#pushes.then(() => this.#cfg.welcome(value));
    this.#pushes = done.catch(() => undefined);
    await done;
    if (this.#ws === ws) this.#cfg.state({ kind: "connected" });
  }

  #receive(ws: WebSocket, bytes: Uint8Array): void {
    let frame: Frame;
    try {
      frame = unmarshal(FrameSchema, bytes);
    } catch {
      ws.close(4400);
      return;
    }
    const pending = this.#pending.get(frame.request);
    if (frame.request !== 0n && pending !== undefined) {
      this.#pending.delete(frame.request);
      clearTimeout(pending.timer);
      if (frame.kind.case === "error") pending.reject(WireError.fromProto(frame.kind.value));
      else pending.resolve(frame.kind);
      return;
    }
    if (frame.request !== 0n || frame.kind.case === undefined) return;
    this.#pushes = this.#pushes.then(() => this.#cfg.push(frame.kind)).catch((e: unknown) => console.error("push", e));
  }

  /** Sends a request and resolves to its answer. Throws WireError, OfflineError. */
  ask(kind: FrameKind): Promise<FrameKind> {
    if (this.#ws === null || !this.#greeted) return Promise.reject(new OfflineError());
    return this.#ask(this.#ws, kind);
  }

  #ask(ws: WebSocket, kind: FrameKind): Promise<FrameKind> {
    if (ws.readyState !== WebSocket.OPEN || this.#pending.size >= MOST_PENDING)
      return Promise.reject(new OfflineError());
    this.#request++;
    const request = this.#request;
    ws.send(new Uint8Array(toBinary(FrameSchema, create(FrameSchema, { request, kind }))));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(request);
        reject(new OfflineError());
      }, REQUEST);
      this.#pending.set(request, { resolve, reject, timer });
    });
  }

  /** Sends a frame that has no answer, if that is possible right now. */
  tell(kind: FrameKind): void {
    const ws = this.#ws;
    if (ws === null || !this.#greeted || ws.bufferedAmount > MOST_BUFFERED) return;
    ws.send(new Uint8Array(toBinary(FrameSchema, create(FrameSchema, { kind }))));
  }
}
