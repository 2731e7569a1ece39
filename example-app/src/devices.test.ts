// @vitest-environment happy-dom
import { expect, it } from "vitest";

import { plugin, settle, status } from "../../guest-js/tests/plugin";
import { Devices } from "./devices";

const rust = plugin();
const members = [
  { id: "d", name: "Laptop", own: true, lastSeen: null },
  { id: "p", name: "Phone", own: false, lastSeen: null },
];

it("lists the devices by the package's element, and tells it who is here", async () => {
  rust.on("listen", () => 5).on("alerts", () => []).on("status", () => status({ devices: members }));
  const now = { status: status({ devices: members }), people: [{ device: "p", name: "Phone", own: false, color: "#000" }] };
  const devices = new Devices(() => now as never, () => Promise.resolve(""), () => {});
  await settle();
  const list = document.querySelector("ksync-devices")!;
  const row = list.shadowRoot?.querySelector('[data-id="p"]');
  expect(row?.textContent).toContain("here now");
  expect(document.querySelector('[data-testid="leave"]')).not.toBeNull();
  now.people = [];
  devices.render();
  await settle();
  expect(list.shadowRoot?.querySelector('[data-id="p"]')?.textContent).not.toContain("here now");
  document.querySelector<HTMLElement>('[data-testid="close-dialog"]')?.click();
});

it("offers a recovery kit, and goes back to the devices when that is done", async () => {
  rust.on("listen", () => 5).on("alerts", () => []).on("status", () => status({ devices: members, recoveryKit: true }));
  const now = { status: status({ devices: members, recoveryKit: true }), people: [] };
  new Devices(() => now as never, () => Promise.resolve(""), () => {});
  await settle();
  document.querySelector<HTMLElement>('[data-testid="recovery-kit"]')?.click();
  await settle();
  const kit = document.querySelector("ksync-kit")!;
  expect(kit.shadowRoot?.querySelector('[data-testid="title"]')?.textContent).toBe("Replace your recovery kit?");
  kit.shadowRoot?.querySelector<HTMLElement>('[data-testid="cancel"]')?.click();
  await settle();
  expect(document.querySelector("ksync-kit")).toBeNull();
});
