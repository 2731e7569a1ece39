import type { FileInfo } from "tauri-plugin-0ksync-api";

import { el, icon, iconButton } from "./dom";
import { picture, sized, stands } from "./file";
import type { Frame } from "./pictures";

/** What a row asks for. */
export interface RowActions {
  save(file: FileInfo): void;
  remove(file: FileInfo): void;
}

/** A file in the list. What does not change stays, with its focus. */
export class FileRow implements Frame {
  private readonly look = el("span", { class: "file-look" }, icon("file"));
  private readonly name = el("span", { class: "file-name cut" });
  private readonly about = el("span", { class: "file-about" });
  private readonly bar = el("progress", { class: "file-bar", max: "1", hidden: true });
  private readonly save = iconButton("save", "Save", () => this.isSaving || this.actions.save(this.file), {
    "data-testid": "save-file",
  });
  private readonly remove = iconButton("trash", "Remove", () => this.actions.remove(this.file), {
    "data-testid": "remove-file",
  });
  readonly element: HTMLElement;
  private readonly actions: RowActions;
  private file: FileInfo;
  private url: string | undefined;
  /** The picture cannot be had, or is none. */
  private unshowable = false;
  private isSaving = false;

  constructor(file: FileInfo, actions: RowActions) {
    this.file = file;
    this.actions = actions;
    const words = el("div", { class: "file-words" }, this.name, this.about, this.bar);
    const attributes = { class: "file", "data-testid": "file", "data-id": file.id };
    this.element = el("li", attributes, this.look, words, this.save, this.remove);
  }

  /** Shows how the file is now, and who put it. */
  show(file: FileInfo, from: string, writable: boolean): void {
    this.file = file;
    this.name.textContent = file.name;
    this.name.title = file.name;
    this.about.textContent = [sized(Number(file.size)), from, stands(file)].filter((part) => part !== "").join(" · ");
    this.element.dataset["state"] = file.state;
    for (const [button, does] of [[this.save, "Save"], [this.remove, "Remove"]] as const) {
      button.setAttribute("aria-label", `${does} ${file.name}`);
      button.title = does;
    }
    const buttons = [this.save, this.remove];
    const focused = buttons.find((button) => button === document.activeElement);
    this.save.hidden = file.state === "forged";
    this.remove.hidden = !writable;
    // A button that is hidden loses the focus, which stays in the row.
    if (focused?.hidden) buttons.find((button) => !button.hidden)?.focus();
    this.bar.setAttribute("aria-label", `How much of ${file.name} is here`);
    if (file.state === "coming") this.moved(Number(file.bytes ?? 0), Number(file.size));
    else if (file.state !== "here" || file.given) this.bar.hidden = true;
  }

  /** So much of it has come, or gone. */
  moved(done: number, total: number): void {
    this.bar.value = total > 0 ? Math.min(1, done / total) : 1;
    this.bar.hidden = false;
  }

  /** Whether it is being saved: then it cannot be asked to be, again. The button keeps the focus meanwhile. */
  saving(now: boolean): void {
    this.isSaving = now;
    this.save.setAttribute("aria-disabled", String(now));
  }

  lacks(): FileInfo | undefined {
    const shown = this.url !== undefined || this.unshowable;
    return shown || picture(this.file) === undefined ? undefined : this.file;
  }

  /** Shows a picture small. One that cannot be had or is none keeps its icon. */
  paint(bytes: Uint8Array<ArrayBuffer> | undefined): void {
    this.clear();
    this.unshowable = bytes === undefined;
    if (!bytes) return;
    this.url = URL.createObjectURL(new Blob([bytes], { type: picture(this.file) ?? "" }));
    const error = (): void => {
      this.unshowable = true;
      this.clear();
    };
    this.look.replaceChildren(el("img", { src: this.url, alt: "", decoding: "async", error }));
  }

  clear(): void {
    if (this.url === undefined) return;
    URL.revokeObjectURL(this.url);
    this.url = undefined;
    this.look.replaceChildren(icon("file"));
  }
}
