import { invoke } from "@tauri-apps/api/core";
import { type FileInfo, sync, type SyncEventMap, type SyncStatus } from "tauri-plugin-0ksync-api";

import { ask, Dialog } from "./dialog";
import { button, el, icon, iconButton } from "./dom";
import { failure } from "./failure";
import { sender, sized } from "./file";
import { FileRow } from "./file-row";
import { out } from "./words";

/** Something to put: a path that a person dropped here, or a file that a person picked. */
export type Given = string | File;

/** The files that all devices have, in a dialog. */
export class Files {
  private readonly rows = new Map<string, FileRow>();
  private readonly list = el("ul", { class: "files", "aria-label": "Files", "data-testid": "files-list" });
  private readonly coming = el("ul", { class: "files", "aria-label": "Files that are being added" });
  private readonly nothing = el("p", { class: "hint", hidden: true }, "There are no files yet. Add some, or drop them onto this window.");
  private readonly told = el("p", { class: "hint", role: "status", "data-testid": "files-told" });
  private readonly picker = el("input", {
    type: "file",
    multiple: true,
    hidden: true,
    "data-testid": "pick-files",
    change: () => this.picked(),
  });
  private readonly add = button("Add files…", () => this.picker.click(), {
    class: "button primary",
    "data-testid": "add-files",
  });
  private readonly dialog: Dialog;
  private readonly ends: (() => void)[] = [];
  private open = true;
  /** One list is asked for at a time, and one more follows if something happened meanwhile. */
  private asking = false;
  private isOld = false;
  /** Pictures are read one after the other, so that no more than one is in memory on its way. */
  private reading: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly status: () => SyncStatus | undefined,
    closed: () => void,
  ) {
    const actions = el("div", { class: "actions start" }, this.add, this.picker);
    const intro = el("p", { class: "hint" }, "What you add here is on all your devices, encrypted from end to end.");
    const body = el("div", { class: "dialog-body" }, intro, actions, this.told, this.coming, this.nothing, this.list);
    this.dialog = new Dialog("Files", body, {
      testid: "files",
      closed: () => {
        this.close();
        closed();
      },
    });
    this.render();
    void this.listen();
  }

  /** Shows what follows from the status. */
  render(): void {
    this.add.hidden = out(this.status()) !== undefined;
    this.refresh();
  }

  /** Puts files, one after another. */
  async put(all: readonly Given[]): Promise<void> {
    this.dialog.clearError();
    const waiting = all.map((given) => this.announce(given));
    for (const { given, signal, row, moved } of waiting) {
      try {
        const file = await sync.files.put(given, { signal, onProgress: moved });
        this.told.textContent = `«${file.name}» is added.`;
      } catch (error) {
        if (!signal.aborted) this.dialog.fail(error);
      }
      row.remove();
      this.refresh();
    }
  }

  /** A row for a file that is being put, with a way to give that up. */
  private announce(given: Given) {
    const name = typeof given === "string" ? (given.split(/[/\\]/).pop() ?? given) : given.name;
    const abort = new AbortController();
    const bar = el("progress", { class: "file-bar", max: "1", "aria-label": `How much of ${name} is added` });
    const about = el("span", { class: "file-about" }, "is being added");
    const stop = iconButton("close", `Do not add ${name}`, () => abort.abort());
    const words = el("div", { class: "file-words" }, el("span", { class: "file-name cut", title: name }, name), about, bar);
    const row = el("li", { class: "file" }, el("span", { class: "file-look" }, icon("file")), words, stop);
    abort.signal.addEventListener("abort", () => row.remove());
    this.coming.append(row);
    const moved = (done: number, total: number): void => {
      bar.value = total > 0 ? done / total : 1;
      about.textContent = `${sized(done)} of ${sized(total)}`;
    };
    return { given, signal: abort.signal, row, moved };
  }

  private picked(): void {
    const chosen = [...(this.picker.files ?? [])];
    // The same file can be chosen again.
    this.picker.value = "";
    void this.put(chosen);
  }

  private async listen(): Promise<void> {
    try {
      this.until(await sync.on("file", (event) => this.heard(event)));
      // What was missed may have been about any of them.
      this.until(await sync.on("lagged", () => this.refresh()));
    } catch (error) {
      this.dialog.fail(error);
    }
  }

  /** Keeps what ends something until nobody looks any more. */
  private until(end: () => void): void {
    if (this.open) this.ends.push(end);
    else end();
  }

  private heard({ id, change, progress }: SyncEventMap["file"]): void {
    if (change !== "progress") return this.refresh();
    if (progress) this.rows.get(id)?.moved(Number(progress.done), Number(progress.total));
  }

  private refresh(): void {
    this.isOld = true;
    if (!this.asking) void this.ask();
  }

  private async ask(): Promise<void> {
    this.asking = true;
    try {
      while (this.isOld && this.open) {
        this.isOld = false;
        this.show(await sync.files.list());
      }
    } catch (error) {
      this.dialog.fail(error);
    } finally {
      this.asking = false;
    }
  }

  private show(files: readonly FileInfo[]): void {
    if (!this.open) return;
    const { devices = [] } = this.status() ?? {};
    const writable = out(this.status()) === undefined;
    const there = new Set(files.map((file) => file.id));
    for (const [id, row] of this.rows) {
      if (there.has(id)) continue;
      this.leaveTo(row);
      row.destroy();
      this.rows.delete(id);
    }
    // The newest first.
    for (const file of files) {
      let row = this.rows.get(file.id);
      if (!row) {
        row = new FileRow(file, { save: (f) => void this.save(f), remove: (f) => this.remove(f), read: (f) => this.read(f) });
        this.rows.set(file.id, row);
        this.list.prepend(row.element);
      }
      row.show(file, sender(file, devices), writable);
    }
    this.nothing.hidden = files.length > 0;
  }

  /** Whoever is on a row that goes, goes on at the one beside it. */
  private leaveTo(row: FileRow): void {
    if (!row.element.contains(document.activeElement)) return;
    const beside = row.element.nextElementSibling ?? row.element.previousElementSibling;
    (beside?.querySelector<HTMLElement>("button:not([hidden])") ?? this.add).focus();
  }

  private read(file: FileInfo): Promise<Uint8Array<ArrayBuffer>> {
    const read = this.reading.then(() => {
      if (!this.open) throw new Error("nobody looks any more");
      return sync.files.read(file.id);
    });
    this.reading = read.catch(() => undefined);
    return read;
  }

  private async save(file: FileInfo): Promise<void> {
    const row = this.rows.get(file.id);
    this.dialog.clearError();
    this.told.textContent = `«${file.name}» is being saved.`;
    row?.saving(true);
    try {
      this.told.textContent = `«${file.name}» is in ${await invoke<string>("save_file", { id: file.id })}`;
    } catch (error) {
      const { message, nextStep } = failure(error);
      this.told.textContent = "";
      this.dialog.fail(new Error(`«${file.name}» could not be saved. ${message} ${nextStep}`.trim()));
    } finally {
      row?.saving(false);
      this.refresh();
    }
  }

  private remove(file: FileInfo): void {
    ask({
      title: `Remove «${file.name}»?`,
      text: ["It is removed on all your devices. Copies that somebody has saved stay."],
      yes: "Remove everywhere",
      testid: "confirm-remove-file",
      act: async () => {
        await sync.files.remove(file.id);
        this.told.textContent = `«${file.name}» is removed.`;
        this.refresh();
      },
    });
  }

  private close(): void {
    this.open = false;
    for (const end of this.ends) end();
    for (const row of this.rows.values()) row.destroy();
    this.rows.clear();
  }
}
