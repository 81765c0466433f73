/** How the bytes of a link travel now. */
export interface Path {
  readonly kind: "direct" | "turn";
  readonly protocol: string; // to the other end, or to the TURN server when this end uses one
  readonly port: number; // of the other end, or of the TURN server when this end uses one
  readonly delay: number; // ms of round trip, 0: not measured yet
}

type Stat = Record<string, unknown>;

/** Reads the path that ICE chose from the browser's statistics, null when there is none. */
export function pathOf(stats: RTCStatsReport): Path | null {
  const all = new Map<string, Stat>();
  stats.forEach((s: Stat, id: string) => {
    all.set(id, s);
  });
  const pair = chosenPair(all);
  const local = all.get(String(pair?.["localCandidateId"]));
  const remote = all.get(String(pair?.["remoteCandidateId"]));
  if (pair === undefined || local === undefined || remote === undefined) return null;
  const relayed = local["candidateType"] === "relay";
  return {
    kind: relayed || remote["candidateType"] === "relay" ? "turn" : "direct",
    protocol: String((relayed ? local["relayProtocol"] : undefined) ?? local["protocol"] ?? "udp"),
    port: (relayed ? portOf(local["url"]) : 0) || Number(remote["port"] ?? 0),
    delay: Math.round(Number(pair["currentRoundTripTime"] ?? 0) * 1000),
  };
}

/** Chromium names the pair in the transport; Firefox marks it. */
function chosenPair(all: ReadonlyMap<string, Stat>): Stat | undefined {
  const transport = [...all.values()].find((s) => s["type"] === "transport");
  const named = all.get(String(transport?.["selectedCandidatePairId"]));
  if (named !== undefined) return named;
  const working = [...all.values()].filter(
    (s) => s["type"] === "candidate-pair" && s["nominated"] === true && s["state"] === "succeeded",
  );
  return working.find((s) => s["selected"] === true) ?? working[0];
}

/** The port in a TURN address such as turn:host:3478?transport=tcp, 0 when there is none. */
function portOf(url: unknown): number {
  return Number(/:(\d+)(?:\?|$)/.exec(String(url ?? ""))?.[1] ?? 0);
}
