// The interface over the double, for looking at it: ?path=/c/mia&people=zh&connection=offline&out
// Started by `vite` only; the built app has index.html as its one entry.
import { mount } from "svelte";
import type { Connection } from "../../state/types.ts";
import App from "../App.svelte";
import { DoubleGate } from "./double.ts";

const query = new URLSearchParams(location.search);
history.replaceState(null, "", query.get("path") ?? "/");

const connections: Readonly<Record<string, () => Connection>> = {
  offline: () => ({ kind: "offline" }),
  unreachable: () => ({ kind: "unreachable", nextTry: Date.now() + 8_000 }),
  "signed-out": () => ({ kind: "signed-out" }),
  suspended: () => ({ kind: "signed-out", suspended: true }),
  superseded: () => ({ kind: "superseded" }),
};
const gate = new DoubleGate({
  signedIn: !query.has("out"),
  chinese: query.get("people") === "zh",
  empty: query.has("empty"),
  nameOnly: query.has("nameonly"),
  many: Number(query.get("many") ?? 0),
  locked: query.has("locked"),
  insecure: query.has("insecure"),
  away: query.has("noserver"),
  connection: connections[query.get("connection") ?? ""]?.() ?? { kind: "connected" },
});
const deleted = query.get("deleted");
if (deleted !== null) gate.session.setPerson(deleted, { deleted: true });
const target = document.getElementById("app");
if (target === null) throw new Error("index.html has no #app");
mount(App, { target, props: { gate } });
Object.assign(window, { double: gate });
