/** A blob out of the log. */
export interface SyncBlob {
  /** 16 bytes in hex, the same on every device. A blob that comes again has the same id. */
  readonly id: string;
  /** The device that pushed it. */
  readonly device: string;
  /** The channel that it was pushed to. */
  readonly channel: string;
  /** Its place in this device's log: a decimal number up to 2^62, so compare with `BigInt`. */
  readonly position: string;
  /** Whether this device pushed it. */
  readonly own: boolean;
  /**
   * Whether it is a snapshot ({@link Sync.snapshot}): it stands for all that its maker had of the channel, blobs that were
   * handled here before perhaps among it.
   */
  readonly snapshot: boolean;
  /** The bytes, at most 64 MiB. They are the handler's own. */
  readonly data: Uint8Array<ArrayBuffer>;
  /**
   * The bytes as UTF-8 text.
   *
   * @throws TypeError if they are none.
   */
  text(): string;
}

/** A message of a subscription's channel: what of these it is depends on the platform and on the message's size. */
export type Message = ArrayBuffer | Uint8Array | number[];

/** One message of a subscription. */
export interface Batch {
  /** The number that its acknowledgements name. */
  readonly number: number;
  /** The blobs, by position. */
  readonly blobs: readonly SyncBlob[];
}

type Head = Pick<SyncBlob, "id" | "device" | "channel" | "position" | "own" | "snapshot"> & { bytes: number };

/** How long the two numbers in front are: the batch's, and the length of the heads. */
const FRONT = 8;

/**
 * Reads a batch: its number and the length of the heads (u32 each, little-endian), the heads in JSON, the blobs' bytes.
 *
 * @throws RangeError or SyntaxError if the message is none, which no plugin of this version sends.
 */
export function decodeBatch(message: Message): Batch {
  const bytes = message instanceof Uint8Array ? message : new Uint8Array(message);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const body = FRONT + view.getUint32(4, true);
  const heads = JSON.parse(new TextDecoder().decode(bytes.subarray(FRONT, body))) as Head[];
  let at = body;
  const blobs = heads.map(({ bytes: length, ...head }) => {
    if (at + length > bytes.length) throw new RangeError("a batch is cut short");
    // A copy: a view would keep the whole batch in memory with each blob.
    const data = new Uint8Array(bytes.subarray(at, at + length));
    at += length;
    return { ...head, data, text: () => new TextDecoder("utf-8", { fatal: true }).decode(data) };
  });
  return { number: view.getUint32(0, true), blobs };
}
