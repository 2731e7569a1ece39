import { sync, type SyncAlert, type SyncStatus } from "tauri-plugin-0ksync-api";

/** What the app does about what happens to the group and to this device in it. */
interface Follower {
  /** How things stand, at once and after each change. */
  status(status: SyncStatus): void;
  /** The log is gone, and with it all that was known of the group. */
  gone(text: string, detail: string): void;
  joined(): void;
  /** Somebody has removed this device. */
  removed(by: string | null): void;
  /** What happened to the devices and nobody has seen yet, newest first. */
  news(alerts: SyncAlert[]): void;
}

/** Follows the plugin's events for as long as the window is there. Rejects if they cannot be heard. */
export async function follow(to: Follower): Promise<void> {
  let lost = false;
  const anew = "It begins anew, without notes. Join a device to have notes from there.";
  await sync.on("left", () => {
    const why = lost ? "This device was removed as lost. Its notes are deleted." : "This device has left its group.";
    lost = false;
    to.gone(why, anew);
  });
  await sync.on("reset", () => to.gone("The notes on this device are deleted.", anew));
  await sync.on("joined", () => to.joined());
  await sync.on("removed", (event) => {
    lost = event.lost;
    to.removed(event.by.name);
  });
  const read = async (): Promise<void> => to.news((await sync.alerts()).filter((alert) => !alert.seen && !isSaid(alert)));
  for (const type of ["alert", "alertsSeen", "left", "reset"] as const) {
    await sync.on(type, () => void read().catch(console.error));
  }
  // Without them, it syncs all the same.
  await read().catch(console.error);
  await sync.on("status", (status) => to.status(status));
}

/** What takes this device out of its group stands in the strip anyway, with the ways on. */
function isSaid({ kind, device }: SyncAlert): boolean {
  return device?.own === true && ["removed", "lost", "cloned"].includes(kind);
}
