import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { click, Device, id, invite, join, type Kind, openFirst, Server, say, setUp, shows } from "./browser.ts";

const slow = 60_000; // ms

const banner = (page: Page, kind: string) =>
  page.waitForSelector(`${id("banner")}[data-kind="${kind}"]`, { timeout: slow });
const gone = (page: Page) =>
  page.waitForFunction(() => document.querySelector("[data-testid=banner]") === null, { timeout: slow });

describe.each<Kind>(["chrome", "firefox"])("without a server in %s", (kind) => {
  const server = new Server();
  let mia: Device;
  let ben: Device;
  let m: Page;

  beforeAll(async () => {
    await server.start();
    [mia, ben] = await Promise.all([Device.open(kind), Device.open(kind)]);
    m = await setUp(mia, server, "mia", "Mia", "correct horse battery");
    const b = await join(ben, await invite(m), "Ben");
    await say(b, "hello");
    await shows(b, (all) => all[0]?.state === "sent" || all[0]?.state === "delivered", "it has gone out");
    await b.close(); // nobody to talk to directly
    await openFirst(m);
    await shows(m, (all) => all.length === 1, "it is there");
  });
  afterAll(async () => {
    await Promise.all([mia.close(), ben.close()]);
    await server.remove();
  });

  test("the banner says so, messages wait and say so, and go out when it is back", async () => {
    await server.stop();
    await banner(m, "unreachable");
    await m.waitForFunction(
      () => document.querySelector("[data-testid=banner]")?.textContent?.includes("Next try in"),
      { timeout: slow },
    );
    await m.waitForSelector(`${id("path-badge")}[data-path=waiting]`, { timeout: slow });
    await say(m, "are you there");
    await shows(m, (all) => all[1]?.state === "waiting" && all[1].path === "waiting", "it waits");
    expect(await m.$eval("[aria-current=page] .mark", (e) => e.textContent)).toBe("Waiting");
    await click(m, "path-badge");
    await m.waitForSelector("dialog[open]", { timeout: slow });
    expect(await m.$eval("dialog[open] h2", (e) => e.textContent?.trim())).toBe("Waiting on this device");
    await m.keyboard.press("Escape");
    await server.start();
    await m.$$eval(`${id("banner")} button`, (all) => all[0] instanceof HTMLElement && all[0].click());
    await gone(m);
    await shows(m, (all) => all[1]?.state === "sent" && all[1].path === "relay", "it went out", slow);
  });

  test("a page that cannot reach it says so, and goes on when it can", async () => {
    const context = await mia.browser.createBrowserContext();
    const page = await context.newPage();
    await page.goto(server.url);
    await page.waitForSelector(id("login-user"), { timeout: slow });
    await server.stop();
    await page.type(id("login-user"), "mia");
    await page.type(id("login-password"), "correct horse battery");
    await click(page, "login-submit");
    await page.waitForSelector("[role=alert]", { timeout: slow });
    expect(await page.$eval("[role=alert]", (e) => e.textContent)).toContain("The server does not answer");
    await server.start();
    await page.type(id("login-password"), "correct horse battery");
    await click(page, "login-submit");
    await page.waitForSelector(id("conversation-row"), { timeout: slow });
    await context.close();
  });
});

describe("without a network", () => {
  const server = new Server();
  let mia: Device;
  beforeAll(async () => {
    await server.start();
    mia = await Device.open("chrome");
  });
  afterAll(async () => {
    await mia.close();
    await server.remove();
  });

  test("the banner says so, rather than blame the server, until it is back", async () => {
    const m = await setUp(mia, server, "mia", "Mia", "correct horse battery");
    await m.setOfflineMode(true); // a socket that is open stays so here: the server ends it
    await server.stop();
    await banner(m, "offline");
    expect(await m.$eval(id("banner"), (e) => e.textContent)).toContain("No network. Messages wait here.");
    await m.setOfflineMode(false);
    await banner(m, "unreachable");
    await server.start();
    await gone(m);
  });
});
