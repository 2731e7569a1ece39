// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from "vitest";
import * as Y from "yjs";

import { Log } from "../../guest-js/tests/log";
import { deferred, fails, plugin, settle, status } from "../../guest-js/tests/plugin";
import { Notes } from "./notes";

const rust = plugin();
let log: Log;

beforeEach(() => {
  log = new Log(rust);
  rust.on("listen", () => 5).on("alerts", () => []).on("status", () => status());
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

it("shows at its start what happened to the devices while it was closed, until somebody has read it", async () => {
  write();
  const about = { device: { id: "x", name: "Tablet", own: false }, by: null, code: null, count: 1, since: null };
  const words = { at: String(Date.now()), text: "«Phone» linked «Tablet».", nextStep: "If nobody of yours did that, remove both." };
  const linked = { number: "4", kind: "linked", warning: false, seen: false, ...about, ...words };
  const own = { ...linked, number: "5", kind: "removed", device: { id: "d", name: "Laptop", own: true }, text: "this device" };
  rust.on("alerts", () => [own, linked, { ...linked, number: "3", seen: true }]);
  await open();
  expect(find("banner")?.textContent).toContain("«Phone» linked «Tablet».");
  expect(find("banner")?.textContent).not.toContain("more message");
  find("see-devices")?.click();
  await settle();
  expect(find("devices")).not.toBeNull();
  find("close-dialog")?.click();
  find("dismiss")?.click();
  await settle();
  expect(rust.args("alerts_seen")).toEqual([{ upTo: "4" }]);
  expect(find("banner")).toBeNull();
  // One that comes while it is open.
  rust.on("alerts", () => [{ ...linked, number: "6", text: "«Phone» left." }]);
  tell({ type: "alert", alert: linked });
  await settle();
  expect(find("banner")?.textContent).toContain("«Phone» left.");
});

it("says why it is empty when it was removed as lost", async () => {
  write();
  await open();
  tell({ type: "removed", by: { id: "p", name: "Phone" }, lost: true });
  tell({ type: "left", group: "g" });
  await settle();
  expect(find("banner")?.textContent).toContain("removed as lost. Its notes are deleted");
});

it("shows a file that is being put whenever somebody looks, and says what came of it also when nobody does", async () => {
  const putting = deferred<unknown>();
  rust.on("file_list", () => []).on("file_put_bytes", () => putting.promise);
  await open();
  find("files-button")?.click();
  await settle();
  const picker = find("pick-files");
  Object.defineProperty(picker, "files", { value: [new File(["x"], "a.txt")] });
  picker?.dispatchEvent(new Event("change"));
  await settle();
  for (let times = 0; times < 2; times += 1) {
    expect(find("put")?.textContent).toContain("a.txt");
    find("close-dialog")?.click();
    await settle();
    expect(find("put")).toBeNull();
    find("files-button")?.click();
    await settle();
  }
  find("close-dialog")?.click();
  putting.resolve({ id: "f", name: "a.txt" });
  await settle();
  expect(find("toast")?.textContent).toBe("«a.txt» is added.");
});
