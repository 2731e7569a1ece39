import { sync, type SyncStatus } from "tauri-plugin-0ksync-api";

import { saveCopy } from "./copy";
import { Devices, startAnew } from "./devices";
import { listenForDrops } from "./drops";
import { Editor } from "./editor";
import { failure } from "./failure";
import { Files } from "./files";
import { follow } from "./follow";
import { frame } from "./frame";
import { HereNow } from "./here";
import { listenForKeys } from "./keys";
import { List, type Shelf } from "./list";
import { Banner, news, removal, Toasts } from "./messages";
import { NotePane } from "./pane";
import { type Person, present, user } from "./people";
import { Puts } from "./puts";
import { Session } from "./session";
import { StatusLine } from "./status";
import { out, words } from "./words";

/** Below this there is room for the list or for the text, not for both. As in `layout.css`. */
const NARROW = window.matchMedia("(max-width: 719px)");
/** Changes come in flocks; each flock is drawn once. Not by animation frames: a window that is covered gets none. */
const DRAW_MS = 25;

/** The whole window: what is open in it, and how its parts hear of each other. */
export class App {
  private session = new Session();
  private status: SyncStatus | undefined;
  private selected: string | undefined;
  private devices: Devices | undefined;
  private files: Files | undefined;
  private drawing: number | undefined;
  /** Who has removed this device, if that happened while somebody looked and they have a name. */
  private removedBy: string | null = null;
  /** Whether the plugin could not be heard at all. */
  private failed = false;

  private readonly list = new List({
    create: () => this.create(),
    open: (id, write) => this.open(id, write),
    trash: (id) => this.trash(id),
    shelf: (shelf) => this.turn(shelf),
  });
  private readonly editor = new Editor();
  private readonly pane = new NotePane(this.editor, {
    back: () => this.back(),
    create: () => this.create(),
    trash: (id) => this.trash(id),
    restore: (id) => this.restore(id),
  });
  private readonly here = new HereNow();
  private readonly banner = new Banner();
  private readonly toasts = new Toasts();
  private readonly line = new StatusLine();
  private readonly puts = new Puts((text) => this.toasts.show(text));
  private readonly element = frame({
    here: this.here.element,
    banner: this.banner.element,
    list: this.list.element,
    pane: this.pane.element,
    toasts: this.toasts.element,
    line: this.line.element,
    files: () => void this.showFiles(),
    devices: () => this.showDevices(),
  });

  /** Shows the app and begins. */
  start(root: HTMLElement): void {
    root.replaceChildren(this.element);
    listenForKeys({
      create: () => this.create(),
      search: () => {
        this.element.dataset["view"] = "list";
        this.list.search();
      },
      back: () => this.back(),
    });
    this.begin();
    void this.listen();
    // Without that, files can be picked all the same.
    listenForDrops((paths) => void this.showFiles().put(paths)).catch(console.error);
  }

  private get ended(): boolean {
    return out(this.status) !== undefined;
  }

  private get people(): Person[] {
    return present(this.session.awareness);
  }

  /** Shows what the session holds, from now on. */
  private begin(): void {
    const { session } = this;
    const current = (): boolean => this.session === session;
    session.notes.onChange(() => this.draw());
    session.awareness.on("change", () => this.draw());
    session.provider.on("status", ({ error }) => {
      if (!current()) return;
      if (error) this.complain("save", "Your last changes are not saved yet.", error);
      else this.banner.set("save");
      this.draw();
    });
    session.provider.on("error", ({ error, blob }) => {
      if (!current()) return;
      if (blob) this.banner.set("odd", { tone: "info", text: "Something that came was left out.", closable: true });
      else if (!session.loaded) this.complain("load", "The notes cannot be read yet.", error);
      // The status says what could not be saved. What is left is a fault of this window.
      else if (error.code === "INTERNAL") console.error(error);
    });
    session.provider.loaded.then(
      () => {
        if (!current()) return;
        session.loaded = true;
        this.banner.set("load");
        this.tidy();
        if (!NARROW.matches) this.selected ??= session.notes.list()[0]?.id;
        this.draw();
      },
      (error: unknown) => {
        if (current()) this.complain("load", "The notes cannot be read.", error, () => this.restart());
      },
    );
    this.introduce();
    this.draw();
  }

  /** The log is another one now: begins with what is in it. */
  private restart(): void {
    this.editor.show(undefined);
    this.session.destroy();
    this.session = new Session();
    this.selected = undefined;
    // What was said of the old log is over with it.
    for (const subject of ["load", "save", "odd"]) this.banner.set(subject);
    this.element.dataset["view"] = "list";
    this.list.clearSearch();
    this.begin();
  }

  private async listen(): Promise<void> {
    try {
      await follow({
        status: (status) => this.know(status),
        gone: (text, detail) => this.gone(text, detail),
        joined: () => {
          this.banner.set("gone");
          this.toasts.show("This device is in the group now.");
        },
        removed: (by) => (this.removedBy = by),
        news: (alerts) => this.banner.set("news", news(alerts, () => this.showDevices(), (upTo) => void this.seen(upTo))),
      });
    } catch (error) {
      this.failed = true;
      this.complain("open", "Syncing could not begin.", error, () => window.location.reload());
      this.draw();
    }
  }

  private async seen(upTo: string): Promise<void> {
    // If it cannot be noted, it is said again at the next start.
    await sync.alertsSeen(upTo).catch(console.error);
  }

