import { expect, test, vi } from "vitest";

import type { Member, SyncAlert } from "../bindings.js";
import "../widget.js";
import { ago, lastSeen } from "../widget/devices-words.js";
import { fails, plugin, settle, status } from "./plugin.js";

const DAY = 86_400_000;
const rust = plugin();
const laptop: Member = { id: "a".repeat(32), name: "Laptop", own: true, lastSeen: null };
const phone: Member = { id: "b".repeat(32), name: "Pixel <b>9", own: false, lastSeen: null };
const tablet: Member = { id: "c".repeat(32), name: null, own: false, lastSeen: null };

function alert(number: number, more: Partial<SyncAlert> = {}): SyncAlert {
  const at = String(Date.now() - 3 * DAY);
  const words = { text: "«Laptop» linked «Tablet».", nextStep: "If nobody of yours did that, remove both devices." };
  const about = { device: { id: "d", name: "Tablet", own: false }, by: null, code: null, count: 1, since: null };
  return { number: String(number), kind: "linked", warning: false, at, seen: false, ...about, ...words, ...more };
}

async function shown(alerts: SyncAlert[] = [], more: Parameters<typeof status>[0] = {}, attributes: Record<string, string> = {}) {
  const heard = { ...phone, lastSeen: String(Date.now() - 2 * DAY) };
  const silent = { ...tablet, lastSeen: String(Date.now() - 20 * DAY) };
  rust.on("listen", () => 5).on("alerts", () => alerts);
  rust.on("status", () => status({ devices: [laptop, heard, silent], ...more }));
  const element = document.createElement("ksync-devices");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  document.body.append(element);
  await settle();
  const root = element.shadowRoot!;
  const all = (id: string) => [...root.querySelectorAll<HTMLElement>(`[data-testid="${id}"]`)];
  const get = (id: string, index = 0) => {
    const found = all(id)[index];
    if (!found) throw new Error(`no ${id}: ${root.textContent}`);
    return found;
  };
  const click = async (id: string, index = 0) => {
    get(id, index).focus();
    get(id, index).click();
    await settle();
  };
  const event = async (event: unknown) => {
    rust.sender("listen", "events").send(event);
    await settle();
  };
  const screen = () => root.querySelector<HTMLElement>("[data-screen]")?.dataset["screen"];
  return { element, root, all, get, click, event, screen };
}

const removal = (exit: string) => ({
  type: "device",
  change: "removed",
  device: { id: phone.id, name: phone.name },
  by: { id: laptop.id, name: laptop.name },
  was: null,
  exit,
});

test("each device is listed by its name, with when it was last heard of", async () => {
  const { all, get } = await shown([], {}, { here: `x ${phone.id}` });
  expect(all("device").map((row) => row.querySelector("b")?.textContent)).toEqual(["Laptop", "Pixel <b>9", "A device without a name"]);
  expect(all("device").map((row) => row.querySelector("span")?.textContent)).toEqual([
    "this device",
    "here now",
    "silent: last heard of 20 days ago",
  ]);
  expect(get("device", 0).querySelector("button")).toBeNull();
  expect(all("lost").map((way) => way.getAttribute("aria-label"))).toEqual(["I lost it… «Pixel <b>9»", "I lost it… device cccccccc"]);
});

test("a lost device: what follows is said first, and then how far it is", async () => {
  const { click, get, root, event, screen } = await shown([], { connected: false });
  await click("lost");
  expect(screen()).toBe("ask");
  expect(get("title").textContent).toBe("Is «Pixel <b>9» lost or stolen?");
  for (const words of ["change their keys", "deletes its keys", "keeps it offline keeps what is on it"]) {
    expect(root.textContent).toContain(words);
  }
  expect(root.activeElement).toBe(get("title"));
  expect(rust.of("remove_device")).toEqual([]);
  await click("confirm");
  expect(rust.args("remove_device")).toEqual([{ id: phone.id, lost: true }]);
  expect(get("title").textContent).toBe("Waiting for the relay");
  rust.on("status", () => status({ connected: true, devices: [laptop, phone] }));
  await event({ type: "connected" });
  expect(get("title").textContent).toBe("Removing it");
  await event(removal("lost"));
  expect(screen()).toBe("removed");
  expect(root.textContent).toContain("It deletes what it holds when it next connects. It was last heard of 2 days ago.");
  expect(get("live").textContent).toContain("is removed");
  await click("done");
  expect(screen()).toBe("list");
});

test("who removed it first, and not as lost, is not hidden", async () => {
  const { click, event, root } = await shown();
  await click("lost");
  await click("confirm");
  await event(removal("removed"));
  expect(root.textContent).toContain("not as lost: it keeps what it holds");
});

test("a device that is only removed keeps what it has, and that is said", async () => {
  const { click, get, root } = await shown();
  await click("remove");
  expect(get("title").textContent).toBe("Remove «Pixel <b>9»?");
  expect(root.textContent).toContain("What is on it already stays there");
  await click("confirm");
  expect(rust.args("remove_device")).toEqual([{ id: phone.id, lost: false }]);
});

