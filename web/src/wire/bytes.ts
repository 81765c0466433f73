import { malformed } from "./errors.ts";

/** Octets that WebCrypto takes: not backed by shared memory. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** Every symmetric, Ed25519 public and X25519 key has so many bytes. */
export const KEY_SIZE = 32;
export const HASH_SIZE = 32;
export const NONCE_SIZE = 12;
/** Of AES-GCM. */
export const TAG_SIZE = 16;
export const SIGNATURE_SIZE = 64;

/** The same octets as WebCrypto takes them; copied only when they lie in shared memory. */
export function own(b: Uint8Array): Bytes {
  return b.buffer instanceof ArrayBuffer ? (b as Bytes) : new Uint8Array(b);
}

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}

/** Bytewise order: below, above or equal to 0. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

export function randomBytes(n: number): Bytes {
  return crypto.getRandomValues(new Uint8Array(n));
}

export async function sha256(b: Uint8Array): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", own(b)));
}

/** Refuses a key, hash or long nonce that has not exactly 32 bytes. */
export function check32(what: string, b: Uint8Array): void {
  if (b.length !== KEY_SIZE) throw malformed(`${what} has ${KEY_SIZE} bytes, not ${b.length}`);
}
