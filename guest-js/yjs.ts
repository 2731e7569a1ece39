/**
 * Yjs documents over 0k-Sync: the device's log is the document's persistence, other devices get each change.
 *
 * @packageDocumentation
 */
import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";

import { backoff, pause } from "./backoff.js";
import type { SyncBlob } from "./blobs.js";
import { explained, SyncError, toSyncError } from "./errors.js";
import type { Subscription } from "./subscription.js";
import { sync } from "./sync.js";
import { AwarenessLink } from "./yjs-awareness.js";
import { Outbox } from "./yjs-outbox.js";
import { Snapshots } from "./yjs-snapshots.js";

/** How far what was typed here has come. */
export interface ProviderStatus {
  /** How many local changes are not on this device's disk yet. With 0, closing the app loses nothing. */
  readonly pending: number;
  /** Why the last attempt to store them failed; null when none did. They are kept in memory, and tried again. */
  readonly error: SyncError | null;
  /** When they are tried again, in milliseconds; null when nothing failed, or when only a smaller change helps. */
  readonly retryAfterMs: number | null;
}

/** Something that the provider could not do. */
export interface ProviderError {
  /**
   * `INVALID_UPDATE`: a blob on the channel is no Yjs update, and was left out. `TOO_LARGE`: one change is larger than the
   * 64 MiB that fit in a blob; it and what came after wait until the document has become smaller (undo it, or delete it). Or
   * the document is larger than a snapshot, of which its message speaks; nothing waits for that.
   * `INTERNAL`, with a cause: an observer of the document threw; the document holds what came. Before {@link KsyncProvider.loaded},
   * whatever keeps the log from being read: it is tried again, unless `loaded` rejects with it.
   */
  readonly error: SyncError;
  /** The blob that was left out; only with `INVALID_UPDATE`. */
  readonly blob?: SyncBlob;
}

/** What {@link KsyncProvider.on} tells. */
export interface ProviderEvents {
  /** The number of pending changes, or why they pend, has changed. */
  status: ProviderStatus;
  /** Something could not be done. */
  error: ProviderError;
}

/** What a provider stands on. */
export interface ProviderOptions {
  /** The channel of this document, and of no other: at most 256 bytes. */
  channel: string;
  /** Who is here and where their cursors are; sent at most five times a second, and at most 1,024 bytes of it. */
  awareness?: Awareness;
  /**
   * Whether the document takes the place of what the log holds of it ({@link Sync.snapshot}), ten seconds after a change and at
   * most once in five minutes: so the log does not grow for ever, devices that join later get little, and where the app leaves
   * its snapshots for the recovery kit (`kitSnapshots`), the kit brings the document back as long as that has
   * at most 1 MiB. By default not.
   */
  snapshots?: boolean;
}

/**
 * Keeps a document in this device's log, and the same as on the other devices.
 *
 * After the events `left` and `reset` there is another log, which knows nothing of the document: destroy the provider with
 * `discard`, and make a new one over a new document (or load the page again). Changes to the old one would be pushed without what they stand on.
 */
