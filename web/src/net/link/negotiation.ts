import { type Bytes, equal, own } from "../../wire/bytes.ts";
import type { DeviceList } from "../../wire/devices.ts";
import { forbidden, malformed } from "../../wire/errors.ts";
import { fingerprintOf, offerHash } from "../../wire/link.ts";
import { type Description, DescriptionType } from "../../wire/schema.ts";
import { splitCandidates, ufragOf } from "./candidate.ts";
import type { RemoteEnd } from "./proof.ts";

/** A description whose signature, ends and link were checked. */
export interface Verified {
  readonly description: Description;
  readonly type: DescriptionType;
  readonly generation: bigint;
  readonly offerHash: Uint8Array;
  readonly key: Bytes; // the device key that verified it
  readonly list: DeviceList; // where it stood
}

/** What negotiation needs of a PeerConnection. */
export type Negotiable = Pick<
  RTCPeerConnection,
  "createOffer" | "createAnswer" | "setLocalDescription" | "setRemoteDescription"
>;

/** What stands in a description beside its SDP. */
export interface Terms {
  readonly generation: bigint;
  readonly type: DescriptionType;
  readonly offerHash: Uint8Array;
}

export interface NegotiationConfig {
  readonly pc: Negotiable;
  /** Yields when both ends offer at once. */
  readonly polite: boolean;
  sign(sdp: string, terms: Terms): Promise<Description>;
  send(d: Description): void;
  /** A description was sent, or taken with the candidate lines in it. */
  sent(ufrag: string): void;
  taken(ufrag: string, lines: readonly string[]): Promise<void>;
}

/**
 * Perfect negotiation (W3C webrtc-pc §10.7) with signed descriptions: on a collision the impolite end's offer stands,
 * and the polite end rolls its own back and answers. Generations rise and fingerprints stay, so nothing old or foreign
 * is taken. Its owner calls it one call after the other; that takes the place of the sample's flags.
 */
export class Negotiation {
  readonly #cfg: NegotiationConfig;
  #generation = 0n; // of the last own description
  #fingerprint: Bytes | null = null;
  #remoteGeneration = 0n;
  #remoteUfrag = "";
  #remote: RemoteEnd | null = null;
  #offer: { description: Description; hash: Bytes; restart: boolean } | null = null; // not answered yet
  #answer: { description: Description; to: Bytes } | null = null; // the last one made
  #again: "no" | "offer" | "restart" = "no"; // what has to be offered once this offer is settled

  constructor(cfg: NegotiationConfig) {
    this.#cfg = cfg;
  }

  /** Whether an own offer waits for its answer. */
  get outstanding(): boolean {
    return this.#offer !== null;
  }

  /** What the other end's descriptions say of it, null before the first. */
  get remote(): RemoteEnd | null {
    return this.#remote;
  }

  /** Of the own DTLS certificate, null before the first description. */
  get localFingerprint(): Bytes | null {
    return this.#fingerprint;
  }

  /** Offers, now or as soon as the outstanding offer is settled; restart builds the path anew. */
  async offer(restart = false): Promise<void> {
    if (this.#offer !== null) {
      if (this.#again !== "restart") this.#again = restart ? "restart" : "offer";
      return;
    }
    this.#again = "no";
    const { pc } = this.#cfg;
    const made = await pc.createOffer({ iceRestart: restart });
    await pc.setLocalDescription(made);
    const description = await this.#describe(made.sdp ?? "", DescriptionType.OFFER, new Uint8Array());
    this.#offer = { description, hash: await offerHash(description), restart };
    this.#send(description);
  }

  /** Takes a verified offer or answer. What does not fit throws, and nothing of it was used. */
  async take(v: Verified): Promise<void> {
    if (v.type === DescriptionType.ANSWER) await this.#takeAnswer(v);
    else await this.#takeOffer(v);
    if (this.#again !== "no" && this.#offer === null) await this.offer(this.#again === "restart");
  }

  /** Sends the outstanding offer again: it, or its answer, may have been lost. */
  repeat(): void {
    if (this.#offer !== null) this.#send(this.#offer.description);
  }

  async #takeOffer(v: Verified): Promise<void> {
    const hash = await offerHash(v.description);
    if (v.generation <= this.#remoteGeneration) {
      if (this.#answer !== null && equal(this.#answer.to, hash)) this.#send(this.#answer.description); // it was lost on the way
      return;
    }
    const fingerprint = this.#checkFingerprint(v);
    if (this.#offer !== null && !this.#cfg.polite) {
      // Collision, and this offer stands. The generation is not taken: the answer to this offer may have been made, and
      // lost, before the other offer was.
      this.repeat();
      return;
    }
    this.#accept(v, fingerprint);
    const ufrag = ufragOf(v.description.sdp);
    const { pc } = this.#cfg;
    const { sdp, lines } = splitCandidates(v.description.sdp);
    await pc.setRemoteDescription({ type: "offer", sdp }); // the browser rolls an own offer back
    if (this.#offer?.restart === true && ufrag === this.#remoteUfrag) this.#again = "restart"; // theirs builds no new path
    this.#offer = null;
    this.#remoteUfrag = ufrag;
    await this.#cfg.taken(ufrag, lines);
    const made = await pc.createAnswer();
    await pc.setLocalDescription(made);
    const description = await this.#describe(made.sdp ?? "", DescriptionType.ANSWER, hash);
    this.#answer = { description, to: hash };
    this.#send(description);
  }

  async #takeAnswer(v: Verified): Promise<void> {
    if (this.#offer === null || !equal(v.offerHash, this.#offer.hash) || v.generation <= this.#remoteGeneration) return;
    this.#accept(v, this.#checkFingerprint(v));
    this.#offer = null;
    const { pc } = this.#cfg;
    const { sdp, lines } = splitCandidates(v.description.sdp);
    try {
      await pc.setRemoteDescription({ type: "answer", sdp });
    } catch (e) {
      await pc.setLocalDescription({ type: "rollback" }); // another offer can be made
      throw e;
    }
    this.#remoteUfrag = ufragOf(v.description.sdp);
    await this.#cfg.taken(this.#remoteUfrag, lines);
  }

  #checkFingerprint(v: Verified): Bytes {
    const fingerprint = fingerprintOf(v.description.sdp);
    if (this.#remote !== null && !equal(this.#remote.fingerprint, fingerprint))
      throw forbidden("the description has another fingerprint than before");
    return fingerprint;
  }

  #accept(v: Verified, fingerprint: Bytes): void {
    this.#remoteGeneration = v.generation;
    this.#remote = { fingerprint, key: own(v.key), list: v.list };
  }

  async #describe(sdp: string, type: DescriptionType, answers: Uint8Array): Promise<Description> {
    const fingerprint = fingerprintOf(sdp);
    if (this.#fingerprint !== null && !equal(this.#fingerprint, fingerprint))
      throw malformed("the own certificate changed");
    this.#fingerprint = fingerprint;
    this.#generation++;
    return this.#cfg.sign(sdp, { generation: this.#generation, type, offerHash: answers });
  }

  #send(d: Description): void {
    this.#cfg.send(d);
    this.#cfg.sent(ufragOf(d.sdp));
  }
}
