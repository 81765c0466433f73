// Who somebody is, and what holds between two: details, safety number, picture, blocking, administration.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, resolve } from "node:path";
import type { ElementHandle, Page } from "puppeteer-core";
import { encodeQR } from "qr";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  click,
  Device,
  id,
  invite,
  join,
  type Kind,
  openFirst,
  replace,
  Server,
  say,
  setUp,
  shows,
  type,
} from "./browser.ts";
import { Camera } from "./camera.ts";
import { DoubleServer } from "./double.ts";

const slow = 60_000; // ms
const PASSWORD = "correct horse battery";

/** Waits until something on the page says a text. */
async function says(page: Page, selector: string, text: string): Promise<void> {
  await page.waitForFunction(
    (selector, text) => [...document.querySelectorAll(selector)].some((one) => one.textContent?.includes(text)),
    { timeout: slow },
    selector,
    text,
  );
}

async function gone(page: Page, selector: string): Promise<void> {
  await page.waitForFunction((selector) => document.querySelector(selector) === null, { timeout: slow }, selector);
}

/** Opens details and safety number of the open conversation, and reads the digits. */
async function digits(page: Page): Promise<string> {
  if ((await page.$(id("details"))) === null) await click(page, "details-toggle");
  await click(page, "safety-row");
  await page.waitForSelector(`${id("safety-digits")} li`, { timeout: slow });
  return page.$$eval(`${id("safety-digits")} li`, (all) => all.map((one) => one.textContent).join(" "));
}

const path = (page: Page) => new URL(page.url()).pathname;

