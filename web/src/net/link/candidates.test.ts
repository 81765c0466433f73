import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { MAX_CANDIDATES } from "../../wire/limits.ts";
import { type Candidate, CandidateSchema } from "../../wire/schema.ts";
import { LocalCandidates, RemoteCandidates } from "./candidates.ts";

const line = (n: number): string => `candidate:${n} 1 udp 1 192.168.1.${n} 5000 typ host`;
const remote = (n: number, ufrag: string): Candidate =>
  create(CandidateSchema, { candidate: line(n), mid: "0", ufrag });
const local = (n: number, ufrag: string | null): RTCIceCandidate =>
  ({ candidate: line(n), sdpMid: "0", usernameFragment: ufrag }) as RTCIceCandidate;

function sending(): { local: LocalCandidates; sent: string[] } {
  const sent: string[] = [];
  return { local: new LocalCandidates((c) => void sent.push(`${c.ufrag} ${c.candidate.split(" ")[4]}`)), sent };
}

function using(loopback = false): { remote: RemoteCandidates; used: string[] } {
  const used: string[] = [];
  return { remote: new RemoteCandidates(async (l) => void used.push(l), loopback), used };
}

test("own candidates follow their description, and are sent again on demand", () => {
  const { local: mine, sent } = sending();
  mine.add(local(1, "a")); // before the description was signed
  expect(sent).toEqual([]);
  mine.described("a");
  mine.add(local(2, "a"));
  expect(sent).toEqual(["a 192.168.1.1", "a 192.168.1.2"]);
  mine.repeat();
  expect(sent.slice(2)).toEqual(["a 192.168.1.1", "a 192.168.1.2"]);
});

test("own candidates of a description gone by are forgotten, those of the next one wait", () => {
  const { local: mine, sent } = sending();
  mine.described("a");
  mine.add(local(1, "a"));
  mine.add(local(2, "b"));
  mine.add(local(3, null)); // a browser that names none means the one in force
  expect(sent).toEqual(["a 192.168.1.1", "a 192.168.1.3"]);
  mine.described("b");
  expect(sent.slice(2)).toEqual(["b 192.168.1.2"]);
  mine.repeat();
  expect(sent.slice(3)).toEqual(["b 192.168.1.2"]);
});

test("own candidates are few in each description", () => {
  const { local: mine, sent } = sending();
  mine.described("a");
  for (let i = 0; i < MAX_CANDIDATES + 9; i++) mine.add(local(i, "a"));
  expect(sent).toHaveLength(MAX_CANDIDATES);
  mine.described("b");
  mine.add(local(1, "b"));
  expect(sent).toHaveLength(MAX_CANDIDATES + 1);
});

test("the other end's candidates wait for their description", async () => {
  const { remote: theirs, used } = using();
  await theirs.add(remote(1, "a"));
  await theirs.add(remote(2, "b"));
  expect(used).toEqual([]);
  await theirs.described("a", [line(3)]);
  expect(used).toEqual([line(3), line(1)]);
  await theirs.described("b", []); // a restart
  expect(used).toEqual([line(3), line(1), line(2)]);
  await theirs.add(remote(4, "a")); // of the description gone by
  await theirs.add(remote(5, "")); // of whatever is in force
  expect(used.slice(3)).toEqual([line(5)]);
});

test("each of the other end's candidates is used once, few early ones are kept, and no denied one", async () => {
  const { remote: theirs, used } = using();
  for (let i = 0; i < MAX_CANDIDATES + 9; i++) await theirs.add(remote(i, "a"));
  await theirs.described("a", []);
  expect(used).toHaveLength(MAX_CANDIDATES);
  await theirs.add(remote(1, "a"));
  await theirs.add(remote(200, "a"));
  expect(used).toHaveLength(MAX_CANDIDATES);

  const other = using();
  await other.remote.described("a", [
    "candidate:1 1 udp 1 169.254.169.254 80 typ host",
    "candidate:1 1 udp 1 127.0.0.1 80 typ host",
    line(1),
  ]);
  expect(other.used).toEqual([line(1)]);
});

test("a candidate that the browser refuses harms no other", async () => {
  const used: string[] = [];
  const theirs = new RemoteCandidates(async (l) => {
    if (l === line(1)) throw new Error("no");
    used.push(l);
  }, false);
  await theirs.described("a", [line(1), line(2)]);
  expect(used).toEqual([line(2)]);
});

test("of hidden addresses nothing is sent, however often", () => {
  const sent: string[] = [];
  const hidden = new LocalCandidates((c) => void sent.push(c.candidate), true);
  hidden.add(local(1, "a"));
  const relay = "candidate:2 1 udp 1 203.0.113.9 5000 typ relay raddr 192.168.1.2 rport 5000";
  hidden.add({ ...local(2, "a"), candidate: relay } as RTCIceCandidate);
  hidden.described("a");
  hidden.repeat();
  expect(new Set(sent)).toEqual(new Set([relay.replace("192.168.1.2 rport 5000", "0.0.0.0 rport 0")]));
});
