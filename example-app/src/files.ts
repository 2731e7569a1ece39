import { invoke } from "@tauri-apps/api/core";
import { type FileInfo, sync, type SyncEventMap, type SyncStatus } from "tauri-plugin-0ksync-api";

import { ask, Dialog } from "./dialog";
import { button, el } from "./dom";
import { failure } from "./failure";
import { sender } from "./file";
import { FileRow } from "./file-row";
import { Pictures } from "./pictures";
import { PutRow } from "./put-row";
import type { Given, Put, Puts } from "./puts";
import { out } from "./words";

/** What the files need of the app. */
export interface FilesOptions {
  status: () => SyncStatus | undefined;
  /** What is being put goes on when nobody looks, and is there when somebody looks again. */
  puts: Puts;
  /** Says what came of something when nobody looks at the files any more. */
  unseen: (text: string) => void;
  closed: () => void;
}

/** The files that all devices have, in a dialog. */
export class Files {
  private readonly rows = new Map<string, FileRow>();
  private readonly putRows = new Map<Put, PutRow>();
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
  private readonly pictures: Pictures;

  constructor(private readonly options: FilesOptions) {
    const actions = el("div", { class: "actions start" }, this.add, this.picker);
    const intro = el("p", { class: "hint" }, "What you add here is on all your devices, encrypted from end to end.");
    const body = el("div", { class: "dialog-body" }, intro, actions, this.told, this.coming, this.nothing, this.list);
    this.dialog = new Dialog("Files", body, {
      testid: "files",
      closed: () => {
        this.close();
        options.closed();
      },
    });
    this.pictures = new Pictures(this.dialog.element, (file, signal) => sync.files.read(file.id, { signal }));
    this.until(
      options.puts.watch({
        changed: () => this.showPuts(),
        added: (text) => {
          this.told.textContent = text;
          this.refresh();
        },
        failed: (text) => this.dialog.fail(new Error(text)),
      }),
    );
    this.showPuts();
    this.render();
    void this.listen();
  }

  /** Shows what follows from the status. */
  render(): void {
    this.add.hidden = out(this.options.status()) !== undefined;
    this.refresh();
  }

  /** Puts files, behind those that are being put. */
  put(all: readonly Given[]): Promise<void> {
    this.dialog.clearError();
    return this.options.puts.add(all);
  }

  /** Shows what is being put, and how far that is. */
  private showPuts(): void {
    const running = new Set(this.options.puts.running);
    for (const [put, row] of this.putRows) {
      if (running.has(put)) continue;
      this.putRows.delete(put);
      this.take(row.element);
    }
    for (const put of running) {
      let row = this.putRows.get(put);
      if (!row) {
        row = new PutRow(put);
        this.putRows.set(put, row);
        this.coming.append(row.element);
      }
      row.show();
    }
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
    const { devices = [] } = this.options.status() ?? {};
    const writable = out(this.options.status()) === undefined;
    const there = new Set(files.map((file) => file.id));
    for (const [id, row] of this.rows) {
      if (there.has(id)) continue;
      this.rows.delete(id);
      this.pictures.remove(row);
      this.take(row.element);
    }
    // The newest first.
    for (const file of files) {
      let row = this.rows.get(file.id);
      if (!row) {
        row = new FileRow(file, { save: (f) => void this.save(f), remove: (f) => this.remove(f) });
        this.rows.set(file.id, row);
        this.pictures.add(row);
        this.list.prepend(row.element);
      }
      row.show(file, sender(file, devices), writable);
    }
    this.nothing.hidden = files.length > 0;
    this.pictures.look();
  }

  /** Takes a row away. If the focus was in it, that goes on beside it. */
  private take(row: HTMLElement): void {
    const beside = row.contains(document.activeElement) ? besides(row) : undefined;
    row.remove();
    if (beside) this.goOn(beside);
  }

  /** Puts the focus into the first of these rows that is still there. If none is, there is a way to add files, or at least one out of here. */
  private goOn(rows: readonly Element[]): void {
    const buttons = rows.filter((row) => row.isConnected).flatMap((row) => [...row.querySelectorAll("button")]);
    [...buttons, this.add, this.dialog.cross].find((button) => !button.hidden)?.focus();
  }

  private async save(file: FileInfo): Promise<void> {
    const row = this.rows.get(file.id);
    this.dialog.clearError();
    this.told.textContent = `«${file.name}» is being saved.`;
    row?.saving(true);
    try {
      this.say(`«${file.name}» is in ${await invoke<string>("save_file", { id: file.id })}`);
    } catch (error) {
      const { message, nextStep } = failure(error);
      const text = `«${file.name}» could not be saved. ${message} ${nextStep}`.trim();
      this.told.textContent = "";
      if (this.open) this.dialog.fail(new Error(text));
      else this.options.unseen(text);
    } finally {
      row?.saving(false);
      this.refresh();
    }
  }

  private say(text: string): void {
    if (this.open) this.told.textContent = text;
    else this.options.unseen(text);
  }

  private remove(file: FileInfo): void {
    const row = this.rows.get(file.id);
    const beside = row ? besides(row.element) : [];
    ask({
      title: `Remove «${file.name}»?`,
      text: ["It is removed on all your devices. Copies that somebody has saved stay."],
      yes: "Remove everywhere",
      testid: "confirm-remove-file",
      act: async () => {
        await sync.files.remove(file.id);
        this.say(`«${file.name}» is removed.`);
        this.refresh();
      },
      // The row may be gone by then.
      back: () => this.goOn(beside),
    });
  }

  private close(): void {
    this.open = false;
    for (const end of this.ends) end();
    this.pictures.close();
    this.rows.clear();
  }
}

/** What is beside an element: what comes after it and then what comes before it, the nearest first. */
function besides(element: Element): Element[] {
  const all = [...(element.parentElement?.children ?? [])];
  const at = all.indexOf(element);
  return [...all.slice(at + 1), ...all.slice(0, at).reverse()];
}
