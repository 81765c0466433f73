// A person on the command line: a Go peer, for what one browser needs at the other end.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { PROGRAM } from "./browser.ts";

const run = promisify(execFile);
const atOnce = 4; // processes that send

export class Terminal {
  readonly #home = mkdtempSync(resolve(tmpdir(), "parley-peer-"));
  readonly #profile = resolve(this.#home, "profile");
  readonly #env = { ...process.env, PARLEY_PASSWORD_FILE: resolve(this.#home, "password") };
  #listening: ChildProcess | null = null;

  /** Makes an account; with an invitation it is a contact of whoever made that. */
  async register(server: string, user: string, more: { invitation?: string; nickname?: string } = {}): Promise<void> {
    writeFileSync(this.#env.PARLEY_PASSWORD_FILE, "correct horse battery\n");
    const { invitation = "", nickname = user } = more;
    await this.#run(
      "register",
      `--server=${server}`,
      `--user=${user}`,
      `--invite=${invitation}`,
      `--nickname=${nickname}`,
    );
  }

  /** Comes online and stays there; --read marks what arrives as read. */
  async listen(read = false): Promise<void> {
    const flags = read ? ["--read"] : [];
    const child = spawn(PROGRAM, ["listen", "--json", ...flags, "--profile", this.#profile], {
      env: this.#env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#listening = child;
    await new Promise<void>((ready) => child.stdout.on("data", (b: Buffer) => b.includes('"ready"') && ready()));
  }

  async stop(): Promise<void> {
    const child = this.#listening;
    this.#listening = null;
    if (child === null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill();
    await ended;
  }

  async send(to: string, text: string): Promise<void> {
    await this.#run("send", "--", to, text);
  }

  /** Sends many texts, in about the order given. */
  async sendAll(to: string, texts: readonly string[]): Promise<void> {
    const left = [...texts];
    const sender = async () => {
      for (let text = left.shift(); text !== undefined; text = left.shift()) await this.send(to, text);
    };
    await Promise.all(Array.from({ length: atOnce }, sender));
  }

  /** Runs any command of the contacts. */
  async contacts(command: string, ...args: string[]): Promise<void> {
    await run(PROGRAM, ["contacts", command, "--profile", this.#profile, ...args], { env: this.#env });
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#home, { recursive: true, force: true });
  }

  async #run(...args: string[]): Promise<void> {
    const [command = "", ...rest] = args;
    await run(PROGRAM, [command, "--profile", this.#profile, ...rest], { env: this.#env });
  }
}
