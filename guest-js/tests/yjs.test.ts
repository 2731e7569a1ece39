import { afterEach, beforeEach, expect, test, vi } from "vitest";
import * as Y from "yjs";

import { KsyncProvider, type ProviderError, type ProviderStatus } from "../yjs.js";
import { Log, pushed } from "./log.js";
import { code, deferred, fails, plugin, settle } from "./plugin.js";

const rust = plugin();
let log: Log;
const open: KsyncProvider[] = [];

beforeEach(() => {
  log = new Log(rust);
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((provider) => provider.destroy()));
});

function document(doc = new Y.Doc()) {
  const provider = new KsyncProvider(doc, { channel: "notes/1" });
  open.push(provider);
  return { doc, provider, text: doc.getText("t") };
}

/** What somebody reads who has only the log. */
function stored(): string {
  const doc = new Y.Doc();
  for (const update of log.blobs) Y.applyUpdate(doc, update);
  return doc.getText("t").toString();
}

test("two documents over one log become the same, whatever each wrote first", async () => {
  const [a, b] = [document(), document()];
  a.text.insert(0, "from a ");
  b.text.insert(0, "from b ");
  await settle();
  expect(a.text.toString()).toBe(b.text.toString());
  expect(a.text.toString()).toContain("from a ");
  expect(a.text.toString()).toContain("from b ");
  expect(stored()).toBe(a.text.toString());
});

test("a document opened later is loaded from the log, and says when", async () => {
  document().text.insert(0, "written before");
  await settle();
  const late = document();
  expect(late.text.toString()).toBe("");
  await late.provider.loaded;
  expect(late.text.toString()).toBe("written before");
  expect(rust.args("subscribe").at(-1)).toMatchObject({
    options: { channel: "notes/1", consumer: "yjs", from: "start", own: true },
  });
});

test("what comes from the log has the provider as its origin, and is not pushed again", async () => {
  const [a, b] = [document(), document()];
  const origins: unknown[] = [];
  b.doc.on("update", (_, origin) => origins.push(origin));
  a.text.insert(0, "x");
  await settle();
  expect(origins).toEqual([b.provider]);
  expect(log.blobs.length).toBe(1);
});

test("its own blob is not applied to it a second time", async () => {
  const apply = vi.fn();
  const a = document();
  a.doc.on("beforeTransaction", ({ origin }: Y.Transaction) => origin === a.provider && apply());
  a.text.insert(0, "x");
  await settle();
  expect(apply).not.toHaveBeenCalled();
});

test("one push is under way at a time, and what comes meanwhile goes along in the next", async () => {
  const first = deferred<unknown>();
  const answer = [() => first.promise];
  rust.on("push", (bytes: Uint8Array) => answer.shift()?.() ?? log.append(bytes));
  const { text, provider } = document();
  text.insert(0, "a");
  for (const letter of "bcdef") text.insert(text.length, letter);
  await settle();
  expect(rust.of("push").length).toBe(1);
  expect(provider.pending).toBe(6);
  first.resolve(log.append(pushed(rust.of("push"))[0] ?? new Uint8Array()));
  await settle();
  expect(rust.of("push").length).toBe(2);
  expect(provider.pending).toBe(0);
  expect(stored()).toBe("abcdef");
});

test("a push that fails is kept and tried again, and the status says so", async () => {
  rust.on("push", fails("DISK_FULL"));
  const { text, provider } = document();
  const seen: ProviderStatus[] = [];
  provider.on("status", (status) => seen.push(status));
  text.insert(0, "precious");
  await settle();
  expect(seen.at(-1)).toMatchObject({ pending: 1, error: { code: "DISK_FULL" }, retryAfterMs: 250 });
  await vi.advanceTimersByTimeAsync(250);
  expect(rust.of("push").length).toBe(2);
  expect(seen.at(-1)).toMatchObject({ pending: 1, retryAfterMs: 500 });
  rust.on("push", (bytes: Uint8Array) => log.append(bytes));
  await vi.advanceTimersByTimeAsync(500);
  expect(seen.at(-1)).toEqual({ pending: 0, error: null, retryAfterMs: null });
  expect(stored()).toBe("precious");
});

test("what is typed while a push waits to be tried again does not hide when that is", async () => {
  rust.on("push", fails("DISK_FULL"));
  const { text, provider } = document();
  const seen: ProviderStatus[] = [];
  provider.on("status", (status) => seen.push(status));
  text.insert(0, "a");
  await settle();
  await vi.advanceTimersByTimeAsync(100);
  text.insert(1, "b");
  expect(seen.at(-1)).toMatchObject({ pending: 2, error: { code: "DISK_FULL" }, retryAfterMs: 150 });
  rust.on("push", (bytes: Uint8Array) => log.append(bytes));
  await vi.advanceTimersByTimeAsync(150);
  text.insert(2, "c");
  expect(seen.at(-1)).toEqual({ pending: 1, error: null, retryAfterMs: null });
});