describe.each<Kind>(["chrome", "firefox"])("two people in %s", (kind) => {
  const server = new Server();
  let mia: Device;
  let ben: Device;
  let m: Page;
  let b: Page;

  beforeAll(async () => {
    await server.start();
    [mia, ben] = await Promise.all([Device.open(kind), Device.open(kind)]);
    m = await setUp(mia, server, "mia", "Mia", PASSWORD);
    b = await join(ben, await invite(m), "Ben");
    await openFirst(m);
  }, 120_000);
  afterAll(async () => {
    await Promise.all([mia.close(), ben.close()]);
    await server.remove();
  });

  test("both read the same safety number; that it was compared is kept", async () => {
    const hers = await digits(m);
    expect(hers).toMatch(/^\d{4}( \d{4}){11}$/);
    expect(await digits(b)).toBe(hers);
    await b.keyboard.press("Escape");
    await click(m, "safety-matches");
    await m.waitForSelector(id("safety-compared"), { timeout: slow });
    await m.keyboard.press("Escape");
    await says(m, id("safety-row"), "Compared on");
    await m.reload();
    await says(m, id("safety-row"), "Compared on");
    await says(b, id("safety-row"), "Not compared");
  });

  test("details have an address, and closing them gives the focus back to what opened them", async () => {
    expect(path(m)).toMatch(/\/c\/[^/]+\/details$/);
    await m.focus("#details-title");
    await m.keyboard.press("Escape");
    await gone(m, id("details"));
    expect(path(m)).toMatch(/^\/c\/[^/]+$/);
    await m.waitForFunction(() => document.activeElement?.getAttribute("data-testid") === "details-toggle", {
      timeout: slow,
    });
    await m.keyboard.press("Enter");
    await m.waitForFunction(() => document.activeElement?.id === "details-title", { timeout: slow });
  });

  test("a name of one's own for somebody is shown everywhere, and to nobody else", async () => {
    await type(m, "nickname", "Ben from work");
    await m.keyboard.press("Enter");
    await says(m, "main h1", "Ben from work");
    await says(m, id("conversation-row"), "Ben from work");
    await says(m, id("details"), "Calls themselves Ben");
    await b.click('nav a[href="/settings/you"]');
    await b.waitForSelector("main input", { timeout: slow });
    expect(await b.$$eval("main input", (all) => all.some((one) => one.value === "Ben"))).toBe(true);
    await replace(m, "nickname", " ");
    await m.keyboard.press("Enter");
    await m.waitForFunction(() => document.querySelector("main h1")?.textContent?.trim() === "Ben", { timeout: slow });
  });

  test("a picture is made anew without the place where it was taken, and shown to contacts", async () => {
    await m.goto(`${server.url}/settings/you`);
    await choose(m, await photograph(m), "photo.jpg", "image/jpeg");
    await m.waitForSelector(id("picture-crop"), { timeout: slow });
    await m.focus(id("picture-crop"));
    for (const key of ["+", "+", "ArrowLeft", "ArrowDown"] as const) await m.keyboard.press(key);
    await click(m, "picture-use");
    const shown = `${id("picture")} img`;
    await m.waitForSelector(shown, { timeout: slow });
    await b.goto(server.url);
    const picture = `${id("conversation-row")} img`;
    await b.waitForSelector(picture, { timeout: slow });
    await b.waitForFunction(
      (one) => (document.querySelector(one) as HTMLImageElement).complete,
      { timeout: slow },
      picture,
    );
    const [size, bytes] = await b.$eval(picture, async (img) => {
      const { src, naturalWidth, naturalHeight } = img as HTMLImageElement;
      const answer = await (await fetch(src)).arrayBuffer();
      return [[naturalWidth, naturalHeight], [...new Uint8Array(answer)]] as const;
    });
    expect(size).toEqual([256, 256]);
    const text = Buffer.from(bytes).toString("latin1");
    expect(text).toMatch(/^RIFF....WEBP|^\xff\xd8\xff/s);
    expect(text).not.toMatch(/Exif|GPS|47\.3769/);
    await click(m, "picture-remove");
    await gone(m, shown);
    await gone(b, picture);
  });

  test("what is no picture, and one that is far too large, are refused in plain words", async () => {
    await m.goto(`${server.url}/settings/you`);
    await choose(m, Buffer.from("not a picture at all"), "me.jpg", "image/jpeg");
    await says(m, `${id("picture")} [role=alert]`, "not a picture");
    await large(m, 10_000, 6_000);
    await says(m, `${id("picture")} [role=alert]`, "60 megapixels");
    expect(await m.$(id("picture-crop"))).toBeNull();
    await large(m, 8_000, 5_000); // 40 megapixels, as phones make them
    await m.waitForSelector(id("picture-crop"), { timeout: slow });
    await m.keyboard.press("Escape");
    await gone(m, id("picture-crop"));
  });

  test("blocking holds both ways until it is lifted, and the other is not told", async () => {
    await m.goto(server.url);
    await openFirst(m);
    await openFirst(b);
    await click(m, "details-toggle");
    await click(m, "block");
    await click(m, "confirm");
    await m.waitForSelector(id("blocked-bar"), { timeout: slow });
    await m.type(id("composer"), "cannot go");
    expect(await m.$eval(id("send"), (button) => (button as HTMLButtonElement).disabled)).toBe(true);
    await say(b, "are you there?");
    await shows(b, (all) => all.at(-1)?.state === "sent", "for Ben it is as ever");
    await m.goto(`${server.url}/settings/privacy`);
    await says(m, "main li", "Ben");
    await m.click("main li .btn");
    await says(m, "main", "Nobody is blocked");
    await m.goto(server.url);
    await openFirst(m);
    await shows(m, (all) => all.some((one) => one.text === "are you there?"), "what waited comes");
  });

  test("what is not shown to others is chosen on one page, and stays chosen", async () => {
    await m.goto(`${server.url}/settings/privacy`);
    await m.waitForSelector("[role=switch]", { timeout: slow });
    const presence = async (on: boolean) => {
      await m.$$eval("[role=switch]", (all) => (all as HTMLInputElement[])[1]?.click());
      await m.waitForFunction(
        (on) => ([...document.querySelectorAll("[role=switch]")] as HTMLInputElement[])[1]?.checked === on,
        { timeout: slow },
        on,
      );
    };
    await b.goto(server.url);
    await openFirst(b);
    await says(b, "main header p", "Online");
    await presence(false);
    await b.waitForFunction(() => document.querySelector("main header p")?.textContent === "", { timeout: slow });
    await m.reload();
    await m.waitForFunction(
      () => ([...document.querySelectorAll("[role=switch]")] as HTMLInputElement[])[1]?.checked === false,
      { timeout: slow },
    );
    await presence(true);
    await says(b, "main header p", "Online");
  });

  test("an administrator finds accounts, suspends and lets in again, and closes the place", async () => {
    await m.goto(server.url);
    await m.waitForSelector('nav a[href="/people"]', { timeout: slow });
    await invite(m);
    await m.goto(`${server.url}/settings/admin`);
    await says(m, id("admin-user"), "Ben");
    expect(await m.$eval("main", (main) => main.textContent)).toContain("closed to you too");
    await type(m, "admin-search", "be");
    await m.waitForFunction(() => document.querySelectorAll("[data-testid=admin-user]").length === 1, {
      timeout: slow,
    });
    await click(m, "admin-suspend");
    await click(m, "confirm");
    await says(m, id("admin-user"), "Suspended since");
    await b.waitForSelector(id("signed-out"), { timeout: slow });
    await m.click(`${id("admin-user")} .btn`);
    await m.waitForSelector(id("admin-suspend"), { timeout: slow });
    await replace(m, "admin-name", "Repair Café");
    await click(m, "admin-name-save");
    await m.$$eval("main [type=radio]", (all) => (all as HTMLInputElement[])[2]?.click());
    await m.waitForFunction(
      async () => {
        const info = (await (await fetch("/api/v1/server")).json()) as { name: string; registration: string };
        return info.name === "Repair Café" && info.registration === "closed";
      },
      { timeout: slow },
    );
    await click(m, "admin-revoke");
    await gone(m, id("admin-revoke"));
  });

  test("somebody who is removed is gone on both sides, and their chat says so", async () => {
    await m.goto(server.url);
    await openFirst(m);
    await click(m, "details-toggle");
    await click(m, "remove");
    await click(m, "confirm");
    await gone(m, id("conversation-row"));
    await says(m, "main h1", "This chat is not here");
  });

  test("none of it made the page complain", () => {
    expect(mia.errors.filter((one) => !/40[0-9]/.test(one))).toEqual([]);
  });
});

