import { base32, parseBase32 } from "./base32.ts";
import { type Bytes, concat, equal, randomBytes, utf8 } from "./bytes.ts";
import { malformed } from "./errors.ts";
import { derive, hash, Label } from "./tuple.ts";

const BYTES = 16; // of randomness: nothing has to be made slow to guess
const CHARS = 28; // those, and 12 bits of a checksum, so that a slip of the pen is found before the server is asked
const GROUP = 4;

/** Opens an account when every device and the password are lost. It is random and written on paper. */
export class RecoveryCode {
  readonly #secret: Bytes;

  /** @internal use newRecoveryCode or parseRecoveryCode */
  constructor(secret: Bytes) {
    this.#secret = secret;
  }

  /** The code as it is written down: seven groups of four letters and digits. */
  async text(): Promise<string> {
    const text = base32(concat(this.#secret, await checksum(this.#secret))).slice(0, CHARS);
    return (text.match(new RegExp(`.{${GROUP}}`, "g")) ?? []).join("-");
  }

  /** What proves the code to the server at a host, and what opens the account. */
  async secrets(host: string): Promise<{ auth: Bytes; wrap: Bytes }> {
    return {
      auth: await derive(this.#secret, Label.recoveryAuth, utf8(host)),
      wrap: await derive(this.#secret, Label.recoveryWrap),
    };
  }
}

/** 12 bits, in two bytes of which the last ends in zeros. */
async function checksum(secret: Uint8Array): Promise<Bytes> {
  const sum = await hash(Label.recovery, secret);
  return Uint8Array.of(sum[0] ?? 0, (sum[1] ?? 0) & 0xf0);
}

/** Makes a code of 128 random bits. */
export function newRecoveryCode(): RecoveryCode {
  return new RecoveryCode(randomBytes(BYTES));
}

const LOOK_ALIKES: Readonly<Record<string, string>> = { "0": "o", "1": "l", "8": "b" };

/**
 * Reads a code as people type it: in any case, with any spaces and dashes, 0 for o, 1 for l and 8 for b. Throws
 * malformed when characters are missing or one is wrong.
 */
export async function parseRecoveryCode(text: string): Promise<RecoveryCode> {
  const typed = text
    .replace(/[\s–—-]/g, "")
    .toLowerCase()
    .replace(/[018]/g, (c) => LOOK_ALIKES[c] ?? c);
  if (typed.length !== CHARS) throw malformed("a recovery code has 7 groups of 4 letters and digits");
  const b = parseBase32(`${typed}a`); // one more character of zero bits makes whole bytes of it
  if (b === null) throw malformed("a recovery code has letters and the digits 2 to 7 only: check what you typed");
  const secret = b.slice(0, BYTES);
  if (!equal(b.subarray(BYTES), await checksum(secret)))
    throw malformed("a character of the recovery code is wrong: compare it with what you wrote down");
  return new RecoveryCode(secret);
}
