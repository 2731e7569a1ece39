// How the built package looks to a module. Compiled by `npm run check`, not run.
import { type Receipt, sync } from "tauri-plugin-0ksync-api";
import { KsyncPair } from "tauri-plugin-0ksync-api/widget";
import { KsyncProvider } from "tauri-plugin-0ksync-api/yjs";

export const receipt: Promise<Receipt> = sync.push("hello", { channel: "notes" });
export const pairing: HTMLElement = new KsyncPair();
export const provider = KsyncProvider;
