// What every page has to keep, looked at over the double: no sideways scrolling, no axe violation, both themes.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Device, type Kind } from "./browser.ts";
import { DoubleServer } from "./double.ts";
import { scenes, settled, show } from "./tour/scenes.ts";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

interface Found {
  readonly id: string;
  readonly nodes: readonly string[];
}

/** What axe finds on the page, by the rules of WCAG 2.2 AA and best practice. */
async function violations(page: Page): Promise<Found[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    type Result = { violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] };
    const { run } = (window as unknown as { axe: { run(): Promise<Result> } }).axe;
    const { violations } = await run();
    return violations.map(({ id, nodes }) => ({
      id,
      nodes: nodes.map((node) => `${node.html}\n${node.failureSummary}`),
    }));
  });
}

/** What scrolls sideways, and what is to be read or pressed and reaches beyond the side of the screen. */
function sideways(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const wide: string[] = [];
    for (const e of document.querySelectorAll<HTMLElement>("body, body *")) {
      const { overflowX } = getComputedStyle(e);
      const scrolls = overflowX === "auto" || overflowX === "scroll" || e === document.body;
      if (scrolls && e.scrollWidth > e.clientWidth + 1)
        wide.push(`${e.tagName}.${e.className} is ${e.scrollWidth} of ${e.clientWidth}`);
    }
    if (document.documentElement.scrollWidth > innerWidth)
      wide.push(`the page is ${document.documentElement.scrollWidth} of ${innerWidth}`);
    for (const e of document.querySelectorAll<HTMLElement>(
      "a, button, input, textarea, select, h1, .bubble, .notice",
    )) {
      const { left, right, width } = e.getBoundingClientRect();
      if (e.checkVisibility() && width > 2 && (left < -1 || right > innerWidth + 1))
        wide.push(`${e.tagName}.${e.className} reaches from ${left} to ${right} of ${innerWidth}`);
    }
    return wide;
  });
}

let server: DoubleServer;
beforeAll(async () => {
  server = await DoubleServer.start();
}, 120_000);
afterAll(() => server.stop());

interface Size {
  readonly width: number;
  readonly height: number;
}

const phone: Size = { width: 390, height: 844 };
const sizes: readonly Size[] = [
  { width: 320, height: 640 },
  phone,
  { width: 640, height: 400 }, // 1280 × 800 at 200 %
  { width: 820, height: 1100 },
  { width: 1280, height: 800 },
];

describe.each<[Kind, "en" | "zh"]>([
  ["chrome", "en"],
  ["firefox", "zh"],
])("every page in %s, %s", (kind, language) => {
  let device: Device;
  beforeAll(async () => {
    device = await Device.open(kind);
  });
  afterAll(() => device.close());

  test("has no sideways scrolling at any width, and gives axe nothing to say in either theme", async () => {
    const bad: Record<string, unknown> = {};
    for (const scene of scenes.filter((one) => one.main)) {
      const page = await show(device, server, scene, { width: 1280, height: 800, theme: "light", language });
      for (const size of sizes) {
        await page.setViewport(size);
        await settled(page);
        const wide = await sideways(page);
        if (wide.length > 0) bad[`${scene.name} at ${size.width}`] = wide;
      }
      for (const theme of ["light", "dark"]) {
        await page.setViewport(theme === "light" ? { width: 1280, height: 800 } : phone);
        await page.$eval(
          "html",
          (html, theme) => {
            html.dataset["theme"] = theme;
          },
          theme,
        );
        await settled(page);
        const found = await violations(page);
        if (found.length > 0) bad[`${scene.name} in ${theme}`] = found;
      }
      await page.close();
    }
    expect(bad).toEqual({});
  }, 600_000);
});
