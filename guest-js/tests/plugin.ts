/** The Rust side, as far as a page can tell: commands that answer, and channels that speak. */
import { clearMocks, mockIPC } from "@tauri-apps/api/mocks";
import { afterEach, beforeEach, vi } from "vitest";

import type { CommandError, SyncStatus } from "../bindings.js";
import type { SyncBlob } from "../blobs.js";

/** A call of the page. */
export interface Call {
  command: string;
  args: Record<string, unknown> | Uint8Array;
  headers: Record<string, string>;
}

type Answer = (args: never, headers: Record<string, string>) => unknown;

interface Internals {
  invoke(command: string, args: unknown, options?: { headers?: Record<string, string> }): Promise<unknown>;
  runCallback(id: number, message: unknown): void;
}

/** What Rust holds of a page's channel. */
export class Sender {
  #index = 0;
  readonly #id: number;

  constructor(channel: unknown) {
    this.#id = (channel as { id: number }).id;
  }

  send(message: unknown): void {
    internals().runCallback(this.#id, { message, index: this.#index });
    this.#index += 1;
  }
}

/** A plugin that answers what a test tells it to. */
export class Plugin {
  readonly calls: Call[] = [];
  readonly #answers = new Map<string, Answer>();
  readonly #senders = new Map<number, Sender>();

  /** Answers a command from now on. */
  on(command: string, answer: Answer): this {
    this.#answers.set(command, answer);
    return this;
  }

  /** The calls of a command. */
  of(command: string): Call[] {
    return this.calls.filter((call) => call.command === command);
  }

  /** The arguments of the calls of a command. */
  args(command: string): Call["args"][] {
    return this.of(command).map((call) => call.args);
  }

  /** The channel that the page passed in the last call of a command. */
  sender(command: string, name: string): Sender {
    const call = this.of(command).at(-1);
    if (!call || call.args instanceof Uint8Array) throw new Error(`${command} was not called with a channel`);
    const channel = call.args[name] as { id: number };
    const known = this.#senders.get(channel.id) ?? new Sender(channel);
    this.#senders.set(channel.id, known);
    return known;
  }

  install(): void {
    mockIPC((name, args) => {
      const command = name.replace("plugin:0ksync|", "");
      const answer = this.#answers.get(command);
      const headers = this.calls.at(-1)?.headers ?? {};
      return answer ? answer(args as never, headers) : null;
    });
    const invoke = internals().invoke;
    // The mock of Tauri drops the headers.
    internals().invoke = (name, args, options) => {
      const command = name.replace("plugin:0ksync|", "");
      this.calls.push({ command, args: args as Call["args"], headers: options?.headers ?? {} });
      return invoke(name, args);
    };
  }
}

function internals(): Internals {
  return (window as unknown as { __TAURI_INTERNALS__: Internals }).__TAURI_INTERNALS__;
}

/** A fresh plugin before each test, on paused time. */
export function plugin(): Plugin {
  const held = { now: new Plugin() };
  beforeEach(() => {
    vi.useFakeTimers({ now: 1_800_000_000_000 });
    held.now = new Plugin();
    held.now.install();
  });
  afterEach(() => {
    vi.useRealTimers();
    clearMocks();
    document.body.replaceChildren();
  });
  return new Proxy(held.now, {
    get: (_, key) => {
      const value: unknown = Reflect.get(held.now, key);
      return typeof value === "function" ? (value as () => unknown).bind(held.now) : value;
    },
  });
}

/** Lets everything happen that waits for no timer. */
export async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

/** What a command rejects with. */
export function failure(code: string, more: Partial<CommandError> = {}): CommandError {
  const details = { reason: `it failed with ${code}`, nextStep: "Do better.", fault: "person" as const };
  return { code, message: `${details.reason}. ${details.nextStep}`, retryAfterMs: null, details, ...more };
}

/** A command that rejects. */
export function fails(code: string, more?: Partial<CommandError>): () => Promise<never> {
  return () => Promise.reject(failure(code, more) as unknown as Error);
}

/** A promise, and what settles it. */
export function deferred<T = void>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
} {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** A blob as Rust hands it out. */
export function blob(position: number, data: string | Uint8Array = `blob ${position}`, more: Partial<SyncBlob> = {}) {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const head = { id: position.toString(16).padStart(32, "0"), device: "d".repeat(32), channel: "notes", own: false, snapshot: false };
  return { ...head, position: String(position), ...more, data: bytes };
}

/** A batch as Rust sends it: plugin/src/subscriptions.rs, `message`. */
export function batch(number: number, blobs: ReturnType<typeof blob>[]): ArrayBuffer {
  const heads = blobs.map(({ data, ...head }) => ({ ...head, bytes: data.length }));
  const text = new TextEncoder().encode(JSON.stringify(heads));
  const size = blobs.reduce((sum, { data }) => sum + data.length, 0);
  const message = new Uint8Array(8 + text.length + size);
  const view = new DataView(message.buffer);
  view.setUint32(0, number, true);
  view.setUint32(4, text.length, true);
  message.set(text, 8);
  let at = 8 + text.length;
  for (const { data } of blobs) {
    message.set(data, at);
    at += data.length;
  }
  return message.buffer;
}

/** A status in which all is well. */
export function status(more: Partial<SyncStatus> = {}): SyncStatus {
  return {
    group: "g",
    device: "d",
    name: "Laptop",
    connected: true,
    caughtUp: true,
    relays: [],
    relayStates: [],
    hosting: false,
    waitingFor: [],
    outbox: 0,
    unacknowledged: 0,
    devices: [],
    epoch: "1",
    suite: 1,
    moving: null,
    wantsHistory: false,
    awayDays: null,
    behind: 0,
    withheld: 0,
    recoveryKit: false,
    kitSnapshots: false,
    trouble: null,
    mode: "foreground",
    wake: null,
    joining: false,
    vault: "file",
    ...more,
  };
}

/** The code that a promise rejects with. */
export async function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "resolved",
    (error: { code?: string }) => error.code ?? String(error),
  );
}
