import { expect, test } from "vitest";

import { sync } from "../index.js";
import { code, plugin, settle } from "./plugin.js";

const rust = plugin();

test("a passphrase and the key's place cross as they are", async () => {
  await sync.unlock("correct horse");
  await sync.setVault("passphrase", { passphrase: "correct horse" });
  await sync.setVault("keychain");
  expect(rust.args("unlock")).toEqual([{ passphrase: "correct horse" }]);
  expect(rust.args("set_vault")).toEqual([
    { kind: "passphrase", passphrase: "correct horse" },
    { kind: "keychain", passphrase: null },
  ]);
});

test("an export tells how far it is, and is ended under its own number", async () => {
  let end = (_: unknown): void => undefined;
  rust.on("backup_export", () => new Promise((_, reject) => (end = reject)));
  rust.on("backup_cancel", () => end({ code: "BACKUP_CANCELLED", message: "it was ended", retryAfterMs: null }));
  const heard: number[] = [];
  const abort = new AbortController();
  const work = sync.backup.export("/tmp/b", "correct horse", {
    onProgress: (percent) => heard.push(percent),
    signal: abort.signal,
  });
  const failed = expect(work).rejects.toMatchObject({ code: "BACKUP_CANCELLED" });
  rust.sender("backup_export", "progress").send({ percent: 40 });
  await settle();
  expect(heard).toEqual([40]);
  abort.abort();
  await failed;
  const [begun] = rust.args("backup_export") as [{ id: number; file: string }];
  expect(begun.file).toBe("/tmp/b");
  expect(rust.args("backup_cancel")).toEqual([{ id: begun.id }]);
});

test("what is aborted before it begins does not begin", async () => {
  expect(await code(sync.backup.import("/tmp/b", "correct horse", { signal: AbortSignal.abort() }))).toBe(
    "BACKUP_CANCELLED",
  );
  expect(rust.args("backup_import")).toEqual([]);
});
