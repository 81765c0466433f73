import { malformed } from "./errors.ts";
import { MAX_HOST } from "./limits.ts";

/**
 * The host name that passwords and log-ins are bound to: that of the server's URL in lower case without
 * port or final dot, an address in its shortest form (RFC 5952); every name of the own machine is
 * "localhost". In a page: serverHost(location.origin). Throws malformed.
 *
 * It reads the text itself, because the browser's URL takes notations that the Go side refuses.
 */
export function serverHost(url: string): string {
  const authority = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(url)?.[1];
  const parts = /^(?:[^@]*@)?(\[[^\]]*\]|[^:@[\]]*)(?::[0-9]*)?$/.exec(authority ?? "");
  const name = parts?.[1];
  if (name === undefined || name === "") throw malformed("not a server address");
  if (name.startsWith("[")) return addressHost(ipv6(name.slice(1, -1)));
  const host = name.toLowerCase().replace(/\.$/, "");
  if (isIPv4(host)) return addressHost(host);
  if (!isHostName(host)) throw malformed("not a host name of letters, digits, '-' and '.'");
  return host === "localhost" || host.endsWith(".localhost") ? "localhost" : host;
}

function addressHost(address: string): string {
  return address === "::1" || address.startsWith("127.") ? "localhost" : address;
}

/** The shortest form of an IPv6 address; of an IPv4-mapped one (RFC 4291 §2.5.5.2) the IPv4 address. */
function ipv6(text: string): string {
  const address = text.replace(/%.*$/, ""); // the zone
  let short: string;
  try {
    short = new URL(`http://[${address}]`).hostname.slice(1, -1);
  } catch {
    throw malformed("not an address");
  }
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(short);
  if (mapped === null) return short;
  const bits = (Number.parseInt(mapped[1] ?? "", 16) << 16) | Number.parseInt(mapped[2] ?? "", 16);
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 0xff).join(".");
}

function isIPv4(host: string): boolean {
  const parts = host.split(".");
  return parts.length === 4 && parts.every((p) => /^(0|[1-9][0-9]{0,2})$/.test(p) && Number(p) <= 255);
}

/** Refuses names that end in a number, which browsers read as addresses (WHATWG URL, "ends in a number"). */
function isHostName(host: string): boolean {
  return host.length <= MAX_HOST && /^[a-z0-9._-]+$/.test(host) && /(^|\.)[a-z_-][^.]*$/.test(host);
}
