import { create } from "@bufbuild/protobuf";
import { type Bytes, equal, randomBytes } from "../../wire/bytes.ts";
import { type DeviceList, openDeviceList } from "../../wire/devices.ts";
import { forbidden, malformed } from "../../wire/errors.ts";
import type { ID } from "../../wire/ids.ts";
import { type LinkEnd, signLinkProof, verifyLinkProof } from "../../wire/link.ts";
import { type Frame, FrameSchema, type LinkOpen, LinkOpenSchema } from "../../wire/schema.ts";
import { type SigningKey, signedOrEmpty } from "../../wire/sign.ts";

const NONCE = 32;

/** What is known of the other end once one of its descriptions was verified. */
export interface RemoteEnd {
  readonly fingerprint: Bytes; // of its DTLS certificate
  readonly key: Bytes; // the device key that verified the description
  readonly list: DeviceList; // where the key stands
}

export interface ProofConfig {
  readonly link: ID;
  readonly self: { readonly account: ID; readonly device: ID; readonly key: SigningKey };
  readonly peer: { readonly account: ID; readonly device: ID };
  readonly own: DeviceList;
  readonly localFingerprint: Bytes;
  readonly remote: RemoteEnd;
  /** Takes a list that the other end sent about itself. Throws when it is not one to take. */
  offer(list: DeviceList): Promise<void>;
}

/**
 * Proves the two ends of a control channel to each other (docs/PROTOCOL.md §6): each sends LinkOpen, then LinkProof
 * over both nonces, fingerprints and list versions. Whatever does not fit throws, and the channel is of no more use.
 */
export class Proof {
  readonly #cfg: ProofConfig;
  readonly #nonce = randomBytes(NONCE);
  #theirs: LinkOpen | null = null;

  constructor(cfg: ProofConfig) {
    this.#cfg = cfg;
  }

  /** The frame with which this end begins. */
  open(): Frame {
    const { list, signed } = this.#cfg.own;
    const value = create(LinkOpenSchema, { nonce: this.#nonce, listVersion: list.version, deviceList: signed });
    return create(FrameSchema, { kind: { case: "linkOpen", value } });
  }

  /** Takes the other end's next frame; resolves to the frame to send, or to null when the other end has proved itself. */
  async take(f: Frame): Promise<Frame | null> {
    if (this.#theirs === null) return this.#takeOpen(f);
    await this.#takeProof(f, this.#theirs);
    return null;
  }

  async #takeOpen(f: Frame): Promise<Frame> {
    if (f.kind.case !== "linkOpen") throw malformed("the first frame is not LinkOpen");
    const open = f.kind.value;
    if (open.nonce.length !== NONCE || equal(open.nonce, this.#nonce)) throw malformed("a nonce that proves nothing");
    await this.#cfg.offer(await this.#listOf(open));
    this.#theirs = open;
    const [own, other] = this.#ends(open);
    const value = await signLinkProof(this.#cfg.self.key, this.#cfg.link, own, other);
    return create(FrameSchema, { kind: { case: "linkProof", value } });
  }

  /** The other end's own list: not below the one known, by the same identity, with the key that signed the description. */
  async #listOf(open: LinkOpen): Promise<DeviceList> {
    const { peer, remote } = this.#cfg;
    const list = await openDeviceList(signedOrEmpty(open.deviceList));
    if (list.account !== peer.account || list.list.version !== open.listVersion)
      throw forbidden("the device list is not the one named");
    list.checkSeen(remote.list);
    const key = list.device(peer.device)?.signKey;
    if (key === undefined || !equal(key, remote.key)) throw forbidden("the device is not in its account's list");
    return list;
  }

  #ends(theirs: LinkOpen): [LinkEnd, LinkEnd] {
    const { self, peer, own, localFingerprint, remote } = this.#cfg;
    return [
      { ...self, fingerprint: localFingerprint, nonce: this.#nonce, listVersion: own.list.version },
      { ...peer, fingerprint: remote.fingerprint, nonce: theirs.nonce, listVersion: theirs.listVersion },
    ];
  }

  async #takeProof(f: Frame, theirs: LinkOpen): Promise<void> {
    if (f.kind.case !== "linkProof") throw malformed("the second frame is not LinkProof");
    const [own, other] = this.#ends(theirs);
    await verifyLinkProof(this.#cfg.remote.key, this.#cfg.link, own, other, f.kind.value);
  }
}
