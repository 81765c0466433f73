import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { click, Device, id, invite, type Kind, Server, say, setUp, shows } from "./browser.ts";
import { Terminal } from "./terminal.ts";

const slow = 60_000; // ms

const active = (page: Page) =>
  page.evaluate(() => {
    const e = document.activeElement;
    return e?.getAttribute("data-testid") ?? e?.id ?? e?.tagName ?? "";
  });

const composed = (page: Page) => page.$eval(id("composer"), (box) => (box as HTMLTextAreaElement).value);

/** Waits until a chat is open and its name is the heading. */
async function chatWith(page: Page, name: string): Promise<void> {
  await page.waitForFunction(
    (name) => document.querySelector("main h1")?.textContent === name,
    { timeout: slow },
    name,
  );
}

/** Waits until so many chats have something unread. */
async function unread(page: Page, chats: number): Promise<void> {
  await page.waitForFunction(
    (n) => document.querySelectorAll("[data-testid=unread]").length === n,
    { timeout: slow },
    chats,
  );
}

describe.each<Kind>(["chrome", "firefox"])("keys and drafts in %s", (kind) => {
  const server = new Server();
  const others = [new Terminal(), new Terminal(), new Terminal()];
  const names = ["ann", "ben", "cyd"];
  let mia: Device;
  let m: Page;

  beforeAll(async () => {
    await server.start();
    mia = await Device.open(kind);
    m = await setUp(mia, server, "mia", "Mia", "correct horse battery");
    for (const [i, other] of others.entries()) {
      await other.register(server.url, names[i] ?? "", { invitation: await invite(m) });
      await other.send("mia", `from ${names[i]}`);
    }
    await unread(m, 3);
  }, 120_000);
  afterAll(async () => {
    await mia.close();
    for (const other of others) await other.remove();
    await server.remove();
  });

  test("Ctrl K finds a chat by its name, Enter opens it", async () => {
    await m.keyboard.down("Control");
    await m.keyboard.press("k");
    await m.keyboard.up("Control");
    expect(await m.evaluate(() => document.activeElement?.getAttribute("type"))).toBe("search");
    await m.keyboard.type("BE");
    await m.waitForFunction(() => document.querySelectorAll("[data-testid=conversation-row]").length === 1, {
      timeout: slow,
    });
    await m.keyboard.press("Enter");
    await chatWith(m, "ben");
    expect(await active(m)).toBe("composer");
    expect(await composed(m)).toBe("");
    await m.waitForFunction(() => document.querySelectorAll("[data-testid=conversation-row]").length === 3, {
      timeout: slow,
    });
  });

  test("Alt with arrows goes from chat to chat, with Shift to the next unread one", async () => {
    const order = await m.$$eval(id("conversation-row"), (all) =>
      all.map((row) => row.querySelector("b")?.textContent ?? ""),
    );
    const at = order.indexOf("ben");
    await m.keyboard.down("Alt");
    await m.keyboard.press("ArrowDown");
    await chatWith(m, order[(at + 1) % 3] ?? "");
    await unread(m, 1); // it is not left before it was seen
    await m.keyboard.press("ArrowUp");
    await chatWith(m, "ben");
    await m.keyboard.down("Shift");
    await m.keyboard.press("ArrowDown");
    await m.keyboard.up("Shift");
    await m.keyboard.up("Alt");
    await m.waitForFunction(() => document.querySelector("main h1")?.textContent !== "ben", { timeout: slow });
    await unread(m, 0);
    const current = await m.$$eval("[aria-current=page][data-testid=conversation-row]", (all) => all.length);
    expect(current).toBe(1);
  });

  test("drafts belong to their chat and outlive the page", async () => {
    await m.goto(`${server.url}/`);
    await click(m, "conversation-row");
    await m.waitForSelector(id("composer"), { timeout: slow });
    const name = await m.$eval("main h1", (e) => e.textContent ?? "");
    await m.type(id("composer"), "half a thought");
    await m.keyboard.down("Alt");
    await m.keyboard.press("ArrowDown");
    await m.keyboard.up("Alt");
    await m.waitForFunction((old) => document.querySelector("main h1")?.textContent !== old, { timeout: slow }, name);
    expect(await composed(m)).toBe("");
    await m.waitForFunction(
      () =>
        [...document.querySelectorAll("[data-testid=conversation-row]")].some((row) =>
          row.textContent?.includes("half a thought"),
        ),
      { timeout: slow },
    );
    await m.reload();
    await m.waitForSelector(id("conversation-row"), { timeout: slow });
    await m.$$eval(id("conversation-row"), (all) =>
      (all as HTMLElement[]).find((row) => row.textContent?.includes("half a thought"))?.click(),
    );
    await chatWith(m, name);
    expect(await composed(m)).toBe("half a thought");
    await m.click(id("send"));
    await shows(m, (all) => all.at(-1)?.text === "half a thought", "it was sent");
    expect(await composed(m)).toBe("");
    await m.reload();
    await m.waitForSelector(id("composer"), { timeout: slow });
    await shows(m, (all) => all.at(-1)?.text === "half a thought", "it is there once");
    expect(await composed(m)).toBe("");
  });

  test("Enter sends and Shift Enter breaks the line; Enter that belongs to an input method does neither", async () => {
    const before = (await m.$$(id("message"))).length;
    await m.focus(id("composer"));
    await m.keyboard.type("one");
    await m.keyboard.down("Shift");
    await m.keyboard.press("Enter");
    await m.keyboard.up("Shift");
    await m.keyboard.type("two");
    expect(await composed(m)).toBe("one\ntwo");
    const sent = await m.$eval(id("composer"), (box) => {
      const key = (more: KeyboardEventInit) =>
        box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...more }));
      return [key({ isComposing: true }), key({ keyCode: 229 } as KeyboardEventInit)];
    });
    expect(sent).toEqual([true, true]); // nobody took them
    expect(await composed(m)).toBe("one\ntwo");
    await m.keyboard.press("Enter");
    await shows(m, (all) => all.length === before + 1 && all.at(-1)?.text === "one\ntwo", "one message of two lines");
  });

  test("? lists the keys outside a text; closing gives the focus back", async () => {
    await m.keyboard.type("?");
    expect(await composed(m)).toBe("?");
    await m.keyboard.press("Backspace");
    await m.focus('nav a[href="/people"]');
    await m.keyboard.type("?");
    await m.waitForSelector("dialog[open]", { timeout: slow });
    expect(await m.$eval("dialog[open]", (e) => e.textContent)).toContain("Ctrl");
    await m.keyboard.press("Escape");
    await m.waitForFunction(() => document.querySelector("dialog[open]") === null, { timeout: slow });
    expect(await m.evaluate(() => document.activeElement?.getAttribute("href"))).toBe("/people");
  });

  test("the path popover opens with Enter, closes with Esc, and gives the focus back", async () => {
    await m.focus(id("path-badge"));
    await m.keyboard.press("Enter");
    await m.waitForSelector("dialog[open]", { timeout: slow });
    await m.keyboard.press("Escape");
    await m.waitForFunction(() => document.querySelector("dialog[open]") === null, { timeout: slow });
    expect(await active(m)).toBe("path-badge");
  });

  test("Tab goes: skip link, rail, search, filters, list, header, messages, composer", async () => {
    await m.evaluate(() => {
      document.body.tabIndex = -1;
      document.body.focus();
    });
    const stops = [
      [".skip", "skip"],
      ["nav.rail", "rail"],
      ["[type=search]", "search"],
      ["[role=group]", "filters"],
      ["[data-testid=conversation-row]", "list"],
      ["aside header", "new"],
      ["[role=separator]", "edge"],
      ["main header", "header"],
      ["ol", "messages"],
    ];
    const seen: string[] = [];
    for (let i = 0; i < 20; i++) {
      await m.keyboard.press("Tab");
      seen.push(
        await m.evaluate((parts) => {
          const e = document.activeElement as HTMLElement;
          return (
            parts.find(([selector]) => e.closest(selector ?? "") !== null)?.[1] ?? e.dataset["testid"] ?? e.tagName
          );
        }, stops),
      );
    }
    const steps = seen.filter((step, i) => step !== seen[i - 1]);
    expect(steps.slice(0, 10)).toEqual([
      "skip",
      "rail",
      "new",
      "search",
      "filters",
      "list",
      "edge",
      "header",
      "messages",
      "composer",
    ]);
    expect(seen.filter((step) => step === "list")).toHaveLength(1);
    expect(seen.filter((step) => step === "messages")).toHaveLength(1);
  });

  test("the skip link leads to the message box, arrows from message to message", async () => {
    await m.focus(".skip");
    await m.keyboard.press("Enter");
    expect(await active(m)).toBe("composer");
    await say(m, "the newest");
    await shows(m, (all) => all.at(-1)?.text === "the newest", "it is there");
    await m.keyboard.down("Shift");
    await m.keyboard.press("Tab");
    await m.keyboard.up("Shift");
    const label = () => m.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? "");
    expect(await label()).toMatch(/^You, .*, the newest, /);
    await m.keyboard.press("ArrowUp");
    expect(await label()).toMatch(/^You, .*, one\ntwo, /);
    await m.keyboard.press("Home");
    expect(await label()).toMatch(/^(ann|ben|cyd), .*, from (ann|ben|cyd), Relay$/);
    await m.keyboard.press("End");
    expect(await label()).toMatch(/the newest/);
  });

  test("Enter on a row of the list opens its chat and writes nothing", async () => {
    const other = "[data-testid=conversation-row]:not([aria-current])";
    await m.$eval(other, (row) => (row as HTMLElement).focus());
    const name = await m.evaluate(() => document.activeElement?.querySelector("b")?.textContent ?? "");
    expect(name).not.toBe("");
    await m.keyboard.press("Enter");
    await chatWith(m, name);
    expect(await active(m)).toBe("composer");
    expect(await composed(m)).toBe("");
  });

  test("the edge of the list moves by arrows, within its limits, and stays", async () => {
    const width = () => m.$eval("aside.list", (e) => Math.round(e.getBoundingClientRect().width));
    expect(await width()).toBe(312);
    await m.focus("[role=separator]");
    await m.keyboard.press("ArrowRight");
    expect(await width()).toBe(328);
    for (let i = 0; i < 8; i++) await m.keyboard.press("ArrowRight");
    expect(await width()).toBe(400);
    await m.reload();
    await m.waitForSelector("aside.list", { timeout: slow });
    expect(await width()).toBe(400);
    const edge = await m.$eval("[role=separator]", (e) => e.getBoundingClientRect().left + 4);
    await m.mouse.move(edge, 300);
    await m.mouse.down();
    await m.mouse.move(edge - 60, 300, { steps: 5 });
    await m.mouse.up();
    expect(await width()).toBe(340);
    await m.mouse.click(edge - 60, 300, { count: 2 });
    expect(await width()).toBe(312);
  });
});