test("what keeps a device from being removed is said, and tried again", async () => {
  rust.on("remove_device", fails("NOT_PERMITTED"));
  const { click, get, root, event, screen } = await shown();
  await click("lost");
  await click("confirm");
  expect(get("title").textContent).toContain("may not remove devices");
  expect(root.textContent).toContain("0ksync:admin");
  rust.on("remove_device", () => null);
  await click("again");
  expect(screen()).toBe("waiting");
  await event({ type: "changeFailed", device: { id: phone.id, name: phone.name }, code: "CLONED" });
  expect(screen()).toBe("failed");
  await click("close");
  expect(screen()).toBe("list");
});

test("Escape leads back to the device, and not out of what the element stands in", async () => {
  const { click, get, root, screen } = await shown();
  const outside = vi.fn();
  document.body.addEventListener("keydown", outside);
  await click("lost");
  get("title").dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true, composed: true, cancelable: true }));
  await settle();
  expect(screen()).toBe("list");
  expect(root.activeElement).toBe(get("remove"));
  expect(outside).not.toHaveBeenCalled();
  document.body.removeEventListener("keydown", outside);
});

test("what happened while nobody looked is shown until somebody has read it", async () => {
  const forged = alert(8, { kind: "forged", warning: true, text: "Something came that nobody has signed.", nextStep: "" });
  const { all, get, click } = await shown([forged, alert(7), alert(3, { seen: true })]);
  expect(get("alerts").getAttribute("role")).toBe("alert");
  expect(all("alert").map((row) => row.textContent)).toEqual([
    "Something came that nobody has signed.3 days ago.",
    "«Laptop» linked «Tablet».3 days ago. If nobody of yours did that, remove both devices.",
  ]);
  await click("dismiss");
  expect(all("alerts")).toEqual([]);
  expect(rust.args("alerts_seen")).toEqual([{ upTo: "8" }]);
});

test("news is no alarm; more than five are counted; what another window has seen goes here too", async () => {
  const many = [9, 8, 7, 6, 5, 4, 3].map((number) => alert(number));
  const { all, get, event, root } = await shown(many);
  expect(get("alerts").getAttribute("role")).toBe("status");
  expect(all("alert").length).toBe(5);
  expect(root.textContent).toContain("And 2 more.");
  rust.on("alerts", () => many.map((one) => ({ ...one, seen: true })));
  await event({ type: "alertsSeen", upTo: "9" });
  expect(all("alerts")).toEqual([]);
  rust.on("alerts", () => [alert(10), ...many.map((one) => ({ ...one, seen: true }))]);
  await event({ type: "alert", alert: alert(10) });
  expect(all("alert").length).toBe(1);
});

test("an app that shows alerts elsewhere has a quiet list, and lost devices stay in it", async () => {
  const lost = alert(4, { kind: "lost", device: { id: "d", name: "Old phone", own: false }, since: String(Date.now() - 5 * DAY) });
  const { all, get } = await shown([lost, alert(5)], {}, { quiet: "" });
  expect(all("alerts")).toEqual([]);
  expect(get("lost-device").textContent).toBe(
    "Old phoneremoved 3 days ago, last heard of 5 days ago; it deletes what it holds when it next connects",
  );
});

test("a window that may not read alerts shows the devices, and one that may nothing says why", async () => {
  rust.on("alerts", fails("NOT_PERMITTED"));
  const listed = await shown();
  rust.on("alerts", fails("NOT_PERMITTED"));
  await listed.event({ type: "alertsSeen", upTo: "1" });
  expect(listed.all("device").length).toBe(3);
  document.body.replaceChildren();
  await settle();
  rust.on("listen", fails("NOT_PERMITTED"));
  const element = document.createElement("ksync-devices");
  document.body.append(element);
  await settle();
  expect(element.shadowRoot?.querySelector('[role="alert"]')?.textContent).toContain("This list cannot be read. Do better.");
});

test("a device that was removed removes nobody", async () => {
  const trouble = { code: "REMOVED", message: "m", nextStep: "n" };
  const { all } = await shown([], { trouble });
  expect(all("lost")).toEqual([]);
});

test("what is drawn anew keeps the keyboard where it was", async () => {
  const { get, event, root } = await shown();
  get("lost", 1).focus();
  const heard = { ...phone, lastSeen: String(Date.now()) };
  rust.on("status", () => status({ devices: [laptop, heard, tablet] }));
  await event({ type: "arrived" });
  expect(root.textContent).toContain("just now");
  expect(root.activeElement).toBe(get("lost", 1));
});

test("time is said as people say it", () => {
  const minute = 60_000;
  const said = [0, 1, 59, 60, 150, 1_440, 4_320].map((minutes) => ago(0, minutes * minute));
  expect(said).toEqual(["just now", "1 minute ago", "59 minutes ago", "1 hour ago", "2 hours ago", "yesterday", "3 days ago"]);
  expect(ago(9 * minute, 0), "the clock was set back").toBe("just now");
  expect(lastSeen("0", 14 * DAY)).toEqual({ text: "silent: last heard of 14 days ago", silent: true });
  expect(lastSeen("0", 13 * DAY)?.silent).toBe(false);
});
