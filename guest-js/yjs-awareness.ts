import { applyAwarenessUpdate, type Awareness, encodeAwarenessUpdate, removeAwarenessStates } from "y-protocols/awareness";

import { sync } from "./sync.js";

/** How much presence a device may tell, in bytes. */
const PRESENCE_BYTES = 1024;

/** How long to wait between two tellings, in milliseconds. */
const EVERY_MS = 200;

interface Changes {
  added: number[];
  updated: number[];
  removed: number[];
}

/** Awareness over presence: this page's own state goes out, the other devices' come in. */
export class AwarenessLink {
  readonly #awareness: Awareness;
  readonly #channel: string;
  readonly #offs: Promise<() => void>[];
  /** Which awareness clients came from which device: a device may have several windows. */
  readonly #clients = new Map<string, Set<number>>();
  #from: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #toldAt = Number.NEGATIVE_INFINITY;
  #warned = false;

  constructor(awareness: Awareness, channel: string) {
    this.#awareness = awareness;
    this.#channel = channel;
    awareness.on("update", this.#changed);
    window.addEventListener("pagehide", this.#leave);
    this.#offs = [
      sync.presence.on(channel, ({ device, data }) => this.#take(device.id, data)),
      sync.on("device", ({ change, device }) => {
        if (change === "removed") this.#forget(device.id);
      }),
      // While not connected, nothing was heard.
      sync.on("connected", () => this.#schedule()),
    ];
    // Without events there is no awareness, and the document's own subscription says why.
    for (const off of this.#offs) off.catch(() => {});
    this.#schedule();
  }

  /** Takes the others out of the awareness, and this page out of theirs. */
  destroy(): void {
    this.#leave();
    this.#awareness.off("update", this.#changed);
    window.removeEventListener("pagehide", this.#leave);
    for (const off of this.#offs) off.then((end) => end()).catch(() => {});
    for (const device of [...this.#clients.keys()]) this.#forget(device);
  }

  readonly #leave = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    removeAwarenessStates(this.#awareness, [this.#awareness.clientID], "leave");
    this.#tell();
  };

  readonly #changed = ({ added, updated, removed }: Changes, origin: unknown): void => {
    const own = this.#awareness.clientID;
    if (origin === this) {
      const clients = this.#from === undefined ? undefined : this.#clients.get(this.#from);
      // Nobody else says that this page is gone.
      for (const client of [...added, ...updated]) if (client !== own) clients?.add(client);
    } else if (origin !== "leave" && [...added, ...updated, ...removed].includes(own)) {
      this.#schedule();
    }
  };

  /** Tells soon; what changes until then goes along. */
  #schedule(): void {
    if (this.#timer !== undefined) return;
    const wait = Math.max(0, this.#toldAt + EVERY_MS - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#tell();
    }, wait);
  }

  #tell(): void {
    const own = this.#awareness.clientID;
    // A state that was never set has nothing to say.
    if (!this.#awareness.meta.has(own)) return;
    const update = encodeAwarenessUpdate(this.#awareness, [own]);
    if (update.length > PRESENCE_BYTES) {
      if (!this.#warned) console.error(`0k-Sync: an awareness state has ${update.length} bytes; at most ${PRESENCE_BYTES} are told`);
      this.#warned = true;
      return;
    }
    this.#toldAt = Date.now();
    // Nobody hears it while there is no connection; it is told again after `connected`.
    sync.presence.set(update, { channel: this.#channel }).catch(() => {});
  }

  #take(device: string, update: Uint8Array): void {
    if (update.length === 0) return this.#forget(device);
    this.#from = device;
    const before = new Set(this.#awareness.states.keys());
    if (!this.#clients.has(device)) this.#clients.set(device, new Set());
    try {
      applyAwarenessUpdate(this.#awareness, update, this);
    } catch {
      // Not an awareness update. It is gone in a moment anyway.
    }
    this.#from = undefined;
    // Somebody is new here, or back, and may not have heard of us.
    if ([...this.#awareness.states.keys()].some((client) => !before.has(client))) this.#schedule();
  }

  #forget(device: string): void {
    const clients = this.#clients.get(device);
    this.#clients.delete(device);
    if (!clients) return;
    removeAwarenessStates(this.#awareness, [...clients], this);
    // Who comes back with what they told last is here again: else only their next change would count.
    for (const client of clients) this.#awareness.meta.delete(client);
  }
}
