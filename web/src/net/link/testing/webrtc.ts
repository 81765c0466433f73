// PeerConnections on a network in memory: descriptions, candidates, certificates and one data channel each, as far as
// links use them. Signaling states, rollback and early candidates behave as W3C webrtc-pc says.
import { randomBytes } from "../../../wire/bytes.ts";

interface Options {
  /** Nothing gets through. */
  readonly blocked?: boolean;
}

interface Description {
  readonly type: "offer" | "answer";
  readonly sdp: string;
}

const hex = (b: Uint8Array): string => Array.from(b, (o) => o.toString(16).padStart(2, "0").toUpperCase()).join(":");
const line = (sdp: string, start: string): string =>
  sdp
    .split(/\r\n|\n/)
    .find((l) => l.startsWith(start))
    ?.slice(start.length) ?? "";

/** Connects the PeerConnections that know each other's addresses. */
export class FakeNetwork {
  readonly #at = new Map<string, FakePeerConnection>(); // by address
  readonly #options: Options;
  #next = 1;
  /** Every connection that was made, newest last. */
  readonly made: FakePeerConnection[] = [];

  constructor(options: Options = {}) {
    this.#options = options;
  }

  peerConnection(c: RTCConfiguration = {}): RTCPeerConnection {
    const pc = new FakePeerConnection(this, c);
    this.made.push(pc);
    return pc as unknown as RTCPeerConnection;
  }

  address(of: FakePeerConnection): string {
    const address = `192.168.${this.#next >> 8}.${this.#next & 255}`;
    this.#next++;
    this.#at.set(address, of);
    return address;
  }

  at(address: string): FakePeerConnection | undefined {
    return this.#options.blocked === true ? undefined : this.#at.get(address);
  }
}

/** Bytes that a channel carries at once, so that it can be full. */
const AT_ONCE = 64 << 10;

class InvalidState extends Error {
  override readonly name = "InvalidStateError";
}

export class FakePeerConnection {
  readonly #network: FakeNetwork;
  readonly fingerprint = hex(randomBytes(32));
  readonly channel = new FakeChannel(this);
  configuration: RTCConfiguration;
  signalingState: RTCSignalingState = "stable";
  iceConnectionState: RTCIceConnectionState = "new";
  connectionState: RTCPeerConnectionState = "new";
  onicecandidate: ((e: { candidate: object | null }) => void) | null = null;
  oniceconnectionstatechange: (() => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  ondatachannel: (() => void) | null = null;
  #ufrag = "";
  #local: Description | null = null; // in force
  #remote: Description | null = null;
  #pendingLocal: Description | null = null;
  #pendingRemote: Description | null = null;
  readonly #reach = new Map<string, Set<string>>(); // ufrag of the other end → its addresses
  peer: FakePeerConnection | null = null;
  /** How often each was done. */
  offers = 0;
  answers = 0;
  rolledBack = 0;

  constructor(network: FakeNetwork, c: RTCConfiguration) {
    this.#network = network;
    this.configuration = c;
  }

  #check(): void {
    if (this.signalingState === "closed") throw new InvalidState("closed");
  }

  #sdp(): string {
    const lines = ["v=0", "s=-", "t=0 0", "a=group:BUNDLE 0", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"];
    lines.push("c=IN IP4 0.0.0.0", `a=ice-ufrag:${this.#ufrag}`, "a=ice-pwd:abcdefghijklmnopqrstuvwx");
    lines.push(`a=fingerprint:sha-256 ${this.fingerprint}`, "a=setup:actpass", "a=mid:0", "a=sctp-port:5000", "");
    return lines.join("\r\n");
  }

