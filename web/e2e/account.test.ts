// The life of an account in the real program and real browsers.
import type { Page } from "puppeteer-core";
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

const slow = 60_000; // ms
const FIRST = "four quiet otters paint";
const SECOND = "seven loud geese argue";

const has = (page: Page, name: string) => page.waitForSelector(id(name), { timeout: slow });
const text = (page: Page, name: string) => page.$eval(id(name), (e) => e.textContent ?? "");

/** Everything that the page's database holds, as text. */
function stored(page: Page): Promise<string> {
  return page.evaluate(async () => {
    const done = <T>(r: IDBRequest<T>) =>
      new Promise<T>((resolve, reject) => {
        r.onsuccess = () => resolve(r.result);
        r.onerror = () => reject(r.error);
      });
    const db = await done(indexedDB.open("parley"));
    const all: string[] = [];
    for (const name of db.objectStoreNames) {
      const rows: unknown[] = await done(db.transaction(name).objectStore(name).getAll());
      const bytes = (v: unknown) => (v instanceof Uint8Array ? new TextDecoder("latin1").decode(v) : v);
      all.push(JSON.stringify(rows, (_, v: unknown) => (typeof v === "bigint" ? String(v) : bytes(v))));
    }
    db.close();
    return all.join("\n");
  });
}

