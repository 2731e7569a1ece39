import { beforeEach, expect, test, vi } from "vitest";

import { type BlobHandler, type SubscribeOptions, sync } from "../index.js";
import { batch, blob, code, deferred, fails, plugin, settle } from "./plugin.js";

const rust = plugin();

beforeEach(() => {
  rust.on("subscribe", () => ({ id: 7, until: "0" }));
  vi.spyOn(console, "error").mockImplementation(() => {});
});

async function begin(handler: BlobHandler, options?: SubscribeOptions) {
  const stop = await sync.subscribe("notes", handler, options);
  return { stop, rust: rust.sender("subscribe", "blobs") };
}

/** What was acknowledged: batch and position. */
const acks = () => rust.args("ack").map((args) => [(args as { batch: number }).batch, (args as { position: string }).position]);

test("what is wanted is said in full", async () => {
  await begin(() => {});
  await sync.subscribe(null, () => {}, { from: "start", consumer: "index", own: true });
  expect(rust.args("subscribe").map((args) => (args as { options: unknown }).options)).toEqual([
    { channel: "notes", consumer: null, from: "position", own: false },
    { channel: null, consumer: "index", from: "start", own: true },
  ]);
});

test.each([
  ["ArrayBuffer", (bytes: ArrayBuffer) => bytes],
  ["Uint8Array in a larger buffer", (bytes: ArrayBuffer) => new Uint8Array([0, 0, 0, ...new Uint8Array(bytes)]).subarray(3)],
  ["number[]", (bytes: ArrayBuffer) => [...new Uint8Array(bytes)]],
])("blobs come whole and in order, as %s", async (_, form) => {
  const taken: unknown[] = [];
  const { rust: sender } = await begin((b) => void taken.push([b.position, b.channel, b.own, b.text(), b.data.length]));
  sender.send(form(batch(1, [blob(3, "é", { channel: "a/ü" }), blob(5, new Uint8Array(), { own: true }), blob(9, "xyz")])));
  await settle();
  expect(taken).toEqual([
    ["3", "a/ü", false, "é", 2],
    ["5", "notes", true, "", 0],
    ["9", "notes", false, "xyz", 3],
  ]);
});

test("a blob that is no text says so, and its bytes are there", async () => {
  let seen: unknown;
  const { rust: sender } = await begin((b) => {
    seen = b.data[0];
    expect(() => b.text()).toThrow(TypeError);
  });
  sender.send(batch(1, [blob(1, new Uint8Array([0xff]))]));
  await settle();
  expect(seen).toBe(0xff);
  expect(acks()).toEqual([[1, "1"]]);
});

test("one handler runs at a time, and the end of a batch is acknowledged", async () => {
  const first = deferred();
  const taken: string[] = [];
  const { rust: sender } = await begin(async (b) => {
    taken.push(b.position);
    if (b.position === "1") await first.promise;
  });
  sender.send(batch(4, [blob(1), blob(2)]));
  await settle();
  expect(taken).toEqual(["1"]);
  first.resolve();
  await settle();
  expect(taken).toEqual(["1", "2"]);
  expect(acks()).toEqual([[4, "2"]]);
  sender.send(batch(5, [blob(3)]));
  await settle();
  expect(acks()).toEqual([
    [4, "2"],
    [5, "3"],
  ]);
});

test("batches that come before the answer wait for it", async () => {
  const answer = deferred<{ id: number; until: string }>();
  rust.on("subscribe", () => answer.promise);
  const taken: string[] = [];
  const begun = sync.subscribe("notes", (b) => void taken.push(b.position));
  await settle();
  rust.sender("subscribe", "blobs").send(batch(1, [blob(1)]));
  await settle();
  expect(taken).toEqual([]);
  answer.resolve({ id: 9, until: "0" });
  await begun;
  await settle();
  expect(taken).toEqual(["1"]);
  expect(rust.args("ack")).toEqual([{ subscription: 9, batch: 1, position: "1" }]);
});

