import { afterEach, expect, test } from "vitest";

import script from "../api-iife.js?raw";
import { plugin } from "./plugin.js";

const rust = plugin();
const page = window as unknown as Record<string, unknown>;

/** Runs the script as Tauri does, before those of the page. */
function run(): void {
  // An indirect eval runs in the page's scope, as a script of the page would.
  (0, eval)(script);
}

afterEach(() => {
  delete page["__TAURI__"];
});

test("with the global API, the façade is in it and works", async () => {
  rust.on("push", () => ({ id: "ab", position: "1" }));
  page["__TAURI__"] = {};
  run();
  const { ksync } = page["__TAURI__"] as { ksync: { push(text: string): Promise<{ id: string }> } };
  expect((await ksync.push("hello")).id).toBe("ab");
  expect(rust.of("push")).toMatchObject([{ args: new TextEncoder().encode("hello") }]);
});

test("without it, nothing happens, and no name is left behind", () => {
  const before = Object.keys(page);
  run();
  expect(Object.keys(page)).toEqual(before);
  expect("__TAURI__" in page).toBe(false);
});
