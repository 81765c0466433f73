import { clone, create } from "@bufbuild/protobuf";
import { type Bytes, equal, HASH_SIZE, sha256, utf8 } from "./bytes.ts";
import { badSignature, malformed, tooLarge } from "./errors.ts";
import { type ID, idBytes, idFrom } from "./ids.ts";
import { MAX_SDP } from "./limits.ts";
import {
  type Description,
  type DescriptionBody,
  DescriptionBodySchema,
  DescriptionSchema,
  DescriptionType,
  type LinkProof,
  LinkProofSchema,
} from "./schema.ts";
import { type SigningKey, sign, signedOrEmpty, signMessage, verify } from "./sign.ts";
import { Label, u64 } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

/** Signs an offer or answer; it sets the hash of the SDP in a copy of the body. */
export async function signDescription(key: SigningKey, body: DescriptionBody, sdp: string): Promise<Description> {
  const hashed = clone(DescriptionBodySchema, body);
  hashed.sdpHash = await sha256(utf8(sdp));
  const signed = await signMessage(key, Label.description, DescriptionBodySchema, hashed);
  return create(DescriptionSchema, { body: signed, sdp });
}

/**
 * Verifies a description's signature, form and SDP hash. That it fits the link (ends, generation, offer
 * hash, fingerprint) is for the link to check.
 */
export async function openDescription(key: Uint8Array, d: Description): Promise<DescriptionBody> {
  const signed = signedOrEmpty(d.body);
  await verify(key, Label.description, signed.signature, signed.body);
  const body = peekDescription(d);
  if (!equal(await sha256(utf8(d.sdp)), body.sdpHash)) {
    throw badSignature("the session description was altered on its way");
  }
  return body;
}

/** Parses a description without verifying it, to learn which device to verify it with. */
export function peekDescription(d: Description): DescriptionBody {
  const size = utf8(d.sdp).length;
  if (size === 0 || size > MAX_SDP) throw tooLarge(`a session description has 1 to ${MAX_SDP} bytes`);
  const body = unmarshal(DescriptionBodySchema, signedOrEmpty(d.body).body);
  for (const id of [body.fromAccount, body.fromDevice, body.toAccount, body.toDevice, body.link]) idFrom(id);
  if (body.call.length !== 0) idFrom(body.call);
  if (body.generation === 0n || body.offerHash.length !== offerHashSize(body.type)) {
    throw malformed("a session description lacks type, generation or offer hash");
  }
  return body;
}

/** How long the offer hash in a description of a type must be; -1: there is no such type. */
function offerHashSize(type: DescriptionType): number {
  if (type === DescriptionType.OFFER) return 0;
  return type === DescriptionType.ANSWER ? HASH_SIZE : -1;
}

/** What an answer names of the offer it answers. */
export function offerHash(offer: Description): Promise<Bytes> {
  return sha256(signedOrEmpty(offer.body).body);
}

/**
 * The one SHA-256 DTLS certificate fingerprint in an SDP, as 32 raw bytes (RFC 8122 §5). Several lines must
 * agree. Anything but 32 pairs of hexadecimal digits joined by colons is refused, so that no other parser
 * reads another value out of the same text.
 */
export function fingerprintOf(sdp: string): Bytes {
  if (sdp.replaceAll("\r\n", "\n").includes("\r")) {
    throw malformed("the session description has a line that ends in another way");
  }
  let found: Bytes | null = null;
  for (const line of sdp.split(/\r?\n/)) {
    if (!line.startsWith("a=fingerprint:")) continue;
    const value = /^a=fingerprint:sha-256 ([0-9a-f]{2}(?::[0-9a-f]{2}){31})$/i.exec(line)?.[1];
    if (value === undefined) throw malformed("the session description has a fingerprint that is not SHA-256");
    const sum = Uint8Array.from(value.split(":"), (pair) => Number.parseInt(pair, 16));
    if (found !== null && !equal(found, sum)) {
      throw malformed("the session description has several fingerprints");
    }
    found = sum;
  }
  if (found === null) throw malformed("the session description has no fingerprint");
  return found;
}

/** What one end of a link puts into the proof. */
export interface LinkEnd {
  readonly account: ID;
  readonly device: ID;
  /** Of its DTLS certificate, 32 bytes. */
  readonly fingerprint: Uint8Array;
  /** 32 bytes. */
  readonly nonce: Uint8Array;
  readonly listVersion: bigint;
}

function linkFields(link: ID, by: LinkEnd, other: LinkEnd): Uint8Array[] {
  return [
    ...[link, by.account, by.device, other.account, other.device].map(idBytes),
    ...[by.fingerprint, other.fingerprint, by.nonce, other.nonce],
    ...[by.listVersion, other.listVersion].map(u64),
  ];
}

/** Signs the link as seen from this end (docs/PROTOCOL.md §6). */
export async function signLinkProof(key: SigningKey, link: ID, own: LinkEnd, other: LinkEnd): Promise<LinkProof> {
  return create(LinkProofSchema, { signature: await sign(key, Label.link, ...linkFields(link, own, other)) });
}

/** Checks the proof that the other end made with its device key. own and other are as this end sees them. */
export function verifyLinkProof(
  key: Uint8Array,
  link: ID,
  own: LinkEnd,
  other: LinkEnd,
  proof: LinkProof,
): Promise<void> {
  return verify(key, Label.link, proof.signature, ...linkFields(link, other, own));
}
