import { describe, expect, it } from "vitest";
import * as Y from "yjs";

import { Notes } from "./notes";

function notes(): { doc: Y.Doc; store: Notes; clock: { now: number } } {
  const doc = new Y.Doc();
  const clock = { now: 1_000_000 };
  return { doc, clock, store: new Notes(doc, () => clock.now) };
}

describe("notes", () => {
  it("are listed with title and words, the last changed first", () => {
    const { store, clock } = notes();
    const first = store.create();
    store.body(first)?.insert(0, "Old\nthing");
    clock.now += 60_000;
    const second = store.create();
    expect(store.list().map((note) => note.id)).toEqual([second, first]);
    clock.now += 60_000;
    store.body(first)?.insert(0, "Very ");
    store.touch(first);
    expect(store.list()[0]).toMatchObject({ id: first, title: "Very Old", snippet: "thing", updated: clock.now });
  });

  it("tell of each change, also of one that came from elsewhere", () => {
    const here = notes();
    const there = notes();
    let changes = 0;
    there.store.onChange(() => changes++);
    here.doc.on("update", (update: Uint8Array) => Y.applyUpdate(there.doc, update));
    const id = here.store.create();
    here.store.body(id)?.insert(0, "Hello");
    expect(there.store.get(id)?.title).toBe("Hello");
    expect(changes).toBe(2);
  });

  it("renew their time at most every ten seconds", () => {
    const { store, clock, doc } = notes();
    const id = store.create();
    let updates = 0;
    doc.on("update", () => updates++);
    for (let typed = 0; typed < 50; typed++) {
      clock.now += 1_000;
      store.touch(id);
    }
    expect(updates).toBe(5);
  });

  it("that are deleted can be brought back for thirty days", () => {
    const { store, clock } = notes();
    const [kept, lost] = [store.create(), store.create()];
    store.trash(kept);
    expect(store.list().map((note) => note.id)).toEqual([lost]);
    store.restore(kept);
    expect(store.list()).toHaveLength(2);
    store.trash(lost);
    clock.now += 29 * 24 * 60 * 60 * 1000;
    store.purge();
    expect(store.deleted().map((note) => note.id)).toEqual([lost]);
    clock.now += 2 * 24 * 60 * 60 * 1000;
    store.purge();
    expect(store.deleted()).toEqual([]);
    expect(store.list().map((note) => note.id)).toEqual([kept]);
  });

  it("that another version wrote differently do no harm", () => {
    const { store, doc } = notes();
    doc.getMap<Y.Map<unknown>>("notes").set("odd", new Y.Map([["body", "no Y.Text"]]));
    expect(store.list()).toEqual([]);
  });
});
