import { sync, type SyncStatus } from "tauri-plugin-0ksync-api";

import { deviceName } from "./words";

/** What the app does about what happens to the group and to this device in it. */
interface Follower {
  /** How things stand, at once and after each change. */
  status(status: SyncStatus): void;
  /** The log is gone, and with it all that was known of the group. */
  gone(text: string, detail: string): void;
  joined(): void;
  /** Somebody has removed this device. */
  removed(by: string | null): void;
  /** This device took a new key, and why. */
  renewed(code: string): void;
  /** Another device came, went or took a new key. */
  told(text: string): void;
}

/** Follows the plugin's events for as long as the window is there. Rejects if they cannot be heard. */
export async function follow(to: Follower): Promise<void> {
  let own: string | null = null;
  const anew = "It begins anew, without notes. Join a device to have notes from there.";
  await sync.on("left", () => to.gone("This device has left its group.", anew));
  await sync.on("reset", () => to.gone("The notes on this device are deleted.", anew));
  await sync.on("joined", () => to.joined());
  await sync.on("removed", ({ by }) => to.removed(by.name));
  await sync.on("keyReplaced", ({ code }) => to.renewed(code));
  await sync.on("device", ({ change, device, by }) => {
    // What this device did, its person knows.
    if (change === "named" || device.id === own || (by !== null && by.id === own)) return;
    if (change === "replaced")
      return to.told(`${deviceName(device.name)} has a new key: it was restored from a copy, or lost its place in the group.`);
    if (change === "recovered")
      return to.told(`${deviceName(device.name)} came back by the recovery kit. It removes all other devices.`);
    to.told(`${deviceName(device.name)} was ${change}${by ? ` by ${deviceName(by.name)}` : ""}.`);
  });
  await sync.on("status", (status) => {
    own = status.device;
    to.status(status);
  });
}
