import { create, type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type Bytes, concat, equal, KEY_SIZE, own, SIGNATURE_SIZE } from "./bytes.ts";
import { badSignature, malformed } from "./errors.ts";
import { type ID, idFrom } from "./ids.ts";
import { type Signed, SignedSchema } from "./schema.ts";
import { tuple } from "./tuple.ts";

/** An Ed25519 private key (usage "sign"), mostly non-extractable. */
export type SigningKey = CryptoKey;

/** A key pair for signing; publicKey are the 32 bytes that stand in messages. */
export interface SigningPair {
  readonly privateKey: SigningKey;
  readonly publicKey: Bytes;
}

/**
 * Finds the signing key of an account's device among verified device lists. What it throws comes back
 * unchanged from what uses it.
 */
export type Lookup = (account: ID, device: ID) => Uint8Array | Promise<Uint8Array>;

/** A PKCS #8 private key (RFC 8410 §7) is this and the 32 bytes of the seed. */
const PKCS8 = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20);

/** Makes a device's signing key. It cannot leave the browser's key store. */
export async function newSigningPair(): Promise<SigningPair> {
  const pair = await generate(false);
  return { privateKey: pair.privateKey, publicKey: await rawPublic(pair.publicKey) };
}

/** Makes an identity key as a seed of 32 bytes, to be sealed into a key ring. */
export async function newIdentity(): Promise<{ seed: Bytes; publicKey: Bytes }> {
  const pair = await generate(true);
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
  // The seed is followed by nothing, or by the public key as attribute 1 (RFC 5958 §2).
  if (!equal(pkcs8.subarray(7, PKCS8.length), PKCS8.subarray(7))) throw new Error("an Ed25519 key of another form");
  const seed = pkcs8.slice(PKCS8.length, PKCS8.length + KEY_SIZE);
  return { seed, publicKey: await rawPublic(pair.publicKey) };
}

/** The non-extractable signing key of a 32-byte seed. */
export async function importSeed(seed: Uint8Array): Promise<SigningKey> {
  if (seed.length !== KEY_SIZE) throw malformed("a signing key's seed has 32 bytes");
  return crypto.subtle.importKey("pkcs8", concat(PKCS8, seed), "Ed25519", false, ["sign"]);
}

/** The public key of a 32-byte seed. */
export async function publicOf(seed: Uint8Array): Promise<Bytes> {
  if (seed.length !== KEY_SIZE) throw malformed("a signing key's seed has 32 bytes");
  const key = await crypto.subtle.importKey("pkcs8", concat(PKCS8, seed), "Ed25519", true, ["sign"]);
  const { x } = await crypto.subtle.exportKey("jwk", key);
  if (x === undefined) throw new Error("the browser gives no public key");
  const text = atob(x.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

async function generate(extractable: boolean): Promise<CryptoKeyPair> {
  return (await crypto.subtle.generateKey("Ed25519", extractable, ["sign", "verify"])) as CryptoKeyPair;
}

async function rawPublic(key: CryptoKey): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.exportKey("raw", key));
}

/** Makes an Ed25519 signature (RFC 8032) over the tuple. */
export async function sign(key: SigningKey, label: string, ...fields: readonly Uint8Array[]): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.sign("Ed25519", key, tuple(label, ...fields)));
}

/** Checks a signature made by sign. Throws bad_signature. */
export async function verify(
  key: Uint8Array,
  label: string,
  signature: Uint8Array,
  ...fields: readonly Uint8Array[]
): Promise<void> {
  if (!(await verifies(key, tuple(label, ...fields), signature))) {
    throw badSignature(`the signature of the ${label} is wrong`);
  }
}

async function verifies(key: Uint8Array, message: Bytes, signature: Uint8Array): Promise<boolean> {
  if (key.length !== KEY_SIZE || signature.length !== SIGNATURE_SIZE) return false;
  try {
    const imported = await crypto.subtle.importKey("raw", own(key), "Ed25519", false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", imported, own(signature), message);
  } catch {
    return false; // 32 bytes that are no point of the curve
  }
}

/** Serialises a message and signs the bytes. */
export async function signMessage<D extends DescMessage>(
  key: SigningKey,
  label: string,
  schema: D,
  message: MessageShape<D>,
): Promise<Signed> {
  const body = toBinary(schema, message);
  return create(SignedSchema, { body, signature: await sign(key, label, body) });
}

/** Checks an object's signature with the key of the device that stands in it. */
export async function verifyBy(
  lookup: Lookup,
  account: Uint8Array,
  device: Uint8Array,
  label: string,
  signed: Signed,
): Promise<void> {
  const key = await lookup(idFrom(account), idFrom(device));
  await verify(key, label, signed.signature, signed.body);
}

/** The part of an optional Signed that is there, as Go's getters have it. */
export function signedOrEmpty(signed: Signed | undefined): Signed {
  return signed ?? create(SignedSchema);
}
