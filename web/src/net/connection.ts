import { create, toBinary } from "@bufbuild/protobuf";
import { WireError } from "../wire/errors.ts";
import { MAX_FRAME } from "../wire/limits.ts";
import { type Frame, FrameSchema, IceRequestSchema } from "../wire/schema.ts";
import { unmarshal } from "../wire/unmarshal.ts";
import { Stopwatch } from "./stopwatch.ts";

/** There is no connection to the server at the moment. */
export class OfflineError extends Error {
  constructor() {
    super("not connected to the server");
    this.name = "OfflineError";
  }
}

export type FrameKind = Frame["kind"];

// Times in milliseconds.
const SILENCE = 60_000; // nothing heard for so long: the connection is dead. Browsers hide pings, so requests ask.
const PROBE = 30_000; // a request after so much silence, whose answer proves that the connection lives
const REQUEST = 15_000; // a server that leaves a request unanswered for so long is as good as gone
const CHECK = 5_000; // the same where the browser says that there is no network
const CONNECT = 10_000;
const CLOSING = 2_000; // for the other end to answer a close; a dead network never does
/** Requests that wait for an answer. */
const MOST_PENDING = 256;
/** Bytes that may wait in the browser before hints such as typing are dropped. */
const MOST_BUFFERED = 1 << 20;

/** Codes with which this side closes; pages may use none below 3000 but 1000. */
export const CloseCode = { done: 1000, malformed: 4400, slow: 4408 } as const;

interface Pending {
  resolve(kind: FrameKind): void;
  reject(e: unknown): void;
  timer: ReturnType<typeof setTimeout>;
}

/** One WebSocket: requests and their answers, and what the server sends on its own account. It never comes back once ended. */
export class Connection {
  /** Resolves to the close code, 0 when it never opened. */
  readonly ended: Promise<number>;
  readonly #ws: WebSocket;
  readonly #push: (kind: FrameKind) => void;
  readonly #pending = new Map<bigint, Pending>();
  readonly #heard = new Stopwatch();
  readonly #connecting: ReturnType<typeof setTimeout>;
  readonly #watching: ReturnType<typeof setInterval>;
  #finish: (code: number) => void = () => undefined;
  #request = 0n;
  #opened = false;
  #over = false;

  /** opened is called once requests can be made. */
  constructor(ws: WebSocket, opened: () => void, push: (kind: FrameKind) => void) {
    this.#ws = ws;
    this.#push = push;
    this.ended = new Promise((resolve) => {
      this.#finish = resolve;
    });
    ws.binaryType = "arraybuffer";
    ws.addEventListener("open", () => {
      this.#opened = true;
      clearTimeout(this.#connecting);
      this.#heard.restart();
      opened();
    });
    ws.addEventListener("message", (e: MessageEvent<unknown>) => this.#message(e.data));
    ws.addEventListener("close", (e) => this.#end(this.#opened ? e.code : 0));
    this.#connecting = setTimeout(() => this.close(), CONNECT);
    this.#watching = setInterval(() => this.#watch(), PROBE / 2);
  }

  /** Whether frames may pass. */
  get open(): boolean {
    return !this.#over && this.#ws.readyState === this.#ws.OPEN;
  }

  close(code: number = CloseCode.done): void {
    this.#ws.close(code);
    setTimeout(() => this.#end(this.#opened ? code : 0), CLOSING);
  }

  #end(code: number): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#connecting);
    clearInterval(this.#watching);
    for (const p of this.#pending.values()) {
      clearTimeout(p.timer);
      p.reject(new OfflineError());
    }
    this.#pending.clear();
    this.#finish(code);
  }

  /** Notices a network that went away without a word: after a sleep, or behind a router that forgot. */
  #watch(): void {
    const silent = this.#heard.elapsed;
    if (silent > SILENCE) this.close();
    else if (silent > PROBE) this.check(REQUEST);
  }

  #message(data: unknown): void {
    if (this.#over) return;
    this.#heard.restart();
    let frame: Frame;
    try {
      if (!(data instanceof ArrayBuffer) || data.byteLength > MAX_FRAME) throw new RangeError("not a frame");
      frame = unmarshal(FrameSchema, new Uint8Array(data));
    } catch {
      this.close(CloseCode.malformed);
      return;
    }
    if (frame.request !== 0n) this.#answer(frame);
    else if (frame.kind.case !== undefined) this.#push(frame.kind);
  }

  #answer(frame: Frame): void {
    const pending = this.#pending.get(frame.request);
    if (pending === undefined) return; // it came too late
    this.#pending.delete(frame.request);
    clearTimeout(pending.timer);
    if (frame.kind.case === "error") pending.reject(WireError.fromProto(frame.kind.value));
    else pending.resolve(frame.kind);
  }

  /** Asks for a sign of life now: the network may have gone. Without one the connection ends. */
  check(patience = CHECK): void {
    if (!this.open) return;
    this.ask({ case: "iceRequest", value: create(IceRequestSchema) }, patience).catch(() => {
      // its answer only proves that the connection lives
    });
  }

  /** Sends a request and resolves to its answer. Rejects with WireError, OfflineError. */
  ask(kind: FrameKind, patience = REQUEST): Promise<FrameKind> {
    if (!this.open || this.#pending.size >= MOST_PENDING) return Promise.reject(new OfflineError());
    this.#request++;
    const request = this.#request;
    this.#send(create(FrameSchema, { request, kind }));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(request);
        reject(new OfflineError());
        this.close();
      }, patience);
      this.#pending.set(request, { resolve, reject, timer });
    });
  }

  /** Sends a frame that has no answer, if that is possible right now. */
  tell(kind: FrameKind): void {
    if (this.open && this.#ws.bufferedAmount <= MOST_BUFFERED) this.#send(create(FrameSchema, { kind }));
  }

  #send(frame: Frame): void {
    this.#ws.send(new Uint8Array(toBinary(FrameSchema, frame)));
  }
}
