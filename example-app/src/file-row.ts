import type { FileInfo } from "tauri-plugin-0ksync-api";

import { el, icon, iconButton } from "./dom";
import { picture, sized, stands } from "./file";

/** What a row asks for. */
export interface RowActions {
  save(file: FileInfo): void;
  remove(file: FileInfo): void;
  /** The bytes of a picture. */
  read(file: FileInfo): Promise<Uint8Array<ArrayBuffer>>;
}

/** A file in the list. What does not change stays, with its focus. */
export class FileRow {
  private readonly look = el("span", { class: "file-look" }, icon("file"));
  private readonly name = el("span", { class: "file-name cut" });
  private readonly about = el("span", { class: "file-about" });
  private readonly bar = el("progress", { class: "file-bar", max: "1", hidden: true });
  private readonly save = iconButton("save", "Save", () => this.actions.save(this.file), { "data-testid": "save-file" });
  private readonly remove = iconButton("trash", "Remove", () => this.actions.remove(this.file), {
    "data-testid": "remove-file",
  });
  readonly element: HTMLElement;
  private readonly actions: RowActions;
  private file: FileInfo;
  private url: string | undefined;
  private asked = false;
  private gone = false;

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
    this.save.hidden = file.state === "forged";
    this.remove.hidden = !writable;
    this.bar.setAttribute("aria-label", `How much of ${file.name} is here`);
    if (file.state === "coming") this.moved(Number(file.bytes ?? 0), Number(file.size));
    else if (file.state !== "here" || file.given) this.bar.hidden = true;
    void this.paint();
  }

  /** So much of it has come, or gone. */
  moved(done: number, total: number): void {
    this.bar.value = total > 0 ? Math.min(1, done / total) : 1;
    this.bar.hidden = false;
  }

  /** Whether it is being saved: then it cannot be asked to be, again. */
  saving(now: boolean): void {
    this.save.disabled = now;
  }

  /** Shows a picture small. */
  private async paint(): Promise<void> {
    const type = picture(this.file);
    if (type === undefined || this.asked) return;
    this.asked = true;
    // A picture that cannot be had or is none keeps its icon.
    const bytes = await this.actions.read(this.file).catch(() => undefined);
    if (!bytes || this.gone) return;
    this.url = URL.createObjectURL(new Blob([bytes], { type }));
    const image = el("img", { src: this.url, alt: "", decoding: "async", error: () => this.look.replaceChildren(icon("file")) });
    this.look.replaceChildren(image);
  }

  /** Takes it off. */
  destroy(): void {
    this.gone = true;
    this.element.remove();
    if (this.url !== undefined) URL.revokeObjectURL(this.url);
  }
}
