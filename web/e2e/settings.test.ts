import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { click, Device, id, invite, join, type Kind, openFirst, Server, say, setUp, shows } from "./browser.ts";

const slow = 60_000; // ms
const PASSWORD = "correct horse battery";

/** Marks the document, to tell later whether it is still the same one. */
const mark = (page: Page) =>
  page.evaluate(() => {
    document.documentElement.dataset["mark"] = "same";
  });
const same = (page: Page) => page.evaluate(() => document.documentElement.dataset["mark"] === "same");

/** Chooses a radio button by its words. */
async function choose(page: Page, words: string): Promise<void> {
  await page.waitForFunction(
    (words) => [...document.querySelectorAll("label")].some((one) => one.textContent?.trim() === words),
    { timeout: slow },
    words,
  );
  await page.$$eval(
    "label",
    (all, words) => (all as HTMLElement[]).find((one) => one.textContent?.trim() === words)?.click(),
    words,
  );
}

describe.each<Kind>(["chrome", "firefox"])("settings and invitations in %s", (kind) => {
  const server = new Server();
  let mia: Device;
  let ben: Device;
  let m: Page;

  beforeAll(async () => {
    await server.start();
    [mia, ben] = await Promise.all([Device.open(kind), Device.open(kind)]);
    m = await setUp(mia, server, "mia", "Mia", PASSWORD);
  });
  afterAll(async () => {
    await Promise.all([mia.close(), ben.close()]);
    await server.remove();
  });

  test("the language changes everything at once and is kept", async () => {
    await m.goto(`${server.url}/settings/language`);
    await mark(m);
    await choose(m, "中文");
    await m.waitForFunction(() => document.querySelector("main h1")?.textContent === "设置", { timeout: slow });
    expect(await m.$eval("html", (html) => html.lang)).toBe("zh-Hans");
    expect(await same(m)).toBe(true);
    await m.reload();
    await m.waitForFunction(() => document.querySelector("main h1")?.textContent === "设置", { timeout: slow });
    await choose(m, "English");
    await m.waitForFunction(() => document.querySelector("main h1")?.textContent === "Settings", { timeout: slow });
  });

  test("light and dark change at once and are kept", async () => {
    const ground = () => m.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await m.goto(`${server.url}/settings/appearance`);
    await choose(m, "Light");
    await m.waitForFunction(() => getComputedStyle(document.body).backgroundColor === "rgb(238, 241, 240)", {
      timeout: slow,
    });
    await mark(m);
    await choose(m, "Dark");
    await m.waitForFunction(() => getComputedStyle(document.body).backgroundColor === "rgb(12, 18, 17)", {
      timeout: slow,
    });
    expect(await same(m)).toBe(true);
    expect(await m.$eval("meta[name=theme-color]", (tag) => tag.getAttribute("content"))).toBe("rgb(12, 18, 17)");
    await m.reload();
    await m.waitForSelector("main h1", { timeout: slow });
    expect(await ground()).toBe("rgb(12, 18, 17)");
  });

  test("one click copies a new invitation and says so; the QR code holds the same link", async () => {
    if (kind === "chrome")
      await mia.browser
        .defaultBrowserContext()
        .overridePermissions(server.url, ["clipboard-read", "clipboard-sanitized-write"]);
    await m.goto(`${server.url}/people`);
    await click(m, "invite-create");
    await m.waitForFunction(
      () => document.querySelector("[data-testid=invite-copy]")?.textContent?.includes("Copied"),
      { timeout: slow },
    );
    const link = await m.$eval(id("invite-link"), (e) => (e as HTMLInputElement).value);
    expect(link.startsWith(`${server.url}/i/`)).toBe(true);
    if (kind === "chrome") expect(await m.evaluate(() => navigator.clipboard.readText())).toBe(link);
    await m.waitForFunction(
      () => document.querySelector("[data-testid=invite-copy]")?.textContent?.includes("Copy invitation"),
      { timeout: slow },
    );
    await m.$$eval(".fresh button", (all) =>
      (all as HTMLElement[]).find((one) => one.textContent?.includes("QR"))?.click(),
    );
    await m.waitForSelector('svg[aria-label="QR code of the invitation"]', { timeout: slow });
  });

  test("who joined with a name only is warned before signing out, and can stay", async () => {
    await m.goto(server.url);
    const b = await join(ben, await invite(m), "Ben");
    await say(b, "hello");
    await b.goto(`${server.url}/settings/you`);
    await click(b, "settings-signout");
    await b.waitForSelector("dialog[open]", { timeout: slow });
    expect(await b.$eval("dialog[open]", (e) => e.textContent)).toContain("no password brings this account back");
    await b.keyboard.press("Escape");
    await b.waitForFunction(() => document.querySelector("dialog[open]") === null, { timeout: slow });
    expect(await b.evaluate(() => document.activeElement?.getAttribute("data-testid"))).toBe("settings-signout");
    await b.goto(server.url);
    await openFirst(b);
    await shows(b, (all) => all.length === 1, "everything is still there");
    await b.goto(`${server.url}/settings/you`);
    await click(b, "settings-signout");
    await click(b, "settings-signout-confirm");
    await b.waitForSelector(id("login-user"), { timeout: slow });
    expect(new URL(b.url()).pathname).toBe("/login");
    await b.reload();
    await b.waitForSelector(id("login-user"), { timeout: slow });
  });

  test("a password account is back with everything after signing out and in", async () => {
    await m.goto(`${server.url}/settings/you`);
    await click(m, "settings-signout");
    await m.waitForSelector("dialog[open]", { timeout: slow });
    expect(await m.$eval("dialog[open]", (e) => e.textContent)).toContain("come back when you log in again");
    await click(m, "settings-signout-confirm");
    await m.waitForSelector(id("login-user"), { timeout: slow });
    await m.type(id("login-user"), "mia");
    await m.type(id("login-password"), "not this one");
    await click(m, "login-submit");
    await m.waitForSelector("[role=alert]", { timeout: slow });
    await m.type(id("login-password"), PASSWORD);
    await click(m, "login-submit");
    await openFirst(m);
    await shows(m, (all) => all.some((one) => one.text === "hello"), "what was written is there");
  });
});

