// A WebSocket to the real server that a test may cut, watch and tamper with.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Frame, FrameSchema } from "../../wire/schema.ts";

/** What a test does to a frame on its way: others in its place, none, or nothing. */
export type Tamper = (f: Frame) => Frame | readonly Frame[] | null | undefined;

/** The wire between a browser and its server. */
export class Line {
  /** Frames to and from the server. null drops a frame, undefined lets it pass as it is. */
  up: Tamper = () => undefined;
  down: Tamper = () => undefined;
  readonly #open = new Set<LineSocket>();
  #cut = false;

  /** No network until it is mended. */
  cut(): void {
    this.#cut = true;
    for (const s of [...this.#open]) s.lose();
  }

  mend(): void {
    this.#cut = false;
  }

  get isCut(): boolean {
    return this.#cut;
  }

  connect(url: string, protocol: string, headers: Record<string, string>): WebSocket {
    const socket = new LineSocket(this, url, protocol, headers);
    this.#open.add(socket);
    socket.addEventListener("close", () => this.#open.delete(socket));
    return socket as unknown as WebSocket;
  }

  /** Hands the browser a frame that was held back. */
  deliver(f: Frame): void {
    for (const s of this.#open) s.deliver(f);
  }

  /** Hands the browser a frame that the server never sent. */
  inject(kind: Frame["kind"]): void {
    this.deliver(create(FrameSchema, { kind }));
  }
}

/** The part of a browser's WebSocket that the app uses. */
class LineSocket extends EventTarget {
  readonly OPEN = 1;
  readonly #line: Line;
  readonly #ws: WebSocket;
  readyState = 0;
  binaryType = "arraybuffer";
  readonly bufferedAmount = 0;

  constructor(line: Line, url: string, protocol: string, headers: Record<string, string>) {
    super();
    this.#line = line;
    // Node's WebSocket takes headers, with which it passes for a page of the server's origin.
    const Client = WebSocket as unknown as new (url: string, options: object) => WebSocket;
    this.#ws = new Client(url, { protocols: [protocol], headers });
    this.#ws.binaryType = "arraybuffer";
    if (line.isCut) setTimeout(() => this.lose());
    this.#ws.addEventListener("open", () => {
      if (this.readyState !== 0) return;
      this.readyState = this.OPEN;
      this.dispatchEvent(new Event("open"));
    });
    this.#ws.addEventListener("message", (e: MessageEvent<unknown>) => this.#message(e.data));
    this.#ws.addEventListener("close", (e) => this.#closed(e.code));
    this.#ws.addEventListener("error", () => this.#closed(1006));
  }

  /** The network is gone: nothing is said about it. */
  lose(): void {
    this.#closed(1006);
    this.#ws.close();
  }

  #closed(code: number): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code }));
  }

  #message(data: unknown): void {
    if (this.readyState !== this.OPEN || !(data instanceof ArrayBuffer)) return;
    const frame = fromBinary(FrameSchema, new Uint8Array(data));
    const instead = this.#line.down(frame);
    if (instead === undefined) this.#dispatch(data);
    else for (const f of all(instead)) this.deliver(f);
  }

  deliver(f: Frame): void {
    if (this.readyState === this.OPEN) this.#dispatch(new Uint8Array(toBinary(FrameSchema, f)).buffer);
  }

  #dispatch(data: ArrayBuffer): void {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    const instead = this.#line.up(fromBinary(FrameSchema, bytes));
    if (instead === undefined) this.#ws.send(bytes);
    else for (const f of all(instead)) this.#ws.send(new Uint8Array(toBinary(FrameSchema, f)));
  }

  close(code?: number): void {
    this.#ws.close(code);
    this.#closed(code ?? 1005);
  }
}

function all(instead: Frame | readonly Frame[] | null): readonly Frame[] {
  if (instead === null) return [];
  return Array.isArray(instead) ? (instead as readonly Frame[]) : [instead as Frame];
}
