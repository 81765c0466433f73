import { create } from "@bufbuild/protobuf";
import { body, type Rest, UnreachableError } from "../net/rest.ts";
import { SignedOutError } from "../net/socket.ts";
import { type DeviceLinkSecret, parseDeviceLink } from "../wire/devicelink.ts";
import { hasCode } from "../wire/errors.ts";
import { DeviceAskSchema, DeviceLinkAskSchema, ErrorCode } from "../wire/schema.ts";
import { newDevice, type Opened, renewSession } from "./account.ts";
import type { Profile } from "./records.ts";
import { CommandError } from "./types.ts";

// Times in milliseconds.
const LIFE = 10 * 60_000; // of a device link
const EVERY = 1_500; // how often a device that asked tries whether it was let in

/** Reads a device link of this server. Rejects with cut-off for what is none, other-server for somebody else's. */
export function readDeviceLink(base: string, text: string): DeviceLinkSecret {
  try {
    const secret = parseDeviceLink(text);
    const origin = URL.canParse(text.trim()) ? new URL(text.trim()).origin : base;
    if (origin !== base) throw new CommandError("other-server", new URL(origin).host);
    return secret;
  } catch (e) {
    throw hasCode(e, ErrorCode.MALFORMED) ? new CommandError("cut-off") : e;
  }
}

/**
 * Asks an account's older device to let this browser in, and waits until it did. Rejects with used-up, not-found for a code
 * that expired, expired when nobody let it in in time, and AbortError when signal ends it.
 */
export async function joinByLink(
  rest: Rest,
  base: string,
  link: DeviceLinkSecret,
  name: string,
  signal: AbortSignal,
): Promise<Opened> {
  const device = await newDevice();
  const ask = await link.seal(create(DeviceAskSchema, { keys: device.keys, name }));
  const request = body(DeviceLinkAskSchema, create(DeviceLinkAskSchema, { ask }));
  await rest.send("PUT", `/api/v1/devices/links/${link.code}`, request);
  const profile: Profile = { ...device.profile, account: link.account, userName: "", accountKeys: [], identity: null };
  const end = Date.now() + LIFE;
  while (!(await isIn(rest, base, profile))) {
    if (Date.now() > end) throw new CommandError("expired");
    await pause(EVERY, signal);
  }
  return { profile, list: null, pinned: null };
}

/** Opens the session if the older device has let this one in. */
async function isIn(rest: Rest, base: string, profile: Profile): Promise<boolean> {
  try {
    await renewSession(rest, base, profile);
    return true;
  } catch (e) {
    if (e instanceof SignedOutError || e instanceof UnreachableError) return false;
    throw e;
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", stop, { once: true });
  });
}
