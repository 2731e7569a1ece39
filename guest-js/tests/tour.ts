// All that an app does with the package, compiled by `npm run check`. Not run.
import { sync } from "tauri-plugin-0ksync-api";
import "tauri-plugin-0ksync-api/widget";
import { KsyncProvider } from "tauri-plugin-0ksync-api/yjs";
import * as Y from "yjs";

// Push: resolves once it is on this device's disk, online or not.
const receipt = await sync.push("hello", { channel: "notes" });
await receipt.delivered();

// Receive: each blob at least once, with a stable id; the position moves when the handler resolves.
const stop = await sync.subscribe("notes", async (blob) => {
  console.log(blob.id, blob.text());
});
await stop.ready;
stop();

// Pair: <ksync-pair></ksync-pair> in the page, or by hand.
const invite = await sync.invite();
console.log(invite.uri, invite.svg);
invite.onRequest(async (request) => {
  await request.accept(prompt(`Add «${request.name}»? Type its four digits`) ?? "");
});
console.log((await invite.done).name);

// And on the other device:
await sync.join("KSYNC:…", { onCheck: (digits) => alert(digits) });

// Files, of any size: bytes, or paths that the capability's scope allows, or that a person dropped onto the window.
const photo = await sync.files.put({ name: "photo.jpg", bytes: new Uint8Array([1, 2, 3]) });
const abort = new AbortController();
await sync.files.put("/home/ada/film.mkv", { signal: abort.signal, onProgress: (done, total) => console.log(done / total) });
await sync.files.waitGiven(photo.id, { signal: abort.signal }); // now this device may be switched off
await sync.on("file", async ({ id, change }) => {
  if (change === "here") console.log((await sync.files.read(id)).length);
});
await sync.files.get(photo.id, `/home/ada/Downloads/${photo.safeName}`);
await sync.files.setPolicy({ automaticUpTo: 10_000_000, direct: false });

// How things stand, now and whenever it changes.
await sync.on("status", ({ outbox, trouble }) => {
  console.log(trouble ? `${trouble.message}. ${trouble.nextStep}` : outbox === 0 ? "Everything is synced" : "Syncing…");
});

// Or let Yjs do the merging: the log is the document's persistence.
const provider = new KsyncProvider(new Y.Doc(), { channel: "doc/1" });
await provider.loaded;

document.querySelector("ksync-pair")?.addEventListener("ksync-closed", () => {});
