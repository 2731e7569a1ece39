// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import type { FileInfo } from "tauri-plugin-0ksync-api";

import { deferred, fails, plugin, settle, status } from "../../guest-js/tests/plugin";
import { Files } from "./files";
import { Puts } from "./puts";

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
let puts: Puts;
/** What is told of files that nobody looks at. */
let unseen: string[];

const all = (testid: string): HTMLElement[] => [...document.querySelectorAll<HTMLElement>(`[data-testid="${testid}"]`)];
const find = (testid: string): HTMLElement | null => all(testid)[0] ?? null;
const tell = (event: object): void => {
  const rest = { own: null, progress: null, code: null, retryAfterMs: null };
  rust.sender("listen", "events").send({ type: "file", ...rest, ...event });
};

const open = async (more = {}): Promise<void> => {
  const say = (text: string): number => unseen.push(text);
  files = new Files({ status: () => status({ devices, ...more }), puts, unseen: say, closed: vi.fn() });
  await settle();
};
const close = async (): Promise<void> => {
  find("close-dialog")?.click();
  await settle();
};
const focused = (): string | null | undefined => document.activeElement?.getAttribute("aria-label");

beforeEach(async () => {
  there = [file("a"), file("b", { device: "d", given: false })];
  rust.on("listen", () => 5).on("file_list", () => there);
  unseen = [];
  puts = new Puts((text) => unseen.push(text));
  await open();
});

