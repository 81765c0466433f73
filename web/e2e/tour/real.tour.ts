// The way of two people through the real program, in pictures.
import { mkdirSync } from "node:fs";
import { get } from "node:http";
import { resolve } from "node:path";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, test } from "vitest";
import { click, Device, id, invite, type Kind, openFirst, Server, say, setUp, shows } from "../browser.ts";
import { settled } from "./scenes.ts";

const kinds = (process.env["BROWSERS"] ?? "chrome,firefox") as string;

/** What a server answers to a browser that came by another name. */
function asHost(url: string, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { headers: { host } }, (answer) => {
      let text = "";
      answer.on("data", (part) => {
        text += part;
      });
      answer.on("end", () => resolve(text));
    }).on("error", reject);
  });
}

describe.each(kinds.split(",") as Kind[])("the real program in %s", (kind) => {
  const out = resolve(import.meta.dirname, "../../tour", `${kind}-real`);
  const server = new Server();
  let mia: Device;
  let ben: Device;
  let taken = 0;

  beforeAll(async () => {
    mkdirSync(out, { recursive: true });
    await server.start();
    [mia, ben] = await Promise.all([Device.open(kind), Device.open(kind)]);
  });
  afterAll(async () => {
    await Promise.all([mia.close(), ben.close()]);
    await server.remove();
  });

  async function take(page: Page, name: string): Promise<void> {
    await settled(page);
    await page.screenshot({ path: resolve(out, `${String(++taken).padStart(2, "0")}-${name}.png`) as `${string}.png` });
  }

  test("from the first start to a conversation without the server", async () => {
    const first = await mia.page(`${server.url}/setup#${server.setup}`);
    await first.waitForSelector(id("setup-name"));
    await take(first, "set-up");
    await first.close();
    const m = await setUp(mia, server, "mia", "Mia", "correct horse battery");
    await take(m, "empty-place");
    const link = await invite(m);
    const b = await ben.page(link, 390, 844);
    await b.waitForSelector(id("invite-name"));
    await take(b, "invitation");
    await b.type(id("invite-name"), "Ben");
    await click(b, "invite-open");
    await b.waitForSelector(id("composer"));
    await take(b, "new-conversation");
    await b.keyboard.type("Hello Mia, the poster is ready.");
    await click(b, "send");
    await m.waitForSelector(id("unread"));
    await take(m, "first-unread");
    await openFirst(m);
    await m.waitForSelector('[data-testid="path-badge"][data-path="direct"]', { timeout: 30_000 });
    await say(m, "Wonderful! A3, both pages?");
    await shows(m, (all) => all[1]?.state === "read", "he read it");
    await b.type(id("composer"), "Yes");
    await m.waitForSelector(".typing", { timeout: 10_000 });
    await take(m, "typing");
    await take(b, "phone-conversation");
    await click(m, "path-badge");
    await take(m, "path-direct");
    await m.keyboard.press("Escape");
    await server.stop();
    await m.waitForSelector(id("banner"), { timeout: 30_000 });
    await say(m, "Still here without the server");
    await take(m, "server-unreachable");
    await b.close();
    await m.waitForFunction(
      () => document.querySelector("[data-testid=path-badge]")?.getAttribute("data-path") === "waiting",
      { timeout: 60_000 },
    );
    await say(m, "This one waits");
    await take(m, "waiting");
    await server.start();
    await m.goto(`${server.url}/people`);
    await take(m, "people");
    await m.goto(`${server.url}/settings/devices`);
    await take(m, "devices");
  }, 300_000);

  test("a page over plain HTTP to another host", async () => {
    const page = await mia.browser.newPage();
    await page.setViewport({ width: 1280, height: 800 });
    await page.setContent(await asHost(server.url, "talk.example"));
    await take(page, "plain-http");
  });
});
