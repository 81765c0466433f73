import { toBinary } from "@bufbuild/protobuf";
import { base32, parseBase32 } from "./base32.ts";
import { check32, randomBytes, utf8 } from "./bytes.ts";
import { malformed } from "./errors.ts";
import { type ID, idBytes, idFrom } from "./ids.ts";
import { checkInvitationCode } from "./invitation.ts";
import { type DeviceAsk, DeviceAskSchema, type Sealed } from "./schema.ts";
import { openBytes, sealBytes } from "./seal.ts";
import { derive, Label } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

const SECRET_BYTES = 16;
const ID_BYTES = 16;
const MAX_LINK = 2048;

/**
 * What an older device shows, as a QR code, so that a new one is added to its account without a password typed there: the
 * code that the server knows, the secret that it does not, and whose account it is.
 */
export class DeviceLinkSecret {
  readonly code: string;
  readonly account: ID;
  readonly #secret: Uint8Array;

  /** @internal use newDeviceLink or parseDeviceLink */
  constructor(code: string, account: ID, secret: Uint8Array) {
    this.code = code;
    this.account = account;
    this.#secret = secret;
  }

  /** The form for the command line: CODE.SECRET.ACCOUNT. */
  toString(): string {
    return `${this.code}.${this.#fragment()}`;
  }

  /** The form for a link, behind the server's address. Browsers do not send the secret in the fragment. */
  path(): string {
    return `/d/${this.code}#${this.#fragment()}`;
  }

  #fragment(): string {
    return `${base32(this.#secret)}.${base32(idBytes(this.account))}`;
  }

  /** Seals what the new device says of itself. Only who has the secret can. */
  async seal(ask: DeviceAsk): Promise<Sealed> {
    const key = await derive(this.#secret, Label.deviceLink);
    return sealBytes(key, toBinary(DeviceAskSchema, ask), Label.deviceLink, utf8(this.code));
  }

  /** Opens what seal made, and checks the form of the keys. Throws malformed, above all when another one sealed it. */
  async open(s: Sealed | undefined): Promise<DeviceAsk> {
    const key = await derive(this.#secret, Label.deviceLink);
    const ask = unmarshal(DeviceAskSchema, await openBytes(key, s, Label.deviceLink, utf8(this.code)));
    if (ask.keys === undefined) throw malformed("a new device has keys");
    idFrom(ask.keys.device);
    check32("a device's sign key", ask.keys.signKey);
    check32("a device's seal key", ask.keys.sealKey);
    return ask;
  }
}

/** Makes a fresh secret for a code that the server gave. */
export function newDeviceLink(code: string, account: ID): DeviceLinkSecret {
  return new DeviceLinkSecret(code, account, randomBytes(SECRET_BYTES));
}

/** Reads CODE.SECRET.ACCOUNT or a device link. Throws malformed. */
export function parseDeviceLink(text: string): DeviceLinkSecret {
  const typed = text.trim();
  const parts = /^(?:[a-z][a-z0-9+.-]*:\/\/[^/?#]*\/d\/([^?#]*)(?:\?[^#]*)?#|([^.]*)\.)(.+)$/is.exec(typed);
  if (parts === null || typed.length > MAX_LINK)
    throw malformed("not a whole device link: it ends in #… which has to be copied too");
  const code = (parts[1] ?? parts[2] ?? "").toLowerCase();
  checkInvitationCode(code); // they are made alike
  const [secret, account] = (parts[3] ?? "").toLowerCase().split(/\.(.*)/s);
  const b = parseBase32(secret ?? "");
  const id = parseBase32(account ?? "");
  if (b?.length !== SECRET_BYTES || id?.length !== ID_BYTES)
    throw malformed("the device link is cut off: scan it again, or copy all of it");
  return new DeviceLinkSecret(code, idFrom(id), b);
}
