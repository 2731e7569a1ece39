import type { FileInfo, FileProgress, FilesPolicy as Policy } from "./bindings.js";
import { call, callRaw, callUntyped, channelFor, encoded, toBytes } from "./call.js";
import type { Message } from "./blobs.js";
import { cancelled, explained } from "./errors.js";

/** How large a file may be that crosses as bytes. */
const IN_MEMORY = 64 * 1024 * 1024;

/** For how long a call waits by default while nothing comes or goes, in milliseconds. */
const PATIENCE_MS = 30_000;

/** How a call that carries a file is watched and ended. */
export interface FileOptions {
  /** Hears how many bytes of how many are done, at most ten times a second. */
  onProgress?: (done: number, total: number) => void;
  /** Ends the call when aborted: it rejects with `CANCELLED`. Needs `0ksync:allow-file-cancel`; without that the call goes on. */
  signal?: AbortSignal;
}

/** A file that is in the page's memory: of `<input type="file">`, or pasted, or made by the page. */
export interface FileBytes {
  /** What the others see: 1 to 1,024 bytes of UTF-8. */
  name: string;
  /** At most 64 MiB. */
  bytes: Uint8Array | ArrayBuffer | Blob;
}

/** Which files are carried by themselves, and how. */
export interface FilesPolicy {
  /** Up to which size, in bytes, other devices' files are fetched by themselves; larger ones when they are asked for. */
  automaticUpTo: number;
  /** Whether nothing is fetched or given by itself: for a connection that costs, say. What is asked for comes all the same. */
  paused: boolean;
  /**
   * Whether content goes straight from device to device where one reaches the other, by itself or not: for that the group's devices
   * tell each other their addresses. The relays are used all the same, for those who are not there; with `false`, they alone are. By
   * default true.
   */
  direct: boolean;
}

/**
 * Files of any size that one device puts and the others get, encrypted from end to end. The event `file` tells what happens
 * to them.
 */
export class FilesApi {
  /**
   * Gives a file to the group. Durable on this device when it resolves, online or not; the others get it from the relay, or from
   * this device. {@link FilesApi.waitGiven} waits until they need this device no more.
   *
   * @param what bytes with a name, or a `File`: at most 64 MiB, without `onProgress`, and ended by the `signal` only before they cross. Or the absolute path of a file on this machine, of any
   * size: for that the window needs the permission `0ksync:files-paths` with a scope that allows the path, or a person has dropped the file
   * onto the window and it has `0ksync:allow-file-put`. The path's last part is the name, unless `options.name` says another one.
   * @throws SyncError `INVALID_ARGUMENT` for a path that the window may not read, and for a name that is empty or too long;
   * `FILE_CHANGED` if something writes to the file meanwhile; `TOO_LARGE`, `DISK_FULL`, `IO`, `REMOVED`, `CANCELLED`,
   * `NOT_PERMITTED`.
   */
  async put(what: string | FileBytes | File, options: FileOptions & { name?: string } = {}): Promise<FileInfo> {
    if (typeof what === "string") {
      return watched(options, (id, progress) => call("filePut", id, what, options.name ?? null, progress));
    }
    const { name, content } =
      "bytes" in what && !(what instanceof Blob) ? { name: what.name, content: what.bytes } : { name: what.name, content: what };
    const size = content instanceof Blob ? content.size : content.byteLength;
    if (size > IN_MEMORY) {
      const next = "Put it by its path: a file that a person drops onto the window may have any size.";
      throw explained("TOO_LARGE", `these are ${size} bytes, and at most ${IN_MEMORY} cross as bytes`, next);
    }
    if (options.signal?.aborted) throw cancelled("the file");
    const bytes = toBytes(content instanceof Blob ? await content.arrayBuffer() : content);
    if (options.signal?.aborted) throw cancelled("the file");
    const header = encoded(options.name ?? name, "the file's name");
    return callRaw<FileInfo>("file_put_bytes", bytes, undefined, { "ksync-file-name": header });
  }

  /**
   * Writes a file to a path on this machine, where nothing is yet. What is not here is fetched first, whatever the policy says;
   * what has come when it is ended is kept, and goes on from there next time. Needs the permission `0ksync:files-paths` with a scope that allows the path.
   *
   * @param path an absolute path; `safeName` of the file makes a good last part.
   * @param options `timeoutMs`: for how long nothing may come, by default 30,000.
   * @throws SyncError `INVALID_ARGUMENT` for a path that the window may not write, one where something is, and an id that no
   * file has; `CONTENT_FORGED` if it is not what its sender said; `CONTENT_MISSING`, `RELAY_UNREACHABLE` or `TIMEOUT` if it does
   * not come; `DISK_FULL`, `IO`, `CANCELLED`, `NOT_PERMITTED`.
   */
  async get(id: string, path: string, options: FileOptions & { timeoutMs?: number } = {}): Promise<void> {
    const patience = options.timeoutMs ?? PATIENCE_MS;
    await watched(options, (number, progress) => call("fileGet", number, id, path, patience, progress));
  }

