import { afterAll, beforeAll, describe, test } from "vitest";
import { Device, invite, join, type Kind, openFirst, Server, say, setUp, shows } from "./browser.ts";

const PASSWORD = "correct horse battery";

describe.each<[Kind, Kind]>([
  ["chrome", "chrome"],
  ["chrome", "firefox"],
  ["firefox", "firefox"],
])("a link from %s to %s", (hers, his) => {
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

  test("opens by itself, carries messages, goes on without the server, which has them afterwards", async () => {
    const m = await setUp(mia, server, "mia", "Mia", PASSWORD);
    const b = await join(ben, await invite(m), "Ben");
    await openFirst(m);
    const direct = '[data-testid="path-badge"][data-path="direct"]'; // the page takes it from getStats
    await Promise.all([m.waitForSelector(direct, { timeout: 60_000 }), b.waitForSelector(direct, { timeout: 20_000 })]);
    await say(m, "straight to you");
    await shows(b, (all) => all.length === 1 && all[0]?.path === "direct", "Ben has it directly");
    await shows(m, (all) => all[0]?.path === "direct" && all[0].state === "read", "Mia sees how it went");

    await server.stop("SIGKILL");
    await say(m, "no server between us");
    await shows(b, (all) => all.length === 2 && all[1]?.path === "direct", "it goes without the server");
    await shows(m, (all) => all[1]?.state === "delivered", "Mia sees that he has it");
    await say(b, "still here");
    await shows(m, (all) => all.length === 3 && all[2]?.path === "direct", "and back");

    await server.start();
    await shows(
      m,
      (all) => all.length === 3 && all.every((one) => one.state === "received" || one.state === "read"),
      "the server has them all",
      60_000,
    );
    await shows(b, (all) => all.length === 3, "nothing is shown twice");
  });
});