  private know(status: SyncStatus): void {
    const before = this.status;
    this.status = status;
    // What they are called, and whether anything may be added.
    if (JSON.stringify(before?.devices) !== JSON.stringify(status.devices) || out(before) !== out(status)) this.files?.render();
    if (before?.device !== status.device || before?.name !== status.name) this.introduce();
    const save = (): void => void this.save();
    const anew = (): void => startAnew(() => saveCopy(this.session.notes));
    const why = out(status);
    if (!why) this.banner.set("ended");
    else if (out(before) !== why) this.banner.set("ended", removal(why, this.removedBy, save, anew));
    this.tidy();
    this.draw();
  }

  /** Forgets what was deleted long ago, if this device may still change anything. */
  private tidy(): void {
    if (this.session.loaded && this.status && !this.ended) this.session.notes.purge();
  }

  /** Tells the other devices who has this window. */
  private introduce(): void {
    const { awareness } = this.session;
    const { device, name } = this.status ?? {};
    if (device && name !== undefined) awareness.setLocalStateField("user", user(device, name));
  }

  private gone(text: string, detail: string): void {
    // What was known was of the device that is no more.
    this.status = undefined;
    this.removedBy = null;
    this.banner.set("ended");
    this.banner.set("gone", { tone: "info", text, detail, closable: true });
    this.puts.stop();
    this.files?.render();
    this.restart();
  }

  private complain(subject: string, text: string, error: unknown, again?: () => void): void {
    const { message, nextStep } = failure(error);
    const offers = again ? [{ label: "Try again", act: again }] : [];
    this.banner.set(subject, { tone: "trouble", text, detail: `${message} ${nextStep}`.trim(), offers });
  }

  private async save(): Promise<void> {
    try {
      this.toasts.show(await saveCopy(this.session.notes));
    } catch (error) {
      // Not in the strip: that says first why somebody wants a copy.
      const { message, nextStep } = failure(error);
      this.toasts.show(`The copy could not be saved. ${message} ${nextStep}`.trim());
    }
  }

  private draw(): void {
    this.drawing ??= window.setTimeout(() => {
      this.drawing = undefined;
      this.render();
    }, DRAW_MS);
  }

  private render(): void {
    const { session, status, people } = this;
    const { notes, awareness, loaded } = session;
    const note = this.selected === undefined ? undefined : notes.get(this.selected);
    const body = note && notes.body(note.id);
    this.editor.show(
      note &&
        body && {
          body,
          awareness,
          undo: notes.undoOf(note.id, body),
          readOnly: this.ended || note.trashed !== undefined,
          typed: () => notes.touch(note.id),
          escaped: () => this.back(),
        },
    );
    if (awareness.getLocalState()?.["note"] !== note?.id) awareness.setLocalStateField("note", note?.id);
    const others = people.filter((person) => !person.own);
    const coming = status !== undefined && (status.joining || status.wantsHistory);
    this.list.show({
      notes: notes.list(),
      deleted: notes.deleted(),
      selected: note?.id,
      people: others,
      empty: !loaded
        ? undefined
        : coming
          ? "The notes from the other devices are on their way."
          : "No notes yet. Write one, or find a device to share them with under Devices.",
      writable: loaded && !this.ended,
    });
    this.pane.show({ note, loaded, coming, writable: loaded && !this.ended, any: notes.list().length > 0 });
    this.here.show(this.ended ? [] : people);
    this.line.show(
      this.failed ? { text: "Syncing could not begin", tone: "trouble" } : words(status, session.provider.pending),
    );
    this.devices?.render();
    this.element.setAttribute("aria-busy", String(!loaded));
  }

  private create(): void {
    const { notes, loaded } = this.session;
    if (!loaded || this.ended) return;
    const now = this.selected === undefined ? undefined : notes.get(this.selected);
    // An empty one that is open is as good as new.
    const id = now && now.text === "" && now.trashed === undefined ? now.id : notes.create();
    this.list.clearSearch();
    this.open(id, true);
  }

  private open(id: string, write: boolean): void {
    if (!write && NARROW.matches) return;
    this.selected = id;
    if (write) this.element.dataset["view"] = "editor";
    this.render();
    if (write) this.editor.focus();
  }

  private back(): void {
    this.element.dataset["view"] = "list";
    this.list.focus();
  }

  private turn(shelf: Shelf): void {
    const { notes } = this.session;
    const first = (shelf === "notes" ? notes.list() : notes.deleted())[0]?.id;
    this.selected = NARROW.matches ? undefined : first;
    this.render();
  }

  private trash(id: string): void {
    const { notes } = this.session;
    const note = notes.get(id);
    if (!note || this.ended || note.trashed !== undefined) return;
    notes.trash(id);
    if (this.selected === id) this.selected = NARROW.matches ? undefined : notes.list()[0]?.id;
    this.element.dataset["view"] = "list";
    this.render();
    this.list.focus();
    const undo = { label: "Undo", act: () => this.restore(id), testid: "undo" };
    this.toasts.show(`«${note.title || "New note"}» is deleted.`, undo);
  }

  private restore(id: string): void {
    this.session.notes.restore(id);
    this.list.clearSearch();
    this.open(id, !NARROW.matches);
  }

  private showFiles(): Files {
    this.files ??= new Files({
      status: () => this.status,
      puts: this.puts,
      unseen: (text) => this.toasts.show(text),
      closed: () => (this.files = undefined),
    });
    return this.files;
  }

  private showDevices(): void {
    this.devices ??= new Devices(
      () => ({ status: this.status, people: this.people }),
      () => saveCopy(this.session.notes),
      () => (this.devices = undefined),
    );
  }
}
