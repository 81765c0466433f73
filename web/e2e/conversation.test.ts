import { readdirSync, readFileSync } from "node:fs";
import { join as path } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { click, Device, invite, join, type Kind, openFirst, Server, say, setUp, shows, type } from "./browser.ts";

const PASSWORD = "correct horse battery";

describe.each<[Kind, Kind]>([
  ["chrome", "firefox"],
  ["firefox", "chrome"],
])("Mia in %s, Ben in %s", (hers, his) => {
  const server = new Server();
  let mia: Device;
  let ben: Device;

  beforeAll(async () => {
    await server.start();
    [mia, ben] = await Promise.all([Device.open(hers), Device.open(his)]);
  });
  afterAll(async () => {
    await Promise.all([mia.close(), ben.close()]);
    await server.remove();
  });

  test("invitation, name, first message; one away and back; a second device; nothing in clear at the server", async () => {
    const m = await setUp(mia, server, "mia", "Mia", PASSWORD);
    let b = await join(ben, await invite(m), "本");
    await say(b, "Hello Mia 👋 你好");
    await openFirst(m);
    await shows(m, (all) => all.length === 1 && all[0]?.text.includes("Hello Mia 👋 你好") === true, "Mia has it");
    await say(m, "Hi 本");
    await shows(b, (all) => all.length === 2 && all[0]?.state === "read", "Ben has the answer, and sees his read");

    const address = b.url();
    await b.close();
    await say(m, "while you are away <b>&amp;");
    await shows(
      m,
      (all) => all.length === 3 && all[2]?.state === "sent" && all[2].path === "relay",
      "kept at the relay",
    );
    b = await ben.page(address);
    await shows(
      b,
      (all) => all.length === 3 && all[2]?.text.includes("while you are away <b>&amp;") === true,
      "Ben has what came meanwhile",
    );

    await server.stop("SIGKILL");
    await say(b, "the server is gone");
    await shows(
      b,
      (all) => all.length === 4 && (all[3]?.state === "waiting" || all[3]?.path === "direct"),
      "it waits, or went directly",
    );
    await b.close();
    await server.start();
    b = await ben.page(address);
    await shows(b, (all) => all.length === 4, "it is still there in a new page");
    await shows(
      m,
      (all) => all.length === 4 && all[3]?.text.includes("the server is gone") === true,
      "it arrives when the server is back",
      60_000,
    );

    const tab = await ben.page(address);
    await shows(tab, (all) => all.length === 4, "a second tab shows the same");
    await say(tab, "from another tab");
    await shows(m, (all) => all.length === 5, "it goes out through the first");
    await shows(b, (all) => all.length === 5 && all[4]?.own === true, "the first tab shows it");
    await b.close();
    await say(tab, "from the tab that is left");
    await shows(m, (all) => all.length === 6, "the second tab has taken over");
    b = tab;

    const laptop = await Device.open(his);
    try {
      const second = await laptop.page(`${server.url}/login`);
      await type(second, "login-user", "mia");
      await type(second, "login-password", PASSWORD);
      await click(second, "login-submit");
      await openFirst(second);
      await shows(second, (all) => all.length === 6 && all[1]?.own === true, "a second device has the whole history");
      await say(second, "from my laptop");
      await shows(m, (all) => all.length === 7 && all[6]?.own === true, "the first device shows it as own");
      await shows(b, (all) => all.length === 7, "Ben has it");
    } finally {
      await laptop.close();
    }

    for (const file of readdirSync(server.data)) {
      const bytes = readFileSync(path(server.data, file));
      for (const secret of ["Hello Mia", "你好", "while you are away", PASSWORD])
        expect(bytes.includes(secret), `${secret} in ${file}`).toBe(false);
    }
    expect(
      [...mia.errors, ...ben.errors].filter(
        (e) => !/WebSocket|can.t establish|Failed to load|NetworkError|interrupted/.test(e),
      ),
    ).toEqual([]);
  });
});
