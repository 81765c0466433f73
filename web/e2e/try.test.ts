import { test } from "vitest";
import { writeFileSync } from "node:fs";
import { click, Device, messages, Server, shows, type } from "./browser.ts";
test("try", async () => {
const server = new Server();
await server.start();
console.log(server.url, server.setup);
const mia = await Device.open("chrome");
const ben = await Device.open("firefox");
try {
  const m = await mia.page(`${server.url}/setup#${server.setup}`);
  await new Promise((r) => setTimeout(r, 1500));
  writeFileSync("/tmp/shot1.png", await m.screenshot());
  await type(m, "setup-user", "mia");
  await type(m, "setup-name", "Mia");
  await type(m, "setup-password", "correct horse battery");
  await click(m, "setup-submit");
  await new Promise((r) => setTimeout(r, 3000));
  writeFileSync("/tmp/shot2.png", await m.screenshot());
  await m.goto(`${server.url}/people`);
  await click(m, "invite-create");
  await m.waitForSelector("[data-testid=invite-link]");
  const link = await m.$eval("[data-testid=invite-link]", (e) => (e as HTMLInputElement).value || e.textContent || "");
  console.log(link);
  writeFileSync("/tmp/shot3.png", await m.screenshot());
  const b = await ben.page(link.trim());
  await type(b, "invite-name", "本");
  writeFileSync("/tmp/shot4.png", await b.screenshot());
  await click(b, "invite-open");
  await new Promise((r) => setTimeout(r, 4000)); console.log(b.url(), await b.evaluate(() => document.body.innerText.slice(0, 500)));
  writeFileSync("/tmp/shot5.png", await b.screenshot());
  await type(b, "composer", "Hello Mia 👋 你好");
  await click(b, "send");
  await shows(b, (all) => all.some((x) => x.state === "delivered" || x.state === "sent"), "sent");
  writeFileSync("/tmp/shot5.png", await b.screenshot());
  await m.waitForSelector("[data-testid=conversation-row]", { timeout: 10000 });
  await m.click("[data-testid=conversation-row]");
  await shows(m, (all) => all.length === 1, "mia has it");
  await type(m, "composer", "Hi Ben");
  await click(m, "send");
  await shows(b, (all) => all.length === 2, "ben has it");
  await shows(b, (all) => all[0]?.state === "read", "read");
  console.log(await messages(b), await messages(m));
  writeFileSync("/tmp/shot6.png", await m.screenshot());
} finally {
  console.log("mia", mia.errors, "ben", ben.errors);
  await mia.close(); await ben.close(); await server.remove();
}
});
