// A conversation of ten thousand messages, all loaded, against one of two hundred: what is drawn does not grow.
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Device, id } from "./browser.ts";
import { DoubleServer } from "./double.ts";

const view = '[aria-label^="Messages with"] > div';
const few = 200;
const many = 10_000;
const rounds = 3;

const median = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? 0;

/** ms from the click on the row to the first frame with its messages. */
function opening(page: Page): Promise<number> {
  return page.$eval(id("conversation-row"), async (row) => {
    const frame = () => new Promise((drawn) => requestAnimationFrame(drawn));
    await frame();
    const started = performance.now();
    (row as HTMLElement).click();
    while (document.querySelector("[data-testid=message]") === null) await frame();
    await frame();
    return performance.now() - started;
  });
}

/** ms of every frame while somebody scrolls up, 400 px a frame. */
function scrolling(page: Page): Promise<number[]> {
  return page.$eval(view, async (e) => {
    const frames: number[] = [];
    let last = performance.now();
    for (let i = 0; i < 90; i++) {
      e.scrollTop -= 400;
      await new Promise((drawn) => requestAnimationFrame(drawn));
      frames.push(performance.now() - last);
      last = performance.now();
    }
    return frames;
  });
}

describe("ten thousand messages", () => {
  let server: DoubleServer;
  let device: Device;
  beforeAll(async () => {
    [server, device] = await Promise.all([DoubleServer.start(), Device.open("chrome")]);
  }, 120_000);
  afterAll(async () => {
    await device.close();
    await server.stop();
  });

  test("open and scroll about as quickly as two hundred, and draw no more", async () => {
    const times = new Map([few, many].map((count) => [count, { open: [] as number[], frame: [] as number[] }]));
    for (let round = 0; round < rounds; round++) {
      for (const count of [few, many]) {
        const page = await device.page(`${server.url}?path=/&many=${count}`);
        await page.waitForSelector(id("conversation-row"), { timeout: 30_000 });
        times.get(count)?.open.push(await opening(page));
        times.get(count)?.frame.push(...(await scrolling(page)));
        expect(await page.$$eval(id("message"), (all) => all.length)).toBeLessThan(300);
        await page.close();
      }
    }
    const figures = [...times].map(([count, { open, frame }]) => {
      const sorted = [...frame].sort((a, b) => a - b);
      return { count, open: median(open), frame: median(frame), p95: sorted[Math.floor(sorted.length * 0.95)] ?? 0 };
    });
    process.stdout.write(
      `${figures.map((f) => `${f.count} messages: open ${f.open.toFixed(0)} ms, frame ${f.frame.toFixed(1)} ms, p95 ${f.p95.toFixed(1)} ms`).join("\n")}\n`,
    );
    const [short, long] = figures;
    expect(long?.open).toBeLessThan(3 * (short?.open ?? 0) + 100);
    expect(long?.frame).toBeLessThan(3 * (short?.frame ?? 0) + 20);
  }, 300_000);

  test("can be walked from end to end by Home and End", async () => {
    const page = await device.page(`${server.url}?path=/c/mia&many=${many}`);
    await page.waitForSelector(id("message"), { timeout: 30_000 });
    await page.focus('[data-testid=message][tabindex="0"]');
    await page.keyboard.press("Home");
    await page.waitForFunction(() => document.activeElement?.getAttribute("aria-posinset") === "1", {
      timeout: 30_000,
    });
    await page.keyboard.press("End");
    await page.waitForFunction(
      (n) => Number(document.activeElement?.getAttribute("aria-posinset")) > n,
      { timeout: 30_000 },
      many,
    );
    expect(device.errors).toEqual([]);
    await page.close();
  });
});
