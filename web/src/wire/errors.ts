import { create } from "@bufbuild/protobuf";
import { ErrorCode, type Error as ErrorMessage, ErrorSchema } from "./schema.ts";

/** The longest wait in milliseconds that is taken from a server. */
const MAX_RETRY_AFTER = 3_600_000n;

/** An error with a stable code. Its message is plain English for a person and carries no secret. */
export class WireError extends Error {
  readonly code: ErrorCode;
  /** Milliseconds, 0: the server names none. */
  readonly retryAfter: number;

  constructor(code: ErrorCode, message: string, retryAfter = 0) {
    super(message);
    this.name = "WireError";
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** The code as REST clients see it: "rate_limited". */
  get codeName(): string {
    return (ErrorCode[this.code] ?? `code_${this.code}`).toLowerCase();
  }

  /** Whether the same request may succeed later. */
  get retryable(): boolean {
    return (
      this.code === ErrorCode.INTERNAL || this.code === ErrorCode.RATE_LIMITED || this.code === ErrorCode.STORE_FULL
    );
  }

  toProto(): ErrorMessage {
    return create(ErrorSchema, {
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      retryAfterMs: BigInt(Math.max(0, Math.trunc(this.retryAfter))),
    });
  }

  static fromProto(e: ErrorMessage): WireError {
    const after = e.retryAfterMs < MAX_RETRY_AFTER ? e.retryAfterMs : MAX_RETRY_AFTER;
    return new WireError(e.code, e.message, Number(after));
  }
}

/** The code that a REST error names ("rate_limited"), UNSPECIFIED for one that this version does not know. */
export function codeOf(name: string): ErrorCode {
  const code: unknown = Object.entries(ErrorCode).find(([key]) => key === name.toUpperCase())?.[1];
  return typeof code === "number" ? code : ErrorCode.UNSPECIFIED;
}

/** Whether something thrown is a WireError with this code. */
export function hasCode(e: unknown, code: ErrorCode): boolean {
  return e instanceof WireError && e.code === code;
}

export const malformed = (message: string): WireError => new WireError(ErrorCode.MALFORMED, message);
export const tooLarge = (message: string): WireError => new WireError(ErrorCode.TOO_LARGE, message);
export const badSignature = (message: string): WireError => new WireError(ErrorCode.BAD_SIGNATURE, message);
export const unsupported = (message: string): WireError => new WireError(ErrorCode.UNSUPPORTED, message);
export const forbidden = (message: string): WireError => new WireError(ErrorCode.FORBIDDEN, message);
export const staleList = (message: string): WireError => new WireError(ErrorCode.STALE_LIST, message);
export const nameInvalid = (message: string): WireError => new WireError(ErrorCode.NAME_INVALID, message);
export const weak = (message: string): WireError => new WireError(ErrorCode.WEAK_PARAMETERS, message);
