// A camera that films a QR code: chromium plays a file in its place.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { qrModules } from "../src/ui/qr.ts";

const [width, height] = [640, 480];
const [dark, light, grey] = [16, 235, 128]; // luma of video, and chroma without colour

export class Camera {
  readonly #folder = mkdtempSync(resolve(tmpdir(), "parley-camera-"));
  readonly #file = resolve(this.#folder, "film.y4m");

  /** Flags for a chromium that has this camera. It is opened when a page begins to film. */
  get flags(): string[] {
    return [
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
      `--use-file-for-fake-video-capture=${this.#file}`,
    ];
  }

  /** What it films from the next time on: ten frames of the code, over and over. */
  film(text: string): void {
    const header = Buffer.from(`YUV4MPEG2 W${width} H${height} F10:1 Ip A1:1 C420jpeg\n`);
    const frame = Buffer.concat([
      Buffer.from("FRAME\n"),
      picture(qrModules(text)),
      Buffer.alloc((width * height) / 2, grey),
    ]);
    writeFileSync(this.#file, Buffer.concat([header, ...Array.from({ length: 10 }, () => frame)]));
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The luma of a frame with the code in its middle. */
function picture(modules: readonly (readonly boolean[])[]): Buffer {
  const luma = Buffer.alloc(width * height, light);
  const pixels = Math.floor((height * 0.8) / modules.length);
  const [left, top] = [width, height].map((side) => Math.floor((side - modules.length * pixels) / 2)) as [
    number,
    number,
  ];
  for (let y = 0; y < modules.length * pixels; y++)
    for (let x = 0; x < modules.length * pixels; x++)
      if (modules[Math.floor(y / pixels)]?.[Math.floor(x / pixels)]) luma[(top + y) * width + left + x] = dark;
  return luma;
}
