import { create, toBinary } from "@bufbuild/protobuf";
import { type Bytes, equal, randomBytes } from "../../wire/bytes.ts";
import { type DeviceList, openDeviceList } from "../../wire/devices.ts";
import { forbidden, malformed } from "../../wire/errors.ts";
import { fragments, Reassembler } from "../../wire/fragments.ts";
import { type ID, idBytes } from "../../wire/ids.ts";
import { MAX_CANDIDATES } from "../../wire/limits.ts";
import { fingerprintOf, offerHash, signDescription, signLinkProof, verifyLinkProof } from "../../wire/link.ts";
import {
  type Candidate,
  CandidateSchema,
  type Description,
  DescriptionBodySchema,
  DescriptionType,
  type Frame,
  FrameSchema,
  type LinkOpen,
  LinkOpenSchema,
  PingSchema,
  type Signal,
  SignalSchema,
} from "../../wire/schema.ts";
import { signedOrEmpty } from "../../wire/sign.ts";
import { unmarshal } from "../../wire/unmarshal.ts";
import { splitCandidates, ufragOf, usable } from "./candidate.ts";
import type { LinkConfig } from "./link.ts";

const NONCE = 32;
const REPEAT_FIRST = 1_000; // ms until what may have been lost is sent again
const REPEAT_MOST = 4_000;
const OPEN_TIMEOUT = 20_000;
const LOST_AFTER = 30_000; // without a path
const POLITE_PAUSE = 1_000;
const HIGH_WATER = 1 << 20; // bytes that may wait in the channel

/** A description whose signature, ends and link were checked. */
export interface Verified {
  readonly description: Description;
  readonly type: DescriptionType;
  readonly generation: bigint;
  readonly offerHash: Uint8Array;
  readonly key: Bytes; // the device key that verified it
  readonly list: DeviceList;
}

export interface SessionEvents {
  proven(s: Session): void;
  ended(s: Session, reason: string): void;
  frame(s: Session, f: Frame): void;
  changed(): void;
}

/** How the bytes travel now. */
export interface Path {
  readonly kind: "direct" | "turn";
  readonly protocol: string;
  readonly port: number;
  readonly delay: number; // ms
}

/**
 * One RTCPeerConnection to a device: perfect negotiation (W3C webrtc-pc §10.7) with signed descriptions, and the
 * proof on the control channel before anything else passes (docs/PROTOCOL.md §6). Its owner calls it in order.
 */
export class Session {
  readonly id: ID;
  readonly own: boolean; // offered by this side first
  readonly #cfg: LinkConfig;
  readonly #peer: { readonly account: ID; readonly device: ID };
  readonly #events: SessionEvents;
  readonly #pc: RTCPeerConnection;
  readonly #channel: RTCDataChannel;
  readonly #reassembler = new Reassembler();
  readonly #began = Date.now();
  #localGeneration = 0n;
  #remoteGeneration = 0n;
  #localFingerprint: Bytes | null = null;
  #remoteFingerprint: Bytes | null = null;
  #remoteKey: Bytes | null = null;
  #remoteList: DeviceList | null = null;
  #offer: { description: Description; hash: Bytes } | null = null; // outstanding
  #answer: { description: Description; to: Bytes } | null = null; // the last one made
  #localUfrag = "";
  #remoteUfrag = "";
  #localCandidates: Candidate[] = [];
  #used = new Set<string>();
  #queued: Candidate[] = []; // whose description has not come yet
  #nonce: Bytes = randomBytes(NONCE);
  #theirs: LinkOpen | null = null;
  #reading: Promise<void> = Promise.resolve();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #repeat = REPEAT_FIRST;
  #broken = 0; // since when there is no path
  proven = false;
  over = false;

  constructor(
    cfg: LinkConfig,
    peer: { account: ID; device: ID },
    id: ID,
    own: boolean,
    servers: RTCIceServer[],
    events: SessionEvents,
  ) {
    this.#cfg = cfg;
    this.#peer = peer;
    this.id = id;
    this.own = own;
    this.#events = events;
    this.#pc = new RTCPeerConnection({ iceServers: servers, bundlePolicy: "max-bundle" });
    this.#channel = this.#pc.createDataChannel("control", { negotiated: true, id: 0, ordered: true });
    this.#channel.binaryType = "arraybuffer";
    this.#listen();
    this.#arm();
  }

