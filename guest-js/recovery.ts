import type { RecoveryKit } from "./bindings.js";
import { call } from "./call.js";

/** The recovery kit of the group. Needs the permission `0ksync:admin`. */
export class RecoveryKitApi {
  /**
   * Makes a recovery kit: 24 words that lead back into the group when every device is lost, and the relay that belongs to them.
   * Show both to the person once, to be written down; nothing keeps them, and whoever has them can take the group over. Makes a
   * group if there is none. A kit that the group had is worth nothing any more; every device is told by the event `settings`.
   *
   * @throws SyncError `KIT_NEEDS_RELAY` where a device hosts the group's relay; `RELAY_UNREACHABLE` while not connected;
   * `COMMIT_REJECTED`, `REMOVED`, `NOT_PERMITTED`; `PAIRING_REFUSED` where the app asks the person natively and the answer is no.
   */
  create(): Promise<RecoveryKit> {
    return call("makeRecoveryKit");
  }
}
