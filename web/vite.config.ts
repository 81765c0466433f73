import { fileURLToPath } from "node:url";
import { paraglideVitePlugin } from "@inlang/paraglide-js";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

// Where `npm run dev` finds a running server, as `make run` starts it.
const server = process.env["PARLEY_DEV_SERVER"] ?? "http://localhost:8080";

export default defineConfig({
  plugins: [
    paraglideVitePlugin({
      project: "./project.inlang",
      outdir: "./src/i18n",
      strategy: ["localStorage", "preferredLanguage", "baseLocale"],
      isServer: "import.meta.env.SSR",
      emitTsDeclarations: true,
      emitGitIgnore: false,
      emitPrettierIgnore: false,
      emitReadme: false,
    }),
    svelte(),
  ],
  resolve: { alias: { crypto: fileURLToPath(new URL("./src/wire/webcrypto.ts", import.meta.url)) } },
  build: {
    target: "es2022",
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 800, // KiB; one file, so that nothing has to be fetched while the server is away
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  server: {
    proxy: {
      // The server takes an Origin that is exactly its own.
      "/api": { target: server, ws: true, changeOrigin: true, headers: { origin: server } },
    },
  },
  test: {
    include: ["src/**/*.test.ts"],
    environment: "node",
    execArgv: ["--experimental-websocket"], // Node 20 has it behind this flag, later ones without
    silent: "passed-only",
    testTimeout: 120_000, // of tests with a real server, on a slow machine
    hookTimeout: 120_000,
  },
});
