import { check32, compare } from "./bytes.ts";
import { malformed } from "./errors.ts";
import { type ID, idBytes } from "./ids.ts";
import { hash, Label } from "./tuple.ts";

const GROUPS = 12;
const DIGITS = 4;
const CHUNK = 5; // bytes a group is made of
const PREFIX = "parley-safety:";

/** An account with the identity key that this device has pinned for it. */
export interface SafetyEnd {
  readonly account: ID;
  readonly identityKey: Uint8Array;
}

/**
 * What two people compare to know that nobody stands between them: 48 digits in groups of four, the same on both sides
 * (docs/PROTOCOL.md §3). Throws malformed for an identity key of the wrong length.
 */
export async function safetyNumber(a: SafetyEnd, b: SafetyEnd): Promise<string> {
  const ends = compare(idBytes(a.account), idBytes(b.account)) > 0 ? [b, a] : [a, b];
  const groups: string[] = [];
  for (const end of ends) {
    check32("an identity key", end.identityKey);
    const sum = await hash(Label.safety, idBytes(end.account), end.identityKey);
    for (let i = 0; i < GROUPS / 2; i++) groups.push(group(sum.subarray(i * CHUNK, (i + 1) * CHUNK)));
  }
  return groups.join(" ");
}

function group(chunk: Uint8Array): string {
  const n = chunk.reduce((sum, octet) => sum * 256 + octet, 0); // 40 bits: exact
  return String(n % 10 ** DIGITS).padStart(DIGITS, "0");
}

/** What the QR code of a safety number says. */
export function safetyText(number: string): string {
  return PREFIX + number.replaceAll(" ", "");
}

/**
 * Whether what a QR code says, or a person typed, is the safety number: with or without the prefix and white space.
 * Throws malformed for what is no safety number at all.
 */
export function matchSafety(number: string, text: string): boolean {
  const digits = text.trim().replace(PREFIX, "").replace(/\s/g, "");
  if (!/^\d+$/.test(digits) || digits.length !== GROUPS * DIGITS)
    throw malformed(`this is not a safety number: it has ${GROUPS * DIGITS} digits`);
  return digits === number.replaceAll(" ", "");
}
