import { type Bytes, concat, KEY_SIZE, own, sha256, utf8 } from "./bytes.ts";

/** Labels separate the domains of signatures, hashes and keys (docs/PROTOCOL.md §2). */
export const Label = {
  deviceList: "device-list",
  deviceListHash: "device-list-hash",
  login: "login",
  invitation: "invitation",
  invitationSeal: "invitation-seal",
  invitationLink: "invitation-link",
  linkJoin: "link-join",
  commit: "commit",
  commitHash: "commit-hash",
  envelope: "envelope",
  envelopeHash: "envelope-hash",
  description: "description",
  link: "link",
  password: "password",
  auth: "auth",
  wrap: "wrap",
  authStore: "auth-store",
  keyRing: "key-ring",
  masterPassword: "master-password",
  generation: "generation",
  pair: "pair",
  epochKey: "epoch-key",
  history: "history",
  grant: "grant",
  message: "message",
  safety: "safety",
  recovery: "recovery",
  recoveryAuth: "recovery-auth",
  recoveryWrap: "recovery-wrap",
  deviceLink: "device-link",
  setting: "setting",
} as const;

/** Separates this protocol and its version from every other use of the same keys. */
const PREFIX = "parley/v1 ";

/** Joins a label and fields in the only way byte strings are joined (docs/PROTOCOL.md §2). */
export function tuple(label: string, ...fields: readonly Uint8Array[]): Bytes {
  const parts: Uint8Array[] = [utf8(PREFIX + label), new Uint8Array(1)];
  for (const f of fields) parts.push(u32(f.length), f);
  return concat(...parts);
}

/** n as a field: 32-bit big-endian. */
export function u32(n: number): Bytes {
  const b = new Uint8Array(4);
  new DataView(b.buffer).setUint32(0, n);
  return b;
}

/** n as a field: 64-bit big-endian. */
export function u64(n: bigint): Bytes {
  const b = new Uint8Array(8);
  new DataView(b.buffer).setBigUint64(0, n);
  return b;
}

/** SHA-256 of the tuple. */
export function hash(label: string, ...fields: readonly Uint8Array[]): Promise<Bytes> {
  return sha256(tuple(label, ...fields));
}

/** Makes a 32-byte key from a key by HKDF-SHA256 (RFC 5869) without salt. */
export async function derive(key: Uint8Array, label: string, ...fields: readonly Uint8Array[]): Promise<Bytes> {
  const ikm = await crypto.subtle.importKey("raw", own(key), "HKDF", false, ["deriveBits"]);
  const info = tuple(label, ...fields);
  const params = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info };
  return new Uint8Array(await crypto.subtle.deriveBits(params, ikm, 8 * KEY_SIZE));
}