test("the plugin's own word on when to come back is kept to", async () => {
  rust.on("push", fails("RATE_LIMITED", { retryAfterMs: 9_000 }));
  document().text.insert(0, "x");
  await settle();
  await vi.advanceTimersByTimeAsync(8_999);
  expect(rust.of("push").length).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(rust.of("push").length).toBe(2);
});

test("a blob that is no update is reported and passed over", async () => {
  log.append(new Uint8Array([9, 9, 9, 9]));
  const { text, provider } = document();
  const errors: ProviderError[] = [];
  provider.on("error", (error) => errors.push(error));
  await provider.loaded;
  const other = document();
  other.text.insert(0, "goes on");
  await settle();
  expect(text.toString()).toBe("goes on");
  expect(errors).toMatchObject([{ error: { code: "INVALID_UPDATE" }, blob: { position: "1" } }]);
  await vi.advanceTimersByTimeAsync(120_000);
  expect(rust.of("handler_failed")).toEqual([]);
});

test("a blob is not called left out where only an observer of the document threw", async () => {
  const from = new Y.Doc();
  from.getText("t").insert(0, "sound");
  log.append(Y.encodeStateAsUpdate(from));
  const { doc, text, provider } = document();
  const errors: ProviderError[] = [];
  provider.on("error", (error) => errors.push(error));
  doc.on("update", () => {
    throw new Error("a fault of the app");
  });
  await provider.loaded;
  expect(text.toString()).toBe("sound");
  expect(errors).toMatchObject([{ error: { code: "INTERNAL" } }]);
  expect(errors[0]).not.toHaveProperty("blob");
});

test("small changes that are too large together go in several blobs", async () => {
  const first = deferred<unknown>();
  const answer = [() => first.promise];
  rust.on("push", (bytes: Uint8Array) => answer.shift()?.() ?? log.append(bytes));
  const { text } = document();
  const piece = "x".repeat(400 * 1024);
  for (let n = 0; n < 5; n += 1) text.insert(text.length, piece);
  await settle();
  first.resolve(log.append(pushed(rust.of("push"))[0] ?? new Uint8Array()));
  await settle();
  expect(log.blobs.every((bytes) => bytes.length <= 1024 * 1024)).toBe(true);
  expect(stored().length).toBe(5 * piece.length);
  expect(log.blobs.length, "two of them fit together").toBe(3);
});

test("a change of more than a mebibyte goes as one blob", async () => {
  const { text, provider } = document();
  text.insert(0, "kept ");
  await settle();
  text.insert(5, "x".repeat(3 * 1024 * 1024));
  text.insert(0, "later ");
  await settle();
  expect(provider.pending).toBe(0);
  expect(stored()).toBe(text.toString());
  expect(log.blobs.map((bytes) => bytes.length > 1024 * 1024)).toEqual([false, true, false]);
});

test("a change that is too large is reported once, waits, and goes when it was deleted again", async () => {
  const { text, provider } = document();
  const errors: ProviderError[] = [];
  provider.on("error", (error) => errors.push(error));
  text.insert(0, "kept ");
  await settle();
  text.insert(5, "x".repeat(64 * 1024 * 1024 + 1));
  text.insert(0, "later ");
  await vi.advanceTimersByTimeAsync(120_000);
  expect(errors).toMatchObject([{ error: { code: "TOO_LARGE" } }]);
  expect(provider.pending).toBe(2);
  expect(rust.of("push").length).toBe(1);
  text.delete(11, 64 * 1024 * 1024 + 1);
  await settle();
  expect(provider.pending).toBe(0);
  expect(stored()).toBe("later kept ");
});

test("what was in the document before the provider goes to the log, and only once", async () => {
  const doc = new Y.Doc();
  doc.getText("t").insert(0, "older than the provider");
  const first = document(doc);
  await first.provider.loaded;
  await settle();
  expect(stored()).toBe("older than the provider");
  const again = new Y.Doc();
  Y.applyUpdate(again, Y.encodeStateAsUpdate(doc));
  const second = document(again);
  await second.provider.loaded;
  await settle();
  expect(log.blobs.length).toBe(1);
});

test("what was only deleted before the provider goes to the log, too", async () => {
  const first = document();
  first.text.insert(0, "a secret");
  await settle();
  const offline = new Y.Doc();
  Y.applyUpdate(offline, Y.encodeStateAsUpdate(first.doc));
  offline.getText("t").delete(1, 7);
  await document(offline).provider.loaded;
  await settle();
  expect(stored()).toBe("a");
  expect(first.text.toString()).toBe("a");
  expect(log.blobs.length).toBe(2);
});

test("a log that cannot be read yet is tried again, and one that is forbidden is not", async () => {
  rust.on("subscribe", fails("HOME_BUSY"));
  const { provider } = document();
  const errors: string[] = [];
  provider.on("error", ({ error }) => errors.push(error.code));
  await settle();
  log = new Log(rust);
  await vi.advanceTimersByTimeAsync(250);
  await provider.loaded;
  expect(errors).toEqual(["HOME_BUSY"]);
  rust.on("subscribe", () => Promise.reject("Command plugin:0ksync|subscribe not allowed by ACL" as unknown as Error));
  expect(await code(document().provider.loaded)).toBe("NOT_PERMITTED");
});

