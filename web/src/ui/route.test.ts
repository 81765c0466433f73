import { describe, expect, it } from "vitest";
import { conversationPath, detailsPath, parseRoute, settingsPath } from "./route.ts";

describe("parseRoute", () => {
  it.each([
    ["/", "", { page: "chats" }],
    ["/c/7f0e", "", { page: "conversation", id: "7f0e", details: false }],
    ["/c/7f0e/", "", { page: "conversation", id: "7f0e", details: false }],
    ["/c/7f0e/details", "", { page: "conversation", id: "7f0e", details: true }],
    ["/c/7f0e/details/more", "", { page: "unknown" }],
    ["/c", "", { page: "unknown" }],
    ["/people", "", { page: "people" }],
    ["/settings", "", { page: "settings", part: "" }],
    ["/settings/devices", "", { page: "settings", part: "devices" }],
    ["/settings/nothing", "", { page: "unknown" }],
    ["/i/code", "#secret", { page: "invite", code: "code", secret: "secret" }],
    ["/i/code", "", { page: "invite", code: "code", secret: "" }],
    ["/setup", "#secret", { page: "setup", secret: "secret" }],
    ["/login", "", { page: "login" }],
    ["/register", "", { page: "register" }],
    ["/people/more", "", { page: "unknown" }],
    ["/c/a/b", "", { page: "unknown" }],
    ["/c/%E0%A4%A", "", { page: "conversation", id: "%E0%A4%A", details: false }],
  ])("reads %s%s", (path, fragment, route) => {
    expect(parseRoute(path, fragment)).toEqual(route);
  });

  it("reads back what it writes", () => {
    expect(parseRoute(conversationPath("a/ü"), "")).toEqual({ page: "conversation", id: "a/ü", details: false });
    expect(parseRoute(detailsPath("a/ü"), "")).toEqual({ page: "conversation", id: "a/ü", details: true });
    expect(parseRoute(settingsPath("you"), "")).toEqual({ page: "settings", part: "you" });
  });
});
