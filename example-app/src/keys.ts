/** What keys do anywhere in the window. */
interface KeyActions {
  /** Ctrl or Cmd with N. */
  create(): void;
  /** Ctrl or Cmd with K. */
  search(): void;
  /** Escape. */
  back(): void;
}

/** Listens for them. While a dialog is open, the keys are the dialog's; while an input method composes, they are its own. */
export function listenForKeys(actions: KeyActions): void {
  window.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    const mod = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey;
    const key = event.key.toLowerCase();
    if (key === "escape") actions.back();
    else if (mod && key === "n") actions.create();
    else if (mod && key === "k") actions.search();
    else return;
    event.preventDefault();
  });
}
