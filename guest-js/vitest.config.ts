import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";

export default defineConfig({
  root: dirname(fileURLToPath(import.meta.url)),
  test: {
    environment: "happy-dom",
    include: ["tests/*.test.ts"],
    // A rejection that nobody handles is a fault of ours.
    dangerouslyIgnoreUnhandledErrors: false,
    restoreMocks: true,
  },
});
