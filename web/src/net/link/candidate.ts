// Which of the other end's candidates are used: the same rules as in Go (peer/link/candidate.go).

const LONGEST = 512; // bytes of a candidate line

/** IPv4 ranges that nobody's word makes this device send to: [network, bits]. Private ones are not among them: a LAN. */
const DENIED4: readonly (readonly [string, number])[] = [
  ["0.0.0.0", 8],
  ["100.100.100.200", 32],
  ["169.254.0.0", 16],
  ["192.0.0.0", 24],
  ["192.88.99.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
];

/** Private IPv4 ranges. */
const PRIVATE4: readonly (readonly [string, number])[] = [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
];

/** The same for IPv6, in groups of 16 bits; most of these carry an IPv4 address inside. */
const DENIED6: readonly (readonly [readonly number[], number])[] = [
  [[0, 0, 0, 0, 0, 0], 96],
  [[0, 0, 0, 0, 0xffff, 0], 96],
  [[0x64, 0xff9b, 1], 48],
  [[0x100, 0, 0, 0], 64],
  [[0x2001, 0], 32],
  [[0x2002], 16],
  [[0xfd00, 0xec2], 32],
  [[0xfe80], 10],
  [[0xfec0], 10],
  [[0xff00], 8],
];

const MAPPED = [0, 0, 0, 0, 0, 0xffff]; // IPv4-mapped (RFC 4291 §2.5.5.2)
const NAT64 = [0x64, 0xff9b, 0, 0, 0, 0]; // RFC 6052 §2.1

function number4(address: string): number | null {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address)?.slice(1).map(Number);
  if (parts === undefined || parts.some((p) => p > 255)) return null;
  return parts.reduce((n, p) => n * 256 + p, 0);
}

function groups6(address: string): number[] | null {
  let host: string;
  try {
    host = new URL(`http://[${address}]/`).hostname.slice(1, -1); // in the shortest form of RFC 5952, or an error
  } catch {
    return null;
  }
  const [head = "", tail] = host.split("::");
  const parse = (s: string): number[] => (s === "" ? [] : s.split(":").map((g) => Number.parseInt(g, 16)));
  const [left, right] = [parse(head), parse(tail ?? "")];
  return tail === undefined ? left : [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
}

function inside6(groups: readonly number[], network: readonly number[], bits: number): boolean {
  for (let i = 0; i * 16 < bits; i++) {
    const mask = bits - i * 16 >= 16 ? 0xffff : (0xffff << (16 - (bits - i * 16))) & 0xffff;
    if (((groups[i] ?? 0) & mask) !== ((network[i] ?? 0) & mask)) return false;
  }
  return true;
}

function inside4(n: number, ranges: readonly (readonly [string, number])[]): boolean {
  return ranges.some(([network, bits]) => {
    const size = 2 ** (32 - bits);
    return Math.floor(n / size) === Math.floor((number4(network) ?? 0) / size);
  });
}

function allowed4(n: number, loopback: boolean): boolean {
  return n >>> 24 === 127 ? loopback : !inside4(n, DENIED4);
}

/**
 * Whether packets may be sent to an address that the other end named. A mapped address counts as what it maps, one of
 * NAT64 as what it leads to.
 */
export function allowed(address: string, loopback: boolean): boolean {
  const n = number4(address);
  if (n !== null) return allowed4(n, loopback);
  const groups = groups6(address);
  if (groups?.length !== 8) return false;
  const inner = (groups[6] ?? 0) * 0x1_0000 + (groups[7] ?? 0);
  if (inside6(groups, MAPPED, 96)) return allowed4(inner, loopback);
  if (inside6(groups, NAT64, 96)) return !inside4(inner, PRIVATE4) && allowed4(inner, false);
  if (groups.every((g, i) => g === (i === 7 ? 1 : 0))) return loopback;
  return !DENIED6.some(([network, bits]) => inside6(groups, network, bits));
}

/** Whether a candidate line may be handed to the browser: UDP, and an allowed address or a multicast DNS name. */
export function usable(line: string, loopback: boolean): boolean {
  const f = line
    .trim()
    .replace(/^a=/, "")
    .replace(/^candidate:/, "")
    .split(/\s+/);
  const [, , transport = "", , address = "", port = "", typ, kind] = f;
  if (
    line.length > LONGEST ||
    typ !== "typ" ||
    transport.toLowerCase() !== "udp" ||
    !/^[1-9]\d{0,4}$/.test(port) ||
    Number(port) > 65_535
  )
    return false;
  return (kind === "host" && /^[^.\s]+\.local$/i.test(address)) || allowed(address, loopback);
}

/**
 * Takes the candidate lines out of an SDP, so that they go through the same checks as trickled ones. Lines that end
 * otherwise than in CR LF count too, and so do capitals: there are browsers that read them.
 */
export function splitCandidates(sdp: string): { sdp: string; lines: string[] } {
  const lines: string[] = [];
  const kept = sdp.split(/\r\n|\r|\n/).filter((l) => {
    if (!/^a=candidate:/i.test(l)) return l !== "a=end-of-candidates";
    lines.push(l.slice(2));
    return false;
  });
  return { sdp: kept.join("\r\n"), lines };
}

/**
 * A candidate line as it is told while this end hides its addresses: null unless it is one of the TURN server's, and without
 * the address behind it, which some browsers name.
 */
export function concealed(line: string): string | null {
  if (!/^\S+(?: \S+){5} typ relay(?: |$)/i.test(line)) return null;
  return line.replace(/ raddr \S+ rport \d+/i, " raddr 0.0.0.0 rport 0");
}

/** A description for the same: its candidates are told one by one. */
export function concealedDescription(sdp: string): string {
  return splitCandidates(sdp).sdp.replace(/^c=IN .*$/gm, "c=IN IP4 0.0.0.0");
}

/** The ICE user name fragment of a description. */
export function ufragOf(sdp: string): string {
  return /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1] ?? "";
}