describe("notifications", () => {
  const server = new Server();
  let mia: Device;
  let ben: Device;
  beforeAll(async () => {
    await server.start();
    [mia, ben] = await Promise.all([Device.open("chrome"), Device.open("chrome")]);
  });
  afterAll(async () => {
    await Promise.all([mia.close(), ben.close()]);
    await server.remove();
  });

  test("are asked about only once something came unseen, and shown only while no tab is on the screen", async () => {
    const m = await setUp(mia, server, "mia", "Mia", PASSWORD);
    const b = await join(ben, await invite(m), "Ben");
    await mia.browser.defaultBrowserContext().overridePermissions(server.url, ["notifications"]);
    await m.evaluateOnNewDocument(() => {
      const shown: string[] = [];
      let permission: NotificationPermission = "default"; // the browser's own question has nobody to answer it here
      class Recorded extends EventTarget {
        static get permission() {
          return permission;
        }
        static async requestPermission() {
          permission = "granted";
          return permission;
        }
        constructor(title: string, { body = "" }: NotificationOptions = {}) {
          super();
          shown.push(`${title}: ${body}`);
        }
        close() {}
      }
      Object.assign(window, { Notification: Recorded, shown });
    });
    const shown = () => m.evaluate(() => (window as unknown as { shown: string[] }).shown);
    const unread = (count: number) =>
      m.waitForFunction((n) => document.title.startsWith(`(${n})`), { timeout: slow, polling: 200 }, count);
    await m.reload();
    await m.waitForSelector(id("conversation-row"), { timeout: slow });
    await say(b, "while you look");
    await unread(1);
    expect(await m.$(id("notice-offer"))).toBeNull();

    const other = await mia.browser.newPage(); // m is in the background
    await say(b, "while you do not");
    await unread(2);
    await other.close();
    await m.bringToFront();
    await m.waitForSelector(id("notice-offer"), { timeout: slow });
    expect(await shown()).toEqual([]);
    await m.click(`${id("notice-offer")} .btn.primary`);
    await m.waitForFunction(() => document.querySelector("[data-testid=notice-offer]") === null, { timeout: slow });
    await say(b, "while you look again");
    await unread(3);
    expect(await shown()).toEqual([]);

    const another = await mia.browser.newPage();
    await say(b, "while you are away");
    await unread(4);
    await m.waitForFunction(() => (window as unknown as { shown: string[] }).shown.length > 0, {
      timeout: slow,
      polling: 200,
    });
    expect(await shown()).toEqual(["Ben: while you are away"]);
    await another.goto(server.url); // a second tab of Parley, on the screen
    await another.waitForSelector(id("conversation-row"), { timeout: slow });
    await say(b, "while another tab is open");
    await unread(5);
    expect(await shown()).toHaveLength(1);
  });
});
