import type { Member, SyncStatus } from "tauri-plugin-0ksync-api";

const desk: Member = { id: "0a1b2c3d", name: "Desk", own: true, lastSeen: null };
const laptop: Member = { id: "77cc99aa", name: "Laptop", own: false, lastSeen: String(Date.now()) };
const phone: Member = { id: "5151eefa", name: "Anna's Pixel 9", own: false, lastSeen: String(Date.now() - 9 * 86_400_000) };

const synced: SyncStatus = {
  group: "9f",
  device: desk.id,
  name: "Desk",
  connected: true,
  caughtUp: true,
  relays: ["ksync://9f@sync.example.org:4433"],
  hosting: false,
  outbox: 0,
  unacknowledged: 0,
  devices: [desk, laptop, phone],
  epoch: "4",
  wantsHistory: false,
  awayDays: null,
  withheld: 0,
  trouble: null,
  joining: false,
};

const unreachable = {
  code: "RELAY_UNREACHABLE",
  message: "the relay at sync.example.org:4433 does not answer",
  nextStep: "Check the network and the relay's address. What was pushed is kept and goes later.",
};

const scenes: Record<string, Partial<SyncStatus>> = {
  alone: { devices: [desk] },
  empty: { group: null, device: null, devices: [] },
  waiting: { devices: [desk, laptop], unacknowledged: 2 },
  offline: { connected: false, outbox: 3, unacknowledged: 3, trouble: unreachable },
  joining: { group: null, device: null, devices: [], joining: true, connected: false },
  withheld: { withheld: 2 },
  history: { devices: [desk, laptop], wantsHistory: true },
  removed: {
    connected: false,
    trouble: { code: "REMOVED", message: "this device was removed from its group", nextStep: "Run reset." },
  },
};

/** What is pretended. */
export const scene = new URLSearchParams(window.location.search).get("scene") ?? "synced";

/** How things stand in it. */
export const status: SyncStatus = { ...synced, ...scenes[scene] };

/** Whether there are notes in it. */
export const written = !["empty", "joining", "history"].includes(scene);

/** Who else is here. */
export const others: Member[] = status.connected ? status.devices.filter((device) => !device.own) : [];
