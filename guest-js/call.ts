import { Channel, invoke } from "@tauri-apps/api/core";

import { commands } from "./bindings.js";
import { explained, noTauri, toSyncError } from "./errors.js";

type Commands = typeof commands;

/** Whether there is a Tauri app around this page. */
function inTauri(): boolean {
  return typeof window !== "undefined" && "__TAURI_INTERNALS__" in window;
}

async function guarded<T>(command: string, run: () => Promise<T>): Promise<T> {
  if (!inTauri()) throw noTauri();
  try {
    return await run();
  } catch (thrown) {
    throw toSyncError(thrown, command);
  }
}

/**
 * Calls a command of the plugin by its name in the bindings.
 *
 * @throws SyncError whatever goes wrong.
 */
export function call<K extends keyof Commands>(
  name: K,
  ...args: Parameters<Commands[K]>
): Promise<Awaited<ReturnType<Commands[K]>>> {
  // A function picked out of a union takes no arguments that TypeScript would accept; the signature above is the check.
  const run = commands[name] as (...args: unknown[]) => Promise<Awaited<ReturnType<Commands[K]>>>;
  return guarded(snake(name), () => run(...args));
}

/**
 * A channel for what a command sends later.
 *
 * @throws SyncError `NOT_INSTALLED`: there is nothing that could send.
 */
export function channelFor<T>(receive: (message: T) => void): Channel<T> {
  if (!inTauri()) throw noTauri();
  return new Channel<T>(receive);
}

/** Calls a command that the bindings have no type for. */
export function callUntyped<T>(command: string, args: Record<string, unknown>): Promise<T> {
  return guarded(command, () => invoke<T>(`plugin:0ksync|${command}`, args));
}

/**
 * Calls a command whose body is bytes.
 *
 * @param channel the channel's name; none, or the default channel, if it is undefined.
 * @param others what else goes along as headers: names and values in ASCII.
 */
export function callRaw<T>(
  command: string,
  body: Uint8Array,
  channel: string | undefined,
  others: Record<string, string> = {},
): Promise<T> {
  return guarded(command, () => {
    const headers = channel === undefined ? others : { ...others, "ksync-channel": encoded(channel, "the channel's name") };
    return invoke<T>(`plugin:0ksync|${command}`, body, { headers });
  });
}

/** Bytes as they cross: a string is UTF-8. */
export function toBytes(data: Uint8Array | ArrayBuffer | string): Uint8Array {
  if (typeof data === "string") return new TextEncoder().encode(data);
  return data instanceof Uint8Array ? data : new Uint8Array(data);
}

/**
 * A text as a header carries it.
 *
 * @param what names it in the error of a text that is none.
 */
export function encoded(text: string, what: string): string {
  try {
    return encodeURIComponent(text);
  } catch (thrown) {
    throw explained("INVALID_ARGUMENT", `${what} is no valid text`, "Use a name of whole characters.", thrown);
  }
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