export class KsyncProvider {
  /** The document. */
  readonly doc: Y.Doc;
  /** Its channel. */
  readonly channel: string;
  /** The awareness that was passed, if one was. */
  readonly awareness: Awareness | undefined;
  /**
   * Resolves once the document holds everything that the log held at the beginning. Rejects with a {@link SyncError} if the
   * log cannot be read, or if the provider is destroyed before. Need not be looked at.
   */
  readonly loaded: Promise<void>;
  readonly #listeners: { [E in keyof ProviderEvents]: Set<(event: ProviderEvents[E]) => void> } = {
    status: new Set(),
    error: new Set(),
  };
  readonly #outbox: Outbox;
  readonly #snapshots: Snapshots | undefined;
  readonly #awarenessLink: AwarenessLink | undefined;
  readonly #over = new AbortController();
  readonly #subscription: Promise<Subscription>;
  /** What was in the document before this provider, and what of it the log turned out to hold. */
  #before: { readonly all: Uint8Array; readonly stored: Uint8Array[] } | undefined;

  constructor(doc: Y.Doc, options: ProviderOptions) {
    this.doc = doc;
    this.channel = options.channel;
    this.awareness = options.awareness;
    this.#outbox = new Outbox(doc, options.channel, {
      status: (status) => this.#tell("status", status),
      error: (error) => this.#tell("error", { error }),
    });
    if (options.snapshots) this.#snapshots = new Snapshots(doc, options.channel, (error) => this.#tell("error", { error }));
    const all = Y.encodeStateAsUpdate(doc);
    if (hasStructs(all)) this.#before = { all, stored: [] };
    doc.on("update", this.#changed);
    doc.on("destroy", this.#docDestroyed);
    this.#subscription = this.#subscribe();
    this.loaded = this.#subscription.then((subscription) => subscription.ready).then(() => this.#addMissing());
    this.loaded.catch(() => {});
    if (options.awareness) this.#awarenessLink = new AwarenessLink(options.awareness, options.channel);
  }

  /** How many local changes are not on this device's disk yet. */
  get pending(): number {
    return this.#outbox.pending;
  }

  /** Hears of what happens. Returns what ends it. */
  on<E extends keyof ProviderEvents>(type: E, listener: (event: ProviderEvents[E]) => void): () => void {
    // One function may listen twice, and each has its own end.
    const own = (event: ProviderEvents[E]) => listener(event);
    this.#listeners[type].add(own);
    return () => void this.#listeners[type].delete(own);
  }

  /**
   * Ends the provider: the document stays, and is no longer kept the same. Says to the others that this device is gone from
   * it. Resolves once what was pending is stored, or could not be at this last attempt. May be called again.
   *
   * @param options.discard lets go what is pending: for `left` and `reset`, after which it would go into the next log.
   */
  async destroy(options: { discard?: boolean } = {}): Promise<void> {
    if (!this.#over.signal.aborted) {
      this.#over.abort();
      this.doc.off("update", this.#changed);
      this.doc.off("destroy", this.#docDestroyed);
      this.#snapshots?.destroy();
      this.#awarenessLink?.destroy();
      this.#subscription.then((stop) => stop()).catch(() => {});
    }
    await this.#outbox.close(options.discard ?? false);
  }

  readonly #docDestroyed = () => void this.destroy();

  readonly #changed = (update: Uint8Array, origin: unknown) => {
    if (origin !== this) this.#outbox.add(update);
  };

  /** A client that cannot be opened yet, or a database that cannot be read, is tried again: the person may be about to mend it. */
  async #subscribe(): Promise<Subscription> {
    for (let failures = 1; ; failures += 1) {
      try {
        const subscription = await sync.subscribe(this.channel, this.#take, { consumer: "yjs", from: "start", own: true });
        if (this.#over.signal.aborted) subscription();
        return subscription;
      } catch (thrown) {
        const error = toSyncError(thrown, "subscribe");
        this.#tell("error", { error });
        if (this.#over.signal.aborted || PERMANENT.has(error.code)) throw error;
        await pause(backoff(failures), this.#over.signal);
        if (this.#over.signal.aborted) throw error;
      }
    }
  }

  readonly #take = async (blob: SyncBlob): Promise<void> => {
    if (!blob.snapshot) this.#snapshots?.due();
    // The document has its own changes already.
    if (blob.own && (await this.#outbox.isOwn(blob.id))) return;
    if (this.#over.signal.aborted) return;
    try {
      Y.applyUpdate(this.doc, blob.data, this);
    } catch (thrown) {
      // To try again would not help, and would hold back everything behind it.
      if (!readable(blob.data)) {
        const what = `a blob on the channel "${this.channel}" is no Yjs update, and was left out`;
        const next = "Push nothing else to a channel that a document uses.";
        return this.#tell("error", { error: explained("INVALID_UPDATE", what, next, thrown), blob });
      }
      // The document has it all the same.
      this.#tell("error", { error: explained("INTERNAL", "an observer of the document threw", "See the cause.", thrown) });
    }
    this.#before?.stored.push(blob.data);
  };

  /** What was in the document before this provider, and is not in the log, goes there now. */
  #addMissing(): void {
    const before = this.#before;
    this.#before = undefined;
    if (!before) return;
    // A difference of state vectors would leave out what was only deleted.
    const scratch = new Y.Doc();
    for (const update of before.stored) Y.applyUpdate(scratch, update);
    scratch.on("update", (missing: Uint8Array) => this.#outbox.add(missing));
    Y.applyUpdate(scratch, before.all);
    scratch.destroy();
  }

  #tell<E extends keyof ProviderEvents>(type: E, event: ProviderEvents[E]): void {
    for (const listener of [...this.#listeners[type]]) {
      try {
        listener(event);
      } catch (error) {
        console.error(`0k-Sync: a listener for "${type}" threw`, error);
      }
    }
  }
}

/** What trying again does not mend. */
const PERMANENT: ReadonlySet<string> = new Set(["NOT_PERMITTED", "NOT_INSTALLED", "INVALID_ARGUMENT", "CANCELLED"]);

/** Whether an update inserts anything: it begins with the number of clients that it has structs of. */
function hasStructs(update: Uint8Array): boolean {
  return update[0] !== 0;
}

function readable(update: Uint8Array): boolean {
  try {
    Y.decodeUpdate(update);
    return true;
  } catch {
    return false;
  }
}
