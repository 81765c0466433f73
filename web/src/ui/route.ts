// The addresses of the app. The secret of an invitation or of the first start never leaves the fragment.

/** The parts of the settings that have an address. */
export const settingsParts = [
  "you",
  "account",
  "devices",
  "notifications",
  "privacy",
  "appearance",
  "language",
  "about",
  "admin",
] as const;

export type SettingsPart = (typeof settingsParts)[number];

export type Route =
  | { readonly page: "chats" }
  | { readonly page: "conversation"; readonly id: string; readonly details: boolean }
  | { readonly page: "people" }
  | { readonly page: "settings"; readonly part: SettingsPart | "" }
  | { readonly page: "invite"; readonly code: string; readonly secret: string }
  | { readonly page: "setup"; readonly secret: string }
  | { readonly page: "reset"; readonly secret: string } // "" without a code
  | { readonly page: "login" }
  | { readonly page: "register" }
  | { readonly page: "recover" }
  | { readonly page: "keep" }
  | { readonly page: "device"; readonly code: string; readonly secret: string } // "" without a link
  | { readonly page: "unknown" };

/** Reads path and fragment ("" or beginning with #). */
export function parseRoute(path: string, fragment: string): Route {
  const [first = "", second = "", ...rest] = path.split("/").filter(Boolean).map(decode);
  const secret = fragment.replace(/^#/, "");
  if (first === "c" && second !== "") return conversationRoute(second, rest);
  if (rest.length > 0) return { page: "unknown" };
  if (first === "i" && second !== "") return { page: "invite", code: second, secret };
  if (first === "d") return { page: "device", code: second, secret };
  if (first === "settings") return settingsRoute(second);
  if (second !== "") return { page: "unknown" };
  if (first === "") return { page: "chats" };
  if (first === "setup" || first === "reset") return { page: first, secret };
  if (first === "people" || first === "login" || first === "register" || first === "recover" || first === "keep")
    return { page: first };
  return { page: "unknown" };
}

/** The address of a conversation. */
export function conversationPath(id: string): string {
  return `/c/${encodeURIComponent(id)}`;
}

/** The address of a conversation with its details beside it. */
export function detailsPath(id: string): string {
  return `${conversationPath(id)}/details`;
}

/** The address of a part of the settings. */
export function settingsPath(part: SettingsPart): string {
  return `/settings/${part}`;
}

function conversationRoute(id: string, rest: readonly string[]): Route {
  if (rest.length === 0) return { page: "conversation", id, details: false };
  return rest.length === 1 && rest[0] === "details" ? { page: "conversation", id, details: true } : { page: "unknown" };
}

function settingsRoute(part: string): Route {
  const known = settingsParts.find((name) => name === part);
  if (known !== undefined) return { page: "settings", part: known };
  return part === "" ? { page: "settings", part: "" } : { page: "unknown" };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
