import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { type Bytes, check32, concat, KEY_SIZE, own } from "./bytes.ts";
import { malformed } from "./errors.ts";

/** An X25519 private key (usage "deriveBits") with its public half; the private one is non-extractable. */
export interface SealPair {
  readonly privateKey: CryptoKey;
  readonly publicKey: Bytes;
}

/** A PKCS #8 private key (RFC 8410 §7) is this and the 32 bytes. */
const PKCS8 = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20);

const suite = (): CipherSuite =>
  new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

/** Makes a device's key, which cannot leave the browser's key store. */
export async function newSealPair(): Promise<SealPair> {
  const pair = (await crypto.subtle.generateKey("X25519", false, ["deriveBits"])) as CryptoKeyPair;
  return {
    privateKey: pair.privateKey,
    publicKey: new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)),
  };
}

/** Imports the 32 bytes of a private key, as a key ring holds them. Throws malformed. */
export async function importSealPair(privateKey: Uint8Array): Promise<SealPair> {
  check32("a private key", privateKey);
  const key = await crypto.subtle.importKey("pkcs8", concat(PKCS8, privateKey), "X25519", false, ["deriveBits"]);
  const nine = new Uint8Array(KEY_SIZE); // the base point (RFC 7748 §6.1)
  nine[0] = 9;
  const base = await importPublic(nine);
  const publicKey = await crypto.subtle.deriveBits({ name: "X25519", public: base }, key, 8 * KEY_SIZE);
  return { privateKey: key, publicKey: new Uint8Array(publicKey) };
}

function importPublic(key: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", own(key), "X25519", true, []);
}

/** Seals with HPKE base mode (RFC 9180, suite 1) to an X25519 public key. Throws malformed for a key that is none. */
export async function sealTo(
  publicKey: Uint8Array,
  info: Uint8Array,
  plaintext: Uint8Array,
): Promise<{ enc: Bytes; ciphertext: Bytes }> {
  check32("a public key", publicKey);
  try {
    const recipientPublicKey = await importPublic(publicKey);
    const sender = await suite().createSenderContext({ recipientPublicKey, info: own(info) });
    const ciphertext = await sender.seal(own(plaintext));
    return { enc: new Uint8Array(sender.enc), ciphertext: new Uint8Array(ciphertext) };
  } catch {
    throw malformed("a public key is not usable"); // a point of small order (RFC 9180 §7.1.4)
  }
}

/** Opens what sealTo made for the owner of the key. Throws malformed when key, info or a byte differs. */
export async function openFrom(
  key: SealPair,
  enc: Uint8Array,
  info: Uint8Array,
  ciphertext: Uint8Array,
): Promise<Bytes> {
  check32("an encapsulated key", enc);
  try {
    // With the public half given, the library does not try to export the private one.
    const recipientKey = { privateKey: key.privateKey, publicKey: await importPublic(key.publicKey) };
    const recipient = await suite().createRecipientContext({ recipientKey, enc: own(enc), info: own(info) });
    return new Uint8Array(await recipient.open(own(ciphertext)));
  } catch {
    throw malformed("the sealed key does not open");
  }
}
