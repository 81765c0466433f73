import { create } from "@bufbuild/protobuf";
import { type Bytes, check32, NONCE_SIZE, own, randomBytes, TAG_SIZE } from "./bytes.ts";
import { malformed } from "./errors.ts";
import { type Sealed, SealedSchema } from "./schema.ts";
import { tuple } from "./tuple.ts";

/** An AES-256 key: 32 bytes, or a key of WebCrypto that never shows them. */
export type SealingKey = Uint8Array | CryptoKey;

/** Makes a non-extractable sealing key, to keep account keys in the browser's store. */
export async function newSealingKey(): Promise<CryptoKey> {
  return crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}

async function aesKey(key: SealingKey): Promise<CryptoKey> {
  if (!(key instanceof Uint8Array)) return key;
  check32("a key", key);
  return crypto.subtle.importKey("raw", own(key), "AES-GCM", false, ["encrypt", "decrypt"]);
}

/** AES-256-GCM with a tag of 16 bytes behind the ciphertext. A nonce never comes twice with a key. */
export async function encrypt(
  key: SealingKey,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  additionalData: Uint8Array,
): Promise<Bytes> {
  const params = { name: "AES-GCM", iv: own(nonce), additionalData: own(additionalData) };
  return new Uint8Array(await crypto.subtle.encrypt(params, await aesKey(key), own(plaintext)));
}

/** Undoes encrypt; null when key, nonce, additional data or an octet differs. */
export async function decrypt(
  key: SealingKey,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  additionalData: Uint8Array,
): Promise<Bytes | null> {
  const imported = await aesKey(key);
  if (ciphertext.length < TAG_SIZE || nonce.length !== NONCE_SIZE) return null;
  try {
    const params = { name: "AES-GCM", iv: own(nonce), additionalData: own(additionalData) };
    return new Uint8Array(await crypto.subtle.decrypt(params, imported, own(ciphertext)));
  } catch {
    return null;
  }
}

/** Seals plaintext with AES-256-GCM under a random nonce, the tuple as additional data. */
export async function sealBytes(
  key: SealingKey,
  plaintext: Uint8Array,
  label: string,
  ...fields: readonly Uint8Array[]
): Promise<Sealed> {
  const nonce = randomBytes(NONCE_SIZE);
  return create(SealedSchema, { nonce, ciphertext: await encrypt(key, nonce, plaintext, tuple(label, ...fields)) });
}

/** Opens what sealBytes made. Throws malformed when key, label or a byte differs. */
export async function openBytes(
  key: SealingKey,
  sealed: Sealed | undefined,
  label: string,
  ...fields: readonly Uint8Array[]
): Promise<Bytes> {
  if (sealed?.nonce.length !== NONCE_SIZE) throw malformed(`the sealed ${label} has no nonce`);
  const plaintext = await decrypt(key, sealed.nonce, sealed.ciphertext, tuple(label, ...fields));
  if (plaintext === null) throw malformed(`the sealed ${label} does not open`);
  return plaintext;
}
