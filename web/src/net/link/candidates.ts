import { create } from "@bufbuild/protobuf";
import { MAX_CANDIDATES } from "../../wire/limits.ts";
import { type Candidate, CandidateSchema } from "../../wire/schema.ts";
import { concealed, usable } from "./candidate.ts";

/** This end's candidates: none leaves before the description that it belongs to, and all can be sent again. */
export class LocalCandidates {
  readonly #send: (c: Candidate) => void;
  readonly #hidden: boolean;
  #known: Candidate[] = [];
  #ufrag = ""; // of the description that was sent last

  /** hidden: nothing of this end's own addresses is told. */
  constructor(send: (c: Candidate) => void, hidden = false) {
    this.#send = send;
    this.#hidden = hidden;
  }

  /** Takes one from the browser. */
  add(c: RTCIceCandidate): void {
    const candidate = this.#hidden ? concealed(c.candidate) : c.candidate;
    if (candidate === null || candidate === "") return;
    const ufrag = c.usernameFragment ?? this.#ufrag;
    if (this.#known.filter((one) => one.ufrag === ufrag).length >= MAX_CANDIDATES) return;
    const out = create(CandidateSchema, { candidate, mid: c.sdpMid ?? "0", ufrag });
    this.#known.push(out);
    if (ufrag === this.#ufrag) this.#send(out);
  }

  /** A description was sent: its candidates may follow, those of descriptions gone by are forgotten. */
  described(ufrag: string): void {
    this.#ufrag = ufrag;
    this.#known = this.#known.filter((c) => c.ufrag === ufrag);
    this.repeat();
  }

  /** Sends all again: some may have been lost. */
  repeat(): void {
    for (const c of this.#known) if (c.ufrag === this.#ufrag) this.#send(c);
  }
}

/** The other end's candidates: they wait for their description, pass the filter, and each is used once. */
export class RemoteCandidates {
  readonly #use: (line: string) => Promise<void>;
  readonly #loopback: boolean;
  #ufrag = "";
  #used = new Set<string>();
  #early: Candidate[] = [];

  constructor(use: (line: string) => Promise<void>, loopback: boolean) {
    this.#use = use;
    this.#loopback = loopback;
  }

  /** The description in force, "" before the first. */
  get ufrag(): string {
    return this.#ufrag;
  }

  /** A description was taken: lines are the candidates that it holds itself. */
  async described(ufrag: string, lines: readonly string[]): Promise<void> {
    if (ufrag !== this.#ufrag) {
      this.#ufrag = ufrag;
      this.#used = new Set();
    }
    for (const line of lines) await this.#take(line);
    const early = this.#early;
    this.#early = [];
    for (const c of early) await this.add(c);
  }

  /** Takes one, perhaps before its description. */
  async add(c: Candidate): Promise<void> {
    if (this.#ufrag !== "" && (c.ufrag === this.#ufrag || c.ufrag === "")) await this.#take(c.candidate);
    else if (this.#early.length < MAX_CANDIDATES) this.#early.push(c);
  }

  async #take(line: string): Promise<void> {
    if (line === "" || this.#used.has(line) || this.#used.size >= MAX_CANDIDATES) return;
    this.#used.add(line);
    if (!usable(line, this.#loopback)) return;
    try {
      await this.#use(line);
    } catch (e) {
      console.warn("candidate not used", e);
    }
  }
}
