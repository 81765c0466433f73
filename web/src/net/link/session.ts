import { create, toBinary } from "@bufbuild/protobuf";
import { malformed } from "../../wire/errors.ts";
import { fragments, Reassembler } from "../../wire/fragments.ts";
import { type ID, idBytes } from "../../wire/ids.ts";
import { signDescription } from "../../wire/link.ts";
import {
  type Candidate,
  DescriptionBodySchema,
  type Frame,
  FrameSchema,
  PingSchema,
  type Signal,
  SignalSchema,
} from "../../wire/schema.ts";
import { unmarshal } from "../../wire/unmarshal.ts";
import { Stopwatch } from "../stopwatch.ts";
import { concealedDescription } from "./candidate.ts";
import { LocalCandidates, RemoteCandidates } from "./candidates.ts";
import type { LinkConfig } from "./config.ts";
import { Negotiation, type Terms, type Verified } from "./negotiation.ts";
import { type Path, pathOf } from "./path.ts";
import { Proof } from "./proof.ts";

// Times in milliseconds.
const REPEAT_FIRST = 1_000; // until what may have been lost is sent again
const REPEAT_MOST = 4_000;
const OPEN_TIMEOUT = 20_000;
const LOST_AFTER = 30_000; // without a path
const RESTART_PATIENCE = 8_000; // for a restart that was answered
const POLITE_PAUSE = 1_000; // before the polite end restarts too, so that both seldom do at once
const FAREWELL = 300; // for what was written to leave before the connection goes
// Bytes that may wait in the channel.
const HIGH_WATER = 1 << 20;
const LOW_WATER = 1 << 18;

export interface SessionConfig extends LinkConfig {
  readonly peer: { readonly account: ID; readonly device: ID };
  readonly link: ID;
  readonly servers: readonly RTCIceServer[];
  /** Runs what touches the session after everything before it. */
  run(f: () => Promise<void>): void;
  /** ICE servers whose credentials are still good. */
  renewServers(): Promise<readonly RTCIceServer[]>;
  proven(s: Session): void;
  ended(s: Session, reason: string): void;
  received(s: Session, f: Frame): void;
  moved(): void; // the path changed
}

/**
 * One RTCPeerConnection to a device: negotiation, candidates, the proof on the control channel before anything else
 * passes (docs/PROTOCOL.md §6), and restarts while it lives. All but send, end and what reads is called through run.
 */
export class Session {
  readonly id: ID;
  readonly own: boolean; // offered by this end first
  readonly #cfg: SessionConfig;
  readonly #pc: RTCPeerConnection;
  readonly #hidden: boolean; // this end's addresses, by choice, for as long as the session lasts
  readonly #channel: RTCDataChannel;
  readonly #negotiation: Negotiation;
  readonly #local: LocalCandidates;
  readonly #remote: RemoteCandidates;
  readonly #reassembler = new Reassembler();
  readonly #age = new Stopwatch();
  readonly #room = new Set<() => void>(); // who waits for room in the channel
  #proof: Proof | null = null;
  #reading: Promise<void> = Promise.resolve();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #repeat = REPEAT_FIRST;
  #broken: Stopwatch | null = null; // since there is no path
  #restarted: Stopwatch | null = null; // since the last own restart
  #proven = false;
  #over = false;

