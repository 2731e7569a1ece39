// How the built package looks to require(). Compiled by `npm run check`, not run.
import api = require("tauri-plugin-0ksync-api");
import widget = require("tauri-plugin-0ksync-api/widget");
import yjs = require("tauri-plugin-0ksync-api/yjs");

export const receipt: Promise<api.Receipt> = api.sync.push("hello", { channel: "notes" });
export const pairing: HTMLElement = new widget.KsyncPair();
export const provider = yjs.KsyncProvider;
