import type { Device } from "./bindings.js";
import { callRaw, toBytes } from "./call.js";
import type { SyncEvents } from "./events.js";

/** What another device says about itself now. */
export interface Presence {
  /** Whose. */
  readonly device: Device;
  /** On which channel. */
  readonly channel: string;
  /** What it says, at most 1,024 bytes; empty when it is gone. */
  readonly data: Uint8Array;
}

/** What devices tell each other while they are connected, and nobody keeps. */
export class PresenceApi {
  readonly #events: SyncEvents;

  constructor(events: SyncEvents) {
    this.#events = events;
  }

  /**
   * Tells the devices that are connected now.
   *
   * @param data at most 1,024 bytes; a string is UTF-8; empty says that this device is gone.
   * @throws SyncError `RELAY_UNREACHABLE` while not connected, `NOT_IN_GROUP`, `TOO_LARGE`, `RATE_LIMITED`.
   */
  async set(data: Uint8Array | ArrayBuffer | string, options: { channel?: string } = {}): Promise<void> {
    await callRaw<null>("presence", toBytes(data), options.channel);
  }

  /**
   * Hears what other devices tell.
   *
   * @param channel one channel, or null for all.
   * @returns ends it when called.
   */
  on(channel: string | null, listener: (presence: Presence) => void): Promise<() => void> {
    return this.#events.on("presence", ({ device, channel: on, data }) => {
      if (channel === null || channel === on) listener({ device, channel: on, data: Uint8Array.from(data) });
    });
  }
}
