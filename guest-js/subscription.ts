import { backoff, pause } from "./backoff.js";
import type { StartAt, SubscribeOptions as WireOptions, SubscriptionInfo } from "./bindings.js";
import { type Batch, decodeBatch, type Message, type SyncBlob } from "./blobs.js";
import { call, callUntyped, channelFor } from "./call.js";
import { explained } from "./errors.js";

/** How long a handled blob may stay unacknowledged while its batch goes on, in milliseconds. */
const ACK_EVERY_MS = 100;

/** What a subscription hands out, and from where. */
export interface SubscribeOptions {
  /**
   * `position` (the default): behind what the consumer has taken, so that nothing comes twice unless a handler failed or the
   * app ended in the middle. `start`: everything that the log holds, again.
   */
  from?: StartAt;
  /**
   * Whose position moves: at most 256 bytes. By default each window's own, so that every window gets every blob. Windows that name the same
   * consumer share its position: what one of them takes while another one is closed or reloads does not come there. One
   * consumer cannot take a channel twice in two ways (all channels beside one of them, or with `own` and without): that
   * rejects with `INVALID_ARGUMENT`.
   */
  consumer?: string;
  /** Whether what this device pushed comes too. By default not. */
  own?: boolean;
}

/**
 * Takes a blob. The next one comes when this has resolved; if it rejects, the same one comes again after 250 ms, doubling up
 * to 60 s, until it is taken.
 */
export type BlobHandler = (blob: SyncBlob) => void | Promise<void>;

/**
 * Ends a subscription when called. Nothing is handed out or tried again afterwards; a handler that runs is not interrupted, and
 * what it takes counts.
 */
export interface Subscription {
  (): void;
  /**
   * Resolves when everything that was in the log at the beginning was taken, or is gone with it (`leave`, `reset`): from then
   * on it is what is new. Rejects with `CANCELLED` if the subscription is ended before. Need not be looked at.
   */
  readonly ready: Promise<void>;
}

/** Begins a subscription. */
export async function subscribe(
  channel: string | null,
  handler: BlobHandler,
  options: SubscribeOptions,
): Promise<Subscription> {
  const live = new Live(handler);
  const blobs = channelFor<Message>((message) => live.receive(message));
  const wire = {
    channel,
    consumer: options.consumer ?? null,
    from: options.from ?? "position",
    own: options.own ?? false,
  } satisfies WireOptions;
  const info = await callUntyped<SubscriptionInfo>("subscribe", { options: wire, blobs });
  live.begin(info);
  return Object.assign(() => live.stop(), { ready: live.ready });
}

/** The position of the last blob of each channel that a handler of this page took, in the log as it is now. */
const handled = new Map<string, string>();

/** Up to where this page's handlers have had a channel; `undefined` if none of them was handed anything of it. */
export function handledUpTo(channel: string): string | undefined {
  return handled.get(channel);
}

/** What this page is subscribed to. */
const lives = new Set<Live>();

/** Before a reset: what it gives is called after it. The plugin says itself that the log is over, but maybe later than its answer. */
export function endOfLog(): () => void {
  const logs = [...lives].map((live) => [live, live.log] as const);
  return () => {
    for (const [live, log] of logs) live.expectEnd(log);
  };
}

/** After leaving: the log is the same one, and empty. */
export function logIsEmpty(): void {
  for (const live of lives) live.logIsEmpty();
}

