import { button, el, icon, iconButton } from "./dom";
import type { Note } from "./notes";
import type { Person } from "./people";
import { ago, matches } from "./text";

/** Which notes the list shows. */
export type Shelf = "notes" | "deleted";

/** What the list is to show. */
export interface ListState {
  notes: Note[];
  deleted: Note[];
  /** The one that is open. */
  selected: string | undefined;
  /** Who is here, this device left out. */
  people: Person[];
  /** Why there may be none yet; undefined as long as nothing is known. */
  empty: string | undefined;
  /** Whether new notes can be made. */
  writable: boolean;
}

/** What the list asks for. */
export interface ListActions {
  create(): void;
  /** Opens a note; with `write`, the person wants to be in its text. */
  open(id: string, write: boolean): void;
  trash(id: string): void;
  shelf(shelf: Shelf): void;
}

/** The notes on the left, with search. Arrows walk through them, Enter goes into the text, Delete deletes. */
export class List {
  shelf: Shelf = "notes";
  private state: ListState | undefined;
  private readonly items = new Map<string, HTMLElement>();
  private readonly new = iconButton("plus", "New note (Ctrl+N)", () => this.actions.create(), {
    class: "icon-button primary",
    "data-testid": "new-note",
  });
  private readonly field = el("input", {
    type: "search",
    placeholder: "Search",
    "aria-label": "Search notes",
    "data-testid": "search",
    input: () => this.render(),
    keydown: (event) => this.inSearch(event as KeyboardEvent),
  });
  private readonly heading = el("h2", {});
  private readonly list = el("ul", {
    class: "list",
    role: "listbox",
    keydown: (event) => this.inList(event as KeyboardEvent),
  });
  private readonly empty = el("div", { class: "empty", role: "status" });
  private readonly foot = button("", () => this.turn(), { class: "button link shelf", "data-testid": "shelf" });
  readonly element = el(
    "section",
    { class: "side", "aria-label": "Notes" },
    el("div", { class: "side-head" }, this.heading, this.new),
    el("label", { class: "search" }, icon("search"), this.field),
    this.list,
    this.empty,
    this.foot,
  );

  constructor(private readonly actions: ListActions) {
    // Times in words grow old.
    window.setInterval(() => this.render(), 30_000);
  }

  show(state: ListState): void {
    this.state = state;
    if (this.shelf === "deleted" && state.deleted.length === 0) {
      this.shelf = "notes";
      this.actions.shelf("notes");
      return;
    }
    this.render();
  }

  search(): void {
    this.field.focus();
    this.field.select();
  }

  /** Shows all notes, whatever was searched for. */
  clearSearch(): void {
    if (this.field.value === "" && this.shelf === "notes") return;
    this.field.value = "";
    this.shelf = "notes";
    this.render();
  }

  /** Puts the focus on the open note, or on what there is. */
  focus(): void {
    const { selected } = this.state ?? {};
    const item = (selected !== undefined && this.items.get(selected)) || this.list.firstElementChild;
    if (item instanceof HTMLElement && item.isConnected) item.focus();
    else this.field.focus();
  }

  /** Whether it holds the focus. */
  hasFocus(): boolean {
    return this.list.contains(document.activeElement);
  }

  private turn(): void {
    this.shelf = this.shelf === "notes" ? "deleted" : "notes";
    this.field.value = "";
    this.render();
    this.actions.shelf(this.shelf);
  }

  private render(): void {
    const { state } = this;
    if (!state) return;
    const all = this.shelf === "notes" ? state.notes : state.deleted;
    const search = this.field.value.trim();
    const shown = search === "" ? all : all.filter((note) => matches(note.text, search));
    const focused = this.hasFocus() ? (document.activeElement as HTMLElement).dataset["id"] : undefined;
    this.heading.textContent = this.shelf === "notes" ? "Notes" : "Deleted notes";
    this.list.setAttribute("aria-label", this.heading.textContent);
    this.new.disabled = !state.writable || state.empty === undefined;
    this.place(shown, state);
    // Moving an element takes the focus from it.
    if (focused !== undefined && document.activeElement?.getAttribute("data-id") !== focused) {
      this.items.get(focused)?.focus({ preventScroll: true });
    }
    this.list.hidden = shown.length === 0;
    this.empty.hidden = shown.length > 0;
    this.empty.textContent = all.length > 0 ? `No note has «${search}» in it.` : (state.empty ?? "");
    this.foot.hidden = this.shelf === "notes" && state.deleted.length === 0;
    this.foot.textContent = this.shelf === "notes" ? `Deleted notes (${state.deleted.length})` : "Back to the notes";
  }

