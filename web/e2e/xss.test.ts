// THREATS row 23: nothing that somebody writes becomes more than text. Chromium only: it reports every violation.
import type { HTTPRequest, Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { click, Device, id, invite, openFirst, Server, say, setUp } from "./browser.ts";
import { payloads, shortPayloads } from "./payloads.ts";
import { Terminal } from "./terminal.ts";

const slow = 60_000; // ms
const PASSWORD = "correct horse battery";

/** Everything on a page that would show that a text was taken for something else. */
class Watch {
  readonly bad: string[] = [];
  readonly #origin: string;

  constructor(origin: string) {
    this.#origin = origin;
  }

  async begin(page: Page): Promise<void> {
    await page.exposeFunction("hit", () => this.bad.push("a script ran"));
    await page.exposeFunction("violated", (what: string) => this.bad.push(`policy: ${what}`));
    await page.evaluateOnNewDocument(() => {
      addEventListener("securitypolicyviolation", (e) => {
        (window as unknown as { violated(what: string): void }).violated(`${e.effectiveDirective} ${e.blockedURI}`);
      });
    });
    page.on("dialog", (dialog) => {
      this.bad.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("request", (request: HTTPRequest) => {
      const url = new URL(request.url());
      if (url.origin !== this.#origin && url.protocol !== "data:" && url.protocol !== "blob:")
        this.bad.push(`request: ${request.url()}`);
    });
    page.on("popup", () => this.bad.push("a window opened"));
    page.on("framenavigated", (frame) => {
      if (!frame.url().startsWith(this.#origin) && frame.url() !== "about:blank")
        this.bad.push(`navigation: ${frame.url()}`);
    });
  }
}

describe("what others write", () => {
  const server = new Server("open");
  const eve = new Terminal();
  const strangers: Terminal[] = [];
  let mia: Device;
  let watch: Watch;
  let m: Page;

  beforeAll(async () => {
    await server.start();
    watch = new Watch(new URL(server.url).origin);
    mia = await Device.open("chrome");
    m = await setUp(mia, server, "mia", "Mia", PASSWORD);
    await watch.begin(m);
    await eve.register(server.url, "eve", { invitation: await invite(m) });
  }, 120_000);
  afterAll(async () => {
    await mia.close();
    for (const one of [eve, ...strangers]) await one.remove();
    await server.remove();
  });

  test("as messages stays text, in the list and in the conversation", async () => {
    await m.reload(); // now watched from the start
    expect(payloads.length).toBeGreaterThan(200);
    await eve.listen();
    await eve.sendAll("mia", payloads);
    await openFirst(m);
    const seen = new Set<string>();
    await m.waitForFunction(() => document.querySelector("[data-line=new]") !== null, { timeout: slow });
    const view = '[aria-label^="Messages with"] > div';
    await m.$eval(view, (e) => {
      e.scrollTop = 0;
    });
    for (
      const until = Date.now() + slow;
      seen.size < new Set(payloads.map((text) => text.trim())).size && Date.now() < until;
    ) {
      for (const text of await m.$$eval(id("message-text"), (all) => all.map((e) => e.textContent ?? "")))
        seen.add(text.trim());
      await m.$eval(view, (e) => {
        e.scrollTop = e.scrollTop + 200 > e.scrollHeight - e.clientHeight ? 0 : e.scrollTop + 200;
      });
    }
    expect(payloads.filter((text) => !seen.has(text.trim()))).toEqual([]);
    const hrefs = await m.$$eval(`${id("message-text")} a`, (all) =>
      (all as HTMLAnchorElement[]).map((a) => [a.protocol, a.target, a.rel].join(" ")),
    );
    expect(hrefs.length).toBeGreaterThan(0);
    for (const link of hrefs) expect(link).toMatch(/^https?: _blank noopener noreferrer$/);
    expect(
      await m.$$eval(`${id("message-text")} *`, (all) => all.filter((e) => e.tagName !== "A").map((e) => e.outerHTML)),
    ).toEqual([]);
    expect(watch.bad).toEqual([]);
  }, 180_000);

  test("as names and notes of requests stays text, in every place that shows them", async () => {
    for (const [i, text] of shortPayloads.entries()) {
      const stranger = new Terminal();
      strangers.push(stranger);
      await stranger.register(server.url, `stranger${i}`, { nickname: text });
      await stranger.contacts("add", "mia", "--note", text);
    }
    const rows = (page: Page) =>
      page.$$eval(`${id("conversation-row")} b`, (all) => all.map((e) => e.textContent ?? ""));
    await m.click('nav a[href="/people"]');
    await m.waitForFunction(
      (n) => document.querySelectorAll(".cards li").length === n,
      { timeout: slow },
      shortPayloads.length,
    );
    const asked = await m.$$eval(".cards li", (all) =>
      all.map((li) => [li.querySelector("b")?.textContent ?? "", li.querySelector("p")?.textContent ?? ""]),
    );
    expect(asked.sort()).toEqual(shortPayloads.map((text) => [text, text]).sort());
    for (let left = shortPayloads.length; left > 0; left--) {
      await m.click(".cards .btn.primary");
      await m.waitForFunction((n) => document.querySelectorAll(".cards li").length === n, { timeout: slow }, left - 1);
    }
    await m.click('nav a[href="/"]');
    await m.waitForFunction(
      (n) => document.querySelectorAll("[data-testid=conversation-row]").length === n,
      { timeout: slow },
      shortPayloads.length + 1,
    );
    expect((await rows(m)).sort()).toEqual([...shortPayloads, "eve"].sort());
    for (const name of shortPayloads) {
      await m.$$eval(
        id("conversation-row"),
        (all, name) => (all as HTMLElement[]).find((row) => row.querySelector("b")?.textContent === name)?.click(),
        name,
      );
      await m.waitForFunction(
        (name) => document.querySelector("main h1")?.textContent === name && document.title.includes(name),
        { timeout: slow },
        name,
      );
      await say(m, name);
      await click(m, "path-badge");
      await m.waitForSelector("dialog[open]", { timeout: slow });
      await m.keyboard.press("Escape");
    }
    expect(watch.bad).toEqual([]);
  }, 180_000);
});
