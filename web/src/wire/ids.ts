import { type Bytes, randomBytes } from "./bytes.ts";
import { malformed } from "./errors.ts";
import { hash, Label } from "./tuple.ts";

/** Every id has so many bytes. */
export const ID_SIZE = 16;

declare const idBrand: unique symbol;

/**
 * A 16-byte identifier as lower-case UUID text, so that it can be a key of maps and stores: a UUIDv7
 * (RFC 9562 §5.7), or a derived one for a pair. Text order is byte order.
 */
export type ID = string & { readonly [idBrand]: true };

/** Makes a UUIDv7 for the given time in milliseconds since 1970. */
export function newID(timeMS: number = Date.now()): ID {
  const b = randomBytes(ID_SIZE);
  const view = new DataView(b.buffer);
  view.setUint16(0, Math.floor(timeMS / 2 ** 32));
  view.setUint32(2, timeMS % 2 ** 32);
  view.setUint8(6, 0x70 | (view.getUint8(6) & 0x0f));
  view.setUint8(8, 0x80 | (view.getUint8(8) & 0x3f));
  return toText(b);
}

/** Reads an id of exactly 16 bytes that are not all zero. Throws malformed. */
export function idFrom(b: Uint8Array): ID {
  if (b.length !== ID_SIZE) throw malformed(`an id has ${ID_SIZE} bytes, not ${b.length}`);
  if (b.every((octet) => octet === 0)) throw malformed("an id is empty");
  return toText(b);
}

/** Reads the text form of a UUID (36 characters, either case) that is not all zero. Throws malformed. */
export function parseID(text: string): ID {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw malformed("not an id");
  return idFrom(idBytes(text.toLowerCase() as ID));
}

/** The id as it stands in messages. */
export function idBytes(id: ID): Bytes {
  const digits = id.replaceAll("-", "");
  const b = new Uint8Array(ID_SIZE);
  for (let i = 0; i < ID_SIZE; i++) b[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  return b;
}

/** The id of the conversation of two accounts, whichever is named first. */
export async function pairID(a: ID, b: ID): Promise<ID> {
  const [first, second] = a <= b ? [a, b] : [b, a];
  const sum = await hash(Label.pair, idBytes(first), idBytes(second));
  return toText(sum.subarray(0, ID_SIZE));
}

/** Refuses ids that are not UUIDv7. */
export function checkV7(b: Uint8Array): void {
  if (b.length !== ID_SIZE || (b[6] ?? 0) >> 4 !== 7 || (b[8] ?? 0) >> 6 !== 2) {
    throw malformed("a message id is not a UUIDv7");
  }
}

function toText(b: Uint8Array): ID {
  const digits = Array.from(b, (octet) => octet.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-") as ID;
}
