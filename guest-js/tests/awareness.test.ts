import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { applyAwarenessUpdate, Awareness, encodeAwarenessUpdate, removeAwarenessStates } from "y-protocols/awareness";
import * as Y from "yjs";

import { KsyncProvider } from "../yjs.js";
import { Log, pushed } from "./log.js";
import { plugin, settle } from "./plugin.js";

const rust = plugin();
const open: { provider: KsyncProvider; awareness: Awareness }[] = [];

beforeEach(() => {
  new Log(rust);
  rust.on("listen", () => 5);
});

afterEach(async () => {
  for (const { provider, awareness } of open.splice(0)) {
    await provider.destroy();
    awareness.destroy();
  }
  await settle();
});

async function here() {
  const awareness = new Awareness(new Y.Doc());
  const provider = new KsyncProvider(awareness.doc, { channel: "notes/1", awareness });
  open.push({ provider, awareness });
  await settle();
  return { awareness, provider };
}

/** Somebody else's awareness, and what it would tell. */
function other(state: Record<string, unknown>) {
  const awareness = new Awareness(new Y.Doc());
  awareness.setLocalState(state);
  const told = () => [...encodeAwarenessUpdate(awareness, [awareness.clientID])];
  return { awareness, told, id: awareness.clientID };
}

const send = (event: unknown) => rust.sender("listen", "events").send(event);
const presence = (device: string, data: number[]) =>
  send({ type: "presence", device: { id: device, name: null }, channel: "notes/1", data });

/** What the others know of this page by what it told. */
function known(): Map<number, unknown> {
  const awareness = new Awareness(new Y.Doc());
  awareness.setLocalState(null);
  for (const update of pushed(rust.of("presence"))) applyAwarenessUpdate(awareness, update, "");
  awareness.destroy();
  return new Map(awareness.states);
}

test("the own state goes out on the document's channel", async () => {
  const { awareness } = await here();
  awareness.setLocalStateField("user", { name: "Ada" });
  await vi.advanceTimersByTimeAsync(200);
  expect(known().get(awareness.clientID)).toEqual({ user: { name: "Ada" } });
  expect(rust.of("presence").at(-1)?.headers).toEqual({ "ksync-channel": "notes%2F1" });
});

test("it goes out at most five times a second, and the last state wins", async () => {
  const { awareness } = await here();
  await vi.advanceTimersByTimeAsync(200);
  const before = rust.of("presence").length;
  for (let n = 0; n <= 100; n += 1) {
    awareness.setLocalStateField("cursor", n);
    await vi.advanceTimersByTimeAsync(10);
  }
  await vi.advanceTimersByTimeAsync(200);
  const told = rust.of("presence").length - before;
  expect(told).toBeGreaterThanOrEqual(5);
  expect(told).toBeLessThanOrEqual(7);
  expect(known().get(awareness.clientID)).toEqual({ cursor: 100 });
});

test("a state beyond 1,024 bytes is not told, and the console says so once", async () => {
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  const { awareness } = await here();
  await vi.advanceTimersByTimeAsync(200);
  const before = rust.of("presence").length;
  awareness.setLocalStateField("big", "x".repeat(1_100));
  await vi.advanceTimersByTimeAsync(200);
  awareness.setLocalStateField("big", "y".repeat(1_100));
  await vi.advanceTimersByTimeAsync(200);
  expect(rust.of("presence").length).toBe(before);
  expect(error).toHaveBeenCalledOnce();
  awareness.setLocalStateField("big", "small");
  await vi.advanceTimersByTimeAsync(200);
  expect(known().get(awareness.clientID)).toEqual({ big: "small" });
});

test("the others come in, and whoever is new is told of this page", async () => {
  const { awareness } = await here();
  awareness.setLocalState({ name: "me" });
  await vi.advanceTimersByTimeAsync(1_000);
  const before = rust.of("presence").length;
  const phone = other({ name: "phone" });
  presence("phone", phone.told());
  expect(awareness.states.get(phone.id)).toEqual({ name: "phone" });
  await vi.advanceTimersByTimeAsync(200);
  expect(rust.of("presence").length).toBe(before + 1);
  phone.awareness.setLocalState({ name: "phone", cursor: 1 });
  presence("phone", phone.told());
  await vi.advanceTimersByTimeAsync(1_000);
  expect(rust.of("presence").length, "who is known already is not answered").toBe(before + 1);
});

