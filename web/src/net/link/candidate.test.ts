import { expect, test } from "vitest";
import { allowed, concealed, concealedDescription, splitCandidates, ufragOf, usable } from "./candidate.ts";

// The same addresses as in peer/link/candidate_test.go.
const REACHABLE =
  "192.168.1.7 10.1.2.3 172.16.9.9 100.64.1.1 203.0.113.9 8.8.8.8 2606:4700::1 fd12:3456::1 64:ff9b::808:808 ::ffff:8.8.8.8";
const DENIED =
  "0.0.0.0 0.1.2.3 169.254.169.254 169.254.1.1 100.100.100.200 224.0.0.251 255.255.255.255 240.0.0.1 192.0.0.8 " +
  "192.88.99.1 :: ::ffff:169.254.169.254 ::7f00:1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::a00:1 64:ff9b:1::1 " +
  "2002:7f00:1:: 2001::1 100::1 fe80::1 fec0::1 ff02::fb fd00:ec2::254 ::ffff:0:7f00:1";

test.each(REACHABLE.split(" "))("%s is reached", (address) => {
  expect([allowed(address, false), allowed(address, true)]).toEqual([true, true]);
});

test.each(DENIED.split(" "))("%s is not, whoever names it", (address) => {
  expect([allowed(address, false), allowed(address, true)]).toEqual([false, false]);
});

test.each(["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])(
  "%s only where the server is on loopback",
  (address) => {
    expect(allowed(address, false)).toBe(false);
    expect(allowed(address, true)).toBe(true);
  },
);

test.each([
  "",
  "localhost",
  "router.example.org",
  "fe80::1%eth0",
  "1.2.3",
  "1.2.3.4.5",
  "256.1.1.1",
  "0x7f.0.0.1",
  "[::1]",
  "1:2",
])("%j is no address", (text) => {
  expect(allowed(text, true)).toBe(false);
});

const NAME = "4e2a8e8a-1b1c-4d7e-8c7b-5a0b3c7c5a11.local";
test.each([
  ["candidate:1 1 udp 2130706431 192.168.1.7 5000 typ host", true],
  ["a=candidate:1 1 UDP 2130706431 192.168.1.7 5000 typ host generation 0", true],
  ["candidate:1 1 udp 1694498815 8.8.8.8 5000 typ srflx raddr 192.168.1.7 rport 5000", true],
  [`candidate:1 1 udp 2113937151 ${NAME} 5000 typ host`, true],
  [`candidate:1 1 udp 2113937151 ${NAME} 5000 typ srflx`, false],
  [`candidate:1 1 udp 2113937151 a.${NAME} 5000 typ host`, false],
  ["candidate:1 1 tcp 2130706431 192.168.1.7 5000 typ host tcptype passive", false],
  ["candidate:1 1 udp 2130706431 router.example.org 5000 typ host", false],
  ["candidate:1 1 udp 2130706431 localhost 5000 typ host", false],
  ["candidate:1 1 udp 2130706431 192.168.1.7 0 typ host", false],
  ["candidate:1 1 udp 2130706431 192.168.1.7 65536 typ host", false],
  ["candidate:1 1 udp 2130706431 192.168.1.7 05000 typ host", false],
  ["candidate:1 1 udp 2130706431 fe80::1%eth0 5000 typ host", false],
  ["candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host", false],
  ["candidate:1 1 udp 2130706431 192.168.1.7 5000", false],
  [`candidate:1 1 udp 2130706431 192.168.1.7 5000 typ host ${"x".repeat(500)}`, false],
  ["", false],
])("%s: usable %s", (line, want) => {
  expect(usable(line, false)).toBe(want);
});

test.each(["\r\n", "\n", "\r"])("candidates are taken out of a description whose lines end in %j", (end) => {
  const lines = [
    "v=0",
    "a=candidate:1 1 udp 1 127.0.0.1 9 typ host",
    "a=end-of-candidates",
    "a=ice-ufrag:abcd",
    "A=CANDIDATE:2",
  ];
  const { sdp, lines: taken } = splitCandidates(lines.join(end));
  expect(taken).toEqual(["candidate:1 1 udp 1 127.0.0.1 9 typ host", "CANDIDATE:2"]);
  expect(sdp.split("\r\n")).toEqual(["v=0", "a=ice-ufrag:abcd"]);
  expect(ufragOf(sdp)).toBe("abcd");
});

test("while addresses are hidden only the server's candidates are told, without what lies behind them", () => {
  const relay = "candidate:0 1 UDP 92151807 203.0.113.9 60417 typ relay raddr 192.168.1.7 rport 50000 generation 0";
  expect(concealed(relay)).toBe(
    "candidate:0 1 UDP 92151807 203.0.113.9 60417 typ relay raddr 0.0.0.0 rport 0 generation 0",
  );
  expect(concealed("candidate:1 1 udp 1 192.168.1.7 5000 typ host")).toBeNull();
  expect(concealed("candidate:1 1 udp 1 198.51.100.7 5000 typ srflx raddr 192.168.1.7 rport 5000")).toBeNull();
  expect(concealed("candidate:1 1 udp 1 192.168.1.7 5000 typ host ufrag typ relayed")).toBeNull();
  const sdp = `v=0\r\nc=IN IP4 192.168.1.7\r\na=${relay}\r\na=ice-ufrag:abcd\r\na=end-of-candidates\r\n`;
  expect(concealedDescription(sdp)).toBe("v=0\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n");
});
