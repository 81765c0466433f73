import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { click, Device, id, invite, type Kind, openFirst, Server, setUp, shows } from "./browser.ts";

/** Counts the clicks of a person in every page of this browser tab. */
async function countClicks(page: Page): Promise<() => Promise<number>> {
  await page.evaluateOnNewDocument(() => {
    const counter = { clicks: 0 };
    Object.assign(window, { counter });
    addEventListener(
      "click",
      (event) => {
        if (event.isTrusted) counter.clicks++;
      },
      true,
    );
  });
  return () => page.evaluate(() => (window as unknown as { counter: { clicks: number } }).counter.clicks);
}

const focused = (page: Page) => page.evaluate(() => document.activeElement?.getAttribute("data-testid") ?? "");

describe.each<Kind>(["chrome", "firefox"])("the first message in %s", (kind) => {
  const server = new Server();
  let mia: Device;
  let ben: Device;
  let m: Page;

  beforeAll(async () => {
    await server.start();
    [mia, ben] = await Promise.all([Device.open(kind), Device.open(kind)]);
    m = await setUp(mia, server, "mia", "Mia", "correct horse battery");
  });
  afterAll(async () => {
    await Promise.all([mia.close(), ben.close()]);
    await server.remove();
  });

  test.each([
    ["desktop", 1280, 800],
    ["phone", 390, 844],
  ])("takes three clicks on a %s: the link, the name's button, Send", async (_, width, height) => {
    const link = await invite(m); // the first click opens it
    const context = await ben.browser.createBrowserContext(); // a newcomer
    const page = await context.newPage();
    const clicks = await countClicks(page);
    await page.setViewport({ width, height });
    await page.goto(link);
    await page.waitForSelector(id("invite-name"), { timeout: 60_000 });
    expect(await focused(page)).toBe("invite-name");
    await page.keyboard.type("Ben");
    await click(page, "invite-open");
    await page.waitForSelector(id("composer"), { timeout: 60_000 });
    await page.waitForFunction(() => document.activeElement?.id === "message-box", { timeout: 60_000 });
    await page.keyboard.type("Hello from here");
    await click(page, "send");
    await shows(page, (all) => all.length === 1 && all[0]?.state !== "failed", "it stands in the conversation");
    expect(await clicks()).toBe(2);
    expect(await focused(page)).toBe("composer");

    await openFirst(m);
    await shows(m, (all) => all.some((one) => one.text === "Hello from here"), "Mia has it");
    await context.close();
  });
});
