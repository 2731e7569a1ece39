import { expect, test, vi } from "vitest";

import type { FileInfo } from "../bindings.js";
import { sync } from "../index.js";
import { code, deferred, fails, plugin, settle, status } from "./plugin.js";

const rust = plugin();

const photo: FileInfo = {
  id: "ab",
  name: "a/b.png",
  safeName: "a_b.png",
  size: "3",
  device: "d",
  position: "7",
  modified: "0",
  state: "here",
  bytes: null,
  given: true,
};

test("bytes cross as they are, with the name in a header that is ASCII", async () => {
  rust.on("file_put_bytes", () => photo);
  expect(await sync.files.put({ name: "Grüße.txt", bytes: new Uint8Array([1, 255]) })).toEqual(photo);
  await sync.files.put(new File([new Uint8Array([7])], "picked.bin"));
  await sync.files.put({ name: "blob", bytes: new Blob(["hi"]) }, { name: "another" });
  expect(rust.args("file_put_bytes").map((body) => [...(body as Uint8Array)])).toEqual([[1, 255], [7], [104, 105]]);
  expect(rust.of("file_put_bytes").map((call) => call.headers)).toEqual([
    { "ksync-file-name": "Gr%C3%BC%C3%9Fe.txt" },
    { "ksync-file-name": "picked.bin" },
    { "ksync-file-name": "another" },
  ]);
});

test("what is too large, or has no name that is text, is refused before anything is read", async () => {
  const large = new Blob([]);
  const read = vi.spyOn(large, "arrayBuffer");
  Object.defineProperty(large, "size", { value: 64 * 1024 * 1024 + 1 });
  expect(await code(sync.files.put({ name: "large", bytes: large }))).toBe("TOO_LARGE");
  expect(read).not.toHaveBeenCalled();
  expect(await code(sync.files.put({ name: "\ud800", bytes: new Uint8Array(1) }))).toBe("INVALID_ARGUMENT");
  expect(rust.calls).toEqual([]);
});

test("a path is put and got under a number, and progress is told in numbers", async () => {
  const work = deferred<FileInfo>();
  rust.on("file_put", () => work.promise);
  const heard: number[][] = [];
  const put = sync.files.put("/home/a/film.mkv", { onProgress: (done, total) => heard.push([done, total]) });
  rust.sender("file_put", "progress").send({ done: "5", total: "17592186044416" });
  await settle();
  work.resolve(photo);
  expect(await put).toEqual(photo);
  expect(heard).toEqual([[5, 17_592_186_044_416]]);
  expect(rust.args("file_put")).toMatchObject([{ path: "/home/a/film.mkv", name: null }]);

  await sync.files.get("ab", "/home/a/copy", { timeoutMs: 5 });
  expect(rust.args("file_get")).toMatchObject([{ id: "ab", path: "/home/a/copy", patienceMs: 5 }]);
  const numbers = [...rust.args("file_put"), ...rust.args("file_get")].map((args) => (args as { call: number }).call);
  expect(new Set(numbers).size).toBe(2);
});

test("what is aborted is given up under its own number, and rejects as given up", async () => {
  let end = (_: unknown): void => undefined;
  rust.on("file_get", () => new Promise((_, reject) => (end = reject)));
  rust.on("file_cancel", () => end({ code: "CLOSED", message: "it was given up", retryAfterMs: null }));
  const abort = new AbortController();
  const work = code(sync.files.get("ab", "/tmp/x", { signal: abort.signal }));
  await settle();
  abort.abort();
  expect(await work).toBe("CANCELLED");
  const [begun] = rust.args("file_get") as [{ call: number }];
  expect(rust.args("file_cancel")).toEqual([{ call: begun.call }]);

  expect(await code(sync.files.put("/tmp/x", { signal: AbortSignal.abort() }))).toBe("CANCELLED");
  expect(await code(sync.files.put({ name: "x", bytes: new Uint8Array(1) }, { signal: AbortSignal.abort() }))).toBe("CANCELLED");
  expect(rust.of("file_put").length + rust.of("file_put_bytes").length).toBe(0);
});

