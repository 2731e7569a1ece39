import { sync } from "tauri-plugin-0ksync-api";

import { failure } from "./failure";

/** Something to put: a path that a person dropped here, or a file that a person picked. */
export type Given = string | File;

/** A file on its way into the group. */
export interface Put {
  readonly name: string;
  /** How far it is, once that is known. */
  readonly moved: { done: number; total: number } | undefined;
  /** Gives it up. */
  stop(): void;
}

/** Who looks at the files. */
export interface Watcher {
  /** What is on its way has changed, or how far it is. */
  changed(): void;
  added(text: string): void;
  failed(text: string): void;
}

/** Files on their way into the group, one after another. They go on whether or not anybody looks. */
export class Puts {
  private readonly all = new Set<Put>();
  private readonly aborts = new Set<AbortController>();
  private watcher: Watcher | undefined;
  /** Those that came before. */
  private turn: Promise<void> = Promise.resolve();

  /** With a way to tell what came of a file when nobody looks. */
  constructor(private readonly unseen: (text: string) => void) {}

  /** Those that go on, or wait for their turn. */
  get running(): readonly Put[] {
    return [...this.all];
  }

  /** Tells what happens from now on, until what it gives is called. */
  watch(watcher: Watcher): () => void {
    this.watcher = watcher;
    return () => {
      if (this.watcher === watcher) this.watcher = undefined;
    };
  }

  /** Puts files behind those that go on. Resolves when each is through, whatever came of it. */
  add(all: readonly Given[]): Promise<void> {
    const begins = all.map((given) => this.announce(given));
    this.watcher?.changed();
    for (const begin of begins) this.turn = this.turn.then(begin);
    return this.turn;
  }

  /** Gives all of them up: the group that they were for is gone. */
  stop(): void {
    for (const abort of this.aborts) abort.abort();
  }

  private announce(given: Given): () => Promise<void> {
    const name = typeof given === "string" ? (given.split(/[/\\]/).pop() ?? given) : given.name;
    const abort = new AbortController();
    const { signal } = abort;
    const put = { name, moved: undefined as Put["moved"], stop: () => abort.abort() };
    const over = (): void => {
      this.aborts.delete(abort);
      if (this.all.delete(put)) this.watcher?.changed();
    };
    signal.addEventListener("abort", over);
    this.all.add(put);
    this.aborts.add(abort);
    const onProgress = (done: number, total: number): void => {
      put.moved = { done, total };
      this.watcher?.changed();
    };
    return async () => {
      if (signal.aborted) return;
      try {
        const file = await sync.files.put(given, { signal, onProgress });
        const text = `«${file.name}» is added.`;
        if (this.watcher) this.watcher.added(text);
        else this.unseen(text);
      } catch (error) {
        if (!signal.aborted) this.fail(name, error);
      } finally {
        over();
      }
    };
  }

  private fail(name: string, error: unknown): void {
    const { message, nextStep } = failure(error);
    const text = `«${name}» could not be added. ${message} ${nextStep}`.trim();
    if (this.watcher) this.watcher.failed(text);
    else this.unseen(text);
  }
}