  /** Brings the elements into this order, and keeps those that are there. */
  private place(notes: Note[], state: ListState): void {
    const ids = new Set(notes.map((note) => note.id));
    for (const [id, item] of this.items) {
      if (ids.has(id)) continue;
      item.remove();
      this.items.delete(id);
    }
    const stop = state.selected !== undefined && ids.has(state.selected) ? state.selected : notes[0]?.id;
    notes.forEach((note, index) => {
      let item = this.items.get(note.id);
      if (!item) {
        item = this.item(note.id);
        this.items.set(note.id, item);
      }
      fill(
        item,
        note,
        state.people.filter((person) => person.notes.has(note.id)),
      );
      item.setAttribute("aria-selected", String(note.id === state.selected));
      item.tabIndex = note.id === stop ? 0 : -1;
      const there = this.list.children[index];
      if (there !== item) this.list.insertBefore(item, there ?? null);
    });
  }

  private item(id: string): HTMLElement {
    return el("li", {
      class: "item",
      role: "option",
      "data-id": id,
      "data-testid": "note-item",
      click: () => this.actions.open(id, true),
    });
  }

  private inSearch(event: KeyboardEvent): void {
    // The keys choose among what an input method proposes.
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "Enter") {
      const first = this.list.firstElementChild;
      if (first instanceof HTMLElement) this.go(first);
      event.preventDefault();
    } else if (event.key === "Escape") {
      this.field.value = "";
      this.render();
      this.focus();
      event.stopPropagation();
      event.preventDefault();
    }
  }

  private inList(event: KeyboardEvent): void {
    const here = document.activeElement;
    const id = here instanceof HTMLElement ? here.dataset["id"] : undefined;
    if (!here || id === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const to: Record<string, Element | null> = {
      ArrowDown: here.nextElementSibling,
      ArrowUp: here.previousElementSibling,
      Home: this.list.firstElementChild,
      End: this.list.lastElementChild,
    };
    if (event.key in to) {
      const target = to[event.key];
      if (target instanceof HTMLElement) this.go(target);
    } else if (event.key === "Enter" || event.key === " ") {
      this.actions.open(id, true);
    } else if (event.key === "Delete" && this.shelf === "notes") {
      const beside = here.nextElementSibling ?? here.previousElementSibling;
      this.actions.trash(id);
      if (beside instanceof HTMLElement) this.go(beside);
    } else {
      return;
    }
    event.preventDefault();
  }

  private go(item: HTMLElement): void {
    item.focus();
    const id = item.dataset["id"];
    if (id !== undefined) this.actions.open(id, false);
  }
}

function fill(item: HTMLElement, note: Note, people: Person[]): void {
  const title = note.title || "New note";
  const when = ago(note.trashed ?? note.updated, Date.now());
  const key = JSON.stringify([title, note.snippet, when, people.map((person) => person.name)]);
  if (item.dataset["key"] === key) return;
  item.dataset["key"] = key;
  const dots = people.map((person) => {
    const dot = el("span", { class: "dot" }, el("span", { class: "sr-only" }, `${person.name} has it open`));
    dot.style.background = person.color;
    dot.title = person.name;
    return dot;
  });
  item.replaceChildren(
    el("div", { class: "item-title" }, el("span", { class: "cut" }, title), ...dots),
    el(
      "div",
      { class: "item-rest" },
      el("span", { class: "when" }, when),
      el("span", { class: "cut" }, note.snippet || "No more text"),
    ),
  );
}
