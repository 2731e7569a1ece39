import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { SyncStatus } from "../bindings.js";
import { sync } from "../index.js";
import { code, deferred, fails, plugin, settle, status } from "./plugin.js";

const rust = plugin();
const offs: (() => void)[] = [];

beforeEach(() => {
  rust.on("listen", () => 3).on("status", () => status());
});

afterEach(async () => {
  for (const off of offs.splice(0)) off();
  await settle();
});

async function on(...[type, listener]: Parameters<typeof sync.on>): Promise<() => void> {
  const off = await sync.on(type, listener as never);
  offs.push(off);
  return off;
}

const send = (event: unknown) => rust.sender("listen", "events").send(event);

test("each listener hears its type, over one connection that ends with the last of them", async () => {
  const heard: string[] = [];
  const first = await on("arrived", () => heard.push("first"));
  const second = await on("arrived", () => heard.push("second"));
  const third = await on("device", (event: unknown) => heard.push(JSON.stringify(event)));
  send({ type: "arrived" });
  send({ type: "device", change: "added", device: { id: "d", name: "Phone" }, by: null });
  expect(heard).toEqual(["first", "second", expect.stringContaining("Phone")]);
  expect(rust.of("listen").length).toBe(1);
  first();
  first();
  third();
  await settle();
  expect(rust.of("unlisten")).toEqual([]);
  send({ type: "arrived" });
  expect(heard.at(-1)).toBe("second");
  const late = rust.sender("listen", "events");
  second();
  await settle();
  expect(rust.args("unlisten")).toEqual([{ listener: 3 }]);
  late.send({ type: "arrived" });
  expect(heard.length).toBe(4);
});

test("after the last has gone, the next one begins anew", async () => {
  (await on("arrived", () => {}))();
  const before = rust.sender("listen", "events");
  let heard = 0;
  await on("arrived", () => (heard += 1));
  expect(rust.of("listen").length).toBe(2);
  send({ type: "arrived" });
  before.send({ type: "arrived" });
  expect(heard, "what the old connection still says is not heard twice").toBe(1);
});

test("a listener that throws does not keep it from the others", async () => {
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  let heard = 0;
  await on("synced", () => {
    throw new Error("mine");
  });
  await on("synced", () => (heard += 1));
  send({ type: "synced" });
  expect(heard).toBe(1);
  expect(error).toHaveBeenCalledOnce();
});

test("a listener that cannot begin is told why, and the next one may", async () => {
  rust.on("listen", fails("INTERNAL"));
  expect(await code(sync.on("arrived", () => {}))).toBe("INTERNAL");
  rust.on("listen", () => 4);
  await on("arrived", () => {});
  expect(rust.of("listen").length).toBe(2);
});

test("the status comes at once, and after whatever may have changed it", async () => {
  const seen: number[] = [];
  let outbox = 5;
  rust.on("status", () => status({ outbox }));
  await on("status", ((now: SyncStatus) => seen.push(now.outbox)) as never);
  expect(seen).toEqual([5]);
  outbox = 0;
  send({ type: "accepted" });
  await settle();
  expect(seen).toEqual([5, 0]);
  send({ type: "presence", device: { id: "d", name: null }, channel: "c", data: [1] });
  await settle();
  expect(seen).toEqual([5, 0]);
});

test("many events make one call at a time, and the last answer is of after the last event", async () => {
  const seen: number[] = [];
  await on("status", ((now: SyncStatus) => seen.push(now.outbox)) as never);
  const answers = [deferred<SyncStatus>(), deferred<SyncStatus>()];
  let asked = 0;
  rust.on("status", () => answers[asked++]?.promise);
  for (let n = 0; n < 50; n += 1) send({ type: "arrived" });
  await settle();
  expect(asked).toBe(1);
  answers[0]?.resolve(status({ outbox: 1 }));
  await settle();
  expect(asked).toBe(2);
  answers[1]?.resolve(status({ outbox: 2 }));
  await settle();
  expect(asked).toBe(2);
  expect(seen).toEqual([0, 1, 2]);
});

test("a status that cannot be had is the error of the call, and later of nobody", async () => {
  rust.on("status", fails("HOME_BUSY"));
  expect(await code(sync.on("status", () => {}))).toBe("HOME_BUSY");
  await settle();
  expect(rust.args("unlisten")).toEqual([{ listener: 3 }]);
  rust.on("status", () => status());
  const seen: unknown[] = [];
  await on("status", (now: unknown) => seen.push(now));
  rust.on("status", fails("IO"));
  send({ type: "arrived" });
  await settle();
  expect(seen.length).toBe(1);
});

test("presence goes to its channel and comes from it", async () => {
  const heard: unknown[] = [];
  offs.push(await sync.presence.on("notes", ({ device, data }) => heard.push([device.name, data])));
  offs.push(await sync.presence.on(null, ({ channel }) => heard.push(channel)));
  send({ type: "presence", device: { id: "d", name: "Phone" }, channel: "other", data: [1] });
  send({ type: "presence", device: { id: "d", name: "Phone" }, channel: "notes", data: [104, 105] });
  expect(heard).toEqual(["other", ["Phone", new Uint8Array([104, 105])], "notes"]);
  await sync.presence.set("hi", { channel: "né" });
  expect(rust.of("presence")).toMatchObject([{ args: new Uint8Array([104, 105]), headers: { "ksync-channel": "n%C3%A9" } }]);
});
