import { el, icon, iconButton } from "./dom";
import { sized } from "./file";
import type { Put } from "./puts";

/** A file that is being put, with a way to give that up. */
export class PutRow {
  readonly element: HTMLElement;
  private readonly bar: HTMLProgressElement;
  private readonly about = el("span", { class: "file-about" }, "is being added");

  constructor(private readonly put: Put) {
    const { name } = put;
    this.bar = el("progress", { class: "file-bar", max: "1", "aria-label": `How much of ${name} is added` });
    const stop = iconButton("close", `Do not add ${name}`, () => put.stop());
    const words = el("div", { class: "file-words" }, el("span", { class: "file-name cut", title: name }, name), this.about, this.bar);
    this.element = el("li", { class: "file", "data-testid": "put" }, el("span", { class: "file-look" }, icon("file")), words, stop);
    this.show();
  }

  /** Shows how far it is now. */
  show(): void {
    if (!this.put.moved) return;
    const { done, total } = this.put.moved;
    this.bar.value = total > 0 ? done / total : 1;
    this.about.textContent = `${sized(done)} of ${sized(total)}`;
  }
}
