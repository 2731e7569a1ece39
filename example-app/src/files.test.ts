// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import type { FileInfo } from "tauri-plugin-0ksync-api";

import { deferred, fails, plugin, settle, status } from "../../guest-js/tests/plugin";
import { Files } from "./files";

const rust = plugin();
const devices = [
  { id: "d", name: "Laptop", own: true, lastSeen: null },
  { id: "p", name: "Phone", own: false, lastSeen: null },
];
const file = (id: string, more: Partial<FileInfo> = {}): FileInfo => {
  const rest = { size: "2000", device: "p", position: "1", modified: "0", state: "here", bytes: null, given: true } as const;
  return { id, name: `${id}.pdf`, safeName: `${id}.pdf`, ...rest, ...more };
};

let there: FileInfo[] = [];
let files: Files;

const all = (testid: string): HTMLElement[] => [...document.querySelectorAll<HTMLElement>(`[data-testid="${testid}"]`)];
const find = (testid: string): HTMLElement | null => all(testid)[0] ?? null;
const tell = (event: object): void => {
  const rest = { own: null, progress: null, code: null, retryAfterMs: null };
  rust.sender("listen", "events").send({ type: "file", ...rest, ...event });
};

beforeEach(async () => {
  there = [file("a"), file("b", { device: "d", given: false })];
  rust.on("listen", () => 5).on("file_list", () => there);
  files = new Files(() => status({ devices }), vi.fn());
  await settle();
});

afterEach(async () => {
  find("close-dialog")?.click();
  await settle();
});

it("lists the newest first, with size, sender and state", () => {
  expect(all("file").map((row) => row.dataset["id"])).toEqual(["b", "a"]);
  const [b, a] = all("file").map((row) => row.textContent?.replace(/\s/g, " "));
  expect(a).toContain("a.pdf2 kB · from «Phone»");
  expect(b).toContain("from this device · waits for the relay");
  expect(all("save-file").map((button) => button.getAttribute("aria-label"))).toEqual(["Save b.pdf", "Save a.pdf"]);
});

it("shows what comes, how far it is, and what goes, with the focus beside it", async () => {
  there = [...there, file("c", { state: "coming", bytes: "500" })];
  tell({ id: "c", change: "listed", own: false });
  await settle();
  const bar = document.querySelector<HTMLProgressElement>('[data-id="c"] progress');
  expect([bar?.hidden, bar?.value]).toEqual([false, 0.25]);
  const asked = rust.of("file_list").length;
  tell({ id: "c", change: "progress", progress: { done: "1500", total: "2000" } });
  await settle();
  expect(bar?.value).toBe(0.75);
  expect(rust.of("file_list").length).toBe(asked);

  document.querySelector<HTMLElement>('[data-id="c"] [data-testid="remove-file"]')?.focus();
  there = there.filter(({ id }) => id !== "c");
  tell({ id: "c", change: "removed" });
  await settle();
  expect(document.activeElement?.closest<HTMLElement>("li")?.dataset["id"]).toBe("b");
});

it("asks for the list once more when it missed something", async () => {
  there = [file("c")];
  rust.sender("listen", "events").send({ type: "lagged", missed: 3 });
  await settle();
  expect(all("file").map((row) => row.dataset["id"])).toEqual(["c"]);
});

it("puts what is dropped, one after another, and gives up what nobody wants", async () => {
  const first = deferred<FileInfo>();
  rust.on("file_put", () => first.promise);
  const put = files.put(["/home/a/film.mkv", "C:\\b\\other.txt"]);
  await settle();
  rust.sender("file_put", "progress").send({ done: "1000", total: "4000" });
  await settle();
  const rows = (): (string | undefined)[] => all("files")[0]?.querySelectorAll("ul")[0]?.textContent?.split("bytes") ?? [];
  expect(rows()[0]?.replace(/\s/g, " ")).toContain("film.mkv1 kB of 4 kB");
  document.querySelector<HTMLElement>('[aria-label="Do not add other.txt"]')?.click();
  first.resolve(file("f", { name: "film.mkv" }));
  await put;
  expect(rust.args("file_put")).toMatchObject([{ path: "/home/a/film.mkv" }]);
  expect(find("files-told")?.textContent).toBe("«film.mkv» is added.");
  expect(document.querySelector('[role="alert"]:not([hidden])')).toBeNull();
});

it("says what could not be put, and puts the rest", async () => {
  rust.on("file_put", fails("FILE_CHANGED"));
  rust.on("file_put_bytes", () => file("g", { name: "g.txt" }));
  await files.put(["/home/a/log", new File(["x"], "g.txt")]);
  expect(document.querySelector('[role="alert"]')?.textContent).toContain("FILE_CHANGED");
  expect(find("files-told")?.textContent).toBe("«g.txt» is added.");
});

it("saves a file and says where, or why not", async () => {
  rust.on("save_file", () => "/home/a/Downloads/b.pdf");
  find("save-file")?.click();
  await settle();
  expect(rust.args("save_file")).toEqual([{ id: "b" }]);
  expect(find("files-told")?.textContent).toBe("«b.pdf» is in /home/a/Downloads/b.pdf");
  rust.on("save_file", () => Promise.reject("the disk is full. Make room." as unknown as Error));
  find("save-file")?.click();
  await settle();
  expect(document.querySelector('[role="alert"]')?.textContent).toBe("«b.pdf» could not be saved. The disk is full. Make room.");
});

it("removes a file once that is confirmed", async () => {
  find("remove-file")?.click();
  expect(rust.args("file_remove")).toEqual([]);
  rust.on("file_remove", () => void (there = [file("a")]));
  find("confirm-remove-file")?.click();
  await settle();
  expect(rust.args("file_remove")).toEqual([{ id: "b" }]);
  expect(all("file").map((row) => row.dataset["id"])).toEqual(["a"]);
});

it("shows pictures one after another, and lets go of them", async () => {
  const made = vi.spyOn(URL, "createObjectURL").mockReturnValue("blob:one");
  const revoked = vi.spyOn(URL, "revokeObjectURL").mockReturnValue();
  const [first, second] = [deferred<ArrayBuffer>(), deferred<ArrayBuffer>()];
  rust.on("file_read", ({ id }: { id: string }) => (id === "x" ? first : second).promise);
  there = [file("x", { name: "x.png" }), file("y", { name: "y.gif" })];
  tell({ id: "x", change: "listed", own: false });
  await settle();
  expect(rust.of("file_read").length).toBe(1);
  first.resolve(new Uint8Array([1]).buffer);
  await settle();
  expect(document.querySelector('[data-id="x"] img')?.getAttribute("src")).toBe("blob:one");
  expect((made.mock.calls[0]?.[0] as Blob).type).toBe("image/png");
  // One that comes when nobody looks any more is not kept.
  find("close-dialog")?.click();
  second.resolve(new Uint8Array([2]).buffer);
  await settle();
  expect(made).toHaveBeenCalledOnce();
  expect(revoked).toHaveBeenCalledExactlyOnceWith("blob:one");
});

it("offers a device that was removed to save, and nothing that goes to the others", async () => {
  find("close-dialog")?.click();
  const trouble = { code: "REMOVED", message: "m", nextStep: "n" };
  new Files(() => status({ devices, trouble }), vi.fn());
  await settle();
  expect(find("add-files")?.hidden).toBe(true);
  expect(all("remove-file").every((button) => button.hidden)).toBe(true);
  expect(all("save-file").some((button) => button.hidden)).toBe(false);
});