  #listen(): void {
    this.#pc.onicecandidate = (e) => this.#localCandidate(e.candidate);
    this.#pc.oniceconnectionstatechange = () => this.#iceState(this.#pc.iceConnectionState);
    this.#pc.ondatachannel = (e) => e.channel.close(); // only control is known
    this.#channel.onopen = () => this.#run(() => this.#greet());
    this.#channel.onclose = () => this.end("lost");
    this.#channel.onmessage = (e: MessageEvent<ArrayBuffer>) => {
      const bytes = new Uint8Array(e.data);
      this.#run(() => this.#receive(bytes));
    };
  }

  /** Runs what belongs to the channel in order; what it throws ends the session. */
  #run(f: () => Promise<void>): void {
    this.#reading = this.#reading.then(async () => {
      if (this.over) return;
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
  async negotiate(restart = false): Promise<void> {
    if (this.over || this.#offer !== null) return;
    const offer = await this.#pc.createOffer({ iceRestart: restart });
    await this.#pc.setLocalDescription(offer);
    const description = await this.#describe(offer.sdp ?? "", DescriptionType.OFFER, new Uint8Array());
    this.#offer = { description, hash: await offerHash(description) };
    this.#repeat = REPEAT_FIRST;
    this.#arm();
    this.#signal({ case: "description", value: description });
    this.#flushCandidates();
  }

  async #describe(sdp: string, type: DescriptionType, answers: Uint8Array): Promise<Description> {
    const fingerprint = fingerprintOf(sdp);
    if (this.#localFingerprint !== null && !equal(this.#localFingerprint, fingerprint))
      throw malformed("the own certificate changed");
    this.#localFingerprint = fingerprint;
    this.#localUfrag = ufragOf(sdp);
    this.#localGeneration++;
    const body = create(DescriptionBodySchema, {
      fromAccount: idBytes(this.#cfg.self.account),
      fromDevice: idBytes(this.#cfg.self.device),
      toAccount: idBytes(this.#peer.account),
      toDevice: idBytes(this.#peer.device),
      link: idBytes(this.id),
      generation: this.#localGeneration,
      type,
      offerHash: answers,
    });
    return signDescription(this.#cfg.self.key, body, sdp);
  }

  /** Takes a verified offer or answer. What throws is refused: the caller ends the session unless it is proven. */
  async take(v: Verified, polite: boolean): Promise<void> {
    if (v.type === DescriptionType.ANSWER) await this.#takeAnswer(v);
    else await this.#takeOffer(v, polite);
  }

  #accept(v: Verified): void {
    const fingerprint = fingerprintOf(v.description.sdp);
    if (this.#remoteFingerprint !== null && !equal(this.#remoteFingerprint, fingerprint)) {
      throw forbidden("the description has another fingerprint than before");
    }
    this.#remoteFingerprint = fingerprint;
    this.#remoteGeneration = v.generation;
    this.#remoteKey = v.key;
    this.#remoteList = v.list;
  }

  async #takeOffer(v: Verified, polite: boolean): Promise<void> {
    const hash = await offerHash(v.description);
    if (v.generation <= this.#remoteGeneration) {
      if (this.#answer !== null && equal(this.#answer.to, hash)) {
        this.#signal({ case: "description", value: this.#answer.description }); // it was lost on the way
        this.#repeatCandidates();
      }
      return;
    }
    if (this.#offer !== null && !polite) {
      // Collision: ours stands. The generation is not taken: the answer to ours may have been made, and lost, before
      // this offer was.
      this.#signal({ case: "description", value: this.#offer.description });
      return;
    }
    this.#accept(v);
    this.#offer = null; // the browser rolls it back
    const { sdp, lines } = splitCandidates(v.description.sdp);
    await this.#pc.setRemoteDescription({ type: "offer", sdp });
    await this.#described(ufragOf(v.description.sdp), lines);
    const answer = await this.#pc.createAnswer();
    await this.#pc.setLocalDescription(answer);
    const description = await this.#describe(answer.sdp ?? "", DescriptionType.ANSWER, hash);
    this.#answer = { description, to: hash };
    this.#signal({ case: "description", value: description });
    this.#flushCandidates();
    this.#arm();
  }

  async #takeAnswer(v: Verified): Promise<void> {
    if (this.#offer === null || !equal(v.offerHash, this.#offer.hash) || v.generation <= this.#remoteGeneration) return;
    this.#accept(v);
    this.#offer = null;
    const { sdp, lines } = splitCandidates(v.description.sdp);
    await this.#pc.setRemoteDescription({ type: "answer", sdp });
    await this.#described(ufragOf(v.description.sdp), lines);
  }

  // Candidates

  #localCandidate(c: RTCIceCandidate | null): void {
    if (this.over || c === null || c.candidate === "" || this.#localCandidates.length >= MAX_CANDIDATES) return;
    const ufrag = c.usernameFragment ?? this.#localUfrag;
    const out = create(CandidateSchema, { candidate: c.candidate, mid: c.sdpMid ?? "0", ufrag });
    this.#localCandidates.push(out);
    // Before the description is signed and sent nobody could use it: negotiate sends it then.
    if (ufrag === this.#localUfrag) this.#signal({ case: "candidate", value: out });
  }

  /** Sends those that came while their description was being signed, and forgets those of descriptions gone by. */
  #flushCandidates(): void {
    this.#localCandidates = this.#localCandidates.filter((c) => c.ufrag === this.#localUfrag);
    this.#repeatCandidates();
  }

  #repeatCandidates(): void {
    for (const value of this.#localCandidates) this.#signal({ case: "candidate", value });
  }

  async #described(ufrag: string, lines: readonly string[]): Promise<void> {
    if (ufrag !== this.#remoteUfrag) {
      this.#remoteUfrag = ufrag;
      this.#used = new Set();
    }
    for (const line of lines) await this.#use(line);
    const queued = this.#queued;
    this.#queued = [];
    for (const c of queued) await this.candidate(c);
  }

  /** Takes a candidate of the other end, perhaps before its description. */
  async candidate(c: Candidate): Promise<void> {
    if (this.#remoteUfrag !== "" && (c.ufrag === this.#remoteUfrag || c.ufrag === "")) await this.#use(c.candidate);
    else if (this.#queued.length < MAX_CANDIDATES) this.#queued.push(c);
  }

  async #use(line: string): Promise<void> {
    if (line === "" || this.#used.has(line) || this.#used.size >= MAX_CANDIDATES) return;
    this.#used.add(line);
    if (!usable(line, this.#cfg.allowLoopback)) return;
    try {
      await this.#pc.addIceCandidate({ candidate: line, sdpMid: "0", sdpMLineIndex: 0 });
    } catch (e) {
      console.warn("candidate not used", e);
    }
  }

  #signal(kind: Signal["kind"]): void {
    const signal = create(SignalSchema, { link: idBytes(this.id), kind });
    if (!this.#cfg.signals.send(this.#peer.account, this.#peer.device, signal) && this.proven) {
      this.send(create(FrameSchema, { kind: { case: "signal", value: signal } }));
    }
  }

  // Staying up

  #arm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tick(), this.#repeat);
    this.#repeat = Math.min(this.#repeat * 2, REPEAT_MOST);
  }

  /** Repeats what may have been lost and gives up what takes too long. */
  #tick(): void {
    if (this.over) return;
    const lost = this.#broken !== 0 && Date.now() - this.#broken > LOST_AFTER;
    if (lost || (!this.proven && Date.now() - this.#began > OPEN_TIMEOUT)) {
      this.end(lost ? "lost" : "timeout");
      return;
    }
    if (this.#offer !== null) {
      this.#signal({ case: "description", value: this.#offer.description });
      this.#repeatCandidates();
    } else if (this.#broken !== 0) this.restart();
    if (!this.proven || this.#offer !== null || this.#broken !== 0) this.#arm();
  }

  #iceState(state: RTCIceConnectionState): void {
    if (this.over) return;
    if (state === "connected" || state === "completed") {
      this.#broken = 0;
      this.#repeat = REPEAT_FIRST;
      this.#events.changed();
    } else if ((state === "disconnected" || state === "failed") && this.proven) {
      if (this.#broken === 0) this.#broken = Date.now();
      const polite = this.#cfg.self.device < this.#peer.device;
      setTimeout(() => this.restart(), polite && state === "disconnected" ? POLITE_PAUSE : 0);
      this.#repeat = REPEAT_MOST;
      this.#arm();
      this.#events.changed();
    }
  }

  /** Builds the path anew. */
  restart(): void {
    if (this.over || !this.proven || this.#offer !== null || this.#pc.signalingState !== "stable") return;
    if (this.#pc.iceConnectionState === "connected" && this.#broken !== 0) return;
    this.negotiate(true).catch((e: unknown) => console.warn("ICE restart", e));
  }

  /** Whether frames pass now. */
  get open(): boolean {
    return this.proven && !this.over && this.#broken === 0;
  }

  // The control channel

  async #greet(): Promise<void> {
    const list = this.#cfg.lists.own();
    const value = create(LinkOpenSchema, {
      nonce: this.#nonce,
      listVersion: list.list.version,
      deviceList: list.signed,
    });
    this.#write(create(FrameSchema, { kind: { case: "linkOpen", value } }));
  }

  async #receive(bytes: Uint8Array): Promise<void> {
    const whole = this.#reassembler.add(bytes);
    if (whole === null) return;
    const f = unmarshal(FrameSchema, whole);
    if (this.proven) this.#frame(f);
    else if (this.#theirs === null) await this.#takeOpen(f);
    else await this.#takeProof(f);
  }

  async #takeOpen(f: Frame): Promise<void> {
    if (f.kind.case !== "linkOpen") throw malformed("the first frame is not LinkOpen");
    const open = f.kind.value;
    const list = await openDeviceList(signedOrEmpty(open.deviceList));
    const known = this.#remoteList;
    const key = list.device(this.#peer.device)?.signKey;
    if (open.nonce.length !== NONCE || equal(open.nonce, this.#nonce)) throw malformed("a nonce that proves nothing");
    if (
      known === null ||
      this.#remoteKey === null ||
      list.account !== this.#peer.account ||
      list.list.version !== open.listVersion
    ) {
      throw forbidden("the device list is not the one named");
    }
    if (!equal(list.list.identityKey, known.list.identityKey) || list.list.version < known.list.version)
      throw forbidden("an older device list");
    if (key === undefined || !equal(key, this.#remoteKey)) throw forbidden("the device is not in its account's list");
    await this.#cfg.lists.offer(list);
    this.#theirs = open;
    const [own, other] = this.#ends(open);
    const value = await signLinkProof(this.#cfg.self.key, this.id, own, other);
    this.#write(create(FrameSchema, { kind: { case: "linkProof", value } }));
  }

  #ends(theirs: LinkOpen): [Parameters<typeof signLinkProof>[2], Parameters<typeof signLinkProof>[3]] {
    if (this.#localFingerprint === null || this.#remoteFingerprint === null) throw malformed("no fingerprints yet");
    return [
      {
        ...this.#cfg.self,
        fingerprint: this.#localFingerprint,
        nonce: this.#nonce,
        listVersion: this.#cfg.lists.own().list.version,
      },
      { ...this.#peer, fingerprint: this.#remoteFingerprint, nonce: theirs.nonce, listVersion: theirs.listVersion },
    ];
  }

  async #takeProof(f: Frame): Promise<void> {
    if (f.kind.case !== "linkProof" || this.#theirs === null || this.#remoteKey === null)
      throw malformed("the second frame is not LinkProof");
    const [own, other] = this.#ends(this.#theirs);
    await verifyLinkProof(this.#remoteKey, this.id, own, other, f.kind.value);
    this.proven = true;
    this.#events.proven(this);
  }

  #frame(f: Frame): void {
    if (f.kind.case === "linkOpen" || f.kind.case === "linkProof") throw malformed("the proof comes twice");
    if (f.kind.case === "ping" && !f.kind.value.reply) {
      this.send(
        create(FrameSchema, {
          kind: { case: "ping", value: create(PingSchema, { number: f.kind.value.number, reply: true }) },
        }),
      );
    } else this.#events.frame(this, f);
  }

  /** Sends a frame; false when it cannot go now. */
  send(f: Frame): boolean {
    if (!this.proven || this.over || this.#channel.bufferedAmount > HIGH_WATER) return false;
    return this.#write(f);
  }

  #write(f: Frame): boolean {
    if (this.#channel.readyState !== "open") return false;
    for (const piece of fragments(toBinary(FrameSchema, f))) this.#channel.send(piece);
    return true;
  }

  /** How the bytes travel, from the browser's statistics; null when there is no path. */
  async path(): Promise<Path | null> {
    const stats = await this.#pc.getStats();
    const all = new Map<string, Record<string, unknown>>();
    stats.forEach((s: Record<string, unknown>, id: string) => {
      all.set(id, s);
    });
    const transport = [...all.values()].find((s) => s["type"] === "transport");
    const pairs = [...all.values()].filter((s) => s["type"] === "candidate-pair");
    const pair =
      all.get(String(transport?.["selectedCandidatePairId"])) ??
      pairs.find((s) => s["nominated"] === true && s["state"] === "succeeded");
    const local = all.get(String(pair?.["localCandidateId"]));
    const remote = all.get(String(pair?.["remoteCandidateId"]));
    if (pair === undefined || local === undefined || remote === undefined) return null;
    const relayed = local["candidateType"] === "relay" || remote["candidateType"] === "relay";
    return {
      kind: relayed ? "turn" : "direct",
      protocol: String(local["relayProtocol"] ?? local["protocol"] ?? "udp"),
      port: Number(remote["port"] ?? 0),
      delay: Math.round(Number(pair["currentRoundTripTime"] ?? 0) * 1000),
    };
  }

  /** Ends the session and tells the other end why. */
  end(reason: string): void {
    if (this.over) return;
    const closing = create(SignalSchema, { link: idBytes(this.id), kind: { case: "close", value: { reason } } });
    if (this.proven) this.send(create(FrameSchema, { kind: { case: "signal", value: closing } }));
    else this.#cfg.signals.send(this.#peer.account, this.#peer.device, closing);
    this.over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    // What was written leaves before the connection goes.
    setTimeout(() => this.#pc.close(), 300);
    this.#events.ended(this, reason);
  }
}
