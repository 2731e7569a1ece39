// Stands in for `tauri-plugin-0ksync-api/yjs`; see README.md beside this file.
import type { ProviderEvents, ProviderOptions } from "tauri-plugin-0ksync-api/yjs";
import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";

import { user } from "../src/people";
import { others, scene, written } from "./scene";

const HOUR = 3_600_000;

const TEXTS: [string, number][] = [
  [
    [
      "Weekend in the hills\n\nTrain 8:12 from platform 4, back on Sunday at 17:40.\n\nTo bring:\n- rain jackets",
      "- the small stove, gas is in the cellar\n- Anna's map, the old one shows the path by the lake",
      "\nTickets are in the drawer.",
    ].join("\n"),
    0.02,
  ],
  ["Shopping\nmilk\nbread\noat flakes\ncoffee, the one from the corner shop", 1.4],
  ["# Plumber\nComes on Thursday between 9 and 11. Ask about the tap in the kitchen.", 26],
  ["Books\nThe Left Hand of Darkness\nAusterlitz\nA Month in the Country", 75],
  [
    "A note with a rather long title that does not fit into one line of the list in any window\nand one more line",
    24 * 12,
  ],
  ["Wifi for guests\nThe name is on the router, the word under it.", 24 * 200],
];

/** The provider's shape, over notes that are made up. */
export class KsyncProvider {
  readonly pending = 0;
  readonly loaded: Promise<void>;

  constructor(doc: Y.Doc, { awareness }: ProviderOptions) {
    const wait = scene === "loading" ? 1e9 : 150;
    this.loaded = new Promise((resolve) => window.setTimeout(resolve, wait)).then(() => {
      // After leaving, there is nothing to load.
      if (written && !begun) fill(doc);
      begun = true;
      if (awareness) visit(doc, awareness);
    });
  }

  on<E extends keyof ProviderEvents>(_type: E, _listener: (event: ProviderEvents[E]) => void): () => void {
    return () => {};
  }

  async destroy(): Promise<void> {}
}

let begun = false;

function fill(doc: Y.Doc): void {
  const notes = doc.getMap<Y.Map<unknown>>("notes");
  TEXTS.forEach(([text, hours], index) => {
    const at = Date.now() - hours * HOUR;
    const fields = new Y.Map<unknown>();
    fields.set("body", new Y.Text(text));
    fields.set("created", at);
    fields.set("updated", at);
    if (index === TEXTS.length - 1) fields.set("trashed", Date.now() - HOUR);
    notes.set(`n${index}`, fields);
  });
}

/** The others look at the first notes, with their cursors in them. */
function visit(doc: Y.Doc, awareness: Awareness): void {
  others.forEach((device, index) => {
    const body = doc.getMap<Y.Map<unknown>>("notes").get(`n${index}`)?.get("body");
    if (!(body instanceof Y.Text)) return;
    const place = (at: number): Y.RelativePosition => Y.createRelativePositionFromTypeIndex(body, at);
    const state = {
      user: user(device.id, device.name ?? ""),
      note: `n${index}`,
      cursor: { anchor: place(30), head: place(41) },
    };
    awareness.states.set(index + 1, state);
    awareness.meta.set(index + 1, { clock: 1, lastUpdated: Date.now() + HOUR });
    awareness.emit("change", [{ added: [index + 1], updated: [], removed: [] }, "mock"]);
  });
}
