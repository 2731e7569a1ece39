import { defaultKeymap } from "@codemirror/commands";
import { Compartment, EditorState, type Extension, RangeSetBuilder } from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  EditorView,
  keymap,
  placeholder,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";
import { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
import type { Awareness } from "y-protocols/awareness";
import type * as Y from "yjs";

import { el } from "./dom";

/** A text to be edited. */
export interface Opened {
  body: Y.Text;
  undo: Y.UndoManager;
  awareness: Awareness;
  readOnly: boolean;
  /** The person has typed. */
  typed: () => void;
  /** Escape was pressed. */
  escaped: () => void;
}

const titleLine = Decoration.line({ class: "cm-title" });

/** The first line that says something looks like the title that it is. */
const title = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;

    constructor(view: EditorView) {
      this.decorations = mark(view);
    }

    update(update: ViewUpdate): void {
      if (update.docChanged) this.decorations = mark(update.view);
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

function mark(view: EditorView): DecorationSet {
  const builder = new RangeSetBuilder<Decoration>();
  const { doc } = view.state;
  for (let number = 1; number <= doc.lines; number++) {
    const line = doc.line(number);
    if (line.text.trim() === "" && number < doc.lines) continue;
    builder.add(line.from, line.from, titleLine);
    break;
  }
  return builder.finish();
}

/** The text on the right. */
export class Editor {
  /** What the CodeMirror editor stands in. */
  readonly element = el("div", { class: "editor", "data-testid": "editor" });
  private readonly access = new Compartment();
  private view: EditorView | undefined;
  private opened: Opened | undefined;

  /** Shows this text, or none. The same one again stays as it is, with its cursor. */
  show(next: Opened | undefined): void {
    const { opened } = this;
    if (opened && next && opened.body === next.body) {
      if (opened.readOnly === next.readOnly) return;
      this.opened = next;
      this.view?.dispatch({ effects: this.access.reconfigure(access(next.readOnly)) });
      return;
    }
    this.view?.destroy();
    this.view = undefined;
    this.opened = next;
    this.element.hidden = !next;
    if (next) this.view = new EditorView({ state: this.state(next), parent: this.element });
  }

  focus(): void {
    this.view?.focus();
  }

  private state(opened: Opened): EditorState {
    const typed = EditorView.updateListener.of((update) => {
      const own = update.transactions.some(
        (each) => each.isUserEvent("input") || each.isUserEvent("delete") || each.isUserEvent("move"),
      );
      if (update.docChanged && own) opened.typed();
    });
    const escape = { key: "Escape", run: () => (opened.escaped(), true) };
    return EditorState.create({
      doc: opened.body.toString(),
      extensions: [
        // Tab stays what leaves the field: people who cannot use a pointer need it.
        keymap.of([escape, ...yUndoManagerKeymap, ...defaultKeymap]),
        EditorView.lineWrapping,
        placeholder("Write something. The first line is the title."),
        title,
        typed,
        this.access.of(access(opened.readOnly)),
        yCollab(opened.body, opened.awareness, { undoManager: opened.undo }),
      ],
    });
  }
}

function access(readOnly: boolean): Extension {
  const attributes: Record<string, string> = readOnly
    ? { "aria-label": "Text of the note, read only", "aria-readonly": "true", tabindex: "0" }
    : { "aria-label": "Text of the note", spellcheck: "true", autocapitalize: "sentences" };
  return [
    EditorState.readOnly.of(readOnly),
    EditorView.editable.of(!readOnly),
    EditorView.contentAttributes.of(attributes),
  ];
}
