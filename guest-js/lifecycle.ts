import type { WakeKeys, WakeTarget, Woken } from "./bindings.js";
import { call } from "./call.js";

/** How long {@link LifecycleApi.wake} takes at most by default, in milliseconds: less than platforms grant a push. */
const WAKE_MS = 25_000;

/** A Web Push subscription, as `PushSubscription.toJSON()` gives it; UnifiedPush and ntfy give the endpoint alone. */
export interface WebPushTarget {
  type: "webPush";
  endpoint: string;
  keys?: WakeKeys | null;
}

/** Where a device is woken. */
export type Target = WebPushTarget | Exclude<WakeTarget, { type: "webPush" }>;

/**
 * What an app tells of its life on a platform that lets nobody stay connected: to the background and back, and awake for a
 * moment when a push came. Where apps stay connected, as on desktops, nothing of this is needed.
 */
export class LifecycleApi {
  /** Connects, and stays connected; so does each app from its start. */
  async foreground(): Promise<void> {
    await call("foreground");
  }

  /**
   * Sends what waits, for a moment, and closes every socket. Pushes wait on this device from then on, subscriptions go on with
   * what is there. A pairing that is under way ends.
   */
  async background(): Promise<void> {
    await call("background");
  }

  /**
   * In the background: fetches what waits, acknowledges it, sends what was pushed, and closes every socket again. To be called
   * when a push came. In the foreground it waits until everything is fetched.
   *
   * @param options `timeoutMs`: how long that may take, by default 25,000.
   * @throws SyncError `NOT_IN_GROUP`; `TIMEOUT`, or why no relay could be reached, if nothing came. The device is in the
   * background again in any case.
   */
  wake(options: { timeoutMs?: number } = {}): Promise<Woken> {
    return call("wake", options.timeoutMs ?? WAKE_MS);
  }

  /**
   * Has the relays wake this device by a push when something comes for it while it is not connected. Kept on this device, and
   * told to each relay whenever it connects; `status().wake` says what they answered. Whoever knows a target can send empty
   * pushes to it and nothing else. Needs the permission `0ksync:wake`.
   *
   * @param target what the platform's push service gave the app: `{ type: "webPush", ...subscription.toJSON() }`, `{ type: "apns",
   * token, topic }`, `{ type: "fcm", token, project }`; null for nowhere.
   * @throws SyncError `INVALID_ARGUMENT`, `NOT_PERMITTED`.
   */
  async setTarget(target: Target | null): Promise<void> {
    // A subscription says more than its relay has to know.
    const told = target?.type === "webPush" ? { type: target.type, endpoint: target.endpoint, keys: target.keys ?? null } : target;
    await call("setWakeTarget", told);
  }

  /**
   * The key that the group's first relay signs Web Push messages with, for `applicationServerKey` of a subscription. Waits until
   * that relay is connected. Needs the permission `0ksync:wake`.
   *
   * @returns 65 bytes in base64url.
   * @throws SyncError `WAKE_UNAVAILABLE` if the relay wakes nobody; `ASLEEP` in the background; `TIMEOUT`, `NOT_PERMITTED`.
   */
  key(): Promise<string> {
    return call("wakeKey");
  }
}
