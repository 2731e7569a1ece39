// @vitest-environment happy-dom
import { expect, it, vi } from "vitest";

import { Banner } from "./messages";

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
