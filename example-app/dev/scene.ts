import type { Member, SyncAlert, SyncStatus } from "tauri-plugin-0ksync-api";

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
  relayStates: [],
  hosting: false,
  waitingFor: [],
  outbox: 0,
  unacknowledged: 0,
  devices: [desk, laptop, phone],
  epoch: "4",
  suite: 1,
  moving: null,
  wantsHistory: false,
  awayDays: null,
  behind: 0,
  withheld: 0,
  recoveryKit: false,
  kitSnapshots: false,
  trouble: null,
  mode: "foreground",
  wake: null,
  joining: false,
  vault: "keychain",
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

const about = (id: string, name: string) => ({ id, name, own: false });

/** What happened to the devices: something in the scenes `alert` and `warning`, and one that was lost in each. */
export const alerts: SyncAlert[] = [
  {
    number: "3",
    kind: "equivocation",
    warning: true,
    at: String(Date.now() - 3_600_000),
    seen: scene !== "warning",
    device: about(phone.id, phone.name ?? ""),
    by: null,
    code: "EQUIVOCATION",
    count: 2,
    since: null,
    text: "«Anna's Pixel 9», or a copy of it, signed two different envelopes as one.",
    nextStep: "A device, or a copy of it, signed two different envelopes. Both are kept; remove that device.",
  },
  {
    number: "2",
    kind: "linked",
    warning: false,
    at: String(Date.now() - 30 * 3_600_000),
    seen: scene !== "alert" && scene !== "warning",
    device: about(laptop.id, "Laptop"),
    by: about(phone.id, phone.name ?? ""),
    code: null,
    count: 1,
    since: null,
    text: "«Anna's Pixel 9» linked «Laptop».",
    nextStep: "If nobody of yours did that, remove both devices.",
  },
  {
    number: "1",
    kind: "lost",
    warning: false,
    at: String(Date.now() - 4 * 86_400_000),
    seen: true,
    device: about("0ld0", "Old tablet"),
    by: about(desk.id, "Desk"),
    code: null,
    count: 1,
    since: String(Date.now() - 6 * 86_400_000),
    text: "«Desk» removed «Old tablet» as lost: it deletes what it holds when it next connects.",
    nextStep: "",
  },
];

/** Whether there are notes in it. */
export const written = !["empty", "joining", "history"].includes(scene);

/** Who else is here. */
export const others: Member[] = status.connected ? status.devices.filter((device) => !device.own) : [];
