import * as Y from "yjs";

import { type Digest, digest } from "./text";

/** A note as the list shows it. */
export interface Note extends Digest {
  id: string;
  text: string;
  created: number;
  updated: number;
  /** When it was deleted. */
  trashed: number | undefined;
}

/** How often typing renews a note's time: each renewal is one more change to send. */
const RENEW_MS = 10_000;
/** How long a deleted note can be brought back. */
const KEEP_DELETED_MS = 30 * 24 * 60 * 60 * 1000;

type Fields = Y.Map<unknown>;

/** The notes in the document: a map of note id to `{ body: Y.Text, created, updated, trashed? }`. */
export class Notes {
  private readonly map: Y.Map<Fields>;
  /** What was read from a note, until it changes. */
  private readonly known = new Map<string, Note>();
  private readonly undo = new Map<string, Y.UndoManager>();

  constructor(
    private readonly doc: Y.Doc,
    private readonly now: () => number = Date.now,
  ) {
    this.map = doc.getMap<Fields>("notes");
    this.map.observeDeep((events) => {
      for (const event of events) {
        const [id] = event.path;
        if (typeof id === "string") this.known.delete(id);
        else for (const key of event.keys.keys()) this.known.delete(key);
      }
    });
  }

  /** Calls back after each change, until the returned function is called. */
  onChange(changed: () => void): () => void {
    this.map.observeDeep(changed);
    return () => this.map.unobserveDeep(changed);
  }

  /** All that are not deleted, the last changed first. */
  list(): Note[] {
    return this.all()
      .filter((note) => note.trashed === undefined)
      .sort((a, b) => b.updated - a.updated || (a.id < b.id ? -1 : 1));
  }

  /** The deleted ones, the last deleted first. */
  deleted(): Note[] {
    return this.all()
      .filter((note) => note.trashed !== undefined)
      .sort((a, b) => (b.trashed ?? 0) - (a.trashed ?? 0));
  }

  get(id: string): Note | undefined {
    const known = this.known.get(id);
    if (known) return known;
    const fields = this.map.get(id);
    const body = fields?.get("body");
    // Another version of this app may have written something else.
    if (!fields || !(body instanceof Y.Text)) return undefined;
    const text = body.toString();
    const created = time(fields.get("created")) ?? 0;
    const updated = time(fields.get("updated")) ?? created;
    const note = { id, text, created, updated, trashed: time(fields.get("trashed")), ...digest(text) };
    this.known.set(id, note);
    return note;
  }

  /** The text that an editor binds to. */
  body(id: string): Y.Text | undefined {
    const body = this.map.get(id)?.get("body");
    return body instanceof Y.Text ? body : undefined;
  }

  /** Takes back what was typed into a note in this window, also after another note was looked at. */
  undoOf(id: string, body: Y.Text): Y.UndoManager {
    let manager = this.undo.get(id);
    if (!manager) {
      manager = new Y.UndoManager(body);
      this.undo.set(id, manager);
    }
    return manager;
  }

  /** Makes an empty note and gives its id. */
  create(): string {
    const id = crypto.randomUUID();
    const now = this.now();
    this.doc.transact(() => {
      const fields: Fields = new Y.Map();
      fields.set("body", new Y.Text());
      fields.set("created", now);
      fields.set("updated", now);
      this.map.set(id, fields);
    });
    return id;
  }

  /** Somebody types into it here. */
  touch(id: string): void {
    const now = this.now();
    const updated = time(this.map.get(id)?.get("updated"));
    if (updated === undefined || now - updated >= RENEW_MS) this.map.get(id)?.set("updated", now);
  }

  trash(id: string): void {
    this.map.get(id)?.set("trashed", this.now());
  }

  restore(id: string): void {
    this.map.get(id)?.delete("trashed");
  }

  /** Forgets for good what was deleted long ago. Each device does, and to the same end. */
  purge(): void {
    const old = this.deleted().filter((note) => this.now() - (note.trashed ?? 0) > KEEP_DELETED_MS);
    if (old.length > 0) this.doc.transact(() => old.forEach((note) => this.map.delete(note.id)));
  }

  destroy(): void {
    for (const manager of this.undo.values()) manager.destroy();
    this.undo.clear();
  }

  private all(): Note[] {
    return [...this.map.keys()].flatMap((id) => this.get(id) ?? []);
  }
}

function time(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}
