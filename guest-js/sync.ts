import type { Device, Member, RecoveredGroup, ReceiptInfo, ReceiptState, SnapshotInfo, SyncAlert, SyncFinding, SyncStatus } from "./bindings.js";
import { BackupApi } from "./backup.js";
import { call, callRaw, toBytes } from "./call.js";
import { type SyncEventMap, SyncEvents, type SyncEventType } from "./events.js";
import { FilesApi } from "./files.js";
import {
  accept,
  type AcceptOptions,
  type Invite,
  invite,
  type InviteOptions,
  join,
  type Joined,
  type JoinOffer,
  type JoinOptions,
  requestJoin,
  type RequestJoinOptions,
} from "./pairing.js";
import { LifecycleApi } from "./lifecycle.js";
import { PresenceApi } from "./presence.js";
import { RecoveryKitApi } from "./recovery.js";
import {
  type BlobHandler,
  endOfLog,
  handledUpTo,
  logIsEmpty,
  subscribe,
  type SubscribeOptions,
  type Subscription,
} from "./subscription.js";

/** How long {@link Receipt} waits by default, in milliseconds. */
const WAIT_MS = 30_000;

/** The word that a blob is durable on this device, and the way to wait for more. */
export interface Receipt {
  /** The blob's id, the same on every device: 16 bytes in hex. */
  readonly id: string;
  /** Its place in this device's log: a decimal number up to 2^62, so compare with `BigInt`. */
  readonly position: string;
  /**
   * Resolves once the blob is durable at a relay.
   *
   * @param options `timeoutMs`: how long to wait, by default 30,000.
   * @throws SyncError `TIMEOUT`; it may still happen later.
   */
  accepted(options?: { timeoutMs?: number }): Promise<void>;
  /**
   * Resolves once every other device has signed that it has the blob.
   *
   * @param options `timeoutMs`: how long to wait, by default 30,000.
   * @throws SyncError `TIMEOUT`; it may still happen later.
   */
  delivered(options?: { timeoutMs?: number }): Promise<void>;
}

/** The page's side of 0k-Sync. All of its calls reject with a `SyncError`. */
export class Sync {
  readonly #events = new SyncEvents();

