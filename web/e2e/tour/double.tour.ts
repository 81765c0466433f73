import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { Device, type Kind } from "../browser.ts";
import { DoubleServer } from "../double.ts";
import { type Look, type Scene, scenes, show } from "./scenes.ts";

interface Variant extends Look {
  readonly name: string;
}

const variants: readonly Variant[] = [
  { name: "desk-light", width: 1280, height: 800, theme: "light", language: "en" },
  { name: "desk-dark", width: 1280, height: 800, theme: "dark", language: "en" },
  { name: "desk-zh", width: 1280, height: 800, theme: "light", language: "zh" },
  { name: "tablet", width: 820, height: 1100, theme: "light", language: "en" },
  { name: "phone", width: 390, height: 844, theme: "light", language: "en" },
  { name: "phone-zh-dark", width: 390, height: 844, theme: "dark", language: "zh" },
  { name: "forced", width: 1280, height: 800, theme: "light", language: "en", forced: true },
  { name: "narrow", width: 320, height: 640, theme: "light", language: "en" },
];

const root = resolve(import.meta.dirname, "../..");
const only = (process.env["SCENES"] ?? "").split(",").filter(Boolean);
const sizes = (process.env["VARIANTS"] ?? "").split(",").filter(Boolean);
const kinds = (process.env["BROWSERS"] ?? "chrome,firefox").split(",") as Kind[];

let server: DoubleServer;
beforeAll(async () => {
  server = await DoubleServer.start();
}, 120_000);
afterAll(() => server.stop());

describe.each(kinds)("the tour in %s", (kind) => {
  const out = resolve(root, "tour", kind);
  let device: Device;

  beforeAll(async () => {
    mkdirSync(out, { recursive: true });
    device = await Device.open(kind);
  });
  afterAll(() => device.close());

  test.each(variants.filter((v) => sizes.length === 0 || sizes.includes(v.name)))("$name", async (variant) => {
    if (variant.forced && kind !== "chrome") return;
    for (const scene of scenes) {
      if (only.length === 0 || only.includes(scene.name)) await take(scene, variant);
    }
  });

  async function take(scene: Scene, variant: Variant): Promise<void> {
    try {
      const page = await show(device, server, scene, variant);
      await page.screenshot({ path: resolve(out, `${scene.name}.${variant.name}.png`) as `${string}.png` });
      await page.close();
    } catch (error) {
      console.error(`${kind} ${scene.name} ${variant.name}:`, error);
    }
  }
});
