import { sync, type SyncFinding } from "tauri-plugin-0ksync-api";

import { Dialog } from "./dialog";
import { button, el } from "./dom";
import { sentence } from "./failure";
import type { Words } from "./words";

/** How long a passing state has to last before it is shown: a line that flickers at each keystroke helps nobody. */
const SETTLE_MS = 700;

/** The line at the bottom. */
export class StatusLine {
  private readonly text = el("span", { class: "status-text" });
  private readonly line = el(
    "div",
    { class: "status-words", role: "status", "data-testid": "status-line", "data-tone": "busy" },
    el("span", { class: "status-dot" }),
    this.text,
  );
  private readonly more = button("Why?", () => void why(), {
    class: "button link",
    "data-testid": "why",
    "aria-haspopup": "dialog",
  });
  readonly element = el("footer", { class: "status" }, this.line, this.more);
  private next: Words | undefined;
  private timer: number | undefined;

  show(words: Words): void {
    this.next = words;
    const settled = words.tone !== "busy" && words.tone !== "waiting";
    if (settled || !this.text.textContent) return this.apply();
    this.timer ??= window.setTimeout(() => this.apply(), SETTLE_MS);
  }

  private apply(): void {
    window.clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.next || this.text.textContent === this.next.text) return;
    this.text.textContent = this.next.text;
    this.line.dataset["tone"] = this.next.tone;
    // Nobody asks why all is well, but what the relay is may still be of interest.
    this.more.textContent = this.next.tone === "ok" ? "Details" : "Why?";
  }
}

/** What the doctor has found, in a dialog. */
async function why(): Promise<void> {
  const list = el("ul", { class: "findings", "data-testid": "findings" });
  const look = async (): Promise<void> => {
    dialog.clearError();
    try {
      list.replaceChildren(...(await sync.doctor()).map(finding));
      if (!list.hasChildNodes()) list.append(el("li", {}, "There is nothing to report."));
    } catch (error) {
      dialog.fail(error);
    }
  };
  const actions = el(
    "div",
    { class: "actions" },
    button("Look again", () => void look()),
  );
  const dialog = new Dialog("How syncing stands", el("div", { class: "dialog-body" }, list, actions), {
    testid: "why-dialog",
  });
  await look();
}

function finding({ code, title, detail, nextStep }: SyncFinding): HTMLElement {
  const todo = nextStep !== "" && el("p", { class: "next-step" }, el("strong", {}, "What to do: "), sentence(nextStep));
  return el(
    "li",
    { class: "finding", "data-tone": code ? "trouble" : "ok", "data-code": code ?? undefined },
    el("h3", {}, sentence(title).replace(/\.$/, "")),
    el("p", {}, sentence(detail)),
    todo,
  );
}
