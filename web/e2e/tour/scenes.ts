// What the tour looks at: addresses of the interface over the double (src/ui/testing), and what is done there first.
import type { Page } from "puppeteer-core";
import type { Device } from "../browser.ts";
import type { DoubleServer } from "../double.ts";

export interface Scene {
  readonly name: string;
  readonly main?: true; // tests look at it, too: the others differ in words only
  readonly query: string; // of src/ui/testing/index.html
  readonly act?: (page: Page) => Promise<void>;
}

const click = (selector: string) => async (page: Page) => {
  await page.waitForSelector(selector);
  await page.click(selector);
};

/** Clicks the first one that is on the screen. */
const press = (selector: string) => async (page: Page) => {
  await page.waitForSelector(selector);
  await page.$$eval(selector, (all) =>
    all
      .filter((e) => e instanceof HTMLElement)
      .find((e) => e.offsetParent !== null)
      ?.click(),
  );
};

export const scenes: readonly Scene[] = [
  { name: "setup", main: true, query: "out&path=/setup%23s3cret" },
  { name: "login", query: "out&path=/login" },
  {
    name: "login-wrong",
    main: true,
    query: "out&path=/login",
    act: async (page) => {
      await page.type("[data-testid=login-user]", "yara");
      await page.type("[data-testid=login-password]", "wrong");
      await page.click("[data-testid=login-submit]");
      await page.waitForSelector("[role=alert]");
    },
  },
  { name: "register", query: "out&path=/register" },
  {
    name: "register-errors",
    main: true,
    query: "out&path=/register",
    act: async (page) => {
      await page.type("[data-testid=setup-user]", "taken");
      await page.type("[data-testid=setup-password]", "short");
      await page.click("[data-testid=setup-submit]");
      await page.waitForSelector("[role=alert]");
    },
  },
  { name: "invite", main: true, query: "out&path=/i/good%23s3cret" },
  { name: "invite-in", query: "path=/i/good%23s3cret" },
  { name: "invite-closed", query: "out&path=/i/closed%23s3cret" },
  { name: "invite-expired", main: true, query: "out&path=/i/expired%23s3cret" },
  { name: "invite-not-found", query: "out&path=/i/not-found%23s3cret" },
  { name: "insecure", query: "out&insecure&path=/" },
  { name: "no-server", main: true, query: "out&noserver&path=/" },
  { name: "empty", query: "empty&path=/" },
  { name: "empty-made", main: true, query: "empty&path=/", act: press(".actions .btn.primary") },
  { name: "list", main: true, query: "path=/" },
  { name: "chat", main: true, query: "path=/c/mia" },
  { name: "chat-states", main: true, query: "path=/c/ben" },
  { name: "chat-relay", query: "path=/c/tom" },
  { name: "chat-held", main: true, query: "path=/c/lena" },
  { name: "chat-texts", main: true, query: "path=/c/omar" },
  { name: "popover-direct", query: "path=/c/mia", act: click("[data-testid=path-badge]") },
  { name: "popover-turn", main: true, query: "path=/c/ben", act: click("[data-testid=path-badge]") },
  { name: "popover-relay", query: "path=/c/tom", act: click("[data-testid=path-badge]") },
  { name: "popover-waiting", query: "path=/c/tom&connection=offline", act: click("[data-testid=path-badge]") },
  { name: "details", main: true, query: "path=/c/mia/details" },
  { name: "details-guest", query: "path=/c/ning/details" },
  { name: "details-held", query: "path=/c/lena/details" },
  { name: "safety", main: true, query: "path=/c/mia/details", act: click("[data-testid=safety-row]") },
  { name: "safety-held", main: true, query: "path=/c/lena", act: click("[data-testid=identity-compare]") },
  { name: "block", query: "path=/c/mia/details", act: click("[data-testid=block]") },
  { name: "offline", main: true, query: "path=/c/mia&connection=offline" },
  { name: "unreachable", query: "path=/c/mia&connection=unreachable" },
  { name: "signed-out", main: true, query: "path=/c/mia&connection=signed-out" },
  { name: "suspended", query: "path=/c/mia&connection=suspended" },
  { name: "login-locked", main: true, query: "out&locked&path=/login" },
  {
    name: "recover",
    main: true,
    query: "out&path=/recover",
    act: async (page) => {
      await page.type("[data-testid=recover-user]", "yara");
      await page.type("[data-testid=recover-code]", "wrong");
      await page.type("[data-testid=recover-password]", "four quiet otters");
      await page.click("[data-testid=recover-submit]");
      await page.waitForSelector("[role=alert]");
    },
  },
  {
    name: "recovered",
    main: true,
    query: "out&path=/recover",
    act: async (page) => {
      await page.type("[data-testid=recover-user]", "yara");
      await page.type("[data-testid=recover-code]", "mzxw");
      await page.type("[data-testid=recover-password]", "four quiet otters");
      await page.click("[data-testid=recover-submit]");
      await page.waitForSelector("[data-testid=recovered]");
      await page.click("[data-testid=recovery-start]");
      await page.waitForSelector("[data-testid=recovery-code]");
    },
  },
  { name: "join-device", main: true, query: "out&path=/d" },
  { name: "join-device-waits", main: true, query: "out&path=/d/k7wq2m4ahs3xnp5d%23secret" },
  { name: "join-device-used", query: "out&path=/d/used%23secret" },
  { name: "join-device-in", query: "path=/d/k7wq2m4ahs3xnp5d%23secret" },
  { name: "keep-offer", main: true, query: "nameonly&path=/" },
  {
    name: "keep",
    main: true,
    query: "nameonly&path=/keep",
    act: async (page) => {
      await page.waitForSelector("[data-testid=keep-user]");
      await page.type("[data-testid=keep-password]", "password1");
      await page.click("[data-testid=keep-submit]");
      await page.waitForSelector("[role=alert]");
    },
  },
  {
    name: "kept",
    main: true,
    query: "nameonly&path=/keep",
    act: async (page) => {
      await page.waitForSelector("[data-testid=keep-user]");
      await page.type("[data-testid=keep-password]", "four quiet otters paint");
      await page.click("[data-testid=keep-submit]");
      await page.waitForSelector("[data-testid=kept]");
    },
  },
  {
    name: "recovery-code",
    main: true,
    query: "path=/settings/account",
    act: async (page) => {
      await page.waitForSelector("[data-testid=recovery-start]");
      await page.click("[data-testid=recovery-start]");
      await page.type("[data-testid=recovery-password]", "right");
      await page.click("[data-testid=recovery-make]");
      await page.waitForSelector("[data-testid=recovery-code]");
    },
  },
  { name: "settings-account", main: true, query: "path=/settings/account" },
  { name: "settings-account-nameonly", query: "nameonly&path=/settings/account" },
  { name: "delete-account", main: true, query: "path=/settings/account", act: click("[data-testid=delete-open]") },
  { name: "sign-out-device", main: true, query: "path=/settings/devices", act: click("[data-testid=device-out]") },
  { name: "add-device", main: true, query: "path=/settings/devices", act: click("[data-testid=device-add]") },
  {
    name: "device-asks",
    main: true,
    query: "path=/settings/devices",
    act: async (page) => {
      await page.waitForSelector("[data-testid=device-add]");
      await page.click("[data-testid=device-add]");
      await page.waitForSelector("[data-testid=device-link]");
      await page.evaluate(() => {
        type Double = { session: { set(change: unknown): void } };
        const { double } = window as unknown as { double: Double };
        const asking = [{ code: "k7wq2m4ahs3xnp5d", name: "Safari · iOS", expires: Date.now() + 600_000 }];
        double.session.set({ asking });
      });
      await page.waitForSelector("[data-testid=device-asks]");
    },
  },
  { name: "chat-deleted", main: true, query: "path=/c/tom&deleted=tom" },
  { name: "superseded", query: "path=/c/mia&connection=superseded" },
  { name: "not-here", main: true, query: "path=/c/nobody" },
  { name: "people", main: true, query: "path=/people" },
  {
    name: "people-qr",
    main: true,
    query: "path=/people",
    act: async (page) => {
      await page.waitForSelector("[data-testid=invite-create]");
      await page.click("[data-testid=invite-create]");
      await page.waitForSelector("[data-testid=invite-link]");
      await page.evaluate(() => {
        const buttons = [...document.querySelectorAll<HTMLElement>(".fresh button")];
        buttons[1]?.click();
        document.querySelector(".fresh")?.scrollIntoView({ block: "center" });
      });
    },
  },
  { name: "shortcuts", main: true, query: "path=/settings/about", act: press("section .btn") },
  { name: "new-chat", main: true, query: "path=/", act: press("button.new") },
  { name: "settings", main: true, query: "path=/settings" },
  { name: "settings-you", main: true, query: "path=/settings/you" },
  { name: "settings-nameonly", query: "nameonly&path=/settings/you" },
  { name: "sign-out", main: true, query: "nameonly&path=/settings/you", act: click("[data-testid=settings-signout]") },
  { name: "settings-notifications", main: true, query: "path=/settings/notifications" },
  { name: "settings-privacy", main: true, query: "path=/settings/privacy", act: press("[role=switch]") },
  { name: "settings-admin", main: true, query: "path=/settings/admin" },
  { name: "admin-suspend", query: "path=/settings/admin", act: click("[data-testid=admin-suspend]") },
  {
    name: "admin-reset",
    main: true,
    query: "path=/settings/admin",
    act: async (page) => {
      await click("[data-testid=admin-reset]")(page);
      await click("[data-testid=admin-reset-make]")(page);
      await page.waitForSelector("[data-testid=admin-reset-link]");
    },
  },
  {
    name: "picture-crop",
    main: true,
    query: "path=/settings/you",
    act: async (page) => {
      await page.waitForSelector("[data-testid=picture-file]");
      await page.evaluate(async () => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [900, 600];
        const context = canvas.getContext("2d");
        if (context === null) return;
        context.fillStyle = "#8a6d3b";
        context.fillRect(0, 0, 900, 600);
        context.fillStyle = "#26423c";
        context.fillRect(300, 120, 300, 360);
        const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done));
        const files = new DataTransfer();
        if (blob !== null) files.items.add(new File([blob], "me.png", { type: "image/png" }));
        const input = document.querySelector<HTMLInputElement>("[data-testid=picture-file]");
        if (input === null) return;
        input.files = files.files;
        input.dispatchEvent(new Event("change", { bubbles: true }));
      });
      await page.waitForSelector("[data-testid=picture-crop]");
    },
  },
  { name: "settings-devices", main: true, query: "path=/settings/devices" },
  { name: "settings-appearance", main: true, query: "path=/settings/appearance" },
  { name: "settings-language", query: "path=/settings/language" },
  { name: "settings-about", main: true, query: "path=/settings/about" },
];

