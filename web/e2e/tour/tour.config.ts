import { defineConfig } from "vitest/config";

// `npm run tour`: takes pictures of every screen and state, to be looked at. Not a test.
export default defineConfig({
  test: {
    dir: import.meta.dirname,
    include: ["*.tour.ts"],
    environment: "node",
    fileParallelism: false,
    testTimeout: 600_000,
    hookTimeout: 60_000,
  },
});
