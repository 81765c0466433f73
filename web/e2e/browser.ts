// Starts the real server and real browsers for the end-to-end tests.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { type Browser, launch, type Page } from "puppeteer-core";

/** How long anything may take on a slow, loaded machine, in ms. */
export const slow = 60_000;

export const PROGRAM = resolve(import.meta.dirname, "../../bin/parley");

export type Kind = "chrome" | "firefox";

/** The program `parley serve` with a data folder of its own. */
export class Server {
  readonly data: string;
  url = "";
  setup = "";
  readonly #registration: string;
  #process: ChildProcess | null = null;

  constructor(registration: "open" | "invite" = "invite") {
    this.#registration = registration;
    this.data = mkdtempSync(resolve(tmpdir(), "parley-e2e-"));
  }

  /** Starts it, again at the same address after a stop. */
  async start(): Promise<void> {
    const listen = this.url === "" ? "localhost:0" : new URL(this.url).host;
    const flags = ["--listen", listen, "--data-dir", this.data, "--registration", this.#registration];
    const child = spawn(PROGRAM, ["serve", ...flags], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    child.stderr.on("data", (b: Buffer) => {
      this.setup = /\/setup#(\S+)/.exec(b.toString())?.[1] ?? this.setup;
    });
    this.url = await new Promise((ready, reject) => {
      child.stdout.on("data", (b: Buffer) => {
        const url = /^ready (\S+)/.exec(b.toString())?.[1];
        if (url !== undefined) ready(url);
      });
      child.once("exit", (code) => reject(new Error(`parley serve ended with ${code}`)));
    });
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#process;
    if (child === null) return;
    this.#process = null;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.data, { recursive: true, force: true });
  }
}

/** A browser with a profile of its own: one person's device. */
export class Device {
  readonly browser: Browser;
  readonly errors: string[] = [];

  private constructor(browser: Browser) {
    this.browser = browser;
  }

  /** more: flags of chromium. */
  static async open(kind: Kind, more: readonly string[] = []): Promise<Device> {
    const browser = await launch(
      kind === "chrome"
        ? {
            browser: "chrome",
            executablePath: "/usr/bin/chromium",
            args: [
              "--no-sandbox",
              "--lang=en-US",
              "--disable-features=WebRtcHideLocalIpsWithMdns", // multicast reaches nobody in a container
              ...more,
            ],
            headless: true,
          }
        : {
            browser: "firefox",
            executablePath: "/usr/bin/firefox-esr",
            headless: true,
            extraPrefsFirefox: {
              "intl.accept_languages": "en-US",
              "media.peerconnection.ice.loopback": true,
              "media.peerconnection.ice.obfuscate_host_addresses": false,
            },
          },
    );
    return new Device(browser);
  }

  /** Opens a page and keeps what goes wrong in it. */
  async page(url: string, width = 1280, height = 800): Promise<Page> {
    const page = await this.browser.newPage();
    await page.setViewport({ width, height });
    page.on("pageerror", (e) => this.errors.push(String(e)));
    page.on("console", (c) => {
      if (c.type() === "error" || c.type() === "warn") this.errors.push(c.text());
    });
    await page.goto(url);
    return page;
  }

  close(): Promise<void> {
    return this.browser.close();
  }
}

/** The selector of what carries a test id. */
export const id = (name: string): string => `[data-testid="${name}"]`;

export async function click(page: Page, name: string): Promise<void> {
  await page.waitForSelector(`${id(name)}:not([disabled])`, { timeout: slow });
  await page.click(id(name));
}

export async function type(page: Page, name: string, text: string): Promise<void> {
  await page.waitForSelector(id(name), { timeout: slow });
  await page.type(id(name), text);
}

/** Types over what a field holds. */
export async function replace(page: Page, name: string, text: string): Promise<void> {
  await page.waitForSelector(id(name), { timeout: slow });
  await page.$eval(id(name), (field) => (field as HTMLInputElement).select());
  await page.type(id(name), text);
}

/** A message as the page shows it. */
export interface Shown {
  readonly text: string;
  readonly state: string;
  readonly path: string;
  readonly own: boolean;
}

export function messages(page: Page): Promise<Shown[]> {
  return page.$$eval(id("message"), (all) =>
    all.map((li) => ({
      text: li.querySelector("[data-testid=message-text]")?.textContent ?? li.textContent ?? "",
      state: li.getAttribute("data-state") ?? "",
      path: li.getAttribute("data-path") ?? "",
      own: li.getAttribute("data-own") === "true",
    })),
  );
}

/** Polls until the page shows what is wanted; fails with what it shows instead. */
export async function shows(page: Page, want: (all: Shown[]) => boolean, what: string, timeout = slow): Promise<void> {
  const until = Date.now() + timeout;
  for (;;) {
    const all = await messages(page);
    if (want(all)) return;
    if (Date.now() > until) throw new Error(`never: ${what}; the page shows ${JSON.stringify(all)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Makes the first account of a server, the administrator. */
export async function setUp(
  device: Device,
  server: Server,
  user: string,
  name: string,
  password: string,
): Promise<Page> {
  const page = await device.page(`${server.url}/setup#${server.setup}`);
  await type(page, "setup-name", name);
  await replace(page, "setup-user", user);
  await type(page, "setup-password", password);
  await click(page, "setup-submit");
  await page.waitForSelector('nav a[href="/people"]', { timeout: slow });
  return page;
}

/** Makes an invitation and returns its link. */
export async function invite(page: Page): Promise<string> {
  await page.waitForSelector('nav a[href="/people"]', { timeout: slow });
  await page.click('nav a[href="/people"]');
  await click(page, "invite-create");
  await page.waitForSelector(id("invite-link"), { timeout: slow });
  const link = await page.$eval(id("invite-link"), (e) =>
    e instanceof HTMLInputElement ? e.value : (e.textContent ?? ""),
  );
  await page.click('nav a[href="/"]');
  return link.trim();
}

/** Opens an invitation, types a name and enters: the first two of three clicks. */
export async function join(device: Device, link: string, name: string): Promise<Page> {
  const page = await device.page(link);
  await type(page, "invite-name", name);
  await click(page, "invite-open");
  await page.waitForSelector(id("composer"), { timeout: slow });
  return page;
}

export async function say(page: Page, text: string): Promise<void> {
  await type(page, "composer", text);
  await click(page, "send");
}

export async function openFirst(page: Page): Promise<void> {
  await click(page, "conversation-row");
  await page.waitForSelector(id("composer"), { timeout: slow });
}
