import type { SyncEvent, SyncStatus } from "./bindings.js";
import { call, channelFor } from "./call.js";

/** What {@link SyncEvents} tells of each type. */
export type SyncEventMap = { [E in SyncEvent as E["type"]]: E } & {
  /** How things stand: at once, and again after whatever may have changed it. */
  status: SyncStatus;
};

/** The types of events that can be listened to. */
export type SyncEventType = keyof SyncEventMap;

type Listener = (event: never) => void;

/** Hands the plugin's events to any number of listeners over one connection. */
export class SyncEvents {
  readonly #listeners = new Map<SyncEventType, Set<Listener>>();
  #connection: Promise<number> | undefined;
  #status: Promise<void> | undefined;
  #statusIsOld = false;

  /** Begins to tell `listener` of events of this type. Resolves once it hears all that happens from then on. */
  async on<T extends SyncEventType>(type: T, listener: (event: SyncEventMap[T]) => void): Promise<() => void> {
    // One function may listen twice, and each has its own end.
    const own: Listener = (event) => listener(event);
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(own));
    const off = () => {
      if (!listeners.delete(own)) return;
      if ([...this.#listeners.values()].every((set) => set.size === 0)) this.#disconnect();
    };
    try {
      await this.#connect();
      if (type === "status") await this.#refresh();
    } catch (error) {
      off();
      throw error;
    }
    return off;
  }

  #connect(): Promise<number> {
    if (this.#connection) return this.#connection;
    const channel = channelFor<SyncEvent>((event) => {
      // What comes after the last listener has gone is for nobody.
      if (this.#connection === connection) this.#receive(event);
    });
    const connection = call("listen", channel);
    this.#connection = connection;
    return connection;
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.then((id) => call("unlisten", id)).catch(() => {});
  }

  #receive(event: SyncEvent): void {
    this.#tell(event.type, event);
    // Presence and a file's progress may come many times a second, and say nothing about the group.
    const often = event.type === "presence" || (event.type === "file" && event.change === "progress");
    if (!often && this.#has("status")) this.#refresh().catch(() => {});
  }

  /** Tells the present status. One call is under way at a time, and one more follows if something happened meanwhile. */
  #refresh(): Promise<void> {
    if (this.#status) {
      this.#statusIsOld = true;
      return this.#status;
    }
    this.#statusIsOld = false;
    const status = call("status").then((now) => this.#tell("status", now));
    this.#status = status.finally(() => {
      this.#status = undefined;
      if (this.#statusIsOld && this.#has("status")) this.#refresh().catch(() => {});
    });
    return this.#status;
  }

  #has(type: SyncEventType): boolean {
    return (this.#listeners.get(type)?.size ?? 0) > 0;
  }

  #tell<T extends SyncEventType>(type: T, event: SyncEventMap[T]): void {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) {
      try {
        (listener as (event: SyncEventMap[T]) => void)(event);
      } catch (error) {
        // One listener's fault is not the others'.
        console.error(`0k-Sync: a listener for "${type}" threw`, error);
      }
    }
  }
}
