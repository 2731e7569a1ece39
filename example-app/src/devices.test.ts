// @vitest-environment happy-dom
import { expect, it } from "vitest";

import { fails, plugin, settle, status } from "../../guest-js/tests/plugin";
import { Devices } from "./devices";

const rust = plugin();
const members = [
  { id: "d", name: "Laptop", own: true, lastSeen: null },
  { id: "p", name: "Phone", own: false, lastSeen: null },
];
const click = (testid: string): void => document.querySelector<HTMLElement>(`[data-testid="${testid}"]`)?.click();
const alert = (): string | undefined =>
  document.querySelector('[data-testid="devices"] [role="alert"]:not([hidden])')?.textContent;

async function open(): Promise<void> {
  new Devices(
    () => ({ status: status({ devices: members }), people: [] }),
    () => Promise.resolve(""),
    () => {},
  );
  await settle();
}

it("says that it cannot hear whether a device was removed", async () => {
  rust.on("listen", fails("NOT_PERMITTED"));
  await open();
  expect(alert()).toContain("NOT_PERMITTED");
  click("close-dialog");
});

it("says that a device could not be removed until that is tried again", async () => {
  rust.on("listen", () => 5);
  await open();
  const remove = async (): Promise<void> => {
    click("remove-device");
    click("confirm-remove");
    await settle();
  };
  await remove();
  const device = { id: "p", name: "Phone" };
  rust.sender("listen", "events").send({ type: "changeFailed", device, code: "IO", message: "m" });
  expect(alert()).toContain("«Phone» could not be removed");
  await remove();
  expect(alert()).toBeUndefined();
  click("close-dialog");
});
