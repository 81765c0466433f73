import type { LinkEnd } from "../link.ts";
import { fromHex, idOf, type LinkEndVector } from "./vectors.ts";

export function linkEnd(e: LinkEndVector): LinkEnd {
  return {
    account: idOf(e.account),
    device: idOf(e.device),
    fingerprint: fromHex(e.fingerprint),
    nonce: fromHex(e.nonce),
    listVersion: BigInt(e.list_version),
  };
}