  constructor(cfg: SessionConfig, own: boolean) {
    this.#cfg = cfg;
    this.id = cfg.link;
    this.own = own;
    this.#hidden = cfg.relayOnly(cfg.peer.account);
    this.#pc = cfg.peerConnection(this.#configuration(cfg.servers));
    this.#channel = this.#pc.createDataChannel("control", { negotiated: true, id: 0, ordered: true });
    this.#channel.binaryType = "arraybuffer";
    this.#channel.bufferedAmountLowThreshold = LOW_WATER;
    this.#local = new LocalCandidates((value) => this.#signal({ case: "candidate", value }), this.#hidden);
    this.#remote = new RemoteCandidates(
      (candidate) => this.#pc.addIceCandidate({ candidate, sdpMid: "0", sdpMLineIndex: 0 }),
      cfg.allowLoopback,
    );
    this.#negotiation = new Negotiation({
      pc: this.#pc,
      polite: this.#polite,
      sign: (sdp, terms) => this.#sign(sdp, terms),
      send: (value) => this.#signal({ case: "description", value }),
      sent: (ufrag) => this.#local.described(ufrag),
      taken: (ufrag, lines) => this.#remote.described(ufrag, lines),
    });
    this.#listen();
    this.#arm();
  }

  #configuration(servers: readonly RTCIceServer[]): RTCConfiguration {
    return {
      iceServers: [...servers],
      iceTransportPolicy: this.#hidden ? "relay" : "all",
      bundlePolicy: "max-bundle",
    };
  }

  get #polite(): boolean {
    return this.#cfg.self.device < this.#cfg.peer.device;
  }

  get proven(): boolean {
    return this.#proven;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Whether frames pass now. */
  get open(): boolean {
    return this.#proven && !this.#over && this.#broken === null;
  }

  #listen(): void {
    const { run } = this.#cfg;
    this.#pc.onicecandidate = (e) => {
      if (!this.#over && e.candidate !== null) this.#local.add(e.candidate);
    };
    this.#pc.oniceconnectionstatechange = () => run(() => this.#iceState());
    this.#pc.onconnectionstatechange = () => {
      // Before the proof: the certificate is not the one that was signed for, or nothing gets through.
      if (this.#pc.connectionState === "failed" && !this.#proven) this.end("refused");
    };
    this.#pc.ondatachannel = (e) => e.channel.close(); // only control is known
    this.#channel.onopen = () => this.#read(() => this.#greet());
    this.#channel.onclose = () => this.end("lost");
    this.#channel.onbufferedamountlow = () => this.#wakeWriters();
    this.#channel.onmessage = (e: MessageEvent<unknown>) => {
      const { data } = e;
      this.#read(() => this.#receive(data));
    };
  }

  /** Runs what belongs to the channel in order; what it throws ends the session. */
  #read(f: () => Promise<void>): void {
    this.#reading = this.#reading.then(async () => {
      if (this.#over) return;
      try {
        await f();
      } catch (e) {
        console.warn("link refused", e);
        this.end("refused");
      }
    });
  }

  // Negotiation

  /** Makes, signs and sends an offer. */
  async negotiate(): Promise<void> {
    if (this.#over) return;
    await this.#negotiation.offer();
    this.#again();
  }

  /** Takes a verified offer or answer. What throws is refused: the caller ends the session unless it is proven. */
  async take(v: Verified): Promise<void> {
    if (this.#over) return;
    await this.#negotiation.take(v);
    this.#again();
  }

  async candidate(c: Candidate): Promise<void> {
    if (!this.#over) await this.#remote.add(c);
  }

  #sign(sdp: string, terms: Terms) {
    const { self, peer } = this.#cfg;
    const body = create(DescriptionBodySchema, {
      ...terms,
      fromAccount: idBytes(self.account),
      fromDevice: idBytes(self.device),
      toAccount: idBytes(peer.account),
      toDevice: idBytes(peer.device),
      link: idBytes(this.id),
    });
    return signDescription(self.key, body, this.#hidden ? concealedDescription(sdp) : sdp);
  }

  /** Sends by the server, or on the channel itself while the server is away. */
  #signal(kind: Signal["kind"]): void {
    const signal = create(SignalSchema, { link: idBytes(this.id), kind });
    const { signals, peer } = this.#cfg;
    if (!signals.send(peer.account, peer.device, signal) && this.#proven)
      this.send(create(FrameSchema, { kind: { case: "signal", value: signal } }));
  }

  // Staying up

  #again(): void {
    this.#repeat = REPEAT_FIRST;
    this.#arm();
  }

  #arm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#over) return;
    this.#timer = setTimeout(() => this.#cfg.run(() => this.#tick()), this.#repeat);
    this.#repeat = Math.min(this.#repeat * 2, REPEAT_MOST);
  }

  /** Repeats what may have been lost and gives up what takes too long. */
  async #tick(): Promise<void> {
    if (this.#over) return;
    const lost = this.#broken !== null && this.#broken.elapsed > LOST_AFTER;
    if (lost || (!this.#proven && this.#age.elapsed > OPEN_TIMEOUT)) {
      this.end(lost ? "lost" : "timeout");
      return;
    }
    if (this.#negotiation.outstanding) this.#negotiation.repeat();
    else if (this.#broken !== null) {
      if (this.#restarted === null || this.#restarted.elapsed > RESTART_PATIENCE) await this.restart();
    } else if (!this.#proven) this.#local.repeat();
    if (!this.#proven || this.#negotiation.outstanding || this.#broken !== null) this.#arm();
  }

  async #iceState(): Promise<void> {
    const state = this.#pc.iceConnectionState;
    if (this.#over) return;
    if (state === "connected" || state === "completed") {
      this.#broken = null;
      this.#repeat = REPEAT_FIRST;
      this.#cfg.moved();
    } else if ((state === "disconnected" || state === "failed") && this.#proven) {
      this.#broken ??= new Stopwatch();
      this.#cfg.moved();
      this.#repeat = REPEAT_MOST;
      this.#arm();
      if (this.#polite && state === "disconnected") setTimeout(() => this.#cfg.run(() => this.#repair()), POLITE_PAUSE);
      else await this.restart();
    }
  }

  async #repair(): Promise<void> {
    if (this.#broken !== null) await this.restart();
  }

  /** Builds the path anew, with credentials that are still good. */
  async restart(): Promise<void> {
    if (this.#over || !this.#proven || this.#negotiation.outstanding) return;
    this.#pc.setConfiguration(this.#configuration(await this.#cfg.renewServers()));
    if (this.#over) return;
    this.#restarted = new Stopwatch();
    await this.#negotiation.offer(true);
    this.#again();
  }

  // The control channel

  async #greet(): Promise<void> {
    const { self, peer, lists } = this.#cfg;
    const { remote, localFingerprint } = this.#negotiation;
    if (remote === null || localFingerprint === null) throw malformed("a channel without descriptions");
    this.#proof = new Proof({
      link: this.id,
      self,
      peer,
      own: lists.own(),
      localFingerprint,
      remote,
      offer: (list) => lists.offer(list),
    });
    this.#write(this.#proof.open());
  }

  async #receive(data: unknown): Promise<void> {
    if (!(data instanceof ArrayBuffer)) throw malformed("text on the control channel");
    const whole = this.#reassembler.add(new Uint8Array(data));
    if (whole === null) return;
    const f = unmarshal(FrameSchema, whole);
    if (this.#proven) this.#frame(f);
    else await this.#prove(f);
  }

  async #prove(f: Frame): Promise<void> {
    if (this.#proof === null) throw malformed("a frame before the channel was open");
    const answer = await this.#proof.take(f);
    if (this.#over) return;
    if (answer !== null) {
      this.#write(answer);
      return;
    }
    this.#proven = true;
    this.#cfg.proven(this);
  }

  #frame(f: Frame): void {
    if (f.kind.case === "linkOpen" || f.kind.case === "linkProof") throw malformed("the proof comes twice");
    if (f.kind.case === "ping") {
      if (f.kind.value.reply) return;
      const value = create(PingSchema, { number: f.kind.value.number, reply: true });
      this.send(create(FrameSchema, { kind: { case: "ping", value } }));
    } else this.#cfg.received(this, f);
  }

  /** Sends a frame; false when it cannot go now. */
  send(f: Frame): boolean {
    if (!this.#proven || this.#over || this.#channel.bufferedAmount > HIGH_WATER) return false;
    return this.#write(f);
  }

  /** Resolves when the channel takes more, or when the session is over. */
  async room(): Promise<void> {
    while (!this.#over && this.#channel.bufferedAmount > LOW_WATER)
      await new Promise<void>((resolve) => this.#room.add(resolve));
  }

  #wakeWriters(): void {
    for (const wake of this.#room) wake();
    this.#room.clear();
  }

  #write(f: Frame): boolean {
    if (this.#channel.readyState !== "open") return false;
    for (const piece of fragments(toBinary(FrameSchema, f))) this.#channel.send(piece);
    return true;
  }

  /** How the bytes travel now, null when there is no path. */
  async path(): Promise<Path | null> {
    return this.#over ? null : pathOf(await this.#pc.getStats());
  }

  /** Ends the session and tells the other end why. */
  end(reason: string): void {
    if (this.#over) return;
    const closing = create(SignalSchema, { link: idBytes(this.id), kind: { case: "close", value: { reason } } });
    const { signals, peer } = this.#cfg;
    if (this.#proven) this.send(create(FrameSchema, { kind: { case: "signal", value: closing } }));
    else signals.send(peer.account, peer.device, closing);
    this.#over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#wakeWriters();
    setTimeout(() => this.#pc.close(), FAREWELL);
    this.#cfg.ended(this, reason);
  }
}
