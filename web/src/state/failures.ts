import { OfflineError } from "../net/connection.ts";
import { UnreachableError } from "../net/rest.ts";
import { SignedOutError } from "../net/socket.ts";
import { WireError } from "../wire/errors.ts";
import { ErrorCode } from "../wire/schema.ts";
import { ClosedError, NotReadyError, UnknownDeviceError } from "./core.ts";
import { IdentityChangedError } from "./people.ts";
import { CommandError, type FailureCode } from "./types.ts";

const codes: Partial<Record<ErrorCode, FailureCode>> = {
  [ErrorCode.FORBIDDEN]: "forbidden",
  [ErrorCode.NOT_FOUND]: "not-found",
  [ErrorCode.RATE_LIMITED]: "rate-limited",
  [ErrorCode.NAME_INVALID]: "name-invalid",
  [ErrorCode.CONFLICT]: "name-taken",
  [ErrorCode.EXPIRED]: "expired",
  [ErrorCode.USED_UP]: "used-up",
  [ErrorCode.REGISTRATION_CLOSED]: "registration-closed",
  [ErrorCode.WEAK_PARAMETERS]: "weak-parameters",
  [ErrorCode.TOO_LARGE]: "too-long",
  [ErrorCode.BAD_SIGNATURE]: "untrusted",
  [ErrorCode.STALE_LIST]: "untrusted",
};

/** Why the relay refused a message: a code of the interface, or the server's own words. */
export function failureOf(e: WireError): string {
  return codes[e.code] ?? (e.message === "" ? e.codeName : e.message);
}

/** Says in the words of the interface what went wrong. */
export function commandError(e: unknown): CommandError {
  if (e instanceof CommandError) return e;
  if (e instanceof DOMException && e.name === "AbortError") return new CommandError("internal", "it was called off");
  if (e instanceof WireError) return new CommandError(codes[e.code] ?? "internal", e.message, e.retryAfter);
  if (e instanceof OfflineError) return new CommandError("offline", e.message);
  if (e instanceof NotReadyError) return new CommandError("not-ready", e.message);
  if (e instanceof UnreachableError) return new CommandError("unreachable", e.message);
  if (e instanceof SignedOutError) return new CommandError("signed-out", e.message);
  if (e instanceof IdentityChangedError) return new CommandError("identity-changed", e.message);
  if (e instanceof UnknownDeviceError) return new CommandError("untrusted", e.message);
  console.error(e);
  return new CommandError("internal", e instanceof Error ? e.message : "");
}

/** Runs a command and turns what it throws into a CommandError; a ClosedError stays one, for the next owner to be asked. */
export async function command<T>(f: () => Promise<T>): Promise<T> {
  try {
    return await f();
  } catch (e) {
    throw e instanceof ClosedError ? e : commandError(e);
  }
}
