// What README.md shows: compiled by `npm run check`, and compared with it by readme.test.ts. Not run.
import { sync } from "tauri-plugin-0ksync-api";

await sync.push("hello", { channel: "notes" }); // on this device's disk when it resolves, online or not
await sync.subscribe("notes", async (blob) => {
  console.log(blob.text()); // from the other devices: at least once, in each sender's order
});
