import type { BackupInfo, BackupProgress, ImportInfo } from "./bindings.js";
import { call, channelFor } from "./call.js";
import { explained } from "./errors.js";

/** How an export or import is watched and ended. */
export interface BackupOptions {
  /** Hears how far it is, from 0 to 100. */
  onProgress?: (percent: number) => void;
  /** Ends it when aborted: then nothing has changed, and the call rejects with `BACKUP_CANCELLED`. */
  signal?: AbortSignal;
}

let last = 0;

async function watched<T>(
  options: BackupOptions,
  begin: (id: number, progress: ReturnType<typeof channelFor<BackupProgress>>) => Promise<T>,
): Promise<T> {
  if (options.signal?.aborted) {
    throw explained("BACKUP_CANCELLED", "it was ended before it began", "Begin again when it suits.");
  }
  const id = (last += 1);
  const progress = channelFor<BackupProgress>(({ percent }) => options.onProgress?.(percent));
  const cancel = () => void call("backupCancel", id).catch(() => undefined);
  const work = begin(id, progress);
  options.signal?.addEventListener("abort", cancel);
  try {
    return await work;
  } finally {
    options.signal?.removeEventListener("abort", cancel);
  }
}

/** One file with what this device has, under a passphrase and without its keys. Needs the permission `0ksync:admin`. */
export class BackupApi {
  /**
   * Writes every blob with its id and channel, and the settings, to a file on the device's disk.
   *
   * @param file where: an absolute path. There must be no file of that name.
   * @param passphrase at least 8 characters. Whoever has it and the file reads everything in it; without it nobody does.
   * @throws SyncError `INVALID_ARGUMENT`, `DISK_FULL`, `IO`, `BACKUP_CANCELLED`, `NOT_PERMITTED`.
   */
  async export(file: string, passphrase: string, options: BackupOptions = {}): Promise<BackupInfo> {
    return watched(options, (id, progress) => call("backupExport", id, file, passphrase, progress));
  }

  /**
   * Takes in what a backup holds and this device lacks: handlers get it, and so do the other devices, under the same ids. A device
   * without a group makes one first. All of it comes in, or nothing.
   *
   * @throws SyncError `WRONG_PASSPHRASE`, `BACKUP_DAMAGED`, `BACKUP_TRUNCATED`, `BACKUP_NEWER`, `VAULT_PARAMETERS`, `WRONG_APP`,
   * `BACKUP_CANCELLED`, `NOT_PERMITTED`.
   */
  async import(file: string, passphrase: string, options: BackupOptions = {}): Promise<ImportInfo> {
    return watched(options, (id, progress) => call("backupImport", id, file, passphrase, progress));
  }
}
