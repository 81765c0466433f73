import { describe, expect, it } from "vitest";
import { CommandError, type Connection } from "../state/types.ts";
import { failureCode, failureReason, failureText } from "./failures.ts";
import { explain, goesTo, how, mayTryDirect } from "./paths.ts";
import { link, message, person } from "./testing/sample.ts";
import { insteadOfText, presenceText, preview, spoken, stateWord } from "./words.ts";

const connected: Connection = { kind: "connected" };
const offline: Connection = { kind: "offline" };
const now = Date.now();

describe("the path", () => {
  const mia = person("mia", "Mia", { presence: "online", devices: 2 });
  const tom = person("tom", "Tom");

  it("is told before the message goes", () => {
    expect(goesTo(mia, link("direct"), connected)).toBe("Goes directly to Mia’s 2 devices");
    expect(goesTo({ ...mia, devices: 1 }, link("direct"), connected)).toBe("Goes directly to Mia’s device");
    expect(goesTo(mia, link("turn"), connected)).toBe("Forwarded live by your server");
    expect(goesTo(mia, link("relay"), connected)).toBe("Goes to Mia by relay");
    expect(goesTo(tom, link("relay"), connected)).toBe("Kept at the relay until Tom is back");
    expect(goesTo(tom, link("waiting"), offline)).toContain("when you are back online");
  });

  it("is explained without a claim that is not known", () => {
    expect(explain(tom, link("relay"), connected, false).why).toContain("Tom is away");
    expect(explain(mia, link("relay"), connected, false).why).not.toContain("away");
    expect(explain(mia, link("waiting"), offline, false).why).toContain("no network");
    expect(explain(mia, link("waiting"), connected, false).why).not.toContain("no network");
  });

  it("names protocol and port of an open link only", () => {
    expect(how(link("direct"))).toBe("UDP, port 51834");
    expect(how(link("turn"))).toBe("TURN over TLS, port 443");
    expect(how({ ...link("direct"), port: 0 })).toBe("UDP");
    expect(how(link("relay"))).toBe("");
  });

  it("can be tried again when the other one is there", () => {
    expect(mayTryDirect(mia, link("turn"), connected, false)).toBe(true);
    expect(mayTryDirect(mia, link("direct"), connected, false)).toBe(false);
    expect(mayTryDirect(tom, link("relay"), connected, false)).toBe(false);
    expect(mayTryDirect(mia, link("waiting"), offline, false)).toBe(false);
  });

  it("is by choice where this device hides its address", () => {
    expect(explain(mia, link("turn"), connected, true).why).toContain("because you hide your address");
    expect(mayTryDirect(mia, link("turn"), connected, true)).toBe(false);
  });
});

describe("a message", () => {
  it("says its state when it is one's own", () => {
    expect(stateWord(message("mia", 1, true, "a", 0, { state: "read" }))).toBe("Read");
    expect(stateWord(message("mia", 1, false, "a", 0))).toBe("");
    expect(stateWord(message("mia", 1, true, "a", 0, { state: "failed", failure: "too-long" }))).toBe(
      "Not sent: over 64 KB",
    );
  });

  it("says what stands in place of its text", () => {
    expect(insteadOfText(message("mia", 1, false, "", 0, { state: "sealed" }))).toContain("Not readable yet");
    expect(insteadOfText(message("mia", 1, false, "", 0, { state: "gone" }))).toContain("no longer kept");
    expect(insteadOfText(message("mia", 1, false, "", 0, { known: false }))).toContain("newer Parley");
    expect(insteadOfText(message("mia", 1, false, "a", 0))).toBe("");
  });

  it("is one line in the list", () => {
    expect(preview(message("mia", 1, true, "a\n  b ", 0))).toBe("You: a b");
  });

  it("is read out with who, when, what and how", () => {
    expect(spoken(message("mia", 1, false, "hello", 0), "Mia", "10:45")).toBe("Mia, 10:45, hello, Direct");
    expect(spoken(message("mia", 1, true, "hello", 0), "Mia", "10:45")).toBe("You, 10:45, hello, Direct, Read");
  });
});

describe("presence", () => {
  it("is not told without a network", () => {
    const mia = person("mia", "Mia", { presence: "online", devices: 2 });
    expect(presenceText(mia, connected, now, "en")).toBe("Online on 2 devices");
    expect(presenceText({ ...mia, devices: 1 }, connected, now, "en")).toBe("Online");
    expect(presenceText(mia, offline, now, "en")).toBe("");
  });

  it("says when somebody was last seen, if that is known", () => {
    expect(presenceText(person("tom", "Tom"), connected, now, "en")).toBe("");
    expect(presenceText(person("tom", "Tom", { lastSeen: now }), connected, now, "en")).toMatch(/^Last seen /);
  });
});

describe("a failure", () => {
  it("is a sentence, with the wait where there is one", () => {
    expect(failureText(new CommandError("wrong-password"))).toBe("User name or password is not right.");
    expect(failureText(new CommandError("rate-limited", "", 1000))).toBe("Too many attempts. Try again in 1 second.");
    expect(failureText(new CommandError("rate-limited", "", 29_001))).toBe(
      "Too many attempts. Try again in 30 seconds.",
    );
  });

  it("of our own making is told as such", () => {
    expect(failureCode(new TypeError("x is undefined"))).toBe("internal");
    expect(failureText(new TypeError("x is undefined"))).not.toContain("undefined");
  });

  it("of a message may be words of the server", () => {
    expect(failureReason("the place is closed")).toBe("the place is closed");
    expect(failureReason("offline")).toBe("You have no network.");
    expect(failureReason("constructor")).toBe("constructor");
  });
});
