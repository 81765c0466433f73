// Hide my address: nothing that a browser sends for a link says where it is.
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Device, id, invite, join, type Kind, openFirst, Server, say, setUp, shows } from "./browser.ts";

const slow = 60_000; // ms

/** Keeps what a page sends over its sockets, as text: candidates and descriptions are text within the frames. */
async function record(page: Page): Promise<void> {
  await page.evaluateOnNewDocument(() => {
    const sent: string[] = [];
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (data) {
      if (data instanceof Uint8Array) sent.push(new TextDecoder("latin1").decode(data));
      send.call(this, data);
    };
    Object.assign(window, { sent });
  });
}

const sent = (page: Page) => page.evaluate(() => (window as unknown as { sent: string[] }).sent.join("\n"));

/** What a text says of addresses: candidates, and the lines of descriptions that hold one. */
function addresses(text: string): string[] {
  return [...text.matchAll(/candidate:[^\r\n\0]*? typ [^\r\n\0]*|^c=IN [^\r\n]*|^a=rtcp:[^\r\n]*/gm)].map(
    ([line]) => line,
  );
}

/** A line that tells an address of the browser's own: of a candidate other than the server's, or behind one. */
function tells(line: string): boolean {
  if (!line.startsWith("candidate:")) return /IP[46] (?!0\.0\.0\.0|::)/.test(line) && !/127\.0\.0\.1|::1/.test(line);
  const raddr = /raddr (\S+)/.exec(line)?.[1] ?? "0.0.0.0";
  return !/ typ relay/.test(line) || !/^(0\.0\.0\.0|::)$/.test(raddr);
}

describe.each<Kind>(["chrome", "firefox"])("who hides the address in %s", (kind) => {
  const server = new Server();
  let mia: Device;
  let ben: Device;
  let m: Page;
  let b: Page;

  beforeAll(async () => {
    await server.start();
    [mia, ben] = await Promise.all([Device.open(kind), Device.open("chrome")]);
    m = await setUp(mia, server, "mia", "Mia", "correct horse battery");
    b = await join(ben, await invite(m), "Ben");
    await record(m);
  }, 120_000);
  afterAll(async () => {
    await Promise.all([mia.close(), ben.close()]);
    await server.remove();
  });

  const linked = (path: string) =>
    m.waitForSelector(`[data-testid="path-badge"][data-path="${path}"]`, { timeout: 60_000 });

  test("tells it to the other end while it is shown", async () => {
    await m.goto(server.url);
    await openFirst(m);
    await linked("direct");
    expect(addresses(await sent(m)).some(tells)).toBe(true); // what the next test looks for is found
  });

  test.each(["everybody", "one person"])(
    "tells no address in descriptions, candidates or traffic when it is hidden from %s",
    async (from) => {
      const toggle = async () => {
        if (from === "everybody") {
          await m.goto(`${server.url}/settings/privacy`);
          await m.waitForSelector("main [role=switch]", { timeout: slow });
          await m.$eval("main [role=switch]", (one) => (one as HTMLInputElement).click());
        } else {
          if ((await m.$(id("details-toggle"))) === null) {
            await m.goto(server.url);
            await openFirst(m);
          }
          if ((await m.$(id("details"))) === null) await m.click(id("details-toggle"));
          await m.waitForSelector(`${id("details")} [role=switch]`, { timeout: slow });
          await m.$eval(`${id("details")} [role=switch]`, (one) => (one as HTMLInputElement).click());
        }
      };
      const on = (is: boolean) =>
        m.waitForFunction(
          (is) => document.querySelector<HTMLInputElement>("main [role=switch], aside [role=switch]")?.checked === is,
          { timeout: slow },
          is,
        );
      await toggle();
      await on(true);
      await m.goto(server.url); // begins to record anew
      await openFirst(m);
      await linked("turn");
      await say(m, `hidden from ${from}`);
      await shows(b, (all) => all.some((one) => one.text === `hidden from ${from}`), "it is forwarded");
      const told = addresses(await sent(m));
      expect(told.filter((line) => line.startsWith("candidate:")).length).toBeGreaterThan(0);
      expect(told.filter(tells)).toEqual([]);
      const pairs = await m.$eval(id("path-badge"), (badge) => badge.getAttribute("data-path"));
      expect(pairs).toBe("turn");
      await toggle();
      await on(false);
    },
  );
});