afterEach(async () => {
  await close();
  vi.restoreAllMocks();
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

it("goes on with what is being put when it is closed, and shows it when it is opened again", async () => {
  const [first, third] = [deferred<FileInfo>(), deferred<FileInfo>()];
  rust.on("file_put", ({ path }: { path: string }) => (path === "/a/1" ? first : third).promise);
  void files.put(["/a/1", "/a/2", "/a/3"]);
  await settle();
  rust.sender("file_put", "progress").send({ done: "1000", total: "4000" });
  await close();
  await open();
  const rows = (): (string | undefined)[] => all("put").map((row) => row.textContent?.replace(/\s/g, " "));
  expect(rows()).toEqual(["11 kB of 4 kB", "2is being added", "3is being added"]);
  rust.sender("file_put", "progress").send({ done: "3000", total: "4000" });
  await settle();
  expect(rows()[0]).toBe("13 kB of 4 kB");

  // Each can be given up here too, also the one that goes on.
  document.querySelector<HTMLElement>('[aria-label="Do not add 2"]')?.click();
  document.querySelector<HTMLElement>('[aria-label="Do not add 1"]')?.click();
  const [begun] = rust.args("file_put") as [{ call: number }];
  expect(rust.args("file_cancel")).toEqual([{ call: begun.call }]);
  first.reject({ code: "CLOSED", message: "it was given up", retryAfterMs: null });
  await settle();
  expect(rows()).toEqual(["3is being added"]);
  expect(rust.args("file_put")).toMatchObject([{ path: "/a/1" }, { path: "/a/3" }]);
  expect(document.querySelector('[role="alert"]:not([hidden])')).toBeNull();

  // What comes of it when nobody looks is said elsewhere.
  await close();
  third.resolve(file("c", { name: "3" }));
  await settle();
  rust.on("file_put", fails("FILE_CHANGED"));
  await puts.add(["/a/4"]);
  expect(unseen).toEqual(["«3» is added.", expect.stringMatching(/^«4» could not be added\. .*FILE_CHANGED/)]);
  expect(puts.running).toEqual([]);
});

it("puts nothing more when the group is gone that it was for", async () => {
  const first = deferred<FileInfo>();
  rust.on("file_put", () => first.promise);
  const put = files.put(["/a/1", "/a/2"]);
  await settle();
  puts.stop();
  first.reject({ code: "CLOSED", message: "it was given up", retryAfterMs: null });
  await put;
  expect(rust.args("file_put")).toMatchObject([{ path: "/a/1" }]);
  expect([all("put"), unseen]).toEqual([[], []]);
  expect(document.querySelector('[role="alert"]:not([hidden])')).toBeNull();
});

it("keeps the focus among what is being put, and else at the way to add more", async () => {
  const first = deferred<FileInfo>();
  rust.on("file_put", () => first.promise);
  void files.put(["/a/1", "/a/2"]);
  await settle();
  const stop = (name: string): HTMLElement | null => document.querySelector(`[aria-label="Do not add ${name}"]`);
  stop("2")?.focus();
  stop("2")?.click();
  expect(focused()).toBe("Do not add 1");
  first.resolve(file("c", { name: "1" }));
  await settle();
  expect(document.activeElement).toBe(find("add-files"));
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

it("keeps the focus at what is being saved, and saves it once at a time", async () => {
  const saving = deferred<string>();
  rust.on("save_file", () => saving.promise);
  const save = find("save-file");
  save?.focus();
  save?.click();
  await settle();
  save?.click();
  expect(rust.of("save_file").length).toBe(1);
  expect([(save as HTMLButtonElement).disabled, save?.getAttribute("aria-disabled")]).toEqual([false, "true"]);
  saving.resolve("/home/a/Downloads/b.pdf");
  await settle();
  expect([document.activeElement, save?.getAttribute("aria-disabled")]).toEqual([save, "false"]);

  // One that turns out to be forged can only be removed.
  rust.on("save_file", () => {
    there = [file("a"), file("b", { state: "forged" })];
    return Promise.reject("it is not what its sender said" as unknown as Error);
  });
  save?.click();
  await settle();
  expect([save?.hidden, focused()]).toEqual([true, "Remove b.pdf"]);
});

it("says elsewhere where a file is that was saved while nobody looks any more", async () => {
  const saving = deferred<string>();
  rust.on("save_file", () => saving.promise);
  find("save-file")?.click();
  await close();
  saving.resolve("/home/a/Downloads/b.pdf");
  await settle();
  expect(unseen).toEqual(["«b.pdf» is in /home/a/Downloads/b.pdf"]);
});

it("puts the focus back where it was when nothing was removed, and else beside it", async () => {
  there = [file("c"), ...there];
  tell({ id: "c", change: "listed", own: false });
  await settle();
  const ask = (): void => {
    const remove = document.querySelector<HTMLElement>('[data-id="b"] [data-testid="remove-file"]');
    remove?.focus();
    remove?.click();
    find("confirm-remove-file")?.focus();
  };
  ask();
  find("cancel")?.click();
  await settle();
  expect(focused()).toBe("Remove b.pdf");

  // One that could not be removed: the question stays, and can be answered again.
  rust.on("file_remove", fails("DISK_FULL"));
  ask();
  find("confirm-remove-file")?.click();
  await settle();
  expect(document.activeElement).toBe(find("confirm-remove-file"));

  // It is off the list ahead of the answer, as is the one beside it.
  const removed = deferred<null>();
  rust.on("file_remove", () => removed.promise);
  find("confirm-remove-file")?.click();
  there = there.filter(({ id }) => id === "c");
  tell({ id: "b", change: "removed" });
  await settle();
  removed.resolve(null);
  await settle();
  expect(find("confirm-remove-file")).toBeNull();
  expect(focused()).toBe("Save c.pdf");

  // The last one.
  document.querySelector<HTMLElement>('[data-id="c"] [data-testid="remove-file"]')?.click();
  rust.on("file_remove", () => void (there = []));
  find("confirm-remove-file")?.click();
  await settle();
  expect(document.activeElement).toBe(find("add-files"));
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

/** Pictures of which each has a place in a list that scrolls. */
function gallery(count: number) {
  const made = vi.spyOn(URL, "createObjectURL").mockImplementation(() => `blob:${made.mock.calls.length}`);
  const revoked = vi.spyOn(URL, "revokeObjectURL").mockReturnValue();
  const reads = new Map<string, ReturnType<typeof deferred<ArrayBuffer>>>();
  rust.on("file_read", ({ id }: { id: string }) => {
    const read = deferred<ArrayBuffer>();
    reads.set(id, read);
    return read.promise;
  });
  // Each is as high as half of what is in view. The newest is at the top.
  let top = 0;
  vi.spyOn(Element.prototype, "getBoundingClientRect").mockImplementation(function (this: Element) {
    const id = this.getAttribute("data-id");
    const at = id === null ? { y: 0, height: 2000 } : { y: (count - 1 - Number(id)) * 1000 - top, height: 1000 };
    return new DOMRect(0, at.y, 100, at.height);
  });
  there = Array.from({ length: count }, (_, n) => file(String(n), { name: `${n}.png` }));
  tell({ id: "0", change: "listed", own: false });
  const scroll = async (to: number): Promise<void> => {
    top = to;
    find("files")?.dispatchEvent(new Event("scroll"));
    await vi.advanceTimersByTimeAsync(100);
  };
  const come = async (id: string): Promise<void> => {
    reads.get(id)?.resolve(new Uint8Array([1]).buffer);
    await settle();
  };
  const asked = (): unknown[] => rust.args("file_read").map((args) => (args as { id: string }).id);
  const shown = (): unknown[] => all("file").filter((row) => row.querySelector("img")).map((row) => row.dataset["id"]);
  return { made, revoked, scroll, come, asked, shown, reads };
}

it("reads the pictures that are in view, two at a time, and lets those go that are not", async () => {
  const { made, revoked, scroll, come, asked, shown, reads } = gallery(50);
  await settle();
  // Two are in view, and one more is about to be.
  expect(new Set(asked())).toEqual(new Set(["48", "47"]));
  await come("48");
  expect(asked().at(-1)).toBe("49");
  await come("49");
  await come("47");
  expect([shown(), asked().length]).toEqual([["49", "48", "47"], 3]);
  expect((made.mock.calls[0]?.[0] as Blob).type).toBe("image/png");

  await scroll(10_000);
  expect([shown(), revoked.mock.calls.length]).toEqual([[], 3]);
  const begun = asked().length;
  expect(begun).toBe(5);
  // One that is on its way when it goes out of view is given up.
  await scroll(0);
  expect(rust.of("file_cancel").length).toBe(2);
  expect(asked().length).toBe(begun);
  for (const id of asked().slice(3)) reads.get(String(id))?.reject({ code: "CLOSED", message: "m", retryAfterMs: null });
  await settle();
  expect(asked().length).toBe(begun + 2);
  expect(asked().slice(begun).every((id) => ["47", "48", "49"].includes(String(id)))).toBe(true);
});

it("tries a picture that cannot be had, or is none, once", async () => {
  const { scroll, asked, shown, come, reads, revoked } = gallery(2);
  await settle();
  reads.get("0")?.reject({ code: "IO", message: "m", retryAfterMs: null });
  await come("1");
  document.querySelector("img")?.dispatchEvent(new Event("error"));
  expect([shown(), revoked.mock.calls.length]).toEqual([[], 1]);
  await scroll(9_000);
  await scroll(0);
  expect(asked().length).toBe(2);
});

it("keeps no picture of a file that is gone, nor any when nobody looks any more", async () => {
  const { made, revoked, come, asked } = gallery(3);
  await settle();
  const [first, second] = asked().map(String);
  await come(first ?? "");
  there = there.filter(({ id }) => id !== first);
  tell({ id: first, change: "removed" });
  await settle();
  expect(revoked).toHaveBeenCalledExactlyOnceWith("blob:1");
  await close();
  expect(rust.of("file_cancel").length).toBe(2);
  await come(second ?? "");
  expect(made).toHaveBeenCalledOnce();
});

it("offers a device that was removed to save, and nothing that goes to the others", async () => {
  await close();
  await open({ trouble: { code: "REMOVED", message: "m", nextStep: "n" } });
  expect(find("add-files")?.hidden).toBe(true);
  expect(all("remove-file").every((button) => button.hidden)).toBe(true);
  expect(all("save-file").some((button) => button.hidden)).toBe(false);
});
