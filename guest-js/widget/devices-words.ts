import type { Device, SyncAlert } from "../bindings.js";
import { SyncError } from "../errors.js";
import { type Words, wordsFor } from "./words.js";

const DAY_MS = 86_400_000;
/** After how many days without a word a device is called silent, as the plugin does. */
const SILENT_DAYS = 14;

/** How a device is called in a sentence. */
export function called({ id, name }: Device): string {
  return name === null ? `device ${id.slice(0, 8)}` : `«${name}»`;
}

/** How long ago that was, as people say it. Of a clock that was set back, nothing is said. */
export function ago(at: number, now: number): string {
  const minutes = Math.floor((now - at) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return some(minutes, "minute");
  if (minutes < 1_440) return some(Math.floor(minutes / 60), "hour");
  const days = Math.floor(minutes / 1_440);
  return days === 1 ? "yesterday" : some(days, "day");
}

function some(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"} ago`;
}

/** When a device was last heard of, and whether that is long ago. */
export function lastSeen(at: string | null, now: number): { text: string; silent: boolean } | undefined {
  if (at === null) return undefined;
  const silent = (now - Number(at)) / DAY_MS >= SILENT_DAYS;
  const when = ago(Number(at), now);
  return { text: silent ? `silent: last heard of ${when}` : `last heard of ${when}`, silent };
}

/** What a removal means, before it is done: a paragraph each. */
export function consequences(lost: boolean): string[] {
  const out = "It is removed, and your other devices change their keys: it can read nothing that is written from now on, and can send nothing.";
  if (!lost) return [out, "What is on it already stays there. To come back, it has to be added again."];
  return [
    out,
    "When it next connects, it deletes its keys and the data that it holds.",
    "Whoever keeps it offline keeps what is on it now, and can read it unless the device itself is locked and encrypted.",
  ];
}

/** What a removal that is done has done. `since` is when the device was last heard of. */
export function removed(device: Device, lost: boolean, exit: string | null, since: string | null, now: number): Words {
  const what = `${called(device)} is removed`;
  const heard = since === null ? "" : ` It was last heard of ${ago(Number(since), now)}.`;
  if (exit === "lost") return { what, next: `It deletes what it holds when it next connects.${heard}` };
  if (lost) {
    return { what, next: `Another device removed it first, and not as lost: it keeps what it holds, and gets nothing new.${heard}` };
  }
  return { what, next: "It gets nothing that is written from now on." };
}

/** Devices that were removed as lost, as far as alerts tell: the newest of each. */
export function lostDevices(alerts: readonly SyncAlert[]): SyncAlert[] {
  const seen = new Set<string>();
  return alerts.filter(({ kind, device }) => {
    if (kind !== "lost" || device === null || device.own || seen.has(device.id)) return false;
    seen.add(device.id);
    return true;
  });
}

/** What kept a device from being removed. */
export function failed(error: unknown, device: Device): Words {
  const code = error instanceof SyncError ? error.code : "";
  if (code === "NOT_PERMITTED") {
    return {
      what: "This window of the app may not remove devices",
      next: "Remove it in the app's main window. For the developer: its capability lacks “0ksync:admin”.",
    };
  }
  if (code === "UNKNOWN_DEVICE") {
    return { what: `${called(device)} is not among your devices any more`, next: "It was removed or has left meanwhile." };
  }
  return wordsFor(error);
}
