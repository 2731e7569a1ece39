import type { Member, SyncStatus } from "tauri-plugin-0ksync-api";
import { describe, expect, it } from "vitest";

import { words } from "./words";

const here: Member = { id: "a", name: "Desk", own: true, lastSeen: null };
const laptop: Member = { id: "b", name: "Laptop", own: false, lastSeen: "1000" };
const phone: Member = { id: "c", name: null, own: false, lastSeen: "1000" };

const synced: SyncStatus = {
  group: "g",
  device: "a",
  name: "Desk",
  connected: true,
  caughtUp: true,
  relays: ["ksync://relay@127.0.0.1:1"],
  relayStates: [],
  hosting: false,
  waitingFor: [],
  outbox: 0,
  unacknowledged: 0,
  devices: [here, laptop],
  epoch: "2",
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
  vault: "file",
};

const silent: SyncStatus = {
  ...synced,
  connected: false,
  caughtUp: false,
  trouble: { code: "RELAY_UNREACHABLE", message: "no answer", nextStep: "Wait." },
};

function said(change: Partial<SyncStatus>, pending = 0): string {
  const { text, tone } = words({ ...synced, ...change }, pending);
  return `${tone}: ${text}`;
}

describe("the status line", () => {
  it("says that everything is everywhere only when it is", () => {
    expect(said({})).toBe("ok: Everything is on both devices");
    expect(said({ devices: [here, laptop, phone] })).toBe("ok: Everything is on all 3 devices");
    const not: Partial<SyncStatus>[] = [
      { connected: false },
      { caughtUp: false },
      { wantsHistory: true },
      { withheld: 1 },
      { outbox: 1 },
      { unacknowledged: 1 },
      { devices: [here] },
      { joining: true },
      { trouble: { code: "FORKED", message: "m", nextStep: "n" } },
    ];
    for (const change of not) expect(said(change)).not.toMatch(/^ok/);
    expect(said({}, 1)).toBe("busy: Saving…");
    expect(words(undefined, 0).tone).toBe("busy");
  });

  it("says that nobody else is there, connected or not", () => {
    const alone = "alone: Only on this device: add another one";
    expect(said({ devices: [here], outbox: 4 })).toBe(alone);
    expect(said({ ...silent, devices: [here] })).toBe(alone);
    expect(said({ ...silent, group: null, device: null, devices: [], trouble: null })).toBe(alone);
  });

  it("says how much waits for the relay, and that it is safe", () => {
    expect(said({ ...silent, outbox: 3 })).toBe(
      "waiting: 3 changes wait for the relay: it does not answer. They are safe on this device.",
    );
    expect(said({ ...silent, outbox: 1 })).toBe(
      "waiting: 1 change waits for the relay: it does not answer. It is safe on this device.",
    );
    expect(said(silent)).toBe(
      "waiting: Not connected to the relay: it does not answer. Nothing from this device waits.",
    );
    const draining = { code: "DRAINING", message: "m", nextStep: "n" };
    expect(said({ ...silent, trouble: draining, outbox: 2 })).toContain("it is restarting");
  });

  it("names the device that it waits for, if there is only one", () => {
    const waitingFor = [laptop, { id: "c", name: null }];
    expect(said({ waitingFor })).toBe("waiting: Waiting for «Laptop» or a device without a name");
    expect(said({ waitingFor: [laptop], unacknowledged: 1 })).toBe("waiting: Waiting for «Laptop» to fetch 1 change");
    expect(said({ unacknowledged: 2 })).toBe("waiting: Waiting for «Laptop» to fetch 2 changes");
    expect(said({ unacknowledged: 1, devices: [here, phone] })).toBe(
      "waiting: Waiting for a device without a name to fetch 1 change",
    );
    expect(said({ unacknowledged: 2, devices: [here, laptop, phone] })).toBe(
      "waiting: Waiting for other devices to fetch 2 changes",
    );
    expect(said({ withheld: 3 })).toBe(
      "trouble: The relay keeps changes of another device back: bring that device online",
    );
    expect(said({ awayDays: 40 })).toBe("waiting: Away for 40 days: fetching the rest from «Laptop»");
    expect(said({ wantsHistory: true })).toBe("waiting: Older notes are on their way from «Laptop»");
  });

  it("says what a newcomer waits for", () => {
    const notYet = { code: "NOT_MEMBER", message: "the other device has not added this one yet", nextStep: "n" };
    expect(said({ joining: true, group: null, devices: [], trouble: notYet })).toBe(
      "waiting: Waiting until the other device has added this one",
    );
    expect(said({ joining: true, trouble: silent.trouble })).toBe(
      "waiting: Waiting to be added; no word from the relay: it does not answer",
    );
    expect(said({ joining: true, trouble: { code: "FORKED", message: "why", nextStep: "n" } })).toBe(
      "trouble: Waiting to be added: why",
    );
  });

  it("says that it was removed before anything else", () => {
    const trouble = { code: "REMOVED", message: "m", nextStep: "n" };
    expect(said({ ...silent, trouble, outbox: 3, devices: [here] }, 2)).toBe(
      "trouble: This device was removed from its group",
    );
  });

  it("says that a copy has taken its place before anything else", () => {
    const trouble = { code: "CLONED", message: "m", nextStep: "n" };
    expect(said({ ...silent, trouble, outbox: 3, devices: [here] }, 2)).toBe(
      "trouble: A copy of this device has taken its place",
    );
  });

  it("says what it mends by itself, and what it takes", () => {
    const trouble = { code: "ROLLED_BACK", message: "m", nextStep: "n" };
    expect(said({ trouble })).toBe("waiting: This device was restored from an older copy; it is being mended");
    expect(said({ trouble, connected: false, caughtUp: false, outbox: 3 })).toBe(
      "waiting: This device was restored from an older copy; it is mended when the relay is reached",
    );
    expect(said({ trouble: { ...trouble, code: "OUT_OF_STEP" }, devices: [here] })).toBe(
      "trouble: This device could not follow a change of its group; no other device is left to mend it with",
    );
  });

  it("gives the reason of what needs a person", () => {
    const trouble = { code: "FORKED", message: "the relay showed two histories", nextStep: "Reset one side." };
    expect(said({ trouble })).toBe("trouble: Not syncing: the relay showed two histories");
  });
});