/** A photograph as a phone makes it: with the place where it was taken in its Exif data. */
async function photograph(page: Page): Promise<Uint8Array> {
  const jpeg = await page.evaluate(async () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [640, 480];
    canvas.getContext("2d")?.fillRect(100, 100, 300, 200);
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg"));
    return [...new Uint8Array((await blob?.arrayBuffer()) ?? new ArrayBuffer())];
  });
  const exif = Buffer.from("Exif\0\0GPSLatitude 47.3769 GPSLongitude 8.5417", "latin1");
  const head = Buffer.from([0xff, 0xe1, 0, exif.length + 2]); // APP1
  return Buffer.concat([Buffer.from(jpeg.slice(0, 2)), head, exif, Buffer.from(jpeg.slice(2))]);
}

/** Chooses a file as the own picture. */
async function choose(page: Page, bytes: Uint8Array, name: string, kind: string): Promise<void> {
  await page.waitForSelector(id("picture-file"), { timeout: slow });
  await page.$eval(
    id("picture-file"),
    (input, bytes, name, type) => {
      const files = new DataTransfer();
      files.items.add(new File([new Uint8Array(bytes as number[])], name as string, { type: type as string }));
      (input as HTMLInputElement).files = files.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    },
    [...bytes],
    name,
    kind,
  );
}

/** Chooses a picture of one colour of any size. */
async function large(page: Page, width: number, height: number): Promise<void> {
  await page.$eval(
    id("picture-file"),
    async (input, width, height) => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width as number, height as number];
      canvas.getContext("2d")?.fillRect(0, 0, 1, 1);
      const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", 0.1));
      const files = new DataTransfer();
      if (blob !== null) files.items.add(new File([blob], "large.jpg", { type: "image/jpeg" }));
      (input as HTMLInputElement).files = files.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    },
    width,
    height,
  );
}

