// @vitest-environment happy-dom
import { expect, it, vi } from "vitest";

import type { SyncAlert } from "tauri-plugin-0ksync-api";

import { Banner, news } from "./messages";

it("stays as it is, with its focus, while it says the same", () => {
  const banner = new Banner();
  const [first, second] = [vi.fn(), vi.fn()];
  const say = (act: () => void, text = "Not saved."): void =>
    banner.set("save", { tone: "trouble", text, offers: [{ label: "Try again", act }] });
  say(first);
  const shown = banner.element.firstElementChild;
  say(second);
  expect(banner.element.firstElementChild).toBe(shown);
  banner.element.querySelector("button")?.click();
  expect(first).not.toHaveBeenCalled();
  expect(second).toHaveBeenCalledOnce();
  say(second, "Still not saved.");
  expect(banner.element.textContent).toContain("Still not saved.");
  banner.set("save");
  expect(banner.element.childElementCount).toBe(0);
  say(first);
  expect(banner.element.childElementCount).toBe(1);
});

it("says what happened to the devices, the gravest first, until it is put away", () => {
  const alert = (number: string, warning: boolean): SyncAlert => {
    const about = { device: null, by: null, code: null, count: 1, since: null, seen: false, at: "0" };
    return { number, warning, kind: "k", text: `Text ${number}.`, nextStep: `Step ${number}.`, ...about };
  };
  expect(news([], vi.fn(), vi.fn())).toBeUndefined();
  const [devices, seen] = [vi.fn(), vi.fn()];
  const banner = new Banner();
  banner.set("news", news([alert("9", false), alert("8", true)], devices, seen));
  expect(banner.element.textContent).toContain("Text 8.");
  expect(banner.element.textContent).toContain("Step 8. There is 1 more message about your devices.");
  expect(banner.element.querySelector("[data-tone]")?.getAttribute("data-tone")).toBe("trouble");
  banner.element.querySelector<HTMLElement>('[data-testid="see-devices"]')?.click();
  expect(devices).toHaveBeenCalledOnce();
  banner.element.querySelector<HTMLElement>('[data-testid="dismiss"]')?.click();
  expect(seen).toHaveBeenCalledWith("9");
  expect(banner.element.childElementCount).toBe(0);
});
