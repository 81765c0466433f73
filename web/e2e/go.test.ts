import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Device, invite, type Kind, openFirst, PROGRAM, Server, say, setUp, shows } from "./browser.ts";

const run = promisify(execFile);

interface Line {
  readonly type: string;
  readonly text?: string;
  readonly path?: string;
}

describe.each<Kind>(["chrome", "firefox"])("Mia in %s, Ben on the command line", (kind) => {
  const server = new Server();
  const home = mkdtempSync(resolve(tmpdir(), "parley-go-"));
  const profile = resolve(home, "profile");
  const env = { ...process.env, PARLEY_PASSWORD_FILE: resolve(home, "password") };
  const lines: Line[] = [];
  let mia: Device;
  let listening: ChildProcess | null = null;

  beforeAll(async () => {
    writeFileSync(env.PARLEY_PASSWORD_FILE, "correct horse battery\n");
    await server.start();
    mia = await Device.open(kind);
  });
  afterAll(async () => {
    listening?.kill();
    await mia.close();
    await server.remove();
    rmSync(home, { recursive: true, force: true });
  });

  async function heard(want: (l: Line) => boolean, what: string): Promise<void> {
    for (const until = Date.now() + 60_000; !lines.some(want); ) {
      if (Date.now() > until) throw new Error(`never: ${what}; heard ${JSON.stringify(lines)}`);
      await new Promise((r) => setTimeout(r, 50));
    }
  }

  test("a Go peer joins by the browser's invitation, and they talk directly", async () => {
    const m = await setUp(mia, server, "mia", "Mia", "correct horse battery");
    await run(
      PROGRAM,
      ["register", "--server", server.url, "--user", "ben", "--invite", await invite(m), "--profile", profile],
      { env },
    );
    listening = spawn(PROGRAM, ["listen", "--json", "--read", "--profile", profile], {
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    if (listening.stdout !== null)
      createInterface(listening.stdout).on("line", (l) => lines.push(JSON.parse(l) as Line));
    await heard((l) => l.type === "ready", "the peer is connected");

    await openFirst(m);
    await m.waitForSelector('[data-testid="path-badge"][data-path="direct"]', { timeout: 60_000 });
    await say(m, "hello from a browser 🌍");
    await heard(
      (l) => l.type === "message" && l.text === "hello from a browser 🌍" && l.path === "direct",
      "it comes directly",
    );
    await shows(m, (all) => all[0]?.state === "read" && all[0].path === "direct", "Mia sees it was read");

    await run(PROGRAM, ["send", "mia", "hello from a terminal", "--wait", "delivered", "--profile", profile], { env });
    await shows(
      m,
      (all) => all.length === 2 && all[1]?.text.includes("hello from a terminal") === true,
      "the answer arrives",
    );
    const { stdout } = await run(PROGRAM, ["history", "mia", "--json", "--profile", profile], { env });
    expect(stdout.trim().split("\n")).toHaveLength(2);
  });
});
