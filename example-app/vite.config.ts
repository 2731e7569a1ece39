import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

const from = (file: string): string => fileURLToPath(new URL(`../guest-js/${file}`, import.meta.url));

/** The package as it is in this repository. Anybody else installs it from npm. */
const SOURCES = [
  { find: /^tauri-plugin-0ksync-api\/yjs$/, replacement: from("yjs.ts") },
  { find: /^tauri-plugin-0ksync-api\/widget$/, replacement: from("widget.ts") },
  { find: /^tauri-plugin-0ksync-api$/, replacement: from("index.ts") },
];

/** `vite --mode mock` shows the app in any browser, over the pretended devices of `dev/`. */
export default defineConfig(({ mode }) => ({
  clearScreen: false,
  // Tauri expects exactly this port, as does its `devUrl`.
  server: { port: 5173, strictPort: true },
  build: { target: "es2022", modulePreload: { polyfill: false } },
  resolve: {
    // Two copies of Yjs do not know each other.
    dedupe: ["yjs", "y-protocols", "@tauri-apps/api"],
    alias:
      mode === "mock"
        ? [
            { find: /^tauri-plugin-0ksync-api\/yjs$/, replacement: "/dev/yjs.ts" },
            { find: /^tauri-plugin-0ksync-api$/, replacement: "/dev/sync.ts" },
            ...SOURCES,
          ]
        : SOURCES,
  },
}));