test.each([
  ["as it was", (phone: ReturnType<typeof other>) => phone.told()],
  [
    "with another state",
    (phone: ReturnType<typeof other>) => {
      phone.awareness.setLocalState({ name: "phone", cursor: 1 });
      return phone.told();
    },
  ],
])("who comes back after a while without connection is here again at once, %s, and hears of this page", async (_, told) => {
  const { awareness } = await here();
  awareness.setLocalState({ name: "me" });
  const phone = other({ name: "phone" });
  presence("phone", phone.told());
  await vi.advanceTimersByTimeAsync(1_000);
  presence("phone", []);
  await vi.advanceTimersByTimeAsync(1_000);
  const before = rust.of("presence").length;
  presence("phone", told(phone));
  expect(awareness.states.has(phone.id)).toBe(true);
  await vi.advanceTimersByTimeAsync(200);
  expect(rust.of("presence").length).toBe(before + 1);
});

test("who was too long without a sign and comes back hears of this page", async () => {
  const { awareness } = await here();
  awareness.setLocalState({ name: "me" });
  const phone = other({ name: "phone" });
  presence("phone", phone.told());
  // As the awareness itself does after 30 s.
  removeAwarenessStates(awareness, [phone.id], "timeout");
  await vi.advanceTimersByTimeAsync(1_000);
  const before = rust.of("presence").length;
  phone.awareness.setLocalState({ name: "phone" });
  presence("phone", phone.told());
  expect(awareness.states.has(phone.id)).toBe(true);
  await vi.advanceTimersByTimeAsync(200);
  expect(rust.of("presence").length).toBe(before + 1);
});

test("it is told again once there is a connection", async () => {
  const { awareness } = await here();
  rust.on("presence", () => Promise.reject({ code: "RELAY_UNREACHABLE", message: "m", details: {} } as unknown as Error));
  awareness.setLocalState({ name: "me" });
  await vi.advanceTimersByTimeAsync(1_000);
  const before = rust.of("presence").length;
  rust.on("presence", () => null);
  send({ type: "connected" });
  await vi.advanceTimersByTimeAsync(200);
  expect(rust.of("presence").length).toBe(before + 1);
});

test("a device that is gone or removed leaves, with all of its windows and nobody else's", async () => {
  const { awareness } = await here();
  const [one, two, laptop] = [other({ n: 1 }), other({ n: 2 }), other({ n: 3 })];
  presence("phone", one.told());
  presence("phone", two.told());
  presence("laptop", laptop.told());
  send({ type: "device", change: "named", device: { id: "phone", name: "P" }, by: null });
  expect(awareness.states.size).toBe(4);
  send({ type: "device", change: "removed", device: { id: "phone", name: "P" }, by: null });
  expect([awareness.states.has(one.id), awareness.states.has(two.id), awareness.states.has(laptop.id)]).toEqual([
    false,
    false,
    true,
  ]);
  presence("laptop", []);
  expect(awareness.states.has(laptop.id)).toBe(false);
});

test("what is no awareness update does no harm", async () => {
  const { awareness } = await here();
  presence("phone", [255, 255, 255]);
  const phone = other({ n: 1 });
  presence("phone", phone.told());
  expect(awareness.states.has(phone.id)).toBe(true);
});

test("destroy takes this page out of the others', and the others out of here", async () => {
  const { awareness, provider } = await here();
  awareness.setLocalState({ name: "me" });
  await vi.advanceTimersByTimeAsync(200);
  const phone = other({ n: 1 });
  presence("phone", phone.told());
  expect(known().has(awareness.clientID)).toBe(true);
  await provider.destroy();
  await settle();
  expect(known().has(awareness.clientID)).toBe(false);
  expect(awareness.states.has(phone.id)).toBe(false);
  expect(rust.of("unlisten").length).toBe(1);
});

test("a page that goes away says so", async () => {
  const { awareness } = await here();
  awareness.setLocalState({ name: "me" });
  await vi.advanceTimersByTimeAsync(200);
  window.dispatchEvent(new Event("pagehide"));
  expect(known().has(awareness.clientID)).toBe(false);
});
