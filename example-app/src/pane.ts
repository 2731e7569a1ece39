import { button, el, iconButton } from "./dom";
import type { Editor } from "./editor";
import type { Note } from "./notes";
import { ago } from "./text";

/** What the right side shows. */
export interface PaneState {
  /** The note that is open. */
  note: Note | undefined;
  loaded: boolean;
  /** Whether notes from other devices are on their way. */
  coming: boolean;
  writable: boolean;
  /** Whether there are notes to choose from. */
  any: boolean;
}

/** What the right side asks for. */
export interface PaneActions {
  back(): void;
  create(): void;
  trash(id: string): void;
  restore(id: string): void;
}

const CHOOSE = ["No note is open", "Choose one in the list, or begin another."] as const;
const COMING = [
  "Nothing is here yet",
  "The notes from the other devices are on their way. You may begin with one of your own.",
] as const;
const EMPTY = [
  "Nothing is written yet",
  "What you write here is on all your devices, and nobody else can read it.",
] as const;

/** The right side: a note's text with what can be done to it, or words where no note is open. */
export class NotePane {
  private id: string | undefined;
  private readonly about = el("span", { class: "about" });
  private readonly restore = button("Restore", () => this.with((id) => this.actions.restore(id)), {
    class: "button small",
    "data-testid": "restore",
  });
  private readonly trash = iconButton("trash", "Delete this note", () => this.with((id) => this.actions.trash(id)), {
    "data-testid": "delete-note",
  });
  private readonly bar = el(
    "div",
    { class: "bar" },
    iconButton("back", "Back to the list", () => this.actions.back(), {
      class: "icon-button back",
      "data-testid": "back",
    }),
    this.about,
    this.restore,
    this.trash,
  );
  private readonly nothingTitle = el("h2", {});
  private readonly nothingText = el("p", {});
  private readonly write = button("Write a note", () => this.actions.create(), {
    class: "button primary",
    "data-testid": "first-note",
  });
  private readonly nothing = el("div", { class: "nothing" }, this.nothingTitle, this.nothingText, this.write);
  readonly element: HTMLElement;

  constructor(
    editor: Editor,
    private readonly actions: PaneActions,
  ) {
    this.element = el("section", { class: "pane", "aria-label": "Note" }, this.bar, editor.element, this.nothing);
  }

  show({ note, loaded, coming, writable, any }: PaneState): void {
    this.id = note?.id;
    this.bar.hidden = !note;
    this.nothing.hidden = note !== undefined || !loaded;
    const [title, text] = any ? CHOOSE : coming ? COMING : EMPTY;
    this.nothingTitle.textContent = title;
    this.nothingText.textContent = text;
    this.write.hidden = !writable;
    if (!note) return;
    const deleted = note.trashed !== undefined;
    this.about.textContent = deleted ? `Deleted ${said(note.trashed ?? 0)}` : `Changed ${said(note.updated)}`;
    this.restore.hidden = !deleted || !writable;
    this.trash.hidden = deleted || !writable;
  }

  private with(act: (id: string) => void): void {
    if (this.id !== undefined) act(this.id);
  }
}

function said(time: number): string {
  const words = ago(time, Date.now());
  return words === "now" ? "just now" : words;
}