test("it is waited until a relay has a file, and that can be given up", async () => {
  let end = (_: unknown): void => undefined;
  rust.on("file_wait_given", () => new Promise((resolve) => (end = resolve)));
  const heard: number[][] = [];
  const given = sync.files.waitGiven("ab", { timeoutMs: 7, onProgress: (done, total) => heard.push([done, total]) });
  await settle();
  rust.sender("file_wait_given", "progress").send({ done: "5", total: "17592186044416" });
  end(null);
  expect(await given).toBeUndefined();
  expect(heard).toEqual([[5, 17_592_186_044_416]]);

  rust.on("file_wait_given", fails("QUOTA"));
  expect(await code(sync.files.waitGiven("ab"))).toBe("QUOTA");
  expect(rust.args("file_wait_given")).toMatchObject([
    { id: "ab", patienceMs: 7 },
    { id: "ab", patienceMs: 30_000 },
  ]);

  rust.on("file_wait_given", () => new Promise((_, reject) => (end = reject)));
  rust.on("file_cancel", () => end({ code: "CLOSED", message: "it was given up", retryAfterMs: null }));
  const abort = new AbortController();
  const work = code(sync.files.waitGiven("ab", { signal: abort.signal }));
  await settle();
  abort.abort();
  expect(await work).toBe("CANCELLED");
  const begun = rust.args("file_wait_given").at(-1) as { call: number };
  expect(rust.args("file_cancel")).toEqual([{ call: begun.call }]);
});

test("one that was through before the word came is through", async () => {
  rust.on("file_put", () => photo);
  const abort = new AbortController();
  const put = sync.files.put("/tmp/x", { signal: abort.signal });
  abort.abort();
  expect(await put).toEqual(photo);
  rust.on("file_put", fails("FILE_CHANGED"));
  expect(await code(sync.files.put("/tmp/x"))).toBe("FILE_CHANGED");
});

test("what is read comes as bytes, however it crossed", async () => {
  for (const message of [new Uint8Array([1, 2]).buffer, new Uint8Array([1, 2]), [1, 2]]) {
    rust.on("file_read", () => message);
    expect(await sync.files.read("ab")).toEqual(new Uint8Array([1, 2]));
  }
  expect(rust.args("file_read").at(-1)).toMatchObject({ id: "ab", patienceMs: 30_000 });
});

test("files are listed and removed, and the policy is read and changed by its parts", async () => {
  rust.on("file_list", () => [photo]).on("file_policy", () => ({ automaticUpTo: "67108864", paused: false, direct: true }));
  expect(await sync.files.list()).toEqual([photo]);
  expect(await sync.files.remove("ab")).toBeUndefined();
  expect(rust.args("file_remove")).toEqual([{ id: "ab" }]);
  expect(await sync.files.policy()).toEqual({ automaticUpTo: 67_108_864, paused: false, direct: true });
  rust.on("file_set_policy", () => ({ automaticUpTo: "0", paused: true, direct: false }));
  expect(await sync.files.setPolicy({ paused: true })).toEqual({ automaticUpTo: 0, paused: true, direct: false });
  await sync.files.setPolicy({ automaticUpTo: 1_000_000_000_000 });
  await sync.files.setPolicy({ automaticUpTo: Infinity });
  await sync.files.setPolicy({ direct: false });
  expect(await code(sync.files.setPolicy({ automaticUpTo: -1 }))).toBe("INVALID_ARGUMENT");
  expect(rust.args("file_set_policy")).toEqual([
    { automaticUpTo: null, paused: true, direct: null },
    { automaticUpTo: "1000000000000", paused: null, direct: null },
    { automaticUpTo: "9007199254740991", paused: null, direct: null },
    { automaticUpTo: null, paused: null, direct: false },
  ]);
});

test("a window without the permission for paths is told which", async () => {
  rust.on("file_put", () => Promise.reject("0ksync.file_put not allowed." as unknown as Error));
  const error = await sync.files.put("/tmp/x").catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "NOT_PERMITTED" });
  expect((error as Error).message).toContain('Add "0ksync:files-paths"');
});

test("events of files are heard, and their progress asks for no status", async () => {
  rust.on("listen", () => 3).on("status", () => status());
  const heard: string[] = [];
  const offs = [await sync.on("file", ({ change }) => heard.push(change)), await sync.on("status", () => {})];
  const send = (change: string): void => {
    const rest = { own: null, progress: null, code: null, retryAfterMs: null };
    rust.sender("listen", "events").send({ type: "file", id: "ab", change, ...rest });
  };
  const asked = rust.of("status").length;
  send("progress");
  await settle();
  expect(rust.of("status").length).toBe(asked);
  send("here");
  await settle();
  expect(rust.of("status").length).toBe(asked + 1);
  expect(heard).toEqual(["progress", "here"]);
  for (const off of offs) off();
});
