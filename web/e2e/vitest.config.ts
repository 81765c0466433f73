import { defineConfig } from "vitest/config";

// End-to-end tests: the real program and real browsers, one file after the other.
export default defineConfig({
  test: {
    dir: import.meta.dirname,
    include: ["*.test.ts"],
    environment: "node",
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 180_000,
  },
});
