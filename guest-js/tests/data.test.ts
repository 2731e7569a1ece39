import { afterEach, expect, test } from "vitest";

import { sync, SyncError } from "../index.js";
import { batch, blob, code, fails, plugin, settle } from "./plugin.js";

const rust = plugin();

test("bytes and text cross as they are, with the channel in a header that is ASCII", async () => {
  rust.on("push", () => ({ id: "ab", position: "9007199254740993" }));
  const receipt = await sync.push(new Uint8Array([1, 2, 255]), { channel: "notes/é 17" });
  await sync.push("grün");
  await sync.push(new Uint8Array([7, 8]).buffer);
  expect(receipt).toMatchObject({ id: "ab", position: "9007199254740993" });
  expect(rust.args("push").map((body) => [...(body as Uint8Array)])).toEqual([
    [1, 2, 255],
    [103, 114, 195, 188, 110],
    [7, 8],
  ]);
  expect(rust.of("push").map((call) => call.headers)).toEqual([{ "ksync-channel": "notes%2F%C3%A9%2017" }, {}, {}]);
});

test("a snapshot goes up to what was handled here, or to where it is said", async () => {
  rust.on("snapshot", () => ({ id: "ab", replaced: "2" })).on("subscribe", () => ({ id: 7, until: "0" }));
  await sync.snapshot("notes", "before anything");
  await sync.subscribe("notes", () => {});
  rust.sender("subscribe", "blobs").send(batch(1, [blob(3), blob(12)]));
  await settle();
  expect(await sync.snapshot("notes", "both")).toEqual({ id: "ab", replaced: "2" });
  await sync.snapshot("notes", "one", { upTo: "3" });
  await sync.snapshot("other", "of another channel");
  expect(rust.of("snapshot").map((call) => call.headers)).toEqual([
    { "ksync-channel": "notes" },
    { "ksync-channel": "notes", "ksync-up-to": "12" },
    { "ksync-channel": "notes", "ksync-up-to": "3" },
    { "ksync-channel": "other" },
  ]);
});

test("a blob whose bytes do not come is skipped by its id", async () => {
  rust.on("skip", ({ id }: { id: string }) => (id === "ab" ? null : fails("INVALID_ARGUMENT")()));
  expect(await sync.skip("ab")).toBeUndefined();
  expect(await code(sync.skip("cd"))).toBe("INVALID_ARGUMENT");
});

test("a receipt waits for its own blob, as long as it was told", async () => {
  rust.on("push", () => ({ id: "ab", position: "1" })).on("wait", ({ state }: { state: string }) =>
    state === "delivered" ? fails("TIMEOUT")() : null,
  );
  const receipt = await sync.push("x");
  expect(await receipt.accepted()).toBeUndefined();
  expect(await code(receipt.delivered({ timeoutMs: 5 }))).toBe("TIMEOUT");
  expect(rust.args("wait")).toEqual([
    { id: "ab", state: "accepted", timeoutMs: 30_000 },
    { id: "ab", state: "delivered", timeoutMs: 5 },
  ]);
});

test("what a command rejects with is an error with all of its parts", async () => {
  rust.on("push", fails("RATE_LIMITED", { retryAfterMs: 1_500 }));
  const error = await sync.push("x").catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SyncError);
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({
    code: "RATE_LIMITED",
    retryAfterMs: 1_500,
    message: "it failed with RATE_LIMITED. Do better.",
    details: { nextStep: "Do better.", fault: "person" },
  });
  rust.on("push", fails("EMPTY"));
  expect(await sync.push("").catch((thrown: unknown) => thrown)).not.toHaveProperty("retryAfterMs");
});

const refuse = (text: string) => () => Promise.reject(text as unknown as Error);

test.each([
  ["debug", "0ksync.remove_device not allowed. Permissions associated with this command: 0ksync:admin, 0ksync:allow-remove-device"],
  ["release", "Command plugin:0ksync|remove_device not allowed by ACL"],
])("a missing permission is named, and the set that holds it: %s", async (_, text) => {
  rust.on("remove_device", refuse(text));
  const error = await sync.removeDevice("d").catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "NOT_PERMITTED" });
  expect((error as Error).message).toContain('"0ksync:allow-remove-device"');
  expect((error as Error).message).toContain('Add "0ksync:admin"');
  rust.on("status", refuse("Command plugin:0ksync|status not allowed by ACL"));
  const everyday = await sync.status().catch((thrown: unknown) => thrown);
  expect((everyday as Error).message).toContain('Add "0ksync:default"');
});

