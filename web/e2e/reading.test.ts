import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Device, id, invite, type Kind, openFirst, Server, say, setUp, shows } from "./browser.ts";
import { Terminal } from "./terminal.ts";

const past = 1_100; // messages, more than twenty pages
const slow = 60_000; // ms

const viewport = '[aria-label^="Messages with"] > div';

/** The distance of the screen from the start and from the end of what is loaded, in px. */
function place(page: Page): Promise<{ top: number; left: number }> {
  return page.$eval(viewport, (e) => ({ top: e.scrollTop, left: e.scrollHeight - e.clientHeight - e.scrollTop }));
}

/** What the page has as newest and oldest drawn message. */
function ends(page: Page): Promise<string[]> {
  return page.$$eval(id("message-text"), (all) => [all[0]?.textContent ?? "", all.at(-1)?.textContent ?? ""]);
}

/**
 * Scrolls near the start and watches one message on the screen, frame by frame, until `pages` times older ones were
 * put above it; returns the farthest that it moved, in px.
 */
function movesWhileOlderLoad(page: Page, pages: number): Promise<number> {
  return page.$eval(
    viewport,
    async (view, pages) => {
      const frame = () => new Promise((drawn) => requestAnimationFrame(drawn));
      const onScreen = () =>
        [...view.querySelectorAll<HTMLElement>("[data-key]")].find(
          (e) => e.getBoundingClientRect().top > view.getBoundingClientRect().top,
        );
      let farthest = 0;
      for (let i = 0; i < pages; i++) {
        const height = view.scrollHeight;
        view.scrollTop = 300;
        await frame();
        const key = onScreen()?.dataset["key"] ?? "";
        const top = () =>
          view.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`)?.getBoundingClientRect().top ?? Number.NaN;
        const before = top();
        const atStart = () => view.querySelector('[aria-setsize]:not([aria-setsize="-1"])') !== null;
        const until = performance.now() + 30_000;
        while (view.scrollHeight - height < 500 && !atStart() && performance.now() < until) {
          await frame();
          farthest = Math.max(farthest, Math.abs(top() - before));
        }
        for (let rest = 0; rest < 5; rest++) {
          await frame();
          farthest = Math.max(farthest, Math.abs(top() - before));
        }
        if (atStart()) break;
      }
      return farthest;
    },
    pages,
  );
}

describe.each<Kind>(["chrome", "firefox"])("reading in %s", (kind) => {
  const server = new Server();
  const ben = new Terminal();
  let mia: Device;
  let m: Page;

  beforeAll(async () => {
    await server.start();
    mia = await Device.open(kind);
    m = await setUp(mia, server, "mia", "Mia", "correct horse battery");
    await ben.register(server.url, "ben", { invitation: await invite(m) });
    await m.close();
    await ben.listen();
    await ben.sendAll(
      "mia",
      Array.from({ length: past }, (_, i) => (i % 7 === 0 ? `${i} ${"long ".repeat(60)}` : `message ${i}`)),
    );
    m = await mia.page(server.url);
  }, 180_000);
  afterAll(async () => {
    await mia.close();
    await ben.remove();
    await server.remove();
  });

  test("the list and the title count what is unread; the New line stands above the first of them", async () => {
    await m.waitForFunction(() => document.querySelector("[data-testid=unread]")?.textContent === "999", {
      timeout: slow,
    });
    expect(await m.title()).toBe("(999) Parley");
    await openFirst(m);
    await m.waitForSelector("[data-line=new]", { visible: true, timeout: slow });
    const { top, left } = await place(m);
    expect(left).toBeGreaterThan(5_000);
    expect(top).toBeLessThan(left);
    const line = await m.$eval("[data-line=new]", (e) => e.getBoundingClientRect().top);
    expect(line).toBeGreaterThan(60);
    expect(line).toBeLessThan(200);
  });

  test("the button below goes to the newest, and then nothing is unread", async () => {
    await m.waitForSelector(id("to-newest"), { timeout: slow });
    await m.keyboard.press("Escape");
    await m.waitForFunction(() => document.querySelector("[data-testid=to-newest]") === null, { timeout: slow });
    await m.waitForFunction(
      () => document.querySelector("[data-testid=unread]") === null && document.title === "ben · Parley",
      { timeout: slow },
    );
    expect((await ends(m))[1]).toMatch(/^(message )?10\d\d/);
  });

  test("more than a thousand older messages load without anything moving, and few lines are drawn", async () => {
    await m.reload();
    await m.waitForSelector(id("message"), { timeout: slow });
    await m.waitForFunction(
      (v) => {
        const e = document.querySelector(v);
        return e !== null && e.scrollHeight > 2 * e.clientHeight;
      },
      { timeout: slow },
      viewport,
    );
    expect((await place(m)).left).toBeLessThan(2);
    expect(await movesWhileOlderLoad(m, 30)).toBeLessThan(1.5);
    await m.$eval(viewport, (e) => {
      e.scrollTop = 0;
    });
    await m.waitForFunction(
      () => document.querySelector("[data-testid=message]")?.getAttribute("aria-posinset") === "1",
      { timeout: slow },
    );
    expect((await ends(m))[0]).toMatch(/^(message \d|\d long .*)$/);
    expect(await m.$$eval(id("message"), (all) => all.length)).toBeLessThan(300);
  }, 300_000);

  test("what comes while somebody reads above is counted and moves nothing; the count leads to the first of it", async () => {
    await m.$eval(viewport, (e) => {
      e.scrollTop = e.scrollHeight / 2;
    });
    await new Promise((resolve) => setTimeout(resolve, 500)); // drawn and measured
    const before = await m.$eval(viewport, (view) => {
      const seen = [...view.querySelectorAll<HTMLElement>("[data-key]")].find(
        (e) => e.getBoundingClientRect().top > 200,
      );
      return { key: seen?.dataset["key"] ?? "", top: seen?.getBoundingClientRect().top ?? 0 };
    });
    await ben.send("mia", "news one");
    await ben.send("mia", "news two");
    await m.waitForFunction(
      () => document.querySelector("[data-testid=to-newest]")?.textContent?.includes("2 new messages"),
      { timeout: slow },
    );
    const after = await m.$eval(`[data-key="${before.key}"]`, (e) => e.getBoundingClientRect().top);
    expect(Math.abs(after - before.top)).toBeLessThan(1.5);
    expect(await m.$eval("[role=log]", (e) => e.textContent)).toContain("news two");
    await m.click(id("to-newest"));
    await shows(m, (all) => all.at(-1)?.text === "news two", "both are there");
    await m.waitForFunction(() => document.querySelector("[data-testid=to-newest]") === null, { timeout: slow });
  });

  test("what is written here is shown, wherever somebody reads", async () => {
    await m.$eval(viewport, (e) => {
      e.scrollTop = e.scrollHeight / 2;
    });
    await m.waitForSelector(id("to-newest"), { timeout: slow });
    await say(m, "here");
    await m.waitForFunction(() => document.querySelector("[data-testid=to-newest]") === null, { timeout: slow });
    expect((await ends(m))[1]).toBe("here");
    expect((await place(m)).left).toBeLessThan(2);
  });

  test("what comes while the page is hidden stands below the New line, and the title counts it", async () => {
    const other = await mia.browser.newPage();
    await other.bringToFront();
    await ben.send("mia", "are you there");
    await m.waitForFunction(() => document.title === "(1) ben · Parley", { timeout: slow, polling: 200 });
    await other.close();
    await m.bringToFront();
    await m.waitForFunction(() => document.title === "ben · Parley", { timeout: slow, polling: 200 });
    const below = await m.$eval("[data-line=new]", (e) => e.nextElementSibling?.textContent ?? "");
    expect(below).toContain("are you there");
  });
});
