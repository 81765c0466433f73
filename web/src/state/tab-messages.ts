import type { FailureCode, Timeline, View } from "./types.ts";

// What tabs of one browser say to each other.

/** Counts up when messages change their meaning: a tab with older code makes room for one with newer code. */
export const TABS_VERSION = 2;

/** Commands that a tab may have carried out by the owner. */
export const commands = [
  "deliver",
  "retry",
  "discard",
  "find",
  "ask",
  "accept",
  "acceptIdentity",
  "recoverFormer",
  "decline",
  "invite",
  "revokeInvitation",
  "join",
  "setNickname",
  "remove",
  "block",
  "safety",
  "markCompared",
  "setName",
  "setAvatar",
  "setPrivacy",
  "changePassword",
  "keep",
  "makeRecovery",
  "revokeDevice",
  "revokeOthers",
  "linkDevice",
  "admitDevice",
  "refuseDevice",
  "deleteAccount",
  "exportAll",
  "signOut",
  "tryDirect",
  "hideAddress",
  "hideAddressFrom",
] as const;
export type Command = (typeof commands)[number];

/** Those that come to the same when they are carried out twice: they are asked for again when the owner goes. */
const repeatable: ReadonlySet<Command> = new Set([
  "deliver",
  "retry",
  "discard",
  "find",
  "ask",
  "accept",
  "acceptIdentity",
  "recoverFormer",
  "decline",
  "revokeInvitation",
  "setNickname",
  "remove",
  "block",
  "safety",
  "markCompared",
  "setName",
  "setAvatar",
  "setPrivacy",
  "tryDirect",
  "hideAddress",
  "exportAll",
  "hideAddressFrom",
]);

export const isRepeatable = (c: Command): boolean => repeatable.has(c);

/** Whether nothing of the account is left in this browser after a command. */
export const isEnd = (c: Command): boolean => c === "signOut" || c === "deleteAccount";

/** What is told without an answer; one that is lost is no loss. */
export type Hint = "typing" | "setDraft" | "retryNow" | "active";

export type TabMessage =
  | { readonly kind: "owner" } // a tab has taken over
  | { readonly kind: "hello"; readonly version: number } // a tab wants the view
  | { readonly kind: "view"; readonly view: View }
  | { readonly kind: "yield" } // a tab has another session for this browser: let it in
  | { readonly kind: "ended" } // signed out: nothing is left
  | {
      readonly kind: "call";
      readonly from: string;
      readonly n: number;
      readonly command: Command;
      readonly args: readonly unknown[];
    }
  | { readonly kind: "result"; readonly to: string; readonly n: number; readonly value: unknown }
  | {
      readonly kind: "failure";
      readonly to: string;
      readonly n: number;
      readonly code: FailureCode;
      readonly detail: string;
      readonly retryAfter: number;
    }
  | { readonly kind: "hint"; readonly hint: Hint; readonly args: readonly unknown[] }
  | {
      readonly kind: "open";
      readonly from: string;
      readonly handle: string;
      readonly conversation: string;
      readonly atLeast: number;
    }
  | { readonly kind: "older" | "close"; readonly handle: string }
  | { readonly kind: "read"; readonly handle: string; readonly seq: number; readonly key: string | undefined }
  | { readonly kind: "timeline"; readonly handle: string; readonly timeline: Timeline };