describe.each<Kind>(["chrome", "firefox"])("an account's life in %s", (kind) => {
  const server = new Server();
  const devices: Device[] = [];
  let ada: Page; // who stays
  let laptop: Page; // with which Mia joined
  let phone: Page; // added by a link
  let tablet: Page; // by password
  let code = ""; // recovery

  const open = async (): Promise<Device> => {
    const made = await Device.open(kind);
    devices.push(made);
    return made;
  };

  beforeAll(async () => {
    await server.start();
    ada = await setUp(await open(), server, "ada", "Ada", "correct horse battery");
  }, slow);
  afterAll(async () => {
    await Promise.all(devices.map((one) => one.close()));
    await server.remove();
  });

  test("after the first message the list offers to keep it; that can be put off; a common password is refused", async () => {
    laptop = await join(await open(), await invite(ada), "Mia");
    expect(await laptop.$(id("keep-offer"))).toBeNull();
    await say(laptop, "the first message");
    await has(laptop, "keep-offer");
    await click(laptop, "keep-later");
    await laptop.waitForFunction(() => document.querySelector("[data-testid=keep-offer]") === null, { timeout: slow });
    await laptop.reload();
    await has(laptop, "composer");
    expect(await laptop.$(id("keep-offer"))).toBeNull();
    await laptop.evaluate(() => localStorage.removeItem("parley.keep"));
    await laptop.reload();
    await click(laptop, "keep-open");
    await has(laptop, "keep-user");
    expect(await laptop.$eval(id("keep-user"), (e) => (e as HTMLInputElement).value)).toBe("mia");
    await type(laptop, "keep-password", "password1");
    await click(laptop, "keep-submit");
    await laptop.waitForSelector("[role=alert]", { timeout: slow });
    expect(await laptop.$eval("[role=alert]", (e) => e.textContent)).toContain("tried first");
    await replace(laptop, "keep-user", "ada");
    await replace(laptop, "keep-password", FIRST);
    await click(laptop, "keep-submit");
    await laptop.waitForFunction(
      () => document.querySelector("[role=alert]")?.textContent?.includes("has this name already"),
      { timeout: slow },
    );
    await replace(laptop, "keep-user", "mia");
    await click(laptop, "keep-submit");
    await has(laptop, "kept");
    await click(laptop, "recovery-start");
    await has(laptop, "recovery-code");
    code = await text(laptop, "recovery-code");
    expect(code.replace(/\s/g, "")).toMatch(/^([a-z2-7]{4}-){6}[a-z2-7]{4}$/);
    await click(laptop, "recovery-written");
    await has(laptop, "conversation-row");
    expect(await laptop.$(id("keep-offer"))).toBeNull();
  }, 180_000);

  test("a second device is added by the QR code's link, without a password typed there, and has the history", async () => {
    await laptop.goto(`${server.url}/settings/devices`);
    await click(laptop, "device-add");
    await has(laptop, "device-link");
    const link = await laptop.$eval(id("device-link"), (e) => (e as HTMLInputElement).value);
    expect(link.startsWith(`${server.url}/d/`)).toBe(true);
    phone = await (await open()).page(link, 390, 844);
    await has(phone, "join-device-waits");
    await has(laptop, "device-asks");
    expect(await text(laptop, "device-asks")).toContain(kind === "chrome" ? "Chrome" : "Firefox");
    await type(laptop, "admit-password", "not this one");
    await click(laptop, "admit");
    await laptop.waitForSelector("[role=alert]", { timeout: slow });
    await replace(laptop, "admit-password", FIRST);
    await click(laptop, "admit");
    await openFirst(phone);
    await shows(phone, (all) => all.some((one) => one.text === "the first message"), "the history is there", slow);
    expect(new URL(phone.url()).hash).toBe("");

    const late = await (await open()).page(link, 390, 844);
    await has(late, "join-device-dead");
  }, 180_000);

  test("a third logs in by password; the first is signed out at once, and reads nothing sent after", async () => {
    tablet = await (await open()).page(`${server.url}/login`, 820, 1100);
    await type(tablet, "login-user", "mia");
    await type(tablet, "login-password", FIRST);
    await click(tablet, "login-submit");
    await openFirst(tablet);
    await laptop.goto(`${server.url}/settings/devices`);
    const own = '[data-testid="device"][data-current="true"]';
    await laptop.waitForSelector(own, { timeout: slow });
    const first = await laptop.$eval(own, (e) => e.getAttribute("data-id") ?? "");
    await laptop.goto(server.url);
    await openFirst(laptop);
    await shows(laptop, (all) => all.length === 1, "the laptop reads");

    await tablet.goto(`${server.url}/settings/devices`);
    await tablet.waitForFunction(() => document.querySelectorAll("[data-testid=device]").length === 3, {
      timeout: slow,
    });
    const names = await tablet.$$eval(id("device"), (all) => all.map((one) => one.textContent ?? ""));
    expect(names.every((one) => one.includes("from 127.0.0.1") || one.includes("from ::1"))).toBe(true);
    await tablet.click(`[data-id="${first}"] ${id("device-out")}`);
    await type(tablet, "out-password", FIRST);
    await click(tablet, "out-confirm");
    await has(laptop, "signed-out");
    await tablet.waitForFunction(() => document.querySelectorAll("[data-testid=device]").length === 2, {
      timeout: slow,
    });
    await openFirst(ada);
    await say(ada, "after it was lost");
    await shows(phone, (all) => all.some((one) => one.text === "after it was lost"), "the phone reads on", slow);
    const shown = await laptop.evaluate(() => document.body.textContent ?? "");
    for (const words of ["the first message", "after it was lost", "Ada"]) expect(shown).not.toContain(words);
    const left = await stored(laptop);
    for (const words of ["the first message", "after it was lost", "Ada"]) expect(left).not.toContain(words);
    await laptop.reload();
    await has(laptop, "login-user");
    await has(laptop, "locked");
  }, 180_000);

  test("the password is changed, a copy saved, and every device lost but the recovery code: it opens the account", async () => {
    await tablet.goto(`${server.url}/settings/account`);
    await type(tablet, "password-old", FIRST);
    await type(tablet, "password-new", SECOND);
    await click(tablet, "password-change");
    await tablet.waitForFunction(() => document.body.textContent?.includes("Your password is changed."), {
      timeout: slow,
    });
    await tablet.evaluate(() => {
      const make = URL.createObjectURL.bind(URL);
      URL.createObjectURL = (file) => {
        Object.assign(window, { saved: (file as Blob).text() });
        return make(file);
      };
    });
    await click(tablet, "export");
    await tablet.waitForFunction(() => "saved" in window, { timeout: slow });
    const saved = JSON.parse(await tablet.evaluate(() => (window as unknown as { saved: Promise<string> }).saved));
    expect(saved.conversations[0].messages.map((one: { text: string }) => one.text)).toEqual([
      "the first message",
      "after it was lost",
    ]);
    const found = await (await open()).page(`${server.url}/login`);
    await found.waitForSelector('a[href="/recover"]', { timeout: slow });
    await found.click('a[href="/recover"]');
    await type(found, "recover-user", "mia");
    await type(found, "recover-code", `${code.slice(0, -1)}${code.endsWith("a") ? "b" : "a"}`);
    await type(found, "recover-password", FIRST);
    await click(found, "recover-submit");
    await found.waitForSelector("[role=alert]", { timeout: slow });
    await replace(found, "recover-code", code.toUpperCase());
    await click(found, "recover-submit");
    await has(found, "recovered");
    await click(found, "recovery-start");
    await has(found, "recovery-code");
    expect(await text(found, "recovery-code")).not.toBe(code);
    await click(found, "recovery-written");
    await click(found, "devices-out");
    await type(found, "out-password", FIRST);
    await click(found, "out-confirm");
    await has(tablet, "signed-out");
    await has(phone, "signed-out");
    await found.goto(server.url);
    await openFirst(found);
    await shows(found, (all) => all.length === 2, "all of it is there", slow);
    laptop = found;
  }, 180_000);

  test("deleted, it is gone, and the other one sees that and keeps what was written", async () => {
    await laptop.goto(`${server.url}/settings/account`);
    await click(laptop, "delete-open");
    await type(laptop, "delete-name", "somebody");
    await type(laptop, "delete-password", FIRST);
    await click(laptop, "delete-confirm");
    await laptop.waitForSelector("dialog [role=alert]", { timeout: slow });
    await replace(laptop, "delete-name", "mia");
    await click(laptop, "delete-confirm");
    await has(laptop, "login-user");
    await laptop.reload();
    await has(laptop, "login-user");
    await ada.waitForFunction(() => document.body.textContent?.includes("This account was deleted."), {
      timeout: slow,
    });
    expect(await ada.$(id("composer"))).toBeNull();
    await shows(ada, (all) => all.some((one) => one.text === "the first message"), "what was written stays");
    await type(laptop, "login-user", "mia");
    await type(laptop, "login-password", FIRST);
    await click(laptop, "login-submit");
    await laptop.waitForSelector("[role=alert]", { timeout: slow });
  }, 180_000);
});
