// The real program, as the tests of the state talk to it.
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";

const PROGRAM = resolve(import.meta.dirname, "../../../../bin/parley");

/** `parley serve` on a free port with a data folder of its own. */
export class TestServer {
  readonly #home = mkdtempSync(resolve(tmpdir(), "parley-state-"));
  #process: ChildProcess | null = null;
  url = "";
  setup = ""; // secret of the first administrator's link

  static async start(): Promise<TestServer> {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: run "make program" first`);
    const server = new TestServer();
    await server.start();
    return server;
  }

  get #data(): string {
    return resolve(this.#home, "data");
  }

  /** Starts it, again at the same address after a stop. */
  async start(): Promise<void> {
    const listen = this.url === "" ? "localhost:0" : new URL(this.url).host;
    const child = spawn(PROGRAM, ["serve", "--listen", listen, "--data-dir", this.#data, "--no-turn"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    child.stderr.on("data", (b: Buffer) => {
      this.setup = /\/setup#(\S+)/.exec(b.toString())?.[1] ?? this.setup;
    });
    this.url = await new Promise<string>((ready, reject) => {
      child.stdout.on("data", (b: Buffer) => {
        const url = /^ready (\S+)/m.exec(b.toString())?.[1];
        if (url !== undefined) ready(url);
      });
      child.once("exit", (code) => reject(new Error(`parley serve ended with ${code}`)));
    });
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    await ended;
  }

  /** Copies the data folder, as a backup does; the server must be stopped. */
  backUp(): void {
    cpSync(this.#data, resolve(this.#home, "backup"), { recursive: true });
  }

  /** Puts the copy in the place of the data folder; the server must be stopped. */
  restore(): void {
    rmSync(this.#data, { recursive: true });
    cpSync(resolve(this.#home, "backup"), this.#data, { recursive: true });
  }

  async remove(): Promise<void> {
    await this.stop("SIGKILL");
    rmSync(this.#home, { recursive: true, force: true });
  }
}
