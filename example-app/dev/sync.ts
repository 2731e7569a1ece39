// Stands in for `tauri-plugin-0ksync-api`; see README.md beside this file.
import type { FilesApi, Sync, SyncEventMap, SyncFinding, SyncStatus } from "tauri-plugin-0ksync-api";

import type { Channel } from "@tauri-apps/api/core";
import { mockIPC } from "@tauri-apps/api/mocks";

import type { PairingStep } from "../../guest-js/bindings";
import { SyncError } from "../../guest-js/errors";
import { files, look } from "./files";
import { alerts, scene, status } from "./scene";

export { SyncError };

/** The package's elements hear by channels of their own. */
const heard = new Set<Channel<unknown>>();

// The app's own command, and what the package's elements ask for. The code is only a pattern.
mockIPC((command, args) => {
  if (command === "save_copy") return "/home/anna/Downloads/0k Notes.md";
  if (command === "save_file") return "/home/anna/Downloads/Hut.png";
  if (command === "plugin:0ksync|status") return { ...status };
  if (command === "plugin:0ksync|alerts") return alerts;
  if (command === "plugin:0ksync|alerts_seen") return sync.alertsSeen((args as { upTo: string }).upTo);
  if (command === "plugin:0ksync|listen") return void heard.add((args as { events: Channel<unknown> }).events);
  if (command === "plugin:0ksync|remove_device") {
    const { id, lost } = args as { id: string; lost: boolean };
    return sync.removeDevice(id, { lost });
  }
  if (command !== "plugin:0ksync|invite") return undefined;
  const { steps } = args as { steps: Channel<PairingStep> };
  const cells = Array.from({ length: 900 }, (_, i) =>
    (i * i * 7 + i * 3) % 11 < 5 ? `M${i % 30} ${Math.floor(i / 30)}h1v1h-1z` : "",
  );
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 34 34"><path d="${cells.join("")}"/></svg>`;
  const [uri, code] = [`KSYNC:${"ABCDEFGH".repeat(30)}`, "1234-tomato-guitar-willow"];
  steps.onmessage({ type: "uri", uri, code, svg, expiresAt: String(Date.now() + 600_000) });
  return 1;
});

type Listener = (event: never) => void;

const listeners = new Map<string, Set<Listener>>();

function tell<T extends keyof SyncEventMap>(type: T, event: SyncEventMap[T]): void {
  for (const listener of listeners.get(type) ?? []) (listener as (event: SyncEventMap[T]) => void)(event);
  // The status they ask for themselves, whatever it is that has happened.
  for (const channel of heard) channel.onmessage(type === "status" ? { type: "arrived" } : event);
}

function change(next: Partial<SyncStatus>): void {
  Object.assign(status, next);
  tell("status", { ...status });
}

function refuse(): void {
  if (scene !== "refused") return;
  const reason = "another program uses this device's data";
  const nextStep = "Stop the other process on this home, or use another home.";
  throw new SyncError("HOME_BUSY", `${reason}. ${nextStep}`, { details: { reason, nextStep, fault: "caller" } });
}

function begin(type: "left" | "reset"): void {
  const anew = { group: null, device: null, devices: [], trouble: null, outbox: 0, unacknowledged: 0, joining: false };
  if (type === "left") tell("left", { type, group: "9f" });
  else tell("reset", { type });
  change(anew);
}

async function pause(): Promise<void> {
  await new Promise((resolve) => window.setTimeout(resolve, 400));
}

type Used = Pick<Sync, "on" | "status" | "doctor" | "devices" | "alerts" | "alertsSeen" | "removeDevice" | "leave" | "reset">;

/** As much of the real one as the app uses. */
export const sync: Used & { files: Pick<FilesApi, "list" | "put" | "read" | "remove"> } = {
  files: {
    async list() {
      refuse();
      return scene === "empty" ? [] : files;
    },
    async put(what, { onProgress, signal } = {}) {
      const name = typeof what === "string" ? what : what.name;
      const total = 40_000_000;
      for (let done = 0; done < total; done += total / 8) {
        signal?.throwIfAborted();
        onProgress?.(done, total);
        await pause();
      }
      const put = { id: `put-${files.length}`, name, safeName: name, size: String(total), device: "0a1b2c3d", position: "9" };
      const file = { ...put, modified: "0", state: "here", bytes: null, given: false } as const;
      files.push(file);
      return file;
    },
    async read() {
      return look();
    },
    async remove(id) {
      await pause();
      const at = files.findIndex((file) => file.id === id);
      if (at >= 0) files.splice(at, 1);
    },
  },
  async on(type, listener) {
    refuse();
    const set = listeners.get(type) ?? new Set();
    listeners.set(type, set.add(listener as Listener));
    if (type === "status") tell("status", { ...status });
    return () => void set.delete(listener as Listener);
  },
  async status() {
    refuse();
    return { ...status };
  },
  async devices() {
    return status.devices;
  },
  async doctor(): Promise<SyncFinding[]> {
    const { trouble, relays, outbox } = status;
    const first = trouble
      ? { code: trouble.code, title: "not syncing", detail: trouble.message, nextStep: trouble.nextStep }
      : { code: null, title: "connected", detail: `the relay is ${relays.join(", ")}`, nextStep: "" };
    const waiting = {
      code: null,
      title: "waiting to be sent",
      detail: `${outbox} changes are on this device alone`,
      nextStep: "",
    };
    return outbox > 0 ? [first, waiting] : [first];
  },
  async alerts() {
    return alerts;
  },
  async alertsSeen(upTo) {
    for (const alert of alerts) alert.seen ||= Number(alert.number) <= Number(upTo);
    tell("alertsSeen", { type: "alertsSeen", upTo });
  },
  async removeDevice(id, { lost = false } = {}) {
    await pause();
    const device = status.devices.find((member) => member.id === id);
    if (!device || !status.connected) return;
    window.setTimeout(() => {
      tell("device", { type: "device", change: "removed", device, by: null, was: null, exit: lost ? "lost" : "removed" });
      change({ devices: status.devices.filter((member) => member.id !== id) });
    }, 1_500);
  },
  async leave() {
    await pause();
    if (status.connected || status.joining) return begin("left");
    const reason = "the other devices cannot be told that this one leaves";
    const nextStep = "Check the network and the relay's address.";
    throw new SyncError("RELAY_UNREACHABLE", `${reason}. ${nextStep}`, {
      details: { reason, nextStep, fault: "relay" },
    });
  },
  async reset() {
    await pause();
    begin("reset");
  },
};