  /**
   * What a file holds, if that is at most 64 MiB: to show it, or to hand it on. What is not here is fetched first.
   *
   * @param options `timeoutMs`: for how long nothing may come, by default 30,000.
   * @throws SyncError `TOO_LARGE`; `INVALID_ARGUMENT` for an id that no file has; else as {@link FilesApi.get}.
   */
  async read(id: string, options: FileOptions & { timeoutMs?: number } = {}): Promise<Uint8Array<ArrayBuffer>> {
    const patienceMs = options.timeoutMs ?? PATIENCE_MS;
    const message = await watched(options, (number, progress) =>
      callUntyped<Message>("file_read", { call: number, id, patienceMs, progress }),
    );
    return new Uint8Array(message);
  }

  /**
   * Waits until a relay has a file that was put here, so that the others get it also when this device is off; at once if nobody else
   * is in the group, and for a file of theirs. It goes there without this too, but while the policy says `paused`, and goes on when this
   * has ended, however that was.
   *
   * @param options `timeoutMs`: for how long nothing may move, by default 30,000. `onProgress` hears how much has gone, counted in
   * sealed bytes, of which a file has a few more than its own. The `signal` ends the waiting, not what goes.
   * @throws SyncError `INVALID_ARGUMENT` for an id that no file has; `QUOTA` or `CONTENT_UNAVAILABLE` if the relay does not take it;
   * `RELAY_UNREACHABLE` or `TIMEOUT` if it does not go; `CANCELLED`, `NOT_PERMITTED`.
   */
  async waitGiven(id: string, options: FileOptions & { timeoutMs?: number } = {}): Promise<void> {
    const patience = options.timeoutMs ?? PATIENCE_MS;
    await watched(options, (number, progress) => call("fileWaitGiven", number, id, patience, progress));
  }

  /**
   * The group's files, in the order in which this device heard of them.
   *
   * @throws SyncError `STORE_CORRUPT`, `IO`.
   */
  list(): Promise<FileInfo[]> {
    return call("fileList");
  }

  /**
   * Takes a file off the list, on every device, and forgets what it holds. What somebody has written to a path of theirs stays.
   *
   * @throws SyncError `INVALID_ARGUMENT` for an id that no file has; `DISK_FULL`, `REMOVED`.
   */
  async remove(id: string): Promise<void> {
    await call("fileRemove", id);
  }

  /** Which files are carried by themselves, and how. */
  async policy(): Promise<FilesPolicy> {
    return policyOf(await call("filePolicy"));
  }

  /**
   * Changes that, as long as the app runs. `plugins.0ksync.files` in `tauri.conf.json`, or `Builder::files` in Rust, says where it begins.
   *
   * @param change what is to be different.
   * @returns what holds then.
   */
  async setPolicy(change: Partial<FilesPolicy>): Promise<FilesPolicy> {
    const { automaticUpTo, paused, direct } = change;
    const text = automaticUpTo === undefined ? null : sizeOf(automaticUpTo);
    return policyOf(await call("fileSetPolicy", text, paused ?? null, direct ?? null));
  }
}

function policyOf({ automaticUpTo, paused, direct }: Policy): FilesPolicy {
  return { automaticUpTo: Number(automaticUpTo), paused, direct };
}

/** A size as it crosses; whatever is beyond what JavaScript counts is all there is. */
function sizeOf(bytes: number): string {
  if (!(bytes >= 0)) throw explained("INVALID_ARGUMENT", "a size is no less than 0", "Use a number of bytes.");
  return String(BigInt(Math.floor(Math.min(bytes, Number.MAX_SAFE_INTEGER))));
}

/** Does something under a number by which it can be given up. */
async function watched<T>(
  options: FileOptions,
  begin: (id: number, progress: ReturnType<typeof channelFor<FileProgress>>) => Promise<T>,
): Promise<T> {
  if (options.signal?.aborted) throw cancelled("the file");
  // Not counted up: a page may hold this package twice.
  const [id = 0] = crypto.getRandomValues(new Uint32Array(1));
  const progress = channelFor<FileProgress>(({ done, total }) => options.onProgress?.(Number(done), Number(total)));
  const cancel = (): void => void call("fileCancel", id).catch(() => undefined);
  options.signal?.addEventListener("abort", cancel);
  try {
    return await begin(id, progress);
  } catch (error) {
    // Whatever it failed with: nobody wants it any more.
    throw options.signal?.aborted ? cancelled("the file") : error;
  } finally {
    options.signal?.removeEventListener("abort", cancel);
  }
}