/** How a scene is looked at. */
export interface Look {
  readonly width: number;
  readonly height: number;
  readonly theme: "light" | "dark";
  readonly language: "en" | "zh";
  readonly forced?: boolean; // colours by the system, as for people who need high contrast; chromium only
}

/** Opens a scene, does what belongs to it, and waits for the last animation. */
export async function show(device: Device, server: DoubleServer, scene: Scene, look: Look): Promise<Page> {
  const page = await device.browser.newPage();
  await page.setViewport({ width: look.width, height: look.height });
  await page.evaluateOnNewDocument(
    (theme, language) => {
      localStorage.setItem("parley.theme", theme);
      localStorage.setItem("PARAGLIDE_LOCALE", language);
    },
    look.theme,
    look.language,
  );
  if (look.forced) {
    const session = await page.createCDPSession();
    await session.send("Emulation.setEmulatedMedia", { features: [{ name: "forced-colors", value: "active" }] });
  }
  await page.goto(`${server.url}?${scene.query}${look.language === "zh" ? "&people=zh" : ""}`);
  await page.waitForSelector("#app > *", { timeout: 30_000 });
  await scene.act?.(page);
  await settled(page);
  return page;
}

/** Waits until what changed is drawn and nothing moves any more. */
export function settled(page: Page): Promise<void> {
  return page.evaluate(async () => {
    await new Promise((done) => setTimeout(done, 100));
    const running = document.getAnimations().filter((one) => one.effect?.getComputedTiming().iterations === 1);
    await Promise.allSettled(running.map((one) => one.finished));
  });
}
