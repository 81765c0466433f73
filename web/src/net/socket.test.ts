// Connections that are refused, fall silent, flood or end: with a server of frames in the place of a network.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { randomBytes } from "../wire/bytes.ts";
import { WireError } from "../wire/errors.ts";
import {
  AccountChangesSchema,
  ErrorCode,
  ErrorSchema,
  type Frame,
  FrameSchema,
  HelloSchema,
  OkSchema,
  SetProfileSchema,
  type Welcome,
  WelcomeSchema,
} from "../wire/schema.ts";
import { UnreachableError } from "./rest.ts";
import { type FrameKind, OfflineError, SignedOutError, Socket, type SocketState } from "./socket.ts";

const account = randomBytes(16);
const device = randomBytes(16);

/** The server's end of one WebSocket. */
class Peer extends EventTarget {
  readonly OPEN = 1;
  readyState = 0;
  binaryType = "";
  bufferedAmount = 0;
  readonly sent: Frame[] = [];
  closedWith: number | undefined;

  open(): this {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
    return this;
  }

  send(b: Uint8Array): void {
    this.sent.push(fromBinary(FrameSchema, b));
  }

  /** A dead network answers no close. */
  close(code?: number): void {
    this.closedWith ??= code;
    this.readyState = 2;
  }

  end(code: number): void {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code }));
  }

  push(kind: FrameKind, request = 0n): void {
    this.raw(new Uint8Array(toBinary(FrameSchema, create(FrameSchema, { request, kind }))).buffer);
  }

  raw(data: unknown): void {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }

  /** Answers the newest request. */
  answer(kind: FrameKind): void {
    this.push(kind, this.sent.at(-1)?.request ?? 0n);
  }

  greet(change: Partial<Pick<Welcome, "account" | "device">> = {}): this {
    const value = create(WelcomeSchema, { version: 1, account, device, ...change });
    this.answer({ case: "welcome", value });
    return this;
  }
}

