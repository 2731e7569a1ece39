import { KsyncProvider } from "tauri-plugin-0ksync-api/yjs";
import { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";

import { Notes } from "./notes";

/** The channel that carries the notes. */
const CHANNEL = "notes";

/**
 * One document and what keeps it. When this device leaves its group or is reset, the log behind the document is gone,
 * and the next session begins with an empty one.
 */
export class Session {
  readonly doc = new Y.Doc();
  readonly awareness = new Awareness(this.doc);
  readonly notes = new Notes(this.doc);
  readonly provider = new KsyncProvider(this.doc, { channel: CHANNEL, awareness: this.awareness, snapshots: true });
  /** Whether the notes of the log are in the document. */
  loaded = false;

  /** Ends it. What is pending goes with it: it belongs to a log that is gone. */
  destroy(): void {
    this.notes.destroy();
    void this.provider.destroy({ discard: true });
    this.awareness.destroy();
    this.doc.destroy();
  }
}
