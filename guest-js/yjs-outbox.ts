import * as Y from "yjs";

import { backoff, pause } from "./backoff.js";
import { explained, type SyncError, toSyncError } from "./errors.js";
import { sync } from "./sync.js";
import type { ProviderStatus } from "./yjs.js";

/** Up to which size changes are merged into one blob, in bytes: what is larger goes beside the log, as files do. */
const MERGED_BYTES = 1024 * 1024;
/** What one blob holds, in bytes. */
export const BLOB_BYTES = 64 * 1024 * 1024;

/** Whom the outbox tells. */
interface Listeners {
  status(status: ProviderStatus): void;
  error(error: SyncError): void;
}

/**
 * Local changes on their way to the disk: one push at a time; what comes meanwhile is merged into the next one. Nothing is let
 * go before it was stored.
 */
export class Outbox {
  readonly #doc: Y.Doc;
  readonly #channel: string;
  readonly #listeners: Listeners;
  readonly #over = new AbortController();
  /** Not stored yet, oldest first. */
  #updates: Uint8Array[] = [];
  #busy = false;
  #last: Promise<void> = Promise.resolve();
  #pushing: Promise<void> | undefined;
  #error: SyncError | null = null;
  /** When the last push that failed is tried again. */
  #againAt: number | null = null;
  /** Blobs that this document pushed and that its subscription has not handed out yet. */
  readonly #own = new Set<string>();

  constructor(doc: Y.Doc, channel: string, listeners: Listeners) {
    this.#doc = doc;
    this.#channel = channel;
    this.#listeners = listeners;
  }

  /** How many changes are not stored. */
  get pending(): number {
    return this.#updates.length;
  }

  /** A change of this document. */
  add(update: Uint8Array): void {
    this.#updates.push(update);
    this.#tell();
    if (this.#busy) return;
    this.#busy = true;
    this.#last = this.#run();
  }

  /** Whether the blob of this id is this document's own. Asked once for each. */
  async isOwn(id: string): Promise<boolean> {
    // The subscription may hand a blob out before its push has said the id.
    if (!this.#own.has(id)) await this.#pushing;
    return this.#own.delete(id);
  }

  /** Tries once more to store what is pending, or lets it go. */
  async close(discard: boolean): Promise<void> {
    this.#over.abort();
    if (discard) this.#updates = [];
    await this.#last;
  }

  async #run(): Promise<void> {
    for (let failures = 0; this.#updates.length > 0; ) {
      const { update, count } = this.#next();
      if (update.length > BLOB_BYTES) return this.#stuck(update.length);
      try {
        const pushing = this.#push(update);
        this.#pushing = pushing.catch(() => {});
        await pushing;
        this.#updates.splice(0, count);
        failures = 0;
        this.#error = null;
        this.#tell();
      } catch (thrown) {
        const error = toSyncError(thrown, "push");
        failures += 1;
        this.#error = error;
        if (this.#over.signal.aborted) {
          this.#tell();
          break;
        }
        const wait = Math.max(backoff(failures), error.retryAfterMs ?? 0);
        this.#againAt = Date.now() + wait;
        this.#tell();
        await pause(wait, this.#over.signal);
        this.#againAt = null;
      }
    }
    this.#busy = false;
  }

  async #push(update: Uint8Array): Promise<void> {
    const { id } = await sync.push(update, { channel: this.#channel });
    this.#own.add(id);
  }

  /** One change is too large, and nothing behind it can be read without it. The next change may make it smaller. */
  #stuck(bytes: number): void {
    this.#busy = false;
    const again = this.#error?.code === "TOO_LARGE";
    this.#error = explained(
      "TOO_LARGE",
      `one change of the document has ${bytes} bytes, and at most ${BLOB_BYTES} fit`,
      "Undo it or delete what it put in: it and all that came after wait for that.",
    );
    this.#tell();
    if (!again) this.#listeners.error(this.#error);
  }

  /** As many of the oldest changes as go well together, as one update. */
  #next(): { update: Uint8Array; count: number } {
    const first = this.#updates[0] ?? new Uint8Array();
    if (first.length > BLOB_BYTES) return { update: this.#anew(), count: this.#updates.length };
    let count = 1;
    let bytes = first.length;
    for (const update of this.#updates.slice(1)) {
      bytes += update.length;
      if (bytes > MERGED_BYTES) break;
      count += 1;
    }
    if (count === 1) return { update: first, count };
    const merged = Y.mergeUpdates(this.#updates.slice(0, count));
    return merged.length > MERGED_BYTES ? { update: first, count: 1 } : { update: merged, count };
  }

  /** Everything that is pending, from the document as it is now: what was deleted again takes no room. */
  #anew(): Uint8Array {
    const known = Y.decodeStateVector(Y.encodeStateVector(this.#doc));
    for (const update of this.#updates) {
      for (const [client, clock] of Y.parseUpdateMeta(update).from) {
        known.set(client, Math.min(clock, known.get(client) ?? clock));
      }
    }
    return Y.encodeStateAsUpdate(this.#doc, Y.encodeStateVector(known));
  }

  #tell(): void {
    const retryAfterMs = this.#againAt === null ? null : Math.max(0, this.#againAt - Date.now());
    this.#listeners.status({ pending: this.#updates.length, error: this.#error, retryAfterMs });
  }
}