class Live {
  readonly ready: Promise<void>;
  readonly #handler: BlobHandler;
  readonly #over = new AbortController();
  #isReady!: () => void;
  #isNotReady!: (error: Error) => void;
  #id = 0;
  #until = 0n;
  #batches: Batch[] = [];
  #log = new AbortController();
  /** Whether the log is over and the plugin has not said so yet: until then, all that comes is of the old one. */
  #endComes = false;
  #running = false;
  #ran: Promise<void> = Promise.resolve();
  #taken: { batch: number; position: string } | undefined;
  #acking = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(handler: BlobHandler) {
    this.#handler = handler;
    this.ready = new Promise((resolve, reject) => {
      this.#isReady = resolve;
      this.#isNotReady = reject;
    });
    this.ready.catch(() => {});
  }

  /** Stands for the log that is handed out. */
  get log(): unknown {
    return this.#log;
  }

  begin(info: SubscriptionInfo): void {
    lives.add(this);
    this.#id = info.id;
    this.#until = BigInt(info.until);
    if (this.#until === 0n) this.#isReady();
    // Batches may have come before the answer did.
    this.#run();
  }

  stop(): void {
    if (this.#over.signal.aborted) return;
    lives.delete(this);
    this.#over.abort();
    this.#log.abort();
    clearTimeout(this.#timer);
    void this.#end();
    this.#isNotReady(explained("CANCELLED", "the subscription was ended", "Subscribe again to get the rest."));
  }

  receive(message: Message): void {
    if (this.#over.signal.aborted) return;
    const batch = decodeBatch(message);
    if (batch.blobs.length === 0) {
      // The log is over which the batches before this one came from.
      this.#endComes = false;
      this.#letGo();
    } else if (!this.#endComes) {
      this.#batches.push(batch);
      if (this.#id !== 0) this.#run();
    }
  }

  /** This log is over, if it is still the present one. */
  expectEnd(log: unknown): void {
    if (this.#log !== log) return;
    this.#endComes = true;
    this.#letGo();
  }

  /** There is nothing left to wait for. What the plugin has handed out already goes on: it waits for its acknowledgement. */
  logIsEmpty(): void {
    this.#isReady();
  }

  /** Lets go what is left of the old log. In the new one, the same positions are other blobs. */
  #letGo(): void {
    this.#log.abort();
    this.#log = new AbortController();
    handled.clear();
    this.#batches = [];
    this.#taken = undefined;
    this.#isReady();
  }

  /** What was taken a moment ago, or is in hand, is still said; if that fails, it comes again at the next start. */
  async #end(): Promise<void> {
    await this.#sayTaken();
    await this.#ran;
    await this.#sayTaken();
    await call("unsubscribe", this.#id).catch(() => {});
  }

  async #sayTaken(): Promise<void> {
    const taken = this.#taken;
    this.#taken = undefined;
    if (taken) await call("ack", this.#id, taken.batch, taken.position).catch(() => {});
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#ran = this.#handAll();
  }

  async #handAll(): Promise<void> {
    for (let batch = this.#batches.shift(); batch; batch = this.#batches.shift()) {
      const log = this.#log;
      for (const blob of batch.blobs) {
        if (!(await this.#hand(batch, blob, log))) break;
      }
      this.#ack();
    }
    this.#running = false;
  }

  /** Whether the blob was taken. If not, the rest of its batch is of no use. */
  async #hand(batch: Batch, blob: SyncBlob, log: AbortController): Promise<boolean> {
    for (let attempts = 1; ; attempts += 1) {
      // The plugin sends a batch early only if the log was opened anew: then it begins with what is not acknowledged.
      if (log.signal.aborted || this.#batches.length > 0) return false;
      try {
        await this.#handler(blob);
        if (this.#log !== log) return false;
        this.#took(batch, blob);
        return true;
      } catch (error) {
        if (log.signal.aborted) return false;
        const wait = backoff(attempts);
        this.#ack();
        // The event cannot carry what the app threw, and nobody else would say it.
        console.error(`0k-Sync: a handler did not take blob ${blob.id}; it comes again in ${wait} ms`, error);
        call("handlerFailed", this.#id, blob.id, attempts, wait).catch(() => {});
        await pause(wait, log.signal);
      }
    }
  }

  #took(batch: Batch, blob: SyncBlob): void {
    this.#taken = { batch: batch.number, position: blob.position };
    const before = handled.get(blob.channel) ?? "0";
    if (BigInt(before) < BigInt(blob.position)) handled.set(blob.channel, blob.position);
    if (BigInt(blob.position) >= this.#until) this.#isReady();
    if (!this.#over.signal.aborted) this.#timer ??= setTimeout(() => this.#ack(), ACK_EVERY_MS);
  }

  #ack(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    void this.#sendAcks();
  }

  /** One acknowledgement at a time, the last position first: the ones before it say nothing more. */
  async #sendAcks(): Promise<void> {
    if (this.#acking) return;
    this.#acking = true;
    for (let failures = 0; this.#taken && !this.#over.signal.aborted; ) {
      const { signal } = this.#log;
      const taken = this.#taken;
      try {
        await call("ack", this.#id, taken.batch, taken.position);
        failures = 0;
        if (this.#taken === taken) this.#taken = undefined;
      } catch {
        failures += 1;
        await pause(backoff(failures), signal);
      }
    }
    this.#acking = false;
  }
}