  /** The local description in force, or on its way. */
  get localSdp(): string {
    return (this.#pendingLocal ?? this.#local)?.sdp ?? "";
  }

  async createOffer(o: RTCOfferOptions = {}): Promise<Description> {
    this.#check();
    this.offers++;
    if (this.#ufrag === "" || o.iceRestart === true) this.#ufrag = hex(randomBytes(3)).replaceAll(":", "");
    return { type: "offer", sdp: this.#sdp() };
  }

  async createAnswer(): Promise<Description> {
    this.#check();
    if (this.signalingState !== "have-remote-offer") throw new InvalidState("nothing to answer");
    this.answers++;
    const before = line(this.#remote?.sdp ?? "", "a=ice-ufrag:");
    const now = line(this.#pendingRemote?.sdp ?? "", "a=ice-ufrag:");
    if (this.#ufrag === "" || (before !== "" && before !== now)) this.#ufrag = hex(randomBytes(3)).replaceAll(":", "");
    return { type: "answer", sdp: this.#sdp() };
  }

  async setLocalDescription(d: { type: string; sdp?: string }): Promise<void> {
    this.#check();
    if (d.type === "rollback") this.#undo();
    else if (d.type === "offer") {
      if (this.signalingState !== "stable") throw new InvalidState(`an offer in ${this.signalingState}`);
      this.#pendingLocal = d as Description;
      this.signalingState = "have-local-offer";
    } else {
      if (this.signalingState !== "have-remote-offer") throw new InvalidState(`an answer in ${this.signalingState}`);
      this.#settle(d as Description, this.#pendingRemote);
    }
    if (d.type !== "rollback") this.#gather();
  }

  async setRemoteDescription(d: { type: string; sdp?: string }): Promise<void> {
    this.#check();
    if (line(d.sdp ?? "", "a=ice-ufrag:") === "") throw new Error("not a description");
    if (d.type === "offer") {
      if (this.signalingState === "have-local-offer") this.#undo();
      this.#pendingRemote = d as Description;
      this.signalingState = "have-remote-offer";
    } else {
      if (this.signalingState !== "have-local-offer") throw new InvalidState(`an answer in ${this.signalingState}`);
      this.#settle(this.#pendingLocal, d as Description);
    }
  }

  #undo(): void {
    this.rolledBack++;
    this.#clear();
  }

  #clear(): void {
    this.#pendingLocal = null;
    this.#pendingRemote = null;
    this.signalingState = "stable";
  }

  #settle(local: Description | null, remote: Description | null): void {
    this.#local = local;
    this.#remote = remote;
    this.#clear();
    this.#connect();
  }

  #gather(): void {
    const ufrag = this.#ufrag;
    setTimeout(() => {
      if (this.signalingState === "closed") return;
      const address = this.#network.address(this);
      for (const a of [address, "127.0.0.1", "169.254.169.254"])
        this.onicecandidate?.({ candidate: candidate(a, ufrag) });
      this.onicecandidate?.({ candidate: null });
    });
  }

  async addIceCandidate(c: RTCIceCandidateInit): Promise<void> {
    this.#check();
    const remote = this.#pendingRemote ?? this.#remote;
    if (remote === null) throw new InvalidState("a candidate before its description");
    const ufrag = line(remote.sdp, "a=ice-ufrag:");
    const address = c.candidate?.split(" ")[4] ?? "";
    this.#reach.set(ufrag, (this.#reach.get(ufrag) ?? new Set()).add(address));
    this.#connect();
  }

  /** Addresses that were handed over, whatever came of them. */
  get candidates(): string[] {
    return [...this.#reach.values()].flatMap((all) => [...all]);
  }

  /** Connects once both ends are settled on each other and one address leads there. */
  #connect(): void {
    if (this.#local === null || this.#remote === null) return;
    const wanted = line(this.#remote.sdp, "a=ice-ufrag:");
    for (const address of this.#reach.get(wanted) ?? []) {
      const other = this.#network.at(address);
      if (other === undefined || other.#ufrag !== wanted || other.#remote === null) continue;
      if (line(other.#remote.sdp, "a=ice-ufrag:") !== this.#ufrag) continue;
      setTimeout(() => this.#connected(other));
      return;
    }
  }

  #connected(other: FakePeerConnection): void {
    if (this.signalingState === "closed" || other.signalingState === "closed") return;
    const trusted = this.#trusts(other) && other.#trusts(this);
    for (const [one, far] of [
      [this, other],
      [other, this],
    ] as const) {
      one.peer = far;
      one.#ice("connected");
      one.#state(trusted ? "connected" : "failed");
      if (trusted) one.channel.opened();
    }
  }

  /** Whether the other end's certificate is the one in its description. */
  #trusts(other: FakePeerConnection): boolean {
    return line(this.#remote?.sdp ?? "", "a=fingerprint:sha-256 ") === other.fingerprint;
  }

  #ice(state: RTCIceConnectionState): void {
    if (this.iceConnectionState === state) return;
    this.iceConnectionState = state;
    this.oniceconnectionstatechange?.();
  }

  #state(state: RTCPeerConnectionState): void {
    if (this.connectionState === state) return;
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }

  /** The path is lost until ICE restarts. */
  breakPath(): void {
    this.#ice("disconnected");
    if (this.peer !== null) this.peer.#ice("disconnected");
  }

  setConfiguration(c: RTCConfiguration): void {
    this.configuration = c;
  }

  createDataChannel(): FakeChannel {
    return this.channel;
  }

  async getStats(): Promise<Map<string, object>> {
    if (this.iceConnectionState !== "connected") return new Map();
    return new Map<string, object>([
      ["T", { type: "transport", selectedCandidatePairId: "P" }],
      ["P", { type: "candidate-pair", localCandidateId: "L", remoteCandidateId: "R", currentRoundTripTime: 0.003 }],
      ["L", { type: "local-candidate", candidateType: "host", protocol: "udp" }],
      ["R", { type: "remote-candidate", candidateType: "host", port: 4000 }],
    ]);
  }

  close(): void {
    this.signalingState = "closed";
    this.iceConnectionState = "closed";
    this.channel.closed();
    setTimeout(() => this.peer?.channel.closed());
  }
}

function candidate(address: string, ufrag: string): object {
  return {
    candidate: `candidate:1 1 udp 2122260223 ${address} 40000 typ host generation 0 ufrag ${ufrag}`,
    sdpMid: "0",
    usernameFragment: ufrag,
  };
}

/** The control channel: ordered, reliable, and waiting while there is no path. */
export class FakeChannel {
  readonly #pc: FakePeerConnection;
  readyState: RTCDataChannelState = "connecting";
  binaryType = "arraybuffer";
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((e: { data: unknown }) => void) | null = null;
  onbufferedamountlow: (() => void) | null = null;
  readonly #queue: Uint8Array<ArrayBuffer>[] = [];
  #pumping = false;
  /** A test may change or drop (null) what leaves here. */
  tamper: (b: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> | null = (b) => b;

  constructor(pc: FakePeerConnection) {
    this.#pc = pc;
  }

  opened(): void {
    if (this.readyState === "connecting") {
      this.readyState = "open";
      this.onopen?.();
    }
    this.#pump();
  }

  closed(): void {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    this.onclose?.();
  }

  send(b: Uint8Array<ArrayBuffer>): void {
    if (this.readyState !== "open") throw new InvalidState("the channel is not open");
    this.bufferedAmount += b.length;
    this.#queue.push(new Uint8Array(b));
    this.#pump();
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    setTimeout(() => {
      this.#pumping = false;
      const far = this.#pc.peer?.channel;
      let room = AT_ONCE;
      while (room > 0 && this.#pc.iceConnectionState === "connected" && far?.readyState === "open") {
        const next = this.#queue.shift();
        if (next === undefined) return;
        room -= next.length;
        this.bufferedAmount -= next.length;
        const data = this.tamper(next);
        if (data !== null) far.onmessage?.({ data: data.buffer });
        if (this.bufferedAmount <= this.bufferedAmountLowThreshold) this.onbufferedamountlow?.();
      }
      if (this.#queue.length > 0 && this.readyState === "open") setTimeout(() => this.#pump(), 2);
    });
  }
}