  /** What devices tell each other while they are connected, and nobody keeps: who is here, where a cursor stands. */
  readonly presence = new PresenceApi(this.#events);

  /** To the background and back, and what wakes this device there. */
  readonly life = new LifecycleApi();

  /** Files of any size, for what is too large to push. */
  readonly files = new FilesApi();

  /** One file with what this device has, and taking such a file in. */
  readonly backup = new BackupApi();

  /**
   * Gives the passphrase that locks this device's data, or is to lock a new device's where the app is set to `passphrase`. Until
   * then every call rejects with `PASSPHRASE_NEEDED`. It is kept as long as the app runs.
   *
   * @throws SyncError `WRONG_PASSPHRASE`, and what else keeps the device's vault shut: `VAULT_DAMAGED`, `VAULT_PARAMETERS`,
   * `VAULT_NEWER`. {@link Sync.reset} works all the same.
   */
  async unlock(passphrase: string): Promise<void> {
    await call("unlock", passphrase);
  }

  /**
   * Puts the key that seals this device's data somewhere else, or under another passphrase. No data is written anew. Needs the
   * permission `0ksync:admin`.
   *
   * @param options `passphrase`: at least 8 characters, for `passphrase`.
   * @throws SyncError `KEYCHAIN_MISSING`, `KEYCHAIN_LOCKED`, `PASSPHRASE_NEEDED`, `INVALID_ARGUMENT`, `NOT_PERMITTED`.
   */
  async setVault(kind: "keychain" | "passphrase" | "file", options: { passphrase?: string } = {}): Promise<void> {
    await call("setVault", kind, options.passphrase ?? null);
  }

  /** 24 words that lead back into the group when every device is lost. */
  readonly recoveryKit = new RecoveryKitApi();

  /**
   * Gives bytes to every other device of the group. Resolves once they are durable on this device, online or not. The first
   * push makes a group of this device alone. More than 1 MiB goes through the relay's buffer, as files do, with the same receipt
   * and in the same order.
   *
   * @param data 1 byte to 64 MiB; a string is UTF-8. What is larger is a file: `sync.files.put`.
   * @param options `channel`: a name of at most 256 bytes; there is a default channel.
   * @throws SyncError `TOO_LARGE`, `EMPTY`, `DISK_FULL`, `REMOVED`.
   */
  async push(data: Uint8Array | ArrayBuffer | string, options: { channel?: string } = {}): Promise<Receipt> {
    const { id, position } = await callRaw<ReceiptInfo>("push", toBytes(data), options.channel);
    const wait = async (state: ReceiptState, timeoutMs = WAIT_MS) => void (await call("wait", id, state, timeoutMs));
    return {
      id,
      position,
      accepted: ({ timeoutMs } = {}) => wait("accepted", timeoutMs),
      delivered: ({ timeoutMs } = {}) => wait("delivered", timeoutMs),
    };
  }

  /**
   * Waits no more for a blob of more than 1 MiB whose bytes do not come, as where the one device that had them is lost: handlers
   * get what is behind it, and never this one, on this device alone. Which it is, the event
   * `file` says, with the change `failed` and the code `CONTENT_MISSING`. To its sender it counts as delivered, as one that the app
   * has deleted.
   *
   * @throws SyncError `INVALID_ARGUMENT` for an id that no blob has whose bytes are waited for.
   */
  async skip(id: string): Promise<void> {
    await call("skip", id);
  }

  /**
   * Puts a snapshot in the place of what this device's log holds of a channel: devices that join later, and handlers that begin
   * later or from the start, get it instead, as a blob with `snapshot` set. So a log does not grow for ever. Other devices keep
   * theirs as they are.
   *
   * @param channel the channel; pushes without a name go to `default`.
   * @param data all that the app has of the channel, its own pushes too: 1 byte to 64 MiB; a string is UTF-8. One of
   * more than 1 MiB is not left for the recovery kit.
   * @param options `upTo`: the position of the last blob that is in `data`. By default that of the last one which a handler of
   * this page took, so make `data` and call this without waiting in between.
   * @returns how many blobs it took the place of. What not every device has yet stays beside it. With 0 the log is as it was, and the
   * snapshot is kept for the recovery kit alone, if this device leaves its snapshots for one.
   * @throws SyncError `TOO_LARGE`, `EMPTY`, `DISK_FULL`, `REMOVED`.
   */
  async snapshot(
    channel: string,
    data: Uint8Array | ArrayBuffer | string,
    options: { upTo?: string } = {},
  ): Promise<SnapshotInfo> {
    const upTo = options.upTo ?? handledUpTo(channel);
    const headers: Record<string, string> = upTo === undefined ? {} : { "ksync-up-to": upTo };
    return callRaw<SnapshotInfo>("snapshot", toBytes(data), channel, headers);
  }

  /**
   * Hands each blob that another device pushed to `handler`, one after another, in each sender's order. Each comes at least
   * once: the position moves when the handler has resolved.
   *
   * @param channel one channel, or null for all.
   * @returns ends the subscription when called; its `ready` tells when it has caught up with the log.
   */
  subscribe(channel: string | null, handler: BlobHandler, options: SubscribeOptions = {}): Promise<Subscription> {
    return subscribe(channel, handler, options);
  }

  /**
   * Hears of what happens. `status` is told the present status at once, and again whenever it may have changed.
   *
   * @returns ends it when called.
   */
  on<T extends SyncEventType>(type: T, listener: (event: SyncEventMap[T]) => void): Promise<() => void> {
    return this.#events.on(type, listener);
  }

  /** How things stand. */
  status(): Promise<SyncStatus> {
    return call("status");
  }

  /** Why it is or is not syncing, most important first. */
  doctor(): Promise<SyncFinding[]> {
    return call("doctor");
  }

  /** The members of the group, this device first. */
  devices(): Promise<Member[]> {
    return call("devices");
  }

  /**
   * What a person should hear of and may have missed, newest first: devices that were linked, removed, replaced, and whatever
   * shows that the relay or a device is faulty or hostile. Kept on this device also while no app ran, at most 1,000 changes and
   * 1,000 warnings; show those that are not `seen`. The event `alert` tells of each as it comes.
   */
  alerts(): Promise<SyncAlert[]> {
    return call("alerts");
  }

  /**
   * Notes that a person has seen the alerts up to this one; the event `alertsSeen` tells the app's other windows.
   *
   * @param upTo the `number` of the newest that was shown.
   */
  async alertsSeen(upTo: string): Promise<void> {
    await call("alertsSeen", upTo);
  }

  /**
   * Puts a device out of the group: it gets nothing that is pushed later. The event `device` tells when that is done. Needs
   * the permission `0ksync:admin`.
   *
   * @param options `lost`: the device is lost or stolen. Besides, it deletes its keys and the blobs that it holds when it next
   * connects, and tells its app by the event `removed`. Whoever keeps it from connecting keeps what it had.
   * @throws SyncError `UNKNOWN_DEVICE`, `NOT_IN_GROUP`, `NOT_PERMITTED`.
   */
  async removeDevice(id: string, options: { lost?: boolean } = {}): Promise<void> {
    await call("removeDevice", id, options.lost ?? false);
  }

  /**
   * Has the group use these relays, in this order: everything goes to each, and the first orders the changes of the group.
   * Durable when it resolves; the event `relays` tells when it is done. Needs the permission `0ksync:admin`.
   *
   * @param relays `ksync://ENDPOINT@host:port` or `https://host`, with `#TOKEN` if one wants it: that stays on this device.
   * @throws SyncError `ADDRESS_INVALID`, `INVALID_ARGUMENT`, `NOT_IN_GROUP`, `NOT_PERMITTED`.
   */
  async setRelays(relays: string[]): Promise<void> {
    await call("setRelays", relays);
  }

  /**
   * Takes the first relay off the list, because a person says that it will not come back: the next one takes its place. What
   * only the dead one had ordered counts no more. Needs the permission `0ksync:admin`.
   *
   * @throws SyncError `RELAY_ANSWERS` while this device is connected to it; `RELAY_UNREACHABLE` while no other one can be
   * reached; `INVALID_ARGUMENT` where there is no other; `NOT_IN_GROUP`, `NOT_PERMITTED`.
   */
  async giveUpFirstRelay(): Promise<void> {
    await call("giveUpFirstRelay");
  }

  /**
   * Moves the group to another suite. Each device has to come online once for that: `status().moving` says who has not.
   * Durable when it resolves; the event `settings` tells on every device when it is done, and who did it. The group's recovery
   * kit, if it has one, ends with the suite that it was made for: make a new one then. Needs the permission `0ksync:admin`.
   *
   * @param suite 1 is ML-KEM-768 with X25519, and XChaCha20-Poly1305; 2 is ML-KEM-768 with P-256, and AES-256-GCM, where
   * devices pair by link and not by short code. The one that the group has changes nothing, and takes back a move that waits.
   * @throws SyncError `SUITE` if this build takes part in no groups of that suite; `NOT_IN_GROUP`, `NOT_PERMITTED`.
   */
  async moveToSuite(suite: 1 | 2): Promise<void> {
    await call("moveToSuite", suite);
  }

  /**
   * Leaves the group, and deletes its keys and blobs here.
   *
   * @throws SyncError `RELAY_UNREACHABLE` if the others cannot be told: then nothing was deleted. `NOT_IN_GROUP`.
   */
  async leave(): Promise<void> {
    await call("leave");
    logIsEmpty();
  }

  /**
   * Deletes this device without telling the others, who list it until one of them removes it. Needs `0ksync:admin`. Handlers
   * get nothing more of the old log; subscriptions go on with the new one.
   */
  async reset(): Promise<void> {
    const ended = endOfLog();
    await call("reset");
    ended();
  }

  /**
   * Member: shows a link, a QR and, where the relay is not `embedded`, a short code for a newcomer, who takes one of them with
   * {@link Sync.join}. Resolves once there is something to show.
   *
   * @throws SyncError `RELAY_UNREACHABLE` and what else keeps from the relay, `REMOVED`.
   */
  invite(options: InviteOptions = {}): Promise<Invite> {
    return invite(options);
  }

  /**
   * Member: takes the link or the short code that a newcomer shows ({@link Sync.requestJoin}). Resolves once it is in the group.
   *
   * @throws SyncError `WRONG_SIDE` for a member's link, which is for {@link Sync.join}; `LINK_INVALID`, `WRONG_APP`,
   * `PAIRING_EXPIRED`, `PAIRING_USED`, `PAIRING_REFUSED`, `TOO_MANY_TRIES`, `NO_SUCH_PAIRING`, `PAIRING_FORGED`. For a code:
   * `CODE_INVALID`, `CODE_NEEDS_RELAY`, and `WRONG_CODE` if its words are not those of the other device, which burns it.
   */
  accept(uriOrCode: string, options: AcceptOptions): Promise<Device> {
    return accept(uriOrCode, options);
  }

  /**
   * Newcomer: takes the link or the short code that a member shows. A code is looked for at the relay that the app is set to.
   * What was pushed here comes along. Resolves once this device is in the group.
   *
   * @throws SyncError as {@link Sync.accept}; `WRONG_SIDE` for a newcomer's link; `ALREADY_IN_GROUP`.
   */
  join(uriOrCode: string, options: JoinOptions): Promise<Joined> {
    return join(uriOrCode, options);
  }

  /**
   * Comes back into a group by its recovery kit, and removes all its other devices. What was pushed here comes along. Subscribers
   * get the snapshots that were left for the kit; what came after them is lost. Needs the permission `0ksync:admin`.
   *
   * @param words the 24 words, as a person types them.
   * @param options `relay`: the address beside the words, by default the one that the app is set to; `name`: what this device
   * is called.
   * @throws SyncError `KIT_INVALID` for words that are none; `KIT_UNKNOWN`, `KIT_REPLACED`, `KIT_FORGED`, `WRONG_APP`,
   * `ALREADY_IN_GROUP`, `KIT_NEEDS_RELAY`; what keeps from the relay; `TIMEOUT`, after which the same call again is good.
   */
  recover(words: string, options: { relay?: string; name?: string } = {}): Promise<RecoveredGroup> {
    return call("recover", words, options.relay ?? null, options.name ?? null);
  }

  /**
   * Newcomer: shows a link, a QR and a short code for a member, who takes one of them with {@link Sync.accept}. Resolves once
   * there is something to show.
   *
   * @throws SyncError `ADDRESS_INVALID` if the app has only an `embedded` relay, where a newcomer has none to meet at;
   * `ALREADY_IN_GROUP`, `RELAY_UNREACHABLE`.
   */
  requestJoin(options: RequestJoinOptions = {}): Promise<JoinOffer> {
    return requestJoin(options);
  }
}

/** The page's side of 0k-Sync. */
export const sync: Sync = new Sync();
