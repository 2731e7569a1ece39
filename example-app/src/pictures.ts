import type { FileInfo } from "tauri-plugin-0ksync-api";

/** How many pictures are read at a time. */
const AT_ONCE = 2;

/** How far outside of what is in view a picture is had all the same, in pixels. */
const MARGIN = 200;

/** How long a scroll goes on before it is looked what has come into view. */
const LOOK_MS = 50;

/** A place for a picture. */
export interface Frame {
  readonly element: Element;
  /** The file whose picture it lacks, if there is one to be had. */
  lacks(): FileInfo | undefined;
  /** Shows the picture; nothing, if it cannot be had. */
  paint(bytes: Uint8Array<ArrayBuffer> | undefined): void;
  /** Lets the picture go. */
  clear(): void;
}

/** How the bytes of a picture are had. */
export type Read = (file: FileInfo, signal: AbortSignal) => Promise<Uint8Array<ArrayBuffer>>;

/**
 * The pictures of a long list: those in view are read, a few at a time, and let go again when they are not. By where the frames are and
 * not by an `IntersectionObserver`, which is silent in a window that is covered.
 */
export class Pictures {
  private readonly frames = new Set<Frame>();
  private readonly inView = new Set<Frame>();
  private readonly reading = new Map<Frame, AbortController>();
  private timer: number | undefined;
  private readonly later = (): void => {
    this.timer ??= window.setTimeout(() => this.look(), LOOK_MS);
  };

  constructor(
    private readonly scroller: Element,
    private readonly read: Read,
  ) {
    scroller.addEventListener("scroll", this.later);
    window.addEventListener("resize", this.later);
  }

  add(frame: Frame): void {
    this.frames.add(frame);
  }

  remove(frame: Frame): void {
    this.frames.delete(frame);
    this.leave(frame);
  }

  /** Looks what is in view now. */
  look(): void {
    window.clearTimeout(this.timer);
    this.timer = undefined;
    const { top, bottom } = this.scroller.getBoundingClientRect();
    // All of it is measured before anything changes, so that it is laid out once.
    const places = [...this.frames].map((frame) => ({ frame, at: frame.element.getBoundingClientRect() }));
    for (const { frame, at } of places) {
      if (at.bottom >= top - MARGIN && at.top <= bottom + MARGIN) this.inView.add(frame);
      else this.leave(frame);
    }
    this.next();
  }

  /** Nobody looks any more. */
  close(): void {
    this.scroller.removeEventListener("scroll", this.later);
    window.removeEventListener("resize", this.later);
    window.clearTimeout(this.timer);
    for (const frame of this.frames) this.remove(frame);
  }

  private leave(frame: Frame): void {
    this.inView.delete(frame);
    this.reading.get(frame)?.abort();
    frame.clear();
  }

  private next(): void {
    for (const frame of this.inView) {
      if (this.reading.size >= AT_ONCE) return;
      const file = this.reading.has(frame) ? undefined : frame.lacks();
      if (file) void this.load(frame, file);
    }
  }

  private async load(frame: Frame, file: FileInfo): Promise<void> {
    const abort = new AbortController();
    const { signal } = abort;
    this.reading.set(frame, abort);
    const bytes = await this.read(file, signal).catch(() => undefined);
    this.reading.delete(frame);
    if (!signal.aborted) frame.paint(bytes);
    this.next();
  }
}