test.each([
  ["plugin 0ksync not found", "tauri add 0ksync"],
  ["0ksync.status not allowed. Plugin not found", "tauri add 0ksync"],
  ["Command status not found", "same version"],
  ["0ksync.status not allowed. Command not found", "same version"],
])("an app without the plugin, or with another one, says what to do: %s", async (text, words) => {
  rust.on("status", refuse(text));
  const error = await sync.status().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "NOT_INSTALLED" });
  expect((error as Error).message).toContain(words);
});

test("what Tauri says otherwise is kept", async () => {
  rust.on("status", refuse("invalid args `id` for command `status`."));
  const error = await sync.status().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "INTERNAL", details: { reason: "invalid args `id` for command `status`" } });
});

test("a channel that is no text is refused before anything is sent", async () => {
  expect(await code(sync.push("x", { channel: "\ud800" }))).toBe("INVALID_ARGUMENT");
  expect(rust.calls).toEqual([]);
});

test("alerts are read, and noted as seen up to one", async () => {
  const alerts = [{ number: "9007199254740993", kind: "lost" }];
  rust.on("alerts", () => alerts);
  expect(await sync.alerts()).toEqual(alerts);
  expect(await sync.alertsSeen("9007199254740993")).toBeUndefined();
  expect(rust.args("alerts_seen")).toEqual([{ upTo: "9007199254740993" }]);
});

test("the calls of the group reach their commands", async () => {
  rust.on("status", () => ({ name: "Laptop" })).on("devices", () => [1]).on("doctor", () => [2]);
  expect(await sync.status()).toEqual({ name: "Laptop" });
  expect(await sync.devices()).toEqual([1]);
  expect(await sync.doctor()).toEqual([2]);
  expect(await sync.removeDevice("ab")).toBeUndefined();
  expect(await sync.removeDevice("cd", { lost: true })).toBeUndefined();
  expect(await sync.leave()).toBeUndefined();
  expect(await sync.reset()).toBeUndefined();
  expect(rust.calls.slice(3).map(({ command, args }) => [command, args])).toEqual([
    ["remove_device", { id: "ab", lost: false }],
    ["remove_device", { id: "cd", lost: true }],
    ["leave", {}],
    ["reset", {}],
  ]);
});

test("a recovery kit is the answer of the call that makes it, and leads back", async () => {
  const kit = { words: "abandon art", relay: "https://sync.example.org" };
  rust.on("make_recovery_kit", () => kit).on("recover", () => ({ group: "g", device: "d" }));
  expect(await sync.recoveryKit.create()).toEqual(kit);
  expect(await sync.recover(kit.words, { relay: kit.relay, name: "Laptop" })).toEqual({ group: "g", device: "d" });
  await sync.recover(kit.words);
  expect(rust.calls.slice(1).map(({ command, args }) => [command, args])).toEqual([
    ["recover", { words: kit.words, relay: kit.relay, name: "Laptop" }],
    ["recover", { words: kit.words, relay: null, name: null }],
  ]);
  rust.on("make_recovery_kit", refuse("0ksync.make_recovery_kit not allowed. Permissions associated with this command: 0ksync:allow-make-recovery-kit"));
  const error = await sync.recoveryKit.create().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "NOT_PERMITTED", details: { nextStep: expect.stringContaining("0ksync:admin") } });
});

const { __TAURI_INTERNALS__: internals } = window as unknown as Record<string, unknown>;

afterEach(() => {
  (window as unknown as Record<string, unknown>)["__TAURI_INTERNALS__"] = internals ?? {};
});

test("outside of Tauri, that is said", async () => {
  delete (window as unknown as Record<string, unknown>)["__TAURI_INTERNALS__"];
  expect(await code(sync.push("x"))).toBe("NOT_INSTALLED");
  expect(await code(sync.subscribe(null, () => {}))).toBe("NOT_INSTALLED");
  expect(await code(sync.invite())).toBe("NOT_INSTALLED");
  expect(await code(sync.on("status", () => {}))).toBe("NOT_INSTALLED");
});
