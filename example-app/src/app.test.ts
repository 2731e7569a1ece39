// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from "vitest";
import * as Y from "yjs";

import { Log } from "../../guest-js/tests/log";
import { fails, plugin, settle, status } from "../../guest-js/tests/plugin";
import { Notes } from "./notes";

const rust = plugin();
let log: Log;

beforeEach(() => {
  log = new Log(rust);
  rust.on("listen", () => 5).on("status", () => status());
});

const find = (testid: string): HTMLElement | null => document.querySelector(`[data-testid="${testid}"]`);
const tell = (event: unknown): void => rust.sender("listen", "events").send(event);

/** Puts a note into the log, as another device would. */
function write(): void {
  const doc = new Y.Doc();
  const notes = new Notes(doc);
  notes.body(notes.create())?.insert(0, "Shopping");
  log.append(Y.encodeStateAsUpdate(doc));
  notes.destroy();
}

async function open(): Promise<void> {
  const root = document.createElement("div");
  document.body.append(root);
  // Each window has its own connection to the plugin.
  vi.resetModules();
  const { App } = await import("./app");
  new App().start(root);
  await settle();
}

it("says of a copy that could not be saved that it could not, also where this device was removed", async () => {
  write();
  rust.on("status", () => status({ trouble: { code: "REMOVED", message: "m", nextStep: "n" } }));
  await open();
  rust.on("save_copy", () => Promise.reject("the disk is full" as unknown as Error));
  find("save-copy-banner")?.click();
  await settle();
  expect(find("toast")?.textContent).toBe("The copy could not be saved. The disk is full.");
  expect(find("banner")?.textContent).toContain("removed from its group");
  rust.on("save_copy", () => "/home/ada/notes.md");
  find("save-copy-banner")?.click();
  await settle();
  expect(find("toast")?.textContent).toContain("/home/ada/notes.md");
});

it("lets a device whose place a copy has taken begin anew, and write nothing", async () => {
  write();
  rust.on("status", () => status({ trouble: { code: "CLONED", message: "m", nextStep: "n" } }));
  await open();
  expect(find("banner")?.textContent).toContain("has taken its place");
  expect(find("reset")).not.toBeNull();
  const before = log.blobs.length;
  find("new-note")?.click();
  await settle();
  expect(log.blobs.length).toBe(before);
});

it("says why this device has a new key, and that another one has", async () => {
  await open();
  tell({ type: "keyReplaced", was: "old", device: "d", code: "ROLLED_BACK" });
  await settle();
  expect(find("banner")?.textContent).toContain("restored from an older copy");
  const phone = { id: "p", name: "Phone" };
  tell({ type: "device", change: "replaced", device: phone, by: phone, was: "q" });
  await settle();
  expect(find("toast")?.textContent).toContain("«Phone» has a new key");
});

it("does not say of a log that is gone that changes to it are not saved", async () => {
  await open();
  rust.on("push", fails("IO"));
  find("first-note")?.click();
  await settle();
  expect(find("banner")?.textContent).toContain("not saved");
  tell({ type: "reset" });
  await settle();
  expect(find("banner")?.textContent).toContain("deleted");
});

it("does not say of a log that is gone that something in it was left out", async () => {
  log.append(new Uint8Array([9, 9, 9]));
  await open();
  expect(find("banner")?.textContent).toContain("left out");
  log.blobs.length = 0;
  tell({ type: "left", group: "g" });
  await settle();
  expect(find("banner")?.textContent).toContain("left its group");
});
