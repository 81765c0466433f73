import { type DescField, type DescMessage, fromBinary, type MessageShape, ScalarType } from "@bufbuild/protobuf";
import { malformed } from "./errors.ts";
import { MAX_DEPTH } from "./limits.ts";

const VARINT = 0;
const BIT64 = 1;
const BYTES = 2;
const GROUP_START = 3;
const GROUP_END = 4;
const BIT32 = 5;

/**
 * Parses bytes that come from outside. More than MAX_DEPTH nested messages or groups are refused
 * (malformed), unknown fields are ignored.
 */
export function unmarshal<D extends DescMessage>(schema: D, b: Uint8Array): MessageShape<D> {
  try {
    checkFields(new Reader(b), schema, MAX_DEPTH);
    return fromBinary(schema, b, { readUnknownFields: false, recursionLimit: MAX_DEPTH });
  } catch {
    throw malformed(`not a valid ${schema.name}`);
  }
}

/**
 * Walks through all fields before the library does, which lets a nested message run beyond its length,
 * takes numbers of more than 64 bits and reads a known field whatever its wire type: in signed bytes
 * two readers have to see the same.
 */
function checkFields(r: Reader, schema: DescMessage, depth: number): void {
  if (depth <= 0) throw new RangeError("nested too deep");
  while (!r.done) {
    const { number, wire } = r.tag();
    if (wire === GROUP_START) {
      checkGroup(r, number, depth - 1);
      continue;
    }
    const field = schema.fields.find((f) => f.number === number);
    if (field !== undefined && wire !== wireOf(field)) throw new RangeError("a field of another type");
    if (field?.message !== undefined) checkFields(new Reader(r.bytes()), field.message, depth - 1);
    else r.skip(wire);
  }
}

function checkGroup(r: Reader, number: number, depth: number): void {
  if (depth <= 0) throw new RangeError("nested too deep");
  for (;;) {
    const inner = r.tag();
    if (inner.wire === GROUP_END) {
      if (inner.number !== number) throw new RangeError("a group ends as another");
      return;
    }
    if (inner.wire === GROUP_START) checkGroup(r, inner.number, depth - 1);
    else r.skip(inner.wire);
  }
}

/** How a field is written. The schema has numbers as varints only, and none of them repeated. */
function wireOf(field: DescField): number {
  const text = field.scalar === ScalarType.STRING || field.scalar === ScalarType.BYTES;
  return text || field.message !== undefined ? BYTES : VARINT;
}

/** Reads the parts of the protobuf encoding. Every method throws RangeError where the bytes end early. */
class Reader {
  readonly #b: Uint8Array;
  #at = 0;

  constructor(b: Uint8Array) {
    this.#b = b;
  }

  get done(): boolean {
    return this.#at >= this.#b.length;
  }

  tag(): { number: number; wire: number } {
    const value = this.#varint();
    const number = value >> 3n;
    if (number < 1n || number > 0x1fff_ffffn) throw new RangeError("no such field number");
    return { number: Number(number), wire: Number(value & 7n) };
  }

  bytes(): Uint8Array {
    const length = this.#varint();
    if (length > BigInt(this.#b.length - this.#at)) throw new RangeError("cut off");
    return this.#take(Number(length));
  }

  skip(wire: number): void {
    if (wire === VARINT) this.#varint();
    else if (wire === BIT64) this.#take(8);
    else if (wire === BYTES) this.bytes();
    else if (wire === BIT32) this.#take(4);
    else throw new RangeError("no such wire type");
  }

  #take(n: number): Uint8Array {
    const part = this.#b.subarray(this.#at, this.#at + n);
    if (part.length !== n) throw new RangeError("cut off");
    this.#at += n;
    return part;
  }

  #varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const octet = this.#b[this.#at++];
      if (octet === undefined) throw new RangeError("cut off");
      value |= BigInt(octet & 0x7f) << shift;
      if (octet < 0x80) {
        if (value >= 1n << 64n) break;
        return value;
      }
    }
    throw new RangeError("more than 64 bits");
  }
}
