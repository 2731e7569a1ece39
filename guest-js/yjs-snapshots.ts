import * as Y from "yjs";

import { explained, type SyncError, toSyncError } from "./errors.js";
import { sync } from "./sync.js";
import { BLOB_BYTES } from "./yjs-outbox.js";

/** How long a change waits for others to go along with, and the least time between two snapshots, in milliseconds. */
const GATHER_MS = 10_000;
const REST_MS = 5 * 60_000;

/** Puts the document in the place of what the log holds of it, now and then after it has changed. */
export class Snapshots {
  readonly #doc: Y.Doc;
  readonly #channel: string;
  readonly #failed: (error: SyncError) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the next one may be made. */
  #next = 0;
  #tooLarge = false;
  #over = false;

  constructor(doc: Y.Doc, channel: string, failed: (error: SyncError) => void) {
    this.#doc = doc;
    this.#channel = channel;
    this.#failed = failed;
  }

  /** The log holds something that no snapshot stands for. */
  due(): void {
    if (this.#over || this.#timer !== undefined) return;
    const wait = Math.max(GATHER_MS, this.#next - Date.now());
    this.#timer = setTimeout(() => void this.#make(), wait);
  }

  destroy(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  async #make(): Promise<void> {
    this.#timer = undefined;
    this.#next = Date.now() + REST_MS;
    const data = Y.encodeStateAsUpdate(this.#doc);
    if (data.length > BLOB_BYTES) return this.#isTooLarge(data.length);
    this.#tooLarge = false;
    try {
      await sync.snapshot(this.#channel, data);
    } catch (thrown) {
      if (this.#over) return;
      this.#failed(toSyncError(thrown, "snapshot"));
      this.due();
    }
  }

  /** Told once: it goes on being so with every change. */
  #isTooLarge(bytes: number): void {
    if (this.#tooLarge) return;
    this.#tooLarge = true;
    this.#failed(
      explained(
        "TOO_LARGE",
        `the document has ${bytes} bytes, and a snapshot holds at most ${BLOB_BYTES}`,
        "Its log goes on growing, and a recovery kit brings back the last snapshot. Split the document.",
      ),
    );
  }
}
