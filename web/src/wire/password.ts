import { create } from "@bufbuild/protobuf";
import { argon2id } from "hash-wasm";
import { type Bytes, randomBytes, utf8 } from "./bytes.ts";
import { weak } from "./errors.ts";
import { foldUserName } from "./names.ts";
import { type PasswordParams, PasswordParamsSchema } from "./schema.ts";
import { derive, hash, Label } from "./tuple.ts";

// Parameters of Argon2id (RFC 9106): what new passwords use and what a client takes from a server.
const MEMORY = 64 << 10; // KiB
const MAX_MEMORY = 1 << 20;
const TIME = 3;
const MAX_TIME = 16;
const THREADS = 1;
const MAX_THREADS = 4;
const SALT_SIZE = 16;
const MAX_SALT = 64;
const OUTPUT = 64;

/** Makes the parameters for a new password, set at the given host. */
export function newPasswordParams(host: string): PasswordParams {
  const salt = randomBytes(SALT_SIZE);
  return create(PasswordParamsSchema, { memoryKib: MEMORY, time: TIME, parallelism: THREADS, salt, host });
}

/** Refuses parameters that would make a password cheap to guess, or a client work without end (weak_parameters). */
export function checkPasswordParams(p: PasswordParams): void {
  if (p.memoryKib < MEMORY || p.time < TIME || p.salt.length < SALT_SIZE) {
    throw weak("the server asks to derive the password in a weak way: nothing was sent to it");
  }
  const threads = p.parallelism >= 1 && p.parallelism <= MAX_THREADS;
  if (p.memoryKib > MAX_MEMORY || p.time > MAX_TIME || !threads || p.salt.length > MAX_SALT) {
    throw weak("the server asks for password parameters out of range: nothing was sent to it");
  }
}

/**
 * Derives what proves the password to the server and what opens the account. It refuses weak parameters
 * before it does anything with the password. It computes for about half a second without a pause.
 */
export async function passwordSecrets(
  password: string,
  host: string,
  user: string,
  p: PasswordParams,
): Promise<{ auth: Bytes; wrap: Bytes }> {
  checkPasswordParams(p);
  const salt = await hash(Label.password, utf8(host), utf8(foldUserName(user)), p.salt);
  const out = await argon2id({
    password: utf8(password.normalize("NFC")),
    salt,
    iterations: p.time,
    parallelism: p.parallelism,
    memorySize: p.memoryKib,
    hashLength: OUTPUT,
    outputType: "binary",
  });
  return { auth: await derive(out, Label.auth), wrap: await derive(out, Label.wrap) };
}

/** What the server keeps of an auth secret. */
export function storedAuth(serverSalt: Uint8Array, auth: Uint8Array): Promise<Bytes> {
  return hash(Label.authStore, serverSalt, auth);
}
