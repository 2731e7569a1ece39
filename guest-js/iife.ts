/** The façade as a global, for apps without a bundler (`app.withGlobalTauri`). Tauri runs this in every page before its own scripts. */
import { sync } from "./sync.js";

if ("__TAURI__" in window && typeof window.__TAURI__ === "object" && window.__TAURI__ !== null) {
  Object.defineProperty(window.__TAURI__, "ksync", { value: sync });
}
