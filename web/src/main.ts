import { mount } from "svelte";
import { BrowserGate } from "./state/gate.ts";
import App from "./ui/App.svelte";

const target = document.getElementById("app");
if (target === null) throw new Error("index.html has no #app");
mount(App, { target, props: { gate: new BrowserGate(location.origin, "1") } });
