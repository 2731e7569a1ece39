/** A device's log behind the plugin: what is pushed is handed out to every subscription, a batch at a time. */
import type { Call, Plugin } from "./plugin.js";
import { batch, blob, Sender } from "./plugin.js";

interface Live {
  sender: Sender;
  next: number;
  number: number;
  waiting: string | undefined;
}

export class Log {
  readonly blobs: Uint8Array[] = [];
  readonly #lives = new Map<number, Live>();

  constructor(
    plugin: Plugin,
    readonly channel = "notes",
  ) {
    plugin
      .on("push", (bytes: Uint8Array) => this.append(bytes))
      .on("subscribe", ({ blobs }: { blobs: { id: number } }) => {
        const id = this.#lives.size + 1;
        this.#lives.set(id, { sender: new Sender(blobs), next: 0, number: 0, waiting: undefined });
        queueMicrotask(() => this.#pump());
        return { id, until: String(this.blobs.length) };
      })
      .on("ack", ({ subscription, position }: { subscription: number; position: string }) => {
        const live = this.#lives.get(subscription);
        if (live?.waiting === position) live.waiting = undefined;
        this.#pump();
        return null;
      })
      .on("unsubscribe", ({ subscription }: { subscription: number }) => void this.#lives.delete(subscription));
  }

  append(bytes: Uint8Array): { id: string; position: string } {
    this.blobs.push(bytes.slice());
    const { id, position } = blob(this.blobs.length);
    queueMicrotask(() => this.#pump());
    return { id, position };
  }

  #pump(): void {
    for (const live of this.#lives.values()) {
      if (live.waiting !== undefined || live.next >= this.blobs.length) continue;
      const fresh = this.blobs.slice(live.next).map((data, n) => blob(live.next + n + 1, data, { own: true, channel: this.channel }));
      live.next = this.blobs.length;
      live.waiting = fresh.at(-1)?.position;
      live.number += 1;
      live.sender.send(batch(live.number, fresh));
    }
  }
}

/** The bytes of the pushes. */
export function pushed(calls: Call[]): Uint8Array[] {
  return calls.map(({ args }) => args as Uint8Array);
}
