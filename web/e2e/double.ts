// Builds the interface over the double (src/ui/testing) and serves it, for pictures and for measurements.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { build, type PreviewServer, preview } from "vite";

const root = resolve(import.meta.dirname, "..");
const entry = "src/ui/testing/index.html";

export class DoubleServer {
  readonly url: string; // of the page; a query says what it shows
  readonly #folder: string;
  readonly #server: PreviewServer;

  private constructor(folder: string, server: PreviewServer) {
    this.#folder = folder;
    this.#server = server;
    this.url = `${server.resolvedUrls?.local[0] ?? ""}${entry}`;
  }

  static async start(): Promise<DoubleServer> {
    const outDir = mkdtempSync(resolve(tmpdir(), "parley-double-"));
    const quiet = { root, logLevel: "error" as const };
    await build({ ...quiet, build: { outDir, emptyOutDir: true, rolldownOptions: { input: resolve(root, entry) } } });
    const server = await preview({ ...quiet, build: { outDir }, preview: { host: "127.0.0.1", port: 0, proxy: {} } });
    return new DoubleServer(outDir, server);
  }

  async stop(): Promise<void> {
    await this.#server.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