describe("a safety number scanned with the camera, in chromium", () => {
  const server = new Server();
  const camera = new Camera();
  let mia: Device;
  let ben: Device;
  let m: Page;
  let b: Page;

  beforeAll(async () => {
    await server.start();
    [mia, ben] = await Promise.all([Device.open("chrome", camera.flags), Device.open("chrome")]);
    m = await setUp(mia, server, "mia", "Mia", PASSWORD);
    b = await join(ben, await invite(m), "Ben");
    await openFirst(m);
  }, 120_000);
  afterAll(async () => {
    await Promise.all([mia.close(), ben.close()]);
    await server.remove();
    camera.remove();
  });

  test("tells another number, and another code, from the one on the other's screen", async () => {
    const his = (await digits(b)).replaceAll(" ", "");
    await digits(m);
    camera.film("https://example.org/another-code");
    await click(m, "safety-scan");
    await says(m, "dialog [role=alert]", "no safety number");
    await m.$$eval("dialog .scan .btn", (all) => (all as HTMLElement[]).at(-1)?.click());
    camera.film(`parley-safety:${"0".repeat(48)}`);
    await click(m, "safety-scan");
    await says(m, "dialog [role=alert]", "another number");
    expect(await m.$(id("safety-compared"))).toBeNull();
    await m.$$eval("dialog .scan .btn", (all) => (all as HTMLElement[]).at(-1)?.click());
    camera.film(`parley-safety:${his}`);
    await click(m, "safety-scan");
    await m.waitForSelector(id("safety-compared"), { timeout: slow });
    expect(await m.$("dialog video")).toBeNull(); // the camera is off
  });

  test("a camera that is not allowed is explained, and a picture of the code does as well", async () => {
    const his = await b.$eval(`${id("safety-digits")}`, (list) => list.textContent?.replace(/\s/g, "") ?? "");
    await ben.browser.defaultBrowserContext().overridePermissions(server.url, []);
    await click(b, "safety-scan");
    await says(b, "dialog [role=alert]", "picture of the code");
    const path = resolve(mkdtempSync(resolve(tmpdir(), "parley-code-")), "code.gif");
    writeFileSync(path, encodeQR(`parley-safety:${his}`, "gif", { scale: 4 }));
    const input = await b.$(`input${id("scan-file")}`);
    await (input as ElementHandle<HTMLInputElement>).uploadFile(path);
    await b.waitForSelector(id("safety-compared"), { timeout: slow });
    rmSync(dirname(path), { recursive: true });
  });
});

describe.each<Kind>(["chrome", "firefox"])("an identity that changed, in %s", (kind) => {
  let server: DoubleServer;
  let device: Device;
  beforeAll(async () => {
    [server, device] = await Promise.all([DoubleServer.start(), Device.open(kind)]);
  }, 120_000);
  afterAll(async () => {
    await device.close();
    await server.stop();
  });

  /** Goes on with Tab, or back with Shift, until the focus is on something. */
  async function tabTo(page: Page, name: string, back = false): Promise<void> {
    for (let i = 0; i < 6; i++) {
      if (await page.evaluate((name) => document.activeElement?.getAttribute("data-testid") === name, name)) return;
      if (back) await page.keyboard.down("Shift");
      await page.keyboard.press("Tab");
      if (back) await page.keyboard.up("Shift");
    }
    throw new Error(`Tab never comes to ${name}`);
  }

  test("holds sending until it was compared or accepted, by keys alone", async () => {
    for (const way of ["compare", "accept"] as const) {
      const page = await device.page(`${server.url}?path=/c/lena`);
      await type(page, "composer", "who are you");
      await page.keyboard.press("Enter");
      expect(await page.$$(id("message"))).toHaveLength(0);
      await tabTo(page, `identity-${way}`, true);
      await page.keyboard.press("Enter");
      if (way === "compare") {
        await page.waitForSelector(id("safety-matches"), { timeout: slow });
        await tabTo(page, "safety-matches");
        await page.keyboard.press("Enter");
        await page.waitForSelector(id("safety-compared"), { timeout: slow });
        await page.keyboard.press("Escape");
      }
      await gone(page, id("identity-bar"));
      await page.focus(id("composer"));
      await page.keyboard.press("Enter");
      await page.waitForSelector(id("message"), { timeout: slow });
      await page.close();
    }
  });
});
