import type { SyncStatus } from "tauri-plugin-0ksync-api";

/** What a statement about syncing means: done, at work, held up, nobody to sync with, or for a person to mend. */
export type Tone = "ok" | "busy" | "waiting" | "alone" | "trouble";

/** A statement for the status line. */
export interface Words {
  text: string;
  tone: Tone;
}

/** What passes by itself, and how the relay is then. Everything else needs a person. */
const PASSING: Readonly<Record<string, string>> = {
  RELAY_UNREACHABLE: "it does not answer",
  TIMEOUT: "it does not answer",
  DRAINING: "it is restarting",
  RATE_LIMITED: "it is busy",
  TOO_MANY_CONNECTIONS: "it is busy",
};

/** What takes a device out of its group for good: only beginning anew helps. */
export type Out = "removed" | "cloned";

const OUT: Readonly<Record<Out, string>> = {
  removed: "This device was removed from its group",
  cloned: "A copy of this device has taken its place",
};

/** What a device mends by itself as soon as it reaches the relay and another device is there. */
const MENDING: Readonly<Record<string, string>> = {
  ROLLED_BACK: "This device was restored from an older copy",
  OUT_OF_STEP: "This device could not follow a change of its group",
};

/** What has taken this device out of its group, if anything has. */
export function out(status: SyncStatus | undefined): Out | undefined {
  const code = status?.trouble?.code;
  return code === "REMOVED" ? "removed" : code === "CLONED" ? "cloned" : undefined;
}

/**
 * Whether everything is synced, and if not why.
 *
 * @param status how things stand; undefined as long as that is not known
 * @param pending how many changes are not durable on this device yet
 */
export function words(status: SyncStatus | undefined, pending: number): Words {
  if (!status) return { text: "Looking how things stand…", tone: "busy" };
  const code = status.trouble?.code;
  const ended = out(status);
  if (ended) return { text: OUT[ended], tone: "trouble" };
  if (pending > 0) return { text: "Saving…", tone: "busy" };
  if (code && code in MENDING) return mending(status);
  if (status.joining) return joining(status);
  if (status.trouble && !(status.trouble.code in PASSING)) {
    return { text: `Not syncing: ${status.trouble.message}`, tone: "trouble" };
  }
  if (status.devices.length < 2) return { text: "Only on this device: add another one", tone: "alone" };
  if (!status.connected) return offline(status);
  if (status.waitingFor.length > 0) return waiting(status);
  if (status.withheld > 0)
    return { text: "The relay keeps changes of another device back: bring that device online", tone: "trouble" };
  if (status.awayDays !== null)
    return { text: `Away for ${status.awayDays} days: fetching the rest from ${other(status)}`, tone: "waiting" };
  if (status.wantsHistory) return { text: `Older notes are on their way from ${other(status)}`, tone: "waiting" };
  if (!status.caughtUp) return { text: "Fetching what is new…", tone: "busy" };
  if (status.outbox > 0) return { text: `Sending ${changes(status.outbox)}…`, tone: "busy" };
  if (status.unacknowledged > 0)
    return { text: `Waiting for ${other(status)} to fetch ${changes(status.unacknowledged)}`, tone: "waiting" };
  const count = status.devices.length;
  return { text: count === 2 ? "Everything is on both devices" : `Everything is on all ${count} devices`, tone: "ok" };
}

function mending({ trouble, devices, connected }: SyncStatus): Words {
  const why = MENDING[trouble?.code ?? ""];
  if (devices.length < 2) return { text: `${why}; no other device is left to mend it with`, tone: "trouble" };
  const waits = connected ? "it is being mended" : "it is mended when the relay is reached";
  return { text: `${why}; ${waits}`, tone: "waiting" };
}

function waiting({ waitingFor, unacknowledged }: SyncStatus): Words {
  const names = waitingFor.map(({ name }) => (name === null ? "a device without a name" : `«${name}»`)).join(" or ");
  const safe = unacknowledged > 0 ? ` to fetch ${changes(unacknowledged)}` : "";
  return { text: `Waiting for ${names}${safe}`, tone: "waiting" };
}

function joining({ trouble }: SyncStatus): Words {
  const tone = "waiting";
  if (!trouble || trouble.code === "NOT_MEMBER")
    return { text: "Waiting until the other device has added this one", tone };
  const passing = PASSING[trouble.code];
  return passing
    ? { text: `Waiting to be added; no word from the relay: ${passing}`, tone }
    : { text: `Waiting to be added: ${trouble.message}`, tone: "trouble" };
}

function offline({ trouble, outbox }: SyncStatus): Words {
  if (!trouble) return { text: "Connecting…", tone: "busy" };
  const why = PASSING[trouble.code] ?? trouble.message;
  if (outbox === 0)
    return { text: `Not connected to the relay: ${why}. Nothing from this device waits.`, tone: "waiting" };
  const safe = outbox === 1 ? "It is safe on this device." : "They are safe on this device.";
  return {
    text: `${changes(outbox)} ${outbox === 1 ? "waits" : "wait"} for the relay: ${why}. ${safe}`,
    tone: "waiting",
  };
}

function changes(count: number): string {
  return count === 1 ? "1 change" : `${count} changes`;
}

/** Whom this device waits for. With three devices or more, the status does not say which of them. */
function other({ devices }: SyncStatus): string {
  const others = devices.filter((device) => !device.own);
  const [only] = others;
  if (others.length > 1 || !only) return "other devices";
  return deviceName(only.name);
}

/** How a device is called in a sentence. */
export function deviceName(name: string | null | undefined): string {
  return name ? `«${name}»` : "a device without a name";
}
