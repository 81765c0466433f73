// proto/testdata/vectors.json as the tests read it. What the fields mean: proto/vectors_*_test.go.
import { readFileSync } from "node:fs";
import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import type { Bytes } from "../bytes.ts";
import { WireError } from "../errors.ts";
import { type ID, idFrom } from "../ids.ts";
import { ErrorCode } from "../schema.ts";
import type { Lookup } from "../sign.ts";

/** Octets as hexadecimal digits. */
export type Hex = string;

export interface Person {
  readonly name: string;
  readonly account: Hex;
  readonly device: Hex;
  readonly identity_seed: Hex;
  readonly identity_key: Hex;
  readonly account_private: Hex;
  readonly account_key: Hex;
  readonly next_account_private: Hex;
  readonly sign_seed: Hex;
  readonly sign_key: Hex;
  readonly seal_private: Hex;
  readonly seal_key: Hex;
}

interface Labelled {
  readonly label: string;
  readonly fields: readonly Hex[];
}

export interface Text {
  readonly in: string;
  readonly out?: string;
  readonly error?: string;
}

export interface CommitVector {
  readonly Signed: Hex;
  readonly hash: Hex;
  readonly epoch_key: Hex;
  readonly previous_epoch_key?: Hex;
  readonly grants: readonly { readonly account: Hex; readonly private_key: Hex; readonly Grant: Hex }[];
  readonly members: readonly Hex[];
}

export interface ChainVector {
  readonly conversation: Hex;
  readonly commits: readonly CommitVector[];
}

export interface LinkEndVector {
  readonly account: Hex;
  readonly device: Hex;
  readonly sign_key: Hex;
  readonly fingerprint: Hex;
  readonly nonce: Hex;
  readonly list_version: number;
  readonly proof: Hex;
}

export interface Negative {
  readonly what: string;
  readonly why: string;
  readonly error: string;
  readonly Signed?: Hex;
  readonly previous?: Hex;
  readonly seen?: Hex;
  readonly before?: Hex;
  readonly chain?: "pair" | "group" | "reset";
  readonly after?: number;
  readonly CommitPost?: Hex;
  readonly Grant?: Hex;
  readonly account?: Hex;
  readonly private_key?: Hex;
  readonly key?: Hex;
  readonly Envelope?: Hex;
  readonly epoch_key?: Hex;
  readonly Description?: Hex;
  readonly sdp?: string;
  readonly signature?: Hex;
  readonly Sealed?: Hex;
  readonly KeyRing?: Hex;
  readonly messages?: readonly Hex[];
  readonly bytes?: Hex;
}

