/**
 * End-to-end encrypted sync between a person's devices, for Tauri apps.
 *
 * ```ts
 * import { sync } from "tauri-plugin-0ksync-api";
 *
 * await sync.push("hello", { channel: "notes" });
 * const stop = await sync.subscribe("notes", (blob) => console.log(blob.text()));
 * ```
 *
 * @packageDocumentation
 */
export type { BackupApi, BackupOptions } from "./backup.js";
export type {
  BackupInfo,
  AlertDevice,
  Device,
  DeviceChange,
  DeviceExit,
  ErrorDetails,
  ErrorFault,
  FileChange,
  FileInfo,
  FileProgress,
  FileState,
  ImportInfo,
  RecoveredGroup,
  RestoredSnapshot,
  Member,
  Mode,
  Moving,
  RecoveryKit,
  SnapshotInfo,
  StartAt,
  SyncAlert,
  SyncEvent,
  SyncFinding,
  SyncStatus,
  Trouble,
  WakeKeys,
  WakeState,
  Woken,
} from "./bindings.js";
export type { SyncBlob } from "./blobs.js";
export { SyncError } from "./errors.js";
export type { SyncEventMap, SyncEventType } from "./events.js";
export type { FileBytes, FileOptions, FilesApi, FilesPolicy } from "./files.js";
export type {
  AcceptOptions,
  Invite,
  InviteOptions,
  Joined,
  JoinOffer,
  JoinOptions,
  JoinRequest,
  RequestHandler,
  RequestJoinOptions,
  Shown,
  TypeCheckHandler,
} from "./pairing.js";
export type { LifecycleApi, Target, WebPushTarget } from "./lifecycle.js";
export type { Presence, PresenceApi } from "./presence.js";
export type { RecoveryKitApi } from "./recovery.js";
export type { BlobHandler, SubscribeOptions, Subscription } from "./subscription.js";
export { type Receipt, type Sync, sync } from "./sync.js";