test("a rejection is tried again later and later, reported, and holds back what is behind it", async () => {
  const taken: string[] = [];
  let good = false;
  const { rust: sender } = await begin((b) => {
    taken.push(b.position);
    if (b.position === "2" && !good) throw new Error("not now");
  });
  sender.send(batch(1, [blob(1), blob(2), blob(3)]));
  await settle();
  expect(taken).toEqual(["1", "2"]);
  expect(acks(), "what was taken is said before the wait").toEqual([[1, "1"]]);
  for (const wait of [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
    const before = taken.length;
    await vi.advanceTimersByTimeAsync(wait - 1);
    expect(taken.length).toBe(before);
    await vi.advanceTimersByTimeAsync(1);
    expect(taken.length).toBe(before + 1);
  }
  expect(rust.args("handler_failed").slice(0, 2)).toEqual([
    { subscription: 7, id: blob(2).id, attempts: 1, retryAfterMs: 250 },
    { subscription: 7, id: blob(2).id, attempts: 2, retryAfterMs: 500 },
  ]);
  good = true;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(taken.slice(-2)).toEqual(["2", "3"]);
  expect(acks().at(-1)).toEqual([1, "3"]);
});

test("what was taken is acknowledged within 100 ms while the next handler is at work", async () => {
  const slow = deferred();
  const { rust: sender } = await begin((b) => (b.position === "2" ? slow.promise : undefined));
  sender.send(batch(1, [blob(1), blob(2)]));
  await vi.advanceTimersByTimeAsync(99);
  expect(acks()).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(acks()).toEqual([[1, "1"]]);
  slow.resolve();
  await settle();
  expect(acks()).toEqual([
    [1, "1"],
    [1, "2"],
  ]);
});

test("an acknowledgement that fails is tried again, and not after the end", async () => {
  rust.on("ack", fails("IO"));
  const { stop, rust: sender } = await begin(() => {});
  sender.send(batch(1, [blob(1)]));
  await settle();
  await vi.advanceTimersByTimeAsync(250);
  await vi.advanceTimersByTimeAsync(500);
  expect(acks()).toEqual([
    [1, "1"],
    [1, "1"],
    [1, "1"],
  ]);
  stop();
  await settle();
  const said = acks().length;
  await vi.advanceTimersByTimeAsync(120_000);
  expect(acks().length).toBe(said);
});

test("ready waits for what was in the log at the beginning, by number and not by letters", async () => {
  rust.on("subscribe", () => ({ id: 7, until: "10" }));
  const { stop, rust: sender } = await begin(() => {});
  let ready = false;
  void stop.ready.then(() => (ready = true));
  sender.send(batch(1, [blob(9)]));
  await settle();
  expect(ready).toBe(false);
  sender.send(batch(2, [blob(10)]));
  await settle();
  expect(ready).toBe(true);
});

test("ready is at once where nothing waited, and is not taken back at the end", async () => {
  const { stop } = await begin(() => {});
  await stop.ready;
  stop();
  await stop.ready;
});

test("after the end nothing is handed out or tried again, and the plugin is told once", async () => {
  rust.on("subscribe", () => ({ id: 7, until: "5" }));
  const taken: string[] = [];
  const { stop, rust: sender } = await begin((b) => {
    taken.push(b.position);
    if (b.position === "2") throw new Error("no");
  });
  sender.send(batch(1, [blob(1), blob(2), blob(3)]));
  await settle();
  stop();
  stop();
  await settle();
  expect(vi.getTimerCount(), "nothing is left waiting").toBe(0);
  sender.send(batch(2, [blob(4)]));
  await vi.advanceTimersByTimeAsync(120_000);
  expect(taken).toEqual(["1", "2"]);
  expect(rust.args("unsubscribe")).toEqual([{ subscription: 7 }]);
  expect(await code(stop.ready)).toBe("CANCELLED");
});

test("what was taken a moment before the end is still said", async () => {
  const slow = deferred();
  const { stop, rust: sender } = await begin((b) => (b.position === "2" ? slow.promise : undefined));
  sender.send(batch(1, [blob(1), blob(2)]));
  await settle();
  stop();
  await settle();
  expect(acks()).toEqual([[1, "1"]]);
  slow.resolve();
  await settle();
  expect(rust.calls.map(({ command }) => command).slice(-3), "and so is what was in hand").toEqual(["ack", "ack", "unsubscribe"]);
  expect(acks()).toEqual([
    [1, "1"],
    [1, "2"],
  ]);
});

test("a handler that ends the subscription has taken its blob", async () => {
  const taken: string[] = [];
  const { stop, rust: sender } = await begin(async (b) => {
    taken.push(b.position);
    await stop();
  });
  sender.send(batch(1, [blob(1), blob(2)]));
  await settle();
  expect(taken).toEqual(["1"]);
  expect(rust.calls.map(({ command }) => command).slice(-2)).toEqual(["ack", "unsubscribe"]);
  expect(acks()).toEqual([[1, "1"]]);
});

test("a handler that fails after the end has not taken its blob", async () => {
  const slow = deferred();
  const { stop, rust: sender } = await begin(() => slow.promise);
  sender.send(batch(1, [blob(1)]));
  await settle();
  stop();
  slow.reject(new Error("no"));
  await settle();
  expect(acks()).toEqual([]);
  expect(rust.of("unsubscribe").length).toBe(1);
});

test("a log that was opened anew makes the batch before worthless", async () => {
  const slow = deferred();
  const taken: string[] = [];
  const { rust: sender } = await begin((b) => {
    taken.push(b.text());
    return taken.length === 1 ? slow.promise : undefined;
  });
  sender.send(batch(1, [blob(8, "old 8"), blob(9, "old 9")]));
  await settle();
  sender.send(batch(2, [blob(1, "new 1")]));
  slow.resolve();
  await settle();
  expect(taken).toEqual(["old 8", "new 1"]);
  expect(acks().at(-1)).toEqual([2, "1"]);
});

/** A handler that keeps what it got, and waits at the blob «hold». */
function holding() {
  const held = deferred();
  const taken: string[] = [];
  const handler: BlobHandler = (b) => {
    taken.push(b.text());
    return b.text() === "hold" ? held.promise : undefined;
  };
  return { taken, handler, release: () => held.resolve() };
}

test("an empty batch ends the old log: what waits of it is let go, and ready has nothing to wait for", async () => {
  rust.on("subscribe", () => ({ id: 7, until: "9" }));
  const { taken, handler, release } = holding();
  const { stop, rust: sender } = await begin(handler);
  sender.send(batch(1, [blob(1, "before"), blob(2, "hold"), blob(3, "never")]));
  await settle();
  sender.send(batch(2, []));
  await stop.ready;
  release();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(taken).toEqual(["before", "hold"]);
  expect(acks(), "the new log has other blobs at these positions").toEqual([]);
  sender.send(batch(3, [blob(1, "after")]));
  await settle();
  expect(taken).toEqual(["before", "hold", "after"]);
  expect(acks()).toEqual([[3, "1"]]);
});

test("a blob of the old log that failed holds nothing of the new one back", async () => {
  const taken: string[] = [];
  const { rust: sender } = await begin((b) => {
    taken.push(b.text());
    if (b.text() === "bad") throw new Error("no");
  });
  sender.send(batch(1, [blob(1, "bad")]));
  await vi.advanceTimersByTimeAsync(10_000);
  const tries = taken.length;
  sender.send(batch(2, []));
  sender.send(batch(3, [blob(1, "new")]));
  await settle();
  expect(taken.slice(tries)).toEqual(["new"]);
});

test("an acknowledgement of the old log that failed holds none of the new one back", async () => {
  rust.on("ack", fails("IO"));
  const { rust: sender } = await begin(() => {});
  sender.send(batch(1, [blob(4)]));
  await vi.advanceTimersByTimeAsync(10_000);
  rust.on("ack", () => null);
  sender.send(batch(2, []));
  sender.send(batch(3, [blob(1)]));
  await settle();
  expect(acks().at(-1)).toEqual([3, "1"]);
});

test("a reset in the middle of a subscription goes on with the new log, however late the plugin says so", async () => {
  rust.on("subscribe", () => ({ id: 7, until: "9" }));
  const { taken, handler, release } = holding();
  const { stop, rust: sender } = await begin(handler);
  sender.send(batch(1, [blob(1, "before"), blob(2, "hold"), blob(3, "never")]));
  await settle();
  await sync.reset();
  await stop.ready;
  release();
  await settle();
  // A large message takes its time.
  sender.send(batch(2, [blob(4, "of the old log")]));
  sender.send(batch(3, []));
  sender.send(batch(4, [blob(1, "after")]));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(taken).toEqual(["before", "hold", "after"]);
  expect(acks()).toEqual([[4, "1"]]);
});

test("what the new log gave before the reset was answered stays", async () => {
  const answer = deferred();
  rust.on("reset", () => answer.promise);
  const { taken, handler, release } = holding();
  const { rust: sender } = await begin(handler);
  sender.send(batch(1, [blob(1, "hold"), blob(2, "never")]));
  await settle();
  const done = sync.reset();
  sender.send(batch(2, []));
  sender.send(batch(3, [blob(1, "after")]));
  answer.resolve();
  await done;
  release();
  await settle();
  expect(taken).toEqual(["hold", "after"]);
});

test("a reset that fails changes nothing", async () => {
  rust.on("reset", fails("IO"));
  const { taken, handler, release } = holding();
  const { rust: sender } = await begin(handler);
  sender.send(batch(1, [blob(1, "hold"), blob(2, "next")]));
  await settle();
  expect(await code(sync.reset())).toBe("IO");
  release();
  await settle();
  expect(taken).toEqual(["hold", "next"]);
});

test("after leaving the group there is nothing that ready could wait for", async () => {
  rust.on("subscribe", () => ({ id: 7, until: "9" }));
  const { stop } = await begin(() => {});
  rust.on("leave", fails("RELAY_UNREACHABLE"));
  let ready = false;
  void stop.ready.then(() => (ready = true));
  expect(await code(sync.leave())).toBe("RELAY_UNREACHABLE");
  await settle();
  expect(ready, "nothing was deleted").toBe(false);
  rust.on("leave", () => null);
  await sync.leave();
  await stop.ready;
});

test("a subscription that cannot begin says why", async () => {
  rust.on("subscribe", fails("INVALID_ARGUMENT"));
  expect(await code(sync.subscribe("x".repeat(300), () => {}))).toBe("INVALID_ARGUMENT");
});
