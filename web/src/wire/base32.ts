import type { Bytes } from "./bytes.ts";

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/** Lower-case base32 without padding (RFC 4648 §6). */
export function base32(b: Uint8Array): string {
  const bits = Array.from(b, (octet) => octet.toString(2).padStart(8, "0")).join("");
  return (bits.match(/.{1,5}/g) ?? []).map((five) => BASE32[Number.parseInt(five.padEnd(5, "0"), 2)]).join("");
}

/** Undoes base32; null for text that base32 would not make. */
export function parseBase32(text: string): Bytes | null {
  if (!/^[a-z2-7]*$/.test(text)) return null;
  const bits = Array.from(text, (c) => BASE32.indexOf(c).toString(2).padStart(5, "0")).join("");
  const b = Uint8Array.from(bits.match(/.{8}/g) ?? [], (octet) => Number.parseInt(octet, 2));
  return base32(b) === text ? b : null;
}