const peers: Peer[] = [];
const states: SocketState["kind"][] = [];
const pushed: FrameKind["case"][] = [];
let renewals: (() => Promise<void>)[] = [];
let renewed = 0;
let handling: Promise<void> = Promise.resolve();
let socket: Socket;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  peers.length = 0;
  states.length = 0;
  pushed.length = 0;
  renewals = [];
  renewed = 0;
  handling = Promise.resolve();
  socket = new Socket({
    base: "http://localhost",
    self: { account, device },
    connect: (url, protocol) => {
      expect([url, protocol]).toEqual(["ws://localhost/api/v1/socket", "parley.v1"]);
      const made = new Peer();
      peers.push(made);
      return made as unknown as WebSocket;
    },
    hello: () => create(HelloSchema, { version: 1 }),
    welcome: async () => undefined,
    push: async (kind) => {
      await handling;
      pushed.push(kind.case);
    },
    state: (s) => void states.push(s.kind),
    renew: async () => {
      renewed++;
      await renewals.shift()?.();
    },
  });
  void socket.run();
});
afterEach(() => {
  socket.close();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const newest = (): Peer => {
  const peer = peers.at(-1);
  if (peer === undefined) throw new Error("no connection");
  return peer;
};
/** Lets promises run, and time go by. */
const pass = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

async function connect(): Promise<Peer> {
  await pass();
  const peer = newest().open();
  peer.greet();
  await pass();
  expect(socket.connected).toBe(true);
  return peer;
}

const name: FrameKind = { case: "setProfile", value: create(SetProfileSchema, { nickname: "x" }) };
const ok: FrameKind = { case: "ok", value: create(OkSchema) };
const changes: FrameKind = { case: "accountChanges", value: create(AccountChangesSchema) };

test("greets, answers requests by their number and hands pushes on in order", async () => {
  const peer = await connect();
  expect(peer.sent[0]?.kind.case).toBe("hello");
  const asked = [socket.ask(name), socket.ask(name)];
  const error = create(ErrorSchema, { code: ErrorCode.NAME_INVALID, message: "no" });
  peer.push({ case: "error", value: error }, peer.sent[2]?.request);
  peer.push(ok, peer.sent[1]?.request);
  peer.push(ok, 999n); // nobody asked
  peer.push(changes);
  await expect(asked[0]).resolves.toMatchObject({ case: "ok" });
  await expect(asked[1]).rejects.toBeInstanceOf(WireError);
  await pass();
  expect(pushed).toEqual(["accountChanges"]);
  expect(states).toEqual(["connecting", "connected"]);
});

test("requests that are open when the connection ends are rejected, and it comes back", async () => {
  const peer = await connect();
  const asked = socket.ask(name);
  peer.end(1012);
  await expect(asked).rejects.toBeInstanceOf(OfflineError);
  await expect(socket.ask(name)).rejects.toBeInstanceOf(OfflineError);
  await pass(300);
  expect(peers).toHaveLength(2);
  expect(renewed).toBe(0);
});

test("a check that is answered changes nothing; without an answer the connection is over", async () => {
  const peer = await connect();
  socket.check();
  peer.answer(ok);
  await pass(20_000);
  expect(socket.connected).toBe(true);
  socket.check();
  await pass(8_000);
  expect(socket.connected).toBe(false);
  expect(states.at(-1)).not.toBe("connected");
});

test("waits ever longer between attempts, and not at all when it is told to try now", async () => {
  const waits: number[] = [];
  for (let i = 0; i < 12; i++) {
    const from = Date.now();
    newest().end(1006);
    const before = peers.length;
    while (peers.length === before) await pass(50);
    waits.push(Date.now() - from);
    renewals.push(() => Promise.reject(new UnreachableError()));
  }
  expect(waits[0]).toBeLessThan(400);
  expect(Math.max(...waits)).toBeGreaterThan(10_000);
  expect(Math.max(...waits)).toBeLessThan(16_000);
  newest().end(1006);
  await pass();
  const before = peers.length;
  socket.retryNow();
  await pass();
  expect(peers).toHaveLength(before + 1);
});

test("a session that is over is renewed by signing; a refusal signs the device out", async () => {
  (await connect()).end(4401);
  await pass(2_000);
  expect(renewed).toBe(1);
  const peer = await connect();
  renewals.push(() => Promise.reject(new SignedOutError()));
  peer.end(4401);
  await pass(2_000);
  expect(states.at(-1)).toBe("signed-out");
  socket.retryNow();
  await pass(60_000);
  expect(peers).toHaveLength(2);
});

test("a handshake that is refused renews the session once, and again when that one had worked", async () => {
  for (let i = 0; i < 4; i++) {
    newest().end(1006);
    const before = peers.length;
    while (peers.length === before) await pass(100);
  }
  expect(renewed).toBe(1);
  (await connect()).end(1006);
  const before = peers.length;
  while (peers.length === before) await pass(100);
  newest().end(1006); // the new session is unknown too: an older copy of the server
  await pass(30_000);
  expect(renewed).toBe(2);
});

test("whoever was pushed aside waits until a person wants it here", async () => {
  (await connect()).end(4409);
  await pass(120_000);
  expect([peers.length, states.at(-1)]).toEqual([1, "superseded"]);
  socket.retryNow();
  await connect();
  expect(states.at(-1)).toBe("connected");
});

test.each<[string, Partial<Pick<Welcome, "account" | "device">>]>([
  ["another account", { account: randomBytes(16) }],
  ["another device", { device: randomBytes(16) }],
])("a session of %s is not used: it is renewed", async (_, change) => {
  await pass();
  const peer = newest().open().greet(change);
  await pass();
  expect(socket.connected).toBe(false);
  peer.end(1000);
  await pass(300);
  expect([renewed, states.includes("connected")]).toEqual([1, false]);
});

test.each<[string, FrameKind]>([
  ["another version", { case: "welcome", value: create(WelcomeSchema, { version: 2, account, device }) }],
  ["something else", ok],
])("a server that greets with %s is not talked to", async (_, kind) => {
  await pass();
  const peer = newest().open();
  peer.answer(kind);
  await pass();
  expect(peer.closedWith).toBe(1000);
  expect(socket.connected).toBe(false);
});

test("a server that says nothing is asked, then left, even if it answers no close", async () => {
  const peer = await connect();
  await pass(46_000);
  expect(peer.sent.at(-1)?.kind.case).toBe("iceRequest");
  peer.answer({ case: "ok", value: create(OkSchema) });
  await pass(40_000);
  expect(peer.closedWith).toBe(undefined); // it lived
  await pass(40_000);
  expect(peer.closedWith).toBe(1000);
  await pass(5_000);
  expect(peers.length).toBeGreaterThan(1);
});

test("a request without an answer ends the connection", async () => {
  const peer = await connect();
  const asked = socket.ask(name).catch((e: unknown) => e);
  await pass(15_000);
  expect(await asked).toBeInstanceOf(OfflineError);
  expect(peer.closedWith).toBe(1000);
});

test("a connection that does not open in time is given up", async () => {
  await pass(10_000);
  expect(newest().closedWith).toBe(1000);
  await pass(4_000);
  expect(peers).toHaveLength(2);
});

test.each<[string, unknown]>([
  ["text", "hello"],
  ["bytes that are no frame", new Uint8Array([0xff, 0xff]).buffer],
  ["a frame beyond the limit", new Uint8Array((256 << 10) + 1).buffer],
])("%s ends the connection as malformed", async (_, data) => {
  const peer = await connect();
  peer.raw(data);
  expect(peer.closedWith).toBe(4400);
});

test("a flood of pushes that is faster than they are handled cuts the connection", async () => {
  const peer = await connect();
  let go = (): void => undefined;
  handling = new Promise((resolve) => {
    go = resolve;
  });
  for (let i = 0; i < 600; i++) peer.push(changes);
  await pass();
  expect(peer.closedWith).toBe(4408);
  go();
  await pass(5_000);
  expect(pushed.length).toBeLessThanOrEqual(512);
});

test("requests that wait are few", async () => {
  await connect();
  const all = Array.from({ length: 300 }, () => socket.ask(name).catch((e: unknown) => e));
  expect(await Promise.race(all.slice(260))).toBeInstanceOf(OfflineError);
});

test("hints are dropped while much waits to be sent", async () => {
  const peer = await connect();
  peer.bufferedAmount = 2 << 20;
  const before = peer.sent.length;
  socket.tell(name);
  expect(peer.sent).toHaveLength(before);
  peer.bufferedAmount = 0;
  socket.tell(name);
  expect(peer.sent).toHaveLength(before + 1);
});

test("after close nothing is tried any more", async () => {
  const peer = await connect();
  socket.close();
  peer.end(1000);
  await pass(120_000);
  expect(peers).toHaveLength(1);
  expect(socket.connected).toBe(false);
});