export interface Vectors {
  readonly people: readonly Person[];
  readonly tuples: readonly (Labelled & { readonly tuple: Hex; readonly hash: Hex })[];
  readonly derive: readonly (Labelled & { readonly key: Hex; readonly out: Hex })[];
  readonly sign: readonly (Labelled & { readonly seed: Hex; readonly key: Hex; readonly signature: Hex })[];
  readonly seal: readonly (Labelled & { readonly key: Hex; readonly plaintext: Hex; readonly Sealed: Hex })[];
  readonly hpke: readonly {
    readonly private_key: Hex;
    readonly public_key: Hex;
    readonly info: Hex;
    readonly plaintext: Hex;
    readonly enc: Hex;
    readonly ciphertext: Hex;
  }[];
  readonly user_names: readonly Text[];
  readonly nicknames: readonly Text[];
  readonly hosts: readonly Text[];
  readonly password: {
    readonly password: string;
    readonly host: string;
    readonly user: string;
    readonly PasswordParams: Hex;
    readonly auth: Hex;
    readonly wrap: Hex;
    readonly server_salt: Hex;
    readonly stored: Hex;
    readonly params: readonly { readonly PasswordParams: Hex; readonly error?: string }[];
  };
  readonly accounts: {
    readonly master: Hex;
    readonly wrap: Hex;
    readonly KeyRing: Hex;
    readonly sealed_key_ring: Hex;
    readonly wrapped_master: Hex;
    readonly device_lists: readonly { readonly Signed: Hex; readonly hash: Hex }[];
    readonly GenerationGrant: Hex;
    readonly login: Hex;
    readonly login_host: string;
    readonly login_nonce: Hex;
  };
  readonly invitation: {
    readonly text: string;
    readonly link: string;
    readonly code: string;
    readonly link_key: Hex;
    readonly invitation: Hex;
    readonly InvitationSecretPart: Hex;
    readonly Sealed: Hex;
    readonly link_join: Hex;
    readonly malformed: readonly string[];
  };
  readonly pair: ChainVector;
  readonly group: ChainVector;
  readonly envelopes: readonly {
    readonly what: string;
    readonly epoch_key: Hex;
    readonly sign_seed: Hex;
    readonly sign_key: Hex;
    readonly header: Hex;
    readonly message_key: Hex;
    readonly Content: Hex;
    readonly Envelope: Hex;
    readonly hash: Hex;
    readonly blanked: Hex;
  }[];
  readonly descriptions: {
    readonly offer: Hex;
    readonly answer: Hex;
    readonly offer_hash: Hex;
    readonly offer_fingerprint: Hex;
    readonly answer_fingerprint: Hex;
  };
  readonly link_proof: { readonly link: Hex; readonly alice: LinkEndVector; readonly bob: LinkEndVector };
  readonly fragments: {
    readonly size: number;
    readonly sha256: Hex;
    readonly pieces: readonly { readonly size: number; readonly more: number; readonly sha256: Hex }[];
  };
  readonly safety: readonly {
    readonly a: string;
    readonly b: string;
    readonly number: string;
    readonly text: string;
  }[];
  readonly strengths: readonly { readonly password: string; readonly weakness?: string; readonly score: number }[];
  readonly settings: readonly {
    readonly key: string;
    readonly person?: string;
    readonly PersonSetting?: string;
    readonly LinkSetting?: string;
    readonly SealedSetting: string;
  }[];
  readonly device_link: {
    readonly text: string;
    readonly path: string;
    readonly code: string;
    readonly account: string;
    readonly DeviceAsk: string;
    readonly Sealed: string;
    readonly read: readonly Text[];
  };
  readonly recovery: {
    readonly code: string;
    readonly host: string;
    readonly auth: Hex;
    readonly wrap: Hex;
    readonly typed: readonly Text[];
  };
  readonly reset: {
    readonly identity_key: Hex;
    readonly list: Hex;
    readonly next: Hex;
    readonly pair: ChainVector;
  };
  readonly negative: readonly Negative[];
}

export function readVectors(): Vectors {
  const file = new URL("../../../../proto/testdata/vectors.json", import.meta.url);
  return JSON.parse(readFileSync(file, "utf8")) as Vectors;
}

export function fromHex(digits: Hex | undefined): Bytes {
  return Uint8Array.from(digits?.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

export function toHex(b: Uint8Array): Hex {
  return Buffer.from(b).toString("hex");
}

export function idOf(digits: Hex | undefined): ID {
  return idFrom(fromHex(digits));
}

/** Reads a serialised message without the checks of unmarshal. */
export function decode<D extends DescMessage>(schema: D, digits: Hex | undefined): MessageShape<D> {
  return fromBinary(schema, fromHex(digits));
}

/** Knows the devices of all people in the vectors. */
export function lookupIn(v: Vectors): Lookup {
  return (account, device) => {
    const person = v.people.find((p) => idOf(p.account) === account && idOf(p.device) === device);
    if (person === undefined) throw new WireError(ErrorCode.NOT_FOUND, "no such device");
    return fromHex(person.sign_key);
  };
}

/** The name of the error that a function fails with, undefined when it does not. */
export async function errorName(f: () => unknown): Promise<string | undefined> {
  try {
    await f();
    return undefined;
  } catch (e) {
    if (e instanceof WireError) return e.codeName;
    throw e;
  }
}

export function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the vectors lack it");
  return value;
}
