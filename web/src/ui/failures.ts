import { m } from "../i18n/messages.js";
import { CommandError, type FailureCode } from "../state/types.ts";

const sentences: Readonly<Record<FailureCode, () => string>> = {
  offline: m.fail_offline,
  unreachable: m.fail_unreachable,
  "not-found": m.fail_not_found,
  "wrong-password": m.fail_wrong_password,
  "weak-parameters": m.fail_weak_parameters,
  "rate-limited": m.fail_rate_limited,
  "name-invalid": m.fail_name_invalid,
  "name-taken": m.fail_name_taken,
  expired: m.fail_expired,
  "used-up": m.fail_used_up,
  "registration-closed": m.fail_registration_closed,
  "identity-changed": m.fail_identity_changed,
  "too-long": m.fail_too_long,
  "signed-out": m.fail_signed_out,
  "not-here": m.fail_not_here,
  "other-server": m.fail_other_server,
  "cut-off": m.join_device_cut,
  "last-admin": m.fail_last_admin,
  "too-many": m.fail_too_many,
  "wrong-code": m.fail_wrong_code,
  forbidden: m.fail_forbidden,
  "not-ready": m.fail_not_ready,
  untrusted: m.fail_untrusted,
  internal: m.fail_internal,
};

/** The code of a failure; whatever is no CommandError is our own fault. */
export function failureCode(error: unknown): FailureCode {
  return error instanceof CommandError ? error.code : "internal";
}

/** The sentence a person reads about a failed command. */
export function failureText(error: unknown): string {
  if (error instanceof CommandError && error.code === "rate-limited" && error.retryAfter > 0) {
    return m.fail_rate_limited_for({ seconds: Math.ceil(error.retryAfter / 1000) });
  }
  if (error instanceof CommandError && error.code === "other-server" && error.message !== error.code) {
    return m.fail_other_server_named({ host: error.message });
  }
  return sentences[failureCode(error)]();
}

/** Why a message failed: MessageView.failure holds a code, or words of the server for a refusal of its own. */
export function failureReason(failure: string): string {
  if (failure === "too-long") return m.reason_too_long();
  return Object.hasOwn(sentences, failure) ? sentences[failure as FailureCode]() : failure;
}