test("after destroy the document is left alone, and what was pending is tried once more", async () => {
  rust.on("push", fails("IO"));
  const [a, b] = [document(), document()];
  a.text.insert(0, "last words");
  await settle();
  const slow = deferred();
  rust.on("push", (bytes: Uint8Array) => slow.promise.then(() => log.append(bytes)));
  let gone = false;
  const destroyed = a.provider.destroy().then(() => (gone = true));
  await settle();
  expect(gone).toBe(false);
  slow.resolve();
  await destroyed;
  expect(stored()).toBe("last words");
  a.text.insert(0, "unheard ");
  b.text.insert(0, "from b ");
  await settle();
  expect(a.text.toString()).toBe("unheard last words");
  expect(b.text.toString()).not.toContain("unheard");
});

test("destroyed with discard, a provider lets go what was pending: it belongs to a log that is gone", async () => {
  rust.on("push", fails("IO"));
  const { provider, text } = document();
  text.insert(0, "of the old group");
  await settle();
  expect(provider.pending).toBe(1);
  rust.on("push", (bytes: Uint8Array) => log.append(bytes));
  await provider.destroy({ discard: true });
  expect(provider.pending).toBe(0);
  expect(stored()).toBe("");
});

test("every destroy waits for the last attempt, and a later one can still discard", async () => {
  const slow = deferred();
  rust.on("push", () => slow.promise.then(fails("IO")));
  const { provider, text } = document();
  text.insert(0, "x");
  const destroyed = [provider.destroy(), provider.destroy({ discard: true })];
  expect(provider.pending).toBe(0);
  let gone = false;
  void destroyed[1]?.then(() => (gone = true));
  await settle();
  expect(gone).toBe(false);
  slow.resolve();
  await Promise.all(destroyed);
});

test("destroying the document destroys the provider", async () => {
  const { doc, provider } = document();
  await provider.loaded;
  doc.destroy();
  await settle();
  expect(rust.of("unsubscribe").length).toBe(1);
});

test("a document that makes snapshots makes one ten seconds after a change, and the next five minutes later at the soonest", async () => {
  rust.on("snapshot", () => ({ id: "ab", replaced: "0" }));
  // How far the page has handled a channel outlasts a test.
  log = new Log(rust, "kept");
  const doc = new Y.Doc();
  const provider = new KsyncProvider(doc, { channel: "kept", snapshots: true });
  open.push(provider);
  const text = doc.getText("t");
  const made = () =>
    rust.of("snapshot").map(({ args, headers }) => {
      const read = new Y.Doc();
      Y.applyUpdate(read, args as Uint8Array);
      return [read.getText("t").toString(), headers["ksync-channel"], headers["ksync-up-to"]];
    });
  text.insert(0, "first");
  await vi.advanceTimersByTimeAsync(9_000);
  text.insert(5, " and second");
  expect(made()).toEqual([]);
  await vi.advanceTimersByTimeAsync(1_100);
  expect(made()).toEqual([["first and second", "kept", "2"]]);
  text.insert(0, "third, ");
  await vi.advanceTimersByTimeAsync(295_000);
  expect(made().length).toBe(1);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(made().slice(1)).toEqual([["third, first and second", "kept", "3"]]);
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(made().length).toBe(2);
  // Nor when it is over.
  text.insert(0, "x");
  await settle();
  await provider.destroy();
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(made().length).toBe(2);
});

test("a snapshot that fails is told and made later, and one that is too large is told once", async () => {
  rust.on("snapshot", fails("DISK_FULL"));
  const doc = new Y.Doc();
  const provider = new KsyncProvider(doc, { channel: "kept", snapshots: true });
  open.push(provider);
  const errors: ProviderError[] = [];
  provider.on("error", (error) => errors.push(error));
  doc.getText("t").insert(0, "x");
  await vi.advanceTimersByTimeAsync(10_100);
  expect(errors.map(({ error }) => error.code)).toEqual(["DISK_FULL"]);
  rust.on("snapshot", () => ({ id: "ab", replaced: "1" }));
  await vi.advanceTimersByTimeAsync(300_000);
  expect(rust.of("snapshot").length).toBe(2);
  for (let n = 0; n < 3; n += 1) {
    doc.getText("t").insert(0, "y".repeat(30_000_000));
    await vi.advanceTimersByTimeAsync(310_000);
  }
  expect(rust.of("snapshot").length).toBe(4);
  doc.getText("t").insert(0, "z");
  await vi.advanceTimersByTimeAsync(310_000);
  expect(errors.map(({ error }) => error.code)).toEqual(["DISK_FULL", "TOO_LARGE"]);
  expect(provider.pending).toBe(0);
});
